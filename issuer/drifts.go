package issuer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// Drift is something that nats-servers hold, or were sent, and were not given by Chancery.
type Drift = store.Drift

// DriftQuery asks for a page of an operator's drift, the newest first.
type DriftQuery struct {
	// Operator is a name or public key.
	Operator string
	// State keeps what is in one state; empty keeps all.
	State claims.DriftState
	// Before and BeforeID are those of the last record of the page before.
	Before   time.Time
	BeforeID string
	Limit    int
}

// DriftList is a page of drift, and how current it is.
type DriftList struct {
	Items []Drift
	// Recent is when the accounts that changed within the hour were last read on the
	// servers, Whole when all of them were; zero if never.
	Recent, Whole time.Time
}

// ListDrifts returns a page of what servers held, or were sent, that was not ours.
func (i *Issuer) ListDrifts(ctx context.Context, caller Caller, q DriftQuery) (DriftList, error) {
	u := use{permission: ReadServers, action: "list", kind: "drift", target: q.Operator}
	return read(ctx, i, caller, u, func(ctx context.Context, d *desk) (DriftList, error) {
		o, err := findOperator(ctx, d, q.Operator)
		if err != nil {
			return DriftList{}, err
		}
		switch q.State {
		case "", claims.DriftOpen, claims.DriftHealed, claims.DriftAdopted, claims.DriftIgnored:
		default:
			return DriftList{}, invalidField("/state", "unknown_value", "The states are open, healed, adopted and ignored.")
		}
		s, err := d.GetSweep(ctx, o.ID)
		if err != nil {
			return DriftList{}, err
		}
		list, err := d.ListDrifts(ctx, o.ID, store.DriftPage{State: q.State, Before: q.Before, BeforeID: q.BeforeID, Limit: q.Limit, Bounds: d.some().In(Scope{Operator: o.ID})})
		return DriftList{Items: list, Recent: s.Recent, Whole: s.Whole}, err
	})
}

// GetDrift returns a record of drift with what was found.
func (i *Issuer) GetDrift(ctx context.Context, caller Caller, id string) (Drift, error) {
	u := use{permission: ReadServers, action: "read", kind: "drift", target: id}
	return read(ctx, i, caller, u, func(ctx context.Context, d *desk) (Drift, error) {
		return findDrift(ctx, d, id)
	})
}

func findDrift(ctx context.Context, d *desk, id string) (Drift, error) {
	rec, err := d.GetDrift(ctx, id)
	if err != nil {
		return rec, d.orMissing(err, "drift")
	}
	return rec, d.enter(Scope{Operator: rec.OperatorID, Account: rec.AccountID}, "drift")
}

// DecideDrift says what becomes of a drift that does not heal by itself: a newer JWT by
// somebody else, or an account that is not known here.
//
// Keep signs ours anew, later than theirs; what theirs revokes is revoked all the same.
// Adopt takes over what theirs says, see MergeAccount. Ignore leaves the servers as they
// are for as long as they hold this very JWT. A dry run says what servers get that hold
// theirs now.
func (i *Issuer) DecideDrift(ctx context.Context, op Op, id string, decision claims.DriftDecision) (Outcome[Drift], error) {
	u := use{permission: WriteServers, action: "decide", kind: "drift", target: id, protective: decision == claims.DriftKeep}
	live := i.driftConnections(ctx, op, id)
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[Drift], error) {
		var none planned[Drift]
		if _, err := findDrift(ctx, &w.desk, id); err != nil {
			return none, err
		}
		rec, err := w.LockDrift(ctx, id)
		if err != nil {
			return none, w.orMissing(err, "drift")
		}
		if err := undecided(rec, decision); err != nil {
			return none, err
		}
		s := &settling{issuer: i, work: w, record: rec, decision: decision, live: live}
		switch decision {
		case claims.DriftKeep:
			return s.keep(ctx)
		case claims.DriftAdopt:
			return s.adopt(ctx)
		}
		return s.ignore(), nil
	})
}

