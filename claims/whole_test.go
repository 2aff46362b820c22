package claims_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"

	"chancery/claims"
)

// An account that has all that an account can have is built, accepted by a server as it is, and taken apart and built
// again the same.
func TestWholeVocabulary(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	signer, key, other := newPair(t, claims.KindAccount), newPair(t, claims.KindUser), newPair(t, claims.KindAccount).id
	a := anAccount(t)
	s := &a.Settings
	s.Limits.LeafNodeConn, s.Limits.Subs, s.Limits.Data, s.Limits.Payload, s.Limits.Imports, s.Limits.Exports, s.Limits.DisallowBearer = 5, 100, 1<<30, 1<<20, 9, 9, true
	s.Limits.JetStreamTieredLimits = jwt.JetStreamTieredLimits{"R1": {
		MemoryStorage: 1, DiskStorage: 2, Streams: 3, Consumer: 4, MaxAckPending: 5, MemoryMaxStreamBytes: 6, DiskMaxStreamBytes: 7, MaxBytesRequired: true,
	}, "R3": {DiskStorage: -1}}
	s.DefaultPermissions.Resp = &jwt.ResponsePermission{MaxMsgs: 3, Expires: time.Minute}
	s.Exports = jwt.Exports{
		{Name: "s", Subject: "s.*.>", Type: jwt.Stream, TokenReq: true, Advertise: true, Revocations: jwt.RevocationList{other: 7, "*": 5}, Info: jwt.Info{Description: "d", InfoURL: "https://x.example"}},
		{Subject: "r.*", Type: jwt.Service, ResponseType: jwt.ResponseTypeSingleton, ResponseThreshold: time.Second, AccountTokenPosition: 2, AllowTrace: true, Latency: &jwt.ServiceLatency{Sampling: 40, Results: "l"}},
		{Subject: "q", Type: jwt.Service, Latency: &jwt.ServiceLatency{Sampling: jwt.Headers, Results: "l"}},
		{Subject: "p", Type: jwt.Service, ResponseType: jwt.ResponseTypeStream},
	}
	token := sign(t, checked(t)(claims.BuildActivation(claims.Activation{Account: a.ID, Exporter: other, Subject: "y.>", Kind: jwt.Service})), newPair(t, claims.KindAccount), 9).Token
	s.Imports = jwt.Imports{
		{Name: "i", Subject: "x.*.*", Account: other, Type: jwt.Stream, LocalSubject: "in.$2.$1", AllowTrace: true},
		{Subject: "y.*", Account: other, Type: jwt.Service, LocalSubject: "out.*", Share: true, Token: token},
	}
	s.Mappings = jwt.Mapping{
		"m.*":   {{Subject: "n.$1", Weight: 30}, {Subject: "o.{{wildcard(1)}}", Weight: 70}, {Subject: "e.$1", Weight: 60, Cluster: "east"}, {Subject: "f.$1", Cluster: "west"}},
		"k.*.*": {{Subject: "k.{{partition(3,1,2)}}.{{SplitFromLeft(1,2)}}.{{split(2,-)}}"}},
	}
	s.Trace, s.ClusterTraffic = &jwt.MsgTrace{Destination: "trace", Sampling: 10}, jwt.ClusterTrafficOwner
	s.Authorization = jwt.ExternalAuthorization{AuthUsers: jwt.StringList{key.id}, AllowedAccounts: jwt.StringList{other}, XKey: curveKey(t)}
	a.Keys, a.NotBefore = append(a.Keys, claims.SigningKey{ID: signer.id}), 5
	if problems := claims.CheckAccount(a); len(problems) > 0 {
		t.Fatalf("%+v", problems)
	}
	w.serve(t, a)
	rebuilds(t, sign(t, checked(t)(claims.BuildAccount(a)), w.signing, 1_800_000_000).Token, w.signing)
	p := claims.NewPermissionLimits()
	p.Pub.Allow, p.Sub.Deny, p.Resp = jwt.StringList{"a.>"}, jwt.StringList{"b q"}, &jwt.ResponsePermission{MaxMsgs: 1, Expires: time.Second}
	p.Src, p.AllowedConnectionTypes, p.Locale = jwt.CIDRList{"127.0.0.0/8"}, jwt.StringList{jwt.ConnectionTypeStandard}, "Europe/Berlin"
	p.Times = []jwt.TimeRange{{Start: "00:00:00", End: "12:00:00"}, {Start: "11:00:00", End: "00:30:00"}}
	u := claims.User{ID: key.id, Name: "callout", Account: a.ID, Tags: []string{"x:y"}, Permissions: &p, NotBefore: 5}
	user := sign(t, checked(t)(claims.BuildUser(u)), signer, time.Now().Unix()).Token
	if _, err := w.dial(t, user, key); err != nil {
		t.Error(err)
	}
}

