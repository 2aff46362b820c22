package web

import (
	"net/http"

	"chancery/issuer"
)

// place is the account, and on most pages the user, that a request is about, and
// how its path names them: links keep to that.
type place struct {
	account             issuer.Account
	user                issuer.User
	accountRef, userRef string
}

// findAccount finds the account of the path.
func (c *Console) findAccount(r *http.Request, v *visit) (place, error) {
	p := place{accountRef: r.PathValue("acct")}
	var err error
	if p.account, err = c.issuer.GetAccount(r.Context(), v.caller, p.accountRef); err == nil {
		v.at = issuer.Scope{Operator: p.account.OperatorID, Account: p.account.ID}
	}
	return p, err
}

// operator is the key of the account's operator.
func (p place) operator() string { return p.account.OperatorID }

// findUser finds the account and the user of the path.
func (c *Console) findUser(r *http.Request, v *visit) (place, error) {
	p, err := c.findAccount(r, v)
	if err != nil {
		return p, err
	}
	p.userRef = r.PathValue("user")
	if p.user, err = c.issuer.GetUser(r.Context(), v.caller, p.account.ID, p.userRef); err == nil {
		v.at.Template = p.user.TemplateID
	}
	return p, err
}

// accountURL returns a path below the account's, userURL one below the user's.
func (p place) accountURL(rest ...string) string { return accountURL(p.accountRef, rest...) }

func (p place) userURL(rest ...string) string { return userURL(p.accountRef, p.userRef, rest...) }

// accountCrumbs leads to a page below the account, userCrumbs below the user.
func (p place) accountCrumbs() []link {
	return []link{{"Accounts", "/accounts"}, {p.account.Name, p.accountURL()}}
}

func (p place) userCrumbs() []link {
	return append(p.accountCrumbs(), link{p.user.Name, p.userURL()})
}
