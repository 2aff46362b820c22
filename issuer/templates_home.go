package issuer

import (
	"context"
	"strconv"
	"time"

	"chancery/claims"
	"chancery/store"
)

// TemplateHome names whose a template is: an account's or, without an account, an
// operator's, whose accounts may all use it. Both are names or public keys.
type TemplateHome struct{ Account, Operator string }

// TemplateRef names a template, by name or identity, at its home. At an account a
// shared template is found as well.
type TemplateRef struct {
	TemplateHome
	Template string
}

// home is where a template belongs: an account, or an operator if account is zero.
type home struct {
	operator Operator
	account  Account
}

func (h home) shared() bool { return h.account.ID == "" }

func (at TemplateHome) find(ctx context.Context, d *desk) (h home, err error) {
	if at.Account == "" {
		if h.operator, err = findOperator(ctx, d, at.Operator); err != nil {
			return h, err
		}
		// What all accounts share is seen from one of them at that account.
		return h, d.whole(Scope{Operator: h.operator.ID})
	}
	if h.account, err = findAccount(ctx, d, at.Account); err != nil {
		return h, err
	}
	h.operator, err = d.GetOperator(ctx, h.account.OperatorID)
	return h, err
}

// lock finds the home and locks it until the transaction ends.
func (at TemplateHome) lock(ctx context.Context, w *work) (h home, err error) {
	if h, err = at.find(ctx, &w.desk); err != nil {
		return h, err
	}
	if h.shared() {
		if h.operator, err = w.LockOperatorForEdit(ctx, h.operator.ID); err == nil {
			err = writable(h.operator)
		}
	} else if h.account, err = w.LockAccountForIssue(ctx, h.account.ID); err == nil {
		if err = notDeleted(h.account); err == nil {
			err = writable(h.operator)
		}
	}
	return h, err
}

// find returns the template, and the home from which it is looked at.
func (r TemplateRef) find(ctx context.Context, d *desk) (home, Template, error) {
	h, err := r.TemplateHome.find(ctx, d)
	if err != nil {
		return h, Template{}, err
	}
	var x Template
	if h.shared() {
		x, err = d.GetSharedTemplate(ctx, h.operator.ID, r.Template)
	} else {
		x, err = templateOfAccount(ctx, d, h.account, r.Template)
	}
	return h, x, d.orMissing(err, "template")
}

// templateOfAccount finds a template that an account, which was entered, may use, and
// enters what concerns it.
func templateOfAccount(ctx context.Context, d *desk, a Account, ref string) (Template, error) {
	x, err := d.GetTemplate(ctx, a.ID, ref)
	if err != nil {
		return x, d.orMissing(err, "template")
	}
	return x, d.enter(withTemplate(scopeOf(a), x.ID), "template")
}

// lock finds the template to change it, at the version that the caller saw. A shared
// one is changed at its operator only.
func (r TemplateRef) lock(ctx context.Context, w *work) (home, Template, error) {
	h, err := r.TemplateHome.lock(ctx, w)
	if err != nil {
		return h, Template{}, err
	}
	_, x, err := r.find(ctx, &w.desk)
	if err != nil {
		return h, x, err
	}
	if x.Shared() && !h.shared() {
		return h, x, &Error{
			Kind: KindConflict, Code: "shared_template", Message: "This template belongs to the operator and is shared by its accounts.",
			Hint: "Change it at the operator, or clone it into the account.",
		}
	}
	if x, err = w.LockTemplate(ctx, x.ID); err != nil {
		return h, x, orMissing(err, "template")
	}
	return h, x, w.expect(x.Version)
}

// slowDown holds ordinary edits of an account back, see slowDown.
func (h home) slowDown(w *work) error {
	if h.shared() {
		return nil
	}
	return slowDown(w, h.account)
}

// free refuses a name that another template has, which the same account may use: two
// of one name would be one role in its JWT.
func (h home) free(ctx context.Context, w *work, name string) error {
	var err error
	if h.shared() {
		n, err := w.CountTemplatesNamed(ctx, h.operator.ID, name)
		if err != nil {
			return err
		}
		if n > 0 {
			return &Error{
				Kind: KindConflict, Code: "name_taken", Message: strconv.FormatInt(n, 10) + " of the operator's accounts have a template of this name.",
				Hint: "Choose another name, so that nobody takes the one for the other.",
			}
		}
		_, err = w.GetSharedTemplate(ctx, h.operator.ID, name)
		if err == nil {
			return orTaken(store.ErrExists, "template")
		}
		return ignoreMissing(err)
	}
	if _, err = w.GetTemplate(ctx, h.account.ID, name); err == nil {
		return orTaken(store.ErrExists, "template")
	}
	return ignoreMissing(err)
}

// testedIn is the account in which the tests of x run: its own or, of a shared
// template, a stand-in without tags where a test names none.
func (h home) testedIn(x Template) claims.Account {
	if x.Shared() {
		return claims.Account{ID: claims.SampleAccountKey, Name: "account"}
	}
	return claims.Account{ID: h.account.ID, Name: h.account.Name, Settings: h.account.Settings}
}

// check returns the warnings about a template at its home and what its tests came to.
// What is wrong, and a test that fails, is an error.
func (h home) check(in TemplateInput) (claims.Problems, []claims.TestResult, error) {
	problems := append(claims.CheckTemplate(in.Body), checkTTL("/max_ttl_seconds", in.MaxTTL)...)
	problems = append(problems, h.checkUse(in)...)
	problems = append(problems, h.outside(in.Body)...)
	problems = append(problems, claims.CheckTests(in.Tests, h.shared()).At("/tests")...)
	if problems.Blocking() {
		return nil, nil, invalid(problems)
	}
	results := claims.RunTests(in.Body, h.testedIn(Template{AccountID: h.account.ID}), in.Tests)
	if failed := claims.Failures(results); len(failed) > 0 {
		return nil, nil, &Error{
			Kind: KindInvalid, Code: "template_tests_failed", Message: strconv.Itoa(len(failed)) + " of the template's tests fail, so it was not saved.",
			Hint: "Correct the permissions, or the tests if they are out of date.", Problems: append(problems, failed.At("/tests")...),
		}
	}
	return problems, results, nil
}

// outside returns what the guardrails of the home have against a template. A shared
// one must say what is allowed: it has no account whose defaults would.
func (h home) outside(body claims.Template) claims.Problems {
	return h.levels().CheckPermissions(body.Permissions, h.account.Settings.DefaultPermissions)
}

// checkUse returns what every user of the template would be refused for, whatever its
// name and tags.
func (h home) checkUse(in TemplateInput) claims.Problems {
	var out claims.Problems
	if h.shared() {
		return out
	}
	// Of the account that users are in, not of its users: every name and tag is fine.
	a := claims.Account{Name: h.account.Name, Settings: h.account.Settings}
	for _, p := range claims.CheckTemplateUse(in.Body, a, "user", nil) {
		if p.Pointer == "/template" {
			p.Pointer = "/permissions"
			out = append(out, p)
		}
	}
	return out
}

// maxTTL is the longest lifetime that can be asked for.
const maxTTL = 100 * 365 * 24 * time.Hour

func checkTTL(pointer string, ttl time.Duration) claims.Problems {
	if ttl < 0 || ttl > maxTTL || ttl%time.Second != 0 {
		return claims.Problems{{Pointer: pointer, Code: "out_of_range", Detail: "A lifetime is 0 (no bound) to 3,153,600,000 whole seconds.", Blocking: true}}
	}
	return nil
}
