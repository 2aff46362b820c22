//go:build !race

package main

// grown is how large the generated store is.
var grown = generated{accounts: 500, users: 5000}
