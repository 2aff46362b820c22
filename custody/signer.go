package custody

import (
	"context"
	"errors"
)

// Signer signs with private keys that it alone holds: in this process, in another
// one, or in a device. custodytest has the tests that every implementation passes.
type Signer interface {
	// Sign returns the ed25519 signature, 64 bytes, of exactly message by the private
	// key of public, an nkey such as O… or A…. It returns ErrNoKey when it does not
	// hold that key, and the context's error soon after the context has ended. No error
	// repeats public, which may be a seed by mistake, or gives key material away. It is
	// safe for concurrent use and keeps no reference to message.
	Sign(ctx context.Context, public string, message []byte) (signature []byte, err error)
}

// ErrNoKey tells that a signer does not hold the key that it was asked to sign with.
var ErrNoKey = errors.New("the signer does not hold this key")
