// Package custody keeps private keys: it opens what is sealed, signs with it and
// forgets it.
//
// It owns the key-encryption key, the keyset of data keys that it wraps, the sealed
// form of a seed, and Signer, the one interface behind which private keys are,
// wherever they are held. The way of a seed: a data key seals it, bound to what the
// key is and whose; the key-encryption key, which is kept outside the database, wraps
// the data keys.
//
// It deals in bytes and never in rows: it refuses to know HTTP, SQL and NATS servers,
// and has no clock. Called by issuer, and by cmd/chancery for the key-encryption key.
package custody
