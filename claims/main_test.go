package claims_test

import (
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
	"go.uber.org/goleak"

	"chancery/claims"
	"chancery/store/storetest"
)

// The jetstream package of nats.go 1.55.0 waits for ever on a channel that its clean-up sets to nil, when the
// clean-up after a refused upload comes before the goroutine has read it.
func TestMain(m *testing.M) {
	storetest.Main(m, goleak.IgnoreTopFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect"))
}

// pair is a key pair and its public key.
type pair struct {
	nkeys.KeyPair
	id string
}

func newPair(t testing.TB, kind claims.Kind) pair {
	t.Helper()
	kp, err := nkeys.CreatePair(kind.Prefix())
	if err != nil {
		t.Fatal(err)
	}
	id, err := kp.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return pair{kp, id}
}

func (p pair) seed(t testing.TB) claims.Secret {
	t.Helper()
	s, err := p.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return claims.NewSecret(string(s))
}

// sign is the whole way of checked claims to a token.
func sign(t testing.TB, checked claims.Checked, by pair, issuedAt int64) claims.Signed {
	t.Helper()
	unsigned, err := claims.Encode(checked, claims.Stamp{Issuer: by.id, IssuedAt: issuedAt})
	if err != nil {
		t.Fatal(err)
	}
	signature, err := by.Sign(unsigned.SigningInput())
	if err != nil {
		t.Fatal(err)
	}
	signed, err := unsigned.Sign(signature)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// checked fails the test when building found anything that blocks.
func checked(t testing.TB) func(claims.Checked, claims.Problems) claims.Checked {
	return func(c claims.Checked, p claims.Problems) claims.Checked {
		t.Helper()
		if p.Blocking() {
			t.Fatalf("refused: %+v", p)
		}
		return c
	}
}

// anAccount is an account that uses much of what an account can have.
func anAccount(t testing.TB) claims.Account {
	t.Helper()
	settings := claims.NewAccountSettings()
	settings.Description = "orders & <invoices>"
	settings.InfoURL = "https://example.com/orders"
	settings.Tags = jwt.TagList{"env:prod", "team"}
	settings.Limits.Conn = 100
	settings.Limits.JetStreamTieredLimits = jwt.JetStreamTieredLimits{"R3": {DiskStorage: 1 << 30, Streams: 10}}
	settings.DefaultPermissions.Pub.Deny = jwt.StringList{"$SYS.>"}
	settings.DefaultPermissions.Sub.Allow = jwt.StringList{"orders.>", "jobs workers"}
	settings.Trace = &jwt.MsgTrace{Destination: "trace.here"}
	settings.Exports = jwt.Exports{
		{Name: "z", Subject: "z.>", Type: jwt.Stream},
		{Name: "a", Subject: "a.*", Type: jwt.Service, AccountTokenPosition: 2},
	}
	settings.Imports = jwt.Imports{
		{Name: "z", Subject: "y.>", Account: newPair(t, claims.KindAccount).id, Type: jwt.Stream, LocalSubject: "in.y.>"},
		{Name: "a", Subject: "b.c", Account: newPair(t, claims.KindAccount).id, Type: jwt.Service},
	}
	settings.Mappings = jwt.Mapping{"m.a": {{Subject: "m.b", Weight: 50}, {Subject: "m.c", Weight: 50}}}
	template := aTemplate()
	return claims.Account{
		ID: newPair(t, claims.KindAccount).id, Name: "orders", Settings: settings,
		Keys: []claims.SigningKey{
			{ID: newPair(t, claims.KindAccount).id},
			{ID: newPair(t, claims.KindAccount).id, Template: &template},
		},
		Revocations: map[string]int64{newPair(t, claims.KindUser).id: 1_700_000_000, "*": 1_600_000_000},
		Expires:     4_000_000_000,
	}
}

func aTemplate() claims.Template {
	p := claims.NewPermissionLimits()
	p.Pub.Allow = jwt.StringList{"devices.{{tag(region)}}.{{name()}}.>"}
	p.Sub.Allow = jwt.StringList{"cmd.{{name()}}", "_INBOX.>"}
	p.Src = jwt.CIDRList{"127.0.0.0/8", "::1/128"}
	p.Times = []jwt.TimeRange{{Start: "22:00:00", End: "06:00:00"}, {Start: "06:00:00", End: "22:00:00"}}
	p.Locale = "Europe/Berlin"
	p.AllowedConnectionTypes = jwt.StringList{jwt.ConnectionTypeStandard, jwt.ConnectionTypeMqtt}
	p.Resp = &jwt.ResponsePermission{MaxMsgs: 5}
	return claims.Template{Name: "device", Description: "a thing\nin the field", Permissions: p}
}

func aUser(t testing.TB) claims.User {
	t.Helper()
	p := claims.NewPermissionLimits()
	p.Pub.Allow = jwt.StringList{"a.b", "c.>"}
	p.Sub.Allow = jwt.StringList{"jobs.* workers"}
	p.Src = jwt.CIDRList{"10.0.0.0/8"}
	return claims.User{
		ID: newPair(t, claims.KindUser).id, Name: "ada@example.com", Account: newPair(t, claims.KindAccount).id,
		Tags: []string{"region:eu", "beta"}, Permissions: &p, Expires: 4_000_000_000,
	}
}

func anOperator(t testing.TB) claims.Operator {
	t.Helper()
	return claims.Operator{
		ID: newPair(t, claims.KindOperator).id, Name: "acme", SigningKeys: []string{newPair(t, claims.KindOperator).id},
		Settings: jwt.Operator{
			OperatorServiceURLs: jwt.StringList{"nats://127.0.0.1:4222", "tls://nats.example.com"}, SystemAccount: newPair(t, claims.KindAccount).id,
			AccountServerURL: "https://chancery.example.com/jwt/v1", AssertServerVersion: "2.10.0", StrictSigningKeyUsage: true,
			GenericFields: jwt.GenericFields{Tags: jwt.TagList{"prod"}},
		},
	}
}
