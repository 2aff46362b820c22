package api

import (
	"context"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// AuditEntry is one line of the audit log. Seeds, tokens and JWTs are not in it.
type AuditEntry struct {
	Seq            int64        `json:"seq" doc:"Its number: without gaps, from 1."`
	ID             string       `json:"id" example:"aud_06gvr339021o4jm4auuqm120oc"`
	At             time.Time    `json:"at"`
	Actor          string       `json:"actor" doc:"Who did it: per_…, tok_…, key/ and the public key that signed, or system/ and a part of Chancery."`
	ActorName      string       `json:"actor_name,omitempty" doc:"What people call it now."`
	ActorKind      string       `json:"actor_kind" doc:"person, token, system, user or holder (of a key) or link." example:"person"`
	Action         string       `json:"action" example:"update"`
	TargetKind     string       `json:"target_kind" example:"account"`
	Target         string       `json:"target" doc:"The identity of what it was done to; of a denial, what the caller called it."`
	TargetName     string       `json:"target_name,omitempty"`
	Outcome        string       `json:"outcome" enum:"done,denied"`
	OperatorID     string       `json:"operator_id,omitempty" doc:"Where the entry belongs."`
	Operator       string       `json:"operator,omitempty"`
	AccountID      string       `json:"account_id,omitempty"`
	Account        string       `json:"account,omitempty"`
	RequestID      string       `json:"request_id,omitempty" doc:"Entries of one request have the same."`
	Reason         string       `json:"reason,omitempty"`
	IdempotencyKey string       `json:"idempotency_key,omitempty"`
	Overridden     []string     `json:"overridden,omitempty" doc:"Guards that were not to hold it up."`
	Changes        []PlanChange `json:"changes" doc:"Every field that changed, before and after, with a sentence in the field's words."`
	Hash           string       `json:"hash" doc:"SHA-256 of the hash before and this entry, in hexadecimal."`
}

// AuditRecord is an entry with the deliveries that followed.
type AuditRecord struct {
	AuditEntry
	Deliveries     []AuditDelivery `json:"deliveries" doc:"How far the JWTs got that the change signed; the first twenty accounts."`
	MoreDeliveries int             `json:"more_deliveries" doc:"Accounts that are left out."`
}

// AuditDelivery is how far the JWT of an account got that a change signed.
type AuditDelivery struct {
	AccountID string        `json:"account_id"`
	Account   string        `json:"account"`
	Revision  int64         `json:"revision" doc:"The revision that the change signed."`
	Servers   []AuditServer `json:"servers"`
}

// AuditServer is the delivery to one server. Of each server the newest one is known.
type AuditServer struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"`
	State    string     `json:"state" enum:"pending,sent,acknowledged,stored,in_effect,not_loaded,error" doc:"pending: what is known of the server is of an earlier revision."`
	Revision int64      `json:"revision" doc:"The revision that the state speaks of: that of the change, or a later one that has it in it."`
	Later    bool       `json:"later" doc:"Whether it is a later one."`
	Since    *time.Time `json:"since,omitempty" doc:"Since when it is so."`
	Error    string     `json:"error,omitempty" doc:"The server's own words."`
}

func viewAudit(e issuer.AuditEntry) AuditEntry {
	out := AuditEntry{
		Seq: e.Seq, ID: e.ID, At: e.Time(), Actor: e.Actor, ActorName: e.ActorName, ActorKind: e.ActorKind, Action: e.Action, TargetKind: e.TargetKind,
		Target: e.Target, TargetName: e.TargetName, Outcome: e.Outcome, OperatorID: e.OperatorID, Operator: e.OperatorName, AccountID: e.AccountID,
		Account: e.AccountName, RequestID: e.RequestID, Reason: e.Reason, IdempotencyKey: e.IdempotencyKey, Changes: []PlanChange{}, Hash: hex.EncodeToString(e.Hash),
	}
	for _, c := range e.Changes {
		out.Changes = append(out.Changes, PlanChange{Path: c.Path, From: c.From, To: c.To, Text: c.Text})
	}
	for _, g := range e.Overridden {
		out.Overridden = append(out.Overridden, string(g))
	}
	return out
}

// AuditFilters are the query of every list of the audit log.
type AuditFilters struct {
	Actor      string    `query:"actor" maxLength:"120" doc:"Who did it, by identity." example:"per_06gvr339021o4jm4auuqm120oc"`
	ActorKind  string    `query:"actor_kind" enum:"person,token,system,user,link" doc:"What kind of caller did it."`
	Action     string    `query:"action" maxLength:"64" doc:"What was done." example:"update"`
	TargetKind string    `query:"target_kind" maxLength:"64" doc:"To what kind of thing." example:"account"`
	Target     string    `query:"target" maxLength:"200" doc:"To what, by identity."`
	Outcome    string    `query:"outcome" enum:"done,denied"`
	Operator   string    `query:"operator" maxLength:"64" doc:"Name or public key: entries of the operator and its accounts."`
	Account    string    `query:"account" maxLength:"64" doc:"Name or public key: entries of the account." example:"ORDERS"`
	RequestID  string    `query:"request_id" maxLength:"200" doc:"The entries of one request."`
	AtAfter    time.Time `query:"at_after" doc:"Entries of this moment and later."`
	AtBefore   time.Time `query:"at_before" doc:"Entries from before this moment."`
	Q          string    `query:"q" maxLength:"64" doc:"Keep entries whose reason or target contains this, without regard to case."`
}

