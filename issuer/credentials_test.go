package issuer_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
)

// policy sets what the operator asks of what is issued.
func (h *house) policy(t testing.TB, body string) {
	t.Helper()
	if n := h.raw.Run(t, `UPDATE operators SET policy = '`+body+`'`); n == 0 {
		t.Fatal("there is no operator")
	}
}

// A key of the holder is issued to for a fresh proof of that key and for nothing else.
func TestProofs(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		me, other := newHolder(t), newHolder(t)
		fresh := func(x holder) string {
			c, err := h.Challenge(t.Context(), x.key)
			if err != nil {
				t.Fatal(err)
			}
			return c.Nonce
		}
		stale := fresh(me)
		h.advance(issuer.ChallengeTTL + time.Second)
		good := me.answer(t, fresh(me))
		cut := func(s string) string { return s[:len(s)-4] }
		flip := func(s string) string {
			return strings.Map(func(r rune) rune { return map[bool]rune{true: 'B', false: r}[r == 'A'] }, s) + ""
		}
		raw, err := base64.RawURLEncoding.DecodeString(good.Nonce)
		if err != nil {
			t.Fatal(err)
		}
		later := append([]byte{}, raw...)
		later[7]++ // another second than the HMAC says
		signature, err := base64.RawURLEncoding.DecodeString(good.Signature)
		if err != nil {
			t.Fatal(err)
		}
		wrong := map[string]issuer.Proof{
			"nothing":                        {},
			"no signature":                   {Nonce: good.Nonce},
			"no nonce":                       {Signature: good.Signature},
			"signed by another key":          *other.answer(t, good.Nonce),
			"the other key's nonce":          *me.answer(t, fresh(other)),
			"all of it of another key":       *other.answer(t, fresh(other)),
			"an expired nonce":               *me.answer(t, stale),
			"a nonce of one's own":           *me.answer(t, "let me in"),
			"another time":                   *me.answer(t, base64.RawURLEncoding.EncodeToString(later)),
			"a nonce that is cut":            *me.answer(t, cut(good.Nonce)),
			"a nonce that goes on":           *me.answer(t, good.Nonce+"A"),
			"padding":                        *me.answer(t, good.Nonce+"="),
			"a line end":                     *me.answer(t, good.Nonce+"\n"),
			"a signature over its bytes":     {Nonce: good.Nonce, Signature: me.answer(t, string(raw)).Signature},
			"a signature over another nonce": {Nonce: good.Nonce, Signature: me.answer(t, good.Nonce+"x").Signature},
			"a signature that is cut":        {Nonce: good.Nonce, Signature: cut(good.Signature)},
			"a signature twice":              {Nonce: good.Nonce, Signature: good.Signature + good.Signature},
			"a changed signature":            {Nonce: good.Nonce, Signature: flip("A" + good.Signature[1:])},
			"another base64":                 {Nonce: good.Nonce, Signature: base64.StdEncoding.EncodeToString(signature)},
		}
		refused := 0
		h.unchanged(t, func() {
			for name, p := range wrong {
				for _, o := range []issuer.Op{op(), dryRun()} {
					_, err := h.Issue(t.Context(), o, "ORDERS", "d1", issuer.IssueInput{PublicKey: me.key, Proof: &p})
					if e := wants(t, err, issuer.KindInvalid); len(e.Problems) != 1 || e.Problems[0].Code != "wrong_proof" || e.Problems[0].Pointer != "/proof" {
						t.Errorf("%s: %+v", name, e)
						continue
					}
					refused++
				}
			}
			_, err := h.Issue(t.Context(), op(), "ORDERS", "d1", issuer.IssueInput{PublicKey: me.key})
			if e := wants(t, err, issuer.KindInvalid); e.Problems[0].Code != "required" || !strings.Contains(e.Problems[0].Detail, "/challenges") {
				t.Errorf("without a proof: %+v", e)
			}
			_, err = h.Issue(t.Context(), op(), "ORDERS", "d1", issuer.IssueInput{PublicKey: me.key, Waive: true})
			if e := wants(t, err, issuer.KindInvalid); e.Problems[0].Pointer != "/reason" {
				t.Errorf("waived without a reason: %+v", e)
			}
		})
		t.Logf("%d of %d wrong proofs refused", refused, 2*len(wrong))

		// Another replica takes the same proof.
		replica := h.open(t, h.store, h.kek)
		out := did(replica.Issue(t.Context(), op(), "ORDERS", "d1", issuer.IssueInput{PublicKey: me.key, Proof: good})).well(t)
		if out.KeyOrigin != "client" || !out.Creds.Empty() || out.JWT.Empty() {
			t.Errorf("%+v", out.Credential)
		}
		if again := did(h.Issue(t.Context(), op(), "ORDERS", "d1", issuer.IssueInput{PublicKey: me.key})).well(t); again.KeyOrigin != "client" || again.IssuedAt <= out.IssuedAt {
			t.Errorf("a key that was proven before: %+v", again.Credential)
		}
		if waived := did(h.Issue(t.Context(), because(), "ORDERS", "d1", issuer.IssueInput{PublicKey: other.key, Waive: true})).well(t); waived.KeyOrigin != "unproven" || waived.Reason != "a ticket" {
			t.Errorf("%+v", waived.Credential)
		}
		if key := w.device.Issued.PublicKey; did(h.Issue(t.Context(), op(), "ORDERS", "d1", issuer.IssueInput{PublicKey: key})).well(t).KeyOrigin != "generated" {
			t.Error("a key that was made here is said to come from elsewhere")
		}
		wants(t, second(h.Challenge(t.Context(), w.account.ID)), issuer.KindInvalid)
	})
}

