package issuer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"chancery/claims"
	"chancery/custody"
	"chancery/store"
)

// externalTime is how long an external signer may take: the rows of the change are
// locked meanwhile.
const externalTime = 5 * time.Second

// sign encodes checked claims, has them signed with key, verifies the signature and
// reads the result back: what a signer returns wrongly is never stored.
func (i *Issuer) sign(ctx context.Context, w *work, key store.Key, checked claims.Checked, issuedAt int64) (claims.Signed, error) {
	if err := w.maySign(ctx, key.OperatorID); err != nil {
		return claims.Signed{}, err
	}
	signer, err := i.signerFor(ctx, w, key)
	if err != nil {
		return claims.Signed{}, err
	}
	return signWith(ctx, signer, key, checked, issuedAt)
}

// signWith is sign with the signer of signerFor. Several may use one at once.
func signWith(ctx context.Context, signer custody.Signer, key store.Key, checked claims.Checked, issuedAt int64) (claims.Signed, error) {
	unsigned, err := encode(key, checked, issuedAt)
	if err != nil {
		return claims.Signed{}, err
	}
	signature, err := ask(ctx, signer, key, unsigned.SigningInput())
	if err != nil {
		return claims.Signed{}, err
	}
	signed, err := unsigned.Sign(signature)
	if errors.Is(err, claims.ErrSignature) {
		return claims.Signed{}, &Error{
			Kind: KindInternal, Code: "bad_signature", Message: "The signer returned a signature that does not verify. Nothing was stored.",
			Hint: "Look at the signer: it may hold another key under this name.", cause: fmt.Errorf("signing with %s: %w", key.ID, err),
		}
	}
	return signed, err
}

// signerFor returns the signer that holds the key. A sealed seed is opened once for
// the whole transaction, and wiped when it ends.
func (i *Issuer) signerFor(ctx context.Context, w *work, key store.Key) (custody.Signer, error) {
	switch {
	case key.Custody == CustodyExternal && i.external != nil:
		return i.external, nil
	case key.Custody == CustodyExternal:
		return nil, &Error{
			Kind: KindConflict, Code: "no_signer", Message: "The signing key is held by an external signer, and this server has none.",
			Hint: "Start the server with the signer that holds the key.",
		}
	}
	if _, err := i.sealer(); err != nil {
		return nil, err
	}
	if !held(key) {
		return nil, notHeld()
	}
	if open, ok := w.keys[key.ID]; ok {
		return open, nil
	}
	open, err := i.open(ctx, w, key)
	if err != nil {
		return nil, fmt.Errorf("opening the seed of %s: %w", key.ID, err)
	}
	if w.keys == nil {
		w.keys = map[string]*custody.Key{}
	}
	w.keys[key.ID] = open
	w.AtEnd(open.Wipe)
	return open, nil
}

// open opens the sealed seed of the key.
func (i *Issuer) open(ctx context.Context, w *work, key store.Key) (*custody.Key, error) {
	keys, err := i.toOpen(ctx, w, custody.DataKey(key.Sealed))
	if err != nil {
		return nil, err
	}
	open, err := keys.Open(key.Sealed, identity(key))
	if !errors.Is(err, custody.ErrUnknownDataKey) {
		return open, err
	}
	// The row may be from before a rotation of the data key that the keyset is from after.
	now, err := w.GetKey(ctx, key.ID)
	if err != nil {
		return nil, err
	}
	return keys.Open(now.Sealed, identity(key))
}

// ask has the signer sign, and says what became of one that is elsewhere.
func ask(ctx context.Context, signer custody.Signer, key store.Key, message []byte) ([]byte, error) {
	if key.Custody != CustodyExternal {
		signature, err := signer.Sign(ctx, key.ID, message)
		if err != nil {
			return nil, fmt.Errorf("signing with %s: %w", key.ID, err)
		}
		return signature, nil
	}
	limited, cancel := context.WithTimeout(ctx, externalTime)
	defer cancel()
	signature, err := signer.Sign(limited, key.ID, message)
	switch cause := fmt.Errorf("signing with %s: %w", key.ID, err); {
	case err == nil:
		return signature, nil
	case ctx.Err() != nil:
		return nil, cause
	case errors.Is(err, custody.ErrNoKey):
		return nil, &Error{
			Kind: KindConflict, Code: "no_signer", Message: "The external signer does not hold the signing key.",
			Hint: "Give the signer this key, or make another key current.", cause: cause,
		}
	default:
		return nil, &Error{
			Kind: KindBusy, Code: "signer_unavailable", Message: "The external signer did not sign.",
			Hint: "Look whether it runs and can be reached, then try again.", cause: cause,
		}
	}
}

