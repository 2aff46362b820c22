package resolver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"chancery/claims"
)

const (
	// sweepBatch is how many accounts are asked for at once.
	sweepBatch = 50
	// changedLately is how long, in seconds, an account counts as recently changed.
	changedLately = 3600
	// maxUnknown is how many unknown accounts of a sweep are looked at.
	maxUnknown = 100
)

// sweep asks the servers what they hold, at a steady pace, until ctx ends: accounts that
// changed lately every few seconds, all of them every few minutes, and all of them at
// once when we come to lead or a full resolver's hash says that its store is not ours.
func (d *drifter) sweep(ctx context.Context) {
	p := d.o.r.pace
	tick := time.NewTicker(p.sweepTick)
	defer tick.Stop()
	recent, whole := round{every: p.recent}, round{every: p.whole}
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.whole:
			whole.due = time.Time{}
			continue
		case <-tick.C:
		}
		l := d.o.link.Load()
		if l == nil || !d.leader() {
			recent, whole = round{every: p.recent}, round{every: p.whole}
			continue
		}
		d.sweeping.note(ctx, d.step(ctx, l, &recent, &whole))
	}
}

// round is one round of the sweep.
type round struct {
	every time.Duration
	due   time.Time
	began time.Time
	left  []string
	// batch is how many accounts a tick takes, so that the round is done well within its
	// time.
	batch int
	going bool
}

func (r *round) begin(now time.Time, tick time.Duration, accounts []string) {
	r.due, r.began, r.left, r.going = now.Add(r.every), now, accounts, true
	ticks := max(float64(r.every)*0.7/float64(tick), 1)
	r.batch = min(int(math.Ceil(float64(len(accounts))/ticks)), sweepBatch)
}

// next takes the accounts of a tick.
func (r *round) next() []string {
	n := min(r.batch, len(r.left))
	out := r.left[:n]
	r.left = r.left[n:]
	return out
}

// step takes the accounts of one tick.
func (d *drifter) step(ctx context.Context, l *link, recent, whole *round) error {
	now, tick := d.o.r.now(), d.o.r.pace.sweepTick
	if !recent.going && !now.Before(recent.due) {
		recent.begin(now, tick, d.o.accounts(func(e *entry) bool { return e.issuedAt > now.Unix()-changedLately }))
	}
	if !whole.going && !now.Before(whole.due) {
		accounts, err := d.wholeAccounts(ctx, l)
		if err != nil {
			return err
		}
		whole.begin(now, tick, accounts)
	}
	ours := map[string]string{}
	for _, id := range append(recent.next(), whole.next()...) {
		if e := d.o.r.memory.get(id); e != nil {
			ours[id] = e.token
		}
	}
	if len(ours) > 0 {
		found, _, err := d.o.look(ctx, l, ours)
		if err != nil {
			return err
		}
		for _, hints := range found {
			d.add(hints[0])
		}
	}
	d.finish(recent, func(at time.Time) { d.swept.Recent = at })
	d.finish(whole, func(at time.Time) { d.swept.Whole = at })
	return nil
}

func (d *drifter) finish(r *round, note func(at time.Time)) {
	if !r.going || len(r.left) > 0 {
		return
	}
	r.going = false
	d.mu.Lock()
	defer d.mu.Unlock()
	note(d.o.r.now())
}

// accounts returns the operator's accounts in memory that which keeps, in order.
func (o *operator) accounts(which func(e *entry) bool) []string {
	var out []string
	o.r.memory.accounts.Range(func(id string, e *entry) bool {
		if e.operator.Value() == o.id && which(e) {
			out = append(out, id)
		}
		return true
	})
	slices.Sort(out)
	return out
}

