package resolver

import (
	"iter"
	"maps"
	"os"
	"slices"

	"chancery/store"
)

// ReadSnapshot reads a snapshot as a start does and returns what of each account is
// held against its signature when it is asked for, those for which another answer than 404 is due, and whether something is
// damaged of which the account is not known.
func ReadSnapshot(dir string) (served map[string]store.Served, lost []string, nameless bool, err error) {
	c, err := readCold(dir)
	if err != nil {
		return nil, nil, false, err
	}
	served = map[string]store.Served{}
	c.each(func(id string) bool {
		if s, ok := c.get(id); ok {
			served[id] = s
		}
		return true
	})
	return served, slices.Sorted(maps.Keys(c.lost)), c.nameless > 0, nil
}

// WriteSnapshot writes a base file with one operator.
func WriteSnapshot(dir string, o store.Operator, accounts iter.Seq[store.Served]) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	saved := savedOperator{ID: o.ID, Name: o.Name, Default: o.Default, Version: o.JWTVersion, IssuedAt: o.IssuedAt, JWT: o.JWT}
	_, err := writeBase(dir, base{operators: []savedOperator{saved}}, accounts)
	return err
}

// Rewrite writes the base file of the snapshot anew.
func (r *Resolver) Rewrite() error { return r.snapshot.rewrite(r.memory.whole) }

// Unsave closes the journal's file under the snapshot, as a disk that went away.
func (r *Resolver) Unsave() error { return r.snapshot.journal.f.Close() }

// HoldDisk has the snapshot's disk take nothing until release; waiting tells that somebody
// waits for it.
func (r *Resolver) HoldDisk() (waiting func() bool, release func()) {
	j := r.snapshot.journal
	j.flushing.Lock()
	return func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		return len(j.gathered) > 0
	}, j.flushing.Unlock
}

// Followed returns the number of the last change that is in memory.
func (r *Resolver) Followed() int64 { return r.snapshot.followed.Load() }

// SavedChange returns the number of the last change that the snapshot in a folder has.
func SavedChange(dir string) int64 {
	c, err := readCold(dir)
	if err != nil {
		return 0
	}
	return c.followed
}
