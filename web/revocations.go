package web

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// revocationView is the proof of a revocation: what every server has in effect, and
// who is still connected.
type revocationView struct {
	Account, User, URL, UserURL string
	// State sums up: proven, waiting, connected (in effect, but somebody is
	// still there) or unproven (no server to ask).
	State       string
	Entries     []revocationRow
	Delivery    deliveryView
	Connections connectionsView
	// ReissueFrom is the first Unix second whose credentials are not refused.
	ReissueFrom int64
	CanIssue    bool
}

type revocationRow struct {
	Key, Reason, By string
	Before          int64
	Created         time.Time
}

func revokeForm(r *http.Request) *form {
	base := userURL(r.PathValue("acct"), r.PathValue("user"))
	reason := reasonField()
	reason.Hint = "Optional, such as “laptop lost”. Kept with the revocation and in the audit log."
	return &form{Action: base + "/revoke", Submit: "Review the revocation", Cancel: base, Groups: []group{{Fields: []*field{reason}}}}
}

func (c *Console) revokePage(r *http.Request, a issuer.Account, u issuer.User, f *form) answer {
	ref, base := r.PathValue("acct"), userURL(r.PathValue("acct"), r.PathValue("user"))
	return answer{
		status: f.status(), page: "form", title: "Revoke " + u.Name,
		crumbs: []link{{"Accounts", "/accounts"}, {a.Name, accountURL(ref)}, {u.Name, base}},
		body: formView{
			Title: "Revoke " + u.Name, Form: f,
			Lead: "Everything issued to this user up to now is refused by every server, and clients that are connected with it are thrown out. New credentials can be issued afterwards.",
		},
		calls: []apiCall{c.call("Revoke the user", http.MethodPut, accountURL(ref, "revocations", r.PathValue("user")), `{"reason":"laptop lost"}`)},
	}
}

func (c *Console) newRevocation(r *http.Request, v *visit) (answer, error) {
	a, u, err := c.findUser(r.Context(), v, r)
	if err != nil {
		return answer{}, err
	}
	return c.revokePage(r, a, u, revokeForm(r)), nil
}

func (c *Console) planRevocation(r *http.Request, v *visit) (answer, error) {
	a, u, err := c.findUser(r.Context(), v, r)
	if err != nil {
		return answer{}, err
	}
	f := revokeForm(r)
	f.read(r.PostForm)
	if !f.ok() || r.PostForm.Get("back") != "" {
		return c.revokePage(r, a, u, f), nil
	}
	out, err := c.issuer.Revoke(r.Context(), v.dryRun(f.value("reason")), a.ID, issuer.RevokeInput{Subject: u.ID})
	if err != nil {
		if f.accept(err) {
			return c.revokePage(r, a, u, f), nil
		}
		return answer{}, err
	}
	return c.revocationPlan(r, a, u, f, out, false), nil
}

func (c *Console) revocationPlan(r *http.Request, a issuer.Account, u issuer.User, f *form, out issuer.Outcome[issuer.Revoked], moved bool) answer {
	ref, base := r.PathValue("acct"), userURL(r.PathValue("acct"), r.PathValue("user"))
	p := planView{
		Title: "Revoke " + u.Name, Moved: moved, Servers: serverNames(c.live.Servers(a.OperatorID)), Warnings: sentences(out.Plan.Warnings),
		Impact: []impact{
			connectionsImpact(out.Plan.Connections, "close"),
			{formatCount(out.Plan.Credentials), credentialsStop(out.Plan.Credentials), "Issued up to now and not expired.", toneBad},
		},
		Action: base + "/revoke/apply", Back: base + "/revoke", Cancel: base, Apply: "Revoke now", Danger: true,
		Hidden: append(f.carried(), hidden{"plan", revocationHash(out)}),
	}
	if a.System {
		p.Warnings = append(p.Warnings, "This is a user of the system account. If it is the one Chancery uses itself, servers can no longer be told of changes.")
	}
	for _, x := range out.Value.Revocations {
		p.Changes = append(p.Changes, planChange{Field: "Key " + shortKey(x.Subject), From: "Accepted", To: "Refused if issued up to now"})
	}
	return answer{page: "plan", title: p.Title, crumbs: []link{{"Accounts", "/accounts"}, {a.Name, accountURL(ref)}, {u.Name, base}}, body: p}
}

func credentialsStop(n int64) string {
	if n == 1 {
		return "credential stops working"
	}
	return "credentials stop working"
}

// revocationHash names what is revoked, without the time: it is a later one at
// every look.
func revocationHash(out issuer.Outcome[issuer.Revoked]) string {
	var subjects []string
	for _, x := range out.Value.Revocations {
		subjects = append(subjects, x.Subject)
	}
	slices.Sort(subjects)
	return planHash(out.Value.AccountID, subjects, out.Plan.Credentials)
}

