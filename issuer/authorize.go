package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"chancery/claims"
	"chancery/custody"
	"chancery/store"
)

// Permission names what a use case needs, as kind:verb.
type Permission string

// The permissions of today's use cases.
const (
	ReadOperators    Permission = "operators:read"
	WriteOperators   Permission = "operators:write"
	ReadAccounts     Permission = "accounts:read"
	WriteAccounts    Permission = "accounts:write"
	ReadTemplates    Permission = "templates:read"
	WriteTemplates   Permission = "templates:write"
	ReadUsers        Permission = "users:read"
	WriteUsers       Permission = "users:write"
	IssueCredentials Permission = "credentials:issue"
	ReadCredentials  Permission = "credentials:read"
	WriteRevocations Permission = "revocations:write"
	ReadRevocations  Permission = "revocations:read"
	WriteTokens      Permission = "tokens:write"
	WritePeople      Permission = "people:write"
	ReadKeysets      Permission = "keysets:read"
	WriteKeysets     Permission = "keysets:write"
	// WriteLimits is for what belongs to the operator in an account: limits, JetStream,
	// expiry, suspension.
	WriteLimits     Permission = "accounts:limits"
	WriteGuardrails Permission = "guardrails:write"
	ReadSharing     Permission = "sharing:read"
	WriteSharing    Permission = "sharing:write"
	ReadAdoption    Permission = "adoption:read"
	WriteAdoption   Permission = "adoption:write"
	ReadAudit       Permission = "audit:read"
	ReadTokens      Permission = "tokens:read"
	ReadPeople      Permission = "people:read"
	// ReadServers is for the nats-servers, what they have in effect, and drift.
	ReadServers Permission = "servers:read"
	// WriteServers is for pushing again, and for deciding on what others pushed.
	WriteServers    Permission = "servers:write"
	ReadConnections Permission = "connections:read"
	// KickConnections is for closing single connections.
	KickConnections Permission = "connections:kick"
)

// use is one use case as the audit log knows it.
type use struct {
	permission Permission
	// action is the verb, kind the noun, target what the caller called it.
	action, kind, target string
	// protective uses take rights away: the signing switch does not hold them up.
	protective bool
}

// work is a change in progress. It is used by one goroutine.
type work struct {
	desk
	op Op
	// keys are the private keys that are open until the transaction ends.
	keys map[string]*custody.Key
}

// planned is a change that was checked and not yet made.
type planned[T any] struct {
	// preview is what a dry run answers.
	preview T
	plan    Plan
	// target is the identity of the object, for the audit log.
	target string
	// apply makes the change, in the same transaction as the plan.
	apply func(ctx context.Context) (T, error)
}

// change is the way of every mutating use case: authorize, plan, apply and audit
// in one transaction, then wake the resolver. A dry run is rolled back after the
// plan. A denial is audited by itself, after the rollback. A transaction that the
// database ended since another one waited for it is planned again: the one that locks
// an account and then a shared template meets the one that changes the template.
func change[T any](ctx context.Context, i *Issuer, op Op, u use, plan func(ctx context.Context, w *work) (planned[T], error)) (Outcome[T], error) {
	var out Outcome[T]
	if err := i.authorize(ctx, op.Caller, u, op.RequestID); err != nil {
		return out, err
	}
	if problems := op.check(); problems.Blocking() {
		return out, invalid(problems)
	}
	w := &work{desk: desk{caller: op.Caller, use: u}}
	attempt := func(ctx context.Context, t *store.Tx) error {
		w = &work{desk: desk{Tx: t, caller: op.Caller, use: u}, op: op}
		if known, err := replayed(ctx, w, &out); known || err != nil {
			return err
		}
		p, err := plan(ctx, w)
		if err == nil {
			err = w.left()
		}
		if err != nil {
			return err
		}
		out = Outcome[T]{Value: p.preview, Plan: p.plan}
		if op.DryRun {
			return errDryRun
		}
		if out.Value, err = p.apply(ctx); err != nil {
			return err
		}
		u := u
		if p.target != "" {
			u.target = p.target
		}
		if err := w.audit(ctx, u, p.plan); err != nil {
			return err
		}
		return remember(ctx, w, &out.Value)
	}
	err := i.store.Write(ctx, attempt)
	for n := 1; n < attempts && errors.Is(err, store.ErrDeadlock); n++ {
		err = i.store.Write(ctx, attempt)
	}
	switch {
	case errors.Is(err, errDryRun):
		return out, nil
	case err != nil:
		var zero Outcome[T]
		return zero, i.recordDenial(ctx, &w.desk, op.RequestID, w.told(err))
	}
	i.wake()
	return out, nil
}

