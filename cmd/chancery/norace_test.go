//go:build !race

package main

// grown is how large the generated store is.
var grown = generated{accounts: 500, users: 5000}

// homeless is how many clients connect while the control plane is gone.
const homeless = 1000

// crowd is how many accounts are signed anew when the process is killed.
const crowd = 1000

// drillAccounts and drillClients are whom the keys are rotated under: accounts, and clients on each.
const (
	drillAccounts = 100
	drillClients  = 10
)

// thinned is how many hostile names, and files of nsc, there are to each that is tried.
const thinned = 1
