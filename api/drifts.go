package api

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// Drift is something that nats-servers hold, or were sent, and were not given by Chancery.
type Drift struct {
	ID         string        `json:"id"`
	OperatorID string        `json:"operator_id"`
	AccountID  string        `json:"account_id"`
	Account    string        `json:"account" doc:"The account's name; of an unknown account, as its JWT calls it."`
	ServerID   string        `json:"server_id,omitempty" doc:"The server that holds it; absent where it was pushed to all, or where a server does not say whose disk it is."`
	Server     string        `json:"server,omitempty"`
	Kind       string        `json:"kind" enum:"foreign_newer,foreign_older,untrusted,unknown_account,missing,deleted" doc:"A newer or older JWT by a trusted key; one that servers store and will not load; an account not known here; one that is not on a disk; a request to delete one."`
	State      string        `json:"state" enum:"open,healed,adopted,ignored" doc:"healed and adopted are proven by reading every server."`
	Decision   string        `json:"decision,omitempty" enum:"keep,adopt,ignore"`
	DecidedBy  string        `json:"decided_by,omitempty" doc:"Who decided; system/drift is the operator's policy."`
	Seen       string        `json:"seen" enum:"pushed,memory,disk" doc:"Where it was noticed."`
	Times      int64         `json:"times" doc:"How often it was noticed while open."`
	Signer     string        `json:"signer,omitempty" doc:"The key that signed what was found."`
	IssuedAt   *time.Time    `json:"issued_at,omitempty"`
	Revision   int64         `json:"revision,omitempty" doc:"The account's revision that servers should have had."`
	Detail     string        `json:"detail,omitempty" doc:"What is the matter, in a sentence."`
	Changes    []DriftChange `json:"changes" doc:"How what was found differs from ours."`
	JWT        string        `json:"jwt,omitempty" doc:"What was found; only a single record has it, and only the newest ones."`
	FoundAt    time.Time     `json:"found_at"`
	LastSeenAt time.Time     `json:"last_seen_at"`
	ClosedAt   *time.Time    `json:"closed_at,omitempty"`
	Took       float64       `json:"took_seconds,omitempty" doc:"From the first notice to the end."`
	Plan       *Plan         `json:"plan,omitempty"`
}

// DriftChange is one difference from ours to what was found.
type DriftChange struct {
	Path   string `json:"path" doc:"JSON pointer into the claims."`
	Ours   string `json:"ours,omitempty"`
	Theirs string `json:"theirs,omitempty"`
	Text   string `json:"text" example:"Connections: 10 → 500"`
}

func viewDrift(d issuer.Drift) Drift {
	out := Drift{
		ID: d.ID, OperatorID: d.OperatorID, AccountID: d.AccountID, Account: claims.Redact(d.AccountName), ServerID: d.ServerID, Server: d.ServerName,
		Kind: string(d.Kind), State: string(d.State), Decision: string(d.Decision), DecidedBy: d.DecidedBy, Seen: string(d.Seen), Times: d.Times,
		Signer: d.Signer, IssuedAt: unixTime(d.IssuedAt), Revision: d.OursVersion, Detail: d.Detail, Changes: []DriftChange{}, JWT: d.JWT,
		FoundAt: d.Found, LastSeenAt: d.Last,
	}
	for _, c := range d.Diff {
		out.Changes = append(out.Changes, DriftChange{c.Pointer, claims.Redact(c.Ours), claims.Redact(c.Theirs), claims.Redact(c.Text)})
	}
	if !d.Closed.IsZero() {
		out.ClosedAt, out.Took = &d.Closed, d.Closed.Sub(d.Found).Seconds()
	}
	return out
}

// DriftPage is one page of drift, and how current it is.
type DriftPage struct {
	Page[Drift]
	SweptRecent *time.Time `json:"recent_read_at,omitempty" doc:"When the accounts that changed within the hour were last read on the servers."`
	SweptAll    *time.Time `json:"all_read_at,omitempty" doc:"When all accounts were."`
}

type driftsOutput struct {
	Link string `header:"Link" doc:"rel=next, as in RFC 8288."`
	Body DriftPage
}

type listDriftsInput struct {
	OperatorPath
	List
	State string `query:"state" enum:"open,healed,adopted,ignored" doc:"Keep what is in one state."`
}

func (a *API) listDrifts(ctx context.Context, by call, in *listDriftsInput) (*driftsOutput, error) {
	name := "drifts " + in.Operator + "?state=" + in.State
	c, limit, err := in.position(name)
	if err != nil {
		return nil, err
	}
	q := issuer.DriftQuery{Operator: in.Operator, State: claims.DriftState(in.State), Limit: limit + 1}
	if c.ID != "" {
		us, err := strconv.ParseInt(c.Name, 10, 64)
		if err != nil {
			return nil, invalidCursor()
		}
		q.Before, q.BeforeID = time.UnixMicro(us).UTC(), c.ID
	}
	list, err := a.issuer.ListDrifts(ctx, by.caller, q)
	if err != nil {
		return nil, err
	}
	page := turn(list.Items, limit, in.link(url.Values{"state": {in.State}}, "operators", in.Operator, "drifts"), viewDrift, func(d issuer.Drift) cursor {
		return cursor{List: name, Name: strconv.FormatInt(d.Found.UnixMicro(), 10), ID: d.ID}
	})
	out := &driftsOutput{Link: page.Link, Body: DriftPage{Page: page.Body}}
	if !list.Recent.IsZero() {
		out.Body.SweptRecent = &list.Recent
	}
	if !list.Whole.IsZero() {
		out.Body.SweptAll = &list.Whole
	}
	return out, nil
}

// DriftPath names a record of drift.
type DriftPath struct {
	Drift string `path:"drift" maxLength:"64" doc:"The record's id, drf_…."`
}

func (a *API) getDrift(ctx context.Context, by call, in *DriftPath) (*saved[Drift], error) {
	d, err := a.issuer.GetDrift(ctx, by.caller, in.Drift)
	if err != nil {
		return nil, err
	}
	return &saved[Drift]{Body: viewDrift(d)}, nil
}

// DriftDecision says what becomes of a drift.
type DriftDecision struct {
	Decision string `json:"decision" enum:"keep,adopt,ignore" doc:"keep: ours is signed anew, later than theirs, with what theirs revokes. adopt: ours takes over what theirs says. ignore: the servers keep it."`
	Reason   string `json:"reason,omitempty" maxLength:"1024" example:"nobody knows who pushed it"`
}

type decideDriftInput struct {
	DriftPath
	Change
	Body DriftDecision
}

func (a *API) decideDrift(ctx context.Context, by call, in *decideDriftInput) (*saved[Drift], error) {
	op, err := in.op(by, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.DecideDrift(ctx, op, in.Drift, claims.DriftDecision(in.Body.Decision))
	if err != nil {
		return nil, err
	}
	body := viewDrift(out.Value)
	body.Plan = in.plan(out.Plan)
	return &saved[Drift]{Body: body}, nil
}

func driftRoutes() []route {
	const drift = "/drifts/{drift}"
	return []route{
		{"GET", "/operators/{operator}/drifts", "listDrifts", "List what servers hold or were sent that is not Chancery's, the newest first", issuer.ReadServers, 200, 0, fast, handle((*API).listDrifts)},
		{"GET", drift, "getDrift", "Read a drift, with how it differs from ours", issuer.ReadServers, 200, 0, fast, handle((*API).getDrift)},
		{"POST", drift + "/decision", "decideDrift", "Keep ours, adopt theirs, or ignore a drift", issuer.WriteServers, 200, small, waiting, handle((*API).decideDrift)},
	}
}
