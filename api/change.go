package api

import (
	"context"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// Change is the headers and query of every mutation.
type Change struct {
	DryRun         bool     `query:"dry_run" doc:"Check everything and answer with the plan; store nothing."`
	IfMatch        string   `header:"If-Match" maxLength:"100" doc:"The ETag you read; 412 if the object changed since."`
	IdempotencyKey string   `header:"Idempotency-Key" maxLength:"255" doc:"Repeated within a day, the request is answered as before, without secrets, and not done again."`
	Override       []string `query:"override" maxItems:"12" doc:"Guards that are not to hold the change up, comma separated: a refusal with code would_lock_out names the guard. Goes on record."`
	Prefer         string   `header:"Prefer" maxLength:"100" doc:"wait=N waits up to N seconds (at most 30) until the change is in effect on every server."`
}

var etagRE = regexp.MustCompile(`^"r([1-9][0-9]{0,17})"$`)

func etag(version int64) string { return `"r` + strconv.FormatInt(version, 10) + `"` }

// op returns the circumstances of the change.
func (c Change) op(by call, reason string) (issuer.Op, error) {
	op := issuer.Op{Caller: by.caller, RequestID: by.requestID, DryRun: c.DryRun, IdempotencyKey: claims.Redact(c.IdempotencyKey), Fingerprint: by.fingerprint[:], Reason: reason}
	for _, g := range c.Override {
		op.Override = append(op.Override, issuer.Guard(g))
	}
	switch m := etagRE.FindStringSubmatch(c.IfMatch); {
	case c.IfMatch == "" || c.IfMatch == "*":
	case m == nil:
		return op, &issuer.Error{Kind: issuer.KindStale, Code: "stale", Message: "If-Match holds no ETag of this API.", Hint: `Send the ETag you were given, such as "r3", or leave the header out.`}
	default:
		version, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			return op, err
		}
		op.ExpectedVersion = version
	}
	return op, nil
}

// maxWait bounds Prefer: wait.
const maxWait = 30 * time.Second

// wait returns how long the caller is ready to wait for servers.
func (c Change) wait() time.Duration {
	for _, p := range strings.Split(c.Prefer, ",") {
		if v, ok := strings.CutPrefix(strings.TrimSpace(p), "wait="); ok {
			if n, err := strconv.Atoi(v); err == nil && n > 0 {
				return min(time.Duration(n)*time.Second, maxWait)
			}
		}
	}
	return 0
}

// Plan says what a change does and to whom.
type Plan struct {
	Changes  []PlanChange `json:"changes"`
	Affected PlanAffected `json:"affected"`
	Effect   *PlanEffect  `json:"effect,omitempty" doc:"What becomes of the live connections; absent when the servers were not asked or did not answer."`
	Warnings []FieldError `json:"warnings,omitempty"`
}

// PlanChange is one field that changes, in the words of the JWT.
type PlanChange struct {
	Path string `json:"path" doc:"JSON pointer into the claims."`
	From any    `json:"from,omitempty"`
	To   any    `json:"to,omitempty"`
	Text string `json:"text,omitempty" doc:"The change in a sentence, beside the first field that it speaks of." example:"Connections: 10 → 5"`
}

// PlanEffect is what becomes of the live connections.
type PlanEffect struct {
	Closed    int          `json:"closed" doc:"Connections that are closed for sure."`
	Refused   int          `json:"refused" doc:"How many of the closed are kept out with the credentials they have; the others may reconnect."`
	Uncertain int          `json:"uncertain" doc:"Connections that may be closed; the reasons say why nobody knows."`
	AtLeast   int          `json:"at_least" doc:"At least as many are closed in the end."`
	AtMost    int          `json:"at_most" doc:"At most as many are closed in the end."`
	Reasons   []PlanReason `json:"reasons" doc:"The most frequent first; what merely stays has none."`
}

