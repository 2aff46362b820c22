//go:build !race

package main

import (
	"time"

	"chancery/store/storetest"
)

// grown is how large the generated store is.
var grown = generated{accounts: 500, users: 5000}

// homeless is how many clients connect while the control plane is gone.
const homeless = 1000

// crowdedDatabases are those that the drills with a crowd run on.
func crowdedDatabases() []string { return storetest.Dialects() }

// crowd is how many accounts are signed anew when the process is killed.
const crowd = 1000

// drillAccounts and drillClients are whom the keys are rotated under: accounts, and clients on each.
const (
	drillAccounts = 100
	drillClients  = 10
)

// fetchLimit is when a nats-server gives up (const.go: DEFAULT_ACCOUNT_FETCH_TIMEOUT).
const fetchLimit = 1900 * time.Millisecond

// lag is how long after its acknowledgement an edit may be missing in what a replica serves that nothing is done to. The
// replica that made it serves it at once, the other one after at most a poll of one second, and some on a busy machine.
const lag = 2 * time.Second

// convergence is how long after the last fault every server has what the database has.
const convergence = 15 * time.Second

// thinned is how many hostile names, and files of nsc, there are to each that is tried.
const thinned = 1
