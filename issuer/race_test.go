//go:build race

package issuer_test

// Watched by the race detector everything takes several times as long, so the full sizes are for a run without.
const (
	// lives, bounds and borders are how many random lives, lives within guardrails and sequences over an account's border
	// are tried.
	lives, bounds, borders = 12, 15, 30
	// thinned is how many hostile names there are to each that is tried.
	thinned = 4
	// largeUsers is how many users each of the 60 accounts of a large store has.
	largeUsers = 5
	// statementsApart are the statements of an import that fail, counted from the first to each of them.
	statementsApart = 6
)
