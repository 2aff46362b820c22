package issuer_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"chancery/claims"
	"chancery/custody"
	"chancery/issuer"
	"chancery/store"
)

// readable opens every sealed seed with the key and returns how many there are.
func (h *house) readable(t testing.TB, kek custody.KEK) (n int) {
	t.Helper()
	h.in(t, func(ctx context.Context, tx *store.Tx) error {
		row, err := tx.GetKeyset(ctx, "seeds")
		if err != nil {
			return err
		}
		keys, err := custody.Wrapped{KEKID: row.KEKID, Bytes: row.Wrapped}.Open(kek)
		if err != nil {
			return err
		}
		all, err := tx.KeysToReseal(ctx, 1, []byte("none"), "", 1<<20)
		if err != nil {
			return err
		}
		for _, k := range all {
			at := custody.Identity{Kind: k.Kind, Role: k.Role, Public: k.ID, OperatorID: k.OperatorID, AccountID: k.AccountID}
			open, err := keys.Open(k.Sealed, at)
			if err != nil {
				t.Errorf("%s does not open: %v", k.ID, err)
				continue
			}
			open.Wipe()
			if k.DataKey != custody.DataKey(k.Sealed) {
				t.Errorf("%s says data key %d, sealed with %d", k.ID, k.DataKey, custody.DataKey(k.Sealed))
			}
			at.Public = at.OperatorID
			if _, err := keys.Open(k.Sealed, at); err == nil && k.ID != at.OperatorID {
				t.Errorf("%s opens in another place", k.ID)
			}
			n++
		}
		return nil
	})
	return n
}

// status is the keyset's, or the test fails.
func (h *house) status(t testing.TB) issuer.KeysetStatus {
	t.Helper()
	s, err := h.KeysetStatus(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// manyKeys makes accounts until there are n sealed seeds.
func (h *house) manyKeys(t testing.TB, n int) {
	t.Helper()
	for i := h.readable(t, h.kek); i < n; i++ {
		did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: "acme", Name: fmt.Sprint("N", i), Settings: claims.NewAccountSettings()})).well(t)
	}
}

// everyKeyWorks signs with each kind of key there is in the world.
func everyKeyWorks(t testing.TB, i *issuer.Issuer, w world, n int64) {
	t.Helper()
	did(i.UpdateOperator(t.Context(), op(), w.operator.ID, setURLs([]string{fmt.Sprint("nats://h", n)}))).well(t)
	did(i.UpdateAccount(t.Context(), op(), w.account.ID, func(s *issuer.AccountEdit) { s.Limits.Subs = n })).well(t)
	did(i.Issue(t.Context(), op(), w.account.ID, "d1", issuer.IssueInput{})).well(t)
	did(i.Issue(t.Context(), op(), w.account.ID, "ada@example.com", issuer.IssueInput{})).well(t)
	if _, err := i.SystemCredential(t.Context(), op(), w.operator.ID, "x"); err != nil {
		t.Fatal(err)
	}
}

func TestRotateDataKey(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		beside := h.open(t, h.store, h.kek) // a server that was started before
		before := h.status(t)
		if len(before.DataKeys) != 1 || !before.Open || before.KEKID != h.kek.ID() || before.DataKeys[0].Seeds != 5 || !before.DataKeys[0].Primary {
			t.Fatalf("%+v", before)
		}
		h.unchanged(t, func() {
			out := did(h.RotateDataKey(t.Context(), dryRun(), nil))
			if s := out.well(t); s.Behind() != 5 || len(out.Plan.Changes) != 1 {
				t.Errorf("planned is %+v, %+v", s, out.Plan)
			}
		})
		var told [][2]int64
		s := did(h.RotateDataKey(t.Context(), op(), func(done, total int64) { told = append(told, [2]int64{done, total}) })).well(t)
		if len(s.DataKeys) != 1 || s.DataKeys[0].Seeds != 5 || s.DataKeys[0].ID == before.DataKeys[0].ID || s.KEKID != before.KEKID {
			t.Errorf("%+v became %+v", before, s)
		}
		if len(told) != 1 || told[0] != [2]int64{5, 5} {
			t.Errorf("told was %v", told)
		}
		if n := h.readable(t, h.kek); n != 5 {
			t.Errorf("%d of 5 seeds readable", n)
		}
		everyKeyWorks(t, h.Issuer, w, 1)
		everyKeyWorks(t, beside, w, 2)
		everyKeyWorks(t, h.open(t, h.store, h.kek), w, 3)
		did(beside.CreateAccount(t.Context(), op(), issuer.AccountInput{Name: "LATER", Settings: claims.NewAccountSettings()})).well(t)
		if after := h.status(t); len(after.DataKeys) != 1 || after.DataKeys[0].Seeds != 6 {
			t.Errorf("a server of before seals so: %+v", after)
		}
		for _, entry := range h.audited(t) {
			if entry.TargetKind == "keyset" && (entry.Target != "seeds" || !strings.Contains(entry.Detail, "data_key")) {
				t.Errorf("on record is %+v", entry)
			}
		}
	})
}

