package claims

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// SigningRequest is an operator's JWT that lacks its signature, for whoever keeps the
// identity key elsewhere. It holds no secret. What is signed is SigningInput alone:
// whoever signs reads its claims, and trusts the other fields for nothing.
type SigningRequest struct {
	// SigningInput is header and claims as they are signed, byte for byte.
	SigningInput string `json:"signing_input"`
	// CurrentJWT is the JWT in force, empty before the first.
	CurrentJWT string `json:"current_jwt,omitempty"`
	// Fingerprint is OperatorFingerprint of the claims.
	Fingerprint string `json:"fingerprint"`
}

// ParseSigningRequest reads what was exported.
func ParseSigningRequest(raw []byte) (SigningRequest, error) {
	var r SigningRequest
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, errors.New("this is no request for an operator's signature: it is not the JSON that was exported")
	}
	return r, nil
}

// Claims reads what is to be signed, and what is in force, nil before the first. It
// refuses what is no operator's JWT issued by its own identity, what no server would
// take, and a JWT in force that this identity did not sign.
func (r SigningRequest) Claims() (after, before *jwt.OperatorClaims, err error) {
	head, body, ok := strings.Cut(r.SigningInput, ".")
	payload, err := encoding.DecodeString(body)
	if !ok || err != nil {
		return nil, nil, errors.New("the signing input is no NATS JWT of version 2")
	}
	after = new(jwt.OperatorClaims)
	if err := json.Unmarshal(payload, after); err != nil || after.ClaimType() != jwt.OperatorClaim {
		return nil, nil, errors.New("the signing input holds no operator claims")
	}
	if !IsPublicKey(KindOperator, after.Subject) || after.Issuer != after.Subject || after.IssuedAt <= 0 {
		return nil, nil, errors.New("an operator's JWT is issued by its own identity key, at a time")
	}
	// What the JWT in force came with from elsewhere may stay; nothing else is carried.
	parts := OperatorOf(after)
	if parts.Foreign, err = r.inForce(head); err != nil {
		return nil, nil, err
	}
	checked, problems := BuildOperator(parts)
	if problems.Blocking() {
		return nil, nil, errors.New("the claims would be refused: " + problems[0].Detail)
	}
	// Encoding anew finds what the decoder dropped: nothing may be signed unseen.
	again, err := Encode(checked, Stamp{Issuer: after.Issuer, IssuedAt: after.IssuedAt})
	if err != nil {
		return nil, nil, err
	}
	if again.input != r.SigningInput {
		return nil, nil, errors.New("the signing input holds more than can be shown; export it again with this version of Chancery")
	}
	if r.CurrentJWT == "" {
		return after, nil, nil
	}
	before, err = jwt.DecodeOperatorClaims(r.CurrentJWT)
	if err != nil || before.Issuer != after.Subject || before.Subject != after.Subject {
		return nil, nil, errors.New("the JWT in force is not signed by this identity")
	}
	return after, before, nil
}

// inForce returns what the JWT in force holds beside its claims, where what is to be
// signed is not a plain JWT of ours: nil where it holds nothing else.
func (r SigningRequest) inForce(head string) (*Foreign, error) {
	if r.CurrentJWT == "" {
		if head != header {
			return nil, errors.New("the signing input is no NATS JWT of version 2")
		}
		return nil, nil //nolint:nilnil // there was nothing before
	}
	t, err := Read(r.CurrentJWT)
	if err != nil {
		return nil, errors.New("the JWT in force cannot be read")
	}
	c, ok := t.Claims.(*jwt.OperatorClaims)
	if !ok {
		return nil, errors.New("the JWT in force is no operator's")
	}
	f, err := ForeignOperator(t, c.Name)
	if err != nil || len(f.Fields)+len(f.Tolerated) == 0 && f.Audience == "" && f.Expires == 0 && f.NotBefore == 0 {
		return nil, err
	}
	return f, nil
}

// Sign signs the request with the identity key and reads the result back.
func (r SigningRequest) Sign(pair nkeys.KeyPair) (string, error) {
	after, _, err := r.Claims()
	if err != nil {
		return "", err
	}
	if public, err := pair.PublicKey(); err != nil || public != after.Subject {
		return "", errors.New("this seed belongs to another key than the operator's identity " + after.Subject)
	}
	signature, err := pair.Sign([]byte(r.SigningInput))
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	signed, err := Unsigned{
		input: r.SigningInput, subject: after.Subject, issuer: after.Issuer, id: after.ID, issuedAt: after.IssuedAt,
	}.Sign(signature)
	return signed.Token, err
}

// SameIntent tells whether a signed JWT holds exactly what u does, beside when it was
// issued and the id that follows from it.
func (u Unsigned) SameIntent(token string) bool {
	a, errA := intentOf(u.input)
	b, errB := intentOf(token)
	return errA == nil && errB == nil && reflect.DeepEqual(a, b)
}

func intentOf(token string) (map[string]any, error) {
	parts := strings.Split(token, ".")
	if len(parts) < 2 {
		return nil, errors.New("this is no JWT")
	}
	payload, err := encoding.DecodeString(parts[1])
	if err != nil {
		return nil, errors.New("this is no JWT")
	}
	var out map[string]any
	err = json.Unmarshal(payload, &out)
	delete(out, "iat")
	delete(out, "jti")
	return out, err
}
