package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"chancery/api"
)

// patience is how long a client waits for one replica before it sends the same request to the other one.
const patience = 1500 * time.Millisecond

// edit is one change of an account, with a key of its own by which it is done once, whoever is asked how often.
type edit struct {
	key, method, path, body string
	// subscriptions is the limit it sets, 0 for none; leaver is whom it revokes, -1 for nobody.
	subscriptions, leaver int
	tries                 int
	acknowledged          time.Time
}

// work is the edits of one account, in their order.
type accountWork struct {
	*resident
	edits []*edit
}

// plan makes so many edits of each account: limits, and every leaver's revocation in between.
func (y *yard) plan(each int) []accountWork {
	var out []accountWork
	for _, x := range y.accounts {
		w := accountWork{resident: x}
		leaver, every := 0, each/(len(x.leaves)+1)
		for n := range each {
			e := &edit{key: fmt.Sprintf("%s-%d", x.name, n), leaver: -1}
			if n > 0 && n%every == 0 && leaver < len(x.leaves) {
				e.method, e.path, e.body, e.leaver = "PUT", fmt.Sprintf("/accounts/%s/revocations/leaver%d", x.name, leaver), `{"reason":"left"}`, leaver
				leaver++
			} else {
				e.subscriptions = 1000 + n
				e.method, e.path, e.body = "PATCH", "/accounts/"+x.name, fmt.Sprintf(`{"limits":{"subscriptions":%d}}`, e.subscriptions)
			}
			w.edits = append(w.edits, e)
		}
		out = append(out, w)
	}
	return out
}

// begin makes the edits, those of an account one after the other and evenly over the span; each is sent to one replica and
// to the other in turns until it is acknowledged. What is returned waits for the end of all.
func (y *yard) begin(work []accountWork, span time.Duration, r *reader) (wait func()) {
	var all sync.WaitGroup
	begun := time.Now()
	for n, w := range work {
		all.Go(func() {
			for i, e := range w.edits {
				due := begun.Add(span * time.Duration(i*len(work)+n) / time.Duration(len(w.edits)*len(work)))
				time.Sleep(time.Until(due))
				if err := y.insist(w.resident, e, (i+n)%2, r); err != nil {
					y.t.Errorf("%s %s: %v", e.method, e.path, err)
					return
				}
			}
		})
	}
	return all.Wait
}

// insist sends an edit until it is acknowledged.
func (y *yard) insist(x *resident, e *edit, first int, r *reader) error {
	var err error
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); e.tries++ {
		var again bool
		var issuedAt time.Time
		issuedAt, again, err = y.send(y.replicas[(first+e.tries)%2], e)
		if err == nil {
			e.acknowledged = time.Now()
			e.tries++
			if !issuedAt.IsZero() {
				r.acknowledge(x.id, issuedAt.Unix())
			}
			return nil
		}
		if !again {
			return err
		}
		time.Sleep(20 * time.Millisecond) // both may be refusing at once
	}
	return fmt.Errorf("not acknowledged within a minute: %w", err)
}

// send sends an edit to one replica and returns when the JWT was issued that has it, if that is told. An error may be
// nobody's answer, or "not now".
func (y *yard) send(to *replica, e *edit) (issuedAt time.Time, again bool, err error) {
	ctx, cancel := context.WithTimeout(y.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, e.method, to.base+"/api/v1"+e.path, strings.NewReader(e.body))
	if err != nil {
		return time.Time{}, false, err
	}
	req.Header.Set("Authorization", "Bearer "+y.token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", e.key)
	resp, err := y.edits.Do(req)
	if err != nil {
		return time.Time{}, true, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return time.Time{}, true, err
	}
	if resp.StatusCode >= 300 {
		busy := resp.StatusCode >= 500 || resp.StatusCode == http.StatusConflict || resp.StatusCode == http.StatusTooManyRequests
		return time.Time{}, busy, fmt.Errorf("%d %s", resp.StatusCode, raw)
	}
	var answer struct {
		IssuedAt time.Time `json:"issued_at"`
		Sync     *api.Sync `json:"sync"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return time.Time{}, false, err
	}
	if answer.IssuedAt.IsZero() && answer.Sync != nil {
		answer.IssuedAt = answer.Sync.IssuedAt // of the JWT that is current by now
	}
	return answer.IssuedAt, false, nil
}
