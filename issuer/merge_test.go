package issuer_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
	"chancery/store"
)

// tenant holds a plain signing key of an account whose seed only it has, as somebody with nsc does.
type tenant struct {
	h       *house
	account string
	pair    nkeys.KeyPair
	key     string
}

// tenant gives the account a signing key that is not held here.
func (h *house) tenant(t testing.TB, w world) *tenant {
	t.Helper()
	x := h.outsider(t, w.account, newPair(t, nkeys.PrefixByteAccount))
	err := h.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		return tx.OweAccountResigning(ctx, w.account.ID)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Upkeep(t.Context()); err != nil {
		t.Fatal(err)
	}
	return x
}

// outsider is tenant with a key that the account's JWT does not list yet.
func (h *house) outsider(t testing.TB, a issuer.Account, pair nkeys.KeyPair) *tenant {
	t.Helper()
	x := &tenant{h: h, account: a.ID, pair: pair, key: public(t, pair)}
	err := h.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		return tx.CreateKey(ctx, store.Key{ID: x.key, Kind: "account", Role: "signing", OperatorID: a.OperatorID, AccountID: a.ID, State: "current", Custody: "public_only"})
	})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// nomad is the key of an outsider in the prepared house.
func nomad(t testing.TB) nkeys.KeyPair {
	t.Helper()
	pair, err := nkeys.FromRawSeed(nkeys.PrefixByteAccount, []byte("a key that only its holder has--"))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func pairOf(t testing.TB, prefix nkeys.PrefixByte) (nkeys.KeyPair, string) {
	t.Helper()
	kp := newPair(t, prefix)
	return kp, public(t, kp)
}

// copy is the account's JWT as a client with a copy of it reads it.
func (x *tenant) copy(t testing.TB) *jwt.AccountClaims {
	t.Helper()
	return decode[*jwt.AccountClaims](t, x.h.account(t, x.account).JWT)
}

// merge signs the copy now and sends it.
func (x *tenant) merge(t testing.TB, o issuer.Op, c *jwt.AccountClaims) result[issuer.Merged] {
	t.Helper()
	return x.send(t, o, signedAt(t, c, x.pair, x.h.unix()))
}

func (x *tenant) send(t testing.TB, o issuer.Op, token string) result[issuer.Merged] {
	t.Helper()
	return did(x.h.MergeAccount(t.Context(), o, issuer.MergeInput{Account: x.account, Token: token, Source: issuer.MergePosted}))
}

// What belongs to the holder is taken over, what belongs to the operator stays, and a dry run changes nothing.
func TestMerge(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		x := h.tenant(t, w)
		_, fresh := pairOf(t, nkeys.PrefixByteAccount)
		_, scoped := pairOf(t, nkeys.PrefixByteAccount)
		gone := newUserKey(t)
		h.advance(time.Second)
		c := x.copy(t)
		before := x.copy(t)
		c.Description, c.InfoURL = "Orders of the north", "https://example.com/orders"
		c.Tags.Add("team:north")
		c.Limits.Conn, c.Limits.DiskStorage, c.ClusterTraffic = 7, 1<<40, "owner"
		c.Expires = h.unix() + 3600
		c.DefaultPermissions.Pub.Allow = jwt.StringList{"orders.>"}
		c.Exports.Add(&jwt.Export{Name: "events", Subject: "orders.events.>", Type: jwt.Stream})
		c.Mappings = jwt.Mapping{"old": {{Subject: "new", Weight: 100}}}
		c.SigningKeys.Add(fresh)
		s := jwt.NewUserScope()
		s.Key, s.Role, s.Template.Pub.Allow = scoped, "sensor", jwt.StringList{"sensor.>"}
		c.SigningKeys.AddScopedSigner(s)
		c.RevokeAt(gone, h.time())
		h.unchanged(t, func() {
			if out := x.merge(t, dryRun(), c); out.err != nil || len(out.Plan.Summary) == 0 {
				t.Errorf("dry run: %v, %+v", out.err, out.Plan)
			}
		})
		out := x.merge(t, op(), c).well(t)
		if out.Result != issuer.MergeTaken || out.Revoked != 1 || out.SignedBy != issuer.SignedByKey || out.Signer != x.key {
			t.Errorf("%+v", out)
		}
		after := x.copy(t)
		if after.Limits.Conn != jwt.NoLimit || after.Limits.DiskStorage != before.Limits.DiskStorage || after.ClusterTraffic != "" || after.Expires != 0 {
			t.Errorf("what belongs to the operator changed: %+v", after.Limits)
		}
		if after.Description != c.Description || after.InfoURL != c.InfoURL || !after.Tags.Contains("team:north") ||
			len(after.Exports) != 1 || len(after.Mappings) != 1 || len(after.DefaultPermissions.Pub.Allow) != 1 {
			t.Errorf("not taken over: %+v", after.Account)
		}
		if diff := cmp.Diff(c.SigningKeys.Keys(), after.SigningKeys.Keys(), cmp.Transformer("sort", asSet)); diff != "" {
			t.Error(diff)
		}
		if got, _ := after.SigningKeys.GetScope(scoped); got == nil || got.(*jwt.UserScope).Role != "sensor" {
			t.Errorf("the scoped key: %+v", got)
		}
		if _, is := after.Revocations[gone]; !is || after.IssuedAt < h.unix() || after.IssuedAt <= before.IssuedAt || after.Issuer == x.key {
			t.Errorf("%+v", after)
		}
		// Sent again it says nothing new.
		if again := x.send(t, op(), signedAt(t, after, x.pair, after.IssuedAt)).well(t); again.Result != issuer.MergeUnchanged || again.Account.JWTVersion != out.Account.JWTVersion {
			t.Errorf("%+v", again)
		}
		// A key that left with a copy comes back with another one; the key that is held here stays.
		h.advance(time.Second)
		c = x.copy(t)
		delete(c.SigningKeys, fresh)
		for id := range before.SigningKeys {
			if id != x.key {
				delete(c.SigningKeys, id)
			}
		}
		if out := x.merge(t, op(), c).well(t); len(out.Notes) < 2 || x.copy(t).SigningKeys.Contains(fresh) || len(x.copy(t).SigningKeys) != len(before.SigningKeys)+1 {
			t.Errorf("%+v, %v", out.Notes, x.copy(t).SigningKeys)
		}
		h.advance(time.Second)
		c.SigningKeys.Add(fresh)
		x.merge(t, op(), c).well(t)
		if !x.copy(t).SigningKeys.Contains(fresh) {
			t.Error("the key did not come back")
		}
	})
}

