package issuer

import (
	"context"
	"math"
	"strconv"
	"strings"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// levelsOf are the guardrails that hold for an account. On a system account none do.
func levelsOf(o Operator, a Account) claims.Levels {
	if a.System {
		return nil
	}
	return claims.Levels{{Whose: "operator", Guardrails: o.Policy.Guardrails}, {Whose: "account", Guardrails: a.Guardrails}}
}

// levels are the guardrails that hold for templates of the home.
func (h home) levels() claims.Levels { return levelsOf(h.operator, h.account) }

func termsOf(ctx context.Context, t *store.Tx, a Account) (terms, error) {
	o, err := t.GetOperator(ctx, a.OperatorID)
	return termsUnder(o, a), err
}

func termsUnder(o Operator, a Account) terms {
	return terms{policy: o.Policy, levels: levelsOf(o, a)}
}

// checkUser returns what the guardrails have against a user of the account with the
// template, which may be nil: now, whatever they were when the two were made.
func (t terms) checkUser(a Account, u User, template *Template) claims.Problems {
	problems := t.levels.CheckUserTags("/tags", u.Tags)
	defaults := a.Settings.DefaultPermissions
	if template == nil {
		if u.Permissions != nil {
			problems = append(problems, t.levels.CheckPermissions(*u.Permissions, defaults)...)
		}
		return problems
	}
	for _, p := range t.levels.CheckPermissions(template.Body.Permissions, defaults) {
		p.Pointer, p.Detail = "/template", "The template does not keep within the guardrails. "+p.Detail
		return append(problems, p) // the rest shows where the template is changed
	}
	return problems
}

// guardCount refuses more of what a quota of the account counts. The account is
// locked, so that whoever comes next counts this too. Chancery itself replaces keys
// by policy whatever their number.
func (w *work) guardCount(ctx context.Context, a Account, q claims.Quota, more int64) error {
	if q == claims.QuotaSigningKeys && w.op.Caller.Kind == CallerSystem {
		return nil
	}
	t, err := termsOf(ctx, w.Tx, a)
	if err != nil || t.levels.Most(q) < 0 {
		return err
	}
	n, err := w.CountForQuota(ctx, q, a.ID)
	if err != nil {
		return err
	}
	return refusal(t.levels.CheckQuota("", q, n+more))
}

// guardCredential refuses one key more than a user may have in use.
func (w *work) guardCredential(ctx context.Context, s *issuance, u User, in IssueInput) error {
	if s.levels.Most(claims.QuotaCredentials) < 0 {
		return nil
	}
	n := int64(0)
	if in.replaces != Everybody {
		var err error
		if n, err = w.CountKeysInUse(ctx, u.ID, in.PublicKey, in.replaces); err != nil {
			return err
		}
	}
	return refusal(s.levels.CheckQuota("", claims.QuotaCredentials, n+1))
}

// guardExport refuses a subject of an export that is outside the guardrails of the
// account; fresh exports count.
func (w *work) guardExport(ctx context.Context, a Account, subject string, fresh bool) error {
	t, err := termsOf(ctx, w.Tx, a)
	if err != nil {
		return err
	}
	if problems := t.levels.CheckExport("/subject", subject); problems.Blocking() || !fresh {
		return refusal(problems)
	}
	return w.guardCount(ctx, a, claims.QuotaExports, 1)
}

// guard refuses a share that would make more, or other, exports and imports than the
// guardrails of both accounts allow.
func (s *sharePlan) guard(ctx context.Context, w *work) error {
	var exports, imports int64
	for _, l := range s.links {
		if l.made {
			exports++
			if err := w.guardExport(ctx, s.exporter, string(l.export.Body.Subject), false); err != nil {
				return err
			}
		}
		if l.before == nil {
			imports++
		}
	}
	if exports > 0 {
		if err := w.guardCount(ctx, s.exporter, claims.QuotaExports, exports); err != nil {
			return err
		}
	}
	if imports == 0 {
		return nil
	}
	return w.guardCount(ctx, s.importer, claims.QuotaImports, imports)
}

// guardCarriers refuses an edit of a shared template that would take the users of an
// account out of that account's own guardrails.
func (w *work) guardCarriers(ctx context.Context, x Template, after claims.Template) error {
	if !x.Shared() {
		return nil
	}
	accounts, err := w.GuardedCarriers(ctx, x.ID)
	if err != nil {
		return err
	}
	for _, a := range accounts {
		own := claims.Levels{{Whose: "account", Guardrails: a.Guardrails}}
		problems := own.CheckPermissions(after.Permissions, a.Settings.DefaultPermissions)
		for n := range problems {
			problems[n].Detail = "Account " + claims.Redact(a.Name) + " uses the template. " + problems[n].Detail
		}
		if problems.Blocking() {
			return invalid(problems)
		}
	}
	return nil
}

// refusal is the error of problems, if there is one.
func refusal(problems claims.Problems) error {
	if problems.Blocking() {
		return invalid(problems)
	}
	return nil
}

// countsAccounts tells whether guardrails ask about an operator's accounts together.
func countsAccounts(g claims.Guardrails) bool {
	for _, q := range []claims.Quota{claims.QuotaAccounts, claims.TotalConnections, claims.TotalDisk, claims.TotalMemory} {
		if _, bounded := g.Quotas[q]; bounded {
			return true
		}
	}
	return false
}

// holdForAccount keeps the operator as it is while an account is made under it. Where
// its accounts are counted, only one is made at a time.
func (w *work) holdForAccount(ctx context.Context, o Operator) (Operator, error) {
	if !countsAccounts(o.Policy.Guardrails) {
		held, err := w.HoldOperator(ctx, o.ID)
		if err != nil || !countsAccounts(held.Policy.Guardrails) {
			return held, err
		}
	}
	o, err := w.LockOperatorForEdit(ctx, o.ID)
	if err == nil && o.State == accountDeleted {
		err = store.ErrNotFound
	}
	return o, err
}

// findGuardedAccount finds an account for a change of what is counted over all accounts of
// its operator. Where they are counted the operator is locked, before the account as
// everywhere.
func findGuardedAccount(ctx context.Context, w *work, ref string) (Operator, Account, error) {
	var of []Operator
	if claims.IsPublicKey(claims.KindAccount, ref) {
		if err := w.LookUpOperatorOf(ctx, ref, &of); err != nil {
			return Operator{}, Account{}, err
		}
	}
	a, err := findAccount(ctx, &w.desk, ref)
	if err != nil {
		return Operator{}, a, err
	}
	var o Operator
	if len(of) > 0 {
		o = of[0]
	} else {
		o, err = w.GetOperator(ctx, a.OperatorID)
	}
	if err == nil && countsAccounts(o.Policy.Guardrails) {
		o, err = w.LockOperatorForEdit(ctx, o.ID)
	}
	return o, a, orMissing(err, "operator")
}

// holdGuardedAccount locks what findGuardedAccount found, and returns what the account's JWT
// is made of.
func holdGuardedAccount(ctx context.Context, w *work, o Operator, found Account) (Account, store.AccountRows, error) {
	a, rows, err := w.HoldAccount(ctx, found)
	if err != nil {
		return a, rows, orMissing(err, "account")
	}
	if err := notDeleted(a); err != nil {
		return a, rows, err
	}
	return a, rows, writable(o)
}

// guardAccount refuses what is outside the guardrails of an account to come, or of one
// that changes; before is zero for a new one. The operator is held by holdForAccount
// or lockGuardedAccount.
func (w *work) guardAccount(ctx context.Context, o Operator, before, after Account) error {
	levels := levelsOf(o, after)
	problems := levels.CheckAccountTags("/tags", after.Settings.Tags)
	problems = append(problems, levels.CheckDefaults(before.Settings.DefaultPermissions, after.Settings.DefaultPermissions)...)
	if before.ID == "" {
		problems = append(problems, levels.CheckQuota("", claims.QuotaSigningKeys, 1)...)
		if levels.Most(claims.QuotaAccounts) >= 0 {
			n, err := w.CountOpenAccounts(ctx, o.ID)
			if err != nil {
				return err
			}
			problems = append(problems, levels.CheckQuota("", claims.QuotaAccounts, n+1)...)
		}
	}
	over, err := w.checkTotals(ctx, o, levels, before, after)
	if err != nil {
		return err
	}
	return refusal(append(problems, over...))
}

// total is a limit of accounts that is summed.
type total struct {
	quota   claims.Quota
	pointer string
	given   func(l jwt.OperatorLimits) int64
}

func totals() []total {
	return []total{
		{claims.TotalConnections, "/limits/connections", func(l jwt.OperatorLimits) int64 { return l.Conn }},
		{claims.TotalDisk, "/jetstream/disk_bytes", func(l jwt.OperatorLimits) int64 {
			return stored(l, func(j jwt.JetStreamLimits) int64 { return j.DiskStorage })
		}},
		{claims.TotalMemory, "/jetstream/memory_bytes", func(l jwt.OperatorLimits) int64 {
			return stored(l, func(j jwt.JetStreamLimits) int64 { return j.MemoryStorage })
		}},
	}
}

// stored is what an account may store, -1 for without limit. Limits by replica count
// (tiers R1, R3) are scaled up by it, as a nats-server does.
func stored(l jwt.OperatorLimits, of func(jwt.JetStreamLimits) int64) int64 {
	if len(l.JetStreamTieredLimits) == 0 {
		return of(l.JetStreamLimits)
	}
	sum := int64(0)
	for tier, limits := range l.JetStreamTieredLimits {
		replicas, err := strconv.ParseInt(strings.TrimPrefix(tier, "R"), 10, 8)
		if err != nil || replicas < 1 {
			replicas = 1
		}
		for range replicas {
			sum = plus(sum, of(limits))
		}
	}
	return sum
}

// plus adds limits, of which less than zero is none.
func plus(a, b int64) int64 {
	switch {
	case a < 0 || b < 0:
		return jwt.NoLimit
	case a > math.MaxInt64-b:
		return math.MaxInt64
	}
	return a + b
}

// checkTotals returns which sums over the operator's accounts grow beyond what is
// allowed. An account that gets no more than it has is not held up by the others.
func (w *work) checkTotals(ctx context.Context, o Operator, levels claims.Levels, before, after Account) (claims.Problems, error) {
	var out claims.Problems
	var others []store.AccountLimits
	for _, x := range totals() {
		if levels.Most(x.quota) < 0 {
			continue
		}
		was, is := x.given(before.Settings.Limits), x.given(after.Settings.Limits)
		if before.ID != "" && (was < 0 || is >= 0 && is <= was) {
			continue
		}
		if others == nil {
			var err error
			if others, err = w.ListAccountLimits(ctx, o.ID); err != nil {
				return nil, err
			}
		}
		sum := is
		for _, a := range others {
			if a.ID != after.ID {
				sum = plus(sum, x.given(a.Limits))
			}
		}
		found := levels.CheckQuota(x.pointer, x.quota, sum)
		if sum < 0 {
			why := " Another account has no such limit, and counts as over."
			if is < 0 {
				why = " Give this account a limit."
			}
			for n := range found {
				found[n].Detail += why
			}
		}
		out = append(out, found...)
	}
	return out, nil
}
