package web

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"chancery/issuer"
)

// The fields that let a guarded change pass: overrideField names the guards that
// were typed before, guardField the one that is asked for, typedField what was typed.
const (
	overrideField = "override"
	guardField    = "guard"
	typedField    = "guard_typed"
)

// overrides returns the guards that the form of a request lets pass.
func overrides(sent url.Values) []issuer.Guard {
	var out []issuer.Guard
	for _, g := range sent[overrideField] {
		out = append(out, issuer.Guard(g))
	}
	if g := sent.Get(guardField); g != "" && sent.Get(typedField) == g {
		out = append(out, issuer.Guard(g))
	}
	return out
}

// guarded is the page between a change that would lock somebody out and making it:
// the guard's name is to be typed, as it is in ?override= of the API, and what was
// sent travels along.
func guarded(r *http.Request, v *visit, e *issuer.Error) answer {
	typed := &field{
		Name: typedField, Label: "To do it all the same, type " + string(e.Guard), Kind: kindText, Required: true, Code: true, Autocomplete: "off",
		Hint: "The name goes on record with the change. docs/lockout.md has the way back.",
	}
	path := r.URL.EscapedPath()
	f := &form{Action: path, Submit: "Do it all the same", Danger: true, Cancel: backFrom(path), Groups: []group{{Fields: []*field{typed}}}, Hidden: []hidden{{guardField, string(e.Guard)}}}
	for name, values := range r.PostForm {
		if name == guardField || name == typedField || name == overrideField {
			continue
		}
		for _, value := range values {
			f.Hidden = append(f.Hidden, hidden{name, value})
		}
	}
	slices.SortStableFunc(f.Hidden, func(a, b hidden) int { return cmp.Compare(a.Name, b.Name) })
	f.Hidden = append(f.Hidden, overridden(v)...)
	if r.PostForm.Get(guardField) == string(e.Guard) {
		f.fail(typedField, "That is not the name.")
	}
	return answer{
		status: http.StatusConflict, page: "form", title: "This would lock somebody out",
		body: formView{Title: "This would lock somebody out", Lead: e.Message + " " + e.Hint, Form: f},
	}
}

// backFrom is where a guarded change is given up: at its form, or the page of what
// was to be deleted.
func backFrom(path string) string {
	path = strings.TrimSuffix(path, "/apply")
	return strings.TrimSuffix(path, "/delete")
}

func overridden(v *visit) []hidden {
	var out []hidden
	for _, g := range v.overrides {
		out = append(out, hidden{overrideField, string(g)})
	}
	return out
}

// carryOverrides keeps what was typed in the form of a plan, so that applying it does
// not ask again.
func carryOverrides(a answer, v *visit) answer {
	if plan, ok := a.body.(planView); ok {
		plan.Hidden = append(plan.Hidden, overridden(v)...)
		a.body = plan
	}
	return a
}
