package resolver_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store/storetest"
)

// TestLookups answers servers that look an account up, from memory, also when the store
// is gone, and nobody else; after a stop only once memory caught up; never about an account of another operator, and never that
// there is none.
func TestLookups(t *testing.T) {
	t.Parallel()
	s := storetest.SQLite(t)
	w, other := newWorld(t, s), newWorld(t, s)
	var stood atomic.Int64
	cfg := w.config()
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(stood.Load())) }
	w.startWith(cfg, resolver.Hurry{Settle: 100 * time.Millisecond})
	n1 := w.serve(1)[0]
	mine, theirs := w.account("mine"), other.account("theirs")
	_, unknown := newPair(t, claims.KindAccount)
	w.wait(mine, mine.version)
	c := w.tool(n1)
	answers := make(chan *nats.Msg, 10)
	for _, inbox := range []string{"$SYS._INBOX.server.*", "_INBOX.client.*"} {
		if _, err := c.ChanSubscribe(inbox, answers); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(inbox, account string) {
		t.Helper()
		if err := c.PublishRequest("$SYS.REQ.ACCOUNT."+account+".CLAIMS.LOOKUP", inbox+account, nil); err != nil {
			t.Fatal(err)
		}
	}
	// The last answer comes behind any other.
	look := func(what string) {
		t.Helper()
		ask("$SYS._INBOX.server.", unknown)
		ask("$SYS._INBOX.server.", theirs.id)
		ask("_INBOX.client.", mine.id)
		ask("$SYS._INBOX.server.", mine.id)
		if m := receive(t, answers); m.Subject != "$SYS._INBOX.server."+mine.id || string(m.Data) != w.token(mine) {
			t.Errorf("%s: %s answered with %q", what, m.Subject, m.Data)
		}
	}
	look("with a store")
	w.r.Store(nil) // nobody tells of the next commit
	w.revoke(mine, w.user(mine, "gone"))
	stood.Store(int64(2 * time.Second))
	look("after a stop")
	token := w.token(mine)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ask("$SYS._INBOX.server.", mine.id)
	if m := receive(t, answers); string(m.Data) != token {
		t.Errorf("without a store: %s answered with %q", m.Subject, m.Data)
	}
}
