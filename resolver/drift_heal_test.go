package resolver_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

// TestDriftStaysOpenWhileAServerIsSilent has a server on the roster that answers nothing:
// as long as it does not say what it holds, no drift ends.
func TestDriftStaysOpenWhileAServerIsSilent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	cfg := w.config()
	// The signer is asked after the second look that did not end the drift.
	asked := make(chan string, 100)
	cfg.Settle = func(_ context.Context, driftID string) error {
		asked <- driftID
		return nil
	}
	w.startWith(cfg, resolver.Hurry{Answer: 200 * time.Millisecond, Poll: 50 * time.Millisecond})
	tool := w.tool(w.serve(1)[0])
	_, ghost := newPair(t, claims.KindServer)
	tell := func(what, text string) {
		t.Helper()
		if err := tool.Publish("$SYS.SERVER."+ghost+"."+what, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	tell("STATSZ", fmt.Sprintf(`{"server":{"id":%q,"name":"ghost","ver":"2.15.2"},"statsz":{}}`, ghost))
	w.awaitRoster(2, 1)
	a := w.account("a")
	var rec store.Drift
	w.write(func(ctx context.Context, tx *store.Tx) (err error) {
		rec, _, err = tx.PutDrift(ctx, store.Drift{OperatorID: w.operator, AccountID: a.id, Kind: claims.DriftOlder, Seen: claims.SeenPushed, OursVersion: a.version})
		return err
	})
	state := func() claims.DriftState {
		t.Helper()
		var now store.Drift
		err := w.store.Read(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
			now, err = tx.GetDrift(ctx, rec.ID)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return now.State
	}
	if id := receive(t, asked); id != rec.ID || state() != claims.DriftOpen {
		t.Errorf("with a silent server drift %s is %s, the signer was asked about %s", rec.ID, state(), id)
	}
	tell("SHUTDOWN", "{}")
	eventually(t, "the end of the drift", func() bool { return state() == claims.DriftHealed })
}

// TestOwnPushesAreNoDrift tells the late push of another replica from an older version
// that somebody brings back, by what came before it on the same way.
func TestOwnPushesAreNoDrift(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{}) // no server: all stays owed
	a := w.account("a")
	versions := []string{"", w.token(a)}
	heard := func(way resolver.Way, version int, want bool) {
		t.Helper()
		if own, err := r.Heard(t.Context(), w.operator, way, a.id, versions[version]); err != nil || own != want {
			t.Errorf("way %d, version %d: taken for ours: %t, %v; want %t", way, version, own, err, want)
		}
	}
	next := func() {
		t.Helper()
		version := w.edit(a, func(c *claims.Account) { c.Settings.Limits.Subs++ })
		versions = append(versions, w.token(a))
		if !r.Readable(t.Context(), a.id, version) {
			t.Fatalf("version %d is not served", version)
		}
	}
	next()
	next()                             // 3
	heard(resolver.ByRequest, 2, true) // of a replica that has not heard of 3
	heard(resolver.ByRequest, 3, true)
	heard(resolver.ByRequest, 2, false) // somebody brought it back
	heard(resolver.ByAnnouncement, 2, true)
	next()                             // 4
	heard(resolver.ByRequest, 3, true) // once more: a push is repeated, such as with a line break behind it
	heard(resolver.ByRequest, 2, false)
	heard(resolver.ByAnyRequest, 3, false) // we never push that way
	heard(resolver.ByAnyRequest, 4, true)
	w.forgive()
	heard(resolver.ByRequest, 3, false) // nothing of ours is on its way any more
}

// TestDeletionIsUndoneWithoutASignature has nobody who signs: a server that closed an
// account on request, and has the right bytes of it, opens it again.
func TestDeletionIsUndoneWithoutASignature(t *testing.T) {
	t.Parallel()
	p := newBarePlant(t, "cache")
	p.start(resolver.Hurry{Settle: 300 * time.Millisecond})
	p.up(1)
	v := p.victim("a")
	p.settled()
	p.delete(v)
	if rec, ok := p.closed(v.id); !ok || rec.Kind != claims.DriftDeleted || rec.State != claims.DriftHealed {
		t.Errorf("not undone: %+v", p.drifts(v.id))
	}
	p.admits("deleted", v)
}
