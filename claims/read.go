package claims

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"
)

// DecodeAccount decodes an account JWT, checks its signature and that one of the
// trusted operator keys issued it.
func DecodeAccount(token string, trusted []string) (*jwt.AccountClaims, error) {
	// The library skips line ends; the bytes that are served are to be the ones signed.
	if strings.ContainsAny(token, "\r\n") {
		return nil, errors.New("the account JWT holds line ends")
	}
	c, err := jwt.DecodeAccountClaims(token)
	if err != nil {
		return nil, fmt.Errorf("decoding account JWT: %w", err)
	}
	if !slices.Contains(trusted, c.Issuer) {
		return nil, errors.New("the account JWT is not issued by a trusted operator key")
	}
	return c, nil
}
