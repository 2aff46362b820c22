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
	"google.golang.org/protobuf/proto"
)

// Keyset is the open data keys: the primary one seals, all of them open. It does not
// change and is safe for concurrent use.
type Keyset struct {
	handle    *keyset.Handle
	primitive tink.AEAD
	info      KeysetInfo
	// from is what it was opened with; nil if it is new.
	from *wrapper
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
	return newKeyset(handle, nil)
}

func newKeyset(handle *keyset.Handle, from *wrapper) (*Keyset, error) {
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("preparing a keyset: %w", err)
	}
	return &Keyset{handle: handle, primitive: primitive, info: infoOf(handle.KeysetInfo()), from: from}, nil
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
	return s.changed(m, err)
}

// Drop returns the keyset without the data key, which must not be the primary one.
func (s *Keyset) Drop(dataKey uint32) (*Keyset, error) {
	m := keyset.NewManagerFromHandle(s.handle)
	return s.changed(m, m.Delete(dataKey))
}

func (s *Keyset) changed(m *keyset.Manager, err error) (*Keyset, error) {
	if err != nil {
		return nil, fmt.Errorf("changing a keyset: %w", err)
	}
	handle, err := m.Handle()
	if err != nil {
		return nil, fmt.Errorf("changing a keyset: %w", err)
	}
	return newKeyset(handle, s.from)
}

// Wrap wraps the keyset with kek.
func (s *Keyset) Wrap(kek KEK) (Wrapped, error) {
	d, err := newDerivation()
	if err != nil {
		return Wrapped{}, err
	}
	w, err := kek.wrapper(&d)
	if err != nil {
		return Wrapped{}, err
	}
	return s.wrap(w)
}

// WrapAgain wraps the keyset, which was opened and then changed, with the key that
// opened it.
func (s *Keyset) WrapAgain() (Wrapped, error) {
	if s.from == nil {
		return Wrapped{}, errors.New("wrapping a new keyset again")
	}
	return s.wrap(*s.from)
}

func (s *Keyset) wrap(w wrapper) (Wrapped, error) {
	out := &writer{bytes: []byte(w.header)}
	if err := s.handle.WriteWithAssociatedData(out, w, w.associated()); err != nil {
		return Wrapped{}, fmt.Errorf("wrapping a keyset: %w", err)
	}
	return Wrapped{KEKID: w.id, Bytes: out.bytes}, nil
}

// writer appends an encrypted keyset with what Info tells, which Tink's own leaves
// out. It refuses to write one in clear.
type writer struct{ bytes []byte }

// Write implements keyset.Writer.
func (*writer) Write(*tinkpb.Keyset) error { return errors.New("a keyset is not written in clear") }

// WriteEncrypted implements keyset.Writer.
func (w *writer) WriteEncrypted(k *tinkpb.EncryptedKeyset) (err error) {
	w.bytes, err = proto.MarshalOptions{Deterministic: true}.MarshalAppend(w.bytes, k)
	return err
}

// Open opens the keyset with the key that wrapped it. Errors are ErrWrongKEK and
// ErrDamaged.
func (w Wrapped) Open(kek KEK) (*Keyset, error) {
	d, rest, err := cutDerivation(w.Bytes)
	if err != nil {
		return nil, err
	}
	if kek.Empty() || kek.passphrase != (d != nil) {
		return nil, ErrWrongKEK
	}
	with, err := kek.wrapper(d)
	if err != nil {
		return nil, err
	}
	if with.id != w.KEKID {
		return nil, ErrWrongKEK
	}
	handle, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(rest)), with, with.associated())
	if err != nil {
		return nil, ErrDamaged
	}
	return newKeyset(handle, &with)
}

// Info names the data keys without opening the keyset, as far as it tells them: one
// that was wrapped by an early version does not. ErrDamaged if it cannot be read.
func (w Wrapped) Info() (KeysetInfo, error) {
	_, rest, err := cutDerivation(w.Bytes)
	if err != nil {
		return KeysetInfo{}, err
	}
	encrypted, err := keyset.NewBinaryReader(bytes.NewReader(rest)).ReadEncrypted()
	if err != nil || len(encrypted.GetEncryptedKeyset()) == 0 {
		return KeysetInfo{}, ErrDamaged
	}
	return infoOf(encrypted.GetKeysetInfo()), nil
}
