package web

import (
	"net/http"

	"chancery/claims"
)

// accountJWTView is an account's JWT, read and explained.
type accountJWTView struct {
	Name, Raw  string
	Version    int64
	Inspection *inspectionView
}

// accountJWT shows the JWT that servers get.
func (c *Console) accountJWT(r *http.Request, v *visit) (answer, error) {
	p, err := c.findAccount(r, v)
	if err != nil {
		return answer{}, err
	}
	x, err := c.issuer.Inspect(r.Context(), v.caller, claims.NewSecret(p.account.JWT))
	if err != nil {
		return answer{}, err
	}
	view := accountJWTView{Name: p.account.Name, Raw: p.account.JWT, Version: p.account.JWTVersion, Inspection: newInspection(x, c.now())}
	return answer{page: "account_jwt", title: "JWT of " + p.account.Name, crumbs: p.accountCrumbs(), tabs: p.tabs(v, "JWT"), body: view, calls: []apiCall{
		c.call("The JWT", http.MethodGet, p.accountURL("jwt"), ""),
	}}, nil
}

// accountConnectionsView is who is connected to an account.
type accountConnectionsView struct {
	Name        string
	Limit       int64
	Connections connectionsView
}

// accountConnections shows who is connected.
func (c *Console) accountConnections(r *http.Request, v *visit) (answer, error) {
	p, err := c.findAccount(r, v)
	if err != nil {
		return answer{}, err
	}
	if _, err := c.issuer.GetWholeAccount(r.Context(), v.caller, p.account.ID); err != nil {
		return answer{}, err
	}
	view := accountConnectionsView{
		Name: p.account.Name, Limit: p.account.Settings.Limits.Conn,
		Connections: c.connections(r.Context(), v, p.account.ID, func(claims.Connection) bool { return true }),
	}
	return answer{page: "account_connections", title: "Connections of " + p.account.Name, crumbs: p.accountCrumbs(), tabs: p.tabs(v, "Connections"), body: view, calls: []apiCall{
		c.call("Who is connected", http.MethodGet, p.accountURL("connections"), ""),
	}}, nil
}
