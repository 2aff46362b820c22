package issuer_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// Concurrent creations on two replicas do not exceed a quota, and use it up.
func TestQuotasUnderLoad(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		settings := claims.NewAccountSettings()
		settings.Limits.Conn = 10
		in := func(n int) issuer.UserInput {
			return issuer.UserInput{Name: fmt.Sprint("u", n), Permissions: ownPermissions()}
		}
		const tries = 12
		total, kept := 0, 0
		for name, c := range map[string]struct {
			level string
			g     claims.Guardrails
			want  int64
			do    func(i *issuer.Issuer, n int) error
		}{
			"users": {"account", quota(claims.QuotaUsers, 5), 3, func(i *issuer.Issuer, n int) error {
				return second(i.CreateUser(t.Context(), op(), "ORDERS", in(n)))
			}},
			"templates": {"operator", quota(claims.QuotaTemplates, 4), 3, func(i *issuer.Issuer, n int) error {
				x := deviceTemplate()
				x.Body.Name = fmt.Sprint("t", n)
				return second(i.CreateTemplate(t.Context(), op(), "ORDERS", x))
			}},
			"signing keys": {"account", quota(claims.QuotaSigningKeys, 4), 2, func(i *issuer.Issuer, _ int) error {
				return second(i.AddKey(t.Context(), op(), issuer.KeyOwner{Account: "ORDERS"}, issuer.KeyInput{}))
			}},
			"credentials": {"account", quota(claims.QuotaCredentials, 4), 3, func(i *issuer.Issuer, _ int) error {
				return second(i.Issue(t.Context(), op(), "ORDERS", "d1", issuer.IssueInput{TTL: time.Minute}))
			}},
			"accounts": {"operator", quota(claims.QuotaAccounts, 4), 3, func(i *issuer.Issuer, n int) error {
				return second(i.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: "acme", Name: fmt.Sprint("A", n), Settings: settings}))
			}},
			"connections": {"operator", quota(claims.TotalConnections, 59), 4, func(i *issuer.Issuer, n int) error {
				return second(i.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: "acme", Name: fmt.Sprint("C", n), Settings: settings}))
			}},
		} {
			h := newHouse(t, h.store.Dialect()) // the functions get its issuers
			h.furnish(t)
			did(h.UpdateAccount(t.Context(), op(), "ORDERS", func(e *issuer.AccountEdit) { e.Limits.Conn = 10 })).well(t)
			h.guard(t, c.level, c.g)
			local := []*issuer.Issuer{h.Issuer, h.Issuer}
			if strings.HasPrefix(h.url, "postgres") {
				local[1] = h.open(t, h.openStore(t, &h.clock), h.kek)
			}
			var made atomic.Int64
			var wg sync.WaitGroup
			for n := range tries {
				wg.Go(func() {
					err := c.do(local[n%2], n)
					switch {
					case err == nil:
						made.Add(1)
					case !refusedBy(err, c.level, "") && !refusedBy(err, c.level, "/limits/connections"):
						t.Errorf("%s: %v %+v", name, err, issuer.AsError(err).Problems)
					}
				})
			}
			wg.Wait()
			total++
			if made.Load() == c.want {
				kept++
			} else {
				t.Errorf("%s: %d of %d were made, want %d", name, made.Load(), tries, c.want)
			}
		}
		t.Logf("%d of %d quotas kept under %d creations at once", kept, total, tries)
	})
}