func (f AuditFilters) query() issuer.AuditQuery {
	return issuer.AuditQuery{
		Actor: f.Actor, ActorKind: f.ActorKind, Action: f.Action, TargetKind: f.TargetKind, Target: f.Target, Outcome: f.Outcome, Operator: f.Operator,
		Account: f.Account, RequestID: f.RequestID, From: f.AtAfter, To: f.AtBefore, Search: f.Q,
	}
}

func (f AuditFilters) values() url.Values {
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.Format(time.RFC3339Nano)
	}
	out := url.Values{}
	for name, value := range map[string]string{
		"actor": f.Actor, "actor_kind": f.ActorKind, "action": f.Action, "target_kind": f.TargetKind, "target": f.Target, "outcome": f.Outcome, "operator": f.Operator,
		"account": f.Account, "request_id": f.RequestID, "at_after": at(f.AtAfter), "at_before": at(f.AtBefore), "q": f.Q,
	} {
		if value != "" {
			out.Set(name, value)
		}
	}
	return out
}

type listAuditInput struct {
	List
	AuditFilters
}

func (a *API) listAudit(ctx context.Context, by call, in *listAuditInput) (*paged[AuditEntry], error) {
	filters := in.values()
	name := "audit?" + filters.Encode()
	c, limit, err := in.position(name)
	if err != nil {
		return nil, err
	}
	page := issuer.AuditPage{Limit: limit + 1}
	if c.ID != "" {
		if page.Before, err = strconv.ParseInt(c.ID, 10, 64); err != nil || page.Before < 1 {
			return nil, invalidCursor()
		}
	}
	rows, err := a.issuer.ListAudit(ctx, by.caller, in.query(), page)
	if err != nil {
		return nil, err
	}
	return turn(rows, limit, in.link(filters, "audit"), viewAudit, func(e issuer.AuditEntry) cursor {
		return cursor{List: name, ID: strconv.FormatInt(e.Seq, 10)}
	}), nil
}

type getAuditInput struct {
	Entry string `path:"entry" maxLength:"64" doc:"The entry's number or id." example:"1842"`
}

func (a *API) getAuditEntry(ctx context.Context, by call, in *getAuditInput) (*saved[AuditRecord], error) {
	r, err := a.issuer.GetAuditEntry(ctx, by.caller, in.Entry)
	if err != nil {
		return nil, err
	}
	out := AuditRecord{AuditEntry: viewAudit(r.AuditEntry), Deliveries: []AuditDelivery{}, MoreDeliveries: r.More}
	for _, d := range r.Deliveries {
		x := AuditDelivery{AccountID: d.AccountID, Account: d.AccountName, Revision: d.Version, Servers: []AuditServer{}}
		for _, s := range d.Servers {
			x.Servers = append(x.Servers, viewAuditServer(s, d.Version))
		}
		out.Deliveries = append(out.Deliveries, x)
	}
	return &saved[AuditRecord]{Body: out}, nil
}

func viewAuditServer(d issuer.ServerDelivery, version int64) AuditServer {
	out := AuditServer{ID: d.ServerID, Name: d.ServerName, State: d.State, Revision: d.Version, Later: d.Version > version, Since: given(d.Updated), Error: claims.Redact(d.Error)}
	if d.Version < version {
		return AuditServer{ID: d.ServerID, Name: d.ServerName, State: "pending", Revision: d.Version}
	}
	if !d.Proven.IsZero() {
		out.Since = &d.Proven
	}
	return out
}

// AuditCheckpoint is a signed statement of where the audit log ends.
type AuditCheckpoint struct {
	Note     string    `json:"note" doc:"The signed text, in the form of golang.org/x/mod/sumdb/note: origin, number, hash and time, each in a line."`
	Verifier string    `json:"verifier" doc:"The key that verifies the instance's checkpoints. Keep a copy elsewhere: it is what tells a rewritten log from the true one."`
	Seq      int64     `json:"seq" doc:"The number of the last entry."`
	Hash     string    `json:"hash" doc:"Its hash, in hexadecimal."`
	At       time.Time `json:"at"`
	// File says how far the file of this server is.
	File *AuditFile `json:"file,omitempty" doc:"How far the checkpoint file of this server is; absent before its first line, or without one."`
}

// AuditFile is how far the checkpoint file is.
type AuditFile struct {
	Seq    int64     `json:"seq" doc:"The entry that the last line is of."`
	At     time.Time `json:"at"`
	Behind int64     `json:"behind" doc:"Entries since."`
	Error  string    `json:"error,omitempty" doc:"Why the last attempt to write failed."`
}

