package resolver

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
)

// Bounds of one answer to pack.
const (
	mostPacked = 10_000
	// packBytes ends an answer early; a JWT may have up to a mebibyte.
	packBytes = 32 << 20
)

// order is the keys in memory, sorted. It is made when it is first asked for, and
// anew when there are more: no account ever leaves memory, a deleted one stays as a
// tombstone.
type order struct {
	mu   sync.Mutex
	keys []string
}

// sorted returns the keys of all accounts in order; nobody writes to what it returns.
// Neither readers nor writers of accounts wait for it.
func (m *memory) sorted() []string {
	m.order.mu.Lock()
	defer m.order.mu.Unlock()
	if n := m.accounts.Size(); n != len(m.order.keys) {
		keys := make([]string, 0, n)
		for id := range m.accounts.All() {
			keys = append(keys, id)
		}
		slices.Sort(keys)
		m.order.keys = keys
	}
	return m.order.keys
}

// pack answers with the unexpired JWTs of an operator, by key, one page at a time.
func (h *handler) pack(w http.ResponseWriter, r *http.Request, at place) {
	if !h.trusts(w, r, "pack") {
		return
	}
	if at.served == nil {
		h.missing(w, r)
		return
	}
	if h.memory.cold.Load() != nil {
		// Not all of the snapshot is verified yet, and a part would pass for the whole.
		w.Header()[headerRetryAfter] = soon
		text(w, r, http.StatusServiceUnavailable, "Starting.\n")
		return
	}
	q := r.URL.Query()
	limit := mostPacked
	if v := q.Get("max"); v != "" {
		n, err := strconv.Atoi(v)
		switch {
		case err != nil || n < 0:
			text(w, r, http.StatusBadRequest, "max must be a number from 0 to 10000\n")
			return
		case n > mostPacked:
			text(w, r, http.StatusBadRequest, "no more than 10000 are allowed\n")
			return
		}
		limit = n
	}
	if !begin(w, r, h.packing) {
		return
	}
	page, next := h.page(at, q.Get("after"), limit)
	end(h.packing)
	if next != "" {
		more := url.Values{"max": {strconv.Itoa(limit)}, "after": {next}}
		w.Header()[headerLink] = []string{"<" + (&url.URL{Path: r.URL.Path, RawQuery: more.Encode()}).String() + `>; rel="next"`}
	}
	h.count.found.Inc()
	text(w, r, http.StatusOK, "")
	if r.Method == http.MethodHead {
		return
	}
	for i, p := range page {
		line := p.key + "|" + p.entry.token
		if i > 0 {
			line = "\n" + line
		}
		if _, err := io.WriteString(w, line); err != nil {
			return // the client went away
		}
	}
}

// packed is an account in a pack.
type packed struct {
	key   string
	entry *entry
}

// page returns up to limit accounts that come after a key, and the key after which
// there is more, if there is.
func (h *handler) page(at place, after string, limit int) (page []packed, next string) {
	if limit == 0 {
		return nil, ""
	}
	keys := h.memory.sorted()
	from, found := slices.BinarySearch(keys, after)
	if found {
		from++
	}
	now, size, last := h.now().Unix(), 0, ""
	for _, key := range keys[from:] {
		e := h.memory.get(key)
		if e == nil || e.operator != at.served.handle {
			continue
		}
		if exp := expiryOf(e.token); exp > 0 && exp < now {
			continue
		}
		if len(page) == limit || size+len(e.token) > packBytes {
			return page, last
		}
		page, size, last = append(page, packed{key, e}), size+len(e.token), key
	}
	return page, ""
}
