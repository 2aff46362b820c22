package web

import (
	"net/http"
	"net/url"
	"strings"

	"chancery/claims"
	"chancery/issuer"
)

// permittedView is who may do something with a subject.
type permittedView struct {
	// Question is what was asked, in words.
	Question string
	Rows     []standingRow
	// One is set when a single user was asked about.
	One   bool
	Pager pager
}

type standingRow struct {
	Account, User, URL string
	Chip               chip
	Why                string
	Rule, Closest      *claims.Rule
	Filters            []claims.Rule
}

// The actions as a form offers them.
var actionOptions = []option{{string(claims.Publish), "publish to"}, {string(claims.Subscribe), "subscribe to"}}

func askForm() *form {
	return &form{
		Action: inspectPath + "/can", Submit: "Ask",
		Groups: []group{{Fields: []*field{
			{Name: "as", Pointer: "/user", Label: "User", Kind: kindText, Placeholder: "ORDERS/d1", Autocomplete: "off", Hint: "Account and user. Empty asks about everybody."},
			{Name: "op", Pointer: "/op", Label: "May", Kind: kindSelect, Options: actionOptions, Value: string(claims.Publish)},
			{Name: "subject", Pointer: "/subject", Label: "Subject", Kind: kindText, Required: true, Code: true, Placeholder: "orders.new", Autocomplete: "off", Max: claims.MaxSubjectLength},
			{Name: "queue", Pointer: "/queue", Label: "Queue group", Kind: kindText, Code: true, Autocomplete: "off", Hint: "For subscriptions, if it is in one."},
		}}},
	}
}

// permitted answers a question that the address holds, so that it can be kept and
// sent to somebody.
func (c *Console) permitted(r *http.Request, v *visit) (answer, error) {
	sent := r.URL.Query()
	view := inspectorView{Read: readForm(), Ask: askForm()}
	f := view.Ask
	open := !sent.Has("subject") // a link that names the user and leaves the question open
	if open {
		sent.Set("op", string(claims.Publish))
	}
	f.read(sent)
	if open {
		return c.inspectorPage(f.status(), view), nil
	}
	q := issuer.PermissionQuery{Action: claims.Action(f.value("op")), Subject: f.value("subject"), Queue: f.value("queue"), Limit: pageSize + 1, After: afterPlace(sent.Get("after"))}
	if as := f.value("as"); as != "" {
		var ok bool
		if q.Account, q.User, ok = strings.Cut(as, "/"); !ok || q.User == "" {
			f.fail("as", "Write account and user with a slash between them, such as ORDERS/d1.")
		}
	}
	if f.ok() && q.Subject == "" {
		f.fail("subject", "Name a subject.")
	}
	if !f.ok() {
		return c.inspectorPage(f.status(), view), nil
	}
	rows, err := c.issuer.Permitted(r.Context(), v.caller, q)
	if e := issuer.AsError(err); err != nil && e.Kind == issuer.KindNotFound {
		f.fail("as", e.Message)
		return c.inspectorPage(f.status(), view), nil
	}
	if err != nil {
		if !f.accept(err) {
			return answer{}, err
		}
		return c.inspectorPage(f.status(), view), nil
	}
	view.Permitted = newPermitted(q, rows, sent)
	return c.inspectorPage(http.StatusOK, view), nil
}

func newPermitted(q issuer.PermissionQuery, rows []issuer.Standing, sent url.Values) *permittedView {
	p := &permittedView{One: q.User != "", Question: "Who may " + wordOf(q.Action) + " " + q.Subject}
	if p.One {
		p.Question = "May " + q.Account + "/" + q.User + " " + wordOf(q.Action) + " " + q.Subject
	}
	if q.Queue != "" {
		p.Question += " in the queue group " + q.Queue
	}
	p.Question += "?"
	rows, more := cut(rows, pageSize)
	for _, s := range rows {
		row := standingRow{Account: s.Account, User: s.User, Chip: accessChip(s.Access), Why: s.Why, Rule: s.Rule, Closest: s.Closest, Filters: s.Filters}
		row.URL = userURL(segment(s.Place.AccountName, s.Place.AccountID), segment(s.Place.UserName, s.Place.UserID))
		p.Rows = append(p.Rows, row)
	}
	next := url.Values{"as": sent["as"], "op": sent["op"], "subject": sent["subject"], "queue": sent["queue"]}
	if sent.Get("after") != "" {
		p.Pager.First = inspectURL(next)
	}
	if more {
		next.Set("after", placeCursor(rows[len(rows)-1].Place))
		p.Pager.Next = inspectURL(next)
	}
	return p
}

func wordOf(a claims.Action) string {
	if a == claims.Subscribe {
		return "subscribe to"
	}
	return "publish to"
}

func accessChip(a claims.Access) chip {
	switch a {
	case claims.AccessAllowed:
		return chip{toneGood, "Allowed"}
	case claims.AccessFiltered:
		return chip{tonePart, "Allowed, filtered"}
	}
	return chip{toneBad, "Denied"}
}

// rulesetView is the rules of one action under its title.
type rulesetView struct {
	Title string
	Set   claims.RuleSet
}

func newRuleset(title string, set claims.RuleSet) rulesetView { return rulesetView{title, set} }

// A cursor over users of all accounts holds the account's place and the user's.
func placeCursor(p issuer.Place) string {
	return cursor(cursor(p.AccountName, p.AccountID), cursor(p.UserName, p.UserID))
}

func afterPlace(after string) (p issuer.Place) {
	outer := newPage("", after, 0)
	account, user := newPage("", outer.AfterName, 0), newPage("", outer.AfterID, 0)
	if account.AfterID == "" || user.AfterID == "" {
		return p
	}
	return issuer.Place{AccountName: account.AfterName, AccountID: account.AfterID, UserName: user.AfterName, UserID: user.AfterID}
}
