package claims

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

func (r *replay) bearerAllowed() finding {
	switch {
	case !r.user.BearerToken:
		return pass("The user is no bearer.")
	case r.account.Limits.DisallowBearer:
		return fail("The user is a bearer, and the account does not allow bearers.",
			"Issue credentials that are no bearer token.", "Allow bearers in the account and push it.")
	}
	return pass("The account allows them.")
}

// allowedTypes returns the allowed connection types that a server knows.
func (r *replay) allowedTypes() []string {
	var known []string
	for _, t := range r.user.AllowedConnectionTypes {
		if t = strings.ToUpper(t); slices.Contains(connectionTypes, t) {
			known = append(known, t)
		}
	}
	return known
}

func (r *replay) connectionTypesKnown() finding {
	all, known := len(r.user.AllowedConnectionTypes), len(r.allowedTypes())
	switch {
	case all == known:
		return pass("All are known.")
	case known == 0:
		return fail("None of the allowed connection types is one that a server knows.",
			"Correct the connection types: they are "+strings.Join(connectionTypes, ", ")+".")
	}
	return pass(fmt.Sprintf("%d of %d are known; the server overlooks the others.", known, all))
}

func (r *replay) connectionTypeAllowed() finding {
	known, is := r.allowedTypes(), r.attempt.Type
	switch {
	case len(r.user.AllowedConnectionTypes) == 0:
		return pass("All types are allowed.")
	case len(known) == 0:
		return finding{result: ResultNotReached}
	case is == "":
		return unknown("Allowed is " + strings.Join(known, ", ") + "; how the client connects is not known.")
	case slices.Contains(known, is):
		return pass(is + " is allowed.")
	}
	return fail("The client connects as "+is+", and allowed is "+strings.Join(known, ", ")+".",
		"Connect in an allowed way, or allow "+is+" too.")
}

func (r *replay) nonceSigned() finding {
	switch by := r.attempt.SignedBy; {
	case r.user.BearerToken:
		return pass("A bearer need not.")
	case mqtt(r.attempt.Type):
		return fail("The client connects by MQTT, which has no way to sign, and the user is no bearer.",
			"Issue credentials that are a bearer token.", "Connect by another protocol.")
	case !nkeys.IsValidPublicKey(r.user.Subject):
		return fail("The user JWT names no public key to check the signature with.", "Issue new credentials.")
	case by == "":
		return unknown("Which seed the client holds is not known; the signature cannot be repeated.")
	case by != r.user.Subject:
		return fail("The client holds the seed of "+keyName(by)+", and the JWT is that of "+keyName(r.user.Subject)+".",
			"Use the JWT and the seed of one and the same creds file.")
	}
	return pass("The client holds the seed of " + keyName(r.user.Subject) + ".")
}

func (r *replay) notRevoked() finding {
	issued := r.user.IssuedAt
	for _, whom := range []string{r.user.Subject, jwt.All} {
		upTo, ok := r.account.Revocations[whom]
		if !ok || upTo < issued {
			continue
		}
		all := ""
		if whom == jwt.All {
			all = " for all users of the account"
		}
		return fail(fmt.Sprintf("Revoked%s up to %s; this JWT was issued at %s.", all, stamp(upTo), stamp(issued)),
			"Issue new credentials; they will be later than the revocation.")
	}
	return pass(fmt.Sprintf("No revocation reaches this JWT, issued at %s.", stamp(issued)))
}

func (r *replay) sourceNetwork() finding {
	src, host := r.user.Src, r.attempt.Host
	if len(src) == 0 {
		return pass("All addresses are allowed.")
	}
	if r.attempt.Type == jwt.ConnectionTypeInProcess {
		return fail("A connection within the server's process has no address, and allowed is "+list(src)+".", "Connect over the network, or allow all addresses.")
	}
	switch {
	case host == "":
		return unknown("Allowed is " + list(src) + "; the client's address is not known.")
	case SourceAllowed(src, host):
		return pass("The address is in " + list(src) + ".")
	}
	return fail("The client connects from "+Redact(host)+", and allowed is "+list(src)+".",
		"Connect from an allowed network, or allow this one.",
		"If a proxy or load balancer is in between, the server sees its address unless it speaks the PROXY protocol.")
}

// list writes networks for a person, the first few of them.
func list(s []string) string {
	const most = 5
	more := ""
	if len(s) > most {
		more = fmt.Sprintf(" and %d more", len(s)-most)
		s = s[:most]
	}
	return Redact(strings.Join(s, ", ")) + more
}

