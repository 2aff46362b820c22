package issuer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// planKeys works out what the moves come to: who is hit, what guards against it, and
// how it is made.
func (i *Issuer) planKeys(ctx context.Context, w *work, x *keyPlan) (planned[KeyChange], error) {
	var none planned[KeyChange]
	out, err := x.outcome(ctx, w)
	if err != nil {
		return none, err
	}
	if x.gives() {
		if err := w.maySign(ctx, x.place.operator.ID); err != nil {
			return none, err
		}
	}
	if err := x.guard(ctx, w, out); err != nil {
		return none, err
	}
	plan := x.describe(out)
	if err := x.warnActivations(ctx, w, &plan); err != nil {
		return none, err
	}
	if x.place.account == nil {
		plan.Blast = &claims.Blast{} // a server heeds an operator's JWT when it starts
	} else if err := foresee(ctx, w, *x.place.account, x.edit, x.live, &plan); err != nil {
		return none, err
	}
	return planned[KeyChange]{preview: out, target: x.target(), plan: plan, apply: func(ctx context.Context) (KeyChange, error) {
		return i.applyKeys(ctx, w, x, out)
	}}, nil
}

func (x *keyPlan) target() string {
	if x.place.account == nil {
		return x.place.operator.ID + "/" + x.moves[0].key.ID
	}
	return x.place.account.ID + "/" + x.moves[0].key.ID
}

// outcome is what the change will have come to, with what hangs on each key.
func (x *keyPlan) outcome(ctx context.Context, w *work) (KeyChange, error) {
	out := KeyChange{Seed: x.seed}
	for n, m := range x.moves {
		v, err := x.place.view(ctx, w.Tx, x.moved(w, m), x.live)
		if err != nil {
			return out, err
		}
		if n == 0 {
			out.KeyWithUse = v
			continue
		}
		out.Previous = append(out.Previous, v)
	}
	return out, nil
}

// moved returns the key of the move as it will be.
func (x *keyPlan) moved(w *work, m keyMove) store.Key {
	k := m.key
	if m.made {
		k.Version, k.Created = 1, w.Now()
	} else if m.changes() {
		k.Version++
	}
	if m.made || k.State != m.to {
		k.Since, k.Updated = w.Now(), w.Now()
	}
	k.State, k.RetireAt = m.to, m.retireAt
	return k
}

// changes tells whether the move does anything.
func (m keyMove) changes() bool {
	return m.made || m.key.State != m.to || !m.key.RetireAt.Equal(m.retireAt)
}

// gains and drops tell whether servers come to trust the key, or to refuse it.
func (m keyMove) gains() bool { return trustedState(m.to) && (m.made || !trustedState(m.key.State)) }
func (m keyMove) drops() bool { return !m.made && trustedState(m.key.State) && !trustedState(m.to) }

// gives tells whether a key comes to sign, or to be trusted: an operator's accounts only
// owe their signatures then, and those that an offline identity key makes come later.
func (x *keyPlan) gives() bool {
	return slices.ContainsFunc(x.moves, func(m keyMove) bool { return m.gains() || (m.changes() && m.to == KeyCurrent) })
}

// after returns the place's keys as they will be, oldest first.
func (x *keyPlan) after() []store.Key {
	out := slices.Clone(x.place.keys)
	for _, m := range x.moves {
		k := m.key
		k.State = m.to
		if n := slices.IndexFunc(out, func(o store.Key) bool { return o.ID == k.ID }); n >= 0 {
			out[n] = k
			continue
		}
		out = append(out, k)
	}
	return out
}

// edit makes the parts of the account's JWT what they will be.
func (x *keyPlan) edit(parts *claims.Account) {
	for _, m := range x.moves {
		if m.drops() {
			parts.Keys = slices.DeleteFunc(parts.Keys, func(k claims.SigningKey) bool { return k.ID == m.key.ID })
		}
		if m.gains() {
			k := claims.SigningKey{ID: m.key.ID}
			if x.place.template != nil {
				k.Template = &x.place.template.Body
			}
			parts.Keys = append(parts.Keys, k)
		}
	}
	for _, v := range x.revoked {
		parts.Revocations[v.Subject] = max(parts.Revocations[v.Subject], v.Before)
	}
}

