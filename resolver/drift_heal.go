package resolver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"chancery/claims"
	"chancery/store"
)

// work judges what was heard and looks after what is open.
func (d *drifter) work(ctx context.Context, l *link) error {
	hints := d.take()
	hints = slices.DeleteFunc(hints, d.early)
	errs := make([]error, len(hints))
	atOnce(len(hints), func(n int) {
		if errs[n] = d.judge(ctx, l, hints[n]); errs[n] != nil && ctx.Err() == nil {
			d.add(hints[n])
		}
	})
	return errors.Join(append(errs, d.tend(ctx, l))...)
}

// deletionTime is how long a request to delete an account may take to reach all servers;
// before that there may be nothing to be seen.
const deletionTime = 250 * time.Millisecond

// early puts a hint back that is to be judged at the next tick.
func (d *drifter) early(h hint) bool {
	if !h.deleted || d.o.r.now().Sub(h.at) >= deletionTime {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, newer := d.hints[h.account]; !newer {
		d.hints[h.account] = h
	}
	return true
}

// atOnce calls f with 0 to n-1, a few at the same time.
func atOnce(n int, f func(n int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, healers)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			f(i)
			<-slots
		})
	}
	wg.Wait()
}

// observed is the custody of operators that others sign for: nothing is pushed for them.
const observed = "observed"

// surroundings are what the store knows of a hint.
type surroundings struct {
	served store.Served
	name   string
	// known tells that the account is ours.
	known bool
	// version is which version of ours the hint's JWT is, 0 for none.
	version int64
	owed    bool
	// done tells that another replica recorded it.
	done bool
}

func (d *drifter) surroundings(ctx context.Context, h hint) (s surroundings, err error) {
	d.mu.Lock()
	led := d.leads
	d.mu.Unlock()
	err = d.o.r.store.Read(ctx, func(ctx context.Context, t *store.Tx) error {
		s.served, err = t.GetServed(ctx, h.account)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		s.known = true
		a, err := t.GetAccount(ctx, h.account)
		if err != nil {
			return err
		}
		s.name = a.Name
		if h.token != "" {
			if s.version, err = t.SignedVersion(ctx, h.account, payloadOf([]byte(h.token)).IssuedAt, h.token); err != nil {
				return err
			}
		}
		if s.owed, err = t.IsOwed(ctx, h.account); err != nil {
			return err
		}
		if h.at.Before(led) { // it was heard while another replica led
			s.done, err = t.DriftsSince(ctx, h.account, h.token, h.at.Add(-d.o.r.pace.lead))
		}
		return err
	})
	return s, err
}

// judge finds out whether a hint is drift, and if so records and heals it.
func (d *drifter) judge(ctx context.Context, l *link, h hint) error {
	s, err := d.surroundings(ctx, h)
	if err != nil {
		return fmt.Errorf("judging account %s: %w", h.account, err)
	}
	if s.known {
		d.o.r.takeIn(s.served)
		s.served, _ = d.o.r.sound(s.served)
	}
	if s.known && s.served.OperatorID != d.o.id || s.done || d.innocent(h, s) {
		return nil
	}
	if h.seen != claims.SeenPushed {
		// It may have been a change under way: it is drift if it is still so.
		again, _, err := d.o.look(ctx, l, map[string]string{h.account: s.served.Token})
		if err != nil {
			return err
		}
		h2, still := sameHint(h, again[h.account])
		if !still {
			return nil
		}
		h = h2
	}
	rec, ok := d.record(h, s)
	if !ok {
		return nil
	}
	fresh := false
	err = d.o.r.store.Write(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		rec, fresh, err = t.PutDrift(ctx, rec)
		return err
	})
	if err != nil {
		return fmt.Errorf("recording drift of account %s: %w", h.account, err)
	}
	if fresh {
		d.o.r.metrics.drift.found.WithLabelValues(string(rec.Kind)).Inc()
		d.o.log.WarnContext(ctx, "servers have, or were sent, a JWT that is not ours", driftAttrs(rec)...)
	}
	if rec.State == claims.DriftOpen {
		// Whatever fails here is tried again with the open records.
		d.healing.note(ctx, d.heal(ctx, l, rec, fresh))
	}
	return nil
}

// innocent tells that a hint is ours: the newest, one that is newer than our memory, or
// an older one that was overtaken by a change and will be overtaken on the servers too.
func (d *drifter) innocent(h hint, s surroundings) bool {
	switch {
	case h.deleted || h.missing:
		return !s.known || h.seen != claims.SeenPushed && s.owed
	case s.known && h.token == s.served.Token:
		return true
	case s.version == 0:
		return false
	case s.version >= s.served.Version:
		return true
	}
	return s.owed && h.after <= s.version
}

