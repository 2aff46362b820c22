//go:build !race

package main

// grown is how large the generated store is.
var grown = generated{accounts: 500, users: 5000}

// homeless is how many clients connect while the control plane is gone.
const homeless = 1000

// crowd is how many accounts are signed anew when the process is killed.
const crowd = 1000
