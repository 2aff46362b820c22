package claims

import (
	"cmp"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
)

// ServerView is what a nats-server has when a client connects.
type ServerView struct {
	// Operators are the trusted operators; none means that they are not known.
	Operators []*jwt.OperatorClaims
	// Account is the JWT of the account that AccountLookedUp names, as the server
	// has it in effect or, when it has not loaded the account, as the resolver hands
	// it out. "" means that the resolver does not find it.
	Account string
	// Pinned is resolver_pinned_accounts; nil when there are none, or none are known.
	Pinned []string
	// DefaultSentinel is the JWT of default_sentinel, "" for none.
	DefaultSentinel string
	// MaxControlLine is max_control_line in bytes; 0 is the server's default, 4,096.
	MaxControlLine int
	// Zone is the server's own time zone, nil when not known. It decides about
	// connect hours that name none.
	Zone *time.Location
	// Connections are the live clients of the account on all servers without leaf
	// nodes, LeafNodes its leaf nodes; -1 when not known.
	Connections, LeafNodes int
}

// Attempt is one connection that a client tries to make.
type Attempt struct {
	// Token is the user JWT, "" when none is sent. A secret where the user is a bearer.
	Token string
	// SignedBy is the public key of the seed that the client holds, "" when not known.
	SignedBy string
	// Host is the client's IP address as the server sees it, "" when not known.
	Host string
	// Type is one of jwt.ConnectionTypeStandard and its like, "" when not known.
	Type string
	// Proxied tells whether a proxy that the server trusts signed for the
	// connection; nil when not known.
	Proxied *bool
	// At is when.
	At time.Time
}

// Result is how one check ended.
type Result string

// The results of a check.
const (
	ResultPass Result = "pass"
	ResultFail Result = "fail"
	// ResultUnknown is for what depends on something that an outsider was not told.
	ResultUnknown Result = "cannot_know"
	// ResultNotReached is for what cannot be judged since something before it failed.
	ResultNotReached Result = "not_reached"
)

// Check is one of the server's checks.
type Check struct {
	// ID is stable, snake_case and meant for programs.
	ID string
	// Title is what is checked, in a few words.
	Title  string
	Result Result
	// Evidence is the facts in a sentence or two; "" for a check that was not reached. It
	// never holds a token or a seed.
	Evidence string
	// Fixes are sentences, each one a thing to do; only a failed check has any.
	Fixes []string
	// ServerLog is an extended regular expression for the line that the server logs
	// when this check fails, mostly at debug level.
	ServerLog string
}

// Verdict is what becomes of the connection.
type Verdict string

// The verdicts.
const (
	VerdictAdmitted Verdict = "admitted"
	VerdictRefused  Verdict = "refused"
	// VerdictUnknown is when nothing is wrong but some check cannot be known.
	VerdictUnknown Verdict = "cannot_know"
	// VerdictDelegated is when the account's auth callout decides.
	VerdictDelegated Verdict = "delegated"
)

// Explanation is why a client was, or would be, admitted or refused.
type Explanation struct {
	Verdict Verdict
	// Summary is the verdict and its reason in a sentence or two.
	Summary string
	// Failed is the first check that fails, the reason of a refusal; else nil. A check
	// before it that cannot be known may be the reason just as well.
	Failed *Check
	// Checks are all checks in the order of the server. Those after the first failure
	// are evaluated as if it had passed, where that is possible.
	Checks []Check
	// Account and User are public keys, AccountName and UserName the names in the
	// JWTs; "" as far as they are not known.
	Account, AccountName, User, UserName string
	// Permissions are what the user may do once connected; nil when the checks did
	// not get as far as the account's signing keys, or a callout decides.
	Permissions *Effective
}

// replay is the state of the server's checks.
type replay struct {
	attempt Attempt
	view    ServerView
	// token is the JWT that the server goes by: the client's or the default sentinel.
	token string
	// user is nil until its JWT is decoded. Its limits become those of the template.
	user *jwt.UserClaims
	// ownSubs is the limit of subscriptions in the user JWT itself.
	ownSubs int64
	// account is nil until its JWT is found and is the account that was asked for.
	account *jwt.AccountClaims
	// bound is set once the account is known to have made the user; only then are
	// the user's limits and permissions known.
	bound       bool
	permissions Effective
}

// need is what a check cannot do without.
type need int

const (
	needNothing need = iota
	needUser
	needAccount
	needBound
)

// finding is the outcome of a check.
type finding struct {
	result   Result
	evidence string
	fixes    []string
}

func pass(evidence string) finding { return finding{result: ResultPass, evidence: evidence} }

func unknown(evidence string) finding { return finding{result: ResultUnknown, evidence: evidence} }

func fail(evidence string, fixes ...string) finding {
	return finding{result: ResultFail, evidence: evidence, fixes: fixes}
}

type step struct {
	id, title, log string
	need           need
	run            func(*replay) finding
}

const lookupLog = "Account JWT lookup error: "