// record is the record of a hint; ok is false for what is no concern of ours.
func (d *drifter) record(h hint, s surroundings) (rec store.Drift, ok bool) {
	rec = store.Drift{
		OperatorID: d.o.id, AccountID: h.account, AccountName: s.name, ServerID: h.serverID, ServerName: h.server, Seen: h.seen, OursVersion: s.served.Version,
	}
	now := d.o.r.now()
	switch {
	case h.deleted:
		rec.Kind = claims.DriftDeleted
		rec.Detail = "The server has the right JWT, and admits nobody to the account."
		if h.seen == claims.SeenPushed {
			rec.Detail = "Somebody asked the servers to delete the account. Those that allow it close its connections and admit nobody."
		}
		return rec, true
	case h.missing:
		if exp := payloadOf([]byte(s.served.Token)).Expires; exp > 0 && exp <= now.Unix() {
			return rec, false // a full resolver removes what has expired
		}
		rec.Kind, rec.Detail = claims.DriftMissing, "A full resolver does not have the account on its disk."
		return rec, true
	}
	j := claims.Judge(claims.Found{
		AccountID: h.account, Token: h.token, Ours: s.served.Token, OursIssuedAt: s.served.IssuedAt, Signers: d.signers(),
	}, now)
	if !s.known && j.Kind != claims.DriftUnknown {
		return rec, false
	}
	rec.Kind, rec.Signer, rec.IssuedAt, rec.Detail, rec.JWT = j.Kind, j.Signer, j.IssuedAt, j.Detail, h.token
	if !s.known {
		rec.AccountName = j.Name
	}
	if s.version > 0 {
		rec.Detail = strings.TrimSpace(fmt.Sprintf("It is version %d of ours, which version %d has replaced. %s", s.version, s.served.Version, j.Detail))
	}
	for _, c := range j.Changes {
		rec.Diff = append(rec.Diff, store.DriftChange{Pointer: c.Pointer, Field: c.Field, Ours: c.Before, Theirs: c.After, Text: c.Sentence()})
	}
	return rec, true
}

// heal begins to undo a drift that was just noticed.
func (d *drifter) heal(ctx context.Context, l *link, rec store.Drift, fresh bool) error {
	switch {
	case rec.Kind == claims.DriftUnknown, d.o.current.Load().Custody == observed:
		return nil
	case rec.Kind == claims.DriftNewer:
		if !fresh {
			return nil // it was settled, or nobody decided yet
		}
		return d.settle(ctx, rec)
	}
	if err := d.o.pushing.again(ctx, l, rec.AccountID); err != nil {
		return err
	}
	healed, err := d.verify(ctx, l, rec)
	if err == nil && !healed && (rec.Kind == claims.DriftDeleted || rec.Seen == claims.SeenDisk) {
		// A server that closed the account takes the same bytes for no change, and so does
		// a store whose file was changed behind its back (dirstore.go: write).
		err = d.settle(ctx, rec)
	}
	return err
}

// settle asks whoever may sign to do so, by the operator's policy.
func (d *drifter) settle(ctx context.Context, rec store.Drift) error {
	if d.o.r.settle == nil {
		return nil
	}
	if err := d.o.r.settle(ctx, rec.ID); err != nil {
		return fmt.Errorf("settling drift of account %s: %w", rec.AccountID, err)
	}
	return nil
}

// verify closes a record when all servers were read and have nothing but ours; else it
// is looked at again.
func (d *drifter) verify(ctx context.Context, l *link, rec store.Drift) (healed bool, err error) {
	s, err := d.o.r.getServed(ctx, rec.AccountID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, fmt.Errorf("reading account %s: %w", rec.AccountID, err)
	}
	if err == nil {
		s, _ = d.o.r.sound(s)
	}
	found, complete, err := d.o.look(ctx, l, map[string]string{rec.AccountID: s.Token})
	if err != nil {
		return false, err
	}
	if list := found[rec.AccountID]; len(list) > 0 {
		return false, d.o.blame(ctx, s, rec.Kind, list)
	}
	if !complete {
		return false, nil
	}
	state := claims.DriftHealed
	if rec.Decision == claims.DriftAdopt || rec.Kind == claims.DriftUnknown && s.Token != "" {
		state = claims.DriftAdopted
	}
	err = d.o.r.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
		if s.Token != "" { // the deliveries are to be proven anew, see blame
			if err := t.OweAgain(ctx, []string{rec.AccountID}); err != nil {
				return err
			}
		}
		return t.CloseDrift(ctx, rec.ID, state)
	})
	d.o.wake.ring()
	if err != nil {
		return false, fmt.Errorf("closing drift of account %s: %w", rec.AccountID, err)
	}
	took := d.o.r.now().Sub(rec.Found)
	d.o.r.metrics.drift.closed.WithLabelValues(string(state)).Inc()
	d.o.r.metrics.drift.healed.Observe(took.Seconds())
	d.o.log.InfoContext(ctx, "servers have our JWT again", append(driftAttrs(rec), "took", took)...)
	return true, nil
}

