package issuer_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/claims/nsc"
	"chancery/issuer"
)

// reported returns what a report says of an account.
func reported(t testing.TB, j issuer.ImportJob, name string) issuer.ImportedAccount {
	t.Helper()
	for _, o := range j.Report.Operators {
		for _, a := range o.Accounts {
			if a.Name == name {
				return a
			}
		}
	}
	t.Fatalf("the report does not name %s", name)
	return issuer.ImportedAccount{}
}

// refusals returns the revocations in an account's JWT.
func (h *house) refusals(t testing.TB, account string) map[string]int64 {
	t.Helper()
	return decode[*jwt.AccountClaims](t, h.account(t, account).JWT).Revocations
}

// The same store again changes nothing; an older one takes no revocation away, and what was changed here since stays.
func TestImportAgain(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		archive := archiveOf(t, acmeStore)
		h.takeIn(t, archive, issuer.ImportAdopt)
		before := h.raw.Dump(t, "import_jobs", "audit", "sequencer", "outbox")
		j := h.takeIn(t, archive, issuer.ImportAdopt)
		if o := j.Report.Operators[0]; o.State != issuer.ImportUnchanged || o.Custody != issuer.CustodySealed {
			t.Errorf("%s, %s", o.State, o.Custody)
		}
		for _, a := range j.Report.Operators[0].Accounts {
			if a.State != issuer.ImportUnchanged || a.NewCredentials+a.AddedRevocations > 0 {
				t.Errorf("%s: %s, %d credentials, %d revocations", a.Name, a.State, a.NewCredentials, a.AddedRevocations)
			}
		}
		if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(h.raw.Dump(t, "import_jobs", "audit", "sequencer", "outbox"), "\n")); diff != "" {
			t.Errorf("importing again changed rows (-before +after):\n%s", diff)
		}

		was := h.refusals(t, "ORDERS")
		did(h.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: "d1"})).well(t)
		did(h.UpdateAccount(t.Context(), op(), "ORDERS", func(s *issuer.AccountEdit) { s.Description = "ours" })).well(t)
		now := h.account(t, "ORDERS")
		if now.Verbatim {
			t.Error("signed here, and still taken for foreign")
		}
		j = h.takeIn(t, archive, issuer.ImportAdopt)
		if a := reported(t, j, "ORDERS"); a.State != issuer.ImportNewerHere || len(a.Differences) == 0 {
			t.Errorf("%s, differences %v", a.State, a.Differences)
		}
		if after := h.account(t, "ORDERS"); after.JWT != now.JWT {
			t.Error("an older store changed the account")
		}
		if got := h.refusals(t, "ORDERS"); len(got) != len(was)+1 {
			t.Errorf("revocations %v, were %v", got, was)
		}
		h.holds(t, "after importing again")
	})
}

// What servers hold counts where it is newer; revocations of store, servers and rows are united, and an account whose
// JWT lacks one is signed anew.
func TestImportUnitesRevocations(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		m := makeStore(t, "made", h.time())
		keys := make([]string, 3)
		for n := range keys {
			keys[n] = newUserKey(t)
		}
		a := m.account(t, "ORDERS", func(c *jwt.AccountClaims) { c.RevokeAt(keys[0], time.Unix(m.at-10, 0)) })
		id := a.Claims().Subject
		newer := remade(t, a.Token.Text, m.operator, func(p map[string]any) {
			p["iat"], p["jti"] = m.at+5, "SERVER"
			p["nats"].(map[string]any)["revocations"] = map[string]any{keys[1]: m.at}
			p["nats"].(map[string]any)["description"] = "on the servers"
		})
		_, stranger := m.pair(t, nkeys.PrefixByteOperator)
		foreign := remade(t, a.Token.Text, m.pairs[stranger], func(p map[string]any) { p["iat"], p["iss"], p["sub"] = m.at+9, stranger, newAccountKey(t) })
		c := decode[*jwt.AccountClaims](t, foreign)
		j := h.takeIn(t, m.archive(t, map[string]string{"servers/" + id + ".jwt": newer, "servers/" + c.Subject + ".jwt": foreign}), issuer.ImportAdopt)
		if x := reported(t, j, "ORDERS"); x.From != issuer.FromServer || x.AddedRevocations != 1 || x.Revocations != 2 {
			t.Errorf("%+v", x)
		}
		if len(j.Report.Problems) != 1 || j.Report.Problems[0].Code != "not_trusted" {
			t.Errorf("problems %+v", j.Report.Problems)
		}
		if err := h.Upkeep(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := decode[*jwt.AccountClaims](t, h.account(t, id).JWT)
		want := jwt.RevocationList{keys[0]: m.at - 10, keys[1]: m.at}
		if diff := cmp.Diff(want, got.Revocations); diff != "" || got.Description != "on the servers" || got.IssuedAt <= m.at+5 {
			t.Errorf("%s %s iat %d (-want +got):\n%s", got.Name, got.Description, got.IssuedAt, diff)
		}
		h.holds(t, "signed anew")

		// A store that somebody revoked in since, but which is not otherwise newer.
		later := remade(t, a.Token.Text, m.operator, func(p map[string]any) {
			p["iat"], p["jti"] = m.at+6, "LATER"
			p["nats"].(map[string]any)["revocations"] = map[string]any{keys[2]: m.at + 1, keys[1]: m.at - 50}
		})
		m.Accounts[0].Token = must(claims.Read(later))(t)
		j = h.takeIn(t, m.archive(t, nil), issuer.ImportAdopt)
		if x := reported(t, j, "ORDERS"); x.State != issuer.ImportNewerHere || x.AddedRevocations != 1 {
			t.Errorf("%s, %d added", x.State, x.AddedRevocations)
		}
		if err := h.Upkeep(t.Context()); err != nil {
			t.Fatal(err)
		}
		want[keys[2]] = m.at + 1
		if diff := cmp.Diff(want, jwt.RevocationList(h.refusals(t, id))); diff != "" {
			t.Errorf("united again (-want +got):\n%s", diff)
		}
		h.holds(t, "united again")
	})
}

