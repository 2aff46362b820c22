package resolver

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

const (
	// explainTTL is how long an explanation holds for the same attempt: clients that are
	// refused come back every 2 s.
	explainTTL = 5 * time.Second
	// mostExplained bounds the explanations that are remembered for that.
	mostExplained = 1_024
	// mostSigners bounds the keys that are remembered to tell who signed a JWT: some 10 MB.
	mostSigners = 65_536
	// explainShare is the part of the time that may go into explaining; it is saved up
	// for a quarter of a second at most. An account with 10,000 revocations takes some
	// 20 ms to decode, so a flood of ever new attempts is counted and not explained.
	explainShare = 0.25
	explainSave  = 250 * time.Millisecond
)

// explainer says why clients were refused, at once: the JWT that it takes for that is a
// credential where the user is a bearer, and is not kept. One goroutine uses it.
type explainer struct {
	o     *operator
	known map[attempt]explained
	// saved is the time that may be spent, as of last.
	saved time.Duration
	last  time.Time
	// signers are the keys that sign users of accounts, signerKeys how many there are.
	signers    map[string]signers
	signerKeys int
	// operator is decoded once for each version.
	operator *jwt.OperatorClaims
	version  int64
}

// attempt is what makes two denials the same.
type attempt struct {
	token                [sha256.Size]byte
	host, kind, reason   string
	account, operatorVer int64
}

// signers are the keys that sign users of an account, by a version of its JWT.
type signers struct {
	version int64
	keys    map[string]struct{}
}

type explained struct {
	claims.Explanation
	at time.Time
}

func newExplainer(o *operator) *explainer {
	return &explainer{o: o, known: map[attempt]explained{}, signers: map[string]signers{}, saved: explainSave, last: o.r.now()}
}

// proves tells whether one of the keys of the account that a JWT names signed it; an
// account whose keys there is no time to read has signed nothing.
func (x *explainer) proves(token string, facts *claims.TokenFacts) bool {
	e := x.o.r.memory.get(facts.Account)
	if e == nil {
		return false
	}
	s, known := x.signers[facts.Account]
	if !known || s.version != e.version {
		begun := x.save()
		if x.saved <= 0 {
			return false
		}
		s = signers{e.version, claims.SignersOf(e.token)}
		x.keep(facts.Account, s)
		x.saved -= x.o.r.now().Sub(begun)
	}
	_, signs := s.keys[facts.IssuerKey]
	return signs && claims.SignedUser(token)
}

// keep remembers the signers of an account.
func (x *explainer) keep(account string, s signers) {
	if x.signerKeys += len(s.keys); x.signerKeys > mostSigners {
		clear(x.signers)
		x.signerKeys = len(s.keys)
	}
	x.signers[account] = s
}

// save adds the share of the time that went by to what may be spent, and returns now.
func (x *explainer) save() time.Time {
	now := x.o.r.now()
	x.saved = min(explainSave, x.saved+time.Duration(float64(now.Sub(x.last))*explainShare))
	x.last = now
	return now
}

// explain returns why a server refused a client; nil when there is no time to find out.
// What nobody proved leaves half of what is saved to the others.
func (x *explainer) explain(m *clientMessage, accountID string, proven bool) *claims.Explanation {
	now := x.o.r.now()
	e, directory := x.o.r.memory.get(accountID), x.o.r.memory.operators.Load()
	key := attempt{token: sha256.Sum256([]byte(m.Client.JWT)), host: m.Client.Host, kind: m.connectionType(), reason: m.Reason}
	if e != nil {
		key.account = e.version
	}
	served := directory.byName[x.o.id]
	if served != nil {
		key.operatorVer = served.version
	}
	if known, ok := x.known[key]; ok && now.Sub(known.at) < explainTTL {
		return &known.Explanation
	}
	x.save()
	if x.saved <= 0 || !proven && x.saved <= explainSave/2 {
		return nil
	}
	out := claims.ExplainRefusal(x.attempt(m, now), x.view(m, served, e))
	out.Permissions = nil // as long as the template is, and no part of the reason
	x.saved -= x.o.r.now().Sub(now)
	if len(x.known) >= mostExplained {
		clear(x.known)
	}
	x.known[key] = explained{out, now}
	return &out
}