// guard refuses what would lock somebody out, unless the caller overrides it.
func (x *keyPlan) guard(ctx context.Context, w *work, out KeyChange) error {
	if x.place.account == nil {
		return x.guardOperator(w, out)
	}
	if x.place.account.System && x.place.template == nil && x.place.signer(x.place.keys) != "" && x.place.signer(x.after()) == "" {
		if err := w.guard(GuardSystemKey); err != nil {
			return err
		}
	}
	uses := append([]KeyWithUse{out.KeyWithUse}, out.Previous...)
	for n, m := range x.moves {
		if !m.drops() {
			continue
		}
		if x.place.account.System {
			own, err := w.HoldsNewest(ctx, x.place.account.ID, m.key.ID, SystemUserName)
			if err != nil {
				return err
			}
			if own {
				if err := w.guard(GuardSystemKey); err != nil {
					return err
				}
			}
		}
		if use := uses[n].InUse; use.UnexpiredCredentials > 0 && !x.compromised(m) {
			if err := w.guardSaying(GuardKeyInUse, inUseText(use)); err != nil {
				return err
			}
		}
	}
	return nil
}

// compromised tells whether the move is made since the key is in wrong hands: that
// its credentials stop working is what is wanted.
func (x *keyPlan) compromised(m keyMove) bool { return x.compromise && m.key.ID == x.moves[0].key.ID }

func inUseText(u KeyInUse) string {
	text := "1 unexpired credential was signed by this key: its holder would be refused."
	if u.UnexpiredCredentials > 1 {
		text = fmt.Sprintf("%d unexpired credentials were signed by this key: their holders would be refused.", u.UnexpiredCredentials)
	}
	switch {
	case u.LiveConnections == 1:
		text += " 1 of them is connected now."
	case u.LiveConnections > 1:
		text += fmt.Sprintf(" %d connections are open with them now.", u.LiveConnections)
	}
	return text
}

func (x *keyPlan) guardOperator(w *work, out KeyChange) error {
	if x.place.signer(x.place.keys) != "" && x.place.signer(x.after()) == "" {
		if err := w.guard(GuardLastOperatorKey); err != nil {
			return err
		}
	}
	uses := append([]KeyWithUse{out.KeyWithUse}, out.Previous...)
	for n, m := range x.moves {
		if m.to == KeyCurrent && m.key.State != KeyRetiring && m.key.State != KeyCurrent && x.untrusted.refuses() {
			if err := w.guardSaying(GuardOperatorKeyUntrusted, x.untrusted.text()); err != nil {
				return err
			}
		}
		if signed := uses[n].InUse.Accounts; m.drops() && signed > 0 {
			text := guardText[GuardOperatorKeyInUse].message
			if signed > 1 {
				text = fmt.Sprintf("%d accounts are still signed by this key: servers would refuse them at their next start.", signed)
			}
			if err := w.guardSaying(GuardOperatorKeyInUse, text); err != nil {
				return err
			}
		}
	}
	return nil
}

// guardSaying is guard with a message that knows more.
func (w *work) guardSaying(g Guard, message string) error {
	err := w.guard(g)
	if e, ok := errors.AsType[*Error](err); ok {
		e.Message = message
	}
	return err
}

// describe says in words what the moves do.
func (x *keyPlan) describe(out KeyChange) Plan {
	plan := Plan{}
	uses := append([]KeyWithUse{out.KeyWithUse}, out.Previous...)
	warn := func(code, text string) {
		plan.Warnings = append(plan.Warnings, claims.Problem{Code: code, Detail: text})
	}
	restart := false
	for n, m := range x.moves {
		if !m.changes() {
			continue
		}
		at := claims.Point("/signing_keys", m.key.ID)
		before := ""
		if m.made {
			plan.Changes = append(plan.Changes, Change{Path: at + "/state", To: m.to})
		} else {
			before = stateText(m.key.State, m.key.RetireAt)
			plan.Changes = append(plan.Changes, Change{Path: at + "/state", From: m.key.State, To: m.to})
		}
		line := claims.FieldChange{Pointer: at, Field: "Key " + claims.ShortKey(m.key.ID), Before: before, After: stateText(m.to, m.retireAt)}
		plan.Summary = append(plan.Summary, line)
		plan.Changes[len(plan.Changes)-1].Text = line.Sentence()
		if !m.retireAt.Equal(m.key.RetireAt) {
			plan.Changes = append(plan.Changes, Change{Path: at + "/retire_at", From: dateOf(m.key.RetireAt), To: dateOf(m.retireAt)})
		}
		if m.drops() {
			plan.Credentials += uses[n].InUse.UnexpiredCredentials
		}
		restart = restart || (x.place.account == nil && (m.gains() || m.drops()))
		if m.to == KeyCurrent && !x.place.signs(m.key) {
			warn("signs_elsewhere", "The seed of this key is not held here: Chancery cannot sign with it.")
		}
	}
	if restart {
		warn("restart_servers", "A nats-server heeds an operator's JWT only when it starts: give the servers the new one and restart them one after the other.")
	}
	if x.place.account != nil && x.place.signer(x.place.keys) != "" && x.place.signer(x.after()) == "" {
		warn("no_signing_key", "No key is left here that could sign new credentials.")
	}
	plan.Warnings = append(plan.Warnings, x.warnings...)
	for _, v := range x.revoked {
		plan.Changes = append(plan.Changes, Change{Path: claims.Point("/revocations", v.Subject), To: v.Before})
	}
	return plan
}

