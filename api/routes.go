package api

import (
	"net/http"
	"time"

	"chancery/issuer"
)

// route is one line of the route table.
type route struct {
	method, path string
	// id is the operationId.
	id, summary string
	permission  issuer.Permission
	// status is that of success.
	status int
	// body is the largest request body in bytes; 0 takes none.
	body int64
	// deadline bounds the whole request.
	deadline time.Duration
	mount    func(a *API, r route)
}

// Body caps and deadlines.
const (
	small = 64 << 10
	large = 256 << 10
	// huge takes the longest JWT there is, of 1 MiB.
	huge = 2 << 20
	fast = 10 * time.Second
	// waiting is for what may wait for servers, see Prefer: wait.
	waiting = 45 * time.Second
)

// routes is the table of everything under Base. An operation that is not here does
// not exist; the permission of each is what issuer will ask for.
func routes() []route {
	const (
		get, post, patch, put = http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodPut
		del                   = http.MethodDelete
		op, acct              = "/operators/{operator}", "/accounts/{account}"
		tpl, user             = acct + "/templates/{template}", acct + "/users/{user}"
	)
	return append([]route{
		{get, "/operators", "listOperators", "List operators", issuer.ReadOperators, 200, 0, fast, handle((*API).listOperators)},
		{post, "/operators", "createOperator", "Create an operator with its system account", issuer.WriteOperators, 201, small, fast, handle((*API).createOperator)},
		{get, op, "getOperator", "Read an operator", issuer.ReadOperators, 200, 0, fast, handle((*API).getOperator)},
		{patch, op, "updateOperator", "Change an operator", issuer.WriteOperators, 200, small, fast, handle((*API).updateOperator)},
		{del, op, "deleteOperator", "Delete an operator without accounts", issuer.WriteOperators, 200, 0, fast, handle((*API).deleteOperator)},
		{get, op + "/jwt", "getOperatorJWT", "Read an operator's signed JWT", issuer.ReadOperators, 200, 0, fast, handle((*API).getOperatorJWT)},
		{put, op + "/jwt", "uploadOperatorJWT", "Upload an operator's JWT that its identity key signed elsewhere", issuer.WriteOperators, 200, large, fast, handle((*API).uploadOperatorJWT)},
		{get, op + "/unsigned-claims", "getUnsignedClaims", "Export what an offline identity key is to sign", issuer.ReadOperators, 200, 0, fast, handle((*API).getUnsignedClaims)},
		{get, op + "/signing", "getSigning", "Read the signing switch", issuer.ReadOperators, 200, 0, fast, handle((*API).getSigning)},
		{put, op + "/signing", "setSigning", "Switch signing on or off", issuer.WriteOperators, 200, small, fast, handle((*API).setSigning)},
		{get, op + "/server-config", "getServerConfig", "What a nats-server needs to know", issuer.ReadOperators, 200, 0, fast, handle((*API).getServerConfig)},
		{get, op + "/servers", "listServers", "List the nats-servers that answer", issuer.ReadOperators, 200, 0, fast, handle((*API).listServers)},

		{get, "/accounts", "listAccounts", "List accounts", issuer.ReadAccounts, 200, 0, fast, handle((*API).listAccounts)},
		{post, "/accounts", "createAccount", "Create an account", issuer.WriteAccounts, 201, small, waiting, handle((*API).createAccount)},
		{get, acct, "getAccount", "Read an account", issuer.ReadAccounts, 200, 0, fast, handle((*API).getAccount)},
		{patch, acct, "updateAccount", "Change an account", issuer.WriteAccounts, 200, small, waiting, handle((*API).updateAccount)},
		{del, acct, "deleteAccount", "Delete an account: a tombstone that admits nobody stays", issuer.WriteAccounts, 200, 0, waiting, handle((*API).deleteAccount)},
		{put, acct + "/suspension", "suspendAccount", "Suspend an account: nobody is admitted", issuer.WriteAccounts, 200, small, waiting, handle((*API).suspendAccount)},
		{del, acct + "/suspension", "resumeAccount", "End an account's suspension", issuer.WriteAccounts, 200, 0, waiting, handle((*API).resumeAccount)},
		{get, acct + "/jwt", "getAccountJWT", "Read an account's signed JWT", issuer.ReadAccounts, 200, 0, fast, handle((*API).getAccountJWT)},
		{get, acct + "/sync", "getSync", "How far the account's JWT got, by server", issuer.ReadAccounts, 200, 0, waiting, handle((*API).getSync)},
		{get, acct + "/connections", "listConnections", "List live connections", issuer.ReadAccounts, 200, 0, fast, handle((*API).listConnections)},

		{get, acct + "/templates", "listTemplates", "List templates", issuer.ReadTemplates, 200, 0, fast, handle((*API).listTemplates)},
		{post, acct + "/templates", "createTemplate", "Create a template with a scoped signing key", issuer.WriteTemplates, 201, large, waiting, handle((*API).createTemplate)},
		{get, tpl, "getTemplate", "Read a template", issuer.ReadTemplates, 200, 0, fast, handle((*API).getTemplate)},
		{patch, tpl, "updateTemplate", "Change a template", issuer.WriteTemplates, 200, large, waiting, handle((*API).updateTemplate)},

		{get, acct + "/users", "listUsers", "List users", issuer.ReadUsers, 200, 0, fast, handle((*API).listUsers)},
		{post, acct + "/users", "createUser", "Create a user, with a credential if asked", issuer.WriteUsers, 201, large, fast, handle((*API).createUser)},
		{get, user, "getUser", "Read a user", issuer.ReadUsers, 200, 0, fast, handle((*API).getUser)},
		{get, user + "/credentials", "listCredentials", "List what was issued to a user", issuer.ReadCredentials, 200, 0, fast, handle((*API).listCredentials)},
		{post, user + "/credentials", "issueCredential", "Issue a credential", issuer.IssueCredentials, 201, small, fast, handle((*API).issueCredential)},

		{get, acct + "/revocations", "listRevocations", "List revocations in force", issuer.ReadRevocations, 200, 0, fast, handle((*API).listRevocations)},
		{get, acct + "/revocations/{subject}", "getRevocation", "Read a revocation, with its proof", issuer.ReadRevocations, 200, 0, fast, handle((*API).getRevocation)},
		{put, acct + "/revocations/{subject}", "revoke", "Revoke what was issued to a user, a key or everybody", issuer.WriteRevocations, 200, small, waiting, handle((*API).revoke)},
		{del, acct + "/revocations/{subject}", "unrevoke", "Take revocations back: old credentials are accepted again", issuer.WriteRevocations, 200, 0, waiting, handle((*API).unrevoke)},
		{post, acct + "/revocations/compaction", "compactRevocations", "Drop revocations that revoke nothing any more", issuer.WriteRevocations, 200, 0, waiting, handle((*API).compactRevocations)},

		{post, "/inspections", "inspect", "Read a NATS JWT: its claims, its chain of trust, its problems", issuer.ReadAccounts, 200, huge, fast, handle((*API).inspect)},
		{post, "/explanations", "explain", "Why a client is admitted or refused", issuer.ReadAccounts, 200, small, fast, handle((*API).explain)},
		{post, "/permission-checks", "checkPermissions", "Who may publish or subscribe to a subject", issuer.ReadUsers, 200, small, fast, handle((*API).checkPermissions)},
	}, keyRoutes()...)
}
