package api

import (
	"net/http"
	"slices"
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
	// archive takes the longest archive that is read.
	archive = 64 << 20
	fast    = 10 * time.Second
	// waiting is for what may wait for servers, see Prefer: wait.
	waiting = 45 * time.Second
	// long is for what reads the whole audit log.
	long = 10 * time.Minute
	// uploading is for an archive over a slow line.
	uploading = 3 * time.Minute
)

// anybody is the permission of operations that need none: what they are sent is the
// proof.
const anybody issuer.Permission = "none"

// anyToken is the permission of operations that need no more than a valid token.
const anyToken issuer.Permission = "token"

// routes is the table of everything under Base. An operation that is not here does
// not exist; the permission of each is what issuer will ask for.
func routes() []route {
	const (
		get, post, patch, put, del = http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodPut, http.MethodDelete
		op, acct                   = "/operators/{operator}", "/accounts/{account}"
		shared                     = op + "/templates/{template}"
		tpl, user                  = acct + "/templates/{template}", acct + "/users/{user}"
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
		{get, op + "/guardrails", "getOperatorGuardrails", "Read an operator's guardrails", issuer.ReadOperators, 200, 0, fast, handle((*API).getOperatorGuardrails)},
		{put, op + "/guardrails", "setOperatorGuardrails", "Replace what bounds all that is made in an operator's accounts", issuer.WriteGuardrails, 200, small, fast, handle((*API).setOperatorGuardrails)},
		{get, op + "/server-config", "getServerConfig", "What a nats-server needs to know", issuer.ReadOperators, 200, 0, fast, handle((*API).getServerConfig)},
		{get, op + "/servers", "listServers", "List the nats-servers, those that answer and those that are missing", issuer.ReadServers, 200, 0, fast, handle((*API).listServers)},

		{get, "/accounts", "listAccounts", "List accounts", issuer.ReadAccounts, 200, 0, fast, handle((*API).listAccounts)},
		{post, "/accounts", "createAccount", "Create an account", issuer.WriteLimits, 201, large, waiting, handle((*API).createAccount)},
		{get, acct, "getAccount", "Read an account", issuer.ReadAccounts, 200, 0, fast, handle((*API).getAccount)},
		{patch, acct, "updateAccount", "Change an account", issuer.WriteAccounts, 200, large, waiting, handle((*API).updateAccount)},
		{del, acct, "deleteAccount", "Delete an account: a tombstone that admits nobody stays", issuer.WriteLimits, 200, 0, waiting, handle((*API).deleteAccount)},
		{put, acct + "/suspension", "suspendAccount", "Suspend an account: nobody is admitted", issuer.WriteLimits, 200, small, waiting, handle((*API).suspendAccount)},
		{del, acct + "/suspension", "resumeAccount", "End an account's suspension", issuer.WriteLimits, 200, 0, waiting, handle((*API).resumeAccount)},
		{post, acct + "/clone", "cloneAccount", "Copy an account with its settings and templates, without its users", issuer.WriteLimits, 201, small, waiting, handle((*API).cloneAccount)},
		{get, "/account-presets", "listAccountPresets", "List the limits that accounts are often made with", issuer.ReadAccounts, 200, 0, fast, handle((*API).listAccountPresets)},
		{get, acct + "/jwt", "getAccountJWT", "Read an account's signed JWT", issuer.ReadAccounts, 200, 0, fast, handle((*API).getAccountJWT)},
		{get, acct + "/sync", "getSync", "How far the account's JWT got, by server", issuer.ReadAccounts, 200, 0, waiting, handle((*API).getSync)},
		{get, acct + "/guardrails", "getAccountGuardrails", "Read an account's guardrails, with what holds", issuer.ReadAccounts, 200, 0, fast, handle((*API).getAccountGuardrails)},
		{put, acct + "/guardrails", "setAccountGuardrails", "Replace what bounds an account beyond its operator's guardrails", issuer.WriteGuardrails, 200, small, fast, handle((*API).setAccountGuardrails)},
		{get, acct + "/connections", "listConnections", "List live connections", issuer.ReadAccounts, 200, 0, fast, handle((*API).listConnections)},

		{get, acct + "/templates", "listTemplates", "List templates", issuer.ReadTemplates, 200, 0, fast, handle((*API).listTemplates)},
		{post, acct + "/templates", "createTemplate", "Create a template with a scoped signing key", issuer.WriteTemplates, 201, large, waiting, handle((*API).createTemplate)},
		{get, tpl, "getTemplate", "Read a template", issuer.ReadTemplates, 200, 0, fast, handle((*API).getTemplate)},
		{patch, tpl, "updateTemplate", "Change a template", issuer.WriteTemplates, 200, large, waiting, handle((*API).updateTemplate)},
		{del, tpl, "deleteTemplate", "Delete a template that nobody uses", issuer.WriteTemplates, 200, 0, waiting, handle((*API).deleteTemplate)},
		{post, tpl + "/use", "useTemplate", "Give the account a scoped key of a shared template", issuer.WriteTemplates, 200, 0, waiting, handle((*API).useTemplate)},
		{post, tpl + "/clone", "cloneTemplate", "Copy a template to an account or operator", issuer.WriteTemplates, 201, small, waiting, handle((*API).cloneTemplate)},
		{post, tpl + "/preview", "previewTemplate", "What a template, as it is or as it is to be, comes to for a user", issuer.ReadTemplates, 200, large, fast, handle((*API).previewTemplate)},
		{post, acct + "/template-previews", "previewNewTemplate", "What a template would come to that is not saved yet", issuer.ReadTemplates, 200, large, fast, handle((*API).previewNewTemplate)},
		{get, tpl + "/comparisons/{other}", "compareTemplates", "What tells two templates apart", issuer.ReadTemplates, 200, 0, fast, handle((*API).compareTemplates)},

		{get, op + "/templates", "listSharedTemplates", "List the templates that an operator shares", issuer.ReadTemplates, 200, 0, fast, handle((*API).listSharedTemplates)},
		{post, op + "/templates", "createSharedTemplate", "Create a template for all accounts of an operator", issuer.WriteTemplates, 201, large, fast, handle((*API).createSharedTemplate)},
		{get, shared, "getSharedTemplate", "Read a shared template", issuer.ReadTemplates, 200, 0, fast, handle((*API).getSharedTemplate)},
		{patch, shared, "updateSharedTemplate", "Change a shared template; every account that uses it is signed anew", issuer.WriteTemplates, 200, large, fast, handle((*API).updateSharedTemplate)},
		{del, shared, "deleteSharedTemplate", "Delete a shared template that nobody uses", issuer.WriteTemplates, 200, 0, fast, handle((*API).deleteSharedTemplate)},
		{post, shared + "/clone", "cloneSharedTemplate", "Copy a shared template to an account or operator", issuer.WriteTemplates, 201, small, waiting, handle((*API).cloneSharedTemplate)},
		{post, shared + "/preview", "previewSharedTemplate", "What a shared template comes to for an imagined user", issuer.ReadTemplates, 200, large, fast, handle((*API).previewSharedTemplate)},
		{post, op + "/template-previews", "previewNewSharedTemplate", "What a shared template would come to that is not saved yet", issuer.ReadTemplates, 200, large, fast, handle((*API).previewNewSharedTemplate)},

		{get, acct + "/users", "listUsers", "List users", issuer.ReadUsers, 200, 0, fast, handle((*API).listUsers)},
		{post, acct + "/users", "createUser", "Create a user, with a credential if asked", issuer.WriteUsers, 201, large, fast, handle((*API).createUser)},
		{get, user, "getUser", "Read a user", issuer.ReadUsers, 200, 0, fast, handle((*API).getUser)},
		{get, user + "/credentials", "listCredentials", "List what was issued to a user", issuer.ReadCredentials, 200, 0, fast, handle((*API).listCredentials)},
		{post, user + "/credentials", "issueCredential", "Issue a credential", issuer.IssueCredentials, 201, small, fast, handle((*API).issueCredential)},
		{patch, user, "updateUser", "Change a user", issuer.WriteUsers, 200, large, fast, handle((*API).updateUser)},
		{del, user, "deleteUser", "Revoke what was issued to a user, then delete the user", issuer.WriteUsers, 200, 0, waiting, handle((*API).deleteUser)},
		{put, user + "/disablement", "disableUser", "Disable a user and revoke what was issued to it", issuer.WriteUsers, 200, small, waiting, handle((*API).disableUser)},
		{del, user + "/disablement", "enableUser", "Enable a user again", issuer.WriteUsers, 200, 0, waiting, handle((*API).enableUser)},
		{post, user + "/credentials/renew", "renewCredential", "Issue a new JWT for a key that the user has", issuer.IssueCredentials, 201, small, fast, handle((*API).renewCredential)},
		{post, user + "/credentials/roll", "rollCredential", "Issue to a new key and revoke the old one after a grace", issuer.IssueCredentials, 201, small, waiting, handle((*API).rollCredential)},
		{post, user + "/credentials/reissue", "reissueCredential", "Revoke what was issued to a user and issue again, at once", issuer.IssueCredentials, 201, small, waiting, handle((*API).reissueCredential)},
		{get, acct + "/credentials", "listAccountCredentials", "List what was issued in an account", issuer.ReadCredentials, 200, 0, fast, handle((*API).listAccountCredentials)},
		{get, "/users", "listAllUsers", "List the users of all accounts", issuer.ReadUsers, 200, 0, fast, handle((*API).listAllUsers)},

		{post, "/challenges", "createChallenge", "A nonce for the holder of a user key to sign", anybody, 201, small, fast, handle((*API).createChallenge)},
		{post, "/renewals", "renewByHolder", "Renew a credential with proof of its key, without a token", anybody, 201, small, fast, handle((*API).renewByHolder)},
		{post, "/credential-links", "useCredentialLink", "Use a one-time link to credentials, without a token", anybody, 201, small, fast, handle((*API).useCredentialLink)},

		{get, acct + "/revocations", "listRevocations", "List revocations in force", issuer.ReadRevocations, 200, 0, fast, handle((*API).listRevocations)},
		{get, acct + "/revocations/{subject}", "getRevocation", "Read a revocation, with its proof", issuer.ReadRevocations, 200, 0, fast, handle((*API).getRevocation)},
		{put, acct + "/revocations/{subject}", "revoke", "Revoke what was issued to a user, a key or everybody", issuer.WriteRevocations, 200, small, waiting, handle((*API).revoke)},
		{del, acct + "/revocations/{subject}", "unrevoke", "Take revocations back: old credentials are accepted again", issuer.WriteRevocations, 200, 0, waiting, handle((*API).unrevoke)},
		{post, acct + "/revocations/compaction", "compactRevocations", "Drop revocations that revoke nothing any more", issuer.WriteRevocations, 200, 0, waiting, handle((*API).compactRevocations)},

		{get, "/tokens", "listTokens", "List API tokens", issuer.ReadTokens, 200, 0, fast, handle((*API).listTokens)},
		{post, "/tokens", "createToken", "Make an API token", issuer.WriteTokens, 201, small, fast, handle((*API).createToken)},
		{get, "/tokens/{token}", "getToken", "Read an API token", issuer.ReadTokens, 200, 0, fast, handle((*API).getToken)},
		{del, "/tokens/{token}", "revokeToken", "Revoke an API token, at once", issuer.WriteTokens, 200, 0, fast, handle((*API).revokeToken)},
		{get, "/people", "listPeople", "List who may use the control plane", issuer.ReadPeople, 200, 0, fast, handle((*API).listPeople)},
		{post, "/people", "createPerson", "Let a person use the control plane", issuer.WritePeople, 201, small, fast, handle((*API).createPerson)},
		{get, "/people/{person}", "getPerson", "Read a person", issuer.ReadPeople, 200, 0, fast, handle((*API).getPerson)},
		{patch, "/people/{person}", "updatePerson", "Change what a person may do, disable or enable them", issuer.WritePeople, 200, small, fast, handle((*API).updatePerson)},
		{post, "/people/{person}/sign-in-links", "createSignInLink", "Make a one-time link with which a person signs in", issuer.WritePeople, 201, 0, fast, handle((*API).createSignInLink)},
		{get, "/roles", "listRoles", "What each role allows", anyToken, 200, 0, fast, handle((*API).listRoles)},
		{get, "/me", "getMe", "Who asks, and what they may do", anyToken, 200, 0, fast, handle((*API).getMe)},
		{get, op + "/nsc-store", "exportNSCStore", "Write an operator out as a store of nsc, without seeds", issuer.ReadAdoption, 200, 0, waiting, handle((*API).exportNSCStore)},
		{get, "/import-jobs", "listImportJobs", "List uploaded stores of nsc", issuer.ReadAdoption, 200, 0, fast, handle((*API).listImportJobs)},
		{post, "/import-jobs", "createImportJob", "Upload a store of nsc: a report of what it holds and what taking it in would do", issuer.WriteAdoption, 201, archive, uploading, handle((*API).createImportJob)},
		{get, "/import-jobs/{job}", "getImportJob", "Read an uploaded store's report and how far it is taken in", issuer.ReadAdoption, 200, 0, fast, handle((*API).getImportJob)},
		{put, "/import-jobs/{job}/run", "runImportJob", "Take an uploaded store in", issuer.WriteAdoption, 202, small, waiting, handle((*API).runImportJob)},
		{del, "/import-jobs/{job}", "dropImportJob", "Delete an uploaded store; what was taken in stays", issuer.WriteAdoption, 200, 0, fast, handle((*API).dropImportJob)},

		{post, "/inspections", "inspect", "Read a NATS JWT: its claims, its chain of trust, its problems", issuer.ReadAccounts, 200, huge, fast, handle((*API).inspect)},
		{post, "/explanations", "explain", "Why a client is admitted or refused", issuer.ReadAccounts, 200, small, fast, handle((*API).explain)},
		{post, "/permission-checks", "checkPermissions", "Who may publish or subscribe to a subject", issuer.ReadUsers, 200, small, fast, handle((*API).checkPermissions)},
		{get, op + "/deliveries", "listDeliveries", "How far each account's JWT got, account by server", issuer.ReadServers, 200, 0, fast, handle((*API).listDeliveries)},
		{get, op + "/enrolment-policy", "getEnrolmentPolicy", "Read how accounts come under an operator that were made elsewhere", issuer.ReadOperators, 200, 0, fast, handle((*API).getEnrolmentPolicy)},
		{put, op + "/enrolment-policy", "setEnrolmentPolicy", "Set how accounts come under an operator that were made elsewhere", issuer.WriteOperators, 200, small, fast, handle((*API).setEnrolmentPolicy)},
		{get, op + "/enrolments", "listEnrolments", "List accounts that ask to be let in", issuer.ReadAccounts, 200, 0, fast, handle((*API).listEnrolments)},
		{put, op + "/enrolments/{enrolment}/approval", "approveEnrolment", "Let an account in that asked", issuer.WriteLimits, 200, small, fast, handle((*API).approveEnrolment)},
		{put, op + "/enrolments/{enrolment}/refusal", "refuseEnrolment", "Keep an account out that asked", issuer.WriteLimits, 200, small, fast, handle((*API).refuseEnrolment)},
		{post, op + "/sync", "pushAgain", "Read accounts back from every server, and push them where one has something else", issuer.WriteServers, 202, small, fast, handle((*API).pushAgain)},
	}, slices.Concat(keyRoutes(), sharingRoutes(), auditRoutes(), driftRoutes(), connectionRoutes())...)
}
