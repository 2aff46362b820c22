package issuer_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// A dry run of everything stores nothing and wakes nobody; then the same goes through for real.
func TestDryRunStoresNothing(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		prepared(t, h)
		h.raw.Run(t, `DELETE FROM people WHERE name <> 'dora'`)
		woken := h.woken.Load()
		h.unchanged(t, func() {
			for name, c := range useCases() {
				if c.reads {
					continue
				}
				if err := c.run(t, h, dryRun()); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
		if h.woken.Load() != woken {
			t.Error("the resolver was woken")
		}
	})
}

// A dry run answers what would be: the object and the plan, but no secret.
func TestDryRunPreviews(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		edit := func(s *issuer.AccountEdit) { s.Limits.Conn = 5 }
		plan, err := h.UpdateAccount(t.Context(), dryRun(), "ORDERS", edit)
		if err != nil || plan.Value.Settings.Limits.Conn != 5 || len(plan.Plan.Changes) != 1 || plan.Plan.Changes[0].Path != "/limits/conn" {
			t.Errorf("%+v, %v", plan, err)
		}
		real, err := h.UpdateAccount(t.Context(), op(), "ORDERS", edit)
		if err != nil || len(real.Plan.Changes) != 1 || real.Plan.Changes[0] != plan.Plan.Changes[0] {
			t.Errorf("planned %+v, did %+v, %v", plan.Plan, real.Plan, err)
		}
		revocation, err := h.Revoke(t.Context(), dryRun(), "ORDERS", issuer.RevokeInput{Subject: issuer.Everybody})
		if err != nil || revocation.Plan.Credentials != 2 || len(revocation.Value.Revocations) != 1 {
			t.Errorf("%+v, %v", revocation, err)
		}
		user, err := h.CreateUser(t.Context(), dryRun(), "ORDERS", issuer.UserInput{Name: "x", Permissions: ownPermissions(), Issue: &issuer.IssueInput{}})
		if err != nil || user.Value.Name != "x" || user.Value.Issued == nil || !user.Value.Issued.Creds.Empty() || !user.Value.Issued.JWT.Empty() {
			t.Errorf("%+v, %v", user, err)
		}
		issued, err := h.Issue(t.Context(), dryRun(), "ORDERS", "d1", issuer.IssueInput{})
		if err != nil || !issued.Value.Creds.Empty() || !issued.Value.JWT.Empty() {
			t.Errorf("%+v, %v", issued, err)
		}
		system, err := h.SystemCredential(t.Context(), dryRun(), "acme", "x")
		if err != nil || !system.Creds.Empty() {
			t.Errorf("%+v, %v", system, err)
		}
		token, err := h.CreateToken(t.Context(), dryRun(), issuer.TokenInput{Name: "x", Grants: issuer.Everything(issuer.RoleOwner), TTL: time.Hour})
		if err != nil || !token.Value.Text.Empty() || token.Value.ID == "" || len(token.Plan.Changes) != 3 {
			t.Errorf("a token came out of a dry run: %v", err)
		}
		link, err := h.SignInLink(t.Context(), dryRun(), "x")
		if err != nil || !link.Empty() {
			t.Errorf("a link came out of a dry run: %v", err)
		}
	})
}

