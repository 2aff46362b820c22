package custody

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Keyset is the open data keys: the primary one seals, all of them open. It does not
// change and is safe for concurrent use.
type Keyset struct {
	handle    *keyset.Handle
	primitive tink.AEAD
	info      KeysetInfo
}

// KeysetInfo is what can be known of a keyset without opening it. Of a wrapped keyset
// nothing vouches for it.
type KeysetInfo struct {
	// Primary is the data key that seals, DataKeys all of them, oldest first.
	Primary  uint32
	DataKeys []uint32
}

// Wrapped is a keyset as it is stored.
type Wrapped struct {
	// KEKID names the key-encryption key that wrapped it.
	KEKID string
	Bytes []byte
}

// ErrWrongKEK and ErrDamaged tell why a wrapped keyset does not open: it was wrapped
// with another key-encryption key, or is not what was once written.
var (
	ErrWrongKEK = errors.New("the keyset was wrapped with another key-encryption key")
	ErrDamaged  = errors.New("the keyset is damaged")
)

// wrapping is the associated data of a wrapped keyset.
const wrapping = "seeds"

// NewKeyset makes a keyset with one data key.
func NewKeyset() (*Keyset, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("making a keyset: %w", err)
	}
	return newKeyset(handle)
}

func newKeyset(handle *keyset.Handle) (*Keyset, error) {
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("preparing a keyset: %w", err)
	}
	return &Keyset{handle: handle, primitive: primitive, info: infoOf(handle.KeysetInfo())}, nil
}

func infoOf(info *tinkpb.KeysetInfo) KeysetInfo {
	out := KeysetInfo{Primary: info.GetPrimaryKeyId()}
	for _, k := range info.GetKeyInfo() {
		out.DataKeys = append(out.DataKeys, k.GetKeyId())
	}
	return out
}

// Info names the data keys.
func (s *Keyset) Info() KeysetInfo { return s.info }

// Has tells whether the keyset has the data key.
func (s *Keyset) Has(dataKey uint32) bool { return slices.Contains(s.info.DataKeys, dataKey) }

// Add returns the keyset with a new data key, which is its primary one.
func (s *Keyset) Add() (*Keyset, error) {
	m := keyset.NewManagerFromHandle(s.handle)
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	if err == nil {
		err = m.SetPrimary(id)
	}
	return manage(m, err)
}

// Drop returns the keyset without the data key, which must not be the primary one.
func (s *Keyset) Drop(dataKey uint32) (*Keyset, error) {
	m := keyset.NewManagerFromHandle(s.handle)
	return manage(m, m.Delete(dataKey))
}

func manage(m *keyset.Manager, err error) (*Keyset, error) {
	if err != nil {
		return nil, fmt.Errorf("changing a keyset: %w", err)
	}
	handle, err := m.Handle()
	if err != nil {
		return nil, fmt.Errorf("changing a keyset: %w", err)
	}
	return newKeyset(handle)
}

// Wrap wraps the keyset with kek.
func (s *Keyset) Wrap(kek KEK) (Wrapped, error) {
	wrapper, err := kek.aead()
	if err != nil {
		return Wrapped{}, fmt.Errorf("preparing the key-encryption key: %w", err)
	}
	var b bytes.Buffer
	if err := s.handle.WriteWithAssociatedData(keyset.NewBinaryWriter(&b), wrapper, []byte(wrapping)); err != nil {
		return Wrapped{}, fmt.Errorf("wrapping a keyset: %w", err)
	}
	return Wrapped{KEKID: kek.ID(), Bytes: b.Bytes()}, nil
}

// Open opens the keyset with the key that wrapped it. Errors are ErrWrongKEK and
// ErrDamaged.
func (w Wrapped) Open(kek KEK) (*Keyset, error) {
	if w.KEKID != kek.ID() {
		return nil, ErrWrongKEK
	}
	wrapper, err := kek.aead()
	if err != nil {
		return nil, fmt.Errorf("preparing the key-encryption key: %w", err)
	}
	handle, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(w.Bytes)), wrapper, []byte(wrapping))
	if err != nil {
		return nil, ErrDamaged
	}
	return newKeyset(handle)
}

// Info names the data keys without opening the keyset; ErrDamaged if it cannot be read.
func (w Wrapped) Info() (KeysetInfo, error) {
	encrypted, err := keyset.NewBinaryReader(bytes.NewReader(w.Bytes)).ReadEncrypted()
	if err != nil || encrypted.GetKeysetInfo() == nil {
		return KeysetInfo{}, ErrDamaged
	}
	return infoOf(encrypted.GetKeysetInfo()), nil
}
