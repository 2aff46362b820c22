package claims

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
)

// ErrNotConnected tells that an operator's servers are out of reach.
var ErrNotConnected = errors.New("the operator's servers are out of reach")

// Connection is a live connection of a client or a leaf node as a nats-server
// reports it.
type Connection struct {
	// CID is the connection's number on its server.
	CID                  uint64
	ServerID, ServerName string
	// UserKey is the public key U… the client authenticated with. A client that an
	// auth callout let in has another name here.
	UserKey string
	// IssuerKey is the public key A… that signed its JWT.
	IssuerKey string
	// Client is the name the client gave itself, Host its address.
	Client, Host string
	// Type is nats, mqtt, websocket or leaf.
	Type           string
	Lang, Version  string
	Since          time.Time
	InMsgs, OutMsg int64
	// Subscriptions is how many it holds.
	Subscriptions int64
	// User is what its JWT says; nil where the server keeps that to itself, as it
	// does with bearer users and those of an auth callout.
	User *ConnectedUser
}

// ConnectedUser is what the JWT of a live connection says of its user. The JWT
// itself is not kept.
type ConnectedUser struct {
	Name string
	Tags []string
	// IssuedAt and Expires are Unix seconds; Expires 0 is never.
	IssuedAt, Expires int64
	// Subscriptions is the user's own limit, which a template replaces.
	Subscriptions int64
	// Permissions tells that the JWT has permissions of its own, Bearer that whoever
	// has it needs no key. A server of today does not list those.
	Permissions, Bearer bool
}

// NewConnectedUser reads a user JWT as a server lists it; nil when it is none. The
// server has checked the signature, and thousands are listed at once, so it is not
// checked again.
func NewConnectedUser(token string) *ConnectedUser {
	c := parseUser(token)
	if c == nil {
		return nil
	}
	return connectedUser(c)
}

// parseUser reads a user JWT without checking its signature; nil when it is none.
func parseUser(token string) *jwt.UserClaims {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	payload, err := encoding.DecodeString(parts[1])
	if err != nil {
		return nil
	}
	var c jwt.UserClaims
	if err := json.Unmarshal(payload, &c); err != nil || !IsPublicKey(KindUser, c.Subject) {
		return nil
	}
	return &c
}

func connectedUser(c *jwt.UserClaims) *ConnectedUser {
	return &ConnectedUser{
		Name: c.Name, Tags: c.User.Tags, IssuedAt: c.IssuedAt, Expires: c.Expires, Subscriptions: c.Subs,
		Permissions: !same(c.Permissions, jwt.Permissions{}), Bearer: c.BearerToken,
	}
}

// TypeLeaf is the type of a leaf node's connection.
const TypeLeaf = "leaf"

// Server is a nats-server seen on an operator's system account.
type Server struct {
	// ID is the server key N….
	ID, Name, Cluster, Version string
	LastSeen                   time.Time
	// Started is when the server started by its own clock; zero while it has not told.
	Started time.Time
	// Resolver is how the server gets account JWTs; ResolverUnknown until it was asked.
	Resolver ResolverKind
	// JetStream tells that the server has JetStream, LameDuck that it is sending its
	// clients away before it stops.
	JetStream, LameDuck bool
	// Trust is what the server took from the operator's JWT when it started; nil while
	// it has not told.
	Trust *ServerTrust
}

// ResolverKind is how a nats-server gets the JWTs of accounts.
type ResolverKind string

// The kinds of resolvers. A server does not tell a URL resolver from one in memory:
// neither has a disk.
const (
	ResolverUnknown ResolverKind = ""
	// ResolverFull keeps every account on its disk, pushed or not used.
	ResolverFull ResolverKind = "full"
	// ResolverCache keeps on its disk what was used, and asks for the rest.
	ResolverCache ResolverKind = "cache"
	// ResolverOther fetches accounts from a URL, or has those of its configuration.
	ResolverOther ResolverKind = "other"
)

// ServerTrust is whom a running nats-server trusts. It takes that from the operator's
// JWT when it starts, and keeps it: a reload refuses to change trusted operators
// (reload.go).
type ServerTrust struct {
	// Fingerprint is OperatorFingerprint of the JWT that it loaded.
	Fingerprint string
	// Signers are the keys that it accepts as signers of accounts, sorted.
	Signers []string
}