// The live connections of a plan are asked for in a dry run only, and a silent server does not fail it.
func TestPlanCountsConnections(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		live := []claims.Connection{
			{UserKey: w.ada.Issued.PublicKey, IssuerKey: w.ada.Issued.Signer},
			{UserKey: w.device.Issued.PublicKey, IssuerKey: w.device.Issued.Signer},
			{UserKey: w.device.Issued.PublicKey, IssuerKey: w.device.Issued.Signer},
			{UserKey: newUserKey(t), IssuerKey: w.ada.Issued.Signer},
		}
		var asked int
		var silent error
		config := h.config(h.store, h.kek)
		config.Connections = func(_ context.Context, account string) ([]claims.Connection, error) {
			if asked++; account != w.account.ID {
				t.Errorf("asked for %s", account)
			}
			return live, silent
		}
		i, err := issuer.Open(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		counts := func(op issuer.Op) []int {
			conn, err1 := i.UpdateAccount(t.Context(), op, "ORDERS", func(s *issuer.AccountEdit) { s.Limits.Conn = 3 })
			more, err2 := i.UpdateAccount(t.Context(), op, "ORDERS", func(s *issuer.AccountEdit) { s.Limits.Conn = -1 })
			template, err3 := i.UpdateTemplate(t.Context(), op, "ORDERS", "device", func(in *issuer.TemplateInput) { in.Body.Permissions.Subs = 7 })
			user, err4 := i.Revoke(t.Context(), op, "ORDERS", issuer.RevokeInput{Subject: "d1"})
			all, err5 := i.Revoke(t.Context(), op, "ORDERS", issuer.RevokeInput{Subject: issuer.Everybody})
			if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
				t.Fatal(err)
			}
			return []int{conn.Plan.Connections, more.Plan.Connections, template.Plan.Connections, user.Plan.Connections, all.Plan.Connections}
		}
		if got := counts(dryRun()); !slices.Equal(got, []int{1, 0, 2, 2, 4}) || asked != 5 {
			t.Errorf("a dry run counts %v and asked %d times", got, asked)
		}
		silent = errors.New("no answer")
		unknown := []int{-1, -1, -1, -1, -1}
		if got := counts(dryRun()); !slices.Equal(got, unknown) {
			t.Errorf("without an answer a dry run counts %v", got)
		}
		asked = 0
		if got := counts(op()); !slices.Equal(got, unknown) || asked != 0 {
			t.Errorf("a change counts %v and asked %d times", got, asked)
		}
	})
}

// An edit of an older version than the current one is refused; without a version nobody asks.
func TestExpectedVersion(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		edits := map[string]func(op issuer.Op, n int64) error{
			"account": func(op issuer.Op, n int64) error {
				_, err := h.UpdateAccount(t.Context(), op, "ORDERS", func(s *issuer.AccountEdit) { s.Limits.Conn = n })
				return err
			},
			"template": func(op issuer.Op, n int64) error {
				_, err := h.UpdateTemplate(t.Context(), op, "ORDERS", "device", func(in *issuer.TemplateInput) { in.Body.Permissions.Subs = n })
				return err
			},
			"operator": func(op issuer.Op, n int64) error {
				_, err := h.UpdateOperator(t.Context(), op, "acme", setURLs([]string{"nats://h" + strings.Repeat("x", int(n))}))
				return err
			},
		}
		for name, edit := range edits {
			version := func(v int64) issuer.Op { return issuer.Op{Caller: owner, ExpectedVersion: v} }
			if err := edit(version(1), 11); err != nil {
				t.Errorf("%s: the current version: %v", name, err)
			}
			h.unchanged(t, func() {
				for _, v := range []int64{1, 3, -1, 1 << 62} {
					if e := wants(t, edit(version(v), 12), issuer.KindStale); e.Code != "stale" {
						t.Errorf("%s: %+v", name, e)
					}
				}
			})
			if err := edit(version(2), 13); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := edit(op(), 14); err != nil {
				t.Errorf("%s: without a version: %v", name, err)
			}
		}
		// Issuing and revoking never ask for a version, and leave it as it is.
		before := h.account(t, "ORDERS").Version
		stale := issuer.Op{Caller: owner, ExpectedVersion: 1}
		did(h.Revoke(t.Context(), stale, "ORDERS", issuer.RevokeInput{Subject: "d1"})).well(t)
		did(h.Issue(t.Context(), stale, "ORDERS", "d1", issuer.IssueInput{})).well(t)
		if after := h.account(t, "ORDERS").Version; after != before {
			t.Errorf("version %d became %d", before, after)
		}
	})
}

// An edit that changes nothing signs nothing.
func TestEmptyEdit(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		h.advance(time.Minute)
		h.unchanged(t, func() {
			did(h.UpdateAccount(t.Context(), op(), "ORDERS", func(*issuer.AccountEdit) {})).well(t)
			did(h.UpdateTemplate(t.Context(), op(), "ORDERS", "device", func(*issuer.TemplateInput) {})).well(t)
			did(h.UpdateOperator(t.Context(), op(), "acme", setURLs(w.operator.Settings.OperatorServiceURLs))).well(t)
		}, "audit")
	})
}

