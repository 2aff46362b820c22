//go:build !race

package claims_test

// manyCases are what a property is held against.
const manyCases = 10_000
