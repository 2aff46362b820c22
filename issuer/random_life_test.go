package issuer_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"pgregory.net/rapid"

	"chancery/claims"
	"chancery/issuer"
	"chancery/store/storetest"
)

// life is an account to which anything may happen, and what is known of all that was ever issued in it.
type life struct {
	h *house
	w world
	// issuers are two replicas; their clocks lead by what leads says.
	issuers [2]*issuer.Issuer
	clocks  [2]*clock
	issued  []*jwt.UserClaims
	// dead are those that were refused once; only an un-revocation may take one out.
	dead map[string]bool
	last map[string]int64
	jtis map[string]bool
	keys []string
	// latest is the latest time that any clock showed.
	latest int64
	// compactions and revivals show that the test is about something.
	compactions, revivals int
}

// step does one thing of those that may happen, and holds the rules against what is left.
func (l *life) step(r *rapid.T, t testing.TB, n int) {
	who := rapid.IntRange(0, 1).Draw(r, "who")
	i, ctx := l.issuers[who], t.Context()
	what := rapid.SampledFrom([]string{"issue", "issue", "issue", "again", "revoke key", "revoke user", "revoke all", "revoke template", "revoke before", "unrevoke", "compact", "edit", "template", "clock", "later"}).Draw(r, "what")
	user := rapid.SampledFrom([]string{"d1", "ada@example.com"}).Draw(r, "user")
	op := issuer.Op{Caller: owner, RequestID: fmt.Sprint("req_", n), Reason: "because"}
	revoke := func(subject string, before time.Time) {
		now := l.clocks[who].unix()
		out, err := i.Revoke(ctx, op, l.w.account.ID, issuer.RevokeInput{Subject: subject, Before: before})
		if err != nil {
			if e := issuer.AsError(err); e.Code != "nothing_to_revoke" && e.Code != "invalid" {
				r.Fatalf("revoking: %v", err)
			}
			return
		}
		// Q3: unless an earlier time was asked for, a revocation reaches all that was issued to its subject.
		for _, v := range out.Value.Revocations {
			for _, c := range l.issued {
				if before.IsZero() && (v.Subject == c.Subject || v.Subject == issuer.Everybody) && (v.Before < c.IssuedAt || v.Before < now) {
					r.Fatalf("revoked up to %d at %d, issued at %d", v.Before, now, c.IssuedAt)
				}
			}
		}
	}
	key := rapid.SampledFrom(l.keys).Draw(r, "key")
	lifting := false
	switch what {
	case "issue", "again":
		in := issuer.IssueInput{TTL: time.Duration(rapid.IntRange(1, 7200).Draw(r, "ttl")) * time.Second}
		if what == "again" {
			in.PublicKey = key
		}
		out, err := i.Issue(ctx, op, l.w.account.ID, user, in)
		if err != nil {
			if issuer.AsError(err).Code != "key_in_use" {
				r.Fatalf("issuing: %v", err)
			}
			return
		}
		c := decode[*jwt.UserClaims](t, out.Value.JWT.Reveal())
		// Q1
		if c.IssuedAt <= l.last[c.Subject] || l.jtis[c.ID] {
			r.Fatalf("issued at %d after %d, jti %s", c.IssuedAt, l.last[c.Subject], c.ID)
		}
		l.issued, l.last[c.Subject], l.jtis[c.ID] = append(l.issued, c), c.IssuedAt, true
		l.keys = append(l.keys, c.Subject)
	case "revoke key":
		revoke(key, time.Time{})
	case "revoke user":
		revoke(user, time.Time{})
	case "revoke all":
		revoke(issuer.Everybody, time.Time{})
	case "revoke template":
		revoke("template:device", time.Time{})
	case "revoke before":
		revoke(rapid.SampledFrom([]string{key, user, issuer.Everybody}).Draw(r, "subject"), l.clocks[who].time().Add(-time.Duration(rapid.IntRange(1, 600).Draw(r, "ago"))*time.Second))
	case "unrevoke":
		subject := rapid.SampledFrom([]string{key, user, issuer.Everybody, "template:device"}).Draw(r, "subject")
		_, err := i.Unrevoke(ctx, op, l.w.account.ID, subject)
		if err != nil && issuer.AsError(err).Kind != issuer.KindNotFound {
			r.Fatalf("lifting: %v", err)
		}
		lifting = err == nil
	case "compact":
		out, err := i.Compact(ctx, op, l.w.account.ID)
		if err != nil {
			r.Fatalf("compacting: %v", err)
		}
		l.compactions += out.Value.Removed
	case "edit":
		_, err := i.UpdateAccount(ctx, op, l.w.account.ID, func(s *issuer.AccountEdit) {
			s.Description, s.Lifetime = fmt.Sprint(n), time.Duration(n%3)*time.Hour
		})
		if err != nil && issuer.AsError(err).Kind != issuer.KindTooFast {
			r.Fatalf("editing: %v", err)
		}
	case "template":
		_, err := i.UpdateTemplate(ctx, op, l.w.account.ID, "device", func(in *issuer.TemplateInput) { in.Body.Description = fmt.Sprint(n) })
		if err != nil && issuer.AsError(err).Kind != issuer.KindTooFast {
			r.Fatalf("editing the template: %v", err)
		}
	case "clock":
		l.clocks[who].advance(time.Duration(rapid.IntRange(-300, 300).Draw(r, "seconds")) * time.Second)
	case "later":
		for n, c := range l.clocks {
			if n == 0 || c != l.clocks[0] {
				c.advance(time.Duration(rapid.IntRange(1, 7200).Draw(r, "seconds")) * time.Second)
			}
		}
	}
	l.check(r, t, what, lifting)
}

