package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"chancery/api"
	"chancery/claims"
	"chancery/store"
)

// TestExporterIsPushedFirst listens to the pushes while accounts share with each other that owe nothing else: a push of
// the importer that is under way at that moment goes on with its newest JWT at once.
func TestExporterIsPushedFirst(t *testing.T) {
	t.Parallel()
	eachPlant(t, func(p *plant) {
		p.startServers(1)
		var mu sync.Mutex
		var pushed []*jwt.AccountClaims
		p.listen(func(m *nats.Msg) {
			if c, err := jwt.DecodeAccountClaims(string(m.Data)); err == nil {
				mu.Lock()
				defer mu.Unlock()
				pushed = append(pushed, c)
			}
		})
		const rounds = 20
		for n := range rounds {
			for _, side := range []string{"FROM", "TO"} {
				p.call("POST", "/accounts", fmt.Sprintf(`{"name":"%s%d"}`, side, n), nil)
			}
		}
		eventually(p.t, "nothing is owed any more", func() bool {
			var n int64
			must(p.t, p.app.store.Read(p.t.Context(), func(ctx context.Context, t *store.Tx) (err error) {
				n, _, err = t.CountOwed(ctx, "")
				return err
			}))
			return n == 0
		})
		good := 0
		for n := range rounds {
			var out api.Shared
			p.call("POST", "/shares", fmt.Sprintf(`{"exporter":"FROM%d","importer":"TO%d","kind":"stream","subject":"a.>"}`, n, n), &out)
			first := func(account string, shares func(*jwt.AccountClaims) bool) int {
				mu.Lock()
				defer mu.Unlock()
				return slices.IndexFunc(pushed, func(c *jwt.AccountClaims) bool { return c.Subject == account && shares(c) })
			}
			var from, to int
			// The server's answer to a push may come before the push is heard here.
			eventually(p.t, "both pushes are heard", func() bool {
				from = first(out.Exporter.ID, func(c *jwt.AccountClaims) bool { return len(c.Exports) > 0 })
				to = first(out.Importer.ID, func(c *jwt.AccountClaims) bool { return len(c.Imports) > 0 })
				return from >= 0 && to >= 0
			})
			if from > to {
				p.t.Errorf("round %d: the exporter came %d., the importer %d.", n, from, to)
				continue
			}
			good++
		}
		p.t.Logf("%d of %d exporters first", good, rounds)
	})
}

// listen hears every push to the servers.
func (p *plant) listen(f nats.MsgHandler) {
	p.t.Helper()
	p.call("POST", "/accounts/SYS/users", `{"name":"listener","permissions":{"subscribe":{"allow":["$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE"]}}}`, nil)
	var c issued
	p.call("POST", "/accounts/SYS/users/listener/credentials", "{}", &c)
	path := filepath.Join(p.t.TempDir(), "listener.creds")
	must(p.t, writeSecret(path, claims.NewSecret(c.Creds)))
	nc := p.mustConnect(p.running()[0], path)
	_, err := nc.Subscribe("$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE", f)
	must(p.t, err)
	must(p.t, nc.Flush())
}
