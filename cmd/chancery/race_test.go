//go:build race

package main

import "time"

// grown is how large the generated store is: watched by the race detector everything
// takes several times as long, so the full size, and what it may take, are for a run without.
var grown, grownWithin = generated{accounts: 60, users: 600}, 5 * time.Minute
