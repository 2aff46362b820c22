//go:build race

package main

// grown is how large the generated store is: watched by the race detector everything
// takes several times as long, so the full size is for a run without.
var grown = generated{accounts: 60, users: 600}

// homeless is how many clients connect while the control plane is gone.
const homeless = 250

// crowd is how many accounts are signed anew when the process is killed: more than two batches, for a kill after the
// first is to be one in the middle on a busy machine too.
const crowd = 600

// drillAccounts and drillClients are whom the keys are rotated under: accounts, and clients on each.
const (
	drillAccounts = 40
	drillClients  = 5
)

// thinned is how many hostile names, and files of nsc, there are to each that is tried: the run without tries them all.
const thinned = 4