func must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// An observed operator is served and cannot be changed; a newer store brings it up to date; adopting takes it over in
// place.
func TestObserveThenAdopt(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		archive := archiveOf(t, acmeStore)
		h.takeIn(t, archive, issuer.ImportObserve)
		o, accounts := h.servedBy(t, "acme")
		if o.Custody != issuer.CustodyObserved || len(accounts) != 5 {
			t.Errorf("%s, %d accounts", o.Custody, len(accounts))
		}
		if config, err := h.ServerConfig(t.Context(), owner, "acme", "https://x"); err != nil || !strings.Contains(config.ResolverURL, "https://x/") {
			t.Errorf("what is served has no address: %v", err)
		}
		if n := h.raw.Dump(t); strings.Contains(n, "sealed:SO") {
			t.Error("a seed")
		}
		keys, err := h.OperatorKeys(t.Context(), owner, "acme")
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			if k.Custody != issuer.CustodyPublicOnly {
				t.Errorf("%s is %s", k.ID, k.Custody)
			}
		}
		for what, err := range map[string]error{
			"update": did(h.UpdateAccount(t.Context(), op(), "ORDERS", func(s *issuer.AccountEdit) { s.Description = "x" })).err,
			"revoke": did(h.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: "d1"})).err,
			"issue":  did(h.Issue(t.Context(), op(), "ORDERS", "svc", issuer.IssueInput{})).err,
			"key":    did(h.AddKey(t.Context(), op(), issuer.KeyOwner{Account: "ORDERS"}, issuer.KeyInput{})).err,
		} {
			if e := wants(t, err, issuer.KindConflict); e.Code != "read_only_operator" {
				t.Errorf("%s: %s", what, e.Code)
			}
		}
		h.holds(t, "observed")

		// The next time nsc has edited an account.
		s := readStore(t, archive, "acme")
		n := 0
		for i, a := range s.Accounts {
			if a.Name == "BILLING" {
				n = i
			}
		}
		operator, err := nkeys.FromSeed([]byte(s.Keys[s.Operator.Claims().Subject].Reveal()))
		if err != nil {
			t.Fatal(err)
		}
		edited := remade(t, s.Accounts[n].Token.Text, operator, func(p map[string]any) {
			p["iat"], p["jti"] = s.Accounts[n].Claims().IssuedAt+60, "EDITED"
			nats := p["nats"].(map[string]any)
			nats["description"] = "edited by nsc"
			nats["imports"] = nats["imports"].([]any)[:1]
		})
		s.Accounts[n].Token = must(claims.Read(edited))(t)
		files, err := s.Files()
		if err != nil {
			t.Fatal(err)
		}
		newer := pack(t, files, nil)
		j := h.takeIn(t, newer, issuer.ImportObserve)
		if a := reported(t, j, "BILLING"); a.State != issuer.ImportNewer {
			t.Errorf("%s", a.State)
		}
		if a := h.account(t, "BILLING"); a.JWT != edited || a.Settings.Description != "edited by nsc" {
			t.Error("the newer JWT is not served")
		}
		h.holds(t, "observed again")

		h.takeIn(t, newer, issuer.ImportAdopt)
		if o, _ = h.servedBy(t, "acme"); o.Custody != issuer.CustodySealed {
			t.Errorf("custody %s", o.Custody)
		}
		if a := h.account(t, "BILLING"); a.JWT != edited {
			t.Error("adopting changed a JWT")
		}
		h.holds(t, "adopted")
		did(h.UpdateAccount(t.Context(), op(), "BILLING", func(s *issuer.AccountEdit) { s.Description = "x" })).well(t)
		did(h.Issue(t.Context(), op(), "BILLING", "clerk", issuer.IssueInput{})).well(t) // by the account's identity key
		did(h.Issue(t.Context(), op(), "ORDERS", "d1", issuer.IssueInput{})).well(t)
		if _, err := h.SystemCredential(t.Context(), op(), "acme", "a test"); err != nil {
			t.Error(err)
		}
		h.holds(t, "changed")
	})
}