// warnActivations says which activation tokens stop being valid with the account's plain
// keys that servers are to trust no more.
func (x *keyPlan) warnActivations(ctx context.Context, w *work, plan *Plan) error {
	if x.place.account == nil || x.place.template != nil {
		return nil
	}
	tokens, dropped := int64(0), []string{}
	for _, m := range x.moves {
		if !m.drops() {
			continue
		}
		signed, _, err := w.SignedActivations(ctx, x.place.account.ID, m.key.ID)
		if err != nil {
			return err
		}
		tokens += signed
		dropped = append(dropped, m.key.ID)
	}
	if len(dropped) == 0 {
		return nil
	}
	if tokens > 0 {
		plan.Warnings = append(plan.Warnings, claims.Problem{
			Code: "activations_break", Detail: counted(tokens, "unexpired activation token is", "unexpired activation tokens are") + " signed by this key and will not be valid any more. Renew them with the current key first.",
		})
	}
	return w.warnImporters(ctx, *x.place.account, plan, func(c *jwt.AccountClaims) {
		for _, id := range dropped {
			delete(c.SigningKeys, id)
		}
	})
}

func stateText(state string, retireAt time.Time) string {
	switch {
	case state != KeyRetiring:
		return state
	case retireAt.IsZero():
		return "retiring, until nothing hangs on it"
	}
	return "retiring, until " + retireAt.UTC().Format(time.RFC3339)
}

func dateOf(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

// applyKeys stores the moves and signs what carries them.
func (i *Issuer) applyKeys(ctx context.Context, w *work, x *keyPlan, out KeyChange) (KeyChange, error) {
	carried := len(x.revoked) > 0
	for _, m := range x.moves {
		carried = carried || m.gains() || m.drops()
		if err := storeMove(ctx, w, m); err != nil {
			return out, err
		}
	}
	if err := w.CreateRevocations(ctx, x.revoked); err != nil {
		return out, err
	}
	if x.place.account == nil {
		return x.applyOperator(ctx, i, w, out, carried)
	}
	out.JWTVersion = x.place.account.JWTVersion
	if !carried {
		return out, nil
	}
	a, err := i.resign(ctx, w, x.place.account.ID)
	out.JWTVersion = a.JWTVersion
	return out, err
}

func storeMove(ctx context.Context, w *work, m keyMove) error {
	if m.made {
		k := m.key
		k.State = m.to
		return orTaken(w.CreateKey(ctx, k), "key")
	}
	if !m.changes() {
		return nil
	}
	return w.SetKeyState(ctx, m.key.ID, m.to, m.retireAt)
}

// applyOperator signs the operator's JWT anew where it changes, and has the accounts
// signed anew where another key signs them.
func (x *keyPlan) applyOperator(ctx context.Context, i *Issuer, w *work, out KeyChange, carried bool) (KeyChange, error) {
	if carried {
		if err := i.resignOperator(ctx, w, x.place.operator.ID); err != nil {
			return out, err
		}
	}
	before, after := x.place.signer(x.place.keys), x.place.signer(x.after())
	owes := before != after && after != ""
	for _, k := range append([]KeyWithUse{out.KeyWithUse}, out.Previous...) {
		owes = owes || (!trustedState(k.State) && k.InUse.Accounts > 0)
	}
	if !owes || after == "" {
		return out, nil
	}
	var err error
	out.Owing, err = w.OweResigning(ctx, x.place.operator.ID, "")
	out.InUse.AccountsOwing = out.Owing
	return out, err
}
