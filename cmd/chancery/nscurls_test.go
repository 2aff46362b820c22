package main

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/issuer"
)

// paths are those that nsc asks for in vain, or must not be led astray by.
func (x *nscReplay) paths() {
	x.show("no page for unknown paths", func() bool {
		for _, path := range []string{"/jwt/", "/jwt/v1/", "/jwt/v1/x", "/jwt/v2/operator", "/jwt/v3/operator", "/o/acme/jwt/v2/operator", "/t/x/jwt/v2/operator", "/o/nobody/jwt/v1/operator"} {
			if e := x.get(path); e.status != 404 {
				return false
			}
		}
		return true
	})
	x.show("a POST is never redirected", func() bool {
		to := "/jwt/v1/accounts/" + x.orders.id
		for _, path := range []string{to, to + "/", "/jwt/v1/accounts", "/jwt/v1/accounts/", "/jwt/v1/operator", "/jwt/v1/activations/"} {
			if e := x.orders.copy().post(x.base+path, x.orders.local); e.status >= 300 && e.status < 400 {
				return false
			}
		}
		return true
	})
	x.show("add and edit under another operator's path: not there", func() bool {
		c := x.orders.copy()
		c.asu = x.base + "/o/nobody/jwt/v1"
		return c.edit(func(c *jwt.AccountClaims) { c.Description = "elsewhere" }) == 404 && x.served() == x.orders.local
	})
}

// accountServerURLs are the shapes that the URL in the operator's JWT may have.
func (x *nscReplay) accountServerURLs() {
	for _, c := range []struct{ name, asu, sent string }{
		{"with a trailing slash", x.asu + "/", x.asu + "/accounts/" + x.orders.id},
		{"under /o/ by name", x.base + "/o/acme/jwt/v1", x.base + "/o/acme/jwt/v1/accounts/" + x.orders.id},
		{"under /o/ by key", x.base + "/o/" + x.p.operator.ID + "/jwt/v1", x.base + "/o/" + x.p.operator.ID + "/jwt/v1/accounts/" + x.orders.id},
		{"with a query, which every request carries", x.asu + "?x=y", x.asu + "/accounts/" + x.orders.id + "?x=y"},
	} {
		x.show("an account server URL "+c.name, func() bool {
			before := len(x.wire.since(0))
			s := x.orders.copy()
			s.asu = c.asu
			if s.edit(func(c *jwt.AccountClaims) { c.Description += "." }) != 200 || s.claims().Issuer == s.id {
				return false
			}
			x.orders.local = s.local
			sent := x.wire.since(before)
			return len(sent) == 2 && sent[0].url == c.sent && sent[1].url == c.sent
		})
	}
}

// enrolmentTokens are the places in which a URL can carry one, since nsc sends no credentials.
func (x *nscReplay) enrolmentTokens() {
	token := x.enrol(issuer.EnrolToken)
	defer x.enrol(issuer.EnrolOpen)
	host := strings.TrimPrefix(x.base, "http://")
	for n, c := range []struct{ name, asu string }{
		{"the path", x.base + "/t/" + token + "/jwt/v1"},
		{"the query", x.asu + "?t=" + token},
		{"the user information", "http://nsc:" + token + "@" + host + "/jwt/v1"},
		{"the path, before that of the operator", x.base + "/t/" + token + "/o/acme/jwt/v1"},
	} {
		x.show("an enrolment token in "+c.name, func() bool {
			s := x.store("T" + string(rune('A'+n)))
			s.asu = c.asu
			return s.add() == 200 && s.edit(func(c *jwt.AccountClaims) { c.Description = "again" }) == 200 && s.claims().Description == "again"
		})
	}
	x.show("no enrolment token, and wrong ones", func() bool {
		for _, asu := range []string{x.asu, x.base + "/t/" + token + "x/jwt/v1", x.asu + "?t=", "http://nsc:wrong@" + host + "/jwt/v1"} {
			s := x.store("REFUSED")
			if s.asu = asu; s.add() != 403 || s.get(x.asu+"/accounts/"+s.id).status != 404 {
				return false
			}
		}
		return true
	})
}

