package resolver

import (
	"context"
	"encoding/base32"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"chancery/claims"
	"chancery/store"
)

// activationHash is what an activation is found by: see claims.ActivationHash.
type activationHash [32]byte

// parseHash reads a hash from a path, with padding or without.
func parseHash(text string) (activationHash, bool) {
	var out activationHash
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.TrimRight(text, "="))
	if err != nil || len(raw) != len(out) {
		return out, false
	}
	copy(out[:], raw)
	return out, true
}

// activations finds activation tokens by their hash. It keeps which token is the
// newest of each hash, and reads the token itself from the store: nats-servers ask
// for one only when an account from elsewhere imports by its URL.
type activations struct {
	// store holds nil while there is none.
	store atomic.Pointer[store.Store]
	gate  *gate

	// turn is held by who uses what follows.
	turn chan struct{}
	// newest holds the identity of the newest activation of each hash.
	newest map[activationHash]string
	// until is up to when everything is in newest, covered the wake it includes.
	until   time.Time
	covered uint64
}

func newActivations(s *store.Store, g *gate) *activations {
	a := &activations{gate: g, turn: make(chan struct{}, 1), newest: map[activationHash]string{}}
	a.store.Store(s)
	return a
}

const (
	// activationOverlap is read again each time: a transaction that took this long to
	// commit is still seen.
	activationOverlap = time.Minute
	// activationBatch is how many are read in one transaction.
	activationBatch = 1000
	// activationPoll is how often those of other replicas are looked for, at most.
	activationPoll = time.Second
	// activationWait bounds how long a store that hangs is waited for.
	activationWait = 5 * time.Second
)

// errNoStore tells that there is nowhere to find activations.
var errNoStore = errors.New("there is no store")

// find returns the unexpired token under the hash that the operator's accounts issued
// last; store.ErrNotFound when there is none.
func (a *activations) find(ctx context.Context, operatorID string, hash activationHash) (string, error) {
	from := a.store.Load()
	if from == nil {
		return "", errNoStore
	}
	ctx, cancel := context.WithTimeout(ctx, activationWait)
	defer cancel()
	id, err := a.lookup(ctx, from, hash)
	if err != nil {
		return "", err
	}
	token := ""
	err = from.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		if token, err = t.ActivationToken(ctx, operatorID, id); !errors.Is(err, store.ErrNotFound) {
			return err
		}
		// One that was made elsewhere is in the store under its hash.
		posted, err := t.GetPostedActivation(ctx, operatorID, base32.StdEncoding.EncodeToString(hash[:]))
		if err == nil && posted.Expires != 0 && posted.Expires <= t.Now().Unix() {
			err = store.ErrNotFound
		}
		token = posted.Token
		return err
	})
	return token, err
}

// lookup returns the identity of the newest activation under the hash, "" for none.
// What was committed since the last look is read first.
func (a *activations) lookup(ctx context.Context, from *store.Store, hash activationHash) (string, error) {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	covered := a.gate.begin()
	err := from.Read(ctx, func(ctx context.Context, t *store.Tx) error {
		if covered == a.covered && t.Now().Sub(a.until) < activationPoll {
			return nil
		}
		after := store.FirstID("act_", a.until.Add(-activationOverlap))
		for {
			list, err := t.ListIssuedActivations(ctx, after, activationBatch)
			if err != nil {
				return err
			}
			for _, x := range list {
				if h, ok := parseHash(claims.ActivationHash(x.Signer, x.Importer, x.Subject)); ok {
					a.newest[h] = max(a.newest[h], x.ID)
				}
				after = x.ID
			}
			if len(list) < activationBatch {
				a.covered, a.until = covered, t.Now()
				return nil
			}
		}
	})
	return a.newest[hash], err
}

// activation answers with an activation token.
func (h *handler) activation(w http.ResponseWriter, r *http.Request, at place) {
	hash, ok := parseHash(at.id)
	if !ok || at.served == nil {
		h.count.unknown.Inc()
		text(w, r, http.StatusNotFound, "No Matching JWT\n")
		return
	}
	if !begin(w, r, h.finding) {
		return
	}
	token, err := h.activations.find(r.Context(), at.served.handle.Value(), hash)
	end(h.finding)
	switch {
	case errors.Is(err, store.ErrNotFound):
		h.count.unknown.Inc()
		text(w, r, http.StatusNotFound, "No Matching JWT\n")
	case errors.Is(err, errNoStore):
		w.Header()[headerRetryAfter] = soon
		text(w, r, http.StatusServiceUnavailable, "Activation tokens are in the database; this process has no database, or has not reached it yet.\n")
	case err != nil:
		w.Header()[headerRetryAfter] = soon
		text(w, r, http.StatusServiceUnavailable, "The database does not answer.\n")
	case r.URL.RawQuery != "" && h.readable(w, r, r.URL.Query(), token):
	default:
		_, d := h.memory.document("", token, 0)
		h.serve(w, r, &d)
	}
}
