package web

import (
	"net/http"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// revocationsView is everything that is revoked in an account, or was.
type revocationsView struct {
	Account, URL, AccountURL string
	Rows                     []revocationEntry
	Pager                    pager
	// Removed says that the list is of those that left.
	Removed  bool
	Size     issuer.JWTSize
	Percent  int
	Warnings []string
	CanWrite bool
}

type revocationEntry struct {
	// Key is empty for everybody.
	Key, User, UserURL         string
	Before                     int64
	Cause, Reason, By          string
	Issuances, Unexpired       string
	CompactFrom, Created, Left time.Time
	Removal, RemovedBy         string
	LiftURL                    string
}

// revocations lists what is revoked in an account.
func (c *Console) revocations(r *http.Request, v *visit) (answer, error) {
	ctx := r.Context()
	p, err := c.findAccount(r, v)
	if err != nil {
		return answer{}, err
	}
	view := revocationsView{Account: p.account.Name, URL: p.accountURL("revocations"), AccountURL: p.accountURL(), Removed: r.URL.Query().Get("show") == "removed"}
	view.CanWrite = v.may(issuer.WriteRevocations) && p.account.State != "deleted"
	after := newPage("", r.URL.Query().Get("after"), pageSize)
	list, err := c.issuer.ListRevocations(ctx, v.caller, p.account.ID, issuer.RevocationQuery{
		LedgerPage: issuer.LedgerPage{Before: after.AfterID, Limit: pageSize + 1}, Removed: view.Removed,
	})
	if err != nil {
		return answer{}, err
	}
	if view.Size, err = c.issuer.AccountSize(ctx, v.caller, p.account.ID); err != nil {
		return answer{}, err
	}
	view.Percent, view.Warnings = 100*view.Size.Bytes/view.Size.Limit, sentences(view.Size.Warnings)
	list, more := cut(list, pageSize)
	names, show := map[string]string{}, ""
	if view.Removed {
		show = "removed"
	}
	for _, x := range list {
		e := revocationEntry{
			User: x.User, Before: x.Before, Cause: x.Cause, Reason: x.Reason, By: c.actor(ctx, names, x.Actor), Created: x.Created,
			Issuances: formatCount(x.Issuances), Unexpired: formatCount(x.Unexpired), CompactFrom: x.CompactFrom,
			Left: x.Removed, Removal: x.Removal, LiftURL: withQuery(p.accountURL("revocations", "lift"), "subject", x.Subject),
		}
		if x.Subject != issuer.Everybody {
			e.Key = x.Subject
		}
		if x.User != "" {
			e.UserURL = userURL(p.accountRef, x.User)
		}
		if view.Removed {
			e.RemovedBy = c.actor(ctx, names, x.RemovedBy)
		}
		view.Rows = append(view.Rows, e)
	}
	if after.AfterID != "" {
		view.Pager.First = withQuery(view.URL, "show", show)
	}
	if more {
		view.Pager.Next = withQuery(view.URL, "show", show, "after", cursor("", list[len(list)-1].ID))
	}
	return answer{page: "revocations", title: "Revocations of " + p.account.Name, crumbs: p.accountCrumbs(), tabs: p.tabs(v, "Revocations"), body: view, calls: []apiCall{
		c.call("The revocations in force", http.MethodGet, p.accountURL("revocations"), ""),
		c.call("Those that left", http.MethodGet, withQuery(p.accountURL("revocations"), "state", "removed"), ""),
		c.call("Compact", http.MethodPost, p.accountURL("revocations", "compaction"), ""),
	}}, nil
}

// revocationStep is a change of an account's revocations: everybody, lift or compact.
func (c *Console) revocationStep(r *http.Request, v *visit, kind string) (step, error) {
	p, err := c.findAccount(r, v)
	if err != nil {
		return step{}, err
	}
	a, list := p.account, p.accountURL("revocations")
	s := step{url: p.accountURL("revocations", kind), crumbs: append(p.accountCrumbs(), link{"Revocations", list}), agreed: []any{a.ID, kind}, closes: true}
	s.plan = planView{Servers: serverNames(c.live.Servers(a.OperatorID)), Cancel: list, Danger: kind != "compact"}
	reason := reasonField()
	s.form = &form{Action: s.url, Submit: "Review the change", Cancel: list, Danger: s.plan.Danger, Groups: []group{{Fields: []*field{reason}}}}
	done := func(sentence string) func(made) (answer, error) {
		return func(made) (answer, error) {
			c.notify(r, v, sentence)
			return seeOther(list), nil
		}
	}
	switch kind {
	case "everybody":
		c.everybodyStep(r, p, &s)
		s.done = done("What was issued in " + a.Name + " up to then is revoked.")
	case "lift":
		subject := r.URL.Query().Get("subject")
		if r.Method == http.MethodPost {
			subject = r.PostForm.Get("subject")
		}
		if subject != issuer.Everybody && !claims.IsPublicKey(claims.KindUser, subject) {
			return s, &issuer.Error{Kind: issuer.KindNotFound, Code: "revocation_not_found", Message: "There is no such revocation."}
		}
		if _, err := c.issuer.GetRevocation(r.Context(), v.caller, a.ID, subject); err != nil {
			return s, err
		}
		c.liftStep(r, p, &s, subject)
		reason.Required, reason.Hint = true, "Needed, and kept in the audit log beside your name."
		s.done = done("The revocation was taken back.")
	default:
		s.title, s.lead = "Compact the revocations of "+a.Name, "Entries leave the account's JWT where all that they revoke has expired, or where everybody's covers them. Nothing is accepted again by it, and they stay on record."
		s.plan.Apply = "Compact"
		s.run = func(op issuer.Op) (made, error) {
			out, err := c.issuer.Compact(r.Context(), op, a.ID)
			return made{out.Plan, a.ID, out.Value.JWTVersion}, err
		}
		s.done = done("The revocations were compacted.")
		s.calls = []apiCall{c.call("Compact", http.MethodPost, p.accountURL("revocations", "compaction"), "")}
	}
	return s, nil
}

func (c *Console) everybodyStep(r *http.Request, p place, s *step) {
	before := &field{
		Name: "before", Label: "Issued up to", Kind: kindText, Pointer: "/before", Autocomplete: "off", Placeholder: "2026-11-21T10:12:31Z",
		Hint: "A time in UTC, or nothing for now. What is issued later is accepted.",
	}
	s.form.Groups[0].Fields = append([]*field{before, typed("account")}, s.form.Groups[0].Fields...)
	s.title, s.lead = "Revoke everybody in "+p.account.Name, "Every credential that was issued in this account up to that time is refused by every server, whoever has it, and who is connected with one is thrown out."
	s.plan.Apply = "Revoke everybody"
	confirmed := wantTyped(p.account.Name)
	s.check = func(f *form) {
		confirmed(f)
		if _, err := parseTime(f.value("before")); err != nil {
			f.fail("before", "Write a time such as 2026-11-21T10:12:31Z, or leave the field empty for now.")
		}
	}
	s.run = func(op issuer.Op) (made, error) {
		at, err := parseTime(s.form.value("before"))
		if err != nil {
			return made{}, err
		}
		out, err := c.issuer.Revoke(r.Context(), op, p.account.ID, issuer.RevokeInput{Subject: issuer.Everybody, Before: at})
		// The time of now is a later one at every look: the plan is not another one by that.
		up := "now"
		if !at.IsZero() {
			up = isoTime(at)
		}
		out.Plan.Summary = []claims.FieldChange{{Field: "Everybody", Before: "Accepted", After: "Refused if issued up to " + up}}
		return made{out.Plan, p.account.ID, out.Value.JWTVersion}, err
	}
	s.calls = []apiCall{c.call("Revoke everybody", http.MethodPut, p.accountURL("revocations", issuer.Everybody), `{"before":"2026-11-21T10:12:31Z","reason":"leaked backup"}`)}
}

func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339, s)
}

