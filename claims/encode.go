package claims

import (
	"bytes"
	"crypto/sha512"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// joseHeader is the JOSE header of every NATS JWT of version 2, header the same as it
// stands in one.
const joseHeader = `{"typ":"JWT","alg":"ed25519-nkey"}`

var header = encoding.EncodeToString([]byte(joseHeader))

var encoding = base64.RawURLEncoding

// version is the version of the claims, `nats.version`, that jwt/v2 writes.
const version = 2

// Stamp is what the signer adds to claims.
type Stamp struct {
	// Issuer is the public key that signs.
	Issuer string
	// IssuedAt is the issue time in Unix seconds; see NextIssuedAt.
	IssuedAt int64
}

// Unsigned is an encoded JWT that lacks its signature.
type Unsigned struct {
	input    string
	subject  string
	issuer   string
	id       string
	issuedAt int64
}

// Encode stamps and serialises checked claims. The id (jti) is a hash over the
// whole payload: jwt/v2 hashes the standard claims only, so two versions of one
// second collide there. The claims are not changed.
func Encode(checked Checked, stamp Stamp) (Unsigned, error) {
	if checked.claims == nil {
		return Unsigned{}, errors.New("encoding claims that were not checked")
	}
	if stamp.IssuedAt <= 0 {
		return Unsigned{}, errors.New("encoding claims without an issue time")
	}
	if !issuerAllowed(checked.claims, stamp.Issuer) {
		return Unsigned{}, fmt.Errorf("encoding %s claims: a key of this kind cannot issue them", checked.claims.ClaimType())
	}
	c, data := stamped(checked.claims, stamp)
	payload, err := marshal(c)
	if err != nil {
		return Unsigned{}, fmt.Errorf("encoding claims: %w", err)
	}
	head := header
	if len(checked.carried) > 0 {
		if head, payload, _, err = checked.carried.merge(payload); err != nil {
			return Unsigned{}, fmt.Errorf("encoding claims: %w", err)
		}
	}
	sum := sha512.Sum512_256(payload)
	data.ID = base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])
	payload = withID(payload, data.ID)
	return Unsigned{
		input:   signingInput(head, payload),
		subject: data.Subject, issuer: stamp.Issuer, id: data.ID, issuedAt: stamp.IssuedAt,
	}, nil
}

// issuedAtField is where nats-io/jwt's claims go on after the id.
const issuedAtField = `"iat":`

// withID writes the id into the payload it was worked out from, so that ten thousand
// revocations are written once. No text of the payload holds the field: in JSON its
// quotation marks would be escaped.
func withID(payload []byte, id string) []byte {
	before, after, _ := bytes.Cut(payload, []byte(issuedAtField))
	return slices.Concat(before, []byte(`"jti":"`+id+`",`+issuedAtField), after)
}

func signingInput(head string, payload []byte) string {
	var b strings.Builder
	b.Grow(len(head) + 1 + encoding.EncodedLen(len(payload)))
	b.WriteString(head + ".")
	w := base64.NewEncoder(encoding, &b)
	_, _ = w.Write(payload) // a strings.Builder takes everything
	_ = w.Close()
	return b.String()
}

// someRevocation stands for all revocations of an account until they are written.
const someRevocation = `"-":0`

// marshal writes claims as encoding/json does. The revocations of an account are
// written here: they are checked keys and whole numbers, and by far the most there is.
func marshal(c jwt.Claims) ([]byte, error) {
	a, ok := c.(*jwt.AccountClaims)
	if !ok || len(a.Revocations) == 0 {
		return json.Marshal(c)
	}
	revoked := a.Revocations
	a.Revocations = jwt.RevocationList{"-": 0}
	defer func() { a.Revocations = revoked }()
	rest, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	before, after, _ := bytes.Cut(rest, []byte(someRevocation))
	const entry = len(`"":,`) + keyLength + len("1700000000")
	out := make([]byte, 0, len(rest)+len(revoked)*entry)
	out = append(out, before...)
	for n, subject := range slices.Sorted(maps.Keys(revoked)) {
		if n > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, '"'), subject...), `":`...)
		out = strconv.AppendInt(out, revoked[subject], 10)
	}
	return append(out, after...), nil
}