// Reasons of servers (monitor.go: ClosedState.String).
const (
	reasonFailure       = "Authentication Failure"
	reasonTimeout       = "Authentication Timeout"
	reasonTLS           = "TLS Handshake Failure"
	reasonServerFull    = "Maximum Connections Exceeded"
	reasonAccountFull   = "Maximum Account Connections Exceeded"
	reasonProxyRequired = "Proxy Required"
	reasonProxyUnknown  = "Proxy Not Trusted"
)

func (x *explainer) attempt(m *clientMessage, now time.Time) claims.Attempt {
	proxied := m.Reason != reasonProxyRequired && m.Reason != reasonProxyUnknown
	a := claims.Attempt{Token: m.Client.JWT, Host: m.Client.Host, Type: m.connectionType(), Proxied: &proxied, At: m.Client.Stop}
	if a.At.IsZero() {
		a.At = now
	}
	return a
}

// view is what the servers are to have. A full account is told by its own reason only,
// so that there was room for whoever was refused for another one.
func (x *explainer) view(m *clientMessage, served *servedOperator, e *entry) claims.ServerView {
	var v claims.ServerView
	if served != nil && served.version != x.version {
		if c, err := jwt.DecodeOperatorClaims(served.token); err == nil {
			x.operator, x.version = c, served.version
		}
	}
	if x.operator != nil {
		v.Operators = []*jwt.OperatorClaims{x.operator}
	}
	if e == nil || e.operator.Value() != x.o.id {
		return v
	}
	v.Account = e.token
	if m.Reason == reasonAccountFull {
		if c, err := jwt.DecodeAccountClaims(e.token); err == nil {
			v.Connections, v.LeafNodes = int(max(c.Limits.Conn, 0)), int(max(c.Limits.LeafNodeConn, 0))
		}
	}
	return v
}

// reasons are what a server gives by itself, as classes and in a sentence.
var reasons = map[string]struct{ class, text, fix string }{
	reasonTimeout:    {claims.DenialTimeout, "The client did not say who it is in time.", "Check that it speaks the protocol of NATS, and that nothing holds it up: an auth callout counts too."},
	reasonTLS:        {claims.DenialTLS, "The TLS handshake failed.", "Check that the client trusts the server's certificate and, where one is demanded, sends its own."},
	reasonServerFull: {claims.DenialServerFull, "The server has as many connections as it takes.", "Raise max_connections in the server's configuration, or add a server."},
}

// denial is one refusal, without its JWT.
func (w *watcher) denial(m *clientMessage) claims.Denial {
	facts := claims.ReadTokenFacts(m.Client.JWT)
	d := claims.Denial{OperatorID: w.o.id, Client: m.client(facts), ServerReason: errorText(m.Reason), Last: w.o.r.now().UTC(), Class: claims.DenialUnexplained}
	d.UserKey = ""
	if facts != nil {
		d.UserKey, d.IssuedAt, d.Expires, d.Bearer = facts.UserKey, facts.IssuedAt, facts.Expires, facts.Bearer
		if w.o.r.memory.operatorOf(facts.Account) == w.o.id {
			d.AccountID = facts.Account
			d.Proven = w.explain.proves(m.Client.JWT, facts)
		}
	}
	if m.Client.JWT != "" {
		sum := sha256.Sum256([]byte(m.Client.JWT))
		d.TokenHash = hex.EncodeToString(sum[:])
	}
	account := d.AccountID
	if facts != nil {
		account = cmp.Or(account, facts.Account)
	}
	if known, ok := reasons[m.Reason]; ok {
		d.Class, d.ExplainedAt = known.class, d.Last
		d.Explanation = &claims.Explanation{
			Verdict: claims.VerdictRefused, Summary: known.text, Account: d.AccountID, User: d.UserKey,
			Failed: &claims.Check{ID: known.class, Title: m.Reason, Result: claims.ResultFail, Evidence: known.text, Fixes: []string{known.fix}},
		}
	} else if e := w.explain.explain(m, account, d.Proven); e != nil {
		d.Explanation, d.ExplainedAt = e, d.Last
		if e.Failed != nil {
			d.Class = e.Failed.ID
		}
	}
	return d
}