// Lifetimes come from the request, the template and the policy, and no expiry needs a reason.
func TestLifetimes(t *testing.T) {
	const day, hour = 24 * time.Hour, time.Hour
	for name, c := range map[string]struct {
		policy string
		user   string // d1 has a template with a bound of a day, ada none
		in     issuer.IssueInput
		want   time.Duration // 0 for never
		wrong  string        // the pointer of what is refused
	}{
		"nothing said":                        {`{}`, "ada@example.com", issuer.IssueInput{}, issuer.DefaultTTL, ""},
		"the template's bound":                {`{}`, "d1", issuer.IssueInput{}, day, ""},
		"the policy's default":                {`{"credential_ttl_seconds":7200}`, "ada@example.com", issuer.IssueInput{}, 2 * hour, ""},
		"the template before the default":     {`{"credential_ttl_seconds":7200}`, "d1", issuer.IssueInput{}, day, ""},
		"the template within the policy":      {`{"credential_max_ttl_seconds":7200}`, "d1", issuer.IssueInput{}, 2 * hour, ""},
		"the default within the policy":       {`{"credential_max_ttl_seconds":7200}`, "ada@example.com", issuer.IssueInput{}, 2 * hour, ""},
		"asked for":                           {`{}`, "ada@example.com", issuer.IssueInput{TTL: 400 * day}, 400 * day, ""},
		"asked for, to the second":            {`{"credential_max_ttl_seconds":7200}`, "ada@example.com", issuer.IssueInput{TTL: 2 * hour}, 2 * hour, ""},
		"longer than the template":            {`{}`, "d1", issuer.IssueInput{TTL: day + time.Second}, 0, "/ttl_seconds"},
		"longer than the policy":              {`{"credential_max_ttl_seconds":7200}`, "ada@example.com", issuer.IssueInput{TTL: 2*hour + time.Second}, 0, "/ttl_seconds"},
		"longer than the policy, in template": {`{"credential_max_ttl_seconds":7200}`, "d1", issuer.IssueInput{TTL: 3 * hour}, 0, "/ttl_seconds"},
		"no expiry":                           {`{}`, "ada@example.com", issuer.IssueInput{NoExpiry: true}, 0, ""},
		"no expiry against the template":      {`{}`, "d1", issuer.IssueInput{NoExpiry: true}, 0, "/no_expiry"},
		"no expiry against the policy":        {`{"credential_max_ttl_seconds":7200}`, "ada@example.com", issuer.IssueInput{NoExpiry: true}, 0, "/no_expiry"},
		"no expiry and a lifetime":            {`{}`, "ada@example.com", issuer.IssueInput{NoExpiry: true, TTL: hour}, 0, "/no_expiry"},
		"a link and a key":                    {`{}`, "ada@example.com", issuer.IssueInput{Delivery: issuer.DeliverLink, PublicKey: newUserKey(t)}, 0, "/delivery"},
		"a link for eight days":               {`{}`, "ada@example.com", issuer.IssueInput{Delivery: issuer.DeliverLink, LinkTTL: 8 * day}, 0, "/link_ttl_seconds"},
		"sealed to nobody":                    {`{}`, "ada@example.com", issuer.IssueInput{Delivery: issuer.DeliverSealed}, 0, "/sealed_to"},
		"sealed to a user key":                {`{}`, "ada@example.com", issuer.IssueInput{Delivery: issuer.DeliverSealed, SealTo: newUserKey(t)}, 0, "/sealed_to"},
		"inline to an X-key":                  {`{}`, "ada@example.com", issuer.IssueInput{SealTo: newUserKey(t)}, 0, "/delivery"},
		"another delivery":                    {`{}`, "ada@example.com", issuer.IssueInput{Delivery: "pigeon"}, 0, "/delivery"},
	} {
		t.Run(name, func(t *testing.T) {
			eachWorld(t, func(t *testing.T, h *house, w world) {
				h.policy(t, c.policy)
				for _, o := range []issuer.Op{dryRun(), op()} {
					o.Reason = "because"
					out, err := h.Issue(t.Context(), o, "ORDERS", c.user, c.in)
					if c.wrong != "" {
						if e := wants(t, err, issuer.KindInvalid); len(e.Problems) == 0 || e.Problems[0].Pointer != c.wrong {
							t.Errorf("%+v", e)
						}
						continue
					}
					v := did(out, err).well(t)
					if got := time.Duration(v.Expires-v.IssuedAt) * time.Second; (v.Expires == 0) != (c.want == 0) || v.Expires != 0 && got != c.want {
						t.Errorf("dry %v: lives %v, want %v", o.DryRun, got, c.want)
					}
				}
				if c.in.NoExpiry && c.wrong == "" {
					_, err := h.Issue(t.Context(), op(), "ORDERS", c.user, c.in)
					if e := wants(t, err, issuer.KindInvalid); e.Problems[0].Pointer != "/reason" {
						t.Errorf("without a reason: %+v", e)
					}
				}
			})
		})
	}
}

