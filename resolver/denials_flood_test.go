package resolver_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

// forged is a JWT of a user that nobody ever made, in the name of an account. Nobody but a server would look at its
// signature.
func forged(t *testing.T, n int, a *account, issuer string) string {
	t.Helper()
	raw := make([]byte, 32)
	binary.BigEndian.PutUint64(raw, uint64(n)) //nolint:gosec // it counts
	user, err := nkeys.Encode(nkeys.PrefixByteUser, raw)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(map[string]any{
		"iss": issuer, "sub": string(user), "name": fmt.Sprint("root ", n), "iat": time.Now().Unix(),
		"nats": map[string]any{"issuer_account": a.id, "type": "user", "version": 2},
	})
	if err != nil {
		t.Fatal(err)
	}
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"typ":"JWT","alg":"ed25519-nkey"}`)) + "." + part(payload) + "." + part(make([]byte, 64))
}

// TestForgedDenials lets 10,000 JWTs be refused that nobody of the account signed, from few hosts and from many: the
// account's own denials stay in sight, first, explained, and in the log of events; what is forged is bounded and marked.
func TestForgedDenials(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	a := w.account("victim")
	key, keyID := newPair(t, claims.KindAccount)
	w.edit(a, func(c *claims.Account) { c.Keys = append(c.Keys, claims.SigningKey{ID: keyID}) })
	r, err := resolver.New(w.config())
	if err != nil {
		t.Fatal(err)
	}
	operator, err := w.claims.Encode(w.pair)
	if err != nil {
		t.Fatal(err)
	}
	r.SetOperators(store.Operator{ID: w.operator, Name: "acme", JWT: operator, JWTVersion: 1, Default: true})
	r.Put(store.Served{AccountID: a.id, OperatorID: w.operator, Version: a.version, Token: w.token(a)})
	ours := func(name string, by nkeys.KeyPair) string {
		return w.custom(&account{pair: by}, func(c *jwt.UserClaims) {
			c.Name, c.Src = name, jwt.CIDRList{"10.0.0.0/8"}
			if by != a.pair {
				c.IssuerAccount = a.id
			}
		}).token
	}
	sight := only(a)
	seen := func() claims.DenialPage {
		return r.Denials(claims.DenialQuery{Sight: sight, Limit: 10_000})
	}

	refuse := resolver.Refusals(r, w.operator)
	refuse("192.0.2.1", ours("by the identity key", a.pair))
	refuse("192.0.2.1", ours("by a signing key", key))
	before := seen()
	if len(before.Denials) != 2 || before.Unproven != 0 || before.Denials[0].Class != "source_network" {
		t.Fatalf("before the flood: %+v", before)
	}
	_, stranger := newPair(t, claims.KindAccount)
	const forgeries = 10_000
	for n := range forgeries {
		issuer, host := a.id, fmt.Sprintf("198.51.100.%d", n%7)
		switch n % 4 {
		case 1:
			issuer = keyID
		case 2:
			issuer, host = stranger, fmt.Sprintf("203.0.%d.%d", n>>8&0xff, n&0xff)
		case 3: // one machine, ever another address
			issuer, host = stranger, fmt.Sprintf("2001:db8::%x", n)
		}
		refuse(host, forged(t, n, a, issuer))
	}
	refuse("192.0.2.2", ours("after all that", a.pair))

	after := seen()
	first := 0
	for _, d := range after.Denials {
		if !d.Proven {
			break
		}
		first++
		if d.Class != "source_network" || d.Claimed() {
			t.Errorf("explained as %q: %+v", d.Class, d.Explanation)
		}
		if _, kept := r.FindEvent(d.LastEvent, sight); !kept {
			t.Errorf("the event of %s is gone", d.UserName)
		}
	}
	if first != 3 {
		t.Errorf("%d denials of the account come first, want 3", first)
	}
	hosts := map[string]int{}
	for _, d := range after.Denials[first:] {
		if d.Proven || !d.Claimed() || d.AccountID != a.id {
			t.Errorf("among the claims: %+v", d)
		}
		network, _, _ := strings.Cut(d.Host, "::")
		hosts[network]++
	}
	most := 0
	for host, n := range hosts {
		if most = max(most, n); n > 32 {
			t.Errorf("%d groups of %s", n, host)
		}
	}
	all := r.Denials(claims.DenialQuery{Sight: everything, Limit: 10_000})
	if all.Unproven > forgeries || len(all.Denials) > 3+512 {
		t.Errorf("kept are %d groups of %d attempts without proof", len(all.Denials), all.Unproven)
	}
	crowds := 0
	for _, d := range all.Denials {
		if d.Class == claims.DenialCrowd {
			crowds++
		}
	}
	if crowds != 8 { // seven addresses and one network
		t.Errorf("%d of 8 hosts are a crowd", crowds)
	}
	for _, d := range seen().Denials {
		if d.Class == claims.DenialCrowd {
			t.Error("the tenant sees a crowd, which is nobody's")
		}
	}
	told := 0
	for _, e := range allEvents(r, claims.EventDenial) {
		if strings.HasPrefix(e.Text, "Claimed, not proven") {
			told++
		}
	}
	if told == 0 || told > 2*300 {
		t.Errorf("%d events of what nobody proved", told)
	}
	t.Logf("%d forged: %d of 3 true ones first, %d groups without proof, %d of one host at most, %d events", forgeries, first, len(all.Denials)-first, most, told)
}
