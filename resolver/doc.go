// Package resolver is everything between stored JWTs and nats-servers.
//
// It owns the copy of the signed JWTs in memory, its snapshot on disk, and the HTTP
// paths that serve it; one connection on the system account of each operator, the
// roster of servers seen there, the pushes and the reading back that proves them, and
// the bookkeeping of what is on which server; and what servers tell there of their
// clients. It asks servers for an account's connections on demand.
//
// It refuses to sign anything and to hold a key: it is handed a JWT and a sign
// function for its own user. It needs no database to serve: a lookup touches
// memory only, and goes on while the store is away. It never replaces a JWT by an
// older one, and it never takes an acknowledgement for proof: a nats-server answers
// "jwt updated" to what it will not load, so the bytes are read back.
//
// Called by cmd/chancery, which wires it, mounts its Handler, wakes it after each
// commit, and hands it to issuer, api and web as claims.Live.
//
// # How a change travels
//
// A commit leaves a row in the outbox and a row in the change log, and Wake is
// called. The follower takes changes into memory, for all operators, connected or
// not. The pusher of the operator leases what is owed, re-reads the newest JWT,
// puts it in memory, publishes it, counts the servers' answers, announces it once
// more on the subject older listeners know, and reads it back. What is not on every
// server of the roster is tried again, for ever.
//
// # Where things are
//
// http*.go answer lookups from memory.go. snapshot*.go keep what is served on disk,
// follow.go and peer.go bring what is new, and pulse.go has lookups wait while that may
// be missing. operator.go is a connection, roster.go, kinds.go and examine.go are the
// servers on it. push.go, deliver.go, proof.go and disk.go bring a JWT to them and
// prove it, ledger.go and fleet.go tell how far it got. loads.go, lookup.go and warm.go
// deal with servers that load accounts by themselves. drift*.go and sweep*.go find what
// others put there. events*.go and connections.go are who is connected and who was
// refused. metrics.go and survey.go tell it all to Prometheus.
//
// # Why everything is verified twice
//
// A nats-server fetches an unknown account for up to 1.9 s, without single flight. A
// fetch that began just before the change can end after the push was answered
// "skipped" or even "updated", and put the older JWT back in force. So a row of the
// outbox is settled only when a second reading, later than any such fetch can end,
// still shows the version everywhere. Those who wait for a change wait for the first
// proof only.
package resolver