// push is nsc push of one account: a POST, and no GET after it.
func (x *nscReplay) push() {
	a := x.orders
	x.show("push of the operator's JWT again: one POST, and nothing changes", func() bool {
		before := len(x.wire.since(0))
		ok := a.pushes() == 200 && strings.Contains(a.said, "Nothing changes")
		return ok && len(x.wire.since(before)) == 1 && x.served() == a.local
	})
	x.show("push -u of another URL than the operator's", func() bool {
		c := a.copy()
		c.asu = x.base + "/o/acme/jwt/v1"
		return c.pushes() == 200 && strings.Contains(c.said, "Nothing changes")
	})
	x.show("push of a self-signed JWT that rested for longer than 10 minutes: refused, with the command", func() bool {
		c := a.copy()
		c.local = repacked(x.t, c.edited(c.pair, func(c *jwt.AccountClaims) { c.Description = "old" }), c.pair, func(p map[string]any) {
			p["iat"] = a.claims().IssuedAt - 660
		})
		return c.pushes() == http.StatusPreconditionFailed && c.exit == 1 && c.prints("> nsc pull -a ORDERS -F") && x.served() == a.local
	})
}

// pushAndPullAll is nsc push -A and pull -A of a store with fifty accounts.
func (x *nscReplay) pushAndPullAll() {
	stores := make([]*managedStore, 50)
	enrolled := 0
	for n := range stores {
		stores[n] = x.store("MANY" + string(rune('A'+n/10)) + string(rune('0'+n%10)))
		if stores[n].add() == http.StatusOK {
			enrolled++
		}
	}
	x.show("add account, fifty times", func() bool { return enrolled == len(stores) })
	x.show("push -A of fifty accounts: one POST each, one after the other, and no GET", func() bool {
		before := len(x.wire.since(0))
		for _, s := range stores {
			if s.pushes() != http.StatusOK {
				return false
			}
		}
		sent := x.wire.since(before)
		for n, e := range sent {
			if e.method != http.MethodPost || e.url != stores[n].account() || n > 0 && e.begun < sent[n-1].ended {
				return false
			}
		}
		return len(sent) == len(stores)
	})
	before := len(x.wire.since(0))
	second := x.get("/jwt/v2/operator")
	x.show("pull -A asks for /jwt/v2/operator first, and alone: an error, so that v1 is asked for with the accounts", func() bool {
		return second.status == http.StatusNotFound
	})
	got, err := x.atOnce(stores)
	must(x.t, err)
	sent := x.wire.since(before)
	x.show("pull -A of fifty accounts: all at once, after the operator, each on a connection of its own", func() bool {
		began, ended, from := 0, second.ended, map[string]bool{}
		for _, e := range sent[1:] {
			if e.begun < ended {
				return false
			}
			began, from[e.from] = max(began, e.begun), true
		}
		for _, e := range sent[1:] {
			if e.ended < began {
				return false
			}
		}
		return sent[0] == second && len(sent) == len(stores)+2 && len(from) == len(stores)+1
	})
	x.show("pull -A of fifty accounts: each gets its own JWT, and the operator's", func() bool {
		for n, s := range stores {
			if e := got[n]; e.status != http.StatusOK || e.body != s.local || s.claims().Subject != s.id || s.claims().Name != s.name {
				return false
			}
		}
		c, err := jwt.DecodeOperatorClaims(got[len(stores)].body)
		return err == nil && c.Subject == x.p.operator.ID
	})
}

// atOnce is the batch of nsc pull -A: every account and, last, the operator. Nobody reads a body before everybody's
// answer has come, so that all requests are under way together; after a minute those that have none fail.
func (x *nscReplay) atOnce(stores []*managedStore) ([]*exchange, error) {
	ctx, cancel := context.WithTimeout(x.t.Context(), time.Minute)
	defer cancel()
	urls := make([]string, 0, len(stores)+1)
	for _, s := range stores {
		urls = append(urls, s.account())
	}
	urls = append(urls, x.asu+"/operator")
	got, failed := make([]*exchange, len(urls)), make(chan error, len(urls))
	var answered, done sync.WaitGroup
	answered.Add(len(urls))
	for n, to := range urls {
		done.Go(func() {
			var err error
			if got[n], err = x.wire.send(ctx, http.MethodGet, to, "", func() { answered.Done(); answered.Wait() }); err != nil {
				failed <- err
			}
		})
	}
	done.Wait()
	close(failed)
	return got, <-failed
}