func (c *Console) applyRevocation(r *http.Request, v *visit) (answer, error) {
	ctx := r.Context()
	a, u, err := c.findUser(ctx, v, r)
	if err != nil {
		return answer{}, err
	}
	f := revokeForm(r)
	f.read(r.PostForm)
	if !f.ok() {
		return c.revokePage(r, a, u, f), nil
	}
	in := issuer.RevokeInput{Subject: u.ID}
	out, err := c.issuer.Revoke(ctx, v.dryRun(f.value("reason")), a.ID, in)
	if err == nil && revocationHash(out) != r.PostForm.Get("plan") {
		return c.revocationPlan(r, a, u, f, out, true), nil
	}
	if err == nil {
		out, err = c.issuer.Revoke(ctx, v.op(f.value("reason")), a.ID, in)
	}
	if err != nil {
		if f.accept(err) {
			return c.revokePage(r, a, u, f), nil
		}
		return answer{}, err
	}
	c.await(ctx, v, a.ID, out.Value.JWTVersion, waitRevoking)
	return seeOther(userURL(r.PathValue("acct"), r.PathValue("user"), "revocation")), nil
}

// revocation is the proof page.
func (c *Console) revocation(r *http.Request, v *visit) (answer, error) {
	ctx, ref := r.Context(), r.PathValue("acct")
	a, u, err := c.findUser(ctx, v, r)
	if err != nil {
		return answer{}, err
	}
	base := userURL(ref, r.PathValue("user"))
	view := revocationView{Account: a.Name, User: u.Name, URL: base + "/revocation", UserURL: base, CanIssue: v.may(issuer.IssueCredentials)}
	revoked, err := c.revokedKeys(ctx, v, a, u)
	if err != nil {
		return answer{}, err
	}
	if len(revoked) == 0 {
		return answer{}, &issuer.Error{Kind: issuer.KindNotFound, Code: "revocation_not_found", Message: "Nothing that was issued to this user is revoked."}
	}
	names := map[string]string{}
	for _, x := range revoked {
		view.Entries = append(view.Entries, revocationRow{Key: x.Subject, Reason: x.Reason, By: c.actor(ctx, names, x.Actor), Before: x.Before, Created: x.Created})
		view.ReissueFrom = max(view.ReissueFrom, x.Before+1)
	}
	slices.SortFunc(view.Entries, func(a, b revocationRow) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.Key, b.Key))
	})
	view.Delivery = newDelivery(c.sync(ctx, v, a.ID))
	view.Connections = c.connections(ctx, v, a.ID, func(x claims.Connection) bool {
		e, ok := revoked[x.UserKey]
		// A key of the holder may have been issued to again: who came after that is welcome.
		return ok && (!e.reissued || x.Since.Before(time.Unix(e.Before, 0)))
	})
	switch {
	case len(view.Delivery.Rows) == 0:
		view.State = "unproven"
	case !view.Delivery.Done:
		view.State = "waiting"
	case view.Connections.Count() > 0 || view.Connections.Unknown:
		view.State = "connected"
	default:
		view.State = "proven"
	}
	return answer{
		page: "revocation", title: "Revocation of " + u.Name,
		crumbs: []link{{"Accounts", "/accounts"}, {a.Name, accountURL(ref)}, {u.Name, base}}, body: view,
		calls: []apiCall{c.call("The revocation with its proof", http.MethodGet, accountURL(ref, "revocations", view.Entries[0].Key), "")},
	}, nil
}

// revokedKey is a revocation in force, of one key of a user.
type revokedKey struct {
	issuer.Revocation
	// reissued says that the key has credentials again which are not refused.
	reissued bool
}

func (c *Console) revokedKeys(ctx context.Context, v *visit, a issuer.Account, u issuer.User) (map[string]revokedKey, error) {
	list, err := c.issuer.ListCredentials(ctx, v.caller, a.ID, u.ID, issuer.LedgerPage{Limit: knownKeys})
	if err != nil {
		return nil, err
	}
	active := map[string]bool{}
	for _, x := range list {
		active[x.PublicKey] = active[x.PublicKey] || x.Status == issuer.StatusActive
	}
	out := map[string]revokedKey{}
	for _, x := range list {
		if _, known := out[x.PublicKey]; known || x.Status != issuer.StatusRevoked {
			continue
		}
		e, err := c.issuer.GetRevocation(ctx, v.caller, a.ID, x.PublicKey)
		if err != nil && issuer.AsError(err).Kind == issuer.KindNotFound {
			e, err = c.issuer.GetRevocation(ctx, v.caller, a.ID, issuer.Everybody)
		}
		if err != nil {
			return nil, err
		}
		e.Subject = x.PublicKey
		out[x.PublicKey] = revokedKey{e, active[x.PublicKey]}
	}
	return out, nil
}
