// Package issuer holds Chancery's use cases: whatever changes an operator, an
// account, a template, a user or a credential is a method here.
//
// It owns the order of every change: authorize and audit, plan, then apply, all
// in one transaction with the signed JWT and the push that is owed. What it has
// signed by custody was built and checked by claims, and is verified and decoded again
// before it is stored.
//
// It refuses to know HTTP, SQL or NATS, and it refuses to sign when sealed: without
// its key-encryption key everything that only reads goes on.
//
// Called by api, web and callout with a Caller and an Op; wired by cmd/chancery,
// which hands it the store, the clock, the key and two functions of the resolver.
package issuer
