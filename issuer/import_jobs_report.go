package issuer

import (
	"context"
	"encoding/hex"
	"errors"
	"maps"
	"slices"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// reportOf says what taking the source in does, as rows are now.
func reportOf(ctx context.Context, t *store.Tx, src *source) (ImportReport, error) {
	out := ImportReport{SHA256: hex.EncodeToString(src.sum[:]), Problems: src.problems}
	all := []any{out.SHA256}
	claimed := map[string]*jwt.AccountClaims{}
	for _, o := range src.operators {
		d, err := decideOperator(ctx, t, o)
		if err != nil {
			return out, err
		}
		all = append(all, o.ID, d.State, d.Custody)
		for _, a := range o.accounts {
			if a.State != ImportLeftOut {
				claimed[a.ID] = a.claims
			}
		}
		places, err := findPlaces(ctx, t, o, o.accounts)
		if err != nil {
			return out, err
		}
		if places.operator, err = trusting(ctx, t, o, d.State); err != nil {
			return out, err
		}
		for _, a := range o.accounts {
			x, here, err := reportAccount(ctx, t, o, a, d, places)
			if err != nil {
				return out, err
			}
			all = append(all, x.ID, x.State, x.From, here.IssuedAt, here.JWTVersion, x.NewCredentials, x.AddedRevocations)
			d.Accounts = append(d.Accounts, x)
		}
		out.Operators = append(out.Operators, d)
	}
	warnSharing(t, src, &out, claimed)
	var err error
	out.PlanHash, err = hashOf(all)
	return out, err
}

// warnSharing reports the imports that servers leave dead.
func warnSharing(t *store.Tx, src *source, out *ImportReport, claimed map[string]*jwt.AccountClaims) {
	for n, o := range src.operators {
		for k, a := range o.accounts {
			if a.State == ImportLeftOut {
				continue
			}
			for _, p := range claims.CheckSharing(a.claims, func(id string) *jwt.AccountClaims { return claimed[id] }, t.Now()) {
				x := &out.Operators[n].Accounts[k]
				if len(x.Problems) < importProblems {
					x.Problems = append(slices.Clone(x.Problems), ImportProblem{Path: p.Pointer, Code: p.Code, Detail: p.Detail})
				}
			}
		}
	}
}

// does tells whether anything can be taken in.
func (r ImportReport) does() bool {
	return slices.ContainsFunc(r.Operators, func(o ImportedOperator) bool { return o.State != ImportLeftOut })
}

// plan says what running does.
func (r ImportReport) plan(mode ImportMode) Plan {
	plan := Plan{Connections: unknown}
	for _, o := range r.Operators {
		if o.State == ImportLeftOut {
			continue
		}
		states, users := map[ImportedState]int{}, 0
		for _, a := range o.Accounts {
			states[a.State]++
			users += a.NewCredentials
		}
		plan.Changes = append(plan.Changes, Change{Path: claims.Point("/operators", o.ID, "mode"), To: string(mode)})
		for _, s := range slices.Sorted(maps.Keys(states)) {
			plan.Changes = append(plan.Changes, Change{Path: claims.Point("/operators", o.ID, "accounts", string(s)), To: states[s]})
		}
		plan.Changes = append(plan.Changes, Change{Path: claims.Point("/operators", o.ID, "credentials"), To: users})
		plan.Summary = append(plan.Summary, claims.FieldChange{
			Field: "Operator " + o.Name, Pointer: claims.Point("/operators", o.ID),
			After: count(states[ImportNew], "new account") + ", " + count(states[ImportNewer], "newer account") + ", " + count(users, "user JWT"),
		})
	}
	return plan
}

// decideOperator holds an operator of the archive against what is here.
func decideOperator(ctx context.Context, t *store.Tx, o *sourceOperator) (ImportedOperator, error) {
	d := o.ImportedOperator
	d.Problems = slices.Clone(d.Problems)
	if d.State == ImportLeftOut {
		return d, nil
	}
	here, err := t.GetOperator(ctx, o.ID)
	switch {
	case err == nil:
		d.Custody, d.Name = here.Custody, here.Name
		d.State = compareJWT(here.JWT, here.IssuedAt, here.Verbatim || here.Custody == CustodyObserved, o.token.Text, o.claims.IssuedAt)
		return d, nil
	case !errors.Is(err, store.ErrNotFound):
		return d, err
	}
	d.State = ImportNew
	keys, err := t.KeysByID(ctx, append([]string{o.ID}, o.claims.SigningKeys...))
	if err != nil {
		return d, err
	}
	if len(keys) > 0 {
		d.leave(left("key_known", "One of the operator's keys is, or was, here already: of another operator, or of this one before it was deleted."))
		return d, nil
	}
	if _, err := t.GetOperator(ctx, o.Name); err == nil {
		d.leave(left("name_taken", "Another operator here has this name."))
	} else if !errors.Is(err, store.ErrNotFound) {
		return d, err
	}
	return d, nil
}

// compareJWT says what a JWT from elsewhere is to the one here, which may be changed
// from elsewhere only if it came from there.
func compareJWT(here string, hereAt int64, verbatim bool, there string, thereAt int64) ImportedState {
	switch {
	case here == there:
		return ImportUnchanged
	case thereAt < hereAt:
		return ImportNewerHere
	case thereAt > hereAt && verbatim:
		return ImportNewer
	}
	return ImportDiffers
}

// places is what of an operator's accounts is here already.
type places struct {
	// operator are the claims that accounts are to be trusted by, see trusting.
	operator *jwt.OperatorClaims
	accounts map[string]Account
	// names are those of other accounts under the operator, with their keys.
	names map[string]string
	keys  map[string]store.Key
}

func findPlaces(ctx context.Context, t *store.Tx, o *sourceOperator, list []*sourceAccount) (p places, err error) {
	p = places{names: map[string]string{}, keys: map[string]store.Key{}}
	var ids, names, keys []string
	for _, a := range list {
		if a.State == ImportLeftOut {
			continue
		}
		ids, names = append(ids, a.ID), append(names, a.Name)
		keys = append(append(keys, a.ID), slices.Sorted(maps.Keys(a.claims.SigningKeys))...)
	}
	if p.accounts, err = t.AccountsByID(ctx, ids); err != nil {
		return p, err
	}
	accounts, err := t.AccountsNamed(ctx, o.ID, names)
	if err != nil {
		return p, err
	}
	for _, a := range accounts {
		p.names[a.Name] = a.ID
	}
	known, err := t.KeysByID(ctx, keys)
	for _, k := range known {
		p.keys[k.ID] = k
	}
	return p, err
}

// trusting returns the operator's claims that decide whose accounts are taken in: those
// of the archive where they are taken in too, or else those that are here. A store from
// before a key was dropped must not bring back what that key signed since.
func trusting(ctx context.Context, t *store.Tx, o *sourceOperator, s ImportedState) (*jwt.OperatorClaims, error) {
	if s == ImportNew || s == ImportNewer || s == ImportUnchanged || s == ImportLeftOut {
		return o.claims, nil
	}
	return trustedHere(ctx, t, o.ID)
}

// trustedHere returns the claims of an operator as they are here; what was never signed
// trusts nobody.
func trustedHere(ctx context.Context, t *store.Tx, operatorID string) (*jwt.OperatorClaims, error) {
	o, err := t.GetOperator(ctx, operatorID)
	if err != nil || o.JWT == "" {
		return &jwt.OperatorClaims{}, err
	}
	return jwt.DecodeOperatorClaims(o.JWT)
}

// trusts tells whether servers that have the operator's claims accept the account.
func trusts(o *jwt.OperatorClaims, c *jwt.AccountClaims) bool {
	return slices.Contains(o.SigningKeys, c.Issuer) || c.Issuer == o.Subject && !o.StrictSigningKeyUsage
}

// decideAccount holds an account of the archive against what is here; the name may be
// another one then.
func decideAccount(o *sourceOperator, a *sourceAccount, p places) (ImportedAccount, Account) {
	d := a.ImportedAccount
	d.Problems = slices.Clone(d.Problems)
	if d.State == ImportLeftOut {
		return d, Account{}
	}
	here, found := p.accounts[a.ID]
	for k := range a.claims.SigningKeys {
		if known, ok := p.keys[k]; ok && (known.AccountID != a.ID || known.Kind != "account") {
			d.leave(left("key_known", "One of the account's signing keys is a key of another account here."))
			return d, here
		}
	}
	switch {
	case found && here.OperatorID != o.ID:
		d.leave(left("other_operator", "The account is here already, under another operator."))
	case found && here.State == accountDeleted:
		d.leave(left("deleted_here", "The account was deleted here: only its tombstone is left, which stays."))
	case found:
		d.Name = here.Name
		d.State = compareJWT(here.JWT, here.IssuedAt, here.Verbatim, a.token.Text, a.claims.IssuedAt)
		if d.State == ImportNewer && !trusts(p.operator, a.claims) {
			d.leave(notTrustedHere())
			return d, here
		}
		if c, err := jwt.DecodeAccountClaims(here.JWT); err == nil && d.State != ImportUnchanged {
			for _, f := range claims.DiffAccounts(c, a.claims) {
				d.Differences = append(d.Differences, bounded(f.Sentence()))
			}
			d.Differences = bounds(d.Differences)
		}
	case !trusts(p.operator, a.claims):
		d.leave(notTrustedHere())
	case p.keys[a.ID].ID != "":
		d.leave(left("key_known", "The account's key is, or was, the key of something else here."))
	default:
		d.State = ImportNew
		if whose, ok := p.names[d.Name]; ok && whose != a.ID {
			d.Name = distinct(d.Name, a.ID)
		}
	}
	return d, here
}

func notTrustedHere() ImportProblem {
	return left("not_trusted_here", "The operator's JWT here is another one than the store's, and does not accept the key that signed this account.")
}

// reportAccount is decideAccount with what is counted.
func reportAccount(ctx context.Context, t *store.Tx, o *sourceOperator, a *sourceAccount, d ImportedOperator, p places) (ImportedAccount, Account, error) {
	x, here := decideAccount(o, a, p)
	if d.State == ImportLeftOut && x.State != ImportLeftOut {
		x.leave(left("operator_left_out", "Its operator is left out."))
	}
	if x.State == ImportLeftOut {
		return x, here, nil
	}
	known := map[string]bool{}
	force := map[string]int64{}
	if x.State != ImportNew {
		entries, err := t.Issuances(ctx, a.ID, userKeys(a.users))
		if err != nil {
			return x, here, err
		}
		for _, c := range entries {
			known[string(c.SHA256)] = true
		}
		if force, err = t.EffectiveRevocations(ctx, a.ID); err != nil {
			return x, here, err
		}
	}
	for _, u := range a.users {
		if !known[string(hashOfJWT(u.token))] {
			x.NewCredentials++
		}
	}
	union := union(force, a.revoked)
	x.Revocations = len(union)
	signed := a.claims.Revocations
	if x.State != ImportNew && x.State != ImportNewer {
		signed = force
	}
	for subject, before := range union {
		if signed[subject] < before {
			x.AddedRevocations++
		}
	}
	return x, here, nil
}

// union returns the later time of each subject.
func union(a, b map[string]int64) map[string]int64 {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]int64{}
	}
	for subject, before := range b {
		out[subject] = max(out[subject], before)
	}
	return out
}

func userKeys(users []sourceUser) []string {
	out := make([]string, len(users))
	for n, u := range users {
		out[n] = u.claims.Subject
	}
	return out
}
