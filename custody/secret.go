package custody

import (
	"errors"
	"fmt"
)

// secretPurpose sets secrets apart from seeds.
const secretPurpose = "chancery/v1/secret"

// SealSecret seals a secret that is no key's seed, such as the one behind challenges;
// it opens under the same name only.
func (s *Keyset) SealSecret(secret []byte, name string) ([]byte, error) {
	sealed, err := s.primitive.Encrypt(secret, []byte(secretPurpose+separator+name))
	if err != nil {
		return nil, fmt.Errorf("sealing a secret: %w", err)
	}
	return sealed, nil
}

// OpenSecret opens what SealSecret sealed; the caller clears it.
func (s *Keyset) OpenSecret(sealed []byte, name string) ([]byte, error) {
	if !s.Has(DataKey(sealed)) {
		return nil, ErrUnknownDataKey
	}
	secret, err := s.primitive.Decrypt(sealed, []byte(secretPurpose+separator+name))
	if err != nil {
		return nil, errors.New("the sealed secret does not open: it is damaged, or belongs elsewhere")
	}
	return secret, nil
}

// ResealSecret seals the secret of a name anew with the primary data key.
func (s *Keyset) ResealSecret(sealed []byte, name string) ([]byte, error) {
	secret, err := s.OpenSecret(sealed, name)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	return s.SealSecret(secret, name)
}
