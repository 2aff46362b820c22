package custody

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/nats-io/nkeys"

	"chancery/claims"
)

// Key is an open private key. It is the Signer of itself, and printing it shows its
// public key only. It is safe for concurrent use; whoever got it wipes it.
type Key struct {
	prefix nkeys.PrefixByte
	public string

	mu sync.RWMutex
	// private is kept expanded, so that signing much with one key expands it once; nil
	// once wiped. It stands behind a pointer, which fmt does not follow.
	private *ed25519.PrivateKey
}

// NewKey makes a key of the kind from 32 bytes of randomness.
func NewKey(kind claims.Kind, random io.Reader) (*Key, error) {
	raw := make([]byte, ed25519.SeedSize)
	defer clear(raw)
	if _, err := io.ReadFull(random, raw); err != nil {
		return nil, fmt.Errorf("reading randomness: %w", err)
	}
	return newKey(kind.Prefix(), raw)
}

// ParseKey reads a key from its seed, such as SO… or SA…. An error does not repeat it.
func ParseKey(seed []byte) (*Key, error) {
	prefix, raw, err := nkeys.DecodeSeed(seed)
	if err != nil {
		return nil, errors.New("this is not the seed of a key")
	}
	defer clear(raw)
	return newKey(prefix, raw)
}

func newKey(prefix nkeys.PrefixByte, raw []byte) (*Key, error) {
	private := ed25519.NewKeyFromSeed(raw)
	public, err := nkeys.Encode(prefix, private[ed25519.SeedSize:])
	if err != nil {
		return nil, fmt.Errorf("naming a key: %w", err)
	}
	return &Key{prefix: prefix, public: string(public), private: &private}, nil
}

// Public returns the public key.
func (k *Key) Public() string { return k.public }

// Sign implements Signer.
func (k *Key) Sign(ctx context.Context, public string, message []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	if public != k.public || k.private == nil {
		return nil, ErrNoKey
	}
	return ed25519.Sign(*k.private, message), nil
}

// Wipe forgets the private key: from then on nothing is signed. It is safe to call
// twice.
func (k *Key) Wipe() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.private != nil {
		clear(*k.private)
	}
	k.private = nil
}

// Seed returns the seed, to be sealed or shown once; the caller clears it.
func (k *Key) Seed() ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.private == nil {
		return nil, ErrNoKey
	}
	return nkeys.EncodeSeed(k.prefix, (*k.private)[:ed25519.SeedSize])
}

// Format implements fmt.Formatter, for all verbs.
func (k *Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "key of "+k.public) }
