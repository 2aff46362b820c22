// Package claims is the vocabulary of NATS decentralized auth: pure functions
// that build, check, encode, read, compare and explain operator, account, user and
// activation claims.
//
// It owns the rules about what may be said in a JWT and how it is stamped: names
// and tags that are single subject tokens where a template uses them, subjects a
// nats-server would accept, the issue time that never repeats, the revocation
// time that misses nobody, and an encoding that nats-io/jwt decodes byte for byte.
// And it owns what a nats-server makes of claims: what a user may really do, why a
// connection is refused, whom a change closes. Where documents and a server differ,
// it follows the server, and the tests ask one. Types of nats-io/jwt are used as
// they are.
//
// It refuses all I/O: no file, network, database, clock or source of randomness
// is reached from here; time, keys and signatures are arguments. It imports
// nothing else of Chancery.
//
// Called by every other package; issuer is the one that signs what is built here.
package claims