// undecided refuses what there is nothing to decide about.
func undecided(rec Drift, decision claims.DriftDecision) error {
	fits := false
	switch decision {
	case claims.DriftKeep, claims.DriftAdopt:
		fits = rec.Kind == claims.DriftNewer
	case claims.DriftIgnore:
		fits = rec.Kind == claims.DriftNewer || rec.Kind == claims.DriftUnknown
	default:
		return invalidField("/decision", "unknown_value", "A decision is keep, adopt or ignore.")
	}
	switch {
	case rec.State != claims.DriftOpen:
		return &Error{Kind: KindConflict, Code: "drift_closed", Message: "This drift is over: there is nothing left to decide.", Hint: "Look at the list for what is open."}
	case fits:
		return nil
	case rec.Kind == claims.DriftUnknown:
		return &Error{Kind: KindConflict, Code: "not_applicable", Message: "The account is not known here, so that there is nothing to keep, and one JWT is not enough to adopt it.", Hint: "Import the account from the store of whoever made it, or ignore it."}
	}
	return &Error{Kind: KindConflict, Code: "not_applicable", Message: "This kind of drift is healed without anybody's decision.", Hint: "Wait for it to close; if it stays open, look at the delivery of the account for what the servers say."}
}

// driftConnections asks for the live connections of a drift's account, for a dry run.
func (i *Issuer) driftConnections(ctx context.Context, op Op, id string) []claims.Connection {
	if !op.DryRun || !op.Caller.May(WriteServers) {
		return nil
	}
	var rec Drift
	err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		rec, err = findDrift(ctx, &desk{Tx: t, caller: op.Caller, use: use{permission: WriteServers}}, id)
		return err
	})
	if err != nil {
		return nil // the plan says so itself
	}
	return i.askConnections(ctx, rec.AccountID)
}

// settling is a decision about a drift on its way.
type settling struct {
	issuer   *Issuer
	work     *work
	record   Drift
	decision claims.DriftDecision
	live     []claims.Connection
}

// decided is what is planned of every decision.
func (s *settling) decided(plan Plan, text string, apply func(ctx context.Context) error) planned[Drift] {
	plan.Changes = append([]Change{{Path: "/decision", From: nil, To: string(s.decision), Text: text}}, plan.Changes...)
	after := s.record
	after.Decision, after.DecidedBy = s.decision, s.work.op.Caller.ID
	if s.decision == claims.DriftIgnore {
		after.State, after.Closed = claims.DriftIgnored, s.work.Now()
	}
	return planned[Drift]{preview: after, target: s.record.ID, plan: plan, apply: func(ctx context.Context) (Drift, error) {
		if err := apply(ctx); err != nil {
			return after, err
		}
		if err := s.work.DecideDrift(ctx, s.record.ID, s.decision, s.work.op.Caller.ID); err != nil {
			return after, err
		}
		return s.work.GetDrift(ctx, s.record.ID)
	}}
}

func (s *settling) ignore() planned[Drift] {
	text := "The servers keep what they hold, until it changes again"
	return s.decided(Plan{Connections: unknown}, text, func(context.Context) error { return nil })
}

// merging is the found JWT on its way into the account, which is locked.
func (s *settling) merging(ctx context.Context) (*merging, error) {
	if s.record.JWT == "" {
		return nil, &Error{Kind: KindConflict, Code: "jwt_dropped", Message: "What was found is not kept any more.", Hint: "Only the newest records keep it. It is found again at the next sweep if the servers still hold it."}
	}
	token, err := readMerge(s.record.JWT)
	if err != nil {
		return nil, err
	}
	theirs, ok := token.Claims.(*jwt.AccountClaims)
	if !ok {
		return nil, fmt.Errorf("reading the drift %s: it holds no account's JWT", s.record.ID)
	}
	m := &merging{work: s.work, issuer: s.issuer, token: token, posted: theirs, source: MergeFound}
	return m, m.hold(ctx, s.record.AccountID)
}

// adopt takes over what the found JWT says.
func (s *settling) adopt(ctx context.Context) (planned[Drift], error) {
	m, err := s.merging(ctx)
	if err != nil {
		return planned[Drift]{}, err
	}
	if err := m.admit(ctx); err != nil {
		return planned[Drift]{}, err
	}
	p, err := m.plan(ctx, s.live)
	if err != nil {
		return planned[Drift]{}, err
	}
	return s.decided(p.plan, "What somebody else signed is taken over", func(ctx context.Context) error {
		_, err := p.apply(ctx)
		return err
	}), nil
}

