package resolver_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

// TestNewerOnAServerIsNotPushedAway has somebody with the operator's key push a newer JWT
// while nobody listens. It is recorded when the servers are reached again, and stays
// until it is decided what becomes of it.
func TestNewerOnAServerIsNotPushedAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	first := w.start(resolver.Hurry{Settle: 100 * time.Millisecond})
	n1 := w.serve(1)[0]
	a := w.account("a")
	w.connect(n1, w.user(a, "u"))
	w.settled()
	first.Stop()

	c, err := jwt.DecodeAccountClaims(w.token(a))
	if err != nil {
		t.Fatal(err)
	}
	c.Description = "changed with nsc"
	for now := time.Now().Unix(); c.IssuedAt == 0 || now <= c.IssuedAt; now = time.Now().Unix() {
		time.Sleep(50 * time.Millisecond) // Encode stamps whole seconds
	}
	foreign, err := c.Encode(w.pair)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.tool(n1).Request("$SYS.REQ.ACCOUNT."+a.id+".CLAIMS.UPDATE", []byte(foreign), patience); err != nil {
		t.Fatal(err)
	}
	if w.held(n1, a) != foreign {
		t.Fatal("the server did not take it")
	}
	cfg := w.config()
	asked := make(chan struct{}, 100)
	cfg.Settle = func(context.Context, string) error { asked <- struct{}{}; return nil }
	w.startWith(cfg, resolver.Hurry{})
	w.await(1)
	await(t, "the question what becomes of it", asked)
	var open []store.Drift
	w.write(func(ctx context.Context, tx *store.Tx) (err error) {
		open, err = tx.OpenDrifts(ctx, w.operator, 10)
		return err
	})
	if len(open) != 1 || open[0].Kind != claims.DriftNewer || open[0].AccountID != a.id {
		t.Errorf("drift %+v", open)
	}
	if w.held(n1, a) != foreign {
		t.Error("it was pushed away")
	}
	if w.sync(a).Done() {
		t.Error("the account is said to be in effect")
	}
}
