package issuer_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
	"chancery/store"
)

// plantLive is a house with an account on a real server.
type plantLive struct {
	*house
	w     world
	s     *server.Server
	admin *nats.Conn
}

func (h *house) served(t *testing.T) *plantLive {
	t.Helper()
	h.advance(time.Since(h.time())) // a server has its own clock
	p := &plantLive{house: h, w: h.furnishAs(t, "live", "LIVE")}
	p.s = h.run(t, p.w)
	system, err := h.SystemCredential(t.Context(), op(), "live", "this test")
	if err != nil {
		t.Fatal(err)
	}
	if p.admin, err = connect(t, p.s, system.Creds); err != nil {
		t.Fatal(err)
	}
	return p
}

// client connects and returns what closes when the server ends the connection.
func (p *plantLive) client(t *testing.T, creds claims.Secret) chan struct{} {
	t.Helper()
	closed := make(chan struct{})
	if _, err := connect(t, p.s, creds, nats.ClosedHandler(func(*nats.Conn) { close(closed) })); err != nil {
		t.Fatalf("refused: %v", err)
	}
	return closed
}

func (p *plantLive) sync(t *testing.T) {
	t.Helper()
	p.push(t, p.admin, p.w.account.ID)
}

func wantClosed(t *testing.T, what string, closed chan struct{}) {
	t.Helper()
	select {
	case <-closed:
	case <-time.After(patience):
		t.Errorf("%s: the connection is still open", what)
	}
}

func (p *plantLive) wantIn(t *testing.T, what string, creds claims.Secret) {
	t.Helper()
	nc, err := connect(t, p.s, creds)
	if err != nil {
		t.Errorf("%s is refused: %v", what, err)
		return
	}
	nc.Close()
}

func (p *plantLive) wantOut(t *testing.T, what string, creds claims.Secret) {
	t.Helper()
	if _, err := connect(t, p.s, creds); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("%s: %v", what, err)
	}
}

// with puts a new JWT beside the seed of old creds, as a holder does.
func with(t *testing.T, token, creds claims.Secret) claims.Secret {
	t.Helper()
	_, seed, err := claims.ParseCreds(creds)
	if err != nil {
		t.Fatal(err)
	}
	return claims.FormatCreds(token.Reveal(), seed)
}

// A renewed credential works beside the old one; after a roll both keys work until the grace is over, and then the
// old one is closed and refused, the renewed one too.
func TestRenewAndRollOnServer(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		p := h.served(t)
		first := p.w.device.Issued.Creds
		renewed := did(h.Renew(t.Context(), op(), "LIVE", "d1", issuer.RenewInput{})).well(t)
		if renewed.PublicKey != p.w.device.Issued.PublicKey || renewed.IssuedAt <= p.w.device.Issued.IssuedAt || renewed.Occasion != "renew" ||
			renewed.Expires-renewed.IssuedAt != p.w.device.Issued.Expires-p.w.device.Issued.IssuedAt {
			t.Errorf("%+v", renewed.Credential)
		}
		newer := with(t, renewed.JWT, first)
		p.wantIn(t, "the first", first)
		p.wantIn(t, "the renewed", newer)
		open := p.client(t, newer)

		plan, err := h.Roll(t.Context(), dryRun(), "LIVE", "d1", issuer.RollInput{Grace: time.Minute})
		if err != nil || plan.Plan.Credentials != 2 || len(plan.Plan.Changes) != 1 || !strings.Contains(plan.Plan.Changes[0].Text, "both keys work") {
			t.Errorf("%+v, %v", plan.Plan, err)
		}
		rolled := did(h.Roll(t.Context(), op(), "LIVE", "d1", issuer.RollInput{Grace: time.Minute})).well(t)
		third := rolled.Creds
		p.sync(t)
		for what, creds := range map[string]claims.Secret{"the first in its grace": first, "the renewed in its grace": newer, "the new key": third} {
			p.wantIn(t, what, creds)
		}
		for name, err := range map[string]error{
			"renewing": second(h.Renew(t.Context(), op(), "LIVE", "d1", issuer.RenewInput{PublicKey: rolled.OldKey})),
			"rolling":  second(h.Roll(t.Context(), op(), "LIVE", "d1", issuer.RollInput{OldKey: rolled.OldKey})),
		} {
			if e := wants(t, err, issuer.KindConflict); e.Code != "key_rolled" {
				t.Errorf("%s a key that was rolled: %+v", name, e)
			}
		}
		h.advance(time.Minute - time.Second)
		h.unchanged(t, func() {
			if err := h.Upkeep(t.Context()); err != nil {
				t.Error(err)
			}
		})
		h.advance(time.Second)
		// Two replicas at once: the revocation is made once.
		other, done := h.open(t, h.store, h.kek), make(chan error)
		go func() { done <- other.Upkeep(t.Context()) }()
		if err := errors.Join(h.Upkeep(t.Context()), <-done); err != nil {
			t.Fatal(err)
		}
		list, err := h.ListRevocations(t.Context(), owner, "LIVE", issuer.RevocationQuery{LedgerPage: issuer.LedgerPage{Limit: 10}})
		if err != nil || len(list) != 1 || list[0].Subject != rolled.OldKey || list[0].Before < renewed.IssuedAt || list[0].Actor != "system/upkeep" {
			t.Fatalf("%+v, %v", list, err)
		}
		p.sync(t)
		wantClosed(t, "the old key", open)
		p.wantOut(t, "the first", first)
		p.wantOut(t, "the renewed", newer)
		p.wantIn(t, "the new key", third)

		at := did(h.Roll(t.Context(), op(), "LIVE", "d1", issuer.RollInput{})).well(t)
		p.sync(t)
		p.wantOut(t, "a key that was rolled without grace", third)
		p.wantIn(t, "the key in its place", at.Creds)
	})
}

