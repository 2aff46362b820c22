package resolver

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"chancery/claims"
)

// heldAccount is what is read of an account that a server has in memory.
type heldAccount struct {
	JWT     string `json:"jwt"`
	Expired bool   `json:"expired"`
}

// looked is an account that servers are asked for, and by which subject an answer came.
type looked struct {
	account string
	disk    bool
}

// look reads what the servers have of accounts, in memory and on disk, and returns what
// is not ours, by account. complete tells that each server of the roster told of its
// memory, and as many of their disks as there are full resolvers; disks do not say whose
// they are. With an empty JWT of ours, whatever a server has is told.
func (o *operator) look(ctx context.Context, l *link, ours map[string]string) (found map[string][]hint, complete bool, err error) {
	members, _, _ := o.roster.snapshot()
	expect := make([]string, 0, len(members))
	for _, m := range members {
		expect = append(expect, m.ID)
	}
	x := l.inbox.exchange(expect, 2*len(ours)*2)
	defer x.close()
	questions := make(map[string]looked, 2*len(ours))
	for id := range ours {
		for _, q := range []struct {
			subject string
			disk    bool
		}{{infoSubject(id), false}, {lookupSubject(id), true}} {
			reply, err := x.ask(q.subject, nil)
			if err != nil {
				return nil, false, fmt.Errorf("reading accounts: %w", err)
			}
			questions[reply] = looked{id, q.disk}
		}
	}
	found = map[string][]hint{}
	full, _ := o.roster.kinds()
	read, unread := map[string]int{}, 0
	if full > 0 {
		unread = len(ours)
	}
	waiting := make(map[string]bool, len(expect)*len(ours))
	for id := range ours {
		for _, server := range expect {
			waiting[server+id] = true
		}
	}
	x.listen(ctx, o.r.pace.answer, o.r.pace.quiet, func() bool { return len(waiting) == 0 && unread == 0 }, func(m *nats.Msg) {
		q, ok := questions[m.Subject]
		if !ok {
			return
		}
		var h hint
		differs := false
		if q.disk {
			if noResponders(m) {
				return // from a server that found nobody to ask
			}
			if read[q.account]++; read[q.account] == full {
				unread--
			}
			h, differs = onDisk(m, ours[q.account])
		} else if a, ok := hear[heldAccount](ctx, o, m); ok && (a.Data != nil || a.missing()) { // otherwise the server could not say
			delete(waiting, a.Server.ID+q.account)
			h, differs = inMemory(a, ours[q.account], o.r.now())
		}
		if differs {
			h.account, h.at = q.account, o.r.now()
			found[q.account] = append(found[q.account], h)
		}
	})
	return found, len(waiting) == 0 && unread == 0 && len(expect) > 0, ctx.Err()
}

// inMemory is what a server's memory has that is not ours.
func inMemory(a answer[heldAccount], ours string, now time.Time) (hint, bool) {
	h := hint{seen: claims.SeenMemory, serverID: a.Server.ID, server: a.Server.Name}
	switch {
	case a.Data == nil || a.Data.JWT == "":
		return h, false
	case strings.TrimSpace(a.Data.JWT) != ours:
		h.token = strings.TrimSpace(a.Data.JWT)
		return h, true
	}
	exp := payloadOf([]byte(ours)).Expires
	h.deleted = a.Data.Expired && (exp == 0 || exp > now.Unix())
	return h, h.deleted
}

// onDisk is what a disk has that is not ours. An empty answer says that there is nothing.
func onDisk(m *nats.Msg, ours string) (hint, bool) {
	h := hint{seen: claims.SeenDisk, token: string(bytes.TrimSpace(m.Data))}
	h.missing = h.token == ""
	return h, h.token != ours
}

// sameHint finds what was seen before among what is seen now.
func sameHint(h hint, now []hint) (hint, bool) {
	for _, n := range now {
		if n.token == h.token && n.deleted == h.deleted && n.missing == h.missing {
			n.after = h.after
			return n, true
		}
	}
	return h, false
}

// listen calls each for every answer until all are there and quiet has passed since, or
// limit passed, or ctx ends.
func (x *exchange) listen(ctx context.Context, limit, quiet time.Duration, all func() bool, each func(m *nats.Msg)) {
	end := time.NewTimer(limit)
	defer end.Stop()
	pause := time.NewTimer(limit)
	defer pause.Stop()
	for {
		select {
		case m := <-x.answers:
			each(m)
			if all() {
				pause.Reset(quiet)
			}
		case <-pause.C:
			return
		case <-end.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
