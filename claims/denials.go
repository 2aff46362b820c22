package claims

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
)

// Classes of denials beside the ids of checks.
const (
	// DenialUnexplained is what was not explained yet: there were too many at once, or all
	// that can be known speaks for admitting the client.
	DenialUnexplained = "unexplained"
	// DenialTimeout is a client that did not say who it is in time, DenialTLS one without
	// a TLS handshake, DenialServerFull the limit of the server itself.
	DenialTimeout    = "authentication_timeout"
	DenialTLS        = "tls_handshake"
	DenialServerFull = "server_connection_limit"
	// DenialCrowd is what one host sent of JWTs that no account here signed, beyond those
	// that are listed one by one.
	DenialCrowd = "too_many_claims"
)

// Denial is what was refused again and again for one reason: clients that are refused
// come back at once, so single refusals are grouped by user key, or by host without a
// JWT, and by reason.
type Denial struct {
	// ID is den_….
	ID                    string
	OperatorID, AccountID string
	// Client is that of the last attempt.
	Client
	// Proven tells that one of the account's keys signed the JWT, by the account's JWT of
	// that moment. Where it did not, account, user and name are claims of whoever sent it,
	// and nothing about the account.
	Proven bool
	// Class is the id of the check that failed, see Check, or one of DenialUnexplained,
	// DenialTimeout, DenialTLS, DenialServerFull and DenialCrowd.
	Class string
	// ServerReason is what the server gave as its reason, mostly Authentication Failure.
	ServerReason string
	// Count is how often since First, Recent how often in the last hour.
	Count       uint64
	Recent      int
	First, Last time.Time
	// IssuedAt and Expires are of the JWT, in Unix seconds; 0 for none. TokenHash is the
	// SHA-256 of the last JWT in hexadecimal digits, "" for none; Bearer tells that whoever
	// has that JWT needs no key.
	IssuedAt, Expires int64
	TokenHash         string
	Bearer            bool
	// LastEvent is the event of the last attempt.
	LastEvent EventID
	// Explanation is why, by what was in force at ExplainedAt; nil as long as nobody
	// knows.
	Explanation *Explanation
	ExplainedAt time.Time
}

// DenialQuery asks for groups of denials; empty fields keep all.
type DenialQuery struct {
	Sight                 Sight
	OperatorID, AccountID string
	UserKey, Class        string
	// Since keeps groups with an attempt at or after it.
	Since time.Time
	// After is the id of the last one that the reader has; one that is gone begins again.
	After string
	Limit int
}

// DenialPage is a page of groups: the proven ones, then the others; of each the last
// refused first.
type DenialPage struct {
	Denials []Denial
	// Groups and Attempts are how many the query keeps on all pages, Recent the attempts
	// of the last hour among them, Unproven those that are not proven.
	Groups   int
	Attempts uint64
	Recent   int
	Unproven uint64
}

// TokenFacts is what a user JWT says of itself, whoever signed it.
type TokenFacts struct {
	ConnectedUser
	// UserKey is its subject U…, IssuerKey its issuer, Account the account that it names:
	// public keys, or empty.
	UserKey, IssuerKey, Account string
}

// ReadTokenFacts reads a user JWT without checking its signature; nil when it is none.
// What it says is a claim of whoever sent it, no fact about the account.
func ReadTokenFacts(token string) *TokenFacts {
	c := parseUser(token)
	if c == nil {
		return nil
	}
	return &TokenFacts{
		ConnectedUser: *connectedUser(c), UserKey: c.Subject, IssuerKey: keyOrNothing(KindAccount, c.Issuer), Account: Above(c),
	}
}

// Claimed tells that a JWT was sent which none of the account's keys signed.
func (d Denial) Claimed() bool { return d.TokenHash != "" && !d.Proven }

// SignedUser tells whether a user JWT is signed by its issuer, as ReadTokenFacts has it.
// Whether that one may sign for the account is another question.
func SignedUser(token string) bool {
	c, err := jwt.DecodeUserClaims(token)
	return err == nil && c != nil
}

// SignersOf reads the keys that sign users of an account out of its JWT, itself included,
// without checking that: it is far cheaper than decoding all of it. Nil when it is none.
func SignersOf(token string) map[string]struct{} {
	var c struct {
		Subject string `json:"sub"`
		Account struct {
			SigningKeys jwt.SigningKeys `json:"signing_keys"`
		} `json:"nats"`
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	payload, err := encoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &c) != nil {
		return nil
	}
	out := make(map[string]struct{}, 1+len(c.Account.SigningKeys))
	out[c.Subject] = struct{}{}
	for key := range c.Account.SigningKeys {
		out[key] = struct{}{}
	}
	return out
}

// ExplainRefusal explains a connection that a server did refuse. Where nothing is
// wrong as far as can be known, it was what cannot be known: the one such check is then
// the reason.
func ExplainRefusal(a Attempt, v ServerView) Explanation {
	e := Explain(a, v)
	if e.Failed != nil {
		return e
	}
	var open []*Check
	for n := range e.Checks {
		if e.Checks[n].Result == ResultUnknown {
			open = append(open, &e.Checks[n])
		}
	}
	e.Verdict = VerdictRefused
	switch len(open) {
	case 0:
		e.Summary = "The server refused it, though all checks pass here. It may have had an older JWT of the account in effect: look at the account's delivery."
	case 1:
		c := open[0]
		c.Result, c.Evidence, c.Fixes = ResultFail, "All else is right. "+c.Evidence, []string{"Look into the server's log at debug level."}
		if known, ok := leftOver[c.ID]; ok {
			c.Evidence, c.Fixes = known.evidence, known.fixes
		}
		e.Failed, e.Summary = c, c.Evidence
	default:
		var titles []string
		for _, c := range open {
			titles = append(titles, c.Title)
		}
		e.Summary = "The server refused it, and nothing is wrong as far as can be known from outside. One of these does not hold: " + strings.Join(titles, "; ") + "."
	}
	return e
}

// leftOver is what it means that the one check failed which nobody else can repeat.
var leftOver = map[string]finding{
	"nonce_signed": fail("All else is right, so the client did not prove that it holds the user's seed.",
		"Use the JWT and the seed of one and the same creds file.", "If a signing service signs for the client, check which key it holds."),
	"auth_callout": fail("All else is right, so the account's auth callout refused the client, or did not answer in time.",
		"Look into the log of the auth callout service.", "Check that the service runs and is connected to the account."),
}