// A policy against bearer users holds for new ones, for changes and for what is issued.
func TestNoBearer(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		bearer := ownPermissions()
		bearer.BearerToken = true
		did(h.CreateUser(t.Context(), op(), "ORDERS", issuer.UserInput{Name: "before", Permissions: bearer})).well(t)
		h.policy(t, `{"no_bearer":true}`)
		for name, err := range map[string]error{
			"creating": second(h.CreateUser(t.Context(), op(), "ORDERS", issuer.UserInput{Name: "x", Permissions: bearer})),
			"changing": second(h.UpdateUser(t.Context(), op(), "ORDERS", "ada@example.com", func(e *issuer.UserEdit) { e.Permissions = bearer })),
			"issuing":  second(h.Issue(t.Context(), op(), "ORDERS", "before", issuer.IssueInput{})),
		} {
			if e := wants(t, err, issuer.KindInvalid); len(e.Problems) != 1 || e.Problems[0].Code != claims.OutsideGuardrails {
				t.Errorf("%s: %+v", name, e)
			}
		}
	})
}

// A link makes the credential when it is used, once; nothing that could be used is stored before.
func TestCredentialLinks(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		use := func(link claims.Secret) (issuer.Issued, error) {
			out, _, err := h.UseCredentialLink(t.Context(), issuer.Op{RequestID: "req_2"}, link)
			return out, err
		}
		entries := len(h.ledgerRows(t))
		in := issuer.IssueInput{TTL: time.Hour, Delivery: issuer.DeliverLink, DeliveredTo: "ann"}
		out := did(h.Issue(t.Context(), because(), "ORDERS", "d1", in)).well(t)
		if !out.JWT.Empty() || !out.Creds.Empty() || out.ID != "" || out.LinkExpires != h.time().Add(issuer.DefaultLinkTTL) || len(h.ledgerRows(t)) != entries {
			t.Errorf("%+v", out)
		}
		dump := h.raw.Dump(t)
		if strings.Contains(dump, out.Link.Reveal()) || strings.Contains(dump, "-----BEGIN") {
			t.Error("the database holds a secret")
		}
		if what, err := h.PeekCredentialLink(t.Context(), out.Link); err != nil || what.Account != "ORDERS" || what.User != "d1" {
			t.Errorf("%+v, %v", what, err)
		}
		made, err := use(out.Link)
		if err != nil || made.Creds.Empty() || made.Delivery != "one_time_link" || made.DeliveredTo != "ann" || made.Actor != owner.ID || made.Reason != "a ticket" || made.Expires != made.IssuedAt+3600 {
			t.Fatalf("%+v, %v", made.Credential, err)
		}
		if !h.alive(t, w, made) {
			t.Error("what the link made is refused")
		}
		used := 0
		for _, e := range h.audited(t) {
			if e.RequestID == "req_2" && strings.HasPrefix(e.Actor, "link/lnk_") && e.ActorKind == "link" && e.Action == "issue" && e.Outcome == "done" {
				used++
			}
		}
		if used != 1 {
			t.Errorf("the use is on record %d times", used)
		}

		fresh := func() claims.Secret { return did(h.Issue(t.Context(), op(), "ORDERS", "d1", in)).well(t).Link }
		expired := fresh()
		h.advance(issuer.DefaultLinkTTL)
		ofRevoked := fresh()
		did(h.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: "d1"})).well(t)
		ofDisabled := fresh()
		did(h.DisableUser(t.Context(), op(), "ORDERS", "d1")).well(t)
		signIn, err := h.SignInLink(t.Context(), op(), "ada")
		if err != nil {
			t.Fatal(err)
		}
		h.unchanged(t, func() {
			for name, link := range map[string]claims.Secret{
				"a second time": out.Link, "expired": expired, "of a disabled user": ofDisabled, "made before a revocation": ofRevoked, "nonsense": claims.NewSecret("x"), "empty": {},
				"one to sign in": signIn, "another": claims.NewSecret("chy_cred_" + strings.Repeat("0", 49)),
			} {
				_, peek := h.PeekCredentialLink(t.Context(), link)
				for _, err := range []error{second(use(link)), peek} {
					if e := wants(t, err, issuer.KindUnauthenticated); e.Code != "invalid_link" {
						t.Errorf("%s: %+v", name, e)
					}
				}
			}
			if _, err := h.UseLink(t.Context(), op(), out.Link, "eve"); err == nil {
				t.Error("signed in with a link to credentials")
			}
		})
		did(h.EnableUser(t.Context(), op(), "ORDERS", "d1")).well(t)
		if _, err := use(ofDisabled); err == nil {
			t.Error("enabling brought a withdrawn link back")
		}
	})
}