// wholeAccounts returns the accounts of a sweep of all: those that a server has in
// memory, or all where a disk is to be read, since its hash is not ours. Accounts of the
// operator that nobody knows here are hints of their own.
func (d *drifter) wholeAccounts(ctx context.Context, l *link) ([]string, error) {
	members, _, _ := d.o.roster.snapshot()
	held, unknown := map[string]bool{}, map[string]bool{}
	take := func(ids []string) {
		for _, id := range ids {
			switch d.o.r.memory.operatorOf(id) {
			case d.o.id:
				held[id] = true
			case "":
				if claims.IsPublicKey(claims.KindAccount, id) && len(unknown) < maxUnknown {
					unknown[id] = true
				}
			}
		}
	}
	expect := make([]string, 0, len(members))
	for _, m := range members {
		expect = append(expect, m.ID)
		out, err := ask[loadedAccounts](ctx, d.o, l, question{subject: accountsSubject(m.ID), expect: []string{m.ID}, limit: d.o.r.pace.answer})
		if err != nil {
			return nil, err
		}
		if a, ok := out[m.ID]; ok && a.Data != nil {
			take(a.Data.Accounts)
		}
	}
	full, _ := d.o.roster.kinds()
	if full > 0 {
		_, err := d.o.listDisks(ctx, l, expect, func(_ string, on diskList) { take(on.accounts) })
		if err != nil {
			return nil, err
		}
	}
	if err := d.lookAtUnknown(ctx, l, unknown); err != nil {
		return nil, err
	}
	if full > 0 && !d.packsAgree(full) {
		return d.o.accounts(func(*entry) bool { return true }), nil
	}
	out := make([]string, 0, len(held))
	for id := range held {
		out = append(out, id)
	}
	slices.Sort(out)
	return out, nil
}

// lookAtUnknown reads accounts that are not known here.
func (d *drifter) lookAtUnknown(ctx context.Context, l *link, unknown map[string]bool) error {
	nothing := make(map[string]string, len(unknown))
	for id := range unknown {
		nothing[id] = ""
	}
	if len(nothing) == 0 {
		return nil
	}
	found, _, err := d.o.look(ctx, l, nothing)
	if err != nil {
		return fmt.Errorf("reading unknown accounts: %w", err)
	}
	for _, hints := range found {
		d.add(hints[0])
	}
	return nil
}

// hearPack takes a full resolver's question for what its store lacks: it holds the hash of
// the store (dirstore.go: Hash), and the address of the answer names the server. An equal
// hash saves reading the disk, another one has it read at once and the server answered,
// unless changes are on their way there.
func (d *drifter) hearPack(m *nats.Msg) {
	if len(m.Data) != sha256.Size || !strings.HasPrefix(m.Reply, strings.TrimSuffix(answersSubject, ">")) {
		return
	}
	server := m.Reply[:strings.LastIndexByte(m.Reply, '.')]
	ours := d.o.storeHash()
	same := bytes.Equal(m.Data, ours[:])
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.packs) > maxHints {
		clear(d.packs)
	}
	differs := true
	agreed, known := d.packs[server]
	switch {
	case same:
		d.packs[server] = d.o.r.now()
		differs = false
	case known && !agreed.IsZero():
		// A change may be on its way; the next round decides.
		d.packs[server] = time.Time{}
		differs = false
	case known:
		delete(d.packs, server)
		if !d.leads.IsZero() {
			d.whole.ring()
		}
	default:
		d.packs[server] = time.Time{}
	}
	if differs && !d.leads.IsZero() { // one replica is enough
		d.o.packing.ask(server, m.Reply)
	}
}

// packsAgree tells whether the stores of n servers had our hash when they last told, not
// long ago.
func (d *drifter) packsAgree(n int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	agreed := 0
	for _, at := range d.packs {
		if d.o.r.now().Sub(at) < d.o.r.pace.whole {
			agreed++
		}
	}
	return agreed >= n
}

// storeHash is the hash that the store of a full resolver has which holds exactly our
// accounts: that of each JWT, all in one by exclusive or.
func (o *operator) storeHash() (all [sha256.Size]byte) {
	o.r.memory.accounts.Range(func(_ string, e *entry) bool {
		if e.operator.Value() == o.id {
			sum := sha256.Sum256([]byte(e.token))
			for n := range all {
				all[n] ^= sum[n]
			}
		}
		return true
	})
	return all
}