// Disabling closes and refuses everything of the user and of nobody else; enabling brings it back, but not what was
// revoked otherwise; deleting ends it and frees the name.
func TestDisableEnableDeleteOnServer(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		p := h.served(t)
		first := p.w.device.Issued.Creds
		extra := did(h.Issue(t.Context(), op(), "LIVE", "d1", issuer.IssueInput{})).well(t)
		lost := did(h.Issue(t.Context(), op(), "LIVE", "d1", issuer.IssueInput{})).well(t)
		did(h.Revoke(t.Context(), op(), "LIVE", issuer.RevokeInput{Subject: lost.PublicKey})).well(t)
		open, ada := p.client(t, first), p.w.ada.Issued.Creds

		plan, err := h.DisableUser(t.Context(), dryRun(), "LIVE", "d1")
		if err != nil || plan.Plan.Credentials != 2 {
			t.Errorf("%+v, %v", plan.Plan, err)
		}
		out := did(h.DisableUser(t.Context(), because(), "LIVE", "d1")).well(t)
		if out.State != "disabled" || out.Version != 2 || out.JWTVersion == 0 {
			t.Errorf("%+v", out)
		}
		p.sync(t)
		wantClosed(t, "disabled", open)
		for what, creds := range map[string]claims.Secret{"the first": first, "the second": extra.Creds, "the lost": lost.Creds} {
			p.wantOut(t, what+" of a disabled user", creds)
		}
		p.wantIn(t, "somebody else", ada)
		for _, err := range []error{
			second(h.Issue(t.Context(), op(), "LIVE", "d1", issuer.IssueInput{})), second(h.DisableUser(t.Context(), op(), "LIVE", "d1")),
			second(h.EnableUser(t.Context(), op(), "LIVE", "ada@example.com")),
		} {
			wants(t, err, issuer.KindConflict)
		}

		back, err := h.EnableUser(t.Context(), dryRun(), "LIVE", "d1")
		if err != nil || len(back.Plan.Warnings) != 1 || !strings.HasPrefix(back.Plan.Warnings[0].Detail, "2 credentials") {
			t.Errorf("%+v, %v", back.Plan, err)
		}
		did(h.EnableUser(t.Context(), op(), "LIVE", "d1")).well(t)
		p.sync(t)
		p.wantIn(t, "the first of an enabled user", first)
		p.wantIn(t, "the second of an enabled user", extra.Creds)
		p.wantOut(t, "what was revoked before", lost.Creds)

		open = p.client(t, first)
		did(h.DeleteUser(t.Context(), op(), "LIVE", "d1")).well(t)
		p.sync(t)
		wantClosed(t, "deleted", open)
		p.wantOut(t, "the first of a deleted user", first)
		wants(t, second(h.GetUser(t.Context(), owner, "LIVE", "d1")), issuer.KindNotFound)
		list, err := h.FindCredentials(t.Context(), owner, "LIVE", issuer.LedgerFilter{PublicKey: p.w.device.Issued.PublicKey}, issuer.LedgerPage{Limit: 5})
		if err != nil || len(list) != 1 || list[0].UserName != "d1" || list[0].Status != issuer.StatusRevoked {
			t.Errorf("the ledger of a deleted user: %+v, %v", list, err)
		}
		again := did(h.CreateUser(t.Context(), op(), "LIVE", issuer.UserInput{Name: "d1", Permissions: ownPermissions(), Issue: &issuer.IssueInput{}})).well(t)
		p.wantIn(t, "another user of the name", again.Issued.Creds)
		p.wantOut(t, "the first of a deleted user", first)
		_, err = h.Issue(t.Context(), because(), "LIVE", "d1", issuer.IssueInput{PublicKey: p.w.device.Issued.PublicKey, Waive: true})
		if e := wants(t, err, issuer.KindConflict); e.Code != "key_in_use" {
			t.Errorf("a deleted user's key: %+v", e)
		}
	})
}

