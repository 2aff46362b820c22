//go:build !race

package issuer_test

const (
	// lives, bounds and borders are how many random lives, lives within guardrails and sequences over an account's border
	// are tried.
	lives, bounds, borders = 25, 40, 100
	// thinned is how many hostile names there are to each that is tried.
	thinned = 1
	// largeUsers is how many users each of the 60 accounts of a large store has.
	largeUsers = 10
	// statementsApart are the statements of an import that fail, counted from the first to each of them.
	statementsApart = 1
)
