package issuer

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"chancery/claims"
	"chancery/store"
)

// AuditEntry is one line of the audit log, with the names that its identities have now.
type AuditEntry struct {
	store.AuditEntry
	// The names are empty where there is none.
	ActorName, TargetName, OperatorName, AccountName string
	// Changes is every field that changed, before and after, without secrets.
	Changes []Change
	// Overridden are the guards that were not to hold the change up.
	Overridden []Guard
	// IdempotencyKey is what the caller named the request by.
	IdempotencyKey string
}

// auditDetail is the detail of an entry as it is stored.
type auditDetail struct {
	Changes        []Change `json:"changes,omitempty"`
	IdempotencyKey string   `json:"idempotency_key,omitempty"`
	Override       []Guard  `json:"override,omitempty"`
}

// maxQuoted bounds a text that an entry quotes, in bytes.
const maxQuoted = 1024

// quotable returns the changes as they go on record: a seed, a token or a JWT in them
// is not repeated, and no text is longer than maxQuoted.
func quotable(changes []Change) []Change {
	out := make([]Change, len(changes))
	for n, c := range changes {
		out[n] = Change{Path: quote(c.Path), From: quoteValue(c.From), To: quoteValue(c.To), Text: quote(c.Text)}
	}
	return out
}

func quoteValue(v any) any {
	if s, ok := v.(string); ok {
		return quote(s)
	}
	return v
}

