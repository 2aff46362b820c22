//go:build !race

package nsc_test

// q7Rounds are of 100 cases each; with 100 rounds it is 10,000 cases and two minutes of a race detector.
const q7Rounds = 12

// bombs tells whether archives are tried that expand to their limit, which watched takes minutes of a busy core.
const bombs = true