// SigningInput returns the bytes to sign with the issuer's key.
func (u Unsigned) SigningInput() []byte { return []byte(u.input) }

// ErrSignature tells that a signature does not verify with the issuer's public key.
var ErrSignature = errors.New("the signature does not verify with the issuer's public key")

// Sign attaches the signature and decodes the result with nats-io/jwt, as every
// nats-server will: that verifies the signature with the key the claims name, which is
// then held against the issuer's.
func (u Unsigned) Sign(signature []byte) (Signed, error) {
	token := u.input + "." + encoding.EncodeToString(signature)
	c, err := jwt.Decode(token)
	if err != nil {
		return Signed{}, u.whyNot(signature, err)
	}
	d := c.Claims()
	if d.Subject != u.subject || d.Issuer != u.issuer || d.ID != u.id || d.IssuedAt != u.issuedAt {
		return Signed{}, errors.New("the new JWT does not decode to what was meant")
	}
	return Signed{Token: token, Subject: u.subject, Issuer: u.issuer, ID: u.id, IssuedAt: u.issuedAt, Expires: d.Expires}, nil
}

// whyNot tells a wrong signature from whatever else does not decode.
func (u Unsigned) whyNot(signature []byte, err error) error {
	kp, wrong := nkeys.FromPublicKey(u.issuer)
	if wrong != nil {
		return fmt.Errorf("reading the issuer's public key: %w", wrong)
	}
	if kp.Verify([]byte(u.input), signature) != nil {
		return ErrSignature
	}
	return fmt.Errorf("decoding the new JWT: %w", err)
}

// Signed is a JWT that was signed, verified and decoded again.
type Signed struct {
	Token   string
	Subject string
	Issuer  string
	// ID is the jti.
	ID string
	// IssuedAt and Expires are Unix seconds; Expires 0 is never.
	IssuedAt int64
	Expires  int64
}

// stamped returns a shallow copy of the claims that carries the stamp, and a
// pointer to the copy's standard claims.
func stamped(c jwt.Claims, s Stamp) (jwt.Claims, *jwt.ClaimsData) {
	var out jwt.Claims
	switch v := c.(type) {
	case *jwt.OperatorClaims:
		x := *v
		x.Type, x.Version = jwt.OperatorClaim, version
		out = &x
	case *jwt.AccountClaims:
		x := *v
		x.Type, x.Version = jwt.AccountClaim, version
		x.Exports = append(jwt.Exports(nil), v.Exports...)
		x.Imports = append(jwt.Imports(nil), v.Imports...)
		sort.Stable(x.Exports)
		sort.Stable(x.Imports)
		out = &x
	case *jwt.UserClaims:
		x := *v
		x.Type, x.Version = jwt.UserClaim, version
		out = &x
	case *jwt.ActivationClaims:
		x := *v
		x.Type, x.Version = jwt.ActivationClaim, version
		out = &x
	}
	d := out.Claims()
	d.Issuer, d.IssuedAt, d.ID = s.Issuer, s.IssuedAt, ""
	return out, d
}

// issuerAllowed tells whether claims of this type may be issued by that kind of
// key. nats-io/jwt also lets operators issue activations, which no server trusts.
func issuerAllowed(c jwt.Claims, issuer string) bool {
	_, activation := c.(*jwt.ActivationClaims)
	for _, p := range c.ExpectedPrefixes() {
		if activation && p != nkeys.PrefixByteAccount {
			continue
		}
		if nkeys.IsValidPublicKey(issuer) && nkeys.Prefix(issuer) == p {
			return true
		}
	}
	return false
}