// A server goes on when its database is wrapped with another key, until that key rotates the data key; then, and at
// its next start, it says which key is missing.
func TestRewrap(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		words, err := custody.NewPassphrase("six words that nobody will guess")
		if err != nil {
			t.Fatal(err)
		}
		for n, next := range []custody.KEK{anotherKEK(t), words} {
			server, was := h.open(t, h.store, h.kek), h.status(t)
			h.unchanged(t, func() { did(h.RewrapKeyset(t.Context(), dryRun(), next)).well(t) })
			now := did(h.RewrapKeyset(t.Context(), op(), next)).well(t)
			if now.KEKID == was.KEKID || h.status(t).KEKID != now.KEKID || len(h.sealedBy(t, h.kek)) == 0 {
				t.Errorf("%s became %s", was.KEKID, now.KEKID)
			}
			// Again it has nothing to do, whoever asks: also who has only the old key.
			for _, i := range []*issuer.Issuer{h.Issuer, h.open(t, h.store, h.kek), h.open(t, h.store, next)} {
				if again := did(i.RewrapKeyset(t.Context(), op(), next)); again.well(t).KEKID != now.KEKID || len(again.Plan.Changes) != 0 {
					t.Errorf("again: %+v", again)
				}
			}
			if why := h.sealedBy(t, h.kek); !strings.Contains(why, now.KEKID) {
				t.Errorf("with the old key it says %q, not %s", why, now.KEKID)
			}
			everyKeyWorks(t, server, w, int64(10*n+1))
			did(server.CreateAccount(t.Context(), op(), issuer.AccountInput{Name: fmt.Sprint("LATER", n), Settings: claims.NewAccountSettings()})).well(t)
			did(h.open(t, h.store, next).RotateDataKey(t.Context(), op(), nil)).well(t)
			for name, err := range map[string]error{
				"sign":   second(server.Issue(t.Context(), op(), w.account.ID, "d1", issuer.IssueInput{})),
				"seal":   second(server.CreateAccount(t.Context(), op(), issuer.AccountInput{Name: "NEVER", Settings: claims.NewAccountSettings()})),
				"rotate": second(server.RotateDataKey(t.Context(), op(), nil)), "rewrap": second(server.RewrapKeyset(t.Context(), op(), kekOf(t))),
			} {
				if e := wants(t, err, issuer.KindSealed); !strings.Contains(e.Hint, h.status(t).KEKID) {
					t.Errorf("%s: %+v", name, e)
				}
			}
			everyKeyWorks(t, h.open(t, h.store, next), w, int64(10*n+2))
			h.kek = next
			h.Issuer = h.open(t, h.store, next)
			h.readable(t, next)
		}
		_, err = h.RewrapKeyset(t.Context(), op(), custody.KEK{})
		wants(t, err, issuer.KindInvalid)
	})
}

