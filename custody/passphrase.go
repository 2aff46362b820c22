package custody

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"chancery/claims"
)

// A passphrase is short enough to guess if guessing is cheap, so the key is derived
// from it by Argon2id, with parameters and salt that stand in front of what it wraps.

// minPassphrase is the shortest passphrase in characters; maxPassphrase the longest in
// bytes.
const (
	minPassphrase = 16
	maxPassphrase = 1024
)

// NewPassphrase returns the key-encryption key that is derived from a passphrase, which
// has at least 16 characters; line ends after it are no part of it.
func NewPassphrase(text string) (KEK, error) {
	text = strings.TrimRight(text, "\r\n")
	if n := utf8.RuneCountInString(text); n < minPassphrase || len(text) > maxPassphrase {
		return KEK{}, fmt.Errorf("the passphrase must have %d characters or more, and at most %d bytes; six random words are good", minPassphrase, maxPassphrase)
	}
	return KEK{key: claims.NewSecret(text), passphrase: true, derived: new(atomic.Pointer[wrapper])}, nil
}

// derivation is how a key is derived from a passphrase.
type derivation struct {
	// memory is in KiB, time the number of passes over it.
	memory, time uint32
	threads      uint8
	salt         []byte
}

// newDerivation returns what RFC 9106 recommends where memory is scarce (64 MiB), with
// a salt of its own.
func newDerivation() (derivation, error) {
	d := derivation{memory: 64 << 10, time: 3, threads: 4, salt: make([]byte, 16)}
	if _, err := rand.Read(d.salt); err != nil {
		return d, fmt.Errorf("reading randomness: %w", err)
	}
	return d, nil
}

const derivationFormat = "$argon2id$v=19$m=%d,t=%d,p=%d$%s\n"

// header returns the line that stands in front of a keyset wrapped with a passphrase.
func (d derivation) header() string {
	return fmt.Sprintf(derivationFormat, d.memory, d.time, d.threads, base64.RawStdEncoding.EncodeToString(d.salt))
}

// cutDerivation splits wrapped bytes into the derivation, if there is one, and the
// rest. The parameters are bounded: whoever writes to the database must not be able to
// make a start take all memory.
func cutDerivation(wrapped []byte) (d *derivation, rest []byte, err error) {
	if !bytes.HasPrefix(wrapped, []byte("$")) {
		return nil, wrapped, nil
	}
	line, rest, _ := bytes.Cut(wrapped, []byte("\n"))
	d = &derivation{}
	var salt string
	if _, err := fmt.Sscanf(string(line), strings.TrimSuffix(derivationFormat, "\n"), &d.memory, &d.time, &d.threads, &salt); err != nil {
		return nil, nil, ErrDamaged
	}
	if d.salt, err = base64.RawStdEncoding.DecodeString(salt); err != nil || d.header() != string(line)+"\n" {
		return nil, nil, ErrDamaged
	}
	if d.memory < 8*uint32(d.threads) || d.memory > 1<<20 || d.time == 0 || d.time > 16 || d.threads == 0 || d.threads > 16 || len(d.salt) < 16 || len(d.salt) > 64 {
		return nil, nil, ErrDamaged
	}
	return d, rest, nil
}

// derive returns the key and its identity.
func (d derivation) derive(passphrase claims.Secret) (key claims.Secret, id string) {
	b := argon2.IDKey([]byte(passphrase.Reveal()), d.salt, d.time, d.memory, d.threads, kekSize)
	defer clear(b)
	sum := sha256.Sum256(append([]byte("chancery passphrase id\x00"), b...))
	return claims.NewSecret(string(b)), "passphrase-" + hex.EncodeToString(sum[:8])
}