// TestServerRefusesOperators: of an operator a server looks at keys and version only, and refuses to start.
func TestServerRefusesOperators(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		edit          func(*claims.Operator)
		pointer, code string
	}{
		"nothing": {func(*claims.Operator) {}, "", ""},
		"a name":  {func(o *claims.Operator) { o.Name = "" }, "/name", "required"},
		"an identity of an account": {func(o *claims.Operator) {
			o.ID = newPair(t, claims.KindAccount).id
			o.Settings.StrictSigningKeyUsage = false
		}, "/public_key", "invalid_key"},
		"a signing key of an account": {func(o *claims.Operator) { o.SigningKeys[0] = newPair(t, claims.KindAccount).id }, "/signing_keys/0", "invalid_key"},
		"a version":                   {func(o *claims.Operator) { o.Settings.AssertServerVersion = "2.x" }, "/assert_server_version", "invalid_version"},
		"a service URL":               {func(o *claims.Operator) { o.Settings.OperatorServiceURLs = jwt.StringList{"nats://x/y"} }, "/service_urls/0", "invalid_url"},
		"an account server URL":       {func(o *claims.Operator) { o.Settings.AccountServerURL = "x" }, "/account_server_url", "invalid_url"},
		"a system account":            {func(o *claims.Operator) { o.Settings.SystemAccount = "ada" }, "/system_account", "invalid_key"},
		"an end before 1970":          {func(o *claims.Operator) { o.Expires = -1 }, "/expires_at", "out_of_range"},
		"a start before 1970":         {func(o *claims.Operator) { o.NotBefore = -1 }, "/not_before", "out_of_range"},
	}
	agreed := 0
	for name, c := range cases {
		ok := t.Run(name, func(t *testing.T) {
			signing, system := newPair(t, claims.KindOperator), newPair(t, claims.KindAccount)
			o := claims.Operator{ID: newPair(t, claims.KindOperator).id, Name: "o", SigningKeys: []string{signing.id}}
			o.Settings.StrictSigningKeyUsage, o.Settings.SystemAccount = true, system.id
			c.edit(&o)
			want := wantVerdict(t, claims.CheckOperator(o), verdict{pointer: c.pointer, code: c.code, blocking: c.code != ""})
			oc := &jwt.OperatorClaims{ClaimsData: jwt.ClaimsData{Subject: o.ID, Issuer: o.ID, Name: o.Name, Expires: o.Expires, NotBefore: o.NotBefore}, Operator: o.Settings}
			oc.SigningKeys = o.SigningKeys
			var resolver server.MemAccResolver
			if err := resolver.Store(system.id, sign(t, checked(t)(claims.BuildAccount(claims.Account{ID: system.id, Name: "SYS", System: true, Settings: claims.NewAccountSettings()})), signing, 5).Token); err != nil {
				t.Fatal(err)
			}
			s, err := server.NewServer(&server.Options{
				Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, TrustedOperators: []*jwt.OperatorClaims{oc}, SystemAccount: o.Settings.SystemAccount, AccountResolver: &resolver,
			})
			if err == nil {
				s.Shutdown()
				s.WaitForShutdown()
			}
			// Whoever trusts another signing key refuses the system account for that, not for the operator.
			if (err != nil) != want {
				t.Errorf("the server: %v; we say %v", err, want)
			}
		})
		if ok {
			agreed++
		}
	}
	fmt.Printf("operator problems as a server judges them: %d of %d\n", agreed, len(cases))
}
