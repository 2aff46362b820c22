package issuer

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"chancery/claims"
	"chancery/store"
)

// Origin is where a request came from.
type Origin struct {
	// Address is the client's; the zero value is not known, and in no network.
	Address   netip.Addr
	RequestID string
}

// Authenticate returns the caller that an API token stands for. Each request reads the
// row, so that a revocation holds at once on all replicas. From outside of its
// networks a token is answered as one that nobody knows, which goes on record.
func (i *Issuer) Authenticate(ctx context.Context, token claims.Secret, from Origin) (Caller, error) {
	unknown := &Error{
		Kind: KindUnauthenticated, Code: "invalid_token", Message: "The token is not valid.",
		Hint: "It may be mistyped, expired, revoked or not meant for use from here. Send it as Authorization: Bearer chy_…",
	}
	if !validSecret(TokenPrefix, token.Reveal()) {
		return Caller{}, unknown
	}
	hash := hashSecret(token.Reveal())
	var k store.Token
	err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		k, err = t.TokenByHash(ctx, hash)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return Caller{}, unknown
	}
	if err != nil {
		return Caller{}, err
	}
	if subtle.ConstantTimeCompare(hash, k.Hash) != 1 {
		return Caller{}, unknown
	}
	address := from.Address.Unmap().WithZone("")
	if len(k.Networks) > 0 && !slices.ContainsFunc(k.Networks, func(p netip.Prefix) bool { return p.Contains(address) }) {
		i.recordStray(ctx, k, address, from.RequestID)
		return Caller{}, unknown
	}
	i.uses.note(k, i.now(), address)
	return Caller{ID: k.ID, Name: k.Name, Kind: CallerToken, Grants: k.Grants, RequestID: from.RequestID}, nil
}

// tokenTouch is how stale the last use of a token may be in the database; it saves a
// write on nearly every request.
const tokenTouch = time.Minute

// tokenUses is what is to be written down of the use of tokens, by identity: at most
// one for each token that there is. It is safe for concurrent use.
type tokenUses struct {
	mu      sync.Mutex
	pending map[string]store.TokenUse
	strays  seldom
}

// note takes note of a use, for the upkeep to write: a request is not held up by it.
func (u *tokenUses) note(k store.Token, now time.Time, from netip.Addr) {
	if now.Sub(k.LastUsed) < tokenTouch {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.pending == nil {
		u.pending = map[string]store.TokenUse{}
	}
	if _, waits := u.pending[k.ID]; waits {
		return
	}
	use := store.TokenUse{ID: k.ID, At: now}
	if from.IsValid() {
		use.From = from.String()
	}
	u.pending[k.ID] = use
}

func (u *tokenUses) take() map[string]store.TokenUse {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := u.pending
	u.pending = nil
	return out
}

// noteTokenUses writes down when tokens were used last. What a failing database does
// not take is dropped: the next use is noted again.
func (i *Issuer) noteTokenUses(ctx context.Context) error {
	uses := i.uses.take()
	if len(uses) == 0 {
		return nil
	}
	return i.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
		for _, u := range uses {
			if err := t.PutTokenUse(ctx, u); err != nil {
				return err
			}
		}
		return nil
	})
}

// recordStray puts the use of a token outside of its networks on record, once a minute
// for each token: whoever found one must not fill the log. That it could not be
// recorded is no reason to answer in another way.
func (i *Issuer) recordStray(ctx context.Context, k store.Token, from netip.Addr, requestID string) {
	if !i.uses.strays.every(tokenTouch, k.ID, i.now()) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := i.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
		detail, err := json.Marshal(map[string]string{"address": from.String()})
		if err != nil {
			return err
		}
		at := enclosing(k.Grants) // who administers it there is to know
		return t.AppendAudit(ctx, store.AuditEntry{
			Actor: k.ID, ActorKind: string(CallerToken), Action: "authenticate", TargetKind: "token", Target: k.ID,
			Outcome: "denied", RequestID: requestID, Detail: string(detail), OperatorID: at.Operator, AccountID: at.Account,
		})
	})
	if err != nil {
		i.log.ErrorContext(ctx, "recording the use of a token outside of its networks", slog.String("token", k.ID), slog.Any("error", err))
	}
}
