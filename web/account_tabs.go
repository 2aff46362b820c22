package web

import "chancery/issuer"

// accountTab is a page of an account with an address of its own. Its text is the last
// word of the title of the page.
type accountTab struct {
	text string
	// path is below the account's; empty for the account itself.
	path  string
	needs issuer.Permission
}

// accountTabs are the pages of an account, in the order in which they are shown.
func accountTabs() []accountTab {
	return []accountTab{
		{"Overview", "", issuer.ReadAccounts},
		{"Limits", "limits", issuer.ReadAccounts},
		{"Settings", "settings", issuer.ReadAccounts},
		{"Templates", "templates", issuer.ReadTemplates},
		{"Users", "users", issuer.ReadUsers},
		{"Sharing", "sharing", issuer.ReadSharing},
		{"Connections", "connections", issuer.ReadAccounts},
		{"Keys", "keys", issuer.ReadAccounts},
		{"Revocations", "revocations", issuer.ReadRevocations},
		{"JWT", "jwt", issuer.ReadAccounts},
	}
}

// tabs returns the pages of the account that the caller may read, on the one called
// current.
func (p place) tabs(v *visit, current string) []navItem {
	var out []navItem
	for _, t := range accountTabs() {
		item := navItem{Text: t.text, URL: p.accountURL()}
		if t.path != "" {
			item.URL = p.accountURL(t.path)
		}
		if t.text == current {
			item.Current = "page"
		}
		if v.mayIn(p.account, t.needs) || item.Current != "" {
			out = append(out, item)
		}
	}
	return out
}

// mayIn tells whether the caller has the permission on all of the account.
func (v *visit) mayIn(a issuer.Account, p issuer.Permission) bool {
	return v.caller.Allows(p, issuer.Scope{Operator: a.OperatorID, Account: a.ID})
}
