package issuer

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"chancery/claims"
	"chancery/store"
)

const (
	// maxOutsideNamed is how many a warning names, maxOutsideRead how many users or
	// templates are looked at: beyond it the numbers are lower bounds.
	maxOutsideNamed = 5
	maxOutsideRead  = 20_000
)

// outsiders collects what is outside a rule already.
type outsiders struct {
	// about comes before the number, one or many after it, then at the end.
	pointer, about, one, many, then string
	n                               int64
	atLeast                         bool
	names                           []string
}

func (o *outsiders) add(name string) {
	o.n++
	if len(o.names) < maxOutsideNamed {
		o.names = append(o.names, claims.Redact(name))
	}
}

// warning says it in a sentence, if there is anything.
func (o outsiders) warning() claims.Problems {
	if o.n == 0 {
		return nil
	}
	text := "1 " + o.one
	if o.n > 1 {
		text = strconv.FormatInt(o.n, 10) + " " + o.many
	}
	switch {
	case o.atLeast && o.about == "":
		text = "At least " + text
	case o.atLeast:
		text = "at least " + text
	}
	if len(o.names) > 0 {
		slices.Sort(o.names)
		such := ": "
		if int64(len(o.names)) < o.n {
			such = ", such as "
		}
		text += such + strings.Join(o.names, ", ")
	}
	return claims.Problems{{Pointer: o.pointer, Code: "outside_now", Detail: o.about + text + ". " + o.then}}
}