// Trusts tells whether the server accepts accounts that key signed; known is false
// while it has not told.
func (s Server) Trusts(key string) (trusts, known bool) {
	return s.Trust != nil && slices.Contains(s.Trust.Signers, key), s.Trust != nil
}

// DeliveryState is how far an account's JWT got on one server. An acknowledgement
// proves nothing: a nats-server says "jwt updated" to a JWT it will refuse to
// load, so the bytes are read back.
type DeliveryState string

// The states, in order. Stored is on the server's disk and not in its memory: it
// loads that when a client comes. NotLoaded holds no copy and fetches the current one
// when a client comes. InEffect is in its memory, and with a full resolver on its disk
// too.
const (
	DeliveryPending      DeliveryState = "pending"
	DeliverySent         DeliveryState = "sent"
	DeliveryAcknowledged DeliveryState = "acknowledged"
	DeliveryStored       DeliveryState = "stored"
	DeliveryInEffect     DeliveryState = "in_effect"
	DeliveryNotLoaded    DeliveryState = "not_loaded"
	DeliveryFailed       DeliveryState = "error"
)

// Satisfied tells whether nothing older can be in force on the server.
func (s DeliveryState) Satisfied() bool {
	return s == DeliveryStored || s == DeliveryInEffect || s == DeliveryNotLoaded
}

// Delivery is how far an account's JWT got on one server.
type Delivery struct {
	ServerID, ServerName string
	State                DeliveryState
	// Version is the JWT version the state speaks of.
	Version int64
	// Error is the server's own words.
	Error                      string
	Sent, Acknowledged, Proven time.Time
}

// Sync is the delivery of an account's current JWT to all servers of the roster.
type Sync struct {
	AccountID string
	// Version is the JWT version that is to be in effect, IssuedAt its iat.
	Version, IssuedAt int64
	// Connected tells whether the control plane reaches the operator's servers.
	Connected bool
	// Servers holds one entry for each server of the roster, by name.
	Servers []Delivery
	// Expected is how many servers the operator says there are; 0 expects no number.
	Expected int
}

// Missing returns how many of the expected servers do not answer.
func (s Sync) Missing() int { return max(s.Expected-len(s.Servers), 0) }

// InEffect returns how many servers are satisfied with the version.
func (s Sync) InEffect() int {
	n := 0
	for _, d := range s.Servers {
		if d.Version >= s.Version && d.State.Satisfied() {
			n++
		}
	}
	return n
}

// Reached tells whether every server that answers is satisfied; there is at least one.
// Servers that are expected and do not answer are left out.
func (s Sync) Reached() bool {
	return s.Connected && len(s.Servers) > 0 && s.InEffect() == len(s.Servers)
}

// Done tells whether every server is satisfied: all that answer, and none that is
// expected is missing.
func (s Sync) Done() bool { return s.Reached() && s.Missing() == 0 }

// State sums the sync up: no_servers, pending, partial, error, in_effect, or
// servers_missing where it is in effect on all that answer, which are fewer than
// expected.
func (s Sync) State() string {
	if s.Done() {
		return "in_effect"
	}
	if s.Reached() {
		return "servers_missing"
	}
	if !s.Connected || len(s.Servers) == 0 {
		return "no_servers"
	}
	for _, d := range s.Servers {
		if d.State == DeliveryFailed {
			return "error"
		}
	}
	if s.InEffect() > 0 {
		return "partial"
	}
	return "pending"
}

// Live is the picture of the running servers that the API and the console read.
type Live interface {
	// Connections asks every server for the connections of the account's clients
	// and leaf nodes; the error is ErrNotConnected when none is reached.
	Connections(ctx context.Context, accountID string) ([]Connection, error)
	// Sync returns how far the account's current JWT got.
	Sync(ctx context.Context, accountID string) (Sync, error)
	// Wait returns when version, or a later one, is in effect on every server of
	// the roster or when ctx ends, whichever is first; then with what is known. It does
	// not wait for servers that are expected and do not answer: Sync counts them.
	Wait(ctx context.Context, accountID string, version int64) (Sync, error)
	// Servers returns the roster of an operator, by name.
	Servers(operatorID string) []Server
	LiveFleet
	LiveEvents
}
