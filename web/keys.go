package web

import (
	"net/http"
	"strings"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// keysView is everything that ages under an operator, and its signing keys.
type keysView struct {
	Operator, URL string
	Operators     []link
	Weeks         []weekRow
	// Quiet says that nothing is due in all the weeks.
	Quiet bool
	// Policy says when keys are rotated by themselves.
	Policy string
	Totals []limitRow

	State, Kind string
	States      []filterLink
	Rows        []ownedKeyRow
	Pager       pager
}

// weekRow is one week of the calendar.
type weekRow struct {
	Start                                                             time.Time
	OperatorKeys, AccountKeys, TemplateKeys, Retirements, Credentials int64
	// Share is how much of the busiest week it has, 0 to 100, for the bar.
	Share int64
}

// filterLink is one choice of a filter; Current marks the one in force.
type filterLink struct {
	link
	Current bool
}

// ownedKeyRow is a signing key in the list of all.
type ownedKeyRow struct {
	Key, Custody, Kind string
	Owner              link
	State              chip
	Since, RetireAt    time.Time
	// Uses says what hangs on it.
	Uses string
}

// keys is the calendar and the list of an operator's signing keys and those of its
// accounts.
func (c *Console) keys(r *http.Request, v *visit) (answer, error) {
	ctx, query := r.Context(), r.URL.Query()
	list, err := c.issuer.ListOperators(ctx, v.caller, issuer.Page{Limit: mostOperators})
	if err != nil {
		return answer{}, err
	}
	view := keysView{State: keyState(query.Get("state"))}
	page := answer{page: "keys", title: "Keys", body: &view}
	if len(list) == 0 {
		return page, nil
	}
	o := list[0]
	for _, x := range list {
		if x.Name == query.Get("operator") || x.ID == query.Get("operator") {
			o = x
		}
	}
	for _, x := range list {
		view.Operators = append(view.Operators, link{x.Name, withQuery("/keys", "operator", x.Name)})
	}
	agenda, err := c.issuer.Agenda(ctx, v.caller, o.ID)
	if err != nil {
		return answer{}, err
	}
	view.Operator, view.URL = o.Name, operatorURL(segment(o.Name, o.ID))
	view.fill(agenda)
	for _, s := range []string{"", issuer.KeyCurrent, issuer.KeyPrepared, issuer.KeyRetiring, issuer.KeyDisabled, issuer.KeyRetired} {
		text := "All but retired"
		if s != "" {
			text = keyChip(s).Text
		}
		view.States = append(view.States, filterLink{link{text, withQuery("/keys", "operator", o.Name, "state", s)}, s == view.State})
	}
	if err := c.listOwnedKeys(r, v, &view, o); err != nil {
		return answer{}, err
	}
	page.calls = []apiCall{
		c.call("What ages", http.MethodGet, view.URL+"/expirations", ""),
		c.call("The operator's keys", http.MethodGet, view.URL+"/signing-keys", ""),
	}
	return page, nil
}

// keyState returns s if it is a state of keys.
func keyState(s string) string {
	switch s {
	case issuer.KeyCurrent, issuer.KeyPrepared, issuer.KeyRetiring, issuer.KeyDisabled, issuer.KeyRetired:
		return s
	}
	return ""
}

func (view *keysView) fill(a issuer.Agenda) {
	most := int64(1)
	view.Quiet = true
	for _, w := range a.Weeks {
		sum := w.OperatorKeys + w.AccountKeys + w.TemplateKeys + w.Retirements + w.Credentials
		view.Quiet = view.Quiet && sum == 0
		most = max(most, sum)
		view.Weeks = append(view.Weeks, weekRow{w.Start, w.OperatorKeys, w.AccountKeys, w.TemplateKeys, w.Retirements, w.Credentials, sum})
	}
	for n := range view.Weeks {
		view.Weeks[n].Share = view.Weeks[n].Share * 100 / most
	}
	p := a.Operator.Policy
	var parts []string
	for _, x := range []struct {
		what string
		age  int64
	}{{"operator keys", p.OperatorKeyAge}, {"account keys", p.AccountKeyAge}, {"template keys", p.TemplateKeyAge}} {
		if x.age > 0 {
			parts = append(parts, x.what+" after "+lifetimeInput(x.age))
		}
	}
	view.Policy = "No policy rotates keys by itself."
	if len(parts) > 0 {
		view.Policy = "Rotated by policy: " + strings.Join(parts, ", ") + "."
	}
	counts := map[issuer.KeyKind]map[string]int64{}
	for _, k := range a.Keys {
		if counts[k.Kind] == nil {
			counts[k.Kind] = map[string]int64{}
		}
		counts[k.Kind][k.State] = k.Count
	}
	for _, kind := range []issuer.KeyKind{issuer.OperatorKey, issuer.AccountKey, issuer.TemplateKey} {
		var parts []string
		for _, s := range []string{issuer.KeyCurrent, issuer.KeyPrepared, issuer.KeyRetiring, issuer.KeyDisabled, issuer.KeyRetired} {
			if n := counts[kind][s]; n > 0 {
				parts = append(parts, formatCount(n)+" "+s)
			}
		}
		if len(parts) == 0 {
			parts = []string{"none"}
		}
		view.Totals = append(view.Totals, limitRow{strings.ToUpper(string(kind[:1])) + string(kind[1:]) + " keys", strings.Join(parts, ", ")})
	}
}

func (c *Console) listOwnedKeys(r *http.Request, v *visit, view *keysView, o issuer.Operator) error {
	after := newPage("", r.URL.Query().Get("after"), pageSize)
	f := issuer.KeyFilter{State: view.State, AfterID: after.AfterID, Limit: pageSize + 1}
	if t, err := time.Parse(time.RFC3339Nano, after.AfterName); err == nil {
		f.AfterSince = t
	}
	list, err := c.issuer.ListOwnedKeys(r.Context(), v.caller, o.ID, f)
	if err != nil {
		return err
	}
	list, more := cut(list, pageSize)
	for _, k := range list {
		view.Rows = append(view.Rows, newOwnedKeyRow(o, k))
	}
	if f.AfterID != "" {
		view.Pager.First = withQuery("/keys", "operator", o.Name, "state", view.State)
	}
	if more {
		last := list[len(list)-1]
		view.Pager.Next = withQuery("/keys", "operator", o.Name, "state", view.State, "after", cursor(last.Since.Format(time.RFC3339Nano), last.ID))
	}
	return nil
}

func newOwnedKeyRow(o issuer.Operator, k issuer.OwnedKey) ownedKeyRow {
	row := ownedKeyRow{
		Key: k.ID, Custody: strings.ReplaceAll(k.Custody, "_", " "), Kind: string(issuer.KindOf(k.Key)), State: keyChip(k.State), Since: k.Since, RetireAt: k.RetireAt,
	}
	switch {
	case k.AccountID == "":
		row.Owner = link{o.Name, operatorURL(segment(o.Name, o.ID), "keys")}
		row.Uses = plural(int(k.InUse.Accounts), "account", "accounts")
	case k.TemplateID == "":
		row.Owner = link{k.AccountName, accountURL(k.AccountID, "keys")}
		row.Uses = plural(int(k.InUse.UnexpiredCredentials), "credential", "credentials")
	default:
		row.Owner = link{k.AccountName + " / " + k.TemplateName, accountURL(k.AccountID, "templates", k.TemplateID, "keys")}
		row.Uses = plural(int(k.InUse.UnexpiredCredentials), "credential", "credentials")
	}
	return row
}

// ownerKeysView is the signing keys of one owner, and how far their rotation is.
type ownerKeysView struct {
	Title, Lead, URL string
	Operator         bool
	Keys             []ownerKeyRow
	Phases           []phase
	Templates        []link
	RevocationsURL   string
	CanWrite         bool
	RotateText       string
}

// ownerKeyRow is a signing key with what hangs on it and what can be done.
type ownerKeyRow struct {
	Key, Custody    string
	State           chip
	Since, RetireAt time.Time
	// Count is unexpired credentials, or accounts; Live is "?" when it is not known.
	Count, Live string
	Owing       int64
	Last        time.Time
	Do          []link
}

// phase is one step of a rotation: to do, under way or done.
type phase struct {
	Name, Text string
	Chip       chip
}

// ownerKeys is the page of one owner's signing keys.
func (c *Console) ownerKeys(r *http.Request, v *visit) (answer, error) {
	k, err := c.findKeyOwner(r, v)
	if err != nil {
		return answer{}, err
	}
	list, err := c.issuer.ListKeys(r.Context(), v.caller, k.owner)
	if err != nil {
		return answer{}, err
	}
	view := ownerKeysView{Title: "Keys of " + k.name, URL: k.url, Operator: k.owner.Operator != "", CanWrite: v.may(k.needs), RotateText: "Rotate", Lead: k.lead}
	if view.Operator {
		view.RotateText = "Add the next key"
	}
	for _, x := range list {
		view.Keys = append(view.Keys, newOwnerKeyRow(k, x, view.CanWrite))
	}
	view.Phases = phases(list, view.Operator)
	if !view.Operator && v.may(issuer.ReadRevocations) {
		view.RevocationsURL = accountURL(k.accountRef, "revocations")
	}
	if k.owner.Account != "" && k.owner.Template == "" {
		templates, err := c.issuer.ListTemplates(r.Context(), v.caller, k.owner.Account, issuer.Page{Limit: pageSize})
		if err != nil {
			return answer{}, err
		}
		for _, t := range templates {
			view.Templates = append(view.Templates, link{t.Body.Name, accountURL(k.accountRef, "templates", segment(t.Body.Name, t.ID), "keys")})
		}
	}
	return answer{page: "owner_keys", title: view.Title, crumbs: k.crumbs, tabs: k.tabs, body: view, calls: []apiCall{c.call("These keys", http.MethodGet, k.api, "")}}, nil
}

func newOwnerKeyRow(k keyOwner, x issuer.KeyWithUse, write bool) ownerKeyRow {
	row := ownerKeyRow{
		Key: x.ID, Custody: strings.ReplaceAll(x.Custody, "_", " "), State: keyChip(x.State), Since: x.Since, RetireAt: x.RetireAt,
		Count: formatCount(x.InUse.UnexpiredCredentials), Live: "?", Last: x.InUse.LastIssued, Owing: x.InUse.AccountsOwing,
	}
	if k.owner.Operator != "" {
		row.Count = formatCount(x.InUse.Accounts)
	}
	if x.InUse.LiveConnections >= 0 {
		row.Live = formatCount(int64(x.InUse.LiveConnections))
	}
	if !write {
		return row
	}
	do := map[string][]string{
		issuer.KeyPrepared: {"current", "disable", "retire", "compromise"}, issuer.KeyCurrent: {"disable", "retire", "compromise"},
		issuer.KeyRetiring: {"current", "retire", "disable", "compromise"}, issuer.KeyDisabled: {"current", "retire", "compromise"},
	}
	for _, step := range do[x.State] {
		row.Do = append(row.Do, link{keySteps()[step].link, k.url + "/" + x.ID + "/" + step})
	}
	return row
}

// phases tells how far the rotation of the keys is: add, switch, drain, retire.
func phases(list []issuer.KeyWithUse, operator bool) []phase {
	has := map[string]int64{}
	hangs := int64(0)
	for _, k := range list {
		has[k.State]++
		if k.State == issuer.KeyRetiring {
			hangs += k.InUse.UnexpiredCredentials + k.InUse.Accounts
		}
	}
	if has[issuer.KeyPrepared]+has[issuer.KeyRetiring] == 0 {
		return nil
	}
	what := many(hangs, "credential hangs", "credentials hang")
	if operator {
		what = many(hangs, "account hangs", "accounts hang")
	}
	done, now, later := chip{toneGood, "Done"}, chip{toneWait, "Now"}, chip{toneOff, "Later"}
	out := []phase{
		{"Add", "The new key is trusted beside the old one.", done},
		{"Switch", "The new key signs, the old one is only trusted.", done},
		{"Drain", what + " on the old key.", later},
		{"Retire", "What the old key signed is refused.", later},
	}
	switch {
	case has[issuer.KeyPrepared] > 0:
		out[1].Chip, out[1].Text = now, "Make the new key current."
		if operator {
			out[1].Text = "Restart the servers with the operator's new JWT, one after the other; then make the new key current."
		}
	case hangs > 0:
		out[2].Chip = now
	default:
		out[2].Chip, out[3].Chip = done, now
	}
	return out
}

// shortKeyName is a key in a title.
func shortKeyName(id string) string { return "key " + claims.ShortKey(id) }
