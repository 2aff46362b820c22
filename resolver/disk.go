package resolver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// compareAtOnce is how many accounts are looked up on the disks at once.
const compareAtOnce = 16

// errDisksSilent tells that a comparison is not complete.
var errDisksSilent = errors.New("a server with a full resolver did not say what is on its disk")

// diskDiffers looks accounts up on the disks of the servers with full resolvers and
// returns those that some disk misses and those of which some disk has another JWT than
// memory, sorted. An answer does not say whose it is. Without full resolvers there is
// nothing to compare. The error tells that not every disk was seen for every account;
// what is returned with it was found all the same.
func (o *operator) diskDiffers(ctx context.Context, l *link, accountIDs []string) (missing, other []string, err error) {
	full, unknown := o.roster.kinds()
	if full == 0 {
		return nil, nil, nil
	}
	var mu sync.Mutex
	var work sync.WaitGroup
	var silent atomic.Bool // some disk did not answer even with patience
	slots := make(chan struct{}, compareAtOnce)
	for _, id := range accountIDs {
		if ctx.Err() != nil {
			break
		}
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			d, lookErr := o.lookUp(ctx, l, id, full+unknown, o.r.pace.quiet)
			// One pause of a busy server among thousands of answers is not worth beginning again.
			if lookErr == nil && d.answers() < full && !silent.Load() {
				again, againErr := o.lookUp(ctx, l, id, full+unknown, o.r.pace.answer)
				if again.answers() > d.answers() {
					d = again
				}
				lookErr = againErr
				silent.CompareAndSwap(false, d.answers() < full)
			}
			mu.Lock()
			defer mu.Unlock()
			if d.missing > 0 {
				missing = append(missing, id)
			}
			if d.other > 0 {
				other = append(other, id)
			}
			switch {
			case err != nil:
			case lookErr != nil:
				err = lookErr
			case d.answers() < full:
				err = errDisksSilent
			}
		})
	}
	work.Wait()
	slices.Sort(missing)
	slices.Sort(other)
	if err == nil {
		err = ctx.Err()
	}
	return missing, other, err
}

// disks is what the disks of full resolvers have of one account.
type disks struct{ ours, missing, other int }

func (d *disks) answers() int { return d.ours + d.missing + d.other }

// agree tells whether all full servers have ours.
func (d *disks) agree(full int) bool { return d.ours >= full && d.missing+d.other == 0 }

// take counts an answer to a lookup: a JWT, or nothing where there is no file.
func (d *disks) take(m *nats.Msg, token string) {
	switch {
	case noResponders(m):
	case len(m.Data) == 0:
		d.missing++
	case string(m.Data) == token:
		d.ours++
	default:
		d.other++
	}
}

// lookUp asks for an account on the disks of up to limit servers, until none answered
// for as long as quiet, and compares the answers with what memory has when they came.
func (o *operator) lookUp(ctx context.Context, l *link, accountID string, limit int, quiet time.Duration) (disks, error) {
	x := l.inbox.exchange(nil, limit)
	defer x.close()
	if _, err := x.ask(lookupSubject(accountID), nil); err != nil {
		return disks{}, fmt.Errorf("looking account %s up: %w", accountID, err)
	}
	var answers []*nats.Msg
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	x.gather(ctx, o.r.pace.answer, quiet, func(m *nats.Msg) string {
		if answers = append(answers, m); len(answers) == limit {
			enough()
		}
		return ""
	})
	d, token := disks{}, ""
	if e := o.r.memory.get(accountID); e != nil && e.operator.Value() == o.id {
		token = e.token
	}
	for _, m := range answers {
		d.take(m, token)
	}
	return d, nil
}

// diskList is what a server said of its disk.
type diskList struct {
	// has tells that it has one, which it lists, and cache that it does not let others
	// look accounts up on it.
	has, cache bool
	accounts   []string
}

// listDisks asks all servers which accounts are on their disks and calls each for those
// that are expected, as they answer; which those are is returned. The question about the
// system account, which every server has loaded, is the mark that no answer of that
// server to the questions before it can come any more.
func (o *operator) listDisks(ctx context.Context, l *link, expect []string, each func(serverID string, d diskList)) (map[string]bool, error) {
	x := l.inbox.exchange(expect, 3)
	defer x.close()
	asked, seen := [2]string{}, map[string]bool{}
	for i, subject := range []string{listSubject, lookupSubject(o.systemAccount())} {
		reply, err := x.ask(subject, nil)
		if err != nil {
			return seen, err
		}
		asked[i] = reply
	}
	if _, err := x.ask(infoSubject(o.systemAccount()), nil); err != nil {
		return seen, err
	}
	lists, lookups := map[string]diskList{}, 0
	x.gather(ctx, o.r.pace.list, 0, func(m *nats.Msg) string {
		switch m.Subject {
		case asked[0]:
			if a, ok := hear[[]string](ctx, o, m); ok && a.Data != nil {
				lists[a.Server.ID] = diskList{has: true, accounts: *a.Data}
			}
			return ""
		case asked[1]:
			lookups++
			return ""
		}
		a, ok := hear[accountInfo](ctx, o, m)
		if ok && slices.Contains(expect, a.Server.ID) && !seen[a.Server.ID] {
			seen[a.Server.ID] = true
			d := lists[a.Server.ID]
			d.cache = d.has && lookups == 0
			each(a.Server.ID, d)
		}
		return a.Server.ID
	})
	return seen, nil
}

func (o *operator) systemAccount() string { return o.current.Load().Settings.SystemAccount }

// ofOurs returns the accounts of a list that are this operator's, sorted; the system
// account comes first.
func (o *operator) ofOurs(ids []string) []string {
	ours := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return o.r.memory.operatorOf(id) != o.id })
	slices.Sort(ours)
	system := o.systemAccount()
	if i, ok := slices.BinarySearch(ours, system); ok {
		copy(ours[1:i+1], ours[:i])
		ours[0] = system
	}
	return ours
}

// accountsOf returns the accounts of an operator in memory, in no order.
func (m *memory) accountsOf(operatorID string) []string {
	var ids []string
	m.accounts.Range(func(id string, e *entry) bool {
		if e.operator.Value() == operatorID {
			ids = append(ids, id)
		}
		return true
	})
	return ids
}