// steps are the checks of nats-server 2.15.2 in its order: the parser, then
// processClientOrLeafAuthentication with the lookup of the account in it.
var steps = []step{
	{"connect_line", "CONNECT fits into a line", "maximum control line exceeded", needNothing, (*replay).connectLine},
	{"jwt_present", "A user JWT is sent", "Authentication requires a user JWT", needNothing, (*replay).jwtPresent},
	// A server drops a JWT that it cannot read and then misses one.
	{"jwt_decodes", "The user JWT can be read and its signature is right", "Authentication requires a user JWT", needNothing, (*replay).jwtDecodes},
	{"proxy_required", "A required proxy was used", "proxy connection required", needUser, (*replay).proxyRequired},
	{"jwt_valid", "The user JWT is valid now", "User JWT no longer valid: ", needUser, (*replay).jwtValid},
	{"account_pinned", "The server serves this account", "Account [A-Z0-9]+ not listed as operator pinned account", needUser, (*replay).accountPinned},
	{"account_found", "The account is found", lookupLog, needUser, (*replay).accountFound},
	{"account_decodes", "The account's JWT can be read and its signature is right", lookupLog, needUser, (*replay).accountDecodes},
	{"account_trusted", "A trusted operator signed the account", lookupLog + "account validation failed", needAccount, (*replay).accountTrusted},
	// A server that had the account loaded says the second.
	{"account_valid", "The account's JWT is valid now", "Account JWT (lookup error: |has expired)", needAccount, (*replay).accountValid},
	{"account_matches", "The JWT found is that of the account", lookupLog + "account validation failed", needAccount, (*replay).accountMatches},
	{"issuer_known", "The account knows the key that signed the user", "User JWT issuer is not known", needAccount, (*replay).issuerKnown},
	{"scope_empty", "A user of a template has no permissions of its own", "User JWT is not valid: ", needBound, (*replay).scopeEmpty},
	{"template_expands", "The template expands for this user", "User JWT generated invalid permissions", needBound, (*replay).templateExpands},
	{"template_proxy", "A proxy required by the template was used", "proxy connection required", needBound, (*replay).templateProxy},
	{"account_not_expired", "The account has not expired", "Account JWT has expired", needAccount, (*replay).accountNotExpired},
	{"bearer_allowed", "The account allows bearer users", "Account does not allow bearer tokens", needBound, (*replay).bearerAllowed},
	{"connection_types_known", "The server knows an allowed connection type", "invalid connection types ", needBound, (*replay).connectionTypesKnown},
	{"connection_type_allowed", "The connection type is allowed", "Connection type not allowed", needBound, (*replay).connectionTypeAllowed},
	{"nonce_signed", "The client proved that it holds the user's seed", "Signature (missing|not verified|not valid base64)|User nkey not valid: ", needBound, (*replay).nonceSigned},
	{"not_revoked", "The user is not revoked", "User authentication revoked", needAccount, (*replay).notRevoked},
	{"source_network", "The client's address is in an allowed network", "Bad src Ip ", needBound, (*replay).sourceNetwork},
	{"connect_hours", "It is within the connect hours", "Outside connect times", needBound, (*replay).connectHours},
	{"connection_limit", "The account has room for the connection", "maximum account active connections exceeded|Maximum Account Connections Exceeded", needAccount, (*replay).connectionLimit},
	{"subscription_limit", "The user may have a subscription", "maximum subscriptions exceeded", needBound, (*replay).subscriptionLimit},
	{"auth_callout", "No auth callout has to agree", "Authorization callout response not received in time on account ", needAccount, (*replay).authCallout},
}

// AccountLookedUp returns the public key of the account whose JWT a nats-server looks
// up for a connection with token, or "" when it does not get that far. It is the
// issuer account or, without one, the issuer, which then must be the account's own
// identity.
func AccountLookedUp(token, defaultSentinel string) string {
	for _, t := range []string{token, defaultSentinel} {
		if c, err := jwt.DecodeUserClaims(t); err == nil {
			return accountOf(c)
		}
	}
	return ""
}

func accountOf(c *jwt.UserClaims) string { return cmp.Or(c.IssuerAccount, c.Issuer) }

// Explain replays the checks that a nats-server in operator mode makes when a client
// connects, in its order, and says which one refuses it. Clients are told none of
// this: nearly every failure is an Authorization Violation to them.
func Explain(a Attempt, v ServerView) Explanation {
	r := &replay{attempt: a, view: v}
	var e Explanation
	for _, s := range steps {
		c := Check{ID: s.id, Title: s.title, ServerLog: s.log, Result: ResultNotReached}
		if r.has(s.need) {
			f := s.run(r)
			c.Result, c.Evidence, c.Fixes = f.result, f.evidence, f.fixes
		}
		e.Checks = append(e.Checks, c)
	}
	if r.user != nil {
		e.Account, e.User, e.UserName = Above(r.user), keyOrNothing(KindUser, r.user.Subject), Redact(r.user.Name)
	}
	if r.account != nil {
		e.AccountName = Redact(r.account.Name)
	}
	r.conclude(&e)
	return e
}

func (r *replay) has(n need) bool {
	switch n {
	case needUser:
		return r.user != nil
	case needAccount:
		return r.account != nil
	case needBound:
		return r.bound
	default:
		return true
	}
}

// conclude sums the checks up.
func (r *replay) conclude(e *Explanation) {
	var open []string
	for i := range e.Checks {
		c := &e.Checks[i]
		switch {
		case c.Result == ResultFail && e.Failed == nil:
			e.Failed = c
		case c.Result == ResultUnknown && c.ID != "auth_callout":
			open = append(open, c.Title)
		}
	}
	callout := r.callout()
	switch {
	case e.Failed != nil:
		e.Verdict, e.Summary = VerdictRefused, e.Failed.Evidence
	case len(open) > 0:
		e.Verdict = VerdictUnknown
		e.Summary = "Nothing is wrong as far as can be known from outside. Not known: " + strings.Join(open, "; ") + "."
	case callout:
		e.Verdict = VerdictDelegated
		e.Summary = "All checks pass; the account's auth callout decides."
	default:
		e.Verdict, e.Summary = VerdictAdmitted, "The server admits the connection."
	}
	if r.bound && !callout {
		e.Permissions = &r.permissions
	}
}
