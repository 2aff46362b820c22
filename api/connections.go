package api

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

func connectionRoutes() []route {
	const get, del = http.MethodGet, http.MethodDelete
	return []route{
		{get, "/connections", "listAllConnections", "List live connections of all accounts", issuer.ReadConnections, 200, 0, fast, handle((*API).listAllConnections)},
		{get, "/connections/{server}/{cid}", "getConnection", "Read a live connection", issuer.ReadConnections, 200, 0, fast, handle((*API).getConnection)},
		{del, "/connections/{server}/{cid}", "kickConnection", "Close a live connection; the client may come back", issuer.KickConnections, 200, 0, fast, handle((*API).kickConnection)},
		{get, "/accounts/{account}/usage", "getUsage", "What each server tells of an account's connections", issuer.ReadConnections, 200, 0, fast, handle((*API).getUsage)},
		{get, "/denials", "listDenials", "List who was refused, grouped by user key or host and by reason, the last one first", issuer.ReadConnections, 200, 0, fast, handle((*API).listDenials)},
		{get, "/denials/{denial}", "getDenial", "Read why a client was refused", issuer.ReadConnections, 200, 0, fast, handle((*API).getDenial)},
		{get, "/events", "listEvents", "What happens: as a page, or as a stream that is resumed with Last-Event-ID", issuer.ReadConnections, 200, 0, streaming, handle((*API).listEvents)},
	}
}

// ListedConnection is a live connection with where it belongs.
type ListedConnection struct {
	Connection
	OperatorID   string     `json:"operator_id"`
	AccountID    string     `json:"account_id,omitempty"`
	Account      string     `json:"account,omitempty" doc:"The account's name."`
	User         string     `json:"user,omitempty" doc:"To whom the key was issued; else the name in the JWT."`
	UserID       string     `json:"user_id,omitempty"`
	Template     string     `json:"template,omitempty" doc:"The template that the key carries which signed the JWT."`
	JWTIssuedAt  *time.Time `json:"jwt_issued_at,omitempty"`
	JWTExpiresAt *time.Time `json:"jwt_expires_at,omitempty"`
	Bearer       bool       `json:"bearer,omitempty"`
	Plan         *Plan      `json:"plan,omitempty"`
	Note         string     `json:"note,omitempty" doc:"What to know after the connection was closed."`
	// RevokeURL is where the user's credentials are revoked.
	RevokeURL string `json:"revoke_url,omitempty" doc:"PUT here revokes what was issued to the key, which keeps the client out."`
}

func viewConnection(c claims.Connection) Connection {
	return Connection{
		ServerID: c.ServerID, ServerName: c.ServerName, CID: c.CID, UserKey: c.UserKey, IssuerKey: c.IssuerKey, Client: claims.Redact(c.Client),
		Host: c.Host, Type: c.Type, Lang: c.Lang, Version: c.Version, Since: c.Since,
	}
}

func partyOf(c claims.LiveConnection) issuer.PartyKey {
	return issuer.PartyKey{AccountID: c.AccountID, UserKey: c.UserKey, IssuerKey: c.IssuerKey}
}

func viewListedConnection(c claims.LiveConnection, p issuer.Party) ListedConnection {
	v := ListedConnection{
		Connection: viewConnection(c.Connection), OperatorID: c.OperatorID, AccountID: c.AccountID, Account: p.Account, User: p.User, UserID: p.UserID, Template: p.Template,
	}
	if c.User != nil {
		v.User = cmp.Or(v.User, claims.Redact(c.User.Name))
		v.JWTIssuedAt, v.JWTExpiresAt, v.Bearer = unixTime(c.User.IssuedAt), unixTime(c.User.Expires), c.User.Bearer
	}
	if claims.IsPublicKey(claims.KindUser, c.UserKey) && c.AccountID != "" {
		v.RevokeURL = Base + "/accounts/" + c.AccountID + "/revocations/" + c.UserKey
	}
	return v
}

// ConnectionFilters keep some of the connections.
type ConnectionFilters struct {
	Operator string `query:"operator" maxLength:"64" doc:"Name or public key."`
	Account  string `query:"account" maxLength:"64" doc:"Name or public key."`
	User     string `query:"user" maxLength:"64" doc:"Public key U…, or the name in the JWT."`
	Key      string `query:"key" maxLength:"64" doc:"Public key that signed the JWT."`
	Server   string `query:"server" maxLength:"256" doc:"Name or public key."`
	Client   string `query:"client" maxLength:"64" doc:"A part of the name that the client gave itself."`
	Host     string `query:"host" maxLength:"64" doc:"The client's IP address."`
}

func (f ConnectionFilters) values() url.Values {
	return url.Values{"operator": {f.Operator}, "account": {f.Account}, "user": {f.User}, "key": {f.Key}, "server": {f.Server}, "client": {f.Client}, "host": {f.Host}}
}

type listAllConnectionsInput struct {
	List
	ConnectionFilters
}

// ConnectionList is one page of connections.
type ConnectionList struct {
	Page[ListedConnection]
	Total      int    `json:"total" doc:"How many the filters keep, on all pages."`
	Incomplete string `json:"incomplete,omitempty" doc:"Why there may be others."`
}