// Revoked and issued again in one second: the old is out, the new is in, also for the same key.
func TestReissueOnServer(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		p := h.served(t)
		first := p.w.device.Issued.Creds
		open := p.client(t, first)
		now := h.unix()
		out := did(h.Reissue(t.Context(), because(), "LIVE", "d1", issuer.IssueInput{})).well(t)
		same := did(h.Reissue(t.Context(), because(), "LIVE", "d1", issuer.IssueInput{PublicKey: out.PublicKey})).well(t)
		if h.unix() != now || len(out.Revocations) != 1 || same.IssuedAt <= same.Revocations[len(same.Revocations)-1].Before {
			t.Errorf("%+v, %+v", out, same)
		}
		p.sync(t)
		wantClosed(t, "reissued", open)
		p.wantOut(t, "the first", first)
		p.wantOut(t, "the second", out.Creds)
		p.wantIn(t, "the same key again", with(t, same.JWT, out.Creds))
		if _, err := h.Renew(t.Context(), op(), "LIVE", "d1", issuer.RenewInput{PublicKey: p.w.device.Issued.PublicKey}); wants(t, err, issuer.KindConflict).Code != "key_revoked" {
			t.Error("a revoked key was renewed")
		}
	})
}

// A holder renews with nothing but the key, when the policy says so, and everybody else gets one answer.
func TestRenewByHolder(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		p := h.served(t)
		me, stranger := newHolder(t), newHolder(t)
		const life = 100 * time.Minute
		made := did(h.CreateUser(t.Context(), op(), "LIVE", issuer.UserInput{
			Name: "me", Template: "device", Tags: []string{"region:eu"}, Issue: &issuer.IssueInput{PublicKey: me.key, Proof: h.proof(t, me), TTL: life},
		})).well(t).Issued
		renew := func(x holder, token claims.Secret) (issuer.Issued, error) {
			return h.RenewByHolder(t.Context(), issuer.Op{RequestID: "req_r"}, issuer.RenewalInput{JWT: token, Proof: *h.proof(t, x)})
		}
		refused := 0
		refuse := func(what string, x holder, token claims.Secret) {
			t.Helper()
			h.advance(10 * time.Second)
			_, err := renew(x, token)
			e := wants(t, err, issuer.KindForbidden)
			if e.Code != "renewal_refused" || e.Message != "This credential cannot be renewed here now." || e.Problems != nil {
				t.Errorf("%s: %+v", what, e)
				return
			}
			refused++
		}
		refuse("without a policy", me, made.JWT)
		h.policy(t, `{"renewal_percent":20}`)
		refuse("too early", me, made.JWT)
		h.advance(life - life/5)
		refuse("another's key", stranger, made.JWT)
		refuse("of another house", me, claims.NewSecret(strayUser))
		refuse("nonsense", me, claims.NewSecret("x"))
		refuse("an account's JWT", me, claims.NewSecret(h.account(t, "LIVE").JWT))
		ours := decode[*jwt.UserClaims](t, made.JWT.Reveal())
		own := jwt.NewUserClaims(me.key)
		own.IssuerAccount, own.Expires = ours.IssuerAccount, ours.Expires
		pair, err := nkeys.CreateAccount()
		if err != nil {
			t.Fatal(err)
		}
		forged, err := own.Encode(pair)
		if err != nil {
			t.Fatal(err)
		}
		refuse("signed by somebody else", me, claims.NewSecret(forged))
		// The last letter of a signature holds two bits: with others it would be the same one.
		end := map[bool]string{true: "BA", false: "AA"}[strings.HasSuffix(made.JWT.Reveal(), "AA")]
		refuse("changed", me, claims.NewSecret(made.JWT.Reveal()[:len(made.JWT.Reveal())-2]+end))

		_, err = h.RenewByHolder(t.Context(), issuer.Op{}, issuer.RenewalInput{JWT: made.JWT, Proof: *stranger.answer(t, h.proof(t, me).Nonce)})
		if wants(t, err, issuer.KindForbidden).Code == "renewal_refused" {
			refused++
		}
		h.advance(10 * time.Second)
		out, err := renew(me, made.JWT)
		if err != nil {
			t.Fatal(err)
		}
		if out.PublicKey != me.key || out.IssuedAt <= made.IssuedAt || out.Expires-out.IssuedAt != int64(life/time.Second) || out.Actor != "user:"+made.UserID || out.Occasion != "renew" {
			t.Errorf("%+v", out.Credential)
		}
		seed, err := me.pair.Seed()
		if err != nil {
			t.Fatal(err)
		}
		p.wantIn(t, "the renewed", claims.FormatCreds(out.JWT.Reveal(), claims.NewSecret(string(seed))))
		if _, err := renew(me, made.JWT); wants(t, err, issuer.KindTooFast).Code != "too_many_renewals" {
			t.Error("renewed twice in ten seconds")
		}
		entries := h.audited(t)
		if !slices.ContainsFunc(entries, func(e store.AuditEntry) bool {
			return e.Actor == "user:"+made.UserID && e.Action == "renew" && e.Outcome == "done" && e.RequestID == "req_r"
		}) {
			t.Error("the renewal is not on record")
		}

		did(h.DisableUser(t.Context(), op(), "LIVE", "me")).well(t)
		refuse("of a disabled user", me, made.JWT)
		did(h.EnableUser(t.Context(), op(), "LIVE", "me")).well(t)
		h.raw.Run(t, `UPDATE operators SET signing = FALSE`)
		refuse("while nothing is signed", me, made.JWT)
		h.raw.Run(t, `UPDATE operators SET signing = TRUE`)
		for _, state := range []string{"retired", "disabled"} {
			h.raw.Run(t, `UPDATE keys SET state = '`+state+`' WHERE template_id <> ''`)
			refuse("signed by a key that is "+state, me, made.JWT)
		}
		h.raw.Run(t, `UPDATE keys SET state = 'current' WHERE template_id <> ''`)
		h.advance(10 * time.Second)
		if _, err := renew(me, made.JWT); err != nil {
			t.Errorf("as it was before: %v", err)
		}
		did(h.Roll(t.Context(), because(), "LIVE", "me", issuer.RollInput{Grace: time.Hour})).well(t)
		refuse("rolled", me, made.JWT)
		did(h.Revoke(t.Context(), op(), "LIVE", issuer.RevokeInput{Subject: me.key})).well(t)
		refuse("revoked", me, made.JWT)
		h.advance(life)
		refuse("expired", me, out.JWT)
		did(h.DeleteUser(t.Context(), op(), "LIVE", "me")).well(t)
		refuse("of a deleted user", me, out.JWT)
		t.Logf("%d of 17 refused alike", refused)
		if refused != 17 {
			t.Error("some were answered otherwise")
		}
	})
}