func quote(s string) string {
	if s = claims.Redact(s); len(s) <= maxQuoted {
		return s
	}
	cut := maxQuoted
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// AuditQuery asks for a part of the audit log. The zero value asks for all of it.
type AuditQuery struct {
	// Operator and Account are names or public keys, the rest is whole fields; empty ones
	// keep all. An operator's entries are also those of its accounts.
	Operator, Account                                                string
	Actor, ActorKind, Action, TargetKind, Target, Outcome, RequestID string
	// From is the first moment kept, To the first one that is not.
	From, To time.Time
	// Search keeps entries whose reason or target contains it, without regard to case.
	Search string
}

// AuditPage asks for one page of the audit log.
type AuditPage = store.AuditPage

// filter works out what the caller asks for, and may see.
func (q AuditQuery) filter(ctx context.Context, d *desk) (store.AuditFilter, error) {
	f := store.AuditFilter{
		Actor: q.Actor, ActorKind: q.ActorKind, Action: q.Action, TargetKind: q.TargetKind, Target: q.Target, Outcome: q.Outcome,
		RequestID: q.RequestID, From: q.From, To: q.To, Search: q.Search,
	}
	if q.Account != "" {
		a, err := findAccount(ctx, d, q.Account)
		if err != nil {
			return f, err
		}
		f.AccountID = a.ID
	}
	if q.Operator != "" {
		o, err := findOperator(ctx, d, q.Operator)
		if err != nil {
			return f, err
		}
		f.OperatorID = o.ID
	}
	f.Bounds = wholeAccounts(d.some())
	return f, nil
}

// wholeAccounts leaves out what is less than an account: an entry belongs to an account
// and to no template of it.
func wholeAccounts(b *store.Bounds) *store.Bounds {
	if b == nil {
		return nil
	}
	var out store.Bounds
	for _, s := range b.Scopes {
		if s.Template == "" {
			out.Scopes = append(out.Scopes, s)
		}
	}
	return &out
}

// ListAudit returns a page of the entries that the query keeps and the caller may see,
// the newest first. An entry is listed once it is numbered, right after its commit.
func (i *Issuer) ListAudit(ctx context.Context, caller Caller, q AuditQuery, p AuditPage) ([]AuditEntry, error) {
	return read(ctx, i, caller, auditUse("list", ""), func(ctx context.Context, d *desk) ([]AuditEntry, error) {
		f, err := q.filter(ctx, d)
		if err != nil {
			return nil, err
		}
		rows, err := d.FindAudit(ctx, f, p)
		if err != nil {
			return nil, err
		}
		return describeAudit(ctx, d.Tx, rows)
	})
}

func auditUse(action, target string) use {
	return use{permission: ReadAudit, action: action, kind: "audit", target: target}
}

// ExportAudit calls each with all entries that the query keeps and the caller may see,
// the oldest first and in parts: those that are numbered when it begins.
func (i *Issuer) ExportAudit(ctx context.Context, caller Caller, q AuditQuery, each func([]AuditEntry) error) error {
	type export struct {
		filter store.AuditFilter
		last   int64
	}
	x, err := read(ctx, i, caller, auditUse("export", ""), func(ctx context.Context, d *desk) (x export, err error) {
		if x.filter, err = q.filter(ctx, d); err != nil {
			return x, err
		}
		head, err := d.AuditHead(ctx)
		x.last = head.Seq
		return x, err
	})
	const part = 500
	for after := int64(0); err == nil; {
		var list []AuditEntry
		err = i.store.Read(ctx, func(ctx context.Context, t *store.Tx) error {
			rows, err := t.FollowAudit(ctx, x.filter, after, x.last, part)
			if err == nil {
				list, err = describeAudit(ctx, t, rows)
			}
			return err
		})
		if err == nil && len(list) > 0 {
			after = list[len(list)-1].Seq
			err = each(list)
		}
		if len(list) < part {
			break
		}
	}
	return err
}

// describeAudit reads the details of entries and finds the names in them.
func describeAudit(ctx context.Context, t *store.Tx, rows []store.AuditEntry) ([]AuditEntry, error) {
	var ids []string
	for _, e := range rows {
		ids = append(ids, actorID(e.Actor), e.OperatorID, e.AccountID)
		ids = append(ids, targetIDs(e.Target)...)
	}
	names, err := t.NamesOf(ctx, unique(ids))
	if err != nil {
		return nil, err
	}
	out := make([]AuditEntry, len(rows))
	for n, e := range rows {
		x := AuditEntry{
			AuditEntry: e, ActorName: names[actorID(e.Actor)], TargetName: targetName(names, e.Target), OperatorName: names[e.OperatorID], AccountName: names[e.AccountID],
		}
		var detail auditDetail
		// What somebody altered in the database is shown as far as it can be read; that it
		// was altered tells the verification.
		if err := json.Unmarshal([]byte(e.Detail), &detail); err == nil {
			x.Changes, x.Overridden, x.IdempotencyKey = quotable(detail.Changes), detail.Override, detail.IdempotencyKey
		}
		out[n] = x
	}
	return out, nil
}

// actorID is the identity in an actor: of who renews with their key it is user:usr_….
func actorID(actor string) string { return strings.TrimPrefix(actor, "user:") }

// targetIDs are the identities in a target: of what is shared those of both accounts. Of
// each a part may be named behind a slash.
func targetIDs(target string) []string {
	ids := strings.Fields(target)
	for n := range ids {
		ids[n], _, _ = strings.Cut(ids[n], "/")
	}
	return ids
}

// targetName is empty where an identity in the target has no name.
func targetName(names map[string]string, target string) string {
	ids := targetIDs(target)
	for n, id := range ids {
		if ids[n] = names[id]; ids[n] == "" {
			return ""
		}
	}
	return strings.Join(ids, " → ")
}

func unique(list []string) []string {
	seen := map[string]bool{"": true}
	var out []string
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// AuditRecord is one entry and what became of it.
type AuditRecord struct {
	AuditEntry
	// Deliveries are how far the JWTs got that the change signed, by account; the first
	// twenty, More is how many are left out.
	Deliveries []AuditDelivery
	More       int
}

// AuditDelivery is how far the JWT of an account got that a change signed.
type AuditDelivery struct {
	AccountID, AccountName string
	// Version is that of the JWT that the change signed.
	Version int64
	// Servers are the deliveries of that version, or of a later one that has it in it. A
	// server whose delivery is of an earlier one has not been told yet.
	Servers []store.Delivery
}

// maxDeliveries is of how many accounts the deliveries are told.
const maxDeliveries = 20

// GetAuditEntry returns the entry with the number or the identity.
func (i *Issuer) GetAuditEntry(ctx context.Context, caller Caller, ref string) (AuditRecord, error) {
	return read(ctx, i, caller, auditUse("read", ref), func(ctx context.Context, d *desk) (AuditRecord, error) {
		var out AuditRecord
		e, err := d.GetAudit(ctx, ref)
		if err != nil {
			return out, d.orMissing(err, "entry")
		}
		at := Scope{Operator: e.OperatorID, Account: e.AccountID}
		if !d.caller.Allows(ReadAudit, at) {
			return out, d.missing("entry")
		}
		if err := d.enter(at, "entry"); err != nil {
			return out, err
		}
		list, err := describeAudit(ctx, d.Tx, []store.AuditEntry{e})
		if err != nil {
			return out, err
		}
		out.AuditEntry = list[0]
		return out, followed(ctx, d, &out)
	})
}

// followed fills in the deliveries of what the change of the entry signed, as far as
// the caller may read the accounts.
func followed(ctx context.Context, d *desk, out *AuditRecord) error {
	if out.Outcome != "done" {
		return nil
	}
	var signed []store.SignedVersion
	var err error
	// What Chancery signs by itself has no request: each of its entries is of one account.
	only := ""
	if out.RequestID == "" {
		only = out.AccountID
	}
	if signed, err = d.SignedWith(ctx, out.AuditEntry.AuditEntry, only); err != nil {
		return err
	}
	for _, v := range signed {
		a, err := d.GetAccount(ctx, v.AccountID)
		if err != nil {
			return fmt.Errorf("reading a signed account: %w", err)
		}
		if !d.caller.Allows(ReadAudit, scopeOf(a)) {
			continue
		}
		if len(out.Deliveries) == maxDeliveries {
			out.More++
			continue
		}
		x := AuditDelivery{AccountID: a.ID, AccountName: a.Name, Version: v.Version}
		if x.Servers, err = d.ListDeliveries(ctx, a.ID); err != nil {
			return err
		}
		out.Deliveries = append(out.Deliveries, x)
	}
	return nil
}
