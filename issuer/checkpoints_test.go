package issuer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	sumdb "golang.org/x/mod/sumdb/note"

	"chancery/custody"
	"chancery/issuer"
	"chancery/store"
)

// anchor numbers what there is and writes one checkpoint.
func (h *house) anchor(t testing.TB) {
	t.Helper()
	h.sequence(t)
	anchorOnce(h.Issuer)
	h.sequence(t)
}

// anchorOnce lets Anchor write what it writes when it ends.
func anchorOnce(i *issuer.Issuer) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	i.Anchor(ctx)
}

// lines are those of the checkpoint file.
func (h *house) lines(t testing.TB) (out []string) {
	t.Helper()
	if err := h.checkpoints.Lines(func(line []byte) error { out = append(out, string(line)); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func (h *house) verifier(t testing.TB) string {
	t.Helper()
	v, err := h.AuditVerifier(t.Context(), owner)
	if err != nil || v == "" {
		t.Fatalf("%q, %v", v, err)
	}
	return v
}

// A checkpoint is a signed note that the field's own library verifies; it says number, hash and time of the last entry.
func TestCheckpoint(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		wants(t, second(h.Checkpoint(t.Context(), owner)), issuer.KindNotFound)
		if v, err := h.AuditVerifier(t.Context(), owner); v != "" || err != nil {
			t.Errorf("a verifier before the first checkpoint: %q, %v", v, err)
		}
		h.anchor(t)
		v, err := sumdb.NewVerifier(h.verifier(t))
		if err != nil || !strings.HasPrefix(v.Name(), "chancery/audit/") {
			t.Fatalf("%v, %v", v, err)
		}
		c, err := h.Checkpoint(t.Context(), auditor)
		if err != nil {
			t.Fatal(err)
		}
		n, err := sumdb.Open([]byte(c.Note), sumdb.VerifierList(v))
		if err != nil {
			t.Fatal(err)
		}
		entries := h.audited(t)
		lines := strings.Split(n.Text, "\n")
		if lines[0] != v.Name() || lines[1] != fmt.Sprint(len(entries)) || lines[3] != "2026-11-21T10:00:00Z" || c.Seq != int64(len(entries)) || !bytes.Equal(c.Hash, entries[len(entries)-1].Hash) || c.Verifier != h.verifier(t) {
			t.Errorf("%q of %d entries", lines, len(entries))
		}
		if last := entries[len(entries)-1]; last.Action != "create" || last.TargetKind != "key" || last.Actor != "system/audit" {
			t.Errorf("the key is not on record: %+v", last)
		}
		known, err := issuer.ParseCheckpoint([]byte(h.lines(t)[0]), h.verifier(t))
		if err != nil || known.Seq != c.Seq-1 {
			t.Errorf("the first line: %+v, %v", known, err)
		}
	})
}

// Checkpoints are written each minute and each thousand entries, while there is something new; at the end once more.
func TestAnchorIsDue(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		h.sequence(t)
		ctx, cancel := contextWithCancel(t)
		done := make(chan struct{})
		go func() { defer close(done); h.Anchor(ctx) }()
		numbers := func() (out []int64) {
			f, err := issuer.ReadCheckpoints(h.checkpoints.Lines, h.verifier(t))
			if err != nil || f.Torn+f.Foreign > 0 {
				t.Fatalf("%+v, %v", f, err)
			}
			for _, c := range f.Checkpoints {
				out = append(out, c.Seq)
			}
			return out
		}
		await(t, func() bool { return len(h.lines(t)) == 1 })
		first := numbers()[0]
		more := func(n int) {
			err := h.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				return tx.AppendAudits(ctx, store.AuditEntry{Action: "x", TargetKind: "x", Detail: "{}"}, make([]string, n))
			})
			if err != nil {
				t.Fatal(err)
			}
			h.sequence(t)
		}
		more(1000)
		await(t, func() bool { return len(h.lines(t)) == 2 })
		more(1)
		h.advance(61 * time.Second)
		await(t, func() bool { return len(h.lines(t)) == 3 })
		more(1)
		cancel()
		<-done
		// The key's own entry came after the first checkpoint.
		if got, want := fmt.Sprint(numbers()), fmt.Sprint([]int64{first, first + 1001, first + 1002, first + 1003}); got != want {
			t.Errorf("checkpoints of %s, want %s", got, want)
		}
		anchorOnce(h.Issuer)
		if n := len(h.lines(t)); n != 4 {
			t.Errorf("%d lines, with nothing new", n)
		}
		if s := h.AnchorState(); s.Seq != first+1003 || s.Behind != 0 || s.Error != "" {
			t.Errorf("%+v", s)
		}
	})
}

// await polls for what a goroutine with its own clock does.
func await(t *testing.T, holds func() bool) {
	t.Helper()
	late := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("it does not come to that")
		}
	}
}

