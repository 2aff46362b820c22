package resolver

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Bounds of a file of credentials.
const (
	mostCredentials = 1000
	// leastToken is how short a token in clear may be, in bytes.
	leastToken = 16
)

// Credentials are the users or the tokens of a file. They are immutable, and hold
// hashes only.
type Credentials struct {
	list []credential
}

// credential is a name, empty for a token, and a secret, both hashed so that
// comparing them takes the same time whatever was sent.
type credential struct {
	named        bool
	name, secret [sha256.Size]byte
}

// hashed marks a secret of which a file has the SHA-256, in hex, and not itself.
const hashed = "sha256:"

// ParseUsers reads a file with one name:password on each line; what stands after the
// first colon may also be sha256: and the password's hash in hex. Empty lines and
// those that start with # are skipped. An error names the line and repeats nothing of
// it.
func ParseUsers(file []byte) (*Credentials, error) { return parseCredentials(file, true) }

// ParseTokens reads a file with one token, or sha256: and a token's hash in hex, on
// each line, otherwise as ParseUsers.
func ParseTokens(file []byte) (*Credentials, error) { return parseCredentials(file, false) }

func parseCredentials(file []byte, named bool) (*Credentials, error) {
	out := &Credentials{}
	lines := bufio.NewScanner(bytes.NewReader(file))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		c, err := parseCredential(line, named)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if out.list = append(out.list, c); len(out.list) > mostCredentials {
			return nil, fmt.Errorf("there are more than %d lines", mostCredentials)
		}
	}
	if lines.Err() != nil {
		return nil, errors.New("a line is too long")
	}
	if len(out.list) == 0 {
		return nil, errors.New("it names nobody")
	}
	return out, nil
}

func parseCredential(line string, named bool) (credential, error) {
	c, secret := credential{named: named}, line
	if named {
		name, after, ok := strings.Cut(line, ":")
		if !ok || name == "" || after == "" {
			return c, errors.New("name:password is expected")
		}
		c.name, secret = sha256.Sum256([]byte(name)), after
	}
	digits, isHash := strings.CutPrefix(secret, hashed)
	if !isHash {
		if !named && len(secret) < leastToken {
			return c, fmt.Errorf("a token has at least %d characters", leastToken)
		}
		c.secret = sha256.Sum256([]byte(secret))
		return c, nil
	}
	hash, err := hex.DecodeString(digits)
	if err != nil || len(hash) != sha256.Size {
		return c, errors.New("after sha256: come 64 hex digits")
	}
	copy(c.secret[:], hash)
	return c, nil
}

// presented is what a request has to show.
type presented struct {
	name, secret string
	// bearer tells that there is no name.
	bearer bool
}

// presentedBy reads the Authorization header; false when there is none of a kind that
// is known.
func presentedBy(r *http.Request) (presented, bool) {
	values := r.Header[headerAuthorization]
	if len(values) != 1 {
		return presented{}, false
	}
	scheme, value, ok := strings.Cut(values[0], " ")
	if ok && strings.EqualFold(scheme, "bearer") {
		return presented{secret: strings.TrimSpace(value), bearer: true}, true
	}
	if !ok || !strings.EqualFold(scheme, "basic") {
		return presented{}, false
	}
	both, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
	if err != nil {
		return presented{}, false
	}
	name, secret, ok := strings.Cut(string(both), ":")
	return presented{name: name, secret: secret}, ok
}

// hold tells whether p is among them. Every one is looked at, in constant time.
func (c *Credentials) hold(p presented) bool {
	if c == nil {
		return false
	}
	name, secret := sha256.Sum256([]byte(p.name)), sha256.Sum256([]byte(p.secret))
	found := 0
	for i := range c.list {
		x := &c.list[i]
		same := subtle.ConstantTimeCompare(x.secret[:], secret[:])
		if x.named { // of a token the name is whatever the client likes
			same &= subtle.ConstantTimeCompare(x.name[:], name[:])
			if p.bearer {
				same = 0
			}
		}
		found |= same
	}
	return found == 1
}

// admits tells whether the request may use the paths at all. A token may do more, so
// it admits too.
func (h *handler) admits(r *http.Request) bool {
	if h.paths.Readers == nil {
		return true
	}
	p, ok := presentedBy(r)
	return ok && (h.paths.Readers().hold(p) || h.hasToken(p))
}

func (h *handler) hasToken(p presented) bool {
	return h.paths.Tokens != nil && h.paths.Tokens().hold(p)
}

// refuse asks for credentials.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request) {
	h.count.refused.Inc()
	w.Header()[headerChallenge] = []string{`Basic realm="account JWTs", charset="UTF-8"`}
	text(w, r, http.StatusUnauthorized, "The account JWTs are for those with a name and a password: put both into the URL of the resolver.\n")
}

// trusts tells whether the request has a token, and answers it otherwise: 401 when
// one would help, 403 when none would.
func (h *handler) trusts(w http.ResponseWriter, r *http.Request, what string) bool {
	if h.paths.Tokens == nil {
		h.count.refused.Inc()
		text(w, r, http.StatusForbidden, what+" needs a token, and none is configured here (resolver_pack_token_file).\n")
		return false
	}
	p, ok := presentedBy(r)
	if ok && h.hasToken(p) {
		return true
	}
	h.count.refused.Inc()
	if ok {
		text(w, r, http.StatusForbidden, what+" needs a token; what was sent is none.\n")
		return false
	}
	w.Header()[headerChallenge] = []string{`Bearer realm="account JWTs"`, `Basic realm="account JWTs", charset="UTF-8"`}
	text(w, r, http.StatusUnauthorized, what+" needs a token: send it as Bearer, or as the password of Basic.\n")
	return false
}