// identity is what a key's seed is bound to.
func identity(k store.Key) custody.Identity {
	return custody.Identity{Kind: k.Kind, Role: k.Role, Public: k.ID, OperatorID: k.OperatorID, AccountID: k.AccountID}
}

// held tells whether the key's seed is sealed here.
func held(k store.Key) bool { return k.Custody == CustodySealed && len(k.Sealed) > 0 }

func notHeld() error {
	return &Error{Kind: KindConflict, Code: "no_signing_key", Message: "The seed of the signing key is not held here."}
}

// newKey makes a key pair and fills k's identity and sealed seed. The transaction that
// is to store it is w.
func (i *Issuer) newKey(ctx context.Context, w *work, k store.Key) (store.Key, error) {
	if _, err := i.sealer(); err != nil {
		return k, err
	}
	pair, err := custody.NewKey(claims.Kind(k.Kind), i.rand)
	if err != nil {
		return k, fmt.Errorf("making a key: %w", err)
	}
	defer pair.Wipe()
	k.ID = pair.Public()
	if k.Kind == "operator" && k.Role == "identity" {
		k.OperatorID = k.ID
	}
	if k.Kind == "account" && k.Role == "identity" {
		k.AccountID = k.ID
	}
	if k.Custody != CustodySealed {
		return k, nil
	}
	keys, err := i.toSeal(ctx, w)
	if err != nil {
		return k, err
	}
	if k.Sealed, err = keys.Seal(pair, identity(k)); err != nil {
		return k, err
	}
	k.DataKey = custody.DataKey(k.Sealed)
	return k, nil
}

// encode returns what is to be signed with key. A dry run comes as far as this.
func encode(key store.Key, checked claims.Checked, issuedAt int64) (claims.Unsigned, error) {
	if key.Custody != CustodyExternal && !held(key) {
		return claims.Unsigned{}, notHeld()
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

// current returns the newest current signing key among keys that can sign, or else the
// newest current one: of a template, or the plain one with an empty templateID.
func current(keys []store.Key, templateID string) (store.Key, error) {
	var out store.Key
	for _, k := range slices.Backward(keys) {
		if k.Role != "signing" || k.State != KeyCurrent || k.TemplateID != templateID {
			continue
		}
		if k.Custody == CustodyExternal || held(k) {
			return k, nil
		}
		if out.ID == "" {
			out = k
		}
	}
	if out.ID != "" {
		return out, nil
	}
	return store.Key{}, &Error{Kind: KindConflict, Code: "no_signing_key", Message: "There is no current signing key that could sign this."}
}

// accountSigner returns the operator's key that signs accounts: a current signing key
// or, where it has none that can sign and servers accept that, its identity key.
func accountSigner(ctx context.Context, t *store.Tx, operatorID string, keys []store.Key) (store.Key, error) {
	return orIdentity(ctx, t, operatorID, keys, "")
}

// orIdentity is current; an identity key that is held here takes the place of a plain
// key that cannot sign, unless the operator is strict.
func orIdentity(ctx context.Context, t *store.Tx, operatorID string, keys []store.Key, templateID string) (store.Key, error) {
	k, err := current(keys, templateID)
	if templateID != "" || err == nil && (k.Custody == CustodyExternal || held(k)) {
		return k, err
	}
	n := slices.IndexFunc(keys, func(k store.Key) bool { return k.Role == "identity" && k.State == KeyCurrent && held(k) })
	if n < 0 {
		return k, err
	}
	o, errOperator := t.GetOperator(ctx, operatorID)
	switch {
	case errOperator != nil:
		return k, errOperator
	case o.Settings.StrictSigningKeyUsage:
		return k, err
	}
	return keys[n], nil
}
