package issuer

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
	"strings"

	"chancery/claims"
)

// TokenPrefix starts every API token, so that scanners of leaked secrets know it.
const TokenPrefix = "chy_pat_"

// TokenPattern is the rule for scanners: what it finds is a token if its last six
// characters are the CRC-32 (IEEE) of all before them, in base 62.
const TokenPattern = `\bchy_pat_[0-9A-Za-z]{49}\b`

const (
	secretLength   = 43 // 62^43 > 2^256
	checksumLength = 6
	base62         = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// IsToken tells by its checksum whether text is an API token, of whatever Chancery. It
// asks nobody.
func IsToken(text string) bool { return validSecret(TokenPrefix, text) }

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