func kekOf(t testing.TB) custody.KEK {
	t.Helper()
	k, err := custody.NewKEK(bytes.NewReader(bytes.Repeat([]byte("k"), 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sealedBy is why a start with the key is sealed.
func (h *house) sealedBy(t testing.TB, kek custody.KEK) string {
	t.Helper()
	return h.open(t, h.store, kek).Sealed()
}

// C14: cut short at any seed, a rotation leaves every seed readable and both data keys in place; the next one
// finishes it, and only then does the old data key go.
func TestRotationCutShort(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		w := h.furnish(t)
		h.manyKeys(t, 12)
		n := h.readable(t, h.kek)
		for k := range n + 1 {
			old := h.status(t).DataKeys[0].ID
			h.failAtSeed(t, k)
			out, err := h.RotateDataKey(t.Context(), op(), nil)
			if k < n && err == nil {
				t.Fatalf("it did not fail at seed %d: %+v", k, out)
			}
			h.raw.Run(t, map[string]string{"sqlite": `DROP TRIGGER cut`, "postgres": `DROP TRIGGER cut ON keys`}[h.store.Dialect()])
			if k < n {
				// What a batch of k seeds leaves behind when the process ends after it.
				h.resealSome(t, k)
				s := h.status(t)
				if len(s.DataKeys) != 2 || s.DataKeys[0].ID != old || s.DataKeys[0].Seeds != int64(n-k) || s.DataKeys[1].Seeds != int64(k) || !s.DataKeys[1].Primary {
					t.Fatalf("cut at seed %d: %+v", k, s)
				}
			}
			if got := h.readable(t, h.kek); got != n {
				t.Errorf("cut at seed %d: %d of %d readable", k, got, n)
			}
			h.Issuer = h.open(t, h.store, h.kek) // the process that comes after
			everyKeyWorks(t, h.Issuer, w, int64(k+1))
			s := did(h.RotateDataKey(t.Context(), op(), nil)).well(t)
			if len(s.DataKeys) != 1 || s.DataKeys[0].Seeds != int64(n) || s.DataKeys[0].ID == old {
				t.Errorf("finished after seed %d: %+v", k, s)
			}
			if got := h.readable(t, h.kek); got != n {
				t.Errorf("finished after seed %d: %d of %d readable", k, got, n)
			}
		}
		t.Logf("%d of %d seeds readable after each of %d cuts, and after each rotation was finished", n, n, n)
	})
}

// failAtSeed makes the database refuse the seed that is sealed anew as the one after k others.
func (h *house) failAtSeed(t *testing.T, k int) {
	t.Helper()
	const done = `(SELECT count(*) FROM keys WHERE data_key = NEW.data_key)`
	if h.store.Dialect() == "sqlite" {
		h.raw.Run(t, fmt.Sprintf(`CREATE TRIGGER cut BEFORE UPDATE OF sealed ON keys WHEN %s >= %d BEGIN SELECT RAISE(ABORT, 'cut'); END`, done, k))
		return
	}
	h.raw.Run(t, fmt.Sprintf(`CREATE OR REPLACE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF %s >= %d THEN RAISE EXCEPTION 'cut'; END IF; RETURN NEW; END $$`, done, k))
	h.raw.Run(t, `CREATE TRIGGER cut BEFORE UPDATE OF sealed ON keys FOR EACH ROW EXECUTE FUNCTION cut()`)
}

// resealSome seals k seeds with the primary data key.
func (h *house) resealSome(t *testing.T, k int) {
	t.Helper()
	err := h.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		row, err := tx.GetKeyset(ctx, "seeds")
		if err != nil {
			return err
		}
		keys, err := custody.Wrapped{KEKID: row.KEKID, Bytes: row.Wrapped}.Open(h.kek)
		if err != nil {
			return err
		}
		primary := keys.Info().Primary
		some, err := tx.KeysToReseal(ctx, primary, custody.Mark(primary), "", k)
		for _, k := range some {
			was := k.Sealed
			if k.Sealed, err = keys.Reseal(was, custody.Identity{Kind: k.Kind, Role: k.Role, Public: k.ID, OperatorID: k.OperatorID, AccountID: k.AccountID}); err != nil {
				return err
			}
			k.DataKey = primary
			if ok, err := tx.SetSealed(ctx, k, was); !ok || err != nil {
				t.Errorf("%s was not sealed anew: %v", k.ID, err)
			}
			// Not what it was any more, so that a second one keeps off.
			if ok, err := tx.SetSealed(ctx, k, was); ok || err != nil {
				t.Errorf("%s was sealed twice: %v", k.ID, err)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A rotation that is stopped between two batches is finished by the next.
func TestRotationStopped(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		h.furnish(t)
		h.manyKeys(t, 130)
		ctx, cancel := context.WithCancel(t.Context())
		_, err := h.RotateDataKey(ctx, op(), func(done, total int64) {
			if done != 100 || total != 130 {
				t.Errorf("%d of %d", done, total)
			}
			cancel()
		})
		wants(t, err, issuer.KindBusy)
		s := h.status(t)
		if n := h.readable(t, h.kek); n != 130 || len(s.DataKeys) != 2 || s.Behind() != 30 {
			t.Errorf("%d readable, %+v", n, s)
		}
		var told int64
		s = did(h.RotateDataKey(t.Context(), op(), func(done, _ int64) { told = done })).well(t)
		if n := h.readable(t, h.kek); n != 130 || len(s.DataKeys) != 1 || told != 30 {
			t.Errorf("%d readable, %d sealed anew, %+v", n, told, s)
		}
	})
}

// A data key stays while a seed needs it, even one that does not open where it stands now.
func TestRotationKeepsWhatIsNeeded(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		old, key := h.status(t).DataKeys[0].ID, w.template.Keys[0].ID
		h.raw.Run(t, `UPDATE keys SET role = 'moved' WHERE id = $1`, key)
		for range 2 {
			_, err := h.RotateDataKey(t.Context(), op(), nil)
			if e := wants(t, err, issuer.KindConflict); e.Code != "seeds_unreadable" || !strings.Contains(e.Hint, key) || !strings.Contains(e.Message, "1 seeds") {
				t.Errorf("%+v", e)
			}
			if s := h.status(t); len(s.DataKeys) != 2 || s.DataKeys[0].ID != old || s.DataKeys[0].Seeds != 1 || s.DataKeys[1].Seeds != 4 {
				t.Errorf("%+v", s)
			}
		}
		h.raw.Run(t, `UPDATE keys SET role = 'signing' WHERE id = $1`, key)
		if s := did(h.RotateDataKey(t.Context(), op(), nil)).well(t); len(s.DataKeys) != 1 || h.readable(t, h.kek) != 5 {
			t.Errorf("%+v", s)
		}
		// What the column says does not count: the seed itself tells its data key.
		h.raw.Run(t, `UPDATE keys SET data_key = 0`)
		did(h.RotateDataKey(t.Context(), op(), nil)).well(t)
		now := int64(h.status(t).DataKeys[0].ID)
		var next issuer.KeysetStatus
		h.failAtSeed(t, 0)
		if _, err := h.RotateDataKey(t.Context(), op(), nil); err == nil {
			t.Fatal("it was not cut short")
		}
		h.raw.Run(t, map[string]string{"sqlite": `DROP TRIGGER cut`, "postgres": `DROP TRIGGER cut ON keys`}[h.store.Dialect()])
		h.raw.Run(t, `UPDATE keys SET data_key = $1 WHERE sealed IS NOT NULL`, int64(h.status(t).DataKeys[1].ID))
		if next = did(h.RotateDataKey(t.Context(), op(), nil)).well(t); int64(next.DataKeys[0].ID) == now || h.readable(t, h.kek) != 5 {
			t.Errorf("%+v", next)
		}
		// A seed whose data key is gone is told of.
		h.raw.Run(t, `UPDATE keys SET sealed = $2 WHERE id = $1`, key, append(custody.Mark(7), make([]byte, 80)...))
		if s := h.status(t); len(s.DataKeys) != 2 || s.DataKeys[1].ID != 7 || !s.DataKeys[1].Missing || s.DataKeys[1].Seeds != 1 {
			t.Errorf("%+v", s)
		}
		h.raw.Run(t, `UPDATE keysets SET wrapped = $1`, []byte("damaged"))
		if s, err := h.open(t, h.store, h.kek).KeysetStatus(t.Context(), auditor); err != nil || !s.Damaged || s.Open {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// Rotations, wrappings and new keys at once, by several processes: no seed is lost, and in the end one data key is left.
func TestRotationsAtOnce(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		w := h.furnish(t)
		h.manyKeys(t, 20)
		replica := func() *issuer.Issuer {
			s := h.store
			if h.store.Dialect() == "postgres" {
				s = h.openStore(t, &h.clock)
			}
			return h.open(t, s, h.kek)
		}
		var all sync.WaitGroup
		rotated := make([]error, 3)
		for n := range rotated {
			i := replica()
			all.Go(func() { _, rotated[n] = i.RotateDataKey(t.Context(), op(), nil) })
		}
		created := 0
		server := replica()
		all.Go(func() {
			for n := range 20 {
				if _, err := server.CreateAccount(t.Context(), op(), issuer.AccountInput{Name: fmt.Sprint("AT", n), Settings: claims.NewAccountSettings()}); err == nil {
					created++
				} else {
					wants(t, err, issuer.KindBusy)
				}
			}
		})
		all.Wait()
		done := 0
		for _, err := range rotated {
			if err == nil {
				done++
			} else {
				wants(t, err, issuer.KindBusy)
			}
		}
		if n := h.readable(t, h.kek); n != 20+created || done == 0 {
			t.Errorf("%d readable of %d, %d rotations done", n, 20+created, done)
		}
		everyKeyWorks(t, server, w, 1)
		if s := did(replica().RotateDataKey(t.Context(), op(), nil)).well(t); len(s.DataKeys) != 1 || s.DataKeys[0].Seeds != int64(20+created) {
			t.Errorf("%+v", s)
		}
		t.Logf("%d of 3 rotations at once done, %d of 20 accounts made meanwhile, %d of %d seeds readable", done, created, h.readable(t, h.kek), 20+created)
	})
}
