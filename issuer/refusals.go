package issuer

import (
	"context"

	"chancery/store"
)

// allOf is everything that was issued to the user. A cause ties its revocation to
// what may lift it again.
func allOf(u User, cause string) subject {
	return subject{by: store.ByUser, value: u.ID, cause: cause}
}

// refuse stores the revocations and signs the account anew, if there are any. It
// returns the version of the JWT that carries them.
func (i *Issuer) refuse(ctx context.Context, w *work, a Account, r revoking) (int64, error) {
	if len(r.rows) == 0 {
		return a.JWTVersion, nil
	}
	if err := r.apply(ctx, w); err != nil {
		return 0, err
	}
	signed, err := i.resign(ctx, w, a.ID)
	return signed.JWTVersion, orNoRoom(err)
}
