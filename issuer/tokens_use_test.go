package issuer_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"math/rand/v2"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"chancery/claims"
	"chancery/issuer"
	"chancery/store"
)

func from(address string) issuer.Origin {
	return issuer.Origin{Address: netip.MustParseAddr(address), RequestID: "req_from"}
}

// A token that is bound to networks is of nobody elsewhere, and that is on record.
func TestTokenNetworks(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		k := did(h.CreateToken(t.Context(), op(), issuer.TokenInput{
			Name: "bound", Grants: issuer.Everything(issuer.RoleAuditor), TTL: time.Hour,
			Networks: []string{"10.1.2.3/8", "192.0.2.7", "2001:db8:1::5/48", "::ffff:198.51.100.0/120", "10.0.0.0/8"},
		})).well(t)
		var got []string
		for _, n := range k.Networks {
			got = append(got, n.String())
		}
		if s := strings.Join(got, " "); s != "10.0.0.0/8 192.0.2.7/32 198.51.100.0/24 2001:db8:1::/48" {
			t.Errorf("the networks are %s", s)
		}
		for _, good := range []string{"10.255.0.1", "192.0.2.7", "2001:db8:1:ffff::1", "::ffff:10.0.0.1", "198.51.100.9"} {
			if c, err := h.Authenticate(t.Context(), k.Text, from(good)); err != nil || c.ID != k.ID {
				t.Errorf("from %s: %v", good, err)
			}
		}
		nobody := wants(t, second(h.Authenticate(t.Context(), claims.NewSecret(k.Text.Reveal()[:56]+"!"), from("10.0.0.1"))), issuer.KindUnauthenticated)
		entries := len(h.audited(t))
		for _, bad := range []string{"11.0.0.1", "192.0.2.8", "2001:db8:2::1", "::1", "::ffff:11.0.0.1"} {
			if e := wants(t, second(h.Authenticate(t.Context(), k.Text, from(bad))), issuer.KindUnauthenticated); e.Code != nobody.Code || e.Message != nobody.Message || e.Hint != nobody.Hint {
				t.Errorf("from %s: %+v", bad, e)
			}
		}
		wants(t, second(h.Authenticate(t.Context(), k.Text, issuer.Origin{})), issuer.KindUnauthenticated)
		news := h.audited(t)[entries:]
		if len(news) != 1 || news[0].Actor != k.ID || news[0].Outcome != "denied" || news[0].Action != "authenticate" || news[0].RequestID != "req_from" || !strings.Contains(news[0].Detail, "11.0.0.1") {
			t.Errorf("within a minute, on record is %+v", news)
		}
		h.advance(time.Minute)
		wants(t, second(h.Authenticate(t.Context(), k.Text, from("11.0.0.1"))), issuer.KindUnauthenticated)
		if news := h.audited(t)[entries:]; len(news) != 2 {
			t.Errorf("a minute later, on record is %+v", news)
		}
		for _, bad := range []string{"", "10.0.0.0/33", "fe80::1%eth0", "fe80::%eth0/64", "::ffff:10.0.0.0/64", "everywhere", "10.0.0.0/8 "} {
			in := issuer.TokenInput{Name: "x", Grants: issuer.Everything(issuer.RoleAuditor), TTL: time.Hour, Networks: []string{"10.0.0.0/8", bad}}
			if e := wants(t, second(h.CreateToken(t.Context(), op(), in)), issuer.KindInvalid); len(e.Problems) != 1 || e.Problems[0].Pointer != "/networks/1" {
				t.Errorf("%q: %+v", bad, e.Problems)
			}
		}
		many := issuer.TokenInput{Name: "x", Grants: issuer.Everything(issuer.RoleAuditor), TTL: 367 * 24 * time.Hour, Networks: make([]string, 33)}
		if e := wants(t, second(h.CreateToken(t.Context(), op(), many)), issuer.KindInvalid); len(e.Problems) != 2 {
			t.Errorf("%+v", e.Problems)
		}
	})
}

