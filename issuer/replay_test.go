package issuer_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/issuer"
)

// repeatable is op with an idempotency key.
func repeatable(key, request string) issuer.Op {
	o := op()
	o.IdempotencyKey, o.Fingerprint = key, []byte(request)
	return o
}

// A request that comes again is answered as it was, without what is shown once, and not done again.
func TestReplay(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		issue := func(o issuer.Op) (issuer.Outcome[issuer.Issued], error) {
			return h.Issue(t.Context(), o, "ORDERS", "d1", issuer.IssueInput{TTL: time.Minute})
		}
		first, err := issue(repeatable("k1", "issue d1"))
		if err != nil || first.Replayed || first.Value.Creds.Empty() {
			t.Fatalf("the first: %v, %+v", err, first)
		}
		h.unchanged(t, func() {
			again, err := issue(repeatable("k1", "issue d1"))
			if err != nil || !again.Replayed || again.Value.ID != first.Value.ID || again.Value.JTI != first.Value.JTI {
				t.Errorf("the second: %v, %+v", err, again)
			}
			if !again.Value.Creds.Empty() || !again.Value.JWT.Empty() {
				t.Error("what is shown once was shown twice")
			}
			if e := wants(t, second(issue(repeatable("k1", "issue d2"))), issuer.KindInvalid); e.Code != "idempotency_key_reused" {
				t.Errorf("another request with the key: %+v", e)
			}
		})
		if dump := h.raw.Dump(t); strings.Contains(dump, first.Value.JWT.Reveal()) || strings.Contains(dump, "PRIVATE") {
			t.Error("what was shown once is in the database")
		}
		// Keys are the caller's own, and a dry run leaves none behind.
		other := repeatable("k1", "issue d1")
		other.Caller.ID = "per_other"
		dry := repeatable("k2", "issue d1")
		dry.DryRun = true
		for name, o := range map[string]issuer.Op{"another caller": other, "a dry run": dry, "after the dry run": repeatable("k2", "issue d1")} {
			if out, err := issue(o); err != nil || out.Replayed {
				t.Errorf("%s: %v, replayed %v", name, err, out.Replayed)
			}
		}
		if n := h.raw.Run(t, `UPDATE replays SET answer = answer`); n != 3 {
			t.Errorf("%d answers are kept, want 3", n)
		}
		// After a day the key is free, and the answer is gone.
		h.advance(24*time.Hour + time.Second)
		if err := h.Upkeep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := h.raw.Run(t, `UPDATE replays SET answer = answer`); n != 0 {
			t.Errorf("%d old answers are kept", n)
		}
		if out, err := issue(repeatable("k1", "issue d3")); err != nil || out.Replayed {
			t.Errorf("a day later: %v, replayed %v", err, out.Replayed)
		}
	})
}

// What failed is not remembered: the same request may succeed later.
func TestReplayOfFailure(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		create := func() error {
			return second(h.CreateUser(t.Context(), repeatable("k", "create"), "ORDERS", issuer.UserInput{Name: "d2", Template: "later", Tags: []string{"region:eu"}}))
		}
		wants(t, create(), issuer.KindInvalid)
		in := deviceTemplate()
		in.Body.Name = "later"
		did(h.CreateTemplate(t.Context(), op(), "ORDERS", in)).well(t)
		if err := create(); err != nil {
			t.Error(err)
		}
	})
}

// Of eight equal requests at once one is done; the others get its answer, or are told to come again.
func TestReplayAtOnce(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				_, err := h.Issue(t.Context(), repeatable("k", "issue"), "ORDERS", "d1", issuer.IssueInput{TTL: time.Minute})
				if err != nil && issuer.AsError(err).Code != "request_in_progress" {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		list, err := h.ListCredentials(t.Context(), owner, "ORDERS", "d1", issuer.LedgerPage{Limit: 10})
		if err != nil || len(list) != 2 { // one more than it was furnished with
			t.Errorf("%v, %d credentials, want 2", err, len(list))
		}
	})
}
