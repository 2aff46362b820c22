//go:build race

package main

import (
	"time"

	"chancery/store/storetest"
)

// grown is how large the generated store is: watched by the race detector everything
// takes several times as long, so the full size is for a run without. Every kind of account and user is in it.
var grown = generated{accounts: 10, users: 100}

// homeless is how many clients connect while the control plane is gone.
const homeless = 100

// crowdedDatabases are those that the drills with a crowd run on: the run without takes both.
func crowdedDatabases() []string { return storetest.Dialects()[1:] }

// crowd is how many accounts are signed anew when the process is killed: more than two batches, for a kill after the
// first is to be one in the middle on a busy machine too.
const crowd = 600

// drillAccounts and drillClients are whom the keys are rotated under: accounts, and clients on each.
const (
	drillAccounts = 20
	drillClients  = 3
)

// fetchLimit, lag and convergence are longer than the limits that the run without holds replicas to. Here they are watched
// as well, beside all other tests: that they answer, and what, is held against them, not how busy the machine is.
const (
	fetchLimit  = 15 * time.Second
	lag         = 5 * time.Second
	convergence = time.Minute
)

// thinned is how many hostile names, and files of nsc, there are to each that is tried: the run without tries them all.
const thinned = 4
