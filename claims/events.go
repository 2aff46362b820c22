package claims

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// EventType is what kind of thing happened.
type EventType string

// The types of events.
const (
	// EventConnect and EventDisconnect are of clients and leaf nodes, EventDenial of those
	// that were not let in.
	EventConnect    EventType = "connect"
	EventDisconnect EventType = "disconnect"
	EventDenial     EventType = "denial"
	// EventServerUp and EventServerDown are a server that joined and left the roster;
	// EventLameDuck is one that sends its clients away.
	EventServerUp   EventType = "server_up"
	EventServerDown EventType = "server_down"
	EventLameDuck   EventType = "lame_duck"
	// EventChange is a new JWT of an account, EventSync that it is, or cannot be, in
	// effect on a server, EventDrift what a server holds that Chancery did not give it.
	EventChange EventType = "change"
	EventSync   EventType = "sync"
	EventDrift  EventType = "drift"
	// EventGap stands for events that nobody can tell any more.
	EventGap EventType = "gap"
)

// EventTypes returns the types of events.
func EventTypes() []EventType {
	return []EventType{EventConnect, EventDisconnect, EventDenial, EventServerUp, EventServerDown, EventLameDuck, EventChange, EventSync, EventDrift, EventGap}
}

// EventID is the place of an event in the log of one process. The zero value is before
// everything.
type EventID struct {
	// Epoch is of the run of the process, Seq grows by one with each event in it.
	Epoch, Seq uint64
}

const eventPrefix = "evt_"

// String writes it as evt_EPOCH_SEQ, "" for the zero value.
func (id EventID) String() string {
	if id == (EventID{}) {
		return ""
	}
	return eventPrefix + strconv.FormatUint(id.Epoch, 36) + "_" + strconv.FormatUint(id.Seq, 10)
}

// ParseEventID reads what String writes.
func ParseEventID(s string) (id EventID, ok bool) {
	if s == "" {
		return EventID{}, true
	}
	rest, prefixed := strings.CutPrefix(s, eventPrefix)
	epoch, seq, cut := strings.Cut(rest, "_")
	var err, err2 error
	id.Epoch, err = strconv.ParseUint(epoch, 36, 64)
	id.Seq, err2 = strconv.ParseUint(seq, 10, 64)
	return id, prefixed && cut && err == nil && err2 == nil
}

// Client is who connects, as the server and the user JWT tell it. The JWT itself is a
// credential where the user is a bearer: it is read and dropped.
type Client struct {
	// CID is the connection's number on its server.
	CID                  uint64
	ServerID, ServerName string
	// UserKey is U…, UserName the name in the JWT; IssuerKey signed it. Empty without a
	// JWT that can be read.
	UserKey, UserName, IssuerKey string
	// Client is the name that the client gave itself, Host its IP address, Type nats, mqtt,
	// websocket or leaf.
	Client, Host, Type string
	Lang, Version      string
}

// Event is one thing that happened.
type Event struct {
	ID   EventID
	Type EventType
	At   time.Time
	// OperatorID is empty only for a gap that concerns all, AccountID for what concerns
	// the whole operator.
	OperatorID, AccountID string
	// Client is of connects, disconnects and denials; others use its server at most.
	Client
	// Reason is the server's or Chancery's own word: why a connection ended, the check
	// that failed, the state of a delivery.
	Reason string
	// Text says it in a sentence; may be empty.
	Text string
	// Version is the JWT version that a change or a sync speaks of.
	Version int64
	// DenialID leads to the group of a denial.
	DenialID string
}

// Sight is what a caller may see. Nothing is counted before it was asked. The zero
// value sees nothing. Its functions must be fast and safe for concurrent use.
type Sight struct {
	// Of tells whether what concerns an account may be seen, or, with accountID "", what
	// concerns a whole operator.
	Of func(operatorID, accountID string) bool
	// Part tells whether anything of an operator may be seen: then the reader is told
	// that something of it is missing.
	Part func(operatorID string) bool
}

// Sees tells whether what concerns an account, or with "" a whole operator, may be
// seen.
func (s Sight) Sees(operatorID, accountID string) bool {
	return s.Of != nil && s.Of(operatorID, accountID)
}

// SeesEvent tells whether an event may be seen.
func (s Sight) SeesEvent(e Event) bool {
	if e.Type == EventGap {
		return e.OperatorID == "" || s.Part != nil && s.Part(e.OperatorID)
	}
	return s.Sees(e.OperatorID, e.AccountID)
}