// An import that the database cuts off anywhere goes on where it was, and comes to the same.
func TestImportSurvivesFaults(t *testing.T) {
	without := []string{"import_jobs", "audit", "sequencer", "outbox", "changes"}
	each(t, func(t *testing.T, h *house) {
		j := did(h.UploadStore(t.Context(), op(), archiveOf(t, acmeStore))).well(t)
		did(h.RunImport(t.Context(), op(), j.ID, issuer.RunImportInput{Mode: issuer.ImportAdopt, PlanHash: j.Report.PlanHash})).well(t)
		h.leave(t)
		rows := func(x *house) int { return strings.Count(x.raw.Dump(t, without...), "\n") }
		undisturbed, all := h.copied(t), new(faults)
		undisturbed.faults.Store(all)
		if err := undisturbed.Upkeep(t.Context()); err != nil {
			t.Fatal(err)
		}
		undisturbed.faults.Store(nil)
		undisturbed.ran(t, j.ID)
		want := rows(undisturbed)
		total, failing := 0, []int{commit}
		for n := 1; n <= all.seen; n += statementsApart {
			failing = append(failing, n)
		}
		for _, at := range failing {
			for _, done := range []bool{false, true} {
				t.Run(fmt.Sprint(at, " done=", done), func(t *testing.T) { // in a test of its own, which ends with its house
					x, f := h.copied(t), new(faults)
					f.set(at, done)
					x.faults.Store(f)
					if err := x.Upkeep(t.Context()); !f.hit || !errors.Is(err, errFault) {
						t.Errorf("hit %v, %v", f.hit, err)
					}
					x.faults.Store(nil)
					if j := x.ran(t, j.ID); j.State != issuer.ImportDone {
						t.Errorf("%s: %s", j.State, j.Error)
					}
					x.holds(t, "after a fault")
					if rows(x) != want {
						t.Error("other rows than without a fault")
					}
					total++
				})
			}
		}
		t.Logf("%d of %d cut-off imports came to the same, by %d statements", total, total, all.seen)
	})
}