func asSet(in []string) map[string]bool {
	out := map[string]bool{}
	for _, s := range in {
		out[s] = true
	}
	return out
}

// A copy from before a change does not lose a revocation, nor bring a lifted one back; a JWT that was signed here rolls
// nothing back.
func TestMergeStale(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		x := h.tenant(t, w)
		stale, staleToken := x.copy(t), h.account(t, w.account.ID).JWT
		h.advance(time.Second)
		did(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: "d1"})).well(t)
		lifting, liftingToken := x.copy(t), h.account(t, w.account.ID).JWT
		did(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: "ada@example.com"})).well(t)
		both := x.copy(t).Revocations

		h.advance(time.Minute)
		stale.Description = "from a stale copy"
		if out := x.merge(t, op(), stale).well(t); out.Kept != 2 || len(out.Notes) != 1 {
			t.Errorf("%+v", out)
		}
		if diff := cmp.Diff(both, x.copy(t).Revocations); diff != "" || x.copy(t).Description == "" {
			t.Error(diff)
		}
		version := h.account(t, w.account.ID).JWTVersion
		for _, token := range []string{staleToken, liftingToken, h.account(t, w.account.ID).JWT} {
			if out := x.send(t, op(), token).well(t); out.Result != issuer.MergeReplay || out.SignedBy != issuer.SignedByOperator || out.Account.JWTVersion != version {
				t.Errorf("%+v", out)
			}
		}
		did(h.Unrevoke(t.Context(), because(), w.account.ID, "d1")).well(t)
		h.advance(time.Minute)
		lifting.Description = "from before the lifting"
		if out := x.merge(t, op(), lifting).well(t); len(out.Notes) == 0 {
			t.Errorf("%+v", out)
		}
		x.send(t, op(), liftingToken).well(t)
		if got := x.copy(t).Revocations; len(got) != 1 {
			t.Errorf("revoked: %v", got)
		}
		// Revoked again by its holder, it is.
		h.advance(time.Minute)
		again := x.copy(t)
		again.Revocations[w.device.Issued.PublicKey] = h.unix()
		x.merge(t, op(), again).well(t)
		if got := x.copy(t).Revocations; len(got) != 2 {
			t.Errorf("revoked: %v", got)
		}
	})
}

