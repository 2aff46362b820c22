package issuer_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
)

// hostileNames is the corpus of names that must not get into subjects, thinned.
func hostileNames(t testing.TB) []string {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "cmd", "chancery", "testdata", "hostile.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var out []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, err := strconv.Unquote(s.Text()); err == nil {
			out = append(out, name)
		}
	}
	if len(out) < 200 {
		t.Fatalf("the corpus has %d names", len(out))
	}
	var thin []string
	for n := 0; n < len(out); n += thinned {
		thin = append(thin, out[n])
	}
	return thin
}

// T10: users, accounts, roles and tags with names of the corpus are taken in without harm; what is issued to such a
// user never widens its template.
func TestHostileNamesThroughImport(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		names := hostileNames(t)
		m := makeStore(t, "hostile", h.time())
		_, key := m.pair(t, nkeys.PrefixByteAccount)
		a := m.account(t, "TENANT", func(c *jwt.AccountClaims) {
			scope := jwt.NewUserScope()
			scope.Key, scope.Role = key, "device"
			scope.Template.Pub.Allow = jwt.StringList{"app.{{name()}}", "{{tag(team)}}.>"}
			c.SigningKeys.AddScopedSigner(scope)
		})
		id := a.Claims().Subject
		for n, name := range names {
			kp, public := m.pair(t, nkeys.PrefixByteUser)
			c := jwt.NewUserClaims(public)
			c.Name, c.IssuerAccount, c.Tags = name, id, jwt.TagList{"team:" + name}
			c.SetScoped(true)
			seed, err := kp.Seed()
			if err != nil {
				t.Fatal(err)
			}
			token, err := claims.Read(signedAt(t, c, m.pairs[key], m.at))
			if err != nil {
				continue // no such JWT can be made
			}
			m.addUser(0, fmt.Sprintf("u-%d", n), token, claims.FormatCreds(token.Text, claims.NewSecret(string(seed))))
		}
		for _, name := range names {
			_, key := m.pair(t, nkeys.PrefixByteAccount)
			m.account(t, name, func(c *jwt.AccountClaims) {
				scope := jwt.NewUserScope()
				scope.Key, scope.Role = key, name
				c.SigningKeys.AddScopedSigner(scope)
			})
		}
		j := h.takeIn(t, m.archive(t, nil), issuer.ImportAdopt)
		if j.State != issuer.ImportDone || reported(t, j, "TENANT").Users < 150/thinned {
			t.Fatalf("%s: %s, %d users", j.State, j.Error, reported(t, j, "TENANT").Users)
		}
		h.holds(t, "imported")
		safe, total := 0, 0
		users, err := h.ListUsers(t.Context(), owner, id, issuer.Page{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range users {
			total++
			if claims.CheckName("", u.Name).Blocking() {
				t.Errorf("a user is called %q", u.Name)
			}
			out, err := h.Issue(t.Context(), op(), id, u.ID, issuer.IssueInput{TTL: time.Hour})
			if err != nil {
				safe++ // refused
				continue
			}
			c := decode[*jwt.UserClaims](t, out.Value.JWT.Reveal())
			if claims.IsToken(c.Name) && !strings.ContainsAny(strings.Join(c.Tags, ""), ".*> {}") {
				safe++
				continue
			}
			t.Errorf("issued to %q with tags %q", c.Name, c.Tags)
		}
		accounts, err := h.ListAccounts(t.Context(), owner, "hostile", issuer.Page{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range accounts {
			before := decode[*jwt.AccountClaims](t, x.JWT)
			if claims.CheckName("", x.Name).Blocking() {
				t.Errorf("an account is called %q", x.Name)
			}
			if _, err := h.UpdateAccount(t.Context(), op(), x.ID, func(s *issuer.AccountEdit) { s.Description = "edited" }); err != nil {
				t.Errorf("%q cannot be edited: %v", x.Name, err)
				continue
			}
			after := decode[*jwt.AccountClaims](t, h.account(t, x.ID).JWT)
			before.Description = "edited"
			sameBut(t, before, after)
		}
		t.Logf("hostile names through import: %d of %d users refused or harmless; %d accounts keep their JWT's meaning", safe, total, len(accounts))
	})
}

// sameBut wants two JWTs to say the same, but for who signed them and when.
func sameBut(t testing.TB, want, got *jwt.AccountClaims) {
	t.Helper()
	for _, c := range []*jwt.AccountClaims{want, got} {
		c.Issuer, c.IssuedAt, c.ID = "", 0, ""
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s means something else (-want +got):\n%s", got.Subject, diff)
	}
}

// Q8: signed anew with nothing but one edit, every account of both stores says what it said.
func TestFirstEditKeepsClaims(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		n := 0
		for name, operator := range map[string]string{acmeStore: "acme", vaultStore: "vault"} {
			h.takeIn(t, archiveOf(t, name), issuer.ImportAdopt)
			_, accounts := h.servedBy(t, operator)
			for id, text := range accounts {
				did(h.UpdateAccount(t.Context(), op(), id, func(s *issuer.AccountEdit) { s.InfoURL = "https://example.com" })).well(t)
				want := decode[*jwt.AccountClaims](t, text)
				want.InfoURL = "https://example.com"
				got := decode[*jwt.AccountClaims](t, h.account(t, id).JWT)
				if got.IssuedAt <= want.IssuedAt {
					t.Errorf("%s: iat %d after %d", id, got.IssuedAt, want.IssuedAt)
				}
				sameBut(t, want, got)
				n++
			}
		}
		t.Logf("Q8: %d of %d accounts say the same after their first edit", n, n)
	})
}