func TestNamesTaken(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		template := deviceTemplate()
		h.unchanged(t, func() {
			for name, err := range map[string]error{
				"operator": second(h.CreateOperator(t.Context(), op(), issuer.OperatorInput{Name: "acme"})),
				"account":  second(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Name: "ORDERS", Settings: claims.NewAccountSettings()})),
				"system":   second(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Name: issuer.SystemAccountName, Settings: claims.NewAccountSettings()})),
				"template": second(h.CreateTemplate(t.Context(), op(), "ORDERS", template)),
				"user":     second(h.CreateUser(t.Context(), op(), "ORDERS", issuer.UserInput{Name: "d1", Permissions: ownPermissions()})),
			} {
				if e := wants(t, err, issuer.KindConflict); e.Code != "name_taken" || e.Hint == "" {
					t.Errorf("%s: %+v", name, e)
				}
			}
		})
	})
}

func second[T any](_ T, err error) error { return err }

// Several operators in one house: what is ambiguous is asked back, with what to choose from.
func TestOperatorsApart(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		other := h.furnishAs(t, "zeta", "ORDERS")
		if other.operator.Default || !w.operator.Default {
			t.Error("the first operator is not the default one")
		}
		h.unchanged(t, func() {
			_, err := h.GetAccount(t.Context(), owner, "ORDERS")
			e := wants(t, err, issuer.KindConflict)
			for _, id := range []string{w.account.ID, other.account.ID, w.operator.Name, other.operator.Name} {
				if !strings.Contains(e.Hint, id) {
					t.Errorf("%s is not offered in %q", id, e.Hint)
				}
			}
			if e.Code != "ambiguous_name" {
				t.Errorf("code %s", e.Code)
			}
			wants(t, second(h.UpdateAccount(t.Context(), op(), "ORDERS", func(*issuer.AccountEdit) {})), issuer.KindConflict)
			wants(t, second(h.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: "d1"})), issuer.KindConflict)
			wants(t, second(h.Issue(t.Context(), op(), issuer.SystemAccountName, "d1", issuer.IssueInput{})), issuer.KindConflict)
			e = wants(t, second(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Name: "NEW", Settings: claims.NewAccountSettings()})), issuer.KindInvalid)
			if len(e.Problems) != 1 || e.Problems[0].Pointer != "/operator" {
				t.Errorf("%+v", e.Problems)
			}
		})
		for _, ref := range []string{"zeta", other.operator.ID} {
			list, err := h.ListAccounts(t.Context(), owner, ref, issuer.Page{Limit: 10})
			if err != nil || len(list) != 2 || list[0].ID != other.account.ID {
				t.Errorf("the accounts of %s: %d, %v", ref, len(list), err)
			}
		}
		for name, id := range map[string]string{"acme": w.account.ID, "zeta": other.account.ID} {
			in := issuer.TokenInput{Name: name, Grants: []issuer.Grant{{Role: string(issuer.RoleIssuer), Scope: issuer.Scope{Operator: name, Account: "ORDERS"}}}, TTL: time.Hour}
			if k := did(h.CreateToken(t.Context(), op(), in)).well(t); k.Held[0].Account != id {
				t.Errorf("ORDERS of %s is %s", name, k.Held[0].Account)
			}
		}
		config, err := h.ServerConfig(t.Context(), owner, "zeta", "https://x")
		if err != nil || !strings.Contains(config.Text, "URL(https://x/o/"+other.operator.ID+"/jwt/v1/accounts/)") {
			t.Errorf("%s, %v", config.Text, err)
		}
		did(h.Revoke(t.Context(), op(), other.account.ID, issuer.RevokeInput{Subject: issuer.Everybody})).well(t)
		if before := decode[*jwt.AccountClaims](t, h.account(t, w.account.ID).JWT).Revocations; len(before) > 0 {
			t.Errorf("the other operator's account revokes %v", before)
		}
		h.verify(t, w.ada.Issued.JWT.Reveal(), other.ada.Issued.JWT.Reveal())
	})
	t.Run("none", func(t *testing.T) {
		each(t, func(t *testing.T, h *house) {
			e := wants(t, second(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Name: "A", Settings: claims.NewAccountSettings()})), issuer.KindConflict)
			if e.Code != "no_operator" {
				t.Errorf("%+v", e)
			}
		})
	})
}
