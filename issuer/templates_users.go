package issuer

import (
	"context"
	"reflect"
	"slices"
	"strconv"

	"chancery/claims"
	"chancery/store"
)

// hurt is something wrong with users that were fine before an edit of their template.
type hurt struct {
	claims.Problem
	users int
	// example is one of them.
	example string
}

// checkUsersOf returns what the template x, when it has become after, would do to the
// users that it has, in whatever account: names and tags that were accepted when it
// did not put them into subjects, and that are missing. A user called > would be
// given everything; without a tag of a deny rule a nats-server refuses the user,
// without one of an allow rule it drops the rule, which is a warning.
func checkUsersOf(ctx context.Context, t *store.Tx, x Template, after claims.Template) (claims.Problems, error) {
	if reflect.DeepEqual(subjectLists(x.Body), subjectLists(after)) || !usesFunctions(after) {
		return nil, nil
	}
	const page = 500
	var found []*hurt
	accounts := map[string]Account{}
	for last := ""; ; {
		users, err := t.ListUsersOfTemplate(ctx, x.ID, "", last, page)
		if err != nil {
			return nil, err
		}
		for _, u := range users {
			a, known := accounts[u.AccountID]
			if !known {
				if a, err = t.GetAccount(ctx, u.AccountID); err != nil {
					return nil, err
				}
				accounts[u.AccountID] = a
			}
			found = note(found, x, after, a, u)
		}
		if len(users) < page {
			return asProblems(found), nil
		}
		last = users[len(users)-1].ID
	}
}

// note adds what the edit does to one user.
func note(found []*hurt, x Template, after claims.Template, a Account, u User) []*hurt {
	in := claims.Account{ID: a.ID, Name: a.Name, Settings: a.Settings}
	before := claims.CheckTemplateUse(x.Body, in, u.Name, u.Tags)
	example := u.Name
	if x.Shared() {
		example = a.Name + "/" + u.Name
	}
	for _, p := range claims.CheckTemplateUse(after, in, u.Name, u.Tags) {
		if slices.Contains(before, p) {
			continue
		}
		n := slices.IndexFunc(found, func(h *hurt) bool { return h.Problem == p })
		if n < 0 {
			n, found = len(found), append(found, &hurt{Problem: p, example: example})
		}
		found[n].users++
	}
	return found
}

func asProblems(found []*hurt) claims.Problems {
	var out claims.Problems
	for _, h := range found {
		who := "1 user of the template, " + claims.Redact(h.example) + ": "
		if h.users > 1 {
			who = strconv.Itoa(h.users) + " users of the template, such as " + claims.Redact(h.example) + ": "
		}
		p := h.Problem
		p.Pointer, p.Detail = "/permissions", who+p.Detail
		out = append(out, p)
	}
	return out
}

func subjectLists(t claims.Template) [4][]string {
	p := t.Permissions.Permissions
	return [4][]string{p.Pub.Allow, p.Pub.Deny, p.Sub.Allow, p.Sub.Deny}
}

func usesFunctions(t claims.Template) bool {
	for _, list := range subjectLists(t) {
		for _, s := range list {
			if found, _ := claims.Functions(s); len(found) > 0 {
				return true
			}
		}
	}
	return false
}

// carry makes sure that the account has a key which signs for users of the template:
// a shared one gets its key with its first use, if the account's guardrails have
// nothing against it. It tells whether the account has to be signed. The account is locked. A key that was disabled or is being replaced is
// not made up for.
func (i *Issuer) carry(ctx context.Context, w *work, a Account, x Template) (added bool, err error) {
	if !x.Shared() {
		return false, nil
	}
	keys, err := w.ListKeys(ctx, a.OperatorID, a.ID)
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(keys, func(k store.Key) bool { return k.TemplateID == x.ID && k.State != "retired" }) {
		return false, nil
	}
	h := home{account: a}
	if h.operator, err = w.GetOperator(ctx, a.OperatorID); err != nil {
		return false, err
	}
	if problems := append(h.checkUse(TemplateInput{Body: x.Body}), h.outside(x.Body)...); problems.Blocking() {
		return false, invalid(problems)
	}
	if err := w.guardCount(ctx, a, claims.QuotaSigningKeys, 1); err != nil {
		return false, err
	}
	key, err := i.newKey(ctx, w, accountSigning(a.OperatorID, a.ID, x.ID))
	if err != nil {
		return false, err
	}
	// Whoever plans only is rolled back, key and all.
	if err := w.CreateKey(ctx, key); err != nil {
		return false, err
	}
	_, err = rehearse(ctx, w, a, nil)
	return true, err
}

// usableTemplate finds a template that the account, which is locked, may use; a shared
// one stays as it is until the transaction ends.
func usableTemplate(ctx context.Context, d *desk, a Account, ref string) (Template, error) {
	x, err := templateOfAccount(ctx, d, a, ref)
	if err != nil || !x.Shared() {
		return x, err
	}
	return d.LockTemplate(ctx, x.ID)
}

// UseTemplate gives an account the scoped key of a shared template before there is a
// user of it. Of a template that the account can already use nothing changes.
func (i *Issuer) UseTemplate(ctx context.Context, op Op, account, template string) (Outcome[TemplateWithKeys], error) {
	u := use{permission: WriteTemplates, action: "use", kind: "template", target: account + "/" + template}
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[TemplateWithKeys], error) {
		var none planned[TemplateWithKeys]
		h, err := TemplateHome{Account: account}.lock(ctx, w)
		if err != nil {
			return none, err
		}
		x, err := usableTemplate(ctx, &w.desk, h.account, template)
		if err != nil {
			return none, orMissing(err, "template")
		}
		added, err := i.carry(ctx, w, h.account, x)
		if err != nil {
			return none, err
		}
		var plan Plan
		if added {
			plan.Changes = []Change{{Path: "/signing_keys", To: x.Body.Name, Text: "The account gets a scoped key of the shared template " + x.Body.Name + "."}}
		}
		return planned[TemplateWithKeys]{preview: TemplateWithKeys{Template: x}, target: x.ID, plan: plan, apply: func(ctx context.Context) (TemplateWithKeys, error) {
			if added {
				if _, err := i.resign(ctx, w, h.account.ID); err != nil {
					return none.preview, err
				}
			}
			return completed(ctx, w.Tx, h, x)
		}}, nil
	})
}