// What is wrong with an archive is said, and left out where it must be; the rest is taken in.
func TestHostileStore(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		m := makeStore(t, "odd", h.time())
		good := m.account(t, "GOOD", nil).Claims().Subject
		m.account(t, "GOOD", nil) // the same name
		self := m.account(t, "SELF", nil)
		self.Token = must(claims.Read(signedAt(t, self.Claims(), m.pairs[self.Claims().Subject], m.at)))(t)
		twice := m.account(t, "TWICE", nil)
		twice.Token = m.Accounts[0].Token
		stranger, _ := nkeys.CreatePair(nkeys.PrefixByteOperator)
		foreign := m.account(t, "FOREIGN", nil)
		foreign.Token = must(claims.Read(signedAt(t, foreign.Claims(), stranger, m.at)))(t)
		m.account(t, "OLD", func(c *jwt.AccountClaims) { c.Expires = m.at + 10 })
		late := m.account(t, "LATE", nil)
		late.Token = must(claims.Read(signedAt(t, late.Claims(), m.operator, h.unix()+1_000_000)))(t)
		thief := m.account(t, "THIEF", func(c *jwt.AccountClaims) { c.SigningKeys.Add(good) })
		_ = thief
		a := &m.Accounts[0]
		m.user(t, a, "fine", nil)
		wrong, _ := nkeys.CreateAccount()
		kp, public := m.pair(t, nkeys.PrefixByteUser)
		c := jwt.NewUserClaims(public)
		c.Name, c.IssuerAccount = "unsigned", good
		seed, err := kp.Seed()
		if err != nil {
			t.Fatal(err)
		}
		token := must(claims.Read(signedAt(t, c, wrong, m.at)))(t)
		m.addUser(0, "unsigned", token, claims.FormatCreds(token.Text, claims.NewSecret(string(seed))))

		j := h.takeIn(t, m.archive(t, nil), issuer.ImportAdopt)
		if j.State != issuer.ImportDone {
			t.Fatalf("%s: %s", j.State, j.Error)
		}
		got := map[string]int{}
		for _, x := range j.Report.Operators[0].Accounts {
			for _, p := range x.Problems {
				got[p.Code]++
			}
		}
		want := map[string]int{"name_taken": 1, "self_signed": 1, "duplicate_key": 2, "not_trusted": 1, "in_the_future": 1, "expired": 1, "user_not_trusted": 1}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("problems (-want +got):\n%s", diff)
		}
		list, err := h.ListAccounts(t.Context(), owner, "odd", issuer.Page{Limit: 100})
		if err != nil || len(list) != 3 {
			t.Errorf("%d accounts, %v", len(list), err)
		}
		for name, state := range map[string]string{"fine": "active", "unsigned": "disabled"} {
			u, err := h.GetUser(t.Context(), owner, good, name)
			if err != nil || u.State != state {
				t.Errorf("%s is %s: %v", name, u.State, err)
			}
			l, err := h.ListCredentials(t.Context(), owner, good, name, issuer.LedgerPage{Limit: 5})
			if err != nil || len(l) != 1 || (l[0].Status == issuer.StatusActive) != (state == "active") {
				t.Errorf("%s: %+v, %v", name, l, err)
			}
		}
		h.holds(t, "imported")

		// The account under another operator here is left out there.
		other := makeStore(t, "other", h.time())
		stolen := other.account(t, "STOLEN", nil)
		stolen.Token = must(claims.Read(remade(t, m.Accounts[0].Token.Text, other.operator, func(p map[string]any) {
			p["iss"], _ = other.operator.PublicKey()
		})))(t)
		j = h.takeIn(t, other.archive(t, nil), issuer.ImportAdopt)
		if x := j.Report.Operators[0].Accounts[0]; x.State != issuer.ImportLeftOut || x.Problems[0].Code != "other_operator" {
			t.Errorf("%+v", x)
		}
		h.holds(t, "with another operator")
	})
}

// Revocations that came with a store are never compacted: nobody knows all that they refuse.
func TestImportedRevocationsStay(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		m := makeStore(t, "made", h.time())
		a := m.account(t, "ORDERS", nil)
		u := m.user(t, a, "leaver", func(c *jwt.UserClaims) { c.Expires = m.at + 100 })
		m.Accounts[0].Token = must(claims.Read(remade(t, a.Token.Text, m.operator, func(p map[string]any) {
			p["nats"].(map[string]any)["revocations"] = map[string]any{u.Claims().Subject: m.at}
		})))(t)
		h.takeIn(t, m.archive(t, nil), issuer.ImportAdopt)
		h.advance(1000 * time.Hour)
		out := did(h.Compact(t.Context(), op(), "ORDERS")).well(t)
		if out.Removed != 0 || len(h.refusals(t, "ORDERS")) != 1 {
			t.Errorf("%+v", out)
		}
		everybody := did(h.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: issuer.Everybody})).well(t)
		if everybody.ReissueNotBefore <= m.at {
			t.Errorf("%+v", everybody)
		}
		h.holds(t, "compacted")
	})
}