// ErrNoConnection tells that a server has no such connection.
var ErrNoConnection = errors.New("there is no such connection")

// EventQuery asks for events.
type EventQuery struct {
	Sight Sight
	// After is the last event that the reader has; the zero value begins with the oldest
	// that is kept.
	After EventID
	// Newest takes the last ones instead of the first ones after After, which is not looked at.
	Newest bool
	// Types keeps some; none keeps all. A gap always passes.
	Types []EventType
	// AccountID keeps those of one account; "" keeps all.
	AccountID string
	// Limit is how many at most; with Newest, 0 asks for the place of the last one.
	Limit int
}

// EventPage is what a query found, in the order in which it happened. It begins with a
// gap when events after q.After are lost.
type EventPage struct {
	Events []Event
	// Next is the After of the next query: everything up to it was looked at.
	Next EventID
	// More is closed when there is something after Next.
	More <-chan struct{}
}

// LiveConnection is a connection with where it belongs.
type LiveConnection struct {
	OperatorID, AccountID string
	Connection
}

// ConnectionQuery asks for connections; empty fields keep all.
type ConnectionQuery struct {
	Sight      Sight
	OperatorID string
	AccountID  string
	// User is the key or the name in the JWT, IssuerKey the key that signed it; Server is a
	// key or a name, Client a part of the name that the client gave itself.
	User, IssuerKey      string
	Server, Client, Host string
	// After is the place of the last one that the reader has: ConnectionPlace.
	After string
	Limit int
}

// ConnectionPlace orders connections: by the name and key of the server, then by
// number.
func ConnectionPlace(c Connection) string {
	return fmt.Sprintf("%s\x00%s\x00%016x", c.ServerName, c.ServerID, c.CID)
}

// ConnectionPage is a page of connections by server and number.
type ConnectionPage struct {
	Connections []LiveConnection
	// Total is how many the query keeps, on all pages.
	Total int
	// Incomplete says in a sentence why there may be others; "" when there are none as
	// far as the servers have told.
	Incomplete string
}

// Seen is when the servers last had a user key connected.
type Seen struct {
	At         time.Time
	ServerName string
	Host       string
	// Now is how many connections it has.
	Now int
}

// AccountUsage is what a server tells of an account.
type AccountUsage struct {
	ServerID, ServerName        string
	Connections, LeafNodes      int
	Subscriptions               int64
	SentMsgs, SentBytes         int64
	ReceivedMsgs, ReceivedBytes int64
	SlowConsumers               int64
	At                          time.Time
}

// LiveEvents is what the system events of the servers tell: who is connected, who was
// refused, what happened. It is of this process and its run: nothing of it is stored.
type LiveEvents interface {
	// Events returns events after a place.
	Events(q EventQuery) EventPage
	// FindEvent returns an event that is still kept and in sight.
	FindEvent(id EventID, sight Sight) (Event, bool)
	// ListConnections returns a page of the live connections as the events tell them.
	ListConnections(q ConnectionQuery) ConnectionPage
	// FindConnection returns a connection by its server, by key or name, and number.
	FindConnection(server string, cid uint64) (LiveConnection, bool)
	// Denials returns a page of the groups of denials.
	Denials(q DenialQuery) DenialPage
	// FindDenial returns a group that is still kept and in sight.
	FindDenial(id string, sight Sight) (Denial, bool)
	// LastSeen tells when each user key of an account was last connected, as far as that
	// is known since the process started.
	LastSeen(accountID string, keys []string) map[string]Seen
	// Usage returns what each server tells of an account, by name.
	Usage(accountID string) []AccountUsage
	// Kick closes a connection of an operator's server. The client may come back at once.
	Kick(ctx context.Context, operatorID, serverID string, cid uint64) error
}

// EventStream asks for events as they happen.
type EventStream struct {
	// Reader is who reads, for whom streams are counted. Tenant is the place that the reader
	// is bound to, whose readers are counted together; empty for who is bound to none.
	Reader, Tenant string
	// Sight is asked at the start and every few seconds: an error ends the stream.
	Sight func(ctx context.Context) (Sight, error)
	// Query says what and from where on; its Sight and Limit are not looked at. With
	// Newest it begins with what happens from now on.
	Query EventQuery
}