// outsideNow warns of what there is outside a level that is about to be set.
func (w *work) outsideNow(ctx context.Context, level claims.Level, scope store.GuardScope) (claims.Problems, error) {
	x := outside{w: w, level: level, scope: scope, accounts: map[string]Account{}}
	var out claims.Problems
	for _, find := range []func(context.Context) (claims.Problems, error){x.templates, x.users, x.credentials, x.quotas, x.operator} {
		found, err := find(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// outside looks for what is outside one level.
type outside struct {
	w        *work
	level    claims.Level
	scope    store.GuardScope
	accounts map[string]Account
}

// account reads an account once; the zero one stands for none.
func (x outside) account(ctx context.Context, id string) (Account, error) {
	a, known := x.accounts[id]
	if known || id == "" {
		return a, nil
	}
	a, err := x.w.GetAccount(ctx, id)
	x.accounts[id] = a
	return a, err
}

// paged hands every row of a list by identity to each, up to maxOutsideRead of them.
func paged[T any](ctx context.Context, list func(ctx context.Context, after string, limit int) ([]T, error), id func(T) string, each func(T) error) (all bool, err error) {
	const page = 500
	last := ""
	for range maxOutsideRead / page {
		rows, err := list(ctx, last, page)
		if err != nil {
			return false, err
		}
		for _, r := range rows {
			if err := each(r); err != nil {
				return false, err
			}
		}
		if len(rows) < page {
			return true, nil
		}
		last = id(rows[len(rows)-1])
	}
	return false, nil
}

func (x outside) templates(ctx context.Context) (claims.Problems, error) {
	if !x.level.NoBearer && len(x.level.Subjects) == 0 {
		return nil, nil
	}
	found := outsiders{
		pointer: "/subject_prefixes", one: "template is outside the new guardrails", many: "templates are outside the new guardrails",
		then: "What was issued goes on until it expires; nothing new is issued before that is changed.",
	}
	all, err := paged(ctx, func(ctx context.Context, after string, limit int) ([]Template, error) {
		return x.w.ListGuardedTemplates(ctx, x.scope, after, limit)
	}, func(t Template) string { return t.ID }, func(t Template) error {
		a, err := x.account(ctx, t.AccountID)
		if (claims.Levels{x.level}).CheckPermissions(t.Body.Permissions, a.Settings.DefaultPermissions).Blocking() {
			found.add(strings.TrimPrefix(a.Name+"/"+t.Body.Name, "/"))
		}
		return err
	})
	found.atLeast = !all
	return found.warning(), err
}

func (x outside) users(ctx context.Context) (claims.Problems, error) {
	if !x.level.NoBearer && len(x.level.Subjects)+len(x.level.UserTags) == 0 {
		return nil, nil
	}
	const then = "What was issued goes on until it expires; nothing new is issued before that is changed."
	untagged := outsiders{pointer: "/required_user_tags", one: "user lacks a tag", many: "users lack a tag", then: then}
	wide := outsiders{pointer: "/subject_prefixes", one: "user has permissions of its own outside the new guardrails", many: "users have permissions of their own outside the new guardrails", then: then}
	level := claims.Levels{x.level}
	all, err := paged(ctx, func(ctx context.Context, after string, limit int) ([]User, error) {
		return x.w.ListGuardedUsers(ctx, x.scope, after, limit)
	}, func(u User) string { return u.ID }, func(u User) error {
		a, err := x.account(ctx, u.AccountID)
		if level.CheckUserTags("", u.Tags).Blocking() {
			untagged.add(a.Name + "/" + u.Name)
		}
		if u.Permissions != nil && level.CheckPermissions(*u.Permissions, a.Settings.DefaultPermissions).Blocking() {
			wide.add(a.Name + "/" + u.Name)
		}
		return err
	})
	untagged.atLeast, wide.atLeast = !all, !all
	return append(untagged.warning(), wide.warning()...), err
}

func (x outside) credentials(ctx context.Context) (claims.Problems, error) {
	var out claims.Problems
	count := func(found outsiders, bearer bool) (err error) {
		most := time.Duration(x.level.MaxTTL) * time.Second
		found.n, found.names, err = x.w.CountLongCredentials(ctx, x.scope, most, bearer, maxOutsideNamed)
		for n, name := range found.names {
			found.names[n] = claims.Redact(name)
		}
		out = append(out, found.warning()...)
		return err
	}
	if x.level.MaxTTL > 0 {
		err := count(outsiders{
			pointer: "/credential_max_ttl_seconds", one: "credential lives longer", many: "credentials live longer",
			then: "What was issued goes on until it expires: to end that, revoke it or issue anew.",
		}, false)
		if err != nil {
			return nil, err
		}
	}
	if x.level.NoBearer {
		err := count(outsiders{
			pointer: "/no_bearer", one: "bearer credential is in use", many: "bearer credentials are in use", then: "What was issued goes on until it expires: to end that, revoke it.",
		}, true)
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (x outside) quotas(ctx context.Context) (claims.Problems, error) {
	var out claims.Problems
	for _, q := range claims.Quotas(false) {
		most, bounded := x.level.Quotas[q]
		if !bounded {
			continue
		}
		list, err := x.w.ListOverQuota(ctx, x.scope, q, most, maxOutsideNamed+1)
		if err != nil {
			return nil, err
		}
		name, _ := claims.QuotaName(q)
		found := outsiders{pointer: claims.Point("/quotas", string(q)), about: name + ": ", one: "account has more", many: "accounts have more", then: "What there is stays, and no more is made."}
		if q == claims.QuotaCredentials {
			found.one, found.many = "user has more", "users have more"
		}
		found.atLeast = len(list) > maxOutsideNamed
		for _, c := range list {
			found.add(c.Name + " (" + strconv.FormatInt(c.N, 10) + ")")
		}
		out = append(out, found.warning()...)
	}
	return out, nil
}

// operator finds what is outside the rules about an operator's accounts.
func (x outside) operator(ctx context.Context) (claims.Problems, error) {
	if x.scope.AccountID != "" || len(x.level.AccountTags) == 0 && !countsAccounts(x.level.Guardrails) {
		return nil, nil
	}
	accounts, err := x.w.ListAccountLimits(ctx, x.scope.OperatorID)
	if err != nil {
		return nil, err
	}
	level := claims.Levels{x.level}
	untagged := outsiders{pointer: "/required_account_tags", one: "account lacks a tag", many: "accounts lack a tag", then: "The next change of such an account has to add it."}
	for _, a := range accounts {
		if level.CheckAccountTags("", a.Tags).Blocking() {
			untagged.add(a.Name)
		}
	}
	out := untagged.warning()
	if level.CheckQuota("", claims.QuotaAccounts, int64(len(accounts))).Blocking() {
		out = append(out, claims.Problem{
			Pointer: claims.Point("/quotas", string(claims.QuotaAccounts)), Code: "outside_now",
			Detail: "The operator has " + strconv.Itoa(len(accounts)) + " accounts already. They stay, and no more are made.",
		})
	}
	for _, t := range totals() {
		sum := int64(0)
		name, _ := claims.QuotaName(t.quota)
		endless := outsiders{
			pointer: claims.Point("/quotas", string(t.quota)), about: name + ": ", one: "account has no limit", many: "accounts have no limit",
			then: "Until each has one, no account gets more.",
		}
		for _, a := range accounts {
			if sum = plus(sum, t.given(a.Limits)); t.given(a.Limits) < 0 {
				endless.add(a.Name)
			}
		}
		if !level.CheckQuota("", t.quota, sum).Blocking() {
			continue
		}
		out = append(out, endless.warning()...)
		if endless.n == 0 {
			out = append(out, claims.Problem{Pointer: endless.pointer, Code: "outside_now", Detail: name + ": what accounts were given together is more. They keep it, and none gets more."})
		}
	}
	return out, nil
}