// An import is exported as a store that nsc reads, with the same JWTs; with the seeds that are held, only for an owner
// with a reason.
func TestExportNSC(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		for name, operator := range map[string]string{acmeStore: "acme", vaultStore: "vault"} {
			archive := archiveOf(t, name)
			h.takeIn(t, archive, issuer.ImportAdopt)
			want := readStore(t, archive, operator)
			if _, err := h.SystemCredential(t.Context(), op(), operator, "x"); err != nil {
				t.Fatal(err)
			}
			out, err := h.ExportNSC(t.Context(), owner, operator)
			if err != nil {
				t.Fatal(err)
			}
			if len(out.Missing) > 0 {
				t.Errorf("missing %+v", out.Missing)
			}
			bearers := 0
			seen, err := h.ExportNSC(t.Context(), auditor, operator)
			for _, m := range seen.Missing {
				if m.Code == "bearer" {
					bearers++
				}
			}
			if want := map[string]int{"acme": 2}[operator]; err != nil || bearers != want || len(seen.Files) != len(out.Files)-want {
				t.Errorf("who may not issue gets %d of %d files, without %d bearers: %v", len(seen.Files), len(out.Files), bearers, err)
			}
			for _, f := range out.Files {
				if !strings.HasPrefix(f.Path, "stores/") {
					t.Errorf("%s is no JWT", f.Path)
				}
			}
			got := readStore(t, pack(t, out.Files, nil), operator)
			right, total := sameTokens(t, want, got)
			t.Logf("%s: %d of %d JWTs are exported as they were", operator, right, total)

			if _, err := h.ExportNSCWithSeeds(t.Context(), op(), operator); issuer.AsError(err).Kind != issuer.KindInvalid {
				t.Errorf("without a reason: %v", err)
			}
			reason := op()
			reason.Reason = "moving house"
			with, err := h.ExportNSCWithSeeds(t.Context(), reason, operator)
			if err != nil {
				t.Fatal(err)
			}
			back := readStore(t, pack(t, with.Files, nil), operator)
			for key, seed := range want.Keys {
				if held := strings.HasPrefix(key, "O") || strings.HasPrefix(key, "A"); held != (back.Keys[key].Reveal() == seed.Reveal()) {
					t.Errorf("the seed of %s: exported %v", key, !held)
				}
			}
			reason.Caller = auditor
			if _, err := h.ExportNSCWithSeeds(t.Context(), reason, operator); issuer.AsError(err).Kind != issuer.KindForbidden {
				t.Errorf("an auditor: %v", err)
			}
		}
	})
}

// sameTokens compares the JWTs of two stores.
func sameTokens(t *testing.T, want, got *nsc.Store) (right, total int) {
	t.Helper()
	texts := func(s *nsc.Store) map[string]string {
		out := map[string]string{"": s.Operator.Token.Text}
		for _, a := range s.Accounts {
			out[a.Name] = a.Token.Text
			for _, u := range a.Users {
				out[a.Name+"/"+u.Name] = u.Token.Text
			}
		}
		return out
	}
	a, b := texts(want), texts(got)
	for name, text := range a {
		if total++; b[name] == text {
			right++
			continue
		}
		t.Errorf("%s differs", name)
	}
	if len(a) != len(b) {
		t.Errorf("%d JWTs, want %d", len(b), len(a))
	}
	return right, total
}

// A store from before a signing key was dropped brings nothing back that the key signed since, be it newer or new.
func TestOldStoreTrustsNoDroppedKey(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		m := makeStore(t, "made", h.time())
		stolen, public := m.pair(t, nkeys.PrefixByteOperator)
		c := jwt.NewOperatorClaims(m.Operator.Claims().Subject)
		c.Name = "made"
		c.SigningKeys.Add(public)
		was := m.token(t, c, m.operator)
		m.Operator.Token = was
		a := m.account(t, "ORDERS", nil)
		h.takeIn(t, m.archive(t, nil), issuer.ImportObserve)
		c.SigningKeys.Remove(public)
		m.Operator.Token = must(claims.Read(signedAt(t, c, m.operator, m.at+10)))(t)
		h.takeIn(t, m.archive(t, nil), issuer.ImportObserve)
		before := h.account(t, "ORDERS")

		m.Operator.Token = was
		forge := func(token string) claims.Token {
			return must(claims.Read(remade(t, token, stolen, func(p map[string]any) {
				p["iat"], p["iss"], p["jti"] = m.at+20, public, "FORGED"
				p["nats"].(map[string]any)["description"] = "mine now"
			})))(t)
		}
		user := m.user(t, a, "mallory", nil)
		id := a.Claims().Subject
		a.Token = forge(a.Token.Text)
		b := m.account(t, "MORE", nil)
		b.Token = forge(b.Token.Text)
		j := h.takeIn(t, m.archive(t, map[string]string{"servers/" + id + ".jwt": m.Accounts[0].Token.Text}), issuer.ImportAdopt)
		for _, name := range []string{"ORDERS", "MORE"} {
			if x := reported(t, j, name); x.State != issuer.ImportLeftOut || x.Problems[0].Code != "not_trusted_here" {
				t.Errorf("%s: %s, %+v", name, x.State, x.Problems)
			}
		}
		if after := h.account(t, "ORDERS"); after.JWT != before.JWT {
			t.Error("what a dropped key signed replaced the account's JWT")
		}
		if _, err := h.GetUser(t.Context(), owner, "ORDERS", user.Claims().Name); err == nil {
			t.Error("users of what was left out were taken in")
		}
		if _, err := h.GetAccount(t.Context(), owner, "MORE"); err == nil {
			t.Error("a new account of a dropped key was taken in")
		}
	})
}
