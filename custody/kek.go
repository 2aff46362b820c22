package custody

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/tink"

	"chancery/claims"
)

// KEK is a key-encryption key: 256 bits that wrap the keyset which seals seeds. It
// is kept outside the database. The zero value is no key.
type KEK struct{ key claims.Secret }

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

// Text returns the key as ParseKEK reads it.
func (k KEK) Text() claims.Secret {
	return claims.NewSecret(base64.StdEncoding.EncodeToString([]byte(k.key.Reveal())))
}

// ID names the key without giving it away: it is stored beside what it wraps.
func (k KEK) ID() string {
	sum := sha256.Sum256([]byte("chancery key-encryption key id\x00" + k.key.Reveal()))
	return hex.EncodeToString(sum[:8])
}

func (k KEK) aead() (tink.AEAD, error) { return subtle.NewAESGCM([]byte(k.key.Reveal())) }
