package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"chancery/api"
	"chancery/claims"
	"chancery/store"
)

// importerWait is how long the push of an importer waits for its exporter's (store: exporterWait): on a machine where that
// takes longer, either may come first.
const importerWait = 2 * time.Second

// heardPush is what was pushed, and when that was heard here.
type heardPush struct {
	*jwt.AccountClaims
	at time.Time
}

// TestExporterIsPushedFirst listens to the pushes while accounts share with each other that owe nothing else: a push of
// the importer that is under way at that moment goes on with its newest JWT at once.
func TestExporterIsPushedFirst(t *testing.T) {
	t.Parallel()
	eachPlant(t, func(p *plant) {
		p.startServers(1)
		var mu sync.Mutex
		var pushed []heardPush
		p.listen(func(m *nats.Msg) {
			if c, err := jwt.DecodeAccountClaims(string(m.Data)); err == nil {
				mu.Lock()
				defer mu.Unlock()
				pushed = append(pushed, heardPush{c, time.Now()})
			}
		})
		// first returns the place and the time of the first push of an account that shares.
		first := func(account string, shares func(heardPush) bool) (int, time.Time) {
			mu.Lock()
			defer mu.Unlock()
			n := slices.IndexFunc(pushed, func(c heardPush) bool { return c.Subject == account && shares(c) })
			if n < 0 {
				return n, time.Time{}
			}
			return n, pushed[n].at
		}
		const rounds = 20
		p.makePairs(0, rounds)
		good, late := 0, 0
		for n := 0; n < rounds+late; n++ {
			if n >= rounds {
				p.makePairs(n, n+1)
			}
			var out api.Shared
			begun := time.Now()
			p.call("POST", "/shares", fmt.Sprintf(`{"exporter":"FROM%d","importer":"TO%d","kind":"stream","subject":"a.>"}`, n, n), &out)
			var from, to int
			var at time.Time
			// The server's answer to a push may come before the push is heard here.
			eventually(p.t, "both pushes are heard", func() bool {
				from, _ = first(out.Exporter.ID, func(c heardPush) bool { return len(c.Exports) > 0 })
				to, at = first(out.Importer.ID, func(c heardPush) bool { return len(c.Imports) > 0 })
				return from >= 0 && to >= 0
			})
			switch {
			case from < to:
				good++
			case at.Sub(begun) < importerWait:
				p.t.Errorf("round %d: the exporter came %d., the importer %d., %v after the share was asked for", n, from, to, at.Sub(begun))
			case late < rounds:
				late++ // it says nothing; another round takes its place
			default:
				p.t.Fatalf("the importer waited in vain in %d rounds", late)
			}
		}
		p.t.Logf("%d of %d exporters first", good, rounds)
	})
}

// makePairs makes accounts that may share with each other, and waits until nothing is owed any more.
func (p *plant) makePairs(from, to int) {
	p.t.Helper()
	for n := from; n < to; n++ {
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