// What is refused is refused by name, and changes nothing.
func TestMergeRefused(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		x := h.tenant(t, w)
		stranger, strangerKey := pairOf(t, nkeys.PrefixByteAccount)
		foreign, _ := pairOf(t, nkeys.PrefixByteOperator)
		h.advance(time.Minute)
		at := h.unix()
		edit := func(f func(*jwt.AccountClaims)) *jwt.AccountClaims {
			c := x.copy(t)
			c.Description = "changed"
			f(c)
			return c
		}
		cases := map[string]struct {
			token string
			code  string
		}{
			"a key that it brings itself": {signedAt(t, edit(func(c *jwt.AccountClaims) { c.SigningKeys.Add(strangerKey) }), stranger, at), "untrusted_issuer"},
			"another operator":            {signedAt(t, edit(func(*jwt.AccountClaims) {}), foreign, at), "untrusted_issuer"},
			"another name":                {signedAt(t, edit(func(c *jwt.AccountClaims) { c.Name = "OTHER" }), x.pair, at), "other_name"},
			"another account":             {signedAt(t, edit(func(c *jwt.AccountClaims) { c.Subject = strangerKey }), x.pair, at), "invalid"},
			"nsc delete account":          {signedAt(t, edit(func(c *jwt.AccountClaims) { c.Expires = at + 60 }), x.pair, at), "deletes_account"},
			"expired":                     {signedAt(t, edit(func(c *jwt.AccountClaims) { c.Expires = at - 1 }), x.pair, at), "invalid"},
			"from the future":             {signedAt(t, edit(func(*jwt.AccountClaims) {}), x.pair, at+3600), "invalid"},
			"revoked in the future":       {signedAt(t, edit(func(c *jwt.AccountClaims) { c.RevokeAt(newUserKey(t), time.Unix(at+3600, 0)) }), x.pair, at), "invalid"},
			"a key of another account":    {signedAt(t, edit(func(c *jwt.AccountClaims) { c.SigningKeys.Add(w.operator.Settings.SystemAccount) }), x.pair, at), "invalid"},
			"an unknown field": {remade(t, signedAt(t, edit(func(*jwt.AccountClaims) {}), x.pair, at), x.pair, func(p map[string]any) {
				p["nats"].(map[string]any)["limits"].(map[string]any)["quantum"] = 1
			}), "invalid"},
			"nonsense": {"eyJ.x.y", "invalid"},
		}
		for name, c := range cases {
			h.unchanged(t, func() {
				if err := x.send(t, op(), c.token).err; err == nil || issuer.AsError(err).Code != c.code {
					t.Errorf("%s: %v, want %s", name, err, c.code)
				}
			}, "audit")
		}
		if err := x.send(t, op(), cases["an unknown field"].token).err; !strings.Contains(issuer.AsError(err).Problems[0].Pointer, "quantum") {
			t.Errorf("%+v", issuer.AsError(err).Problems)
		}
		g := claims.Guardrails{Subjects: []string{"orders."}}
		now := h.account(t, w.account.ID)
		o := op()
		o.ExpectedVersion = now.Version
		did(h.SetAccountGuardrails(t.Context(), o, w.account.ID, g)).well(t)
		c := edit(func(c *jwt.AccountClaims) { c.Exports.Add(&jwt.Export{Subject: "payments.>", Type: jwt.Stream}) })
		if err := x.merge(t, op(), c).err; err == nil || issuer.AsError(err).Problems[0].Code != claims.OutsideGuardrails {
			t.Errorf("outside the guardrails: %v", err)
		}
	})
}
