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
	State string
	// Note names the servers that are missing, or says why there are none.
	Note        string
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

func revokeForm(p place) *form {
	reason := reasonField()
	reason.Hint = "Optional, such as “laptop lost”. Kept with the revocation and in the audit log."
	return &form{Action: p.userURL("revoke"), Submit: "Review the revocation", Cancel: p.userURL(), Groups: []group{{Fields: []*field{reason}}}}
}

func (c *Console) revokePage(p place, f *form) answer {
	return answer{
		status: f.status(), page: "form", title: "Revoke " + p.user.Name,
		crumbs: p.userCrumbs(),
		body: formView{
			Title: "Revoke " + p.user.Name, Form: f,
			Lead: "Everything issued to this user up to now is refused by every server, and clients that are connected with it are thrown out. New credentials can be issued afterwards.",
		},
		calls: []apiCall{c.call("Revoke the user", http.MethodPut, p.accountURL("revocations", p.userRef), `{"reason":"laptop lost"}`)},
	}
}

func (c *Console) newRevocation(r *http.Request, v *visit) (answer, error) {
	p, err := c.findUser(r, v)
	if err != nil {
		return answer{}, err
	}
	return c.revokePage(p, revokeForm(p)), nil
}

func (c *Console) planRevocation(r *http.Request, v *visit) (answer, error) {
	p, err := c.findUser(r, v)
	if err != nil {
		return answer{}, err
	}
	f := revokeForm(p)
	f.read(r.PostForm)
	if !f.ok() || r.PostForm.Get("back") != "" {
		return c.revokePage(p, f), nil
	}
	out, err := c.issuer.Revoke(r.Context(), v.dryRun(f.value("reason")), p.account.ID, issuer.RevokeInput{Subject: p.user.ID})
	if err != nil {
		if f.accept(err) {
			return c.revokePage(p, f), nil
		}
		return answer{}, err
	}
	return c.revocationPlan(p, f, out, false), nil
}

func (c *Console) revocationPlan(p place, f *form, out issuer.Outcome[issuer.Revoked], moved bool) answer {
	view := planView{
		Title: "Revoke " + p.user.Name, Moved: moved, Servers: serverNames(c.live.Servers(p.account.OperatorID)), Warnings: sentences(out.Plan.Warnings),
		Impact: append(connectionsImpact(out.Plan.Blast),
			impact{formatCount(out.Plan.Credentials), credentialsStop(out.Plan.Credentials), "Issued up to now and not expired.", toneBad}),
		Reasons: why(out.Plan.Blast),
		Action:  p.userURL("revoke", "apply"), Back: p.userURL("revoke"), Cancel: p.userURL(), Apply: "Revoke now", Danger: true,
		Hidden: append(f.carried(), hidden{"plan", revocationHash(out)}),
	}
	if p.account.System {
		view.Warnings = append(view.Warnings, "This is a user of the system account. If it is the one Chancery uses itself, servers can no longer be told of changes.")
	}
	for _, x := range out.Value.Revocations {
		view.Changes = append(view.Changes, planChange{Field: "Key " + claims.ShortKey(x.Subject), From: "Accepted", To: "Refused if issued up to now"})
	}
	return answer{page: "plan", title: view.Title, crumbs: p.userCrumbs(), body: view}
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
	p, err := c.findUser(r, v)
	if err != nil {
		return answer{}, err
	}
	f := revokeForm(p)
	f.read(r.PostForm)
	if !f.ok() {
		return c.revokePage(p, f), nil
	}
	in := issuer.RevokeInput{Subject: p.user.ID}
	out, err := c.issuer.Revoke(ctx, v.dryRun(f.value("reason")), p.account.ID, in)
	if err == nil && revocationHash(out) != r.PostForm.Get("plan") {
		return c.revocationPlan(p, f, out, true), nil
	}
	if err == nil {
		out, err = c.issuer.Revoke(ctx, v.op(f.value("reason")), p.account.ID, in)
	}
	if err != nil {
		if f.accept(err) {
			return c.revokePage(p, f), nil
		}
		return answer{}, err
	}
	c.await(ctx, v, p.account.ID, out.Value.JWTVersion, waitRevoking)
	return seeOther(p.userURL("revocation")), nil
}

// revocation is the proof page.
func (c *Console) revocation(r *http.Request, v *visit) (answer, error) {
	ctx := r.Context()
	p, err := c.findUser(r, v)
	if err != nil {
		return answer{}, err
	}
	view := revocationView{Account: p.account.Name, User: p.user.Name, URL: p.userURL("revocation"), UserURL: p.userURL(), CanIssue: v.may(issuer.IssueCredentials)}
	revoked, err := c.revokedKeys(ctx, v, p)
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
	view.Delivery = newDelivery(c.sync(ctx, v, p.account.ID))
	view.Note, view.Delivery.Note = view.Delivery.Note, ""
	view.Connections = c.connections(ctx, v, p.account.ID, func(x claims.Connection) bool {
		e, ok := revoked[x.UserKey]
		// A key of the holder may have been issued to again: who came after that is welcome.
		return ok && (!e.reissued || x.Since.Before(time.Unix(e.Before, 0)))
	})
	switch {
	case !view.Delivery.Connected:
		view.State = "unproven"
	case !view.Delivery.Done:
		view.State = "waiting"
	case view.Connections.Count() > 0 || view.Connections.Unknown:
		view.State = "connected"
	default:
		view.State = "proven"
	}
	return answer{
		page: "revocation", title: "Revocation of " + p.user.Name, crumbs: p.userCrumbs(), body: view,
		calls: []apiCall{c.call("The revocation with its proof", http.MethodGet, p.accountURL("revocations", view.Entries[0].Key), "")},
	}, nil
}

// revokedKey is a revocation in force, of one key of a user.
type revokedKey struct {
	issuer.Revocation
	// reissued says that the key has credentials again which are not refused.
	reissued bool
}

func (c *Console) revokedKeys(ctx context.Context, v *visit, p place) (map[string]revokedKey, error) {
	list, err := c.issuer.ListCredentials(ctx, v.caller, p.account.ID, p.user.ID, issuer.LedgerPage{Limit: knownKeys})
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
		e, err := c.issuer.GetRevocation(ctx, v.caller, p.account.ID, x.PublicKey)
		if err != nil && issuer.AsError(err).Kind == issuer.KindNotFound {
			e, err = c.issuer.GetRevocation(ctx, v.caller, p.account.ID, issuer.Everybody)
		}
		if err != nil {
			return nil, err
		}
		e.Subject = x.PublicKey
		out[x.PublicKey] = revokedKey{e.Revocation, active[x.PublicKey]}
	}
	return out, nil
}
