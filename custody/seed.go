package custody

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Identity says what a key is and whose: a sealed seed is bound to all of it, so that
// one that was moved to another row does not open.
type Identity struct {
	// Kind is operator or account, Role identity or signing.
	Kind, Role string
	// Public is the public key.
	Public string
	// OperatorID and AccountID are the owners; AccountID may be empty.
	OperatorID, AccountID string
}

// purpose sets seeds apart from whatever else a keyset may seal one day.
const purpose = "chancery/v1/seed"

// associated is the associated data of the seed. A seed is sealed only where no field
// holds the separator, so no two identities have the same.
func (d Identity) associated() []byte {
	return []byte(strings.Join([]string{purpose, d.Kind, d.Role, d.Public, d.OperatorID, d.AccountID}, separator))
}

const separator = "|"

func (d Identity) check() error {
	if strings.Contains(d.Kind+d.Role+d.Public+d.OperatorID+d.AccountID, separator) {
		return errors.New("the identity of a key holds a separator")
	}
	return nil
}

// ErrUnknownDataKey tells that a seed was sealed with a data key that the keyset does
// not have.
var ErrUnknownDataKey = errors.New("the keyset does not have the data key that sealed this seed")

// DataKey returns the identity of the data key that sealed a seed, as the sealed
// bytes themselves tell; 0 if they are not the form of a sealed seed.
func DataKey(sealed []byte) uint32 {
	if len(sealed) < markSize || sealed[0] != markVersion {
		return 0
	}
	return binary.BigEndian.Uint32(sealed[1:markSize])
}

// Mark returns how everything begins that the data key seals, see DataKey.
func Mark(dataKey uint32) []byte { return binary.BigEndian.AppendUint32([]byte{markVersion}, dataKey) }

// Tink's prefix: a version byte of 1, then the key's identity, big-endian.
const (
	markVersion = 1
	markSize    = 5
)

// Seal seals the key's seed for its place. The key stays open.
func (s *Keyset) Seal(k *Key, at Identity) (sealed []byte, err error) {
	if k.Public() != at.Public {
		return nil, errors.New("sealing a seed under another public key")
	}
	if err := at.check(); err != nil {
		return nil, err
	}
	seed, err := k.Seed()
	if err != nil {
		return nil, fmt.Errorf("sealing a seed: %w", err)
	}
	defer clear(seed)
	if sealed, err = s.primitive.Encrypt(seed, at.associated()); err != nil {
		return nil, fmt.Errorf("sealing a seed: %w", err)
	}
	return sealed, nil
}

// Open opens a seed that was sealed for the place and makes sure that it is the seed
// of the public key there. The caller wipes the key.
func (s *Keyset) Open(sealed []byte, at Identity) (*Key, error) {
	if !s.Has(DataKey(sealed)) {
		return nil, ErrUnknownDataKey
	}
	seed, err := s.primitive.Decrypt(sealed, at.associated())
	if err != nil {
		return nil, errors.New("it is damaged, or was sealed for another key")
	}
	defer clear(seed)
	k, err := ParseKey(seed)
	if err != nil {
		return nil, err
	}
	if k.Public() != at.Public {
		k.Wipe()
		return nil, errors.New("it is the seed of another key")
	}
	return k, nil
}

// Reseal seals the seed of a place anew with the primary data key.
func (s *Keyset) Reseal(sealed []byte, at Identity) ([]byte, error) {
	k, err := s.Open(sealed, at)
	if err != nil {
		return nil, err
	}
	defer k.Wipe()
	return s.Seal(k, at)
}
