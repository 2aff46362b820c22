package resolver

import (
	"context"
	"time"

	"chancery/store"
)

// Hurry shortens what tests would otherwise wait for; 0 leaves a pace as it is.
type Hurry struct {
	Settle, Ping, Silence time.Duration
	// Page is how many connections are asked for at once.
	Page int
}

// Hurry must be called before Start.
func (r *Resolver) Hurry(h Hurry) {
	if h.Settle > 0 {
		r.pace.settle = h.Settle
	}
	if h.Ping > 0 {
		r.pace.ping = h.Ping
	}
	if h.Silence > 0 {
		r.pace.silence = h.Silence
	}
	if h.Page > 0 {
		r.pageSize = h.Page
	}
}

// AwaitServers returns when n servers are on the roster, examined of which were
// asked what they hold, and tells whether that came about before ctx ended.
func (r *Resolver) AwaitServers(ctx context.Context, operatorID string, n, examined int) bool {
	for {
		var changed <-chan struct{}
		if o := r.operator(operatorID); o != nil {
			members, connected, c := o.roster.snapshot()
			asked := 0
			for _, m := range members {
				if m.joined > 0 {
					asked++
				}
			}
			if changed = c; connected && len(members) == n && asked == examined {
				return true
			}
		}
		again := time.After(10 * time.Millisecond)
		if changed != nil {
			again = nil
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
			return false
		}
	}
}

// Put takes an account into memory.
func (r *Resolver) Put(s store.Served) { r.memory.put(s) }

// SetOperators replaces the operators in memory and declares it loaded.
func (r *Resolver) SetOperators(list ...store.Operator) {
	r.memory.setOperators(list)
	r.ready.Store(true)
}

// Version returns the version of an account in memory, 0 if there is none.
func (r *Resolver) Version(accountID string) int64 {
	if e := r.memory.get(accountID); e != nil {
		return e.version
	}
	return 0
}

// DiskDiffers looks accounts up on the disks of an operator's servers.
func (r *Resolver) DiskDiffers(ctx context.Context, operatorID string, ids []string) (missing, other []string, err error) {
	o := r.operator(operatorID)
	l := o.link.Load()
	if l == nil {
		return nil, nil, ErrNotConnected
	}
	return o.diskDiffers(ctx, l, ids)
}
