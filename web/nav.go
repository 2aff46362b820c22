package web

import "chancery/issuer"

// navItem is a place in the main navigation. Current is aria-current's word: page on
// the page itself, true below it.
type navItem struct{ Text, URL, Current string }

// nav returns the main navigation as it is on the page of the answer.
func nav(a answer, v *visit) []navItem {
	items := []navItem{{Text: "Accounts", URL: "/accounts"}, {Text: "Users", URL: "/users"}, {Text: "Templates", URL: "/templates"}}
	if v != nil && v.caller.May(issuer.ReadSharing) {
		items = append(items, navItem{Text: "Sharing", URL: sharingPath})
	}
	if v != nil && v.mayOnOperators(issuer.ReadOperators) {
		items = append(items, navItem{Text: "Operators", URL: "/operators"}, navItem{Text: "Keys", URL: "/keys"})
	}
	if v != nil && v.caller.May(issuer.ReadConnections) {
		items = append(items, navItem{Text: "Connections", URL: connectionsPath})
	}
	if v != nil && v.caller.May(issuer.ReadServers) {
		items = append(items, navItem{Text: "Servers", URL: serversPath})
	}
	items = append(items, navItem{Text: "Inspector", URL: "/inspect"})
	if v != nil && v.caller.May(issuer.ReadAudit) {
		items = append(items, navItem{Text: "Audit", URL: "/audit"})
	}
	switch {
	case v == nil:
	case v.caller.May(issuer.ReadPeople):
		items = append(items, navItem{Text: "Access", URL: accessPath})
	case v.caller.May(issuer.ReadTokens):
		items = append(items, navItem{Text: "Access", URL: tokensPath})
	}
	for n, item := range items {
		switch {
		case item.Text == a.title:
			items[n].Current = "page"
		case len(a.tabs) > 0 && a.tabs[0].URL == item.URL:
			items[n].Current = "true"
		case len(a.crumbs) > 0 && a.crumbs[0].URL == item.URL:
			items[n].Current = "true"
		}
	}
	return items
}