// keep makes ours the newest again.
func (s *settling) keep(ctx context.Context) (planned[Drift], error) {
	var none planned[Drift]
	m, err := s.merging(ctx)
	if err != nil {
		return none, err
	}
	if m.parts, err = partsOf(m.account, m.rows); err != nil {
		return none, err
	}
	if !m.account.System { // a foreign revocation must not lock Chancery's own user out
		if err := m.revocations(ctx, claims.AccountOf(m.posted).Revocations); err != nil {
			return none, err
		}
	}
	plan := Plan{Connections: unknown}
	if err := s.compare(ctx, m, &plan); err != nil {
		return none, err
	}
	if n := len(m.revoked); n > 0 {
		plan.Warnings = append(plan.Warnings, claims.Problem{Code: "revocations_united", Detail: fmt.Sprintf("Revocations of theirs that are taken over: %d.", n)})
	}
	return s.decided(plan, "Ours is signed anew, later than theirs", func(ctx context.Context) error {
		if err := s.revoke(ctx, m); err != nil {
			return err
		}
		_, err := s.issuer.resignSince(ctx, s.work, m.account.ID, newSignature{notBefore: m.posted.IssuedAt + 1})
		return orNoRoom(err)
	}), nil
}

// revoke makes revocations of the found JWT ours.
func (s *settling) revoke(ctx context.Context, m *merging) error {
	var rows []Revocation
	for _, subject := range slices.Sorted(maps.Keys(m.revoked)) {
		id, err := s.work.NewID("rev_")
		if err != nil {
			return err
		}
		rows = append(rows, Revocation{
			ID: id, AccountID: m.account.ID, Subject: subject, Before: m.revoked[subject], Cause: mergeCause,
			Reason: "revoked in a JWT that was found on the servers", Actor: s.work.op.Caller.ID, RequestID: s.work.op.RequestID,
		})
	}
	return s.work.CreateRevocations(ctx, rows)
}

// compare says what servers get that hold theirs now: the way back to ours.
func (s *settling) compare(ctx context.Context, m *merging, plan *Plan) error {
	checked, problems := claims.BuildAccount(s.work.protect(m.parts))
	if problems.Blocking() {
		return invalid(problems)
	}
	after, ok := checked.AccountClaims()
	if !ok {
		return fmt.Errorf("reading the new claims of account %s", m.account.ID)
	}
	plan.Summary = claims.DiffAccounts(m.posted, after)
	for _, f := range plan.Summary {
		plan.Changes = append(plan.Changes, Change{Path: f.Pointer, From: shown(f.Before), To: shown(f.After), Text: f.Sentence()})
	}
	if s.work.op.DryRun && s.live != nil {
		blast := claims.BlastRadius(m.posted, after, s.live)
		plan.Blast, plan.Connections = &blast, blast.AtLeast
	}
	if s.work.op.DryRun {
		return s.work.maySign(ctx, m.operator.ID)
	}
	return nil
}

// driftCaller is Chancery that settles drift by itself.
const driftCaller = "drift"

// SettleDrift ends a drift that only a new signature ends, as far as nobody has to be
// asked: what a person decided, or else what the operator's policy says, about a newer
// JWT by somebody else; of other kinds, ours signed anew, since servers take the bytes
// that they had before for no change. It is called by the resolver, more than once where
// servers do not follow.
func (i *Issuer) SettleDrift(ctx context.Context, id string) error {
	var rec Drift
	var o Operator
	var a Account
	err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		if rec, err = t.GetDrift(ctx, id); err != nil {
			return err
		}
		if o, err = t.GetOperator(ctx, rec.OperatorID); err != nil {
			return err
		}
		a, err = t.GetAccount(ctx, rec.AccountID)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil || rec.State != claims.DriftOpen || rec.Kind == claims.DriftUnknown || o.Custody == CustodyObserved {
		return err
	}
	op := Op{Caller: System(driftCaller), Reason: "found on the servers: " + string(rec.Kind)}
	if rec.Kind != claims.DriftNewer {
		return i.resignAgain(ctx, op, rec)
	}
	if rec.Decision != "" || o.Policy.ForeignNewer == "" {
		if rec.Decision == "" || a.IssuedAt >= rec.IssuedAt {
			return nil // nobody decided, or it is signed and on its way
		}
	}
	decision := o.Policy.ForeignNewer
	if rec.Decision != "" {
		decision = rec.Decision
	}
	_, err = i.DecideDrift(ctx, op, id, decision)
	return err
}

// resignAgain signs the account of a drift anew, as it is.
func (i *Issuer) resignAgain(ctx context.Context, op Op, rec Drift) error {
	u := use{permission: WriteServers, action: "resign", kind: "account", target: rec.AccountID, protective: true}
	_, err := change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[Account], error) {
		a, err := findAccount(ctx, &w.desk, rec.AccountID)
		return planned[Account]{preview: a, target: a.ID, apply: func(ctx context.Context) (Account, error) {
			return i.resign(ctx, w, a.ID)
		}}, err
	})
	return err
}
