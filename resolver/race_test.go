//go:build race

package resolver_test

// joined is how many accounts there are when a server joins: watched by the race detector
// everything takes several times as long.
const joined = 300