// The last use is written down once a minute, and a database that does not take it disturbs nobody.
func TestTokenLastUse(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		text := h.token(t, "ci", issuer.RoleAuditor, time.Hour)
		id := h.tokenCalled(t, "ci")
		used := func(want string) {
			t.Helper()
			if err := h.Upkeep(t.Context()); err != nil {
				t.Fatal(err)
			}
			k, err := h.GetToken(t.Context(), auditor, id)
			got := k.LastUsedFrom
			if !k.LastUsed.IsZero() {
				got += " " + k.LastUsed.Format("15:04:05")
			}
			if err != nil || got != want || k.Hash != nil {
				t.Errorf("last used %q, want %q: %v", got, want, err)
			}
		}
		use := func(address string) {
			t.Helper()
			if _, err := h.Authenticate(t.Context(), text, from(address)); err != nil {
				t.Fatal(err)
			}
		}
		used("")
		use("10.0.0.1")
		h.advance(time.Second)
		use("10.0.0.2")
		used("10.0.0.1 10:00:00")
		h.advance(58 * time.Second)
		use("10.0.0.3")
		used("10.0.0.1 10:00:00")
		h.advance(time.Second)
		use("::ffff:10.0.0.4")
		used("10.0.0.4 10:01:00")
		h.advance(time.Minute)
		h.unchanged(t, func() { // a request writes nothing
			use("10.0.0.5")
		})
		broken := &faults{}
		broken.set(1, false)
		h.faults.Store(broken)
		if err := h.Upkeep(t.Context()); err == nil {
			t.Error("the fault did not happen")
		}
		use("10.0.0.6")
		h.faults.Store(nil)
		used("10.0.0.6 10:02:00")
		h.in(t, func(ctx context.Context, tx *store.Tx) error {
			k, err := tx.GetToken(ctx, id)
			if !k.Revoked.IsZero() || k.RevokedBy != "" {
				t.Errorf("%+v", k)
			}
			return err
		})
		did(h.RevokeToken(t.Context(), op(), id)).well(t)
		h.refused(t, "revoked", text)
		if e := wants(t, second(h.RevokeToken(t.Context(), op(), id)), issuer.KindConflict); e.Code != "already_revoked" {
			t.Errorf("%+v", e)
		}
		k, err := h.GetToken(t.Context(), auditor, id)
		if err != nil || k.State(h.time()) != "revoked" || k.RevokedBy != owner.ID {
			t.Errorf("%+v, %v", k, err)
		}
	})
}

// What a scanner finds by the rule and its checksum are all tokens, and nothing else: in 10 MB of base64, and in the
// code of this program.
func TestScannersKnowTokens(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite")
	rule := regexp.MustCompile(issuer.TokenPattern)
	noise := make([]byte, noiseBytes)
	seed := rand.NewChaCha8([32]byte{1})
	_, _ = seed.Read(noise) // it never fails
	var text bytes.Buffer
	for n, line := 0, base64.StdEncoding.EncodeToString(noise); n < len(line); n += 76 {
		text.WriteString(line[n:min(n+76, len(line))] + "\n")
	}
	if text.Len() < noiseBytes/3*4 {
		t.Fatalf("%d bytes of base64", text.Len())
	}
	false1 := 0
	for _, m := range rule.FindAll(text.Bytes(), -1) {
		if issuer.IsToken(string(m)) {
			false1++
		}
	}
	// Where the prefix is all over the place, the checksum decides.
	decoys := 0
	for n := range 10_000 {
		if issuer.IsToken("chy_pat_" + strings.NewReplacer("+", "0", "/", "1").Replace(base64.StdEncoding.EncodeToString(noise[n*37 : n*37+37])[:49])) {
			decoys++
		}
	}
	var leak strings.Builder
	const tokens = 100
	made := map[string]bool{}
	for n := range tokens {
		k := h.token(t, "ci", issuer.RoleAuditor, time.Hour).Reveal()
		made[k] = true
		leak.WriteString([]string{"export TOKEN=", `{"token":"`, "curl -H 'Authorization: Bearer ", "https://x/?t="}[n%4] + k + []string{"\n", `"}`, "'\n", "&x=1\n"}[n%4])
	}
	found := 0
	for _, m := range rule.FindAllString(leak.String(), -1) {
		if made[m] && issuer.IsToken(m) {
			found++
		}
	}
	t.Logf("%d of %d tokens found, %d false in %d bytes of base64, %d of 10,000 decoys with the prefix", found, tokens, false1, text.Len(), decoys)
	if found != tokens || false1 != 0 || decoys != 0 {
		t.Fail()
	}
	if code, err := os.ReadFile("tokens_text.go"); err != nil || rule.Match(code) {
		t.Errorf("the rule finds itself: %v", err)
	}
}
