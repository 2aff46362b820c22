package web

import (
	"net/http"
	"slices"

	"chancery/issuer"
)

// handler turns a request into an answer. An error becomes a page in failure.
type handler func(c *Console, r *http.Request, v *visit) (answer, error)

// access says who may use a route.
type access int

const (
	// signedIn routes send everybody else to the sign-in page.
	signedIn access = iota
	// anybody routes are what a person needs who is not signed in.
	anybody
)

// route is one line of the route table.
type route struct {
	method, pattern string
	handle          handler
	access          access
	// needs is the permission without which a form is not even shown. What a
	// form sends is authorized, and a denial audited, by issuer.
	needs issuer.Permission
}

// routes is the table of all pages. A pattern that is not here answers 404.
func routes() []route {
	const (
		get, post = http.MethodGet, http.MethodPost
		acct      = "/accounts/{acct}"
		oper      = "/operators/{op}"
		user      = acct + "/users/{user}"
		tpl       = acct + "/templates/{tpl}"
		op        = "/operators/{op}"
		shared    = op + "/templates/{tpl}"
	)
	return slices.Concat([]route{
		{get, "/login", (*Console).login, anybody, ""},
		{get, "/login/{link}", (*Console).showLink, anybody, ""},
		{post, "/login/{link}", (*Console).useLink, anybody, ""},
		{get, "/setup/{link}", (*Console).showLink, anybody, ""},
		{post, "/setup/{link}", (*Console).useLink, anybody, ""},
		{post, "/logout", (*Console).logout, anybody, ""},

		{get, "/{$}", (*Console).home, signedIn, ""},
		{get, "/operators/new", (*Console).newOperator, signedIn, issuer.WriteOperators},
		{post, "/operators/new", (*Console).createOperator, signedIn, ""},
		{get, "/operators", (*Console).operators, signedIn, issuer.ReadOperators},
		{get, oper, (*Console).operator, signedIn, issuer.ReadOperators},
		{get, oper + "/edit", operatorStepForm("edit"), signedIn, issuer.WriteOperators},
		{post, oper + "/edit", operatorStepPlan("edit"), signedIn, ""},
		{post, oper + "/edit/apply", operatorStepApply("edit"), signedIn, ""},
		{get, oper + "/enrolment", (*Console).enrolment, signedIn, issuer.ReadAccounts},
		{get, oper + "/enrolment/policy", (*Console).enrolmentForm, signedIn, issuer.WriteOperators},
		{post, oper + "/enrolment/policy", (*Console).planEnrolment, signedIn, ""},
		{post, oper + "/enrolment/policy/apply", (*Console).setEnrolment, signedIn, ""},
		{get, oper + "/enrolment/{key}/{decision}", (*Console).enrolmentForm, signedIn, issuer.WriteLimits},
		{post, oper + "/enrolment/{key}/{decision}", (*Console).planEnrolment, signedIn, ""},
		{post, oper + "/enrolment/{key}/{decision}/apply", (*Console).setEnrolment, signedIn, ""},
		{get, oper + "/guardrails", (*Console).guardrails, signedIn, issuer.WriteGuardrails},
		{post, oper + "/guardrails", (*Console).planGuardrails, signedIn, ""},
		{post, oper + "/guardrails/apply", (*Console).setGuardrails, signedIn, ""},
		{get, oper + "/signing", (*Console).signing, signedIn, issuer.WriteOperators},
		{post, oper + "/signing", (*Console).switchSigning, signedIn, ""},
		{get, oper + "/signature", (*Console).signature, signedIn, issuer.WriteOperators},
		{post, oper + "/signature", (*Console).uploadSignature, signedIn, ""},
		{get, oper + "/delete", operatorStepForm("delete"), signedIn, issuer.WriteOperators},
		{post, oper + "/delete", operatorStepPlan("delete"), signedIn, ""},
		{post, oper + "/delete/apply", operatorStepApply("delete"), signedIn, ""},
		{get, "/accounts", (*Console).accounts, signedIn, ""},
		{get, "/accounts/new", (*Console).newAccount, signedIn, issuer.WriteLimits},
		{post, "/accounts/new", (*Console).createAccount, signedIn, ""},
		{get, acct, (*Console).account, signedIn, ""},
		{get, acct + "/guardrails", (*Console).guardrails, signedIn, issuer.WriteGuardrails},
		{post, acct + "/guardrails", (*Console).planGuardrails, signedIn, ""},
		{post, acct + "/guardrails/apply", (*Console).setGuardrails, signedIn, ""},
		{get, acct + "/limits", accountStepForm("limits"), signedIn, issuer.ReadAccounts},
		{post, acct + "/limits", accountStepPlan("limits"), signedIn, ""},
		{post, acct + "/limits/apply", accountStepApply("limits"), signedIn, ""},
		{get, acct + "/settings", accountStepForm("settings"), signedIn, issuer.ReadAccounts},
		{post, acct + "/settings", accountStepPlan("settings"), signedIn, ""},
		{post, acct + "/settings/apply", accountStepApply("settings"), signedIn, ""},
		{get, acct + "/clone", accountStepForm("clone"), signedIn, issuer.WriteLimits},
		{post, acct + "/clone", accountStepPlan("clone"), signedIn, ""},
		{post, acct + "/clone/apply", accountStepApply("clone"), signedIn, ""},
		{get, acct + "/users", (*Console).accountUsers, signedIn, issuer.ReadUsers},
		{get, acct + "/connections", (*Console).accountConnections, signedIn, issuer.ReadAccounts},
		{get, acct + "/jwt", (*Console).accountJWT, signedIn, issuer.ReadAccounts},
		{get, acct + "/suspend", accountStepForm("suspend"), signedIn, issuer.WriteLimits},
		{post, acct + "/suspend", accountStepPlan("suspend"), signedIn, ""},
		{post, acct + "/suspend/apply", accountStepApply("suspend"), signedIn, ""},
		{get, acct + "/resume", accountStepForm("resume"), signedIn, issuer.WriteLimits},
		{post, acct + "/resume", accountStepPlan("resume"), signedIn, ""},
		{post, acct + "/resume/apply", accountStepApply("resume"), signedIn, ""},
		{get, acct + "/delete", accountStepForm("delete"), signedIn, issuer.WriteLimits},
		{post, acct + "/delete", accountStepPlan("delete"), signedIn, ""},
		{post, acct + "/delete/apply", accountStepApply("delete"), signedIn, ""},

		{get, acct + "/users/new", (*Console).newUser, signedIn, issuer.WriteUsers},
		{post, acct + "/users/new", (*Console).createUser, signedIn, ""},
		{get, user, (*Console).user, signedIn, ""},
		{get, user + "/issue", (*Console).newCredential, signedIn, issuer.IssueCredentials},
		{post, user + "/issue", (*Console).issueCredential, signedIn, ""},
		{get, user + "/revoke", (*Console).newRevocation, signedIn, issuer.WriteRevocations},
		{post, user + "/revoke", (*Console).planRevocation, signedIn, ""},
		{post, user + "/revoke/apply", (*Console).applyRevocation, signedIn, ""},
		{get, user + "/revocation", (*Console).revocation, signedIn, ""},
		{get, acct + "/revocations", (*Console).revocations, signedIn, ""},
		{get, acct + "/revocations/everybody", revocationStepForm("everybody"), signedIn, issuer.WriteRevocations},
		{post, acct + "/revocations/everybody", revocationStepPlan("everybody"), signedIn, ""},
		{post, acct + "/revocations/everybody/apply", revocationStepApply("everybody"), signedIn, ""},
		{get, acct + "/revocations/lift", revocationStepForm("lift"), signedIn, issuer.WriteRevocations},
		{post, acct + "/revocations/lift", revocationStepPlan("lift"), signedIn, ""},
		{post, acct + "/revocations/lift/apply", revocationStepApply("lift"), signedIn, ""},
		{get, acct + "/revocations/compact", revocationStepForm("compact"), signedIn, issuer.WriteRevocations},
		{post, acct + "/revocations/compact", revocationStepPlan("compact"), signedIn, ""},
		{post, acct + "/revocations/compact/apply", revocationStepApply("compact"), signedIn, ""},
		{get, user + "/renew", (*Console).newRenewal, signedIn, issuer.IssueCredentials},
		{post, user + "/renew", (*Console).renew, signedIn, ""},
		{get, user + "/roll", userStepForm("roll"), signedIn, issuer.WriteRevocations},
		{post, user + "/roll", userStepPlan("roll"), signedIn, ""},
		{post, user + "/roll/apply", userStepApply("roll"), signedIn, ""},
		{get, user + "/reissue", userStepForm("reissue"), signedIn, issuer.WriteRevocations},
		{post, user + "/reissue", userStepPlan("reissue"), signedIn, ""},
		{post, user + "/reissue/apply", userStepApply("reissue"), signedIn, ""},
		{get, user + "/edit", userStepForm("edit"), signedIn, issuer.WriteUsers},
		{post, user + "/edit", userStepPlan("edit"), signedIn, ""},
		{post, user + "/edit/apply", userStepApply("edit"), signedIn, ""},
		{get, user + "/disable", userStepForm("disable"), signedIn, issuer.WriteUsers},
		{post, user + "/disable", userStepPlan("disable"), signedIn, ""},
		{post, user + "/disable/apply", userStepApply("disable"), signedIn, ""},
		{get, user + "/enable", userStepForm("enable"), signedIn, issuer.WriteUsers},
		{post, user + "/enable", userStepPlan("enable"), signedIn, ""},
		{post, user + "/enable/apply", userStepApply("enable"), signedIn, ""},
		{get, user + "/delete", userStepForm("delete"), signedIn, issuer.WriteUsers},
		{post, user + "/delete", userStepPlan("delete"), signedIn, ""},
		{post, user + "/delete/apply", userStepApply("delete"), signedIn, ""},
		{get, "/users", (*Console).users, signedIn, ""},
		{get, "/c/{link}", (*Console).showCredentialLink, anybody, ""},
		{post, "/c/{link}", (*Console).useCredentialLink, anybody, ""},

		{get, "/templates", (*Console).allTemplates, signedIn, issuer.ReadTemplates},
		{get, acct + "/templates", (*Console).templates, signedIn, issuer.ReadTemplates},
		{get, acct + "/templates/new", (*Console).newTemplate, signedIn, issuer.WriteTemplates},
		{post, acct + "/templates/new", (*Console).createTemplate, signedIn, ""},
		{get, tpl, (*Console).template, signedIn, issuer.ReadTemplates},
		{get, tpl + "/edit", (*Console).editTemplate, signedIn, issuer.WriteTemplates},
		{post, tpl + "/edit", (*Console).planTemplate, signedIn, ""},
		{post, tpl + "/edit/apply", (*Console).applyTemplate, signedIn, ""},
		{get, tpl + "/clone", (*Console).newClone, signedIn, issuer.WriteTemplates},
		{post, tpl + "/clone", (*Console).clone, signedIn, ""},
		{get, tpl + "/compare", (*Console).compareTemplates, signedIn, issuer.ReadTemplates},
		{post, tpl + "/use", (*Console).useTemplate, signedIn, ""},
		{post, tpl + "/delete", (*Console).deleteTemplate, signedIn, issuer.WriteTemplates},
		{post, tpl + "/delete/apply", (*Console).applyDelete, signedIn, ""},
		{get, op + "/templates", (*Console).templates, signedIn, issuer.ReadTemplates},
		{get, op + "/templates/new", (*Console).newTemplate, signedIn, issuer.WriteTemplates},
		{post, op + "/templates/new", (*Console).createTemplate, signedIn, ""},
		{get, shared, (*Console).template, signedIn, issuer.ReadTemplates},
		{get, shared + "/edit", (*Console).editTemplate, signedIn, issuer.WriteTemplates},
		{post, shared + "/edit", (*Console).planTemplate, signedIn, ""},
		{post, shared + "/edit/apply", (*Console).applyTemplate, signedIn, ""},
		{get, shared + "/clone", (*Console).newClone, signedIn, issuer.WriteTemplates},
		{post, shared + "/clone", (*Console).clone, signedIn, ""},
		{get, shared + "/compare", (*Console).compareTemplates, signedIn, issuer.ReadTemplates},
		{post, shared + "/delete", (*Console).deleteTemplate, signedIn, issuer.WriteTemplates},
		{post, shared + "/delete/apply", (*Console).applyDelete, signedIn, ""},

		{get, accessPath, (*Console).people, signedIn, issuer.ReadPeople},
		{get, accessPath + "/new", (*Console).newPerson, signedIn, issuer.WritePeople},
		{post, accessPath + "/new", (*Console).createPerson, signedIn, ""},
		{get, accessPath + "/{person}", (*Console).person, signedIn, issuer.ReadPeople},
		{post, accessPath + "/{person}/link", (*Console).personLink, signedIn, issuer.WritePeople},
		{get, accessPath + "/{person}/grant", personStepForm("grant"), signedIn, issuer.WritePeople},
		{post, accessPath + "/{person}/grant", personStepPlan("grant"), signedIn, issuer.WritePeople},
		{post, accessPath + "/{person}/grant/apply", personStepApply("grant"), signedIn, issuer.WritePeople},
		{get, accessPath + "/{person}/take", personStepForm("take"), signedIn, issuer.WritePeople},
		{post, accessPath + "/{person}/take", personStepPlan("take"), signedIn, issuer.WritePeople},
		{post, accessPath + "/{person}/take/apply", personStepApply("take"), signedIn, issuer.WritePeople},
		{get, accessPath + "/{person}/disable", personStepForm("disable"), signedIn, issuer.WritePeople},
		{post, accessPath + "/{person}/disable", personStepPlan("disable"), signedIn, issuer.WritePeople},
		{post, accessPath + "/{person}/disable/apply", personStepApply("disable"), signedIn, issuer.WritePeople},
		{get, accessPath + "/{person}/enable", personStepForm("enable"), signedIn, issuer.WritePeople},
		{post, accessPath + "/{person}/enable", personStepPlan("enable"), signedIn, issuer.WritePeople},
		{post, accessPath + "/{person}/enable/apply", personStepApply("enable"), signedIn, issuer.WritePeople},
		{get, tokensPath, (*Console).tokens, signedIn, issuer.ReadTokens},
		{get, tokensPath + "/new", (*Console).newToken, signedIn, issuer.WriteTokens},
		{post, tokensPath + "/new", (*Console).planToken, signedIn, issuer.WriteTokens},
		{post, tokensPath + "/new/apply", (*Console).createToken, signedIn, issuer.WriteTokens},
		{get, tokensPath + "/{token}/revoke", (*Console).newTokenRevocation, signedIn, issuer.WriteTokens},
		{post, tokensPath + "/{token}/revoke", (*Console).planTokenRevocation, signedIn, issuer.WriteTokens},
		{post, tokensPath + "/{token}/revoke/apply", (*Console).revokeToken, signedIn, issuer.WriteTokens},
		{get, rolesPath, (*Console).roles, signedIn, ""},

		{get, inspectPath, (*Console).inspector, signedIn, issuer.ReadAccounts},
		{post, inspectPath, (*Console).inspect, signedIn, ""},
		{get, inspectPath + "/can", (*Console).permitted, signedIn, ""},
	}, keyRoutes(), importRoutes(), auditRoutes(), sharingRoutes(), driftRoutes(), connectionRoutes(), serverRoutes(), []route{{"", "/", (*Console).notFound, anybody, ""}})
}

// mount builds the handler: the order of what wraps what is this function.
func (c *Console) mount() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /static/{file}", c.static)
	for _, rt := range routes() {
		pattern := rt.pattern
		if rt.method != "" {
			pattern = rt.method + " " + rt.pattern
		}
		mux.Handle(pattern, c.serve(rt))
	}
	return c.observe(c.protect(mux))
}
