package issuer

import (
	"context"
	"fmt"

	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/store"
)

// sign encodes checked claims and signs them with key: it opens the seed, makes
// sure that it is the seed of that key, signs, wipes, and reads the result back.
// Nothing else in Chancery opens a seed.
func (i *Issuer) sign(ctx context.Context, w *work, key store.Key, checked claims.Checked, issuedAt int64) (claims.Signed, error) {
	if err := w.maySign(ctx, key.OperatorID); err != nil {
		return claims.Signed{}, err
	}
	sealer, err := i.sealer()
	if err != nil {
		return claims.Signed{}, err
	}
	unsigned, err := encode(key, checked, issuedAt)
	if err != nil {
		return claims.Signed{}, err
	}
	seed, err := sealer.Decrypt(key.Sealed, identity(key))
	if err != nil {
		return claims.Signed{}, fmt.Errorf("opening the seed of %s: %w", key.ID, err)
	}
	defer clear(seed)
	pair, err := nkeys.FromSeed(seed)
	if err != nil {
		return claims.Signed{}, fmt.Errorf("reading the seed of %s: %w", key.ID, err)
	}
	defer pair.Wipe()
	if public, err := pair.PublicKey(); err != nil || public != key.ID {
		return claims.Signed{}, fmt.Errorf("the seed stored for %s belongs to another key", key.ID)
	}
	signature, err := pair.Sign(unsigned.SigningInput())
	if err != nil {
		return claims.Signed{}, fmt.Errorf("signing with %s: %w", key.ID, err)
	}
	return unsigned.Sign(signature)
}

// encode returns what is to be signed with key. A dry run comes as far as this.
func encode(key store.Key, checked claims.Checked, issuedAt int64) (claims.Unsigned, error) {
	if key.Custody != "sealed" || len(key.Sealed) == 0 {
		return claims.Unsigned{}, &Error{Kind: KindConflict, Code: "no_signing_key", Message: "The seed of the signing key is not held here."}
	}
	unsigned, err := claims.Encode(checked, claims.Stamp{Issuer: key.ID, IssuedAt: issuedAt})
	if err != nil {
		return unsigned, err
	}
	if problems := unsigned.CheckSize(); problems.Blocking() {
		return unsigned, invalid(problems)
	}
	return unsigned, nil
}

// current returns the newest current signing key among keys: of a template, or
// the plain one with an empty templateID.
func current(keys []store.Key, templateID string) (store.Key, error) {
	for n := len(keys) - 1; n >= 0; n-- {
		k := keys[n]
		if k.Role == "signing" && k.State == "current" && k.TemplateID == templateID {
			return k, nil
		}
	}
	return store.Key{}, &Error{Kind: KindConflict, Code: "no_signing_key", Message: "There is no current signing key that could sign this."}
}