// Replicas that start at once agree on one key.
func TestReplicasShareTheAuditKey(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		h.sequence(t)
		var wait sync.WaitGroup
		logs := make([]*issuer.FileLog, 4)
		for n := range logs {
			logs[n] = issuer.NewFileLog(filepath.Join(t.TempDir(), fmt.Sprint("replica", n)))
			t.Cleanup(func() { _ = logs[n].Close() })
			cfg := h.config(h.store, h.kek)
			cfg.Checkpoints = logs[n]
			i, err := issuer.Open(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			wait.Go(func() { anchorOnce(i) })
		}
		wait.Wait()
		for n, l := range logs {
			f, err := issuer.ReadCheckpoints(l.Lines, h.verifier(t))
			if err != nil || len(f.Checkpoints) != 1 || f.Foreign+f.Torn != 0 {
				t.Errorf("replica %d: %+v, %v", n, f, err)
			}
		}
	})
}

// What hinders checkpoints hinders nothing else: it is told once, and made up for.
func TestAnchorThatFails(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		h.sequence(t)
		var log bytes.Buffer
		cfg := h.config(h.store, h.kek)
		cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		dir := filepath.Join(t.TempDir(), "missing")
		file := issuer.NewFileLog(filepath.Join(dir, "checkpoints"))
		t.Cleanup(func() { _ = file.Close() })
		cfg.Checkpoints = file
		i, err := issuer.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			anchorOnce(i)
		}
		if s := i.AnchorState(); s.Error == "" || s.Behind == 0 || strings.Count(log.String(), "level=WARN") != 1 {
			t.Errorf("%+v, log %s", s, log.String())
		}
		did(i.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: "d1"})).well(t)
		h.sequence(t)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		anchorOnce(i)
		if s := i.AnchorState(); s.Error != "" || s.Behind != 0 || !strings.Contains(log.String(), "written again") {
			t.Errorf("%+v, log %s", s, log.String())
		}
	})
}

// A sealed issuer signs no checkpoints, and says so; everything else goes on.
func TestAnchorWhileSealed(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		h.anchor(t)
		lines := len(h.lines(t))
		sealed := h.open(t, h.store, custody.KEK{})
		anchorOnce(sealed)
		if s := sealed.AnchorState(); !strings.Contains(s.Error, "sealed") || len(h.lines(t)) != lines {
			t.Errorf("%+v, %d lines", s, len(h.lines(t)))
		}
		wants(t, second(sealed.Checkpoint(t.Context(), owner)), issuer.KindSealed)
		if v, err := sealed.VerifyAudit(t.Context(), owner, nil); err != nil || !v.Whole() || v.Checkpoints != 1 {
			t.Errorf("%+v, %v", v, err)
		}
	})
}

// C20: killed anywhere in the writing of a line, the file is read up to there, the chain holds, no checkpoint is ahead
// of it, and the next start goes on behind the torn line.
func TestTornCheckpoint(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		h.anchor(t)
		h.anchor(t)
		whole := strings.Join(h.lines(t), "\n") + "\n"
		path := filepath.Join(t.TempDir(), "torn")
		second := strings.Index(whole, "\n") + 1
		cuts := 0
		for cut := second; cut < len(whole); cut += 7 {
			if err := os.WriteFile(path, []byte(whole[:cut]), 0o600); err != nil {
				t.Fatal(err)
			}
			log := issuer.NewFileLog(path)
			cfg := h.config(h.store, h.kek)
			cfg.Checkpoints = log
			i, err := issuer.Open(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			torn := 0
			if cut > second {
				torn = 1
			}
			v, err := i.VerifyAudit(t.Context(), owner, nil)
			if err != nil || !v.Whole() || v.Checkpoints != 1 || v.Torn != torn {
				t.Fatalf("cut at %d: %+v, %v", cut, v, err)
			}
			anchorOnce(i)
			v, err = i.VerifyAudit(t.Context(), owner, nil)
			if err != nil || !v.Whole() || v.Checkpoints != 2 || v.Torn != torn || v.Lines != 2+torn {
				t.Fatalf("cut at %d, and gone on: %+v, %v", cut, v, err)
			}
			if err := log.Close(); err != nil {
				t.Fatal(err)
			}
			cuts++
		}
		t.Logf("%d of %d cuts left a file to go on with", cuts, cuts)
	})
}