// What is sealed opens with the caller's X-key alone, and is what anybody else would have got.
func TestSealedDelivery(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		box, err := nkeys.CreateCurveKeys()
		if err != nil {
			t.Fatal(err)
		}
		to, err := box.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		out := did(h.Issue(t.Context(), op(), "ORDERS", "d1", issuer.IssueInput{Delivery: issuer.DeliverSealed, SealTo: to})).well(t)
		if !out.Creds.Empty() || !out.JWT.Empty() || out.Delivery != "sealed" {
			t.Errorf("%+v", out)
		}
		sealed, err := base64.StdEncoding.DecodeString(out.Sealed)
		if err != nil {
			t.Fatal(err)
		}
		text, err := box.Open(sealed, out.SealedBy)
		if err != nil {
			t.Fatal(err)
		}
		token, seed, err := claims.ParseCreds(claims.NewSecret(string(text)))
		if err != nil || seed.Empty() {
			t.Fatal(err)
		}
		out.JWT = claims.NewSecret(token)
		if !h.alive(t, w, out) {
			t.Error("what was sealed is refused")
		}
		stranger, err := nkeys.CreateCurveKeys()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stranger.Open(sealed, out.SealedBy); err == nil {
			t.Error("a stranger opened it")
		}
		// Sealed to the caller, an answer can be given again.
		keyed := op()
		keyed.IdempotencyKey, keyed.Fingerprint = "k", []byte("f")
		in := issuer.IssueInput{Delivery: issuer.DeliverSealed, SealTo: to}
		first := did(h.Issue(t.Context(), keyed, "ORDERS", "d1", in)).well(t)
		if again := did(h.Issue(t.Context(), keyed, "ORDERS", "d1", in)).well(t); again.Sealed != first.Sealed || again.ID != first.ID {
			t.Error("the repeated request was answered otherwise")
		}
	})
}