type connectionsAnswer struct {
	Link string `header:"Link" doc:"rel=next, as in RFC 8288."`
	Body ConnectionList
}

func (a *API) listAllConnections(ctx context.Context, by call, in *listAllConnectionsInput) (*connectionsAnswer, error) {
	name := "connections?" + in.values().Encode()
	c, limit, err := in.position(name)
	if err != nil {
		return nil, err
	}
	s, err := a.issuer.Sight(ctx, by.caller, in.Operator, in.Account)
	if err != nil {
		return nil, err
	}
	found := a.live.ListConnections(claims.ConnectionQuery{
		Sight: s.Sight, OperatorID: s.OperatorID, AccountID: s.AccountID, User: in.User, IssuerKey: in.Key, Server: in.Server, Client: in.Client, Host: in.Host,
		After: c.ID, Limit: limit + 1,
	})
	var keys []issuer.PartyKey
	for _, x := range found.Connections {
		keys = append(keys, partyOf(x))
	}
	known, err := a.issuer.Parties(ctx, by.caller, keys)
	if err != nil {
		return nil, err
	}
	page := turn(found.Connections, limit, in.link(in.values(), "connections"), func(x claims.LiveConnection) ListedConnection {
		return viewListedConnection(x, known[partyOf(x)])
	}, func(x claims.LiveConnection) cursor {
		return cursor{List: name, ID: claims.ConnectionPlace(x.Connection)}
	})
	return &connectionsAnswer{Link: page.Link, Body: ConnectionList{Page: page.Body, Total: found.Total, Incomplete: found.Incomplete}}, nil
}

// ConnectionPath names a connection.
type ConnectionPath struct {
	Server string `path:"server" maxLength:"256" doc:"The server's name or public key." example:"n1"`
	CID    uint64 `path:"cid" doc:"The connection's number on its server." example:"42"`
}

func (p ConnectionPath) ref() issuer.ConnectionRef {
	return issuer.ConnectionRef{Server: p.Server, CID: p.CID}
}

func (a *API) getConnection(ctx context.Context, by call, in *ConnectionPath) (*saved[ListedConnection], error) {
	c, err := a.issuer.GetConnection(ctx, by.caller, in.ref())
	if err != nil {
		return nil, err
	}
	known, err := a.issuer.Parties(ctx, by.caller, []issuer.PartyKey{partyOf(c)})
	if err != nil {
		return nil, err
	}
	return &saved[ListedConnection]{Body: viewListedConnection(c, known[partyOf(c)])}, nil
}

type kickInput struct {
	ConnectionPath
	Change
	Reason string `query:"reason" maxLength:"500" doc:"Required: it goes on record." example:"floods the stream"`
}

func (a *API) kickConnection(ctx context.Context, by call, in *kickInput) (*saved[ListedConnection], error) {
	op, err := in.op(by, in.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.Kick(ctx, op, in.ref())
	if err != nil {
		return nil, err
	}
	body := viewListedConnection(out.Value, issuer.Party{})
	body.Plan = in.plan(out.Plan)
	if !in.DryRun {
		body.Note = "The connection is closed. The client may come back at once with the same credentials; revoke them to keep it out."
	}
	return &saved[ListedConnection]{Body: body}, nil
}

// Usage is what servers tell of an account.
type Usage struct {
	Servers []ServerUsage `json:"servers"`
}

// ServerUsage is what one server tells of an account.
type ServerUsage struct {
	ServerID      string    `json:"server_id"`
	ServerName    string    `json:"server_name"`
	Connections   int       `json:"connections"`
	LeafNodes     int       `json:"leaf_nodes"`
	Subscriptions int64     `json:"subscriptions"`
	SentMsgs      int64     `json:"sent_messages"`
	SentBytes     int64     `json:"sent_bytes"`
	ReceivedMsgs  int64     `json:"received_messages"`
	ReceivedBytes int64     `json:"received_bytes"`
	SlowConsumers int64     `json:"slow_consumers"`
	At            time.Time `json:"at" doc:"When the server told; it does at each change and every 30 s."`
}

func (a *API) getUsage(ctx context.Context, by call, in *AccountPath) (*saved[Usage], error) {
	s, err := a.issuer.Sight(ctx, by.caller, "", in.Account)
	if err != nil {
		return nil, err
	}
	out := Usage{Servers: []ServerUsage{}}
	for _, u := range a.live.Usage(s.AccountID) {
		out.Servers = append(out.Servers, ServerUsage{
			ServerID: u.ServerID, ServerName: u.ServerName, Connections: u.Connections, LeafNodes: u.LeafNodes, Subscriptions: u.Subscriptions, SentMsgs: u.SentMsgs,
			SentBytes: u.SentBytes, ReceivedMsgs: u.ReceivedMsgs, ReceivedBytes: u.ReceivedBytes, SlowConsumers: u.SlowConsumers, At: u.At,
		})
	}
	return &saved[Usage]{Body: out}, nil
}