// tend looks after the open records.
func (d *drifter) tend(ctx context.Context, l *link) error {
	var open []store.Drift
	err := d.o.r.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		open, err = t.OpenDrifts(ctx, d.o.id, openBatch)
		return err
	})
	if err != nil {
		return fmt.Errorf("reading open drift: %w", err)
	}
	now := d.o.r.now()
	checks := make(map[string]check, len(open))
	var due []store.Drift
	var tries []int
	for _, rec := range open {
		c, known := d.checks[rec.ID]
		switch {
		case !known:
			c = check{at: now, decision: rec.Decision}
		case c.decision != rec.Decision:
			c = check{at: now, decision: rec.Decision}
		}
		if !c.at.After(now) {
			due = append(due, rec)
			tries = append(tries, c.tries)
			c.tries++
			c.at = now.Add(d.pause(rec, c.tries))
		}
		checks[rec.ID] = c
	}
	d.checks = checks
	errs := make([]error, len(due))
	atOnce(len(due), func(n int) { errs[n] = d.retry(ctx, l, due[n], tries[n]) })
	return errors.Join(errs...)
}

// The attempts after which an account is signed anew for the sake of a drift that a push
// did not heal. A server that still has something else then refuses ours, and the
// delivery says why; it is only pushed again.
const firstSigning, lastSigning = 1, 4

// retry looks at an open record again, and does what is next if it is not healed.
func (d *drifter) retry(ctx context.Context, l *link, rec store.Drift, tries int) error {
	healed, err := d.verify(ctx, l, rec)
	switch {
	case err != nil || healed || tries == 0 || rec.Kind == claims.DriftUnknown || d.o.current.Load().Custody == observed:
		return err
	case tries == firstSigning || tries == lastSigning:
		return d.settle(ctx, rec)
	case rec.Kind == claims.DriftNewer && rec.Decision == "":
		return nil
	}
	return d.o.pushing.again(ctx, l, rec.AccountID)
}

// pause is how long until an open record is looked at again.
func (d *drifter) pause(rec store.Drift, tries int) time.Duration {
	p := d.o.r.pace
	if rec.Kind == claims.DriftUnknown || rec.Kind == claims.DriftNewer && rec.Decision == "" {
		return min(p.poll<<min(tries, 10), p.recent)
	}
	return min(p.poll<<min(tries, 10), p.whole)
}

// again pushes an account's current JWT once more, proven or not, under the lease of its
// row in the outbox. While somebody else holds that, they push it.
func (p *pusher) again(ctx context.Context, l *link, accountID string) error {
	r := p.o.r
	until := r.now().Add(r.pace.lease)
	var owed store.Owed
	err := r.store.Write(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		if err := t.OweAgain(ctx, []string{accountID}); err != nil {
			return err
		}
		owed, err = t.ClaimOwedOf(ctx, accountID, r.owner, r.pace.lease)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("claiming the push of account %s: %w", accountID, err)
	}
	r.ledger.disprove(accountID)
	if owed.AccountID == "" {
		p.o.wake.ring()
		return nil
	}
	defer p.release(owed)
	out := p.push(ctx, l, claim{Owed: owed, run: p.hold(owed, until)})
	if err := p.store(ctx, []outcome{out}); err != nil {
		return fmt.Errorf("recording the push of account %s: %w", accountID, err)
	}
	return nil
}

// disprove forgets that the account's JWT was seen everywhere: the next delivery pushes
// it whatever servers say they have in memory, and so that they cannot take it for no
// change.
func (l *ledger) disprove(accountID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.track(accountID)
	t.version, t.insist = 0, true
}

func driftAttrs(rec store.Drift) []any {
	return []any{"drift", rec.ID, "account", rec.AccountID, "kind", string(rec.Kind), "seen", string(rec.Seen), "server", rec.ServerName, "signer", rec.Signer, "iat", rec.IssuedAt}
}
