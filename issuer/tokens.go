package issuer

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
	"strings"
	"time"

	"chancery/claims"
	"chancery/store"
)

// TokenPrefix starts every API token, so that scanners of leaked secrets know it.
const TokenPrefix = "chy_pat_"

const (
	secretLength   = 43 // 62^43 > 2^256
	checksumLength = 6
	base62         = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// TokenInput asks for an API token.
type TokenInput struct {
	Name string
	// Grants are what it may do: no more than its maker may.
	Grants []Grant
	// TTL is the lifetime; it must be given.
	TTL time.Duration
}

// CreateToken makes an API token. Its text is returned once; the hash is kept.
func (i *Issuer) CreateToken(ctx context.Context, op Op, in TokenInput) (claims.Secret, error) {
	out, err := change(ctx, i, op, use{permission: WriteTokens, action: "create", kind: "token", target: in.Name}, func(ctx context.Context, w *work) (planned[claims.Secret], error) {
		var none planned[claims.Secret]
		problems := claims.CheckName("/name", in.Name)
		problems = append(problems, checkGrants(in.Grants)...)
		if in.TTL < time.Second || in.TTL > maxTTL {
			problems = append(problems, claims.Problem{Pointer: "/ttl_seconds", Code: "out_of_range", Detail: "A token needs a lifetime of at least one second.", Blocking: true})
		}
		if problems.Blocking() {
			return none, invalid(problems)
		}
		id, err := w.NewID("tok_")
		if err != nil {
			return none, err
		}
		text, err := i.newSecret(TokenPrefix)
		if err != nil {
			return none, err
		}
		return planned[claims.Secret]{target: id, apply: func(ctx context.Context) (claims.Secret, error) {
			return text, w.CreateToken(ctx, store.Token{
				ID: id, Name: in.Name, Hash: hashSecret(text.Reveal()), Grants: in.Grants, CreatedBy: op.Caller.ID, Expires: w.Now().Add(in.TTL),
			})
		}}, nil
	})
	return out.Value, err
}

// RevokeTokens revokes every API token called name; there may be none.
func (i *Issuer) RevokeTokens(ctx context.Context, op Op, name string) error {
	_, err := change(ctx, i, op, use{permission: WriteTokens, action: "revoke", kind: "token", target: name}, func(_ context.Context, w *work) (planned[struct{}], error) {
		if problems := claims.CheckName("/name", name); problems.Blocking() {
			return planned[struct{}]{}, invalid(problems)
		}
		return planned[struct{}]{target: name, apply: func(ctx context.Context) (struct{}, error) {
			return struct{}{}, w.RevokeTokens(ctx, name)
		}}, nil
	})
	return err
}

// Authenticate returns the caller that an API token stands for.
func (i *Issuer) Authenticate(ctx context.Context, token claims.Secret) (Caller, error) {
	unknown := &Error{
		Kind: KindUnauthenticated, Code: "invalid_token", Message: "The token is not valid.",
		Hint: "It may be mistyped, expired or revoked. Send it as Authorization: Bearer chy_…",
	}
	if !validSecret(TokenPrefix, token.Reveal()) {
		return Caller{}, unknown
	}
	hash := hashSecret(token.Reveal())
	var k store.Token
	err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		k, err = t.GetToken(ctx, hash)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return Caller{}, unknown
	}
	if err != nil {
		return Caller{}, err
	}
	if subtle.ConstantTimeCompare(hash, k.Hash) != 1 {
		return Caller{}, unknown
	}
	return Caller{ID: k.ID, Name: k.Name, Kind: CallerToken, Grants: k.Grants}, nil
}

// newSecret returns prefix, 43 random characters and a checksum, which lets a
// scanner or a server tell a token from noise without asking anybody.
func (i *Issuer) newSecret(prefix string) (claims.Secret, error) {
	b := make([]byte, 32)
	if _, err := io.ReadFull(i.rand, b); err != nil {
		return claims.Secret{}, fmt.Errorf("reading randomness: %w", err)
	}
	body := prefix + inBase62(new(big.Int).SetBytes(b), secretLength)
	return claims.NewSecret(body + checksum(body)), nil
}

func checksum(s string) string {
	return inBase62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(s)))), checksumLength)
}

func inBase62(n *big.Int, length int) string {
	out := make([]byte, length)
	base, digit := big.NewInt(int64(len(base62))), new(big.Int)
	for p := length - 1; p >= 0; p-- {
		n, digit = new(big.Int).DivMod(n, base, digit)
		out[p] = base62[digit.Int64()]
	}
	return string(out)
}

func validSecret(prefix, s string) bool {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok || len(rest) != secretLength+checksumLength {
		return false
	}
	body := s[:len(s)-checksumLength]
	return subtle.ConstantTimeCompare([]byte(checksum(body)), []byte(s[len(body):])) == 1
}

func hashSecret(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}