// PlanReason is why something becomes of a number of connections.
type PlanReason struct {
	Fate        string `json:"fate" enum:"stays,reconnects,refused,uncertain" doc:"reconnects and refused are closed; refused are kept out."`
	Connections int    `json:"connections"`
	Why         string `json:"why" example:"Its credential is revoked."`
	ServerSays  string `json:"server_says,omitempty" doc:"The error that the server sends before it closes." example:"User Authentication Revoked"`
}

// PlanAffected is who is hit.
type PlanAffected struct {
	LiveConnections *int  `json:"live_connections" nullable:"true" doc:"Connections that are closed, at least; null when the servers were not asked: only a dry run asks."`
	Credentials     int64 `json:"credentials" doc:"Unexpired credentials that stop working."`
	Revived         int64 `json:"revived,omitempty" doc:"Unexpired credentials that are accepted again."`
	// Template is there when a template changes.
	Template *TemplateReach `json:"template,omitempty" doc:"Of a change to a template: who uses it."`
}

// TemplateReach is whom a change to a template concerns.
type TemplateReach struct {
	Accounts      int64 `json:"accounts" doc:"Accounts that carry it; each is signed anew when its permissions change."`
	AccountsAsked int   `json:"accounts_asked" doc:"How many of them were asked for live connections; if fewer, the numbers of connections are lower bounds."`
	Users         int64 `json:"users"`
	Credentials   int64 `json:"credentials" doc:"Issued with it, not expired and not revoked."`
}

// plan is the view of a plan; only a dry run answers with it.
func (c Change) plan(p issuer.Plan) *Plan {
	if !c.DryRun {
		return nil
	}
	out := &Plan{Changes: []PlanChange{}, Affected: affected(p), Effect: effect(p)}
	for _, x := range p.Changes {
		out.Changes = append(out.Changes, PlanChange{x.Path, x.From, x.To, x.Text})
	}
	for _, w := range p.Warnings {
		out.Warnings = append(out.Warnings, FieldError{Pointer: w.Pointer, Code: w.Code, Detail: w.Detail})
	}
	return out
}

func effect(p issuer.Plan) *PlanEffect {
	if p.Blast == nil {
		return nil
	}
	b := p.Blast
	out := &PlanEffect{Closed: b.Closed, Refused: b.Refused, Uncertain: b.Uncertain, AtLeast: b.AtLeast, AtMost: b.AtMost, Reasons: []PlanReason{}}
	for _, r := range b.Reasons() {
		out.Reasons = append(out.Reasons, PlanReason{Fate: string(r.Fate), Connections: r.Connections, Why: r.Why, ServerSays: r.ServerSays})
	}
	return out
}

func affected(p issuer.Plan) PlanAffected {
	a := PlanAffected{Credentials: p.Credentials, Revived: p.Revived}
	if r := p.Reach; r != nil {
		a.Template = &TemplateReach{Accounts: r.Accounts, AccountsAsked: r.Asked, Users: r.Users, Credentials: r.Credentials}
	}
	if p.Connections >= 0 {
		a.LiveConnections = &p.Connections
	}
	return a
}

// created is the answer of what makes something, saved of what changes it.
type created[T any] struct {
	Status   int
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Body     T
}

type saved[T any] struct {
	ETag string `header:"ETag"`
	Body T
}

// status is that of making something, which a dry run does not.
func (c Change) status() int {
	if c.DryRun {
		return http.StatusOK
	}
	return http.StatusCreated
}

// syncAfter returns how far the account's JWT got, waiting as the caller prefers.
// The change is committed: an unreachable server is no error of the request.
func (a *API) syncAfter(ctx context.Context, c Change, accountID string, version int64) *Sync {
	if c.DryRun {
		return nil
	}
	s, err := a.sync(ctx, c.wait(), accountID, version)
	if err != nil {
		return nil
	}
	return viewSync(s)
}

// sync returns how far version got, after waiting for at most d where there are
// servers to wait for.
func (a *API) sync(ctx context.Context, d time.Duration, accountID string, version int64) (claims.Sync, error) {
	s, err := a.live.Sync(ctx, accountID)
	if err != nil || d == 0 || len(s.Servers) == 0 {
		return s, err
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return a.live.Wait(ctx, accountID, version)
}
