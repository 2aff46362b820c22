package api

import (
	"cmp"
	"context"
	"net/url"
	"strconv"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// Server is a nats-server that answers on the system account, or is missing there.
type Server struct {
	ID          string         `json:"id" doc:"The server key N…, new at each start; empty of a missing one."`
	Name        string         `json:"name"`
	Cluster     string         `json:"cluster"`
	Version     string         `json:"version"`
	State       string         `json:"state" enum:"in_step,behind,untrusting,lame_duck,missing" doc:"in_step: has the newest JWT of every account. behind: not of every account. untrusting: does not trust what the operator's JWT in force says. lame_duck: is sending its clients away. missing: is expected and does not answer."`
	Resolver    string         `json:"resolver" enum:"full,cache,other,unknown" doc:"How it gets accounts: full keeps all on its disk, cache those in use, other has a URL or its configuration."`
	JetStream   bool           `json:"jetstream"`
	StartedAt   *time.Time     `json:"started_at,omitempty" doc:"By its own clock."`
	LastSeen    time.Time      `json:"last_seen"`
	Fingerprint string         `json:"operator_fingerprint,omitempty" doc:"That of the operator JWT which the server loaded when it started; absent while it has not told." example:"3f1c-90aa-77b2-04de"`
	InEffect    *bool          `json:"operator_in_effect" nullable:"true" doc:"Whether it trusts what the operator's JWT in force says; if not, give it that JWT and restart it. Null while it has not told."`
	Accounts    map[string]int `json:"accounts" doc:"How many accounts are in each state of their newest JWT."`
	Behind      int            `json:"accounts_behind" doc:"How many are in a state in which something older may be in force."`
}

// Fleet is all servers of an operator.
type Fleet struct {
	Items     []Server `json:"items"`
	Cursor    string   `json:"next_cursor" doc:"Always empty."`
	State     string   `json:"state" enum:"in_step,behind,servers_missing,no_servers"`
	Connected bool     `json:"connected" doc:"Whether Chancery reaches the operator's servers."`
	Expected  int      `json:"servers_expected" doc:"How many there are to be, by the operator's policy; 0 where no number is set."`
	Suggested int      `json:"servers_suggested" doc:"How many were seen in the last seven days."`
	Reachable int      `json:"servers_reachable" doc:"How many answer."`
	InStep    int      `json:"servers_in_step" doc:"How many of those have the newest JWT of every account."`
	Missing   int      `json:"servers_missing" doc:"How many are expected and do not answer. Those that were ever seen are in items."`
	Accounts  int      `json:"accounts"`
	Confirmed int      `json:"accounts_in_effect" doc:"How many are in effect on every server that answers."`
	// The rest is about what is not proven everywhere.
	OldestChange     *Unconfirmed `json:"oldest_unconfirmed_change,omitempty"`
	OldestRevocation *Unconfirmed `json:"oldest_unconfirmed_revocation,omitempty"`
}

// Unconfirmed is a change that is not proven on every server.
type Unconfirmed struct {
	Account string    `json:"account_id"`
	Since   time.Time `json:"since"`
}

func viewUnconfirmed(account string, since time.Time) *Unconfirmed {
	if since.IsZero() {
		return nil
	}
	return &Unconfirmed{account, since}
}

type listServersOutput struct{ Body Fleet }

func (a *API) listServers(ctx context.Context, by call, in *OperatorPath) (*listServersOutput, error) {
	of, err := a.issuer.Servers(ctx, by.caller, in.Operator)
	if err != nil {
		return nil, err
	}
	f, err := a.live.Fleet(ctx, of.Operator.ID, of.Within)
	if err != nil {
		return nil, err
	}
	out := Fleet{
		Items: []Server{}, State: f.State(), Connected: f.Connected, Expected: f.Expected, Suggested: f.Suggested, Reachable: len(f.Servers), InStep: f.InStep(),
		Missing: f.Absent(), Accounts: f.Accounts, Confirmed: f.Confirmed,
		OldestChange: viewUnconfirmed(f.OldestChangeAccount, f.OldestChange), OldestRevocation: viewUnconfirmed(f.OldestRevocationAccount, f.OldestRevocation),
	}
	for _, s := range f.Servers {
		out.Items = append(out.Items, viewServer(s, of.Fingerprint))
	}
	for _, m := range f.Missing {
		out.Items = append(out.Items, Server{Name: m.Name, Cluster: m.Cluster, Version: m.Version, State: "missing", Resolver: "unknown", LastSeen: m.LastSeen, Accounts: map[string]int{}})
	}
	return &listServersOutput{out}, nil
}

func viewServer(s claims.FleetServer, fingerprint string) Server {
	out := Server{
		ID: s.ID, Name: s.Name, Cluster: s.Cluster, Version: s.Version, State: string(s.State(fingerprint)), Resolver: cmp.Or(string(s.Resolver), "unknown"), JetStream: s.JetStream,
		LastSeen: s.LastSeen, Accounts: map[string]int{}, Behind: s.Behind,
	}
	if !s.Started.IsZero() {
		out.StartedAt = &s.Started
	}
	if s.Trust != nil {
		same := s.Trust.Fingerprint == fingerprint
		out.Fingerprint, out.InEffect = s.Trust.Fingerprint, &same
	}
	for state, n := range s.Accounts {
		out.Accounts[string(state)] = n
	}
	return out
}

// AccountDelivery is how far the newest JWT of one account got.
type AccountDelivery struct {
	AccountID string `json:"account_id"`
	Account   string `json:"account"`
	Sync
}

type listDeliveriesInput struct {
	OperatorPath
	List
	All    bool   `query:"all" doc:"Those in effect on every server too, which are left out otherwise."`
	State  string `query:"state" enum:"pending,sent,acknowledged,stored,in_effect,not_loaded,error" doc:"Accounts that are in this state on a server."`
	Server string `query:"server" maxLength:"64" doc:"Look at this server alone, by name or key."`
	Q      string `query:"q" maxLength:"64" doc:"Accounts whose name contains this, without regard to case, or whose key it is."`
}

func (a *API) listDeliveries(ctx context.Context, by call, in *listDeliveriesInput) (*paged[AccountDelivery], error) {
	filters := url.Values{"state": {in.State}, "server": {in.Server}, "q": {in.Q}, "all": {""}}
	if in.All {
		filters.Set("all", strconv.FormatBool(in.All))
	}
	name := "deliveries?" + filters.Encode()
	from, limit, err := in.position(name)
	if err != nil {
		return nil, err
	}
	of, err := a.issuer.Servers(ctx, by.caller, in.Operator)
	if err != nil {
		return nil, err
	}
	rows, _, err := a.live.Deliveries(ctx, claims.DeliveryQuery{
		OperatorID: of.Operator.ID, Within: of.Within, All: in.All, State: claims.DeliveryState(in.State), Server: in.Server, Search: in.Q,
		AfterName: from.Name, AfterID: from.ID, Limit: limit + 1,
	})
	if err != nil {
		return nil, err
	}
	return turn(rows, limit, in.link(filters, "operators", in.Operator, "deliveries"), func(s claims.AccountSync) AccountDelivery {
		return AccountDelivery{AccountID: s.AccountID, Account: s.Name, Sync: *viewSync(s.Sync)}
	}, func(s claims.AccountSync) cursor {
		return cursor{List: name, Name: s.Name, ID: s.AccountID}
	}), nil
}

// PushInput says what is pushed again.
type PushInput struct {
	All      bool     `json:"all,omitempty" doc:"All accounts of the operator."`
	Accounts []string `json:"accounts,omitempty" maxItems:"500" doc:"Names or public keys, instead of all." example:"[\"ORDERS\"]"`
	Reason   string   `json:"reason,omitempty" maxLength:"1000" doc:"For the audit log."`
}

type pushAgainInput struct {
	OperatorPath
	Change
	Body PushInput
}

// Pushed is what is pushed again.
type Pushed struct {
	Accounts  int64 `json:"accounts" doc:"How many are read back from every server, and pushed where one has something else."`
	Reachable int   `json:"servers_reachable"`
	Expected  int   `json:"servers_expected" doc:"0 where no number is set."`
	Plan      *Plan `json:"plan,omitempty"`
}

type pushAgainOutput struct {
	Status int
	Body   Pushed
}

func (a *API) pushAgain(ctx context.Context, by call, in *pushAgainInput) (*pushAgainOutput, error) {
	op, err := in.op(by, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.PushAgain(ctx, op, in.Operator, issuer.PushInput{All: in.Body.All, Accounts: in.Body.Accounts})
	if err != nil {
		return nil, err
	}
	status := 202
	if in.DryRun {
		status = 200
	}
	return &pushAgainOutput{status, Pushed{
		Accounts: out.Value.Accounts, Reachable: len(a.live.Servers(out.Value.OperatorID)), Expected: int(out.Value.Expected), Plan: in.plan(out.Plan),
	}}, nil
}
