package issuer

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// TemplateUse counts who uses a template.
type TemplateUse = store.TemplateUse

// Reach is whom an edit of a template concerns.
type Reach struct {
	TemplateUse
	// Asked is how many accounts were asked for live connections; with fewer than
	// Accounts the numbers of connections are lower bounds.
	Asked int
}

// mostAsked is how many accounts a plan asks for live connections.
const mostAsked = 20

// templatePlan says what changes from one state of a template to another.
func templatePlan(before, after Template) (Plan, error) {
	var plan Plan
	changes, err := diff(before.Body, after.Body)
	if err != nil {
		return plan, err
	}
	tests, err := diff(map[string]any{"tests": before.Tests}, map[string]any{"tests": after.Tests})
	if err != nil {
		return plan, err
	}
	plan.Summary = claims.DiffTemplates(before.Body, after.Body)
	if before.ID == "" { // of what is new, the body says it all
		plan.Changes = narrate(changes, plan.Summary)
		return plan, nil
	}
	plan.Changes = append(changes, tests...)
	if before.MaxTTL != after.MaxTTL {
		plan.Changes = append(plan.Changes, Change{Path: "/max_ttl_seconds", From: int64(before.MaxTTL.Seconds()), To: int64(after.MaxTTL.Seconds())})
		plan.Summary = append(plan.Summary, claims.FieldChange{Pointer: "/max_ttl_seconds", Field: "Longest lifetime of credentials", Before: lifetime(before.MaxTTL), After: lifetime(after.MaxTTL)})
	}
	if len(tests) > 0 {
		plan.Summary = append(plan.Summary, claims.FieldChange{Pointer: "/tests", Field: "Tests", Before: strconv.Itoa(len(before.Tests)), After: strconv.Itoa(len(after.Tests))})
	}
	plan.Changes = narrate(plan.Changes, plan.Summary)
	return plan, nil
}

// lifetime is a bound in words.
func lifetime(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == 0:
		return "no bound"
	case d == day:
		return "1 day"
	case d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + " days"
	}
	return d.String()
}

// sameBody tells whether the scoped keys stay what they are.
func sameBody(a, b Template) bool { return reflect.DeepEqual(a.Body, b.Body) }

// signed has the accounts that carry the template signed: its own at once, those of a
// shared one by Upkeep.
func (h home) signed(ctx context.Context, i *Issuer, w *work, templateID string) error {
	if h.shared() {
		_, err := w.OweResigning(ctx, h.operator.ID, templateID)
		return err
	}
	_, err := i.resign(ctx, w, h.account.ID)
	return err
}

// liveAccount is an account and its live connections, nil if they are not known.
type liveAccount struct {
	id          string
	connections []claims.Connection
}

// liveOfTemplate asks for the live connections of the accounts that carry a template,
// at most mostAsked of them: for dry runs, and before the transaction.
func (i *Issuer) liveOfTemplate(ctx context.Context, op Op, ref TemplateRef) []liveAccount {
	if !op.DryRun || !op.Caller.May(WriteTemplates) {
		return nil
	}
	var ids []string
	err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) error {
		h, x, err := ref.find(ctx, &desk{Tx: t, caller: op.Caller, use: use{permission: WriteTemplates}})
		if err != nil {
			return err
		}
		if !h.shared() {
			ids = []string{h.account.ID}
			return nil
		}
		ids, err = t.AccountsOfTemplate(ctx, x.ID, "", mostAsked)
		return err
	})
	if err != nil {
		return nil // the plan says so itself
	}
	out := make([]liveAccount, len(ids))
	var asking sync.WaitGroup
	for n, id := range ids {
		asking.Go(func() { out[n] = liveAccount{id, i.askConnections(ctx, id)} })
	}
	asking.Wait()
	return out
}

// affected is a template that changes, and the accounts that were asked for live
// connections.
type affected struct {
	before Template
	live   []liveAccount
}

// foresee completes the plan of a change to a template: counts who uses it and, for a
// dry run, rehearses the signing of the accounts that were asked and works out what
// becomes of their connections. edit changes a key that carries the template, and
// returns false to remove it.
func (h home) foresee(ctx context.Context, w *work, x affected, edit func(*claims.SigningKey) bool, plan *Plan) error {
	n, err := w.CountTemplateUse(ctx, x.before.ID, h.account.ID)
	if err != nil {
		return err
	}
	plan.Reach, plan.Connections = &Reach{TemplateUse: n}, unknown
	if !w.op.DryRun {
		return nil
	}
	blast, known := claims.Blast{}, true
	for _, l := range x.live {
		one, err := foreseeAccount(ctx, w, l, x.before.ID, edit)
		if err != nil {
			return err
		}
		if one == nil {
			known = false
			continue
		}
		plan.Reach.Asked++
		blast.Impacts = append(blast.Impacts, one.Impacts...)
		blast.Closed, blast.Refused, blast.Uncertain = blast.Closed+one.Closed, blast.Refused+one.Refused, blast.Uncertain+one.Uncertain
		blast.AtLeast, blast.AtMost = blast.AtLeast+one.AtLeast, blast.AtMost+one.AtMost
	}
	if known {
		plan.Blast, plan.Connections = &blast, blast.AtLeast
	}
	return nil
}

// foreseeAccount works out what becomes of one account's connections, nil if they are
// not known.
func foreseeAccount(ctx context.Context, w *work, l liveAccount, templateID string, edit func(*claims.SigningKey) bool) (*claims.Blast, error) {
	a, err := w.GetAccount(ctx, l.id)
	if err != nil {
		return nil, err
	}
	keys, err := w.ListKeys(ctx, a.OperatorID, a.ID)
	if err != nil {
		return nil, err
	}
	checked, err := rehearse(ctx, w, a, func(parts *claims.Account) {
		var kept []claims.SigningKey
		for _, k := range parts.Keys {
			carries := slices.ContainsFunc(keys, func(row store.Key) bool { return row.ID == k.ID && row.TemplateID == templateID })
			if !carries || edit(&k) {
				kept = append(kept, k)
			}
		}
		parts.Keys = kept
	})
	if err != nil || l.connections == nil {
		return nil, err
	}
	before, err := jwt.DecodeAccountClaims(a.JWT)
	if err != nil {
		return nil, fmt.Errorf("decoding the current account JWT: %w", err)
	}
	after, ok := checked.AccountClaims()
	if !ok {
		return nil, fmt.Errorf("reading the new claims of account %s", a.ID)
	}
	blast := claims.BlastRadius(before, after, l.connections)
	return &blast, nil
}
