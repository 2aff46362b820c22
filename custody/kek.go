package custody

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/tink"

	"chancery/claims"
)

// KEK is a key-encryption key: 256 bits that wrap the keyset which seals seeds, or a
// passphrase from which they are derived. It is kept outside the database. The zero
// value is no key.
type KEK struct {
	// key is the key's bytes, or the passphrase.
	key        claims.Secret
	passphrase bool
	// derived is the wrapper that was derived last, shared by copies: a keyset is opened again and again with the
	// same one, also while its row is locked, and deriving takes a core for a good part of a second.
	derived *atomic.Pointer[wrapper]
}

// kekSize is the size of a KEK in bytes.
const kekSize = 32

// NewKEK makes a key from 32 bytes of randomness.
func NewKEK(random io.Reader) (KEK, error) {
	b := make([]byte, kekSize)
	if _, err := io.ReadFull(random, b); err != nil {
		return KEK{}, fmt.Errorf("reading randomness: %w", err)
	}
	return KEK{key: claims.NewSecret(string(b))}, nil
}

// ParseKEK reads a key from its text: 32 bytes in standard base64.
func ParseKEK(text string) (KEK, error) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(b) != kekSize {
		return KEK{}, errors.New("the key-encryption key must be 32 bytes in base64; `openssl rand -base64 32` makes one")
	}
	return KEK{key: claims.NewSecret(string(b))}, nil
}

// Empty tells whether this is no key.
func (k KEK) Empty() bool { return k.key.Empty() }

// Text returns the key as ParseKEK reads it. It is for keys that NewKEK made.
func (k KEK) Text() claims.Secret {
	return claims.NewSecret(base64.StdEncoding.EncodeToString([]byte(k.key.Reveal())))
}

// ID names the key without giving it away: it is stored beside what it wraps. The
// keys derived from a passphrase have names of their own; its own is "passphrase".
func (k KEK) ID() string {
	if k.passphrase {
		return "passphrase"
	}
	sum := sha256.Sum256([]byte("chancery key-encryption key id\x00" + k.key.Reveal()))
	return hex.EncodeToString(sum[:8])
}

// wrapper is a key ready to wrap a keyset or to unwrap it.
type wrapper struct {
	tink.AEAD
	// id names the key, header is what stands in front of what it wraps; it is part of
	// the associated data.
	id, header string
}

func (w wrapper) associated() []byte { return []byte(wrapping + w.header) }

// wrapper returns the key for wrapping: derived with d if it is a passphrase.
func (k KEK) wrapper(d *derivation) (wrapper, error) {
	w, key := wrapper{id: k.ID()}, k.key
	if k.passphrase {
		w.header = d.header()
		if last := k.derived.Load(); last != nil && last.header == w.header {
			return *last, nil
		}
		key, w.id = d.derive(k.key)
	}
	var err error
	if w.AEAD, err = subtle.NewAESGCM([]byte(key.Reveal())); err != nil {
		return w, fmt.Errorf("preparing the key-encryption key: %w", err)
	}
	if k.passphrase {
		k.derived.Store(&w)
	}
	return w, nil
}
