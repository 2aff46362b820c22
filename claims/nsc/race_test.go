//go:build race

package nsc_test

// q7Rounds are of 100 cases each.
const q7Rounds = 4
