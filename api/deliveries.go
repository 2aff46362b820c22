package api

import (
	"context"
	"errors"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// Sync is how far an account's current JWT got.
type Sync struct {
	State     string       `json:"state" enum:"in_effect,servers_missing,partial,pending,error,no_servers" doc:"servers_missing: in effect on all servers that answer, which are fewer than expected."`
	Revision  int64        `json:"revision" doc:"Counts the account's signed JWTs."`
	IssuedAt  time.Time    `json:"issued_at"`
	Connected bool         `json:"connected" doc:"Whether Chancery reaches the operator's servers."`
	Total     int          `json:"servers_total"`
	InEffect  int          `json:"servers_in_effect" doc:"Servers on which nothing older can be in force."`
	Expected  int          `json:"servers_expected" doc:"How many servers there are to be, by the operator's policy; 0 where no number is set."`
	Missing   int          `json:"servers_missing" doc:"How many of those do not answer."`
	Servers   []SyncServer `json:"servers"`
}

// SyncServer is the delivery to one server.
type SyncServer struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"`
	State    string     `json:"state" enum:"pending,sent,acknowledged,stored,in_effect,not_loaded,error"`
	Revision int64      `json:"revision" doc:"The revision that the state speaks of."`
	SentAt   *time.Time `json:"sent_at,omitempty"`
	AckedAt  *time.Time `json:"acknowledged_at,omitempty" doc:"When the server said that it took it, which proves nothing."`
	At       *time.Time `json:"at,omitempty" doc:"When it was proven by reading back."`
	Error    string     `json:"error,omitempty" doc:"The server's own words."`
}

func viewSync(s claims.Sync) *Sync {
	out := &Sync{State: s.State(), Revision: s.Version, IssuedAt: time.Unix(s.IssuedAt, 0).UTC(), Connected: s.Connected, Total: len(s.Servers), InEffect: s.InEffect(), Expected: s.Expected, Missing: s.Missing(), Servers: []SyncServer{}}
	for _, d := range s.Servers {
		x := SyncServer{ID: d.ServerID, Name: d.ServerName, State: string(d.State), Revision: d.Version, Error: claims.Redact(d.Error)}
		for to, at := range map[**time.Time]time.Time{&x.SentAt: d.Sent, &x.AckedAt: d.Acknowledged, &x.At: d.Proven} {
			if !at.IsZero() {
				*to = &at
			}
		}
		out.Servers = append(out.Servers, x)
	}
	return out
}

// AccountPath names an account.
type AccountPath struct {
	Account string `path:"account" maxLength:"64" doc:"Name or public key." example:"ORDERS"`
}

type syncInput struct {
	AccountPath
	Prefer string `header:"Prefer" maxLength:"100" doc:"wait=N waits up to N seconds (at most 30) until the current JWT is in effect everywhere."`
}

func (a *API) getSync(ctx context.Context, by call, in *syncInput) (*saved[Sync], error) {
	acct, err := a.issuer.GetAccount(ctx, by.caller, in.Account)
	if err != nil {
		return nil, err
	}
	s, err := a.sync(ctx, Change{Prefer: in.Prefer}.wait(), acct.ID, acct.JWTVersion)
	if err != nil {
		return nil, err
	}
	return &saved[Sync]{Body: *viewSync(s)}, nil
}

// Connection is a live client connection.
type Connection struct {
	ServerID   string    `json:"server_id"`
	ServerName string    `json:"server_name"`
	CID        uint64    `json:"cid" doc:"The connection's number on its server."`
	UserKey    string    `json:"user_key"`
	IssuerKey  string    `json:"issuer_key"`
	Client     string    `json:"client" doc:"The name the client gave itself."`
	Host       string    `json:"host"`
	Type       string    `json:"type"`
	Lang       string    `json:"lang"`
	Version    string    `json:"version"`
	Since      time.Time `json:"since"`
}

func (a *API) listConnections(ctx context.Context, by call, in *AccountPath) (*paged[Connection], error) {
	acct, err := a.issuer.GetWholeAccount(ctx, by.caller, in.Account)
	if err != nil {
		return nil, err
	}
	all, err := a.live.Connections(ctx, acct.ID)
	if errors.Is(err, claims.ErrNotConnected) {
		return nil, &issuer.Error{
			Kind: issuer.KindBusy, Code: "servers_unreachable", Message: "No nats-server of the operator can be reached.",
			Hint: "Check the operator's service URLs and that its servers run.",
		}
	}
	if err != nil {
		return nil, err
	}
	out := &paged[Connection]{Body: Page[Connection]{Items: make([]Connection, 0, len(all))}}
	for _, c := range all {
		out.Body.Items = append(out.Body.Items, viewConnection(c))
	}
	return out, nil
}
