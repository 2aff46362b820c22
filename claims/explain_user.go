package claims

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
)

// defaultControlLine is a nats-server's max_control_line in bytes; a leaf node's
// lines may have leafLineFactor times as many.
const (
	defaultControlLine = 4096
	leafLineFactor     = 16
	// connectRest is room for what CONNECT says besides the JWT.
	connectRest = defaultControlLine - MaxUserJWT
)

func (r *replay) connectLine() finding {
	most := r.view.MaxControlLine
	if most == 0 {
		most = defaultControlLine
	}
	switch is := r.attempt.Type; {
	case mqtt(is):
		return pass("MQTT has no CONNECT line.")
	case is == jwt.ConnectionTypeLeafnode, is == jwt.ConnectionTypeLeafnodeWS:
		most *= leafLineFactor
	}
	size := len(r.attempt.Token)
	facts := fmt.Sprintf("The user JWT has %d bytes and the server reads lines of %d", size, most)
	switch {
	case size > most && r.attempt.Type == "":
		return unknown(facts + "; those of leaf nodes and MQTT may be longer, and how the client connects is not known.")
	case size > most:
		return fail(facts+".", "Use a template: its permissions travel in the account's JWT, and the user's stays small.",
			"Raise max_control_line on every server.")
	case size > most-connectRest:
		return unknown(facts + "; whether the rest of CONNECT still fits depends on the client.")
	}
	return pass(facts + ".")
}

func (r *replay) jwtPresent() finding {
	r.token = r.attempt.Token
	if r.token != "" {
		return pass("A JWT was sent.")
	}
	if r.token = r.view.DefaultSentinel; r.token != "" {
		return pass("None was sent; the server uses its default sentinel.")
	}
	return fail("No user JWT was sent.", "Give the client a creds file; a name and password or a token are not enough in operator mode.")
}

func (r *replay) jwtDecodes() finding {
	if r.token == "" {
		return finding{result: ResultNotReached}
	}
	user, err := jwt.DecodeUserClaims(r.token)
	if err == nil {
		r.user, r.ownSubs = user, user.Subs
		return pass("The signature of " + keyName(user.Issuer) + " is right.")
	}
	if r.view.DefaultSentinel != "" {
		if user, err := jwt.DecodeUserClaims(r.view.DefaultSentinel); err == nil {
			r.token, r.user, r.ownSubs = r.view.DefaultSentinel, user, user.Subs
			return pass("What was sent is no user JWT that can be read; the server uses its default sentinel instead.")
		}
	}
	why := whyUnread(err)
	if why == anotherKind || why == anotherSystem {
		return fail("What was sent is no user JWT: "+why, "Give the client a creds file, or the user JWT of a NATS account.")
	}
	return fail("What was sent is no user JWT with a right signature: "+why, "Download the creds file again, and take care that it is copied whole.")
}

// What is sent may be whole, and still not what a client needs.
const (
	anotherKind   = "it is a JWT of another kind."
	anotherSystem = "it is not a JWT of NATS."
)

// whyUnread names the causes that tell a person something. The library's own
// sentences may quote what they were given.
func whyUnread(err error) string {
	switch text := err.Error(); {
	case strings.Contains(text, "exceeds maximum"):
		return "it is larger than 1 MiB."
	case strings.Contains(text, "3 chunks"):
		return "it does not have the three parts of a JWT."
	case strings.Contains(text, "signature verification"):
		return "the signature does not match, so it was changed or cut."
	case strings.Contains(text, "expected prefixes"):
		return "it was signed by a key of the wrong kind."
	case text == "not user claim", text == "not account claim":
		return anotherKind
	case strings.HasSuffix(text, " algorithm"), strings.HasPrefix(text, "not supported type"):
		return anotherSystem
	}
	return "its text is damaged."
}

func (r *replay) proxyRequired() finding { return r.proxy("The user JWT") }

func (r *replay) templateProxy() finding {
	if r.scope() == nil {
		return pass("The user has no template.")
	}
	return r.proxy("The template")
}

func (r *replay) proxy(who string) finding {
	switch p := r.attempt.Proxied; {
	case !r.user.ProxyRequired:
		return pass(who + " requires no proxy.")
	case p == nil:
		return unknown(who + " requires a trusted proxy; whether one was used is not known.")
	case *p:
		return pass("A trusted proxy was used.")
	}
	return fail(who+" requires a trusted proxy, and none signed for the connection.",
		"Connect through the proxy.", "Check that the proxy's key is listed under proxies in the server's configuration.")
}

func (r *replay) jwtValid() finding {
	c := r.user
	for _, p := range libraryProblems(c) {
		if p.Blocking {
			return fail("The user JWT is malformed. "+p.Detail, "Correct the user and issue new credentials.")
		}
	}
	return r.inTime("The user JWT", c.ClaimsData, "Issue new credentials.")
}

// inTime checks exp and nbf as nats-io/jwt does: exp itself is still valid.
func (r *replay) inTime(what string, c jwt.ClaimsData, renew string) finding {
	now := r.attempt.At.Unix()
	switch {
	case c.Expires > 0 && now > c.Expires:
		return fail(fmt.Sprintf("%s expired at %s, %s before.", what, stamp(c.Expires), span(now-c.Expires)), renew)
	case c.NotBefore > now:
		return fail(fmt.Sprintf("%s is not valid before %s, which is %s ahead.", what, stamp(c.NotBefore), span(c.NotBefore-now)),
			"Wait until then.", "Check the clock of the server.")
	case c.Expires > 0:
		return pass(fmt.Sprintf("%s is valid until %s.", what, stamp(c.Expires)))
	}
	return pass(what + " never expires.")
}

// stamp writes Unix seconds for a person.
func stamp(unix int64) string { return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04:05 UTC") }

// span writes seconds for a person, with its two largest units.
func span(seconds int64) string {
	d, h, m, s := seconds/86400, seconds/3600%24, seconds/60%60, seconds%60
	switch {
	case d > 0:
		return fmt.Sprintf("%d d %d h", d, h)
	case h > 0:
		return fmt.Sprintf("%d h %d min", h, m)
	case m > 0:
		return fmt.Sprintf("%d min %d s", m, s)
	}
	return fmt.Sprintf("%d s", s)
}

// keyName shortens a public key; what is none is not repeated.
func keyName(s string) string {
	if !nkeyRE.MatchString(s) {
		return "something that is no key"
	}
	return s[:8] + "…"
}

func keyOrNothing(kind Kind, s string) string {
	if !IsPublicKey(kind, s) {
		return ""
	}
	return s
}
