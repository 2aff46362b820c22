package web

import (
	"net/http"

	"chancery/issuer"
)

// stepOf prepares a change for a request about it.
type stepOf func(c *Console, r *http.Request, v *visit) (step, error)

// routes are the three pages of the change at a pattern.
func (of stepOf) routes(pattern string, needs issuer.Permission) []route {
	with := func(do func(*Console, *http.Request, *visit, step) (answer, error)) handler {
		return func(c *Console, r *http.Request, v *visit) (answer, error) {
			s, err := of(c, r, v)
			if err != nil {
				return answer{}, err
			}
			return do(c, r, v, s)
		}
	}
	return []route{
		{http.MethodGet, pattern, with(func(_ *Console, _ *http.Request, _ *visit, s step) (answer, error) { return s.page(), nil }), signedIn, needs},
		{http.MethodPost, pattern, with((*Console).look), signedIn, ""},
		{http.MethodPost, pattern + "/apply", with((*Console).apply), signedIn, ""},
	}
}

func sharingRoutes() []route {
	const (
		get     = http.MethodGet
		acct    = "/accounts/{acct}"
		export  = acct + "/exports/{export}"
		imports = acct + "/imports/{import}"
	)
	out := []route{
		{get, sharingPath, (*Console).sharing, signedIn, issuer.ReadSharing},
		{get, acct + "/sharing", (*Console).accountSharing, signedIn, issuer.ReadSharing},
		{get, export, (*Console).export, signedIn, issuer.ReadSharing},
		{get, export + "/activations/{activation}", (*Console).activation, signedIn, issuer.ReadSharing},
		{get, imports, (*Console).sharedImport, signedIn, issuer.ReadSharing},
	}
	for _, s := range []struct {
		pattern string
		of      stepOf
	}{
		{sharingPath + "/new", (*Console).shareStep},
		{acct + "/exports/new", (*Console).newExportStep},
		{export + "/delete", (*Console).deleteExportStep},
		{export + "/activate", (*Console).activateStep},
		{export + "/revoke", (*Console).revokeActivationStep},
		{acct + "/imports/new", (*Console).newImportStep},
		{imports + "/renew", (*Console).renewImportStep},
		{imports + "/delete", (*Console).deleteImportStep},
		{export + "/edit", (*Console).editExportStep},
		{imports + "/edit", (*Console).editImportStep},
	} {
		out = append(out, s.of.routes(s.pattern, issuer.WriteSharing)...)
	}
	return out
}
