package claims_test

import (
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// ruined changes the signature of a JWT.
func ruined(s string) string {
	i := len(s) - 10
	c := "A"
	if s[i] == 'A' {
		c = "B"
	}
	return s[:i] + c + s[i+1:]
}

// provocation makes one check fail: prepare alone must be admitted, with spoil after it refused by the check.
type provocation struct {
	check          string
	prepare, spoil func(*testing.T, *trial)
}

func provocations() map[string]provocation {
	nothing := func(*testing.T, *trial) {}
	limits := claims.NewPermissionLimits
	hour := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.TimeOnly) }
	return map[string]provocation{
		"a JWT too large for CONNECT": {"connect_line", nothing, func(t *testing.T, c *trial) {
			for range 80 {
				c.user.Pub.Allow.Add("subject." + newPair(t, claims.KindUser).id)
			}
		}},
		"no JWT":                       {"jwt_present", nothing, func(_ *testing.T, c *trial) { c.mangleToken = func(string) string { return "" } }},
		"a JWT with another signature": {"jwt_decodes", nothing, func(_ *testing.T, c *trial) { c.mangleToken = ruined }},
		"half a JWT":                   {"jwt_decodes", nothing, func(_ *testing.T, c *trial) { c.mangleToken = func(s string) string { return s[:len(s)/2] } }},
		"a JWT of another system": {"jwt_decodes", nothing, func(_ *testing.T, c *trial) {
			c.mangleToken = func(string) string { return foreign }
		}},
		"a JWT of an account": {"jwt_decodes", nothing, func(t *testing.T, c *trial) {
			_, account := c.encode(t)
			c.mangleToken = func(string) string { return account }
		}},
		"around the proxy":                     {"proxy_required", func(_ *testing.T, c *trial) { c.user.ProxyRequired, c.proxied = true, true }, func(_ *testing.T, c *trial) { c.proxied = false }},
		"an expired user":                      {"jwt_valid", func(_ *testing.T, c *trial) { c.user.Expires = time.Now().Unix() + 60 }, func(_ *testing.T, c *trial) { c.user.Expires = time.Now().Unix() - 60 }},
		"a user of tomorrow":                   {"jwt_valid", func(_ *testing.T, c *trial) { c.user.NotBefore = time.Now().Unix() }, func(_ *testing.T, c *trial) { c.user.NotBefore = time.Now().Unix() + 86400 }},
		"a malformed user":                     {"jwt_valid", func(_ *testing.T, c *trial) { c.user.Locale = "Europe/Berlin" }, func(_ *testing.T, c *trial) { c.user.Locale = "Moon/Copernicus" }},
		"an account that is missing":           {"account_found", nothing, func(_ *testing.T, c *trial) { c.mangleAccount = func(string) string { return "" } }},
		"a signing key without issuer account": {"account_found", nothing, func(_ *testing.T, c *trial) { c.user.IssuerAccount = "" }},
		"an account with another signature":    {"account_decodes", nothing, func(_ *testing.T, c *trial) { c.mangleAccount = ruined }},
		"an account of a foreign operator":     {"account_trusted", nothing, func(t *testing.T, c *trial) { c.accountSigner = newPair(t, claims.KindOperator) }},
		"an account signed by itself":          {"account_trusted", nothing, func(t *testing.T, c *trial) { c.accountSigner = newPair(t, claims.KindAccount) }},
		"an expired account":                   {"account_valid", func(_ *testing.T, c *trial) { c.account.Expires = time.Now().Unix() + 60 }, func(_ *testing.T, c *trial) { c.account.Expires = time.Now().Unix() - 60 }},
		"an account of tomorrow":               {"account_valid", nothing, func(_ *testing.T, c *trial) { c.account.NotBefore = time.Now().Unix() + 60 }},
		"a malformed account":                  {"account_valid", nothing, func(_ *testing.T, c *trial) { c.account.ClusterTraffic = "everywhere" }},
		"an account whose signing key is none": {"account_valid", nothing, func(_ *testing.T, c *trial) { c.account.SigningKeys.Add("MOON") }},
		"the account of others": {"account_matches", nothing, func(t *testing.T, c *trial) {
			other := jwt.NewAccountClaims(newPair(t, claims.KindAccount).id)
			token, err := other.Encode(c.accountSigner)
			if err != nil {
				t.Fatal(err)
			}
			c.mangleAccount = func(string) string { return token }
		}},
		"a key that the account lost":   {"issuer_known", nothing, func(_ *testing.T, c *trial) { c.account.SigningKeys = jwt.SigningKeys{} }},
		"permissions beside a template": {"scope_empty", func(_ *testing.T, c *trial) { c.scoped(limits()) }, func(_ *testing.T, c *trial) { c.user.Pub.Allow.Add("a") }},
		"a tag that a template denies with": {"template_expands", func(_ *testing.T, c *trial) {
			p := limits()
			p.Pub.Deny.Add("x.{{tag(region)}}")
			c.scoped(p)
			c.user.User.Tags.Add("region:eu")
		}, func(_ *testing.T, c *trial) { c.user.User.Tags = nil }},
		"an unknown function": {"template_expands", func(_ *testing.T, c *trial) { c.scoped(limits()) }, func(_ *testing.T, c *trial) {
			p := limits()
			p.Pub.Allow.Add("x.{{moon()}}")
			c.scoped(p)
		}},
		"around the template's proxy": {"template_proxy", func(_ *testing.T, c *trial) {
			p := limits()
			p.ProxyRequired, c.proxied = true, true
			c.scoped(p)
		}, func(_ *testing.T, c *trial) { c.proxied = false }},
		"a bearer": {"bearer_allowed", func(_ *testing.T, c *trial) { c.user.BearerToken = true }, func(_ *testing.T, c *trial) { c.account.Limits.DisallowBearer = true }},
		"a template's bearer": {"bearer_allowed", func(_ *testing.T, c *trial) {
			p := limits()
			p.BearerToken = true
			c.scoped(p)
		}, func(_ *testing.T, c *trial) { c.account.Limits.DisallowBearer = true }},
		"only types that nobody knows": {
			"connection_types_known", func(_ *testing.T, c *trial) { c.user.AllowedConnectionTypes.Add("standard", "SEMAPHORE") },
			func(_ *testing.T, c *trial) { c.user.AllowedConnectionTypes = jwt.StringList{"SEMAPHORE", "PIGEON"} },
		},
		"another type": {
			"connection_type_allowed", func(_ *testing.T, c *trial) { c.user.AllowedConnectionTypes.Add("Standard") },
			func(_ *testing.T, c *trial) { c.user.AllowedConnectionTypes = jwt.StringList{"MQTT", "WEBSOCKET"} },
		},
		"the seed of somebody else": {"nonce_signed", nothing, func(t *testing.T, c *trial) { c.holder = newPair(t, claims.KindUser) }},
		"no bearer over MQTT":       {"nonce_signed", func(_ *testing.T, c *trial) { c.user.BearerToken, c.kind = true, jwt.ConnectionTypeMqtt }, func(_ *testing.T, c *trial) { c.user.BearerToken = false }},
		"a subject that is no key": {"nonce_signed", nothing, func(t *testing.T, c *trial) {
			c.mangleToken = func(token string) string {
				return resigned(t, tampered(token, func(m map[string]any) { m["sub"] = "MOON" }), c.signer)
			}
		}},
		"a revoked user": {
			"not_revoked", func(_ *testing.T, c *trial) { c.account.RevokeAt(c.user.Subject, time.Now().Add(-time.Minute)) },
			func(_ *testing.T, c *trial) { c.account.RevokeAt(c.user.Subject, time.Now()) },
		},
		"everybody revoked": {
			"not_revoked", func(_ *testing.T, c *trial) { c.account.RevokeAt(jwt.All, time.Now().Add(-time.Minute)) },
			func(_ *testing.T, c *trial) { c.account.RevokeAt(jwt.All, time.Now().Add(time.Second)) },
		},
		"another network": {
			"source_network", func(_ *testing.T, c *trial) { c.user.Src = jwt.CIDRList{"10.0.0.0/8", "127.0.0.0/8"} },
			func(_ *testing.T, c *trial) { c.user.Src = jwt.CIDRList{"10.0.0.0/8", "::/0"} },
		},
		"no network": {
			"source_network", func(_ *testing.T, c *trial) { c.user.Src = jwt.CIDRList{"0.0.0.0/0", "::/0"} },
			func(_ *testing.T, c *trial) { c.kind = jwt.ConnectionTypeInProcess },
		},
		"another hour": {"connect_hours", func(_ *testing.T, c *trial) {
			c.user.Times, c.user.Locale = []jwt.TimeRange{{Start: hour(-time.Hour), End: hour(time.Hour)}}, "UTC"
		}, func(_ *testing.T, c *trial) {
			c.user.Times = []jwt.TimeRange{{Start: hour(time.Hour), End: hour(2 * time.Hour)}}
		}},
		"a suspended account":              {"connection_limit", nothing, func(_ *testing.T, c *trial) { c.account.Limits.Conn = 0 }},
		"a full account":                   {"connection_limit", func(_ *testing.T, c *trial) { c.account.Limits.Conn, c.live = 2, 1 }, func(_ *testing.T, c *trial) { c.live = 2 }},
		"a limit below -1":                 {"connection_limit", nothing, func(_ *testing.T, c *trial) { c.account.Limits.Conn = -2 }},
		"a suspended account, MQTT":        {"connection_limit", func(_ *testing.T, c *trial) { c.user.BearerToken, c.kind = true, jwt.ConnectionTypeMqtt }, func(_ *testing.T, c *trial) { c.account.Limits.Conn = 0 }},
		"no leaf nodes":                    {"connection_limit", func(_ *testing.T, c *trial) { c.kind = jwt.ConnectionTypeLeafnode }, func(_ *testing.T, c *trial) { c.account.Limits.LeafNodeConn = 0 }},
		"no leaf nodes by WebSocket":       {"connection_limit", func(_ *testing.T, c *trial) { c.kind = jwt.ConnectionTypeLeafnodeWS }, func(_ *testing.T, c *trial) { c.account.Limits.LeafNodeConn = -2 }},
		"a user without subscriptions":     {"subscription_limit", nothing, func(_ *testing.T, c *trial) { c.user.Subs = 0 }},
		"an account without subscriptions": {"subscription_limit", nothing, func(_ *testing.T, c *trial) { c.account.Limits.Subs = 0 }},
		"a user's subscriptions below -1":  {"subscription_limit", nothing, func(_ *testing.T, c *trial) { c.user.Subs = -2 }},
		"an account's below -1":            {"subscription_limit", nothing, func(_ *testing.T, c *trial) { c.account.Limits.Subs = -2 }},
		"a template on the identity key": {
			"subscription_limit", func(_ *testing.T, c *trial) { c.scoped(limits()) },
			func(_ *testing.T, c *trial) { c.signer = c.identity; c.scoped(limits()) },
		},
		"a template on the identity key, no issuer account": {
			"subscription_limit", func(_ *testing.T, c *trial) { c.scoped(limits()) },
			func(_ *testing.T, c *trial) { c.signer, c.user.IssuerAccount = c.identity, ""; c.scoped(limits()) },
		},
	}
}