func (r *replay) connectHours() finding {
	times, location, at := r.user.Times, r.user.Locale, r.attempt.At
	if len(times) == 0 {
		return pass("All hours are allowed.")
	}
	if serverZone(location) {
		if r.view.Zone == nil {
			return unknown("Allowed is " + list(hours(times)) + " in the server's own time zone, which is not known.")
		}
		at = at.In(r.view.Zone)
	}
	where := location
	if serverZone(location) {
		where = r.view.Zone.String()
	}
	facts := fmt.Sprintf("Allowed is %s in %s", list(hours(times)), Redact(where))
	ok, until := HoursAllowed(times, location, at)
	if !ok {
		return fail(fmt.Sprintf("%s; the client connected at %s.", facts, stamp(at.Unix())), "Connect within the hours, or change them.")
	}
	return pass(fmt.Sprintf("%s; the server closes the connection in %s.", facts, span(int64(until.Seconds()))))
}

func (r *replay) connectionLimit() finding {
	l := r.account.Limits
	leaf := func() finding { return roomFor("leaf nodes", l.LeafNodeConn, r.view.LeafNodes) }
	client := func() finding { return r.roomForClient(l.Conn) }
	switch r.attempt.Type {
	case jwt.ConnectionTypeLeafnode, jwt.ConnectionTypeLeafnodeWS:
		return leaf()
	case "":
		c, n := client(), leaf()
		if c.result == n.result {
			return c
		}
		return unknown("It has room for one of clients and leaf nodes; which of them connects is not known.")
	}
	return client()
}

// roomForClient knows that a server counts the leaf nodes that are connected to
// itself as connections, but not those connected elsewhere.
func (r *replay) roomForClient(limit int64) finding {
	f := roomFor("connections", limit, r.view.Connections)
	leafs := max(r.view.LeafNodes, 0)
	if f.result == ResultPass && limit != jwt.NoLimit && int64(r.view.Connections+leafs) >= limit {
		return unknown(fmt.Sprintf("%d of %d connections are in use, and %d leaf nodes, which count where they are on the same server.", r.view.Connections, limit, leafs))
	}
	return f
}

// roomFor checks a limit of connections; what is negative, but for -1, allows none.
func roomFor(what string, limit int64, live int) finding {
	switch {
	case limit == jwt.NoLimit:
		return pass("Any number of " + what + " is allowed.")
	case limit <= 0:
		return fail("The account may not have any "+what+"; it may be suspended.", "Resume the account, or raise its limit of "+what+".")
	case live < 0:
		return unknown(fmt.Sprintf("At most %d %s are allowed; how many there are is not known.", limit, what))
	case int64(live) >= limit:
		return fail(fmt.Sprintf("%d of %d %s are in use.", live, limit, what), "Close connections that are not needed.", "Raise the limit of "+what+".")
	}
	return pass(fmt.Sprintf("%d of %d %s are in use.", live, limit, what))
}

// subscriptionLimit finds the limit of 0: a server takes it for reached and closes
// the connection right after admitting it. MQTT escapes the user's own limit. Where the
// account's identity key carries a template, the limit of the JWT itself holds
// (client.go: applyAccountLimits), and that is 0.
func (r *replay) subscriptionLimit() finding {
	if r.account.Limits.Subs != jwt.NoLimit && r.account.Limits.Subs <= 0 {
		return fail("The account allows no subscription; a server then closes every connection.", "Raise the account's limit of subscriptions, or set it to -1.")
	}
	subs := r.user.Subs
	if r.user.IssuerAccount == "" || r.user.IssuerAccount == r.user.Issuer {
		subs = r.ownSubs
	}
	if subs == jwt.NoLimit || subs > 0 {
		return pass("It may.")
	}
	switch is := r.attempt.Type; {
	case mqtt(is):
		return pass("A server does not apply the user's limit of 0 to MQTT.")
	case is == "":
		return unknown("The user may have no subscription, which only MQTT survives; how the client connects is not known.")
	}
	return fail("The user may have no subscription; a server then closes the connection.", "Raise the user's limit of subscriptions, or set it to -1.")
}

// mqtt tells whether a connection type is one of MQTT.
func mqtt(kind string) bool {
	return kind == jwt.ConnectionTypeMqtt || kind == jwt.ConnectionTypeMqttWS
}

// callout tells whether the account's auth callout has the last word.
func (r *replay) callout() bool {
	return r.account != nil && r.account.Authorization.IsEnabled() && !slices.Contains(r.account.Authorization.AuthUsers, r.user.Subject)
}

func (r *replay) authCallout() finding {
	switch {
	case r.callout():
		return unknown("The account has an auth callout, which decides once all else has passed.")
	case r.account.Authorization.IsEnabled():
		return pass("The user belongs to the auth callout itself.")
	}
	return pass("The account has none.")
}
