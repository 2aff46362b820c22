package claims

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/jwt/v2"
)

// The kinds of resolver that a server can be configured with, besides ResolverFull and
// ResolverCache.
const (
	// ResolverURL fetches each account when a client of it comes first. This is what
	// Chancery recommends: nothing is kept that could be out of date at the next start.
	ResolverURL ResolverKind = "url"
	// ResolverMemory knows what its configuration file says. Chancery updates those
	// accounts by pushing; what is made later needs a new file.
	ResolverMemory ResolverKind = "memory"
)

// ServerResolvers are the kinds that ServerConfig describes, the recommended one first.
func ServerResolvers() []ResolverKind {
	return []ResolverKind{ResolverURL, ResolverFull, ResolverCache, ResolverMemory}
}

// ServerConfigInput is what a nats-server needs to know of an operator.
type ServerConfigInput struct {
	OperatorName, OperatorJWT, SystemAccount string
	// Fingerprint is that of the operator's claims, see OperatorFingerprint.
	Fingerprint string
	// Resolver is one of ServerResolvers; empty is ResolverURL.
	Resolver ResolverKind
	// ResolverURL ends in /accounts/; the server appends the account's key.
	ResolverURL string
	// Preload are the accounts that the server knows from the start: for ResolverFull
	// and ResolverCache the system account, without which Chancery could not reach it;
	// for ResolverMemory all.
	Preload []PreloadedAccount
}

// PreloadedAccount is an account in a configuration.
type PreloadedAccount struct{ ID, JWT string }

// ServerConfig returns the part of a nats-server's configuration file that puts it
// in operator mode with the resolver.
func ServerConfig(in ServerConfigInput) string {
	var b strings.Builder
	b.WriteString("# Operator ")
	b.WriteString(in.OperatorName)
	b.WriteString(": put this into the configuration of every nats-server of the deployment.\n")
	b.WriteString(resolverNotes[in.Resolver])
	b.WriteString("# Fingerprint ")
	b.WriteString(in.Fingerprint)
	b.WriteString(": a change of the operator takes effect when the server is restarted, not when it reloads.\n")
	b.WriteString("operator: ")
	b.WriteString(in.OperatorJWT)
	b.WriteString("\nsystem_account: ")
	b.WriteString(in.SystemAccount)
	if block := resolverBlocks[in.Resolver]; block != "" {
		b.WriteString("\n" + block)
	} else {
		b.WriteString("\nresolver: URL(" + in.ResolverURL + ")\n")
	}
	if len(in.Preload) > 0 {
		b.WriteString("resolver_preload: {\n")
		for _, a := range in.Preload {
			b.WriteString("  " + a.ID + ": " + a.JWT + "\n")
		}
		b.WriteString("}\n")
	}
	return b.String()
}

const urlNote = "# The server asks the resolver once when it starts and refuses to start without an answer.\n"

// resolverNotes say what to know of a resolver.
var resolverNotes = map[ResolverKind]string{
	"":          urlNote,
	ResolverURL: urlNote,
	ResolverFull: "# The server keeps every account on its disk; Chancery pushes them there, and servers exchange them.\n" +
		"# Each server needs a folder of its own, relative to where it is started.\n",
	ResolverCache: "# The server asks for an account when a client of it comes first, and keeps the last thousand on its disk.\n" +
		"# Each server needs a folder of its own, relative to where it is started.\n",
	ResolverMemory: "# The server knows the accounts below. Chancery pushes their changes, which last until the server restarts:\n" +
		"# write this file anew after changes, and at the latest when an account is made.\n",
}

// resolverBlocks configure what is not a URL, with what a nats-server takes by default
// unless a line says why not. Deleting accounts stays off everywhere: a token that asks
// for it can be replayed for ever (accounts.go: handleDeleteRequest).
var resolverBlocks = map[ResolverKind]string{
	ResolverFull: `resolver: {
  type: full
  dir: "./jwt"
  # Deleted accounts stay as tombstones that admit nobody.
  allow_delete: false
  # How often servers compare what they have.
  interval: "1m"
  timeout: "1.9s"
  # 0 is no limit: a full store would refuse accounts.
  limit: 0
}
`,
	ResolverCache: `resolver: {
  type: cache
  dir: "./jwt"
  limit: 1000
  # After that an account that is not loaded is asked for again.
  ttl: "1h"
  timeout: "1.9s"
}
`,
	ResolverMemory: "resolver: MEMORY\n",
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
