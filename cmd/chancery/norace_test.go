//go:build !race

package main

import "time"

// grown is how large the generated store is, grownWithin how long taking it over may last.
var grown, grownWithin = generated{accounts: 500, users: 5000}, 30 * time.Second
