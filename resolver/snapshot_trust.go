package resolver

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/store"
)

// trust is whose signatures are believed: by operator, its keys that may sign accounts.
// It never changes.
type trust map[string]map[string]nkeys.KeyPair

// newTrust reads the keys of the operators whose JWT was signed by their own identity
// key, and that anchors names; nil anchors names all of them.
func newTrust(list []savedOperator, anchors []string) (t trust, trusted []savedOperator) {
	t = trust{}
	for _, o := range list {
		if anchors != nil && !slices.Contains(anchors, o.ID) {
			continue
		}
		read, err := claims.Read(o.JWT)
		if err != nil {
			continue
		}
		c, ok := read.Claims.(*jwt.OperatorClaims)
		if !ok || c.Subject != o.ID || c.Issuer != o.ID || c.IssuedAt != o.IssuedAt {
			continue
		}
		keys := slices.Clone([]string(c.SigningKeys))
		if !c.StrictSigningKeyUsage {
			keys = append(keys, c.Subject)
		}
		t[o.ID] = make(map[string]nkeys.KeyPair, len(keys))
		for _, k := range keys {
			if pair, err := nkeys.FromPublicKey(k); err == nil {
				t[o.ID][k] = pair
			}
		}
		trusted = append(trusted, o)
	}
	return t, trusted
}

var errUntrusted = errors.New("the JWT is not signed by a key of its operator")

// usualHeader is {"typ":"JWT","alg":"ed25519-nkey"} as nats-io/jwt writes it.
const usualHeader = "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ"

// verify tells whether an account's JWT is what its line says, and signed by a key of
// the operator. It does for the usual JWT what claims.Read does, without decoding what
// is not asked about: there may be a million of them.
func (t trust) verify(s store.Served) error {
	head, rest, ok := strings.Cut(s.Token, ".")
	payload, signature, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 {
		return errUntrusted
	}
	if head != usualHeader {
		return t.verifyUnusual(s)
	}
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return errUntrusted
	}
	sig, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		return errUntrusted
	}
	var c struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		IssuedAt int64  `json:"iat"`
		Nats     struct {
			Type jwt.ClaimType `json:"type"`
		} `json:"nats"`
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return errUntrusted
	}
	if c.Subject != s.AccountID || c.IssuedAt != s.IssuedAt || c.Nats.Type != jwt.AccountClaim {
		return errUntrusted
	}
	key := t[s.OperatorID][c.Issuer]
	if key == nil || key.Verify([]byte(s.Token[:len(head)+1+len(payload)]), sig) != nil {
		return errUntrusted
	}
	return nil
}

// verifyUnusual reads what has another header, such as a JWT of version 1.
func (t trust) verifyUnusual(s store.Served) error {
	read, err := claims.Read(s.Token)
	if err != nil {
		return fmt.Errorf("reading the JWT: %w", err)
	}
	c, ok := read.Claims.(*jwt.AccountClaims)
	if !ok || c.Subject != s.AccountID || c.IssuedAt != s.IssuedAt || t[s.OperatorID][c.Issuer] == nil {
		return errUntrusted
	}
	return nil
}
