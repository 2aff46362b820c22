package issuer_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"

	"chancery/issuer"
	"chancery/store"
)

// verify checks everything that is stored: each JWT decodes, is issued by who may, would be accepted by a server
// and says what its row says; issue times increase with the versions and no jti repeats; the audit chain holds.
func (h *house) verify(t testing.TB, tokens ...string) {
	t.Helper()
	operators, accounts := map[string]*jwt.OperatorClaims{}, map[string]*jwt.AccountClaims{}
	h.in(t, func(ctx context.Context, tx *store.Tx) error {
		all, err := tx.ListOperators(ctx, store.Page{Limit: 100})
		for _, o := range all {
			c := decode[*jwt.OperatorClaims](t, o.JWT)
			if c.Subject != o.ID || c.Issuer != o.ID || c.Name != o.Name || c.IssuedAt != o.IssuedAt || c.ID != o.JTI {
				t.Errorf("operator %s is not what its row says", o.Name)
			}
			keys, err := tx.ListKeys(ctx, o.ID, "")
			if err != nil {
				return err
			}
			if want := usable(keys); !cmp.Equal(want, sorted(c.SigningKeys)) {
				t.Errorf("operator %s trusts %v, want %v", o.Name, c.SigningKeys, want)
			}
			operators[o.ID] = c
		}
		return err
	})
	h.in(t, func(ctx context.Context, tx *store.Tx) error {
		all, err := tx.ListAccounts(ctx, "", store.Page{Limit: 1000})
		for _, a := range all {
			c := decode[*jwt.AccountClaims](t, a.JWT)
			o := operators[a.OperatorID]
			if c.Subject != a.ID || c.Name != a.Name || c.IssuedAt != a.IssuedAt || c.ID != a.JTI || c.Expires != a.Expires {
				t.Errorf("account %s is not what its row says", a.Name)
			}
			if !o.DidSign(c) || o.StrictSigningKeyUsage && c.Issuer == o.Subject {
				t.Errorf("account %s is issued by %s", a.Name, c.Issuer)
			}
			keys, err := tx.ListKeys(ctx, a.OperatorID, a.ID)
			if err != nil {
				return err
			}
			if want := usable(keys); !cmp.Equal(want, sorted(c.SigningKeys.Keys())) {
				t.Errorf("account %s has the keys %v, want %v", a.Name, c.SigningKeys.Keys(), want)
			}
			for _, k := range keys {
				if scope, _ := c.SigningKeys.GetScope(k.ID); k.Role == "signing" && (scope != nil) != (k.TemplateID != "") {
					t.Errorf("account %s: key %s has the scope %v and the template %q", a.Name, k.ID, scope, k.TemplateID)
				}
			}
			revoked, err := tx.EffectiveRevocations(ctx, a.ID)
			if err != nil {
				return err
			}
			if len(revoked)+len(c.Revocations) > 0 && !maps.Equal(revoked, c.Revocations) {
				t.Errorf("account %s revokes %v, want %v", a.Name, c.Revocations, revoked)
			}
			accounts[a.ID] = c
		}
		return err
	})
	for _, token := range tokens {
		c := decode[*jwt.UserClaims](t, token)
		if a := accounts[c.IssuerAccount]; a == nil || !a.DidSign(c) || c.Issuer == a.Subject {
			t.Errorf("user %s is issued by %s for %s", c.Name, c.Issuer, c.IssuerAccount)
		} else if scope, _ := a.SigningKeys.GetScope(c.Issuer); scope != nil {
			if err := scope.ValidateScopedSigner(c); err != nil {
				t.Errorf("user %s: %v", c.Name, err)
			}
		}
	}
	h.verifyHistory(t)
	h.sequence(t)
	report, err := h.Verify(t.Context(), auditor)
	if err != nil {
		t.Error(err)
	}
	for _, f := range report.Findings {
		t.Errorf("%s of %s: %s", f.Rule, f.Subject, f.Detail)
	}
}

// decode reads a JWT as a server does, which verifies its signature.
func decode[T jwt.Claims](t testing.TB, token string) T {
	t.Helper()
	c, err := jwt.Decode(token)
	if err != nil {
		t.Fatal(err)
	}
	vr := jwt.CreateValidationResults()
	c.Validate(vr)
	if errs := vr.Errors(); len(errs) > 0 {
		t.Errorf("a server would refuse the JWT of %s: %v", c.Claims().Name, errs)
	}
	claims, ok := c.(T)
	if !ok {
		t.Fatalf("decoded %T", c)
	}
	return claims
}