func (a *API) getAuditCheckpoint(ctx context.Context, by call, _ *struct{}) (*saved[AuditCheckpoint], error) {
	c, err := a.issuer.Checkpoint(ctx, by.caller)
	if err != nil {
		return nil, err
	}
	out := AuditCheckpoint{Note: c.Note, Verifier: c.Verifier, Seq: c.Seq, Hash: hex.EncodeToString(c.Hash), At: c.At}
	if s := a.issuer.AnchorState(); !s.At.IsZero() || s.Error != "" {
		out.File = &AuditFile{Seq: s.Seq, At: s.At, Behind: c.Seq - s.Seq, Error: s.Error}
	}
	return &saved[AuditCheckpoint]{Body: out}, nil
}

type verifyAuditInput struct {
	Body struct {
		Checkpoints []KeptCheckpoint `json:"checkpoints,omitempty" maxItems:"1000" doc:"Checkpoints that the caller kept elsewhere and verified, to be held against the log."`
	}
}

// KeptCheckpoint is what a checkpoint says, once its signature was verified.
type KeptCheckpoint struct {
	Seq  int64     `json:"seq" minimum:"1" doc:"The number of the entry."`
	Hash string    `json:"hash" minLength:"64" maxLength:"64" pattern:"^[0-9a-f]*$" doc:"Its hash, in hexadecimal."`
	At   time.Time `json:"at" doc:"When it was signed."`
}

// AuditVerification is what a verification of the audit log found.
type AuditVerification struct {
	Whole       bool         `json:"whole" doc:"Whether nothing is wrong."`
	At          time.Time    `json:"at"`
	Entries     int64        `json:"entries" doc:"Entries that were read."`
	Seq         int64        `json:"seq" doc:"The number of the last one."`
	Hash        string       `json:"hash" doc:"Its hash, in hexadecimal."`
	Checkpoints int          `json:"checkpoints" doc:"Checkpoints that were compared: those of the server's own file, and those that were sent."`
	TornLines   int          `json:"torn_lines" doc:"Lines of the file that were not written to their end: the traces of crashes."`
	Foreign     int          `json:"foreign_lines" doc:"Lines of the file that the instance's key did not sign."`
	Faults      []AuditFault `json:"faults" doc:"Where the log is not what it was; the first hundred."`
	MoreFaults  int          `json:"more_faults"`
}

// AuditFault is a place at which the audit log is not what it was.
type AuditFault struct {
	Seq     int64  `json:"seq" doc:"The number of the first entry that does not hold."`
	EntryID string `json:"entry_id,omitempty" doc:"The entry that is there now."`
	Kind    string `json:"kind" enum:"altered,missing,inserted,swapped,renumbered,truncated,rewritten"`
	Detail  string `json:"detail"`
}

func (a *API) verifyAudit(ctx context.Context, by call, in *verifyAuditInput) (*saved[AuditVerification], error) {
	var kept []issuer.AuditAnchor
	for _, c := range in.Body.Checkpoints {
		hash, err := hex.DecodeString(c.Hash)
		if err != nil {
			return nil, err
		}
		kept = append(kept, issuer.AuditAnchor{Seq: c.Seq, Hash: hash, At: c.At})
	}
	v, err := a.issuer.VerifyAudit(ctx, by.caller, kept)
	if err != nil {
		return nil, err
	}
	out := ViewVerification(v)
	return &saved[AuditVerification]{Body: out}, nil
}

// ViewVerification is a verification as the API shows it, for who makes one without it.
func ViewVerification(v issuer.AuditVerification) AuditVerification {
	out := AuditVerification{
		Whole: v.Whole(), At: v.At, Entries: v.Entries, Seq: v.Head.Seq, Hash: hex.EncodeToString(v.Head.Hash), Checkpoints: v.Checkpoints,
		TornLines: v.Torn, Foreign: v.Foreign, Faults: []AuditFault{}, MoreFaults: v.More,
	}
	for _, f := range v.Faults {
		out.Faults = append(out.Faults, AuditFault{Seq: f.Seq, EntryID: f.EntryID, Kind: string(f.Kind), Detail: f.Detail})
	}
	return out
}

// auditRoutes are the lines of the route table for the audit log.
func auditRoutes() []route {
	const get, post = http.MethodGet, http.MethodPost
	return []route{
		{get, "/audit", "listAudit", "List the audit log, the newest entry first", issuer.ReadAudit, 200, 0, fast, handle((*API).listAudit)},
		{get, "/audit/export", "exportAudit", "Export the audit log, the oldest entry first", issuer.ReadAudit, 200, 0, long, handle((*API).exportAudit)},
		{get, "/audit/checkpoint", "getAuditCheckpoint", "Sign where the audit log ends", issuer.ReadAudit, 200, 0, fast, handle((*API).getAuditCheckpoint)},
		{post, "/audit/verification", "verifyAudit", "Verify the audit log and tell where it was tampered with", issuer.ReadAudit, 200, large, long, handle((*API).verifyAudit)},
		{get, "/audit/{entry}", "getAuditEntry", "Read an audit entry, with the deliveries that followed", issuer.ReadAudit, 200, 0, fast, handle((*API).getAuditEntry)},
	}
}