// check holds Q2 and Q4: what was refused once, and has not expired by a clock that is an hour late, is refused now.
func (l *life) check(r *rapid.T, t testing.TB, what string, lifting bool) {
	for _, c := range l.clocks {
		l.latest = max(l.latest, c.unix())
	}
	a := decode[*jwt.AccountClaims](t, l.h.account(t, l.w.account.ID).JWT)
	for _, c := range l.issued {
		refused := a.IsClaimRevoked(c)
		expired := l.latest > c.Expires+int64(claims.CompactionSlack/time.Second)
		if l.dead[c.ID] && !refused && !expired {
			if !lifting {
				r.Fatalf("%s brought back what was issued to %s at %d", what, c.Subject, c.IssuedAt)
			}
			l.revivals++
			delete(l.dead, c.ID)
		}
		if refused {
			l.dead[c.ID] = true
		}
	}
}

// Q1 to Q4 over the real use cases: whatever happens in an account, in whatever order, by two replicas whose clocks
// run apart by up to five minutes a jump.
func TestLife(t *testing.T) {
	t.Parallel()
	for _, dialect := range storetest.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, dialect)
			steps, compactions, revivals, lived := 0, 0, 0, 0
			rapid.Check(t, func(r *rapid.T) {
				if lived++; lived > lives { // a life is a hundred transactions
					return
				}
				h.Issuer = h.open(t, h.store, h.kek)
				l := newLife(t, h, fmt.Sprint("life ", lived))
				for n := range rapid.IntRange(20, 60).Draw(r, "steps") {
					l.step(r, t, n)
					steps++
				}
				compactions, revivals = compactions+l.compactions, revivals+l.revivals
			})
			h.verify(t)
			if steps > 600 && (compactions == 0 || revivals == 0) { // fewer may be without
				t.Errorf("%d compactions and %d revivals: nothing was tried", compactions, revivals)
			}
			t.Logf("%d of %d steps kept Q1 to Q4: %d entries compacted, %d credentials revived by lifting", steps, steps, compactions, revivals)
		})
	}
}

func newLife(t testing.TB, h *house, operator string) *life {
	l := &life{h: h, w: h.furnishAs(t, operator, "ORDERS"), dead: map[string]bool{}, last: map[string]int64{}, jtis: map[string]bool{}}
	for _, u := range []issuer.UserWithCredential{l.w.device, l.w.ada} {
		c := decode[*jwt.UserClaims](t, u.Issued.JWT.Reveal())
		l.issued, l.last[c.Subject], l.jtis[c.ID], l.keys = append(l.issued, c), c.IssuedAt, true, append(l.keys, c.Subject)
	}
	l.issuers[0], l.clocks[0] = h.Issuer, &h.clock
	l.issuers[1], l.clocks[1] = h.Issuer, &h.clock
	if h.store.Dialect() == "postgres" { // a SQLite file has one process
		l.clocks[1] = &clock{now: h.time()}
		l.issuers[1] = h.open(t, h.openStore(t, l.clocks[1]), h.kek)
	}
	return l
}

// Q6: requests with a key, any prefix of which is sent again, leave the database as it was.
func TestReplayOfAnyPrefix(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		w := h.furnish(t)
		send := func(n int) error {
			op := issuer.Op{Caller: owner, RequestID: fmt.Sprint("req_", n), Reason: "because", IdempotencyKey: fmt.Sprint("key ", n), Fingerprint: []byte{byte(n)}}
			var err error
			switch n % 6 {
			case 0:
				_, err = h.Issue(t.Context(), op, w.account.ID, "d1", issuer.IssueInput{})
			case 1:
				_, err = h.Revoke(t.Context(), op, w.account.ID, issuer.RevokeInput{Subject: "d1"})
			case 2:
				_, err = h.UpdateAccount(t.Context(), op, w.account.ID, func(s *issuer.AccountEdit) { s.Description = fmt.Sprint(n) })
			case 3:
				_, err = h.Revoke(t.Context(), op, w.account.ID, issuer.RevokeInput{Subject: issuer.Everybody})
			case 4:
				_, err = h.Unrevoke(t.Context(), op, w.account.ID, issuer.Everybody)
			case 5:
				_, err = h.Compact(t.Context(), op, w.account.ID)
			}
			return err
		}
		const requests = 18
		replayed := 0
		for n := range requests {
			h.advance(2 * time.Second)
			if err := send(n); err != nil {
				t.Fatalf("request %d: %v", n, err)
			}
			h.sequence(t)
			h.unchanged(t, func() {
				for m := range n + 1 {
					if err := send(m); err != nil {
						t.Errorf("request %d again: %v", m, err)
					}
					replayed++
				}
			}, "sequencer")
		}
		t.Logf("%d of %d repetitions changed nothing", replayed, replayed)
	})
}
