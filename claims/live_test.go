package claims_test

import (
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"

	"chancery/claims"
)

func TestSyncState(t *testing.T) {
	t.Parallel()
	const (
		effect, cold, sent, failed = claims.DeliveryInEffect, claims.DeliveryNotLoaded, claims.DeliverySent, claims.DeliveryFailed
	)
	at := func(version int64, s claims.DeliveryState) claims.Delivery {
		return claims.Delivery{Version: version, State: s}
	}
	for name, c := range map[string]struct {
		connected bool
		servers   []claims.Delivery
		state     string
		inEffect  int
	}{
		"not connected":            {false, []claims.Delivery{at(7, effect)}, "no_servers", 1},
		"no servers":               {true, nil, "no_servers", 0},
		"everywhere":               {true, []claims.Delivery{at(7, effect), at(8, effect)}, "in_effect", 2},
		"not loaded is as good":    {true, []claims.Delivery{at(7, effect), at(7, cold)}, "in_effect", 2},
		"an older version is not":  {true, []claims.Delivery{at(7, effect), at(6, effect)}, "partial", 1},
		"older and not loaded":     {true, []claims.Delivery{at(6, cold)}, "pending", 0},
		"sent":                     {true, []claims.Delivery{at(7, sent)}, "pending", 0},
		"acknowledged proves none": {true, []claims.Delivery{at(7, claims.DeliveryAcknowledged), at(7, claims.DeliveryStored)}, "pending", 0},
		"some":                     {true, []claims.Delivery{at(7, effect), at(7, sent)}, "partial", 1},
		"an error":                 {true, []claims.Delivery{at(7, effect), at(7, failed)}, "error", 1},
	} {
		s := claims.Sync{Version: 7, Connected: c.connected, Servers: c.servers}
		if s.State() != c.state || s.InEffect() != c.inEffect || s.Done() != (c.state == "in_effect") {
			t.Errorf("%s: %s with %d, done %v", name, s.State(), s.InEffect(), s.Done())
		}
	}
}

// A nats-server reads the configuration and comes to trust the operator.
func TestServerConfigIsRead(t *testing.T) {
	t.Parallel()
	operator := newPair(t, claims.KindOperator)
	o := anOperator(t)
	o.ID = operator.id
	o.Settings.AccountServerURL = "" // the server would ask it while it reads
	token := sign(t, checked(t)(claims.BuildOperator(o)), operator, 1_800_000_000).Token
	text := claims.ServerConfig(claims.ServerConfigInput{
		OperatorName: o.Name, OperatorJWT: token, SystemAccount: o.Settings.SystemAccount, ResolverURL: "http://127.0.0.1:1/jwt/v1/accounts/",
	})
	opts := new(server.Options)
	if err := opts.ProcessConfigString(text); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if len(opts.TrustedOperators) != 1 || opts.TrustedOperators[0].Subject != operator.id || opts.SystemAccount != o.Settings.SystemAccount {
		t.Errorf("trusts %+v, system account %s", opts.TrustedOperators, opts.SystemAccount)
	}
	if _, ok := opts.AccountResolver.(*server.URLAccResolver); !ok {
		t.Errorf("resolver %T", opts.AccountResolver)
	}
	if strings.Contains(text, "allow_delete") {
		t.Error("the configuration allows to delete accounts")
	}
}

// bend changes one character of a JWT's part.
func bend(token string, part int) string {
	chunks := strings.Split(token, ".")
	b := []byte(chunks[part])
	if b[len(b)/2]++; b[len(b)/2] > 'z' {
		b[len(b)/2] = 'a'
	}
	chunks[part] = string(b)
	return strings.Join(chunks, ".")
}

func TestDecodeAccount(t *testing.T) {
	t.Parallel()
	operator, other := newPair(t, claims.KindOperator), newPair(t, claims.KindOperator)
	account := newPair(t, claims.KindAccount)
	a := anAccount(t)
	token := sign(t, checked(t)(claims.BuildAccount(a)), operator, 1).Token
	selfSigned := sign(t, checked(t)(claims.BuildAccount(a)), account, 1).Token
	user := sign(t, checked(t)(claims.BuildUser(aUser(t))), account, 1).Token
	oper := sign(t, checked(t)(claims.BuildOperator(anOperator(t))), operator, 1).Token
	trusted := []string{operator.id}
	if c, err := claims.DecodeAccount(token, trusted); err != nil || c.Subject != a.ID {
		t.Errorf("%v", err)
	}
	chunks := strings.Split(token, ".")
	for name, s := range map[string]string{
		"nothing": "", "one part": chunks[0], "two parts": chunks[0] + "." + chunks[1], "four parts": token + ".a", "no signature": chunks[0] + "." + chunks[1] + ".",
		"a bent header": bend(token, 0), "a bent payload": bend(token, 1), "a bent signature": bend(token, 2), "cut short": token[:len(token)-1],
		"a user's": user, "an operator's": oper, "an account's own": selfSigned, "over 1 MiB": token + strings.Repeat("A", jwt.MaxTokenSize),
		"no base64": chunks[0] + ".!!!." + chunks[2], "a BOM": "\ufeff" + token, "a line end": token + "\n", "a creds file": claims.FormatCreds(user, account.seed(t)).Reveal(),
		"algorithm none": "eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0." + chunks[1] + ".", "HS256": "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9." + chunks[1] + "." + chunks[2],
		"swapped parts": chunks[1] + "." + chunks[0] + "." + chunks[2],
	} {
		if c, err := claims.DecodeAccount(s, trusted); err == nil {
			t.Errorf("%s decodes to %s", name, c.Subject)
		}
	}
	for name, trust := range map[string][]string{"nobody": nil, "another operator": {other.id}, "the account": {a.ID}} {
		if _, err := claims.DecodeAccount(token, trust); err == nil {
			t.Errorf("trusting %s it decodes", name)
		}
	}
}
