package claims

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/jwt/v2"
)

// ServerConfigInput is what a nats-server needs to know of an operator.
type ServerConfigInput struct {
	OperatorName, OperatorJWT, SystemAccount string
	// Fingerprint is that of the operator's claims, see OperatorFingerprint.
	Fingerprint string
	// ResolverURL ends in /accounts/; the server appends the account's key.
	ResolverURL string
}

// ServerConfig returns the part of a nats-server's configuration file that puts it
// in operator mode with the URL resolver.
func ServerConfig(in ServerConfigInput) string {
	var b strings.Builder
	b.WriteString("# Operator ")
	b.WriteString(in.OperatorName)
	b.WriteString(": put this into the configuration of every nats-server of the deployment.\n")
	b.WriteString("# The server asks the resolver once when it starts and refuses to start without an answer.\n")
	b.WriteString("# Fingerprint ")
	b.WriteString(in.Fingerprint)
	b.WriteString(": a change of the operator takes effect when the server is restarted, not when it reloads.\n")
	b.WriteString("operator: ")
	b.WriteString(in.OperatorJWT)
	b.WriteString("\nsystem_account: ")
	b.WriteString(in.SystemAccount)
	b.WriteString("\nresolver: URL(")
	b.WriteString(in.ResolverURL)
	b.WriteString(")\n")
	return b.String()
}

// OperatorFingerprint is a short hash of what a nats-server takes from an operator's
// claims to decide whom it trusts: the identity, the signing keys in any order,
// strictness and the system account. It is the same after a change of anything else,
// such as tags, and groups of four hex digits, so that two people can compare it.
func OperatorFingerprint(c *jwt.OperatorClaims) string {
	keys := slices.Sorted(slices.Values(c.SigningKeys))
	text := strings.Join([]string{c.Subject, strings.Join(keys, ","), strconv.FormatBool(c.StrictSigningKeyUsage), c.SystemAccount}, "|")
	return fingerprint("chancery operator trust\x00" + text)
}

// KeyFingerprint is a short hash of a public key, for people who compare it.
func KeyFingerprint(key string) string { return fingerprint("chancery public key\x00" + key) }

func fingerprint(text string) string {
	sum := sha256.Sum256([]byte(text))
	h := hex.EncodeToString(sum[:8])
	return h[:4] + "-" + h[4:8] + "-" + h[8:12] + "-" + h[12:]
}

// AccountSigners returns the keys that a nats-server with these operator claims
// accepts as signers of accounts, sorted: the signing keys, and the identity unless
// usage is strict (server.go: isTrustedIssuer, accounts.go: strict check at load).
func AccountSigners(c *jwt.OperatorClaims) []string {
	keys := slices.Clone([]string(c.SigningKeys))
	if !c.StrictSigningKeyUsage {
		keys = append(keys, c.Subject)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