// What another key signed, and what was altered, is no checkpoint.
func TestForeignCheckpoints(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		h.anchor(t)
		line := h.lines(t)[0]
		skey, vkey, err := sumdb.GenerateKey(nil, "chancery/audit/other")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sumdb.NewSigner(skey); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			line, verifier string
			want           error
		}{
			"another key":        {line, vkey, issuer.ErrForeignCheckpoint},
			"another number":     {strings.Replace(line, `\n`, `\n1`, 1), h.verifier(t), issuer.ErrForeignCheckpoint},
			"nothing":            {"", h.verifier(t), issuer.ErrTornCheckpoint},
			"half":               {line[:len(line)/2], h.verifier(t), issuer.ErrTornCheckpoint},
			"no note":            {"{}", h.verifier(t), issuer.ErrTornCheckpoint},
			"a note of no parts": {`{"note":"x"}`, h.verifier(t), issuer.ErrForeignCheckpoint},
		} {
			if _, err := issuer.ParseCheckpoint([]byte(c.line), c.verifier); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
		if err := issuer.CheckVerifier("x"); err == nil {
			t.Error("any text is a verifier")
		}
		if _, err := issuer.ParseCheckpoint([]byte(line), "x"); err == nil {
			t.Error("any text verifies")
		}
		if err := h.checkpoints.Append([]byte(strings.Replace(line, `\n`, `\n1`, 1) + "\n")); err != nil {
			t.Fatal(err)
		}
		if v, err := h.VerifyAudit(t.Context(), owner, nil); err != nil || v.Foreign != 1 || v.Whole() {
			t.Errorf("%+v, %v", v, err)
		}
	})
}

// The file of one process is not written by another.
func TestCheckpointFileIsHeld(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "c")
	one, two := issuer.NewFileLog(path), issuer.NewFileLog(path)
	if err := one.Append([]byte("a\n")); err != nil {
		t.Fatal(err)
	}
	if err := two.Append([]byte("b\n")); !errors.Is(err, store.ErrHeld) {
		t.Errorf("%v", err)
	}
	if err := one.Close(); err != nil {
		t.Error(err)
	}
	// A process that is being forked elsewhere in this binary holds the lock for a moment.
	await(t, func() bool { return two.Append([]byte("b\n")) == nil })
	if err := errors.Join(two.Close(), two.Close()); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "a\nb\n" {
		t.Errorf("%q, %v", text, err)
	}
}

// A long log is thinned to what bounds the memory, and keeps its last checkpoint.
func TestManyCheckpoints(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		h.anchor(t)
		line := []byte(h.lines(t)[0])
		const n = 12_001
		f, err := issuer.ReadCheckpoints(func(each func([]byte) error) error {
			for range n {
				if err := each(line); err != nil {
					return err
				}
			}
			return nil
		}, h.verifier(t))
		if err != nil || f.Lines != n || len(f.Checkpoints) > issuer.MaxCheckpoints || len(f.Checkpoints) < 1000 {
			t.Errorf("%d of %d lines, %v", len(f.Checkpoints), f.Lines, err)
		}
		wants(t, second(h.VerifyAudit(t.Context(), owner, make([]store.Checkpoint, issuer.MaxCheckpoints+1))), issuer.KindInvalid)
	})
}

// With checkpoints in a file, what nothing in the database can tell is located too; whoever looks at the log is told.
func TestTamperingIsHeldAgainstTheFile(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		h.anchor(t)
		for n := range 5 {
			did(h.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: "d1"})).well(t)
			h.advance(time.Duration(n+1) * time.Minute)
			h.anchor(t)
		}
		entries := h.audited(t)
		last := entries[len(entries)-1].Seq
		if v, err := h.VerifyAudit(t.Context(), owner, nil); err != nil || !v.Whole() || v.Entries != last || v.Checkpoints != 6 {
			t.Fatalf("%+v, %v", v, err)
		}
		if _, broken := h.AuditBroken(owner); broken {
			t.Error("a whole log is called broken")
		}
		h.raw.Run(t, `DELETE FROM audit WHERE seq > $1`, last-2)
		h.raw.Run(t, `UPDATE sequencer SET audit_seq = $1, audit_hash = $2`, last-2, entries[last-3].Hash)
		v, err := h.VerifyAudit(t.Context(), owner, nil)
		if err != nil || len(v.Faults) != 1 || v.Faults[0].Kind != store.FaultTruncated || v.Faults[0].Seq != last-1 {
			t.Errorf("%+v, %v", v, err)
		}
		told, broken := h.AuditBroken(auditor)
		if !broken || len(told.Faults) != 1 {
			t.Errorf("%+v, %v", told, broken)
		}
		if _, told := h.AuditBroken(issuer.Caller{}); told {
			t.Error("nobody is told")
		}
	})
}

// Whoever takes the key out of the database, with which it could all be told, is found out by the file.
func TestCheckpointsWithoutTheirKey(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		h.anchor(t)
		if v, err := h.VerifyAudit(t.Context(), owner, nil); err != nil || !v.Whole() || v.Lines != 1 {
			t.Fatalf("%+v, %v", v, err)
		}
		h.raw.Run(t, `DELETE FROM keys WHERE role = 'checkpoint'`)
		if v, err := h.VerifyAudit(t.Context(), owner, nil); err != nil || v.Whole() || v.Foreign != 1 {
			t.Errorf("%+v, %v", v, err)
		}
		some := may(on(issuer.RoleAuditor, h.account(t, "ORDERS").OperatorID)).Caller
		if _, told := h.AuditBroken(some); told {
			t.Error("who may read a part of the log is told of all of it")
		}
		if _, told := h.AuditBroken(auditor); !told {
			t.Error("who may read all of it is not told")
		}
	})
}
