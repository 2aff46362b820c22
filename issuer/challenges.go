package issuer

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/custody"
	"chancery/store"
)

// ChallengeTTL is how long the nonce of a challenge can be answered.
const ChallengeTTL = time.Minute

// challengeSkew is how far the clock of another replica may run ahead of this one.
const challengeSkew = 5 * time.Second

// Challenge is what the holder of a key signs to prove that it holds it.
type Challenge struct {
	PublicKey string
	// Nonce is signed as it stands, as text.
	Nonce   string
	Expires time.Time
}

// Proof is the answer to a challenge.
type Proof struct {
	Nonce string
	// Signature is that of the user key over the nonce's bytes, in base64url.
	Signature string
}

// challengeKeyset names the row with the secret of challenges, sealed as a seed is.
const challengeKeyset = "challenges"

// challengeKeyTTL is how long a process goes by the secret it has read: replicas
// agree again within that time should it ever be replaced.
const challengeKeyTTL = 10 * time.Second

// challengeKey caches the secret of challenges.
type challengeKey struct {
	mu   sync.Mutex
	key  []byte
	read time.Time
}

// Challenge returns a nonce for the holder of the public key. It is kept nowhere: it
// holds the time, and an HMAC with a secret that all replicas share ties it to the
// key. Answered twice within ChallengeTTL it proves the same thing about the same
// key twice, which gives nobody anything new. It needs no permission.
func (i *Issuer) Challenge(ctx context.Context, publicKey string) (Challenge, error) {
	if problems := claims.CheckPublicKey("/public_key", claims.KindUser, publicKey); problems.Blocking() {
		return Challenge{}, invalid(problems)
	}
	key, err := i.challengeSecret(ctx)
	if err != nil {
		return Challenge{}, err
	}
	now := i.now().Truncate(time.Second)
	return Challenge{PublicKey: publicKey, Nonce: newNonce(key, publicKey, now), Expires: now.Add(ChallengeTTL).UTC()}, nil
}

// proves tells whether the proof answers a challenge to the public key in time.
func (i *Issuer) proves(ctx context.Context, publicKey string, p Proof) (bool, error) {
	stamp, ok := nonceTime(p.Nonce)
	if !ok {
		return false, nil
	}
	if age := i.now().Sub(stamp); age < -challengeSkew || age > ChallengeTTL {
		return false, nil
	}
	key, err := i.challengeSecret(ctx)
	if err != nil {
		return false, err
	}
	if !hmac.Equal([]byte(newNonce(key, publicKey, stamp)), []byte(p.Nonce)) {
		return false, nil
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(p.Signature)
	if err != nil {
		return false, nil //nolint:nilerr // what is no signature proves nothing
	}
	pair, err := nkeys.FromPublicKey(publicKey)
	return err == nil && pair.Verify([]byte(p.Nonce), signature) == nil, nil
}

// newNonce returns the nonce of a key and a second: the time, then the HMAC.
func newNonce(secret []byte, publicKey string, at time.Time) string {
	var stamp [8]byte
	binary.BigEndian.PutUint64(stamp[:], uint64(at.Unix())) //nolint:gosec // seconds since 1970 are positive
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("chancery/v1/challenge|" + publicKey + "|"))
	mac.Write(stamp[:])
	return base64.RawURLEncoding.EncodeToString(mac.Sum(stamp[:]))
}

func nonceTime(nonce string) (time.Time, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(raw) != 8+sha256.Size {
		return time.Time{}, false
	}
	return time.Unix(int64(binary.BigEndian.Uint64(raw)), 0), true //nolint:gosec // the HMAC is checked after
}

// challengeSecret returns the secret that all replicas share, making it in a
// database that has none, or one that nothing opens.
func (i *Issuer) challengeSecret(ctx context.Context) ([]byte, error) {
	i.challenges.mu.Lock()
	defer i.challenges.mu.Unlock()
	if age := i.now().Sub(i.challenges.read); i.challenges.key != nil && age >= 0 && age < challengeKeyTTL {
		return i.challenges.key, nil
	}
	key, err := i.readChallengeSecret(ctx)
	if errors.Is(err, errNoSecret) {
		if key, err = i.makeChallengeSecret(ctx); errors.Is(err, store.ErrExists) {
			key, err = i.readChallengeSecret(ctx) // another replica was first
		}
	}
	if err != nil {
		return nil, err
	}
	i.challenges.key, i.challenges.read = key, i.now()
	return key, nil
}

// errNoSecret tells that there is no row, or none that opens.
var errNoSecret = errors.New("no secret of challenges")

func (i *Issuer) readChallengeSecret(ctx context.Context) (key []byte, err error) {
	if _, err := i.sealer(); err != nil {
		return nil, err
	}
	err = i.store.Read(ctx, func(ctx context.Context, t *store.Tx) error {
		row, err := t.GetKeyset(ctx, challengeKeyset)
		if errors.Is(err, store.ErrNotFound) {
			return errNoSecret
		}
		if err != nil {
			return err
		}
		keys, err := i.toOpen(ctx, &work{desk: desk{Tx: t}}, custody.DataKey(row.Wrapped))
		if err != nil {
			return err
		}
		if key, err = keys.OpenSecret(row.Wrapped, challengeKeyset); err != nil {
			return errNoSecret // its data key was rotated out
		}
		return nil
	})
	return key, err
}

func (i *Issuer) makeChallengeSecret(ctx context.Context) ([]byte, error) {
	key := make([]byte, sha256.Size)
	if _, err := io.ReadFull(i.rand, key); err != nil {
		return nil, fmt.Errorf("reading randomness: %w", err)
	}
	err := i.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
		keys, err := i.toSeal(ctx, &work{desk: desk{Tx: t}})
		if err != nil {
			return err
		}
		sealed, err := keys.SealSecret(key, challengeKeyset)
		if err != nil {
			return err
		}
		row := store.Keyset{ID: challengeKeyset, KEKID: seedKeyset, Wrapped: sealed}
		if _, err := t.GetKeyset(ctx, challengeKeyset); err == nil {
			return t.ReplaceKeyset(ctx, row)
		}
		return t.CreateKeyset(ctx, row)
	})
	return key, err
}
