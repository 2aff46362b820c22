package resolver

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A full resolver asks now and then for what its store lacks, and one of its peers answers
// with all it has (accounts.go: DirAccResolver.Start). It takes what is not older than
// what it has, and of accounts that it does not have, anything (dirstore.go: saveIfNewer).
const (
	// packBatch accounts are sent at once, and the next ones after packPause: the server
	// takes them in one after the other, and whatever else it is asked or told meanwhile,
	// such as a revocation, stands in line behind them.
	packBatch = 50
	packPause = 50 * time.Millisecond
	// packAgain is how long one server is not answered again: a store that has more than
	// ours, such as accounts that are not known here, never agrees.
	packAgain = 10 * time.Minute
	// maxPacks bounds the servers that wait for an answer, and those that are remembered.
	maxPacks = 64
)

// packer answers full resolvers whose store is not ours, one after the other, with all
// that is in memory, tombstones too: a server that did not have one would take the
// account from a peer that still has the account.
type packer struct {
	o *operator
	// asked holds the subjects that answers are expected at.
	asked chan string

	mu sync.Mutex
	// answered is when each server was, by the prefix of its inboxes, which is new at each
	// start.
	answered map[string]time.Time
}

func newPacker(o *operator) *packer {
	return &packer{o: o, asked: make(chan string, maxPacks), answered: map[string]time.Time{}}
}

// ask has a server answered, unless it was lately.
func (p *packer) ask(server, reply string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.o.r.now()
	if at, ok := p.answered[server]; ok && now.Sub(at) < packAgain {
		return
	}
	select {
	case p.asked <- reply:
	default: // it asks again
		return
	}
	if len(p.answered) >= maxPacks {
		clear(p.answered)
	}
	p.answered[server] = now
}

// run answers until ctx ends.
func (p *packer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case reply := <-p.asked:
			if l := p.o.link.Load(); l != nil {
				p.answer(ctx, l, reply)
			}
		}
	}
}

// answer sends all accounts and then nothing, which is the end. It stops halfway where
// the connection is lost, or memory may be behind: what was sent is no less true.
func (p *packer) answer(ctx context.Context, l *link, reply string) {
	r := p.o.r
	ids := r.memory.accountsOf(p.o.id)
	slices.Sort(ids)
	pause := time.NewTicker(packPause)
	defer pause.Stop()
	for batch := range slices.Chunk(ids, packBatch) {
		if p.o.link.Load() != l || r.pulse.late() {
			return
		}
		for _, id := range batch {
			e := r.memory.get(id)
			if e == nil {
				continue
			}
			if exp := payloadOf([]byte(e.token)).Expires; exp > 0 && exp <= r.now().Unix() {
				continue // it would be refused
			}
			if l.nc.Publish(reply, []byte(id+"|"+e.token)) != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
	_ = l.nc.Publish(reply, nil) // nobody waits for it
}
