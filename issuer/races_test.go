package issuer_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// Revocations, template edits, rotations, new accounts and the upkeep's batches meet on the same accounts, from two
// replicas: every revocation that was acknowledged is in the JWT that is served, everything that was signed is
// signed by a key that holds, and nothing is asked to come again because of a deadlock.
func TestNothingIsLostInRaces(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		h.furnish(t)
		const accounts, rounds, keysEach = 4, 6, 12
		all := deviceTemplate()
		all.Body.Name = "shared"
		did(h.CreateSharedTemplate(t.Context(), op(), "acme", all)).well(t)
		type revoked struct {
			account, subject string
			before           int64
		}
		var ids []string
		users := map[string][]string{}
		for n := range accounts {
			a := did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: "acme", Name: fmt.Sprint("R", n), Settings: claims.NewAccountSettings()})).well(t)
			ids = append(ids, a.ID)
			for k := range keysEach {
				u := did(h.CreateUser(t.Context(), op(), a.ID, issuer.UserInput{Name: fmt.Sprint("u", k), Permissions: ownPermissions(), Issue: &issuer.IssueInput{}})).well(t)
				users[a.ID] = append(users[a.ID], u.Issued.PublicKey)
			}
		}
		replicas := []*issuer.Issuer{h.Issuer, h.Issuer}
		if strings.HasPrefix(h.url, "postgres") {
			replicas[1] = h.open(t, h.openStore(t, &h.clock), h.kek)
		}
		var mu sync.Mutex
		var acknowledged []revoked
		failed := func(what string, err error) {
			if err == nil {
				return
			}
			if e := issuer.AsError(err); e.Kind == issuer.KindConflict || e.Kind == issuer.KindTooFast || e.Kind == issuer.KindStale {
				return
			}
			t.Errorf("%s: %v", what, err)
		}
		var wg sync.WaitGroup
		for n, id := range ids {
			i := replicas[n%2]
			wg.Go(func() {
				for _, key := range users[id] {
					out, err := i.Revoke(t.Context(), op(), id, issuer.RevokeInput{Subject: key})
					if err != nil {
						t.Errorf("revoking: %v", err)
						continue
					}
					mu.Lock()
					acknowledged = append(acknowledged, revoked{id, key, out.Value.Revocations[0].Before})
					mu.Unlock()
				}
			})
			wg.Go(func() {
				for k := range rounds {
					h.advance(time.Second)
					in := issuer.UserInput{Name: fmt.Sprint("s", k), Template: "shared", Tags: []string{"region:eu"}, Issue: &issuer.IssueInput{}}
					failed("issuing", second(replicas[(n+1)%2].CreateUser(t.Context(), op(), id, in)))
					failed("rotating", second(i.AddKey(t.Context(), op(), issuer.KeyOwner{Account: id}, issuer.KeyInput{MakeCurrent: true})))
				}
			})
		}
		wg.Go(func() {
			for k := range rounds {
				edit := func(in *issuer.TemplateInput) { in.Body.Permissions.Subs = int64(100 + k) }
				failed("editing", second(replicas[k%2].UpdateSharedTemplate(t.Context(), op(), "acme", "shared", edit)))
			}
		})
		wg.Go(func() {
			for k := range rounds {
				failed("rotating the operator's key", second(replicas[k%2].AddKey(t.Context(), op(), issuer.KeyOwner{Operator: "acme"}, issuer.KeyInput{MakeCurrent: true})))
				failed("creating", second(replicas[k%2].CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: "acme", Name: fmt.Sprint("N", k), Settings: claims.NewAccountSettings()})))
			}
		})
		for _, i := range replicas {
			wg.Go(func() {
				for range 2 * rounds {
					if err := i.Upkeep(t.Context()); err != nil {
						t.Errorf("upkeep: %v", err)
					}
				}
			})
		}
		wg.Wait()
		if err := errors.Join(h.Upkeep(t.Context()), h.Upkeep(t.Context())); err != nil {
			t.Fatal(err)
		}
		if len(acknowledged) != accounts*keysEach {
			t.Errorf("%d revocations of %d were acknowledged", len(acknowledged), accounts*keysEach)
		}
		for _, r := range acknowledged {
			c := decode[*jwt.AccountClaims](t, h.account(t, r.account).JWT)
			if c.Revocations[r.subject] < r.before {
				t.Errorf("the revocation of %s is lost", r.subject)
			}
		}
		newest := did(h.UpdateSharedTemplate(t.Context(), dryRun(), "acme", "shared", func(*issuer.TemplateInput) {})).well(t).Body.Permissions.Subs
		for _, id := range ids {
			c := decode[*jwt.AccountClaims](t, h.account(t, id).JWT)
			for _, s := range c.SigningKeys {
				if scope, ok := s.(*jwt.UserScope); ok && scope.Template.Subs != newest {
					t.Errorf("an account serves a template of before: %d subscriptions, want %d", scope.Template.Subs, newest)
				}
			}
		}
		h.holds(t, "after the races")
		h.verify(t)
	})
}
