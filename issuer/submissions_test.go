package issuer_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
)

// submit posts the self-signed JWT of an account, as nsc add account does.
func (h *house) submit(t testing.TB, pair nkeys.KeyPair, name string, edit func(*jwt.AccountClaims)) (issuer.Submitted, error) {
	t.Helper()
	return h.submitFrom(t, "192.0.2.1", pair, name, edit)
}

func (h *house) submitFrom(t testing.TB, remote string, pair nkeys.KeyPair, name string, edit func(*jwt.AccountClaims)) (issuer.Submitted, error) {
	t.Helper()
	c := jwt.NewAccountClaims(public(t, pair))
	c.Name = name
	if edit != nil {
		edit(c)
	}
	return h.SubmitAccount(t.Context(), issuer.SubmitInput{Operator: "acme", Account: c.Subject, Token: signedAt(t, c, pair, h.unix()), Remote: remote, RequestID: "req_post"})
}

// asking is the account of that name that asks to be let in.
func (h *house) asking(t testing.TB, name string) string {
	t.Helper()
	list, err := h.ListEnrolments(t.Context(), owner, "acme", "", issuer.Page{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.Name == name {
			return e.AccountID
		}
	}
	return someAccount
}

// Who is let in: nobody, everybody, who has the token, who is approved; and a refused one stays out.
func TestEnrolment(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		set := func(mode string) issuer.EnrolmentPolicy {
			return did(h.SetEnrolmentPolicy(t.Context(), op(), "acme", issuer.EnrolmentInput{Mode: mode, Limits: "dev"})).well(t)
		}
		h.unchanged(t, func() {
			_, err := h.submit(t, newPair(t, nkeys.PrefixByteAccount), "EARLY", nil)
			if e := wants(t, err, issuer.KindForbidden); e.Code != "enrolment_closed" {
				t.Errorf("%+v", e)
			}
		})
		set(issuer.EnrolOpen)
		out, err := h.submit(t, newPair(t, nkeys.PrefixByteAccount), "OPEN", func(c *jwt.AccountClaims) { c.Limits.Conn = 1_000_000; c.Description = "mine" })
		if err != nil || !out.Enrolled {
			t.Fatalf("%+v, %v", out, err)
		}
		c := decode[*jwt.AccountClaims](t, h.account(t, "OPEN").JWT)
		if preset, _ := claims.AccountPreset("dev"); c.Limits.Conn != preset.Limits.Conn || c.Description != "mine" {
			t.Errorf("%+v", c)
		}
		_, err = h.submit(t, newPair(t, nkeys.PrefixByteAccount), "OPEN", nil)
		wants(t, err, issuer.KindConflict)

		p := set(issuer.EnrolToken)
		pair := newPair(t, nkeys.PrefixByteAccount)
		_, err = h.submit(t, pair, "TOKEN", nil)
		wants(t, err, issuer.KindForbidden)
		mine := jwt.NewAccountClaims(public(t, pair))
		mine.Name = "TOKEN"
		in := issuer.SubmitInput{Operator: "acme", Account: mine.Subject, Token: signedAt(t, mine, pair, h.unix()), Secret: p.Token}
		if out, err := h.SubmitAccount(t.Context(), in); err != nil || !out.Enrolled {
			t.Errorf("with the token: %+v, %v", out, err)
		}
		if strings.Contains(h.raw.Dump(t), p.Token.Reveal()) {
			t.Error("the token is in the database")
		}

		set(issuer.EnrolApproval)
		later, never := newPair(t, nkeys.PrefixByteAccount), newPair(t, nkeys.PrefixByteAccount)
		for name, pair := range map[string]nkeys.KeyPair{"LATER": later, "NEVER": never} {
			for range 2 { // who posts again is not asked for twice
				if out, err := h.submit(t, pair, name, nil); err != nil || !out.Pending {
					t.Fatalf("%+v, %v", out, err)
				}
			}
		}
		did(h.RefuseEnrolment(t.Context(), because(), "acme", public(t, never))).well(t)
		if a := did(h.ApproveEnrolment(t.Context(), because(), "acme", public(t, later))).well(t); a.Name != "LATER" || a.JWT == "" {
			t.Errorf("%+v", a)
		}
		_, err = h.submit(t, never, "NEVER", nil)
		if e := wants(t, err, issuer.KindForbidden); e.Code != "enrolment_refused" {
			t.Errorf("%+v", e)
		}
		h.advance(time.Second)
		if out, err := h.submit(t, later, "LATER", func(c *jwt.AccountClaims) { c.Description = "approved" }); err != nil || out.Result != issuer.MergeTaken {
			t.Errorf("%+v, %v", out, err)
		}
		list, err := h.ListEnrolments(t.Context(), auditor, "acme", "", issuer.Page{Limit: 10})
		if err != nil || len(list) != 1 || list[0].State != "refused" {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// Who is not let in: with a wrong token or an old one, signed by another key than its own, at another operator's path;
// and the list of those who ask is the operator's.
func TestEnrolmentRefused(t *testing.T) {
	h := newHouse(t, "sqlite")
	w := h.furnish(t)
	set := func(mode string) claims.Secret {
		return did(h.SetEnrolmentPolicy(t.Context(), op(), "acme", issuer.EnrolmentInput{Mode: mode})).well(t).Token
	}
	first := set(issuer.EnrolToken)
	set(issuer.EnrolOpen)
	other, otherKey := pairOf(t, nkeys.PrefixByteAccount)
	c := jwt.NewAccountClaims(public(t, newPair(t, nkeys.PrefixByteAccount)))
	c.Name = "LENT"
	for _, by := range []nkeys.KeyPair{other, h.rival(t)} {
		in := issuer.SubmitInput{Operator: "acme", Account: c.Subject, Token: signedAt(t, c, by, h.unix())}
		if e := wants(t, second(h.SubmitAccount(t.Context(), in)), issuer.KindForbidden); e.Code != "unknown_account" {
			t.Errorf("signed by another key: %+v", e)
		}
	}
	next := set(issuer.EnrolToken)
	c = jwt.NewAccountClaims(otherKey)
	c.Name = "TOKEN"
	for name, secret := range map[string]claims.Secret{"old": first, "wrong": claims.NewSecret(issuer.EnrolmentPrefix + "x")} {
		in := issuer.SubmitInput{Operator: "acme", Account: c.Subject, Token: signedAt(t, c, other, h.unix()), Secret: secret}
		if e := wants(t, second(h.SubmitAccount(t.Context(), in)), issuer.KindForbidden); e.Code != "enrolment_token" {
			t.Errorf("%s token: %+v", name, e)
		}
	}
	if next.Reveal() == "" || next.Reveal() == first.Reveal() {
		t.Error("the second time there is no other token")
	}

	x := h.tenant(t, w)
	did(h.CreateOperator(t.Context(), op(), issuer.OperatorInput{Name: "rival", ServiceURLs: []string{"nats://127.0.0.1:4222"}})).well(t)
	in := issuer.SubmitInput{Operator: "rival", Account: w.account.ID, Token: signedAt(t, x.copy(t), x.pair, h.unix())}
	err := second(h.SubmitAccount(t.Context(), in))
	wants(t, err, issuer.KindNotFound)
	if told := (*issuer.SubmitError)(nil); errors.As(err, &told) && told.Name != "" {
		t.Error("at another operator's path the account's name is told")
	}

	part := may(issuer.Grant{Role: string(issuer.RoleAccountAdmin), Scope: issuer.Scope{Operator: w.operator.ID, Account: w.account.ID}})
	if list, err := h.ListEnrolments(t.Context(), part.Caller, "acme", "", issuer.Page{Limit: 10}); err == nil {
		t.Errorf("an account's administrator lists who asks to be let in: %+v", list)
	}
}

// Of the accounts that wait for approval, 20 are of one address or IPv6 network, however its addresses take turns; what
// was decided makes room.
func TestEnrolmentsOfOneSource(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		const most = 20
		did(h.SetEnrolmentPolicy(t.Context(), op(), "acme", issuer.EnrolmentInput{Mode: issuer.EnrolApproval, Limits: "dev"})).well(t)
		asks := func(remote string, pair nkeys.KeyPair, admitted bool) {
			t.Helper()
			out, err := h.submitFrom(t, remote, pair, "N"+public(t, pair)[48:], nil)
			switch {
			case admitted && (err != nil || !out.Pending):
				t.Fatalf("from %s: %+v, %v", remote, out, err)
			case !admitted:
				if e := wants(t, err, issuer.KindTooFast); e.Code != "too_many_enrolments" || e.Hint == "" {
					t.Fatalf("from %s: %+v", remote, e)
				}
			}
		}
		fresh := func() nkeys.KeyPair { return newPair(t, nkeys.PrefixByteAccount) }
		var first nkeys.KeyPair
		for n := range most {
			first = fresh()
			asks(fmt.Sprintf("2001:db8:0:7::%x", n+1), first, true)
		}
		h.unchanged(t, func() { asks("2001:db8:0:7:ffff::", fresh(), false) })
		asks("2001:db8:0:7::2", first, true) // who waits may post again
		asks("2001:db8:0:8::1", fresh(), true)

		moved := fresh()
		asks("192.0.2.9", moved, true)
		asks("2001:db8:0:7::3", moved, false) // it would be one more of there
		did(h.RefuseEnrolment(t.Context(), because(), "acme", public(t, first))).well(t)
		asks("2001:db8:0:7::3", moved, true)
		asks("2001:db8:0:7::4", fresh(), false)
		asks("192.0.2.9", fresh(), true)
	})
}

// Copies of any age, revocations and liftings in any order: what was revoked and not lifted here stays revoked, in the
// JWT and on a real server.
func TestNoRevocationIsLost(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		h.advance(time.Since(h.time())) // a server has its own clock
		w := h.furnishAs(t, "acme", "ORDERS")
		x := h.tenant(t, w)
		r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test that can be repeated
		keys := []string{w.device.Issued.PublicKey, newUserKey(t), newUserKey(t), newUserKey(t)}
		want := map[string]bool{}
		copies := []*jwt.AccountClaims{x.copy(t)}
		tokens := []string{h.account(t, w.account.ID).JWT}
		posts, revoked, lifted := 0, 0, 0
		for range 40 {
			h.advance(2 * time.Second)
			key := keys[r.IntN(len(keys))]
			switch r.IntN(6) {
			case 0:
				did(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: key})).well(t)
				want[key] = true
				revoked++
			case 1:
				if want[key] {
					did(h.Unrevoke(t.Context(), because(), w.account.ID, key)).well(t)
					delete(want, key)
					lifted++
				}
			case 2: // a stale copy that revokes
				c := *copies[r.IntN(len(copies))]
				c.Revocations = jwt.RevocationList{key: h.unix()}
				x.merge(t, op(), &c).well(t)
				want[key] = true
				revoked++
			case 3: // an earlier JWT of the operator's
				x.send(t, op(), tokens[r.IntN(len(tokens))]).well(t)
				posts++
			default: // a stale edit
				c := *copies[r.IntN(len(copies))]
				c.Description = h.time().String()
				x.merge(t, op(), &c).well(t)
				posts++
			}
			copies, tokens = append(copies, x.copy(t)), append(tokens, h.account(t, w.account.ID).JWT)
			got := x.copy(t).Revocations
			for _, k := range keys {
				if _, is := got[k]; is != want[k] {
					t.Fatalf("after %d posts: %s revoked %v, want %v", posts, k, is, want[k])
				}
			}
		}
		if posts == 0 || revoked == 0 || lifted == 0 {
			t.Errorf("%d posts, %d revocations, %d liftings", posts, revoked, lifted)
		}
		did(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: keys[0]})).well(t)
		h.advance(2 * time.Second)
		stale := *copies[0]
		stale.Description = "the last word of a stale copy"
		x.merge(t, op(), &stale).well(t)
		s := h.run(t, w)
		if _, err := connect(t, s, w.device.Issued.Creds); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("the revoked user: %v", err)
		}
		if _, err := connect(t, s, w.ada.Issued.Creds); err != nil {
			t.Errorf("another user: %v", err)
		}
		t.Logf("%d posts of stale copies, %d revocations, %d liftings: no revocation lost", posts, revoked, lifted)
	})
}
