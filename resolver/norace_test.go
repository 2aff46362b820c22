//go:build !race

package resolver_test

// joined is how many accounts there are when a server joins.
const joined = 1_000