// attempts is how often a change is tried that gets into deadlocks.
const attempts = 10

// errDryRun rolls the transaction of a dry run back.
var errDryRun = errors.New("dry run")

// read is the way of every reading use case.
func read[T any](ctx context.Context, i *Issuer, caller Caller, u use, f func(ctx context.Context, d *desk) (T, error)) (T, error) {
	var out T
	if err := i.authorize(ctx, caller, u, caller.RequestID); err != nil {
		return out, err
	}
	d := &desk{caller: caller, use: u}
	err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		d = &desk{Tx: t, caller: caller, use: u}
		if out, err = f(ctx, d); err == nil {
			err = d.left()
		}
		return err
	})
	if err != nil {
		var zero T
		return zero, i.recordDenial(ctx, d, caller.RequestID, d.told(err))
	}
	return out, nil
}

// authorize refuses whoever has the permission on nothing at all, before anything is
// looked at.
func (i *Issuer) authorize(ctx context.Context, caller Caller, u use, requestID string) error {
	if caller.May(u.permission) {
		return nil
	}
	return i.recordDenial(ctx, &desk{caller: caller, use: u}, requestID, denied(Forbidden(u.permission)))
}

// recordDenial puts it on record if err is a denial, and returns err.
func (i *Issuer) recordDenial(ctx context.Context, d *desk, requestID string, err error) error {
	if e, ok := errors.AsType[*Error](err); !ok || !e.denied {
		return err
	}
	// The caller may hang up; the denial is recorded all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	failed := i.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
		return t.AppendAudit(ctx, store.AuditEntry{
			Actor: d.caller.ID, ActorKind: string(d.caller.Kind), Action: d.use.action, TargetKind: d.use.kind, Target: bounded(d.use.target),
			Outcome: "denied", RequestID: requestID, Detail: "{}", OperatorID: d.at.Operator, AccountID: d.at.Account,
		})
	})
	if failed != nil {
		return fmt.Errorf("auditing a denial: %w", failed)
	}
	return err
}

func (w *work) audit(ctx context.Context, u use, p Plan) error {
	raw, err := json.Marshal(auditDetail{quotable(p.Changes), quote(w.op.IdempotencyKey), w.op.Override})
	if err != nil {
		return fmt.Errorf("encoding an audit entry: %w", err)
	}
	at := w.at
	switch { // what is made is where it will be found
	case u.kind == "operator" && at.Operator == "":
		at.Operator = u.target
	case u.kind == "account" && at.Account == "" && claims.IsPublicKey(claims.KindAccount, u.target):
		at.Account = u.target
	}
	return w.AppendAudit(ctx, store.AuditEntry{
		Actor: w.op.Caller.ID, ActorKind: string(w.op.Caller.Kind), Action: u.action, TargetKind: u.kind, Target: bounded(u.target),
		Outcome: "done", RequestID: w.op.RequestID, Reason: quote(w.op.Reason), Detail: string(raw), OperatorID: at.Operator, AccountID: at.Account,
	})
}

// auditAll puts a change of Chancery's own on record that concerns many objects.
func (w *work) auditAll(ctx context.Context, targets []string) error {
	return w.AppendAudits(ctx, store.AuditEntry{
		Actor: w.op.Caller.ID, ActorKind: string(w.op.Caller.Kind), Action: w.use.action, TargetKind: w.use.kind, Outcome: "done",
		RequestID: w.op.RequestID, Reason: quote(w.op.Reason), Detail: "{}", OperatorID: w.at.Operator,
	}, targets)
}

// expect refuses a change of an object that is not at the version the caller saw.
func (w *work) expect(current int64) error {
	if w.op.ExpectedVersion == 0 || w.op.ExpectedVersion == current {
		return nil
	}
	return &Error{
		Kind: KindStale, Code: "stale", Message: "The object changed since you read it.",
		Hint: "Read it again, then repeat the change with its current ETag.",
	}
}

// expectNamed is expect for what cannot be taken back: the version must be named.
func (w *work) expectNamed(current int64) error {
	if w.op.ExpectedVersion == 0 && !w.op.DryRun {
		return &Error{
			Kind: KindUnconditional, Code: "version_required", Message: "This cannot be taken back: say which version of the object is meant.",
			Hint: "Read the object and send its ETag as If-Match.",
		}
	}
	return w.expect(current)
}

// bounded keeps what an audit entry quotes of a request short, printable and free
// of seeds.
func bounded(s string) string {
	const most = 128
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, claims.Redact(s))
	for len(s) > most {
		_, last := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-last]
	}
	return s
}
