package resolver

import (
	"maps"
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
		if s, ok, _ := c.get(id); ok {
			served[id] = s
		}
		return true
	})
	return served, slices.Sorted(maps.Keys(c.lost)), c.nameless > 0, nil
}

// Rewrite writes the base file of the snapshot anew.
func (r *Resolver) Rewrite() error { return r.snapshot.rewrite(r.memory.whole) }

// Unsave closes the journal's file under the snapshot, as a disk that went away.
func (r *Resolver) Unsave() error { return r.snapshot.journal.f.Close() }
