package claims_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
		"acknowledged proves none": {true, []claims.Delivery{at(7, claims.DeliveryAcknowledged)}, "pending", 0},
		"stored is as good":        {true, []claims.Delivery{at(7, effect), at(7, claims.DeliveryStored)}, "in_effect", 2},
		"some":                     {true, []claims.Delivery{at(7, effect), at(7, sent)}, "partial", 1},
		"an error":                 {true, []claims.Delivery{at(7, effect), at(7, failed)}, "error", 1},
	} {
		s := claims.Sync{Version: 7, Connected: c.connected, Servers: c.servers, Expected: len(c.servers)}
		if s.State() != c.state || s.InEffect() != c.inEffect || s.Done() != (c.state == "in_effect") {
			t.Errorf("%s: %s with %d, done %v", name, s.State(), s.InEffect(), s.Done())
		}
		state := c.state
		if state == "in_effect" {
			state = "servers_missing"
		}
		s.Expected++
		if s.State() != state || s.Done() || s.Reached() != (c.state == "in_effect") || s.Missing() != 1 {
			t.Errorf("%s, with one server less than expected: %s, done %v, reached %v, missing %d", name, s.State(), s.Done(), s.Reached(), s.Missing())
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

// What a server lists is read without its signature; what is no user JWT is nothing.
func TestConnectedUser(t *testing.T) {
	t.Parallel()
	u := aUser(t)
	signed := sign(t, checked(t)(claims.BuildUser(u)), newPair(t, claims.KindAccount), 1_700_000_000)
	want := &claims.ConnectedUser{Name: u.Name, Tags: []string{"region:eu", "beta"}, IssuedAt: 1_700_000_000, Expires: u.Expires, Subscriptions: -1, Permissions: true}
	if diff := cmp.Diff(want, claims.NewConnectedUser(signed.Token)); diff != "" {
		t.Error(diff)
	}
	account := sign(t, checked(t)(claims.BuildAccount(anAccount(t))), newPair(t, claims.KindOperator), 1_700_000_000)
	for _, token := range []string{"", "a.b", "a.!.c", "a.bm9uZQ.c", account.Token} {
		if got := claims.NewConnectedUser(token); got != nil {
			t.Errorf("%.20q is read as %+v", token, got)
		}
	}
}