func usable(keys []store.Key) []string {
	var out []string
	for _, k := range keys {
		if k.Role == "signing" && (k.State == "current" || k.State == "retiring") {
			out = append(out, k.ID)
		}
	}
	return sorted(out)
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

func (h *house) verifyHistory(t testing.TB) {
	t.Helper()
	rows, err := h.raw.QueryContext(t.Context(), `SELECT subject, jwt_version, iat, jti, jwt FROM jwts ORDER BY subject, jwt_version`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	jtis, before := map[string]bool{}, struct {
		subject      string
		version, iat int64
	}{}
	for rows.Next() {
		now := before
		var jti, token string
		if err := rows.Scan(&now.subject, &now.version, &now.iat, &jti, &token); err != nil {
			t.Fatal(err)
		}
		if now.subject == before.subject && (now.version != before.version+1 || now.iat <= before.iat) || now.subject != before.subject && now.version != 1 {
			t.Errorf("%s: version %d of %d comes after version %d of %d", now.subject, now.version, now.iat, before.version, before.iat)
		}
		if jtis[jti] {
			t.Errorf("%s: jti %s twice", now.subject, jti)
		}
		if token == "" {
			// Bodies are kept of the newest versions only.
		} else if c := decode[jwt.Claims](t, token).Claims(); c.Subject != now.subject || c.IssuedAt != now.iat || c.ID != jti {
			t.Errorf("version %d of %s is not what its row says", now.version, now.subject)
		}
		jtis[jti], before = true, now
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

func (h *house) sequence(t testing.TB) {
	t.Helper()
	for {
		if n, err := h.store.Sequence(t.Context()); err != nil {
			t.Fatal(err)
		} else if n == 0 {
			return
		}
	}
}

// The whole of what an operator does in its first days, and everything of it holds.
func TestFirstDays(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		tokens := []string{w.device.Issued.JWT.Reveal(), w.ada.Issued.JWT.Reveal()}
		h.verify(t, tokens...)
		if s := h.account(t, issuer.SystemAccountName); !s.System || s.ID != w.operator.Settings.SystemAccount || s.JWT == "" || s.Settings.Limits.IsJSEnabled() {
			t.Errorf("the system account is %+v", s)
		}
		if o := w.operator; !o.Settings.StrictSigningKeyUsage || !o.Default || o.Version != 1 || o.JWTVersion != 1 || fmt.Sprint(o.Settings.Tags) != "[prod]" {
			t.Errorf("the operator is %+v", o)
		}

		h.advance(time.Hour)
		updated := did(h.UpdateAccount(t.Context(), op(), "ORDERS", func(s *issuer.AccountEdit) { s.Limits.Conn, s.Tags = 7, jwt.TagList{"Env:Prod"} })).well(t)
		if updated.Version != 2 || updated.JWTVersion != 3 || updated.Settings.Limits.Conn != 7 || updated.Settings.Tags[0] != "env:prod" || updated.IssuedAt <= w.account.IssuedAt {
			t.Errorf("after an edit: %+v", updated)
		}
		template := did(h.UpdateTemplate(t.Context(), op(), "ORDERS", "device", func(in *issuer.TemplateInput) { in.Body.Permissions.Subs = 10 })).well(t)
		if template.Version != 2 || template.Body.Permissions.Subs != 10 || len(template.Keys) != 1 || template.Keys[0].Sealed != nil {
			t.Errorf("after an edit: %+v", template)
		}
		now := decode[*jwt.AccountClaims](t, h.account(t, "ORDERS").JWT)
		if scope := now.SigningKeys[template.Keys[0].ID].(*jwt.UserScope); scope.Template.Subs != 10 || scope.Role != "device" {
			t.Errorf("the scope is %+v", scope)
		}
		operator := did(h.UpdateOperator(t.Context(), op(), "acme", setURLs([]string{"tls://n1", "tls://n2"}))).well(t)
		if operator.Version != 2 || operator.JWTVersion != 2 || len(operator.Settings.OperatorServiceURLs) != 2 {
			t.Errorf("after an edit: %+v", operator)
		}

		did(h.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: "d1"})).well(t)
		again := did(h.Issue(t.Context(), op(), "ORDERS", "d1", issuer.IssueInput{TTL: time.Hour})).well(t)
		laptop := newHolder(t)
		key := laptop.key
		own := did(h.Issue(t.Context(), op(), "ORDERS", "ada@example.com", issuer.IssueInput{PublicKey: key, Proof: h.proof(t, laptop), DeliveredTo: "her laptop"})).well(t)
		if own.PublicKey != key || !own.Creds.Empty() || own.KeyOrigin != "client" || own.DeliveredTo != "her laptop" || again.KeyOrigin != "generated" || again.Creds.Empty() {
			t.Errorf("issued %+v and %+v", own.Credential, again.Credential)
		}
		issued, err := h.SystemCredential(t.Context(), op(), "acme", "the resolver")
		if err != nil {
			t.Fatal(err)
		}
		second, err := h.SystemCredential(t.Context(), op(), "acme", "the resolver")
		if err != nil || second.UserID != issued.UserID || second.PublicKey == issued.PublicKey {
			t.Errorf("issued twice: %+v, %v", second.Credential, err)
		}
		h.verify(t, append(tokens, again.JWT.Reveal(), own.JWT.Reveal(), issued.JWT.Reveal(), second.JWT.Reveal())...)
		config, err := h.ServerConfig(t.Context(), auditor, "acme", "https://chancery.example.com")
		if err != nil || !strings.Contains(config.Text, operator.JWT) || !strings.Contains(config.Text, "URL(https://chancery.example.com/jwt/v1/accounts/)") {
			t.Errorf("%s, %v", config.Text, err)
		}
	})
}
