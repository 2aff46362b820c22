package web

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"chancery/claims"
	"chancery/issuer"
)

// requestContext is the part of a request that carries its deadline.
type requestContext interface{ Context() context.Context }

// site is where a page about templates is: at an account, or at an operator whose
// accounts share them.
type site struct {
	place
	operator issuer.Operator
	// operatorRef and templateRef are how the path names them.
	operatorRef, templateRef string
}

func (s site) shared() bool { return s.account.ID == "" }

// home is whose templates they are.
func (s site) home() issuer.TemplateHome {
	if s.shared() {
		return issuer.TemplateHome{Operator: s.operator.ID}
	}
	return issuer.TemplateHome{Account: s.account.ID}
}

func (s site) ref() issuer.TemplateRef {
	return issuer.TemplateRef{TemplateHome: s.home(), Template: s.templateRef}
}

// url is a path below the templates of the site.
func (s site) url(rest ...string) string {
	if s.shared() {
		return joinURL(append([]string{"operators", s.operatorRef, "templates"}, rest...))
	}
	return s.accountURL(append([]string{"templates"}, rest...)...)
}

// templateURL is a path below one template of the site.
func (s site) templateURL(rest ...string) string {
	return s.url(append([]string{s.templateRef}, rest...)...)
}

func (s site) crumbs() []link {
	if s.shared() {
		return []link{{"Templates", "/templates"}, {"Shared by " + s.operator.Name, s.url()}}
	}
	return append(s.accountCrumbs(), link{"Templates", s.url()})
}

func (s site) templateCrumbs(name string) []link {
	return append(s.crumbs(), link{name, s.templateURL()})
}

// findSite finds the account or operator of the path.
func (c *Console) findSite(r *http.Request, v *visit) (s site, err error) {
	s.templateRef = r.PathValue("tpl")
	if r.PathValue("acct") != "" {
		if s.place, err = c.findAccount(r, v); err != nil {
			return s, err
		}
		s.operatorRef = s.account.OperatorID
	} else {
		s.operatorRef = r.PathValue("op")
	}
	if s.operator, err = c.issuer.GetOperator(r.Context(), v.caller, s.operatorRef); err == nil && s.shared() {
		v.at = issuer.Scope{Operator: s.operator.ID}
	}
	return s, err
}

// findTemplate finds the template of the path as well.
func (c *Console) findTemplate(r *http.Request, v *visit) (s site, x issuer.TemplateWithKeys, err error) {
	if s, err = c.findSite(r, v); err != nil {
		return s, x, err
	}
	if s.shared() {
		x, err = c.issuer.GetSharedTemplate(r.Context(), v.caller, s.operator.ID, s.templateRef)
	} else {
		x, err = c.issuer.GetTemplate(r.Context(), v.caller, s.account.ID, s.templateRef)
		v.at.Template = x.ID
	}
	return s, x, err
}

// previewView is what a template comes to for one user, and its tests.
type previewView struct {
	// For is empty when no user was named.
	For        string
	Permission *effectiveView
	Warnings   []string
	Expansions int
	Tests      testsView
}

// testsView is the results of tests.
type testsView struct {
	Passed, All int
	Rows        []testRow
}

type testRow struct {
	Chip                   chip
	User, Expects, Subject string
	Why                    string
}

func newTests(results []claims.TestResult) testsView {
	v := testsView{All: len(results)}
	for _, r := range results {
		row := testRow{Chip: chip{toneBad, "Fails"}, User: r.User, Expects: "can " + wordOf(r.Action), Subject: r.Subject, Why: r.Why}
		if !r.Can {
			row.Expects = "cannot " + wordOf(r.Action)
		}
		if r.Queue != "" {
			row.Subject += " " + r.Queue
		}
		if r.Passed {
			v.Passed++
			row.Chip = chip{toneGood, "Passes"}
		}
		v.Rows = append(v.Rows, row)
	}
	return v
}

// Chip sums the results up.
func (t testsView) Chip() chip {
	switch {
	case t.All == 0:
		return chip{toneOff, "No tests"}
	case t.Passed == t.All:
		return chip{toneGood, plural(t.All, "test passes", "tests pass")}
	}
	return chip{toneBad, strconv.Itoa(t.All-t.Passed) + " of " + plural(t.All, "test fails", "tests fail")}
}

func newPreview(x issuer.TemplatePreview) *previewView {
	v := &previewView{For: x.For.Name, Tests: newTests(x.Results)}
	if x.For.Name == "" {
		return v
	}
	for _, t := range x.For.Tags {
		v.For += " " + t
	}
	v.Permission = newEffective(x.Effective)
	v.Expansions = x.Effective.Publish.Expansions + x.Effective.Subscribe.Expansions
	for _, p := range x.Problems {
		told := x.Effective.Refusal != nil && p.Detail == x.Effective.Refusal.Detail
		if !told && !slices.Contains(v.Warnings, p.Detail) {
			v.Warnings = append(v.Warnings, p.Detail)
		}
	}
	return v
}
