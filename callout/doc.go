// Package callout is the responder of NATS auth callouts: it turns an identity from
// outside into a user of an account.
//
// It owns identity sources, mapping rules and decisions. It refuses to hold more
// than a scoped signing key, and to answer a request it cannot place. Called by
// cmd/chancery, which connects it to the callout account. It has no code yet: the
// package holds the place that the import test guards.
package callout
