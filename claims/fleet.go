package claims

import (
	"context"
	"time"
)

// Fleet is all servers of an operator and what they have, at one moment.
type Fleet struct {
	OperatorID string
	// Connected tells whether the control plane reaches the operator's servers.
	Connected bool
	// Expected is how many servers there are to be; 0 expects no number. Suggested is
	// how many were seen lately, for whoever sets it.
	Expected, Suggested int
	// Servers are those that answer, by name.
	Servers []FleetServer
	// Missing are servers that are expected and do not answer, those last seen first:
	// at most Absent, since some may never have been seen.
	Missing []MissingServer
	// Accounts is how many have a signed JWT, Confirmed how many of them are in effect on
	// every server that answers.
	Accounts, Confirmed int
	// OldestChange is since when the oldest change that is not proven everywhere waits,
	// OldestRevocation likewise of those that revoke, with their accounts; both are zero
	// when there is none. A change is not proven everywhere while an expected server is
	// missing.
	OldestChange, OldestRevocation               time.Time
	OldestChangeAccount, OldestRevocationAccount string
}

// FleetServer is a server with what it has of all accounts.
type FleetServer struct {
	Server
	// Accounts is how many are in each state of their current version.
	Accounts map[DeliveryState]int
	// Behind is how many are in one that is not satisfied.
	Behind int
}

// ServerState sums up what is to be known of a server.
type ServerState string

// The states of a server.
const (
	// ServerInStep has the newest JWT of every account.
	ServerInStep ServerState = "in_step"
	// ServerBehind has not.
	ServerBehind ServerState = "behind"
	// ServerUntrusting does not trust what the operator's JWT in force says.
	ServerUntrusting ServerState = "untrusting"
	// ServerLameDuck is sending its clients away.
	ServerLameDuck ServerState = "lame_duck"
)

// State returns the state that matters most; fingerprint is OperatorFingerprint of the
// operator's JWT in force, empty where there is none.
func (s FleetServer) State(fingerprint string) ServerState {
	switch {
	case fingerprint != "" && s.Trust != nil && s.Trust.Fingerprint != fingerprint:
		return ServerUntrusting
	case s.LameDuck:
		return ServerLameDuck
	case s.Behind > 0:
		return ServerBehind
	}
	return ServerInStep
}

// MissingServer is a server that does not answer.
type MissingServer struct {
	Name, Cluster, Version string
	LastSeen               time.Time
}

// Absent returns how many of the expected servers do not answer.
func (f Fleet) Absent() int { return max(f.Expected-len(f.Servers), 0) }

// InStep returns how many of the servers that answer have every account in effect.
func (f Fleet) InStep() int {
	n := 0
	for _, s := range f.Servers {
		if s.Behind == 0 {
			n++
		}
	}
	return n
}

// State sums the fleet up: no_servers, servers_missing, behind or in_step.
func (f Fleet) State() string {
	switch {
	case !f.Connected || len(f.Servers) == 0:
		return "no_servers"
	case f.Absent() > 0:
		return "servers_missing"
	case f.InStep() < len(f.Servers):
		return "behind"
	}
	return "in_step"
}

// DeliveryQuery asks for deliveries of all accounts of an operator.
type DeliveryQuery struct {
	OperatorID string
	// Within are the accounts that may be shown and counted, by identity; nil is all.
	Within []string
	// All keeps accounts that are in effect on every server too.
	All bool
	// State keeps accounts that are in this state on a server; empty any. Server, a key
	// or name, looks at that server alone. Search keeps accounts whose name contains it,
	// without regard to case, or whose identity it is.
	State          DeliveryState
	Server, Search string
	// AfterName and AfterID are the last account of the page before; Limit is how many
	// are returned at most.
	AfterName, AfterID string
	Limit              int
}

// AccountSync is one account of all and how far it got.
type AccountSync struct {
	Name string
	Sync
}

// LiveFleet is the picture of all servers and all deliveries of an operator at once.
type LiveFleet interface {
	// Fleet returns the servers of an operator and counts what they have, of the
	// accounts within, by identity; nil counts all. An unknown operator has no servers.
	Fleet(ctx context.Context, operatorID string, within []string) (Fleet, error)
	// Deliveries returns a page of accounts by name, and the fleet of all that the query
	// may show. The number of questions to the store does not depend on how many
	// accounts there are.
	Deliveries(ctx context.Context, q DeliveryQuery) ([]AccountSync, Fleet, error)
}
