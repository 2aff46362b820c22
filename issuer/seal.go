package issuer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/nats-io/nkeys"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"chancery/claims"
	"chancery/store"
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

const seedKeyset = "seeds"

// unseal opens the keyset of the database, making one in a database that has none.
// It returns why the issuer stays sealed instead; an error is a failure to find out.
func unseal(ctx context.Context, s *store.Store, kek KEK) (primitive tink.AEAD, sealed string, err error) {
	if kek.key.Empty() {
		return nil, "no key-encryption key was given", nil
	}
	var row store.Keyset
	var missing, sealedKeys bool
	err = s.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		row, err = t.GetKeyset(ctx, seedKeyset)
		if errors.Is(err, store.ErrNotFound) {
			missing = true
			sealedKeys, err = t.HasSealedKeys(ctx)
		}
		return err
	})
	switch {
	case err != nil:
		return nil, "", err
	case missing && sealedKeys:
		// A new keyset would seal new seeds beside ones that nothing opens.
		return nil, "the database holds sealed seeds but not the keyset that opens them: restore it from a backup", nil
	case missing:
		row, err = createKeyset(ctx, s, kek)
	}
	if err != nil {
		return nil, "", err
	}
	if row.KEKID != kek.ID() {
		return nil, fmt.Sprintf("the key-encryption key has id %s, the database was sealed with %s", kek.ID(), row.KEKID), nil
	}
	wrapper, err := kek.aead()
	if err != nil {
		return nil, "", fmt.Errorf("preparing the key-encryption key: %w", err)
	}
	handle, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(row.Wrapped)), wrapper, []byte(seedKeyset))
	if err != nil {
		return nil, "the keyset in the database cannot be opened: it is damaged", nil
	}
	primitive, err = aead.New(handle)
	if err != nil {
		return nil, "", fmt.Errorf("preparing the keyset: %w", err)
	}
	return primitive, "", nil
}

func createKeyset(ctx context.Context, s *store.Store, kek KEK) (store.Keyset, error) {
	wrapper, err := kek.aead()
	if err != nil {
		return store.Keyset{}, fmt.Errorf("preparing the key-encryption key: %w", err)
	}
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return store.Keyset{}, fmt.Errorf("making the keyset: %w", err)
	}
	var buf bytes.Buffer
	if err := handle.WriteWithAssociatedData(keyset.NewBinaryWriter(&buf), wrapper, []byte(seedKeyset)); err != nil {
		return store.Keyset{}, fmt.Errorf("wrapping the keyset: %w", err)
	}
	row := store.Keyset{ID: seedKeyset, KEKID: kek.ID(), Wrapped: buf.Bytes()}
	err = s.Write(ctx, func(ctx context.Context, t *store.Tx) error { return t.PutKeyset(ctx, row) })
	if errors.Is(err, store.ErrExists) {
		// Another replica was first; its keyset holds.
		err = s.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
			row, err = t.GetKeyset(ctx, seedKeyset)
			return err
		})
	}
	return row, err
}

// identity is the associated data of a key's seed: a ciphertext that was moved to
// another row does not open.
func identity(k store.Key) []byte {
	return []byte(strings.Join([]string{"chancery/v1/seed", k.Kind, k.Role, k.ID, k.OperatorID, k.AccountID}, "|"))
}

// newKey makes a key pair and fills k's identity and sealed seed.
func (i *Issuer) newKey(k store.Key) (store.Key, error) {
	sealer, err := i.sealer()
	if err != nil {
		return k, err
	}
	pair, err := nkeys.CreatePairWithRand(claims.Kind(k.Kind).Prefix(), i.rand)
	if err != nil {
		return k, fmt.Errorf("making a key: %w", err)
	}
	defer pair.Wipe()
	if k.ID, err = pair.PublicKey(); err != nil {
		return k, fmt.Errorf("making a key: %w", err)
	}
	if k.Kind == "operator" && k.Role == "identity" {
		k.OperatorID = k.ID
	}
	if k.Kind == "account" && k.Role == "identity" {
		k.AccountID = k.ID
	}
	if k.Custody != "sealed" {
		return k, nil
	}
	seed, err := pair.Seed()
	if err != nil {
		return k, fmt.Errorf("making a key: %w", err)
	}
	defer clear(seed)
	if k.Sealed, err = sealer.Encrypt(seed, identity(k)); err != nil {
		return k, fmt.Errorf("sealing a key: %w", err)
	}
	return k, nil
}

// sealer returns the primitive, or the error of a sealed process.
func (i *Issuer) sealer() (tink.AEAD, error) {
	if i.seeds == nil {
		return nil, &Error{
			Kind: KindSealed, Code: "sealed", Message: "This server is sealed: it serves and pushes what is signed, but cannot sign.",
			Hint: "Start it with the key-encryption key of this database.",
		}
	}
	return i.seeds, nil
}

func redact(s string) string { return claims.Redact(s) }
