//go:build race

package nsc_test

// q7Rounds are of 100 cases each.
const q7Rounds = 4

// bombs tells whether archives are tried that expand to their limit, which watched takes minutes of a busy core.
const bombs = false
