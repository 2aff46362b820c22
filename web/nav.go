package web

// navItem is a place in the main navigation. Current is aria-current's word: page on
// the page itself, true below it.
type navItem struct{ Text, URL, Current string }

// nav returns the main navigation as it is on the page of the answer.
func nav(a answer) []navItem {
	items := []navItem{
		{Text: "Accounts", URL: "/accounts"}, {Text: "Users", URL: "/users"}, {Text: "Templates", URL: "/templates"}, {Text: "Operators", URL: "/operators"}, {Text: "Keys", URL: "/keys"}, {Text: "Inspector", URL: "/inspect"}, {Text: "Audit", URL: "/audit"},
	}
	for n, item := range items {
		switch {
		case item.Text == a.title:
			items[n].Current = "page"
		case len(a.crumbs) > 0 && a.crumbs[0].URL == item.URL:
			items[n].Current = "true"
		}
	}
	return items
}