func (c *Console) liftStep(r *http.Request, p place, s *step, subject string) {
	what := "the key " + claims.ShortKey(subject)
	if subject == issuer.Everybody {
		what = "everybody"
	}
	s.form.Groups[0].Fields = append([]*field{typed("account")}, s.form.Groups[0].Fields...)
	s.form.Hidden, s.agreed = []hidden{{"subject", subject}}, append(s.agreed, subject)
	s.title, s.lead = "Take the revocation of "+what+" back", "Old credentials live again: whoever has one that was refused and has not expired gets in, also who should not have it. To let somebody in, issue new credentials instead."
	s.plan.Apply, s.check = "Take it back", wantTyped(p.account.Name)
	s.run = func(op issuer.Op) (made, error) {
		out, err := c.issuer.Unrevoke(r.Context(), op, p.account.ID, subject)
		return made{out.Plan, p.account.ID, out.Value.JWTVersion}, err
	}
	s.calls = []apiCall{c.call("Take the revocation back", http.MethodDelete, withQuery(p.accountURL("revocations", subject), "reason", "revoked by mistake"), "")}
}

// revocationStepForm, revocationStepPlan and revocationStepApply return the three
// pages of a change.
func revocationStepForm(kind string) handler {
	return func(c *Console, r *http.Request, v *visit) (answer, error) {
		s, err := c.revocationStep(r, v, kind)
		if err != nil {
			return answer{}, err
		}
		return s.page(), nil
	}
}

func revocationStepPlan(kind string) handler {
	return func(c *Console, r *http.Request, v *visit) (answer, error) {
		s, err := c.revocationStep(r, v, kind)
		if err != nil {
			return answer{}, err
		}
		return c.look(r, v, s)
	}
}

func revocationStepApply(kind string) handler {
	return func(c *Console, r *http.Request, v *visit) (answer, error) {
		s, err := c.revocationStep(r, v, kind)
		if err != nil {
			return answer{}, err
		}
		return c.apply(r, v, s)
	}
}
