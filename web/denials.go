package web

import (
	"cmp"
	"math"
	"net/http"
	"net/url"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// mostDenialRows is how many groups a page shows.
const mostDenialRows = 100

// denialsView is the groups of denials.
type denialsView struct {
	Account, Class string
	Classes        []option
	Rows           []denialRow
	Groups         int
	Attempts       int
	Recent         int
	Unproven       int
	Pager          pager
	Empty          *emptyView
}

type denialRow struct {
	URL, Title, Summary                  string
	Account, AccountURL                  string
	Who, UserKey, Host, Client, Software string
	Server                               string
	// Claimed tells that nobody who may sign for the account signed the JWT.
	Claimed       bool
	Count, Recent int
	First, Last   time.Time
}

// denialTitles are what failed, in a few words.
var denialTitles = map[string]string{
	"connect_line": "The JWT is too long", "jwt_present": "No JWT", "jwt_decodes": "The JWT is damaged or none", "proxy_required": "Not through the proxy",
	"jwt_valid": "The JWT has expired or is not valid", "account_pinned": "The server does not serve the account", "account_found": "No such account",
	"account_decodes": "The account's JWT is damaged", "account_trusted": "The account is not trusted", "account_valid": "The account's JWT is not valid",
	"account_matches": "The resolver answers with another account", "issuer_known": "The account does not know the signing key", "scope_empty": "Permissions beside a template",
	"template_expands": "The template does not expand", "template_proxy": "Not through the proxy", "account_not_expired": "The account has expired",
	"bearer_allowed": "Bearers are not allowed", "connection_types_known": "No known connection type", "connection_type_allowed": "This connection type is not allowed",
	"nonce_signed": "The seed does not fit the JWT", "not_revoked": "Revoked", "source_network": "Not from this address", "connect_hours": "Not at this hour",
	"connection_limit": "The account is full", "subscription_limit": "No subscriptions allowed", "auth_callout": "The auth callout refused or was silent",
	claims.DenialTimeout: "Did not sign in in time", claims.DenialTLS: "No TLS handshake", claims.DenialServerFull: "The server is full", claims.DenialCrowd: "Many JWTs without proof", claims.DenialUnexplained: "Not explained yet",
}

func denialTitle(d claims.Denial) string { return cmp.Or(denialTitles[d.Class], d.Class) }

const notExplained = "Why is not known: too many were refused at once, or all that can be known speaks for the client. It is explained when the client comes again."

func newDenialRow(d claims.Denial, p issuer.Party) denialRow {
	row := denialRow{
		URL: denialsPath + "/" + d.ID, Title: denialTitle(d), Summary: notExplained, Account: p.Account, Who: d.UserName, Claimed: d.Claimed(), UserKey: d.UserKey, Host: d.Host,
		Client: d.Client.Client, Server: d.ServerName, Count: int(min(d.Count, math.MaxInt32)), Recent: d.Recent, First: d.First, Last: d.Last,
	}
	if d.Proven {
		row.Who = cmp.Or(p.User, d.UserName)
	}
	if d.Lang != "" {
		row.Software = d.Lang + " " + d.Client.Version
	}
	if p.Account != "" {
		row.AccountURL = accountURL(d.AccountID)
	}
	if d.Explanation != nil {
		row.Summary = d.Explanation.Summary
	}
	return row
}

func denialParty(d claims.Denial) issuer.PartyKey {
	return issuer.PartyKey{AccountID: d.AccountID, UserKey: d.UserKey, IssuerKey: d.IssuerKey}
}

func (c *Console) denials(r *http.Request, v *visit) (answer, error) {
	ctx, query := r.Context(), r.URL.Query()
	view := denialsView{Account: searchText(query.Get("account")), Class: query.Get("class"), Classes: []option{{"", "All reasons"}}}
	sight, err := c.issuer.Sight(ctx, v.caller, "", view.Account)
	if err != nil {
		return answer{}, err
	}
	for _, class := range sortedTitles() {
		view.Classes = append(view.Classes, option{class, denialTitles[class]})
	}
	if _, known := denialTitles[view.Class]; !known {
		view.Class = ""
	}
	after := afterID(query.Get("after"))
	page := c.live.Denials(claims.DenialQuery{
		Sight: sight.Sight, OperatorID: sight.OperatorID, AccountID: sight.AccountID, Class: view.Class, After: after, Limit: mostDenialRows + 1,
	})
	view.Groups, view.Attempts, view.Recent, view.Unproven = page.Groups, int(min(page.Attempts, math.MaxInt32)), page.Recent, int(min(page.Unproven, math.MaxInt32))
	list, more := cut(page.Denials, mostDenialRows)
	keys := make([]issuer.PartyKey, len(list))
	for n, d := range list {
		keys[n] = denialParty(d)
	}
	known, err := c.issuer.Parties(ctx, v.caller, keys)
	if err != nil {
		return answer{}, err
	}
	for n, d := range list {
		view.Rows = append(view.Rows, newDenialRow(d, known[keys[n]]))
	}
	q := url.Values{}
	for name, value := range map[string]string{"account": view.Account, "class": view.Class} {
		if value != "" {
			q.Set(name, value)
		}
	}
	calls := []apiCall{c.call("These denials", http.MethodGet, denialsPath+querySuffix(q), "")}
	if after != "" {
		view.Pager.First = denialsPath + querySuffix(q)
	}
	if more {
		q.Set("after", cursor("d", list[len(list)-1].ID))
		view.Pager.Next = denialsPath + "?" + q.Encode()
	}
	if len(list) == 0 {
		view.Empty = &emptyView{Title: "Nobody was refused", Text: "What servers refuse appears here at once, with the reason. It is kept in memory since the start of this process."}
	}
	return answer{page: "denials", title: "Denials", tabs: liveTabs("Denials"), body: view, calls: calls}, nil
}

// denialView is one group, explained.
type denialView struct {
	denialRow
	Tone                      tone
	Fixes                     []string
	Log                       string
	Checks                    []checkRow
	Links                     []link
	ServerReason, Type, Class string
	IssuedAt, Expires         int64
	HasJWT, Bearer            bool
	TokenHash, IssuerKey      string
	Explained                 time.Time
	EventsURL                 string
}

func (c *Console) denial(r *http.Request, v *visit) (answer, error) {
	ctx := r.Context()
	sight, err := c.issuer.Sight(ctx, v.caller, "", "")
	if err != nil {
		return answer{}, err
	}
	d, ok := c.live.FindDenial(r.PathValue("denial"), sight.Sight)
	if !ok {
		return errorPage(http.StatusNotFound, "There is no such denial.", "Denials are kept in memory: the oldest make room, and a restart forgets them."), nil
	}
	known, err := c.issuer.Parties(ctx, v.caller, []issuer.PartyKey{denialParty(d)})
	if err != nil {
		return answer{}, err
	}
	p := known[denialParty(d)]
	view := denialView{
		denialRow: newDenialRow(d, p), Tone: toneBad, ServerReason: d.ServerReason, Type: d.Type, Class: d.Class, IssuedAt: d.IssuedAt, Expires: d.Expires, HasJWT: d.TokenHash != "",
		Bearer: d.Bearer, TokenHash: d.TokenHash, IssuerKey: d.IssuerKey, Explained: d.ExplainedAt, Links: denialLinks(v, d, p),
	}
	if d.Explanation != nil {
		x := newConnection(*d.Explanation)
		view.Fixes, view.Log, view.Checks = x.Fixes, x.Log, x.Checks
	}
	return answer{
		page: "denial", title: view.Title, crumbs: []link{{"Connections", connectionsPath}, {"Denials", denialsPath}}, body: view,
		calls: []apiCall{c.call("This denial", http.MethodGet, denialsPath+"/"+d.ID, ""), c.call("The explanation alone", http.MethodPost, "/explanations", `{"event_id":"`+d.LastEvent.String()+`"}`)},
	}, nil
}

// denialLinks leads to where the reason is done away with, as far as the visitor may.
func denialLinks(v *visit, d claims.Denial, p issuer.Party) []link {
	var out []link
	if p.Account == "" {
		return out
	}
	at := issuer.Scope{Operator: d.OperatorID, Account: d.AccountID}
	add := func(needs issuer.Permission, text, url string) {
		if v.caller.Allows(needs, at) {
			out = append(out, link{text, url})
		}
	}
	user := p.UserID != ""
	switch d.Class {
	case "not_revoked", "jwt_valid", "issuer_known", "jwt_decodes", "nonce_signed", "bearer_allowed", "scope_empty":
		if user && d.Proven {
			add(issuer.IssueCredentials, "Issue new credentials", userURL(d.AccountID, p.UserID, "issue"))
		}
	case "connection_limit", "subscription_limit":
		add(issuer.WriteLimits, "Change the limits", accountURL(d.AccountID, "limits"))
		add(issuer.ReadConnections, "Who is connected", connectionsPath+"?account="+url.QueryEscape(d.AccountID))
	}
	if d.Class == "not_revoked" {
		add(issuer.ReadRevocations, "Revocations of the account", accountURL(d.AccountID, "revocations"))
	}
	if p.TemplateID != "" {
		add(issuer.ReadTemplates, "Template "+p.Template, accountURL(d.AccountID, "templates", p.TemplateID))
	}
	if user {
		add(issuer.ReadUsers, "User "+p.User, userURL(d.AccountID, p.UserID))
	}
	add(issuer.ReadAccounts, "Account "+p.Account, accountURL(d.AccountID))
	return out
}
