package claims

import (
	"regexp"
	"strings"

	"github.com/nats-io/nkeys"
)

// Kind is the kind of subject a NATS key stands for, named as its first letter:
// operator O, account A, user U, server N.
type Kind string

// The kinds of key that Chancery handles.
const (
	KindOperator Kind = "operator"
	KindAccount  Kind = "account"
	KindUser     Kind = "user"
	KindServer   Kind = "server"
	// KindAudit is of the key that signs checkpoints of the audit log. NATS knows none
	// such; it is written with the letter C, which nkeys has for clusters.
	KindAudit Kind = "audit"
)

var prefixes = map[Kind]nkeys.PrefixByte{
	KindOperator: nkeys.PrefixByteOperator,
	KindAccount:  nkeys.PrefixByteAccount,
	KindUser:     nkeys.PrefixByteUser,
	KindServer:   nkeys.PrefixByteServer,
	KindAudit:    nkeys.PrefixByteCluster,
}

// Prefix returns the nkeys prefix byte of the kind.
func (k Kind) Prefix() nkeys.PrefixByte { return prefixes[k] }

// keyLength is how many characters a public key has, and rawKeyLength how many bytes
// they are in base32: the prefix, 32 of the key and 2 of the checksum.
const keyLength, rawKeyLength = 56, 35

// IsPublicKey tells whether s is a public key of the kind: 56 characters of
// base32 with the kind's prefix and a valid checksum. It is nkeys' check in one pass:
// an account may have ten thousand keys on its list.
func IsPublicKey(kind Kind, s string) bool {
	p, ok := prefixes[kind]
	// The library also takes line ends and a 57th letter: other spellings of one key.
	if !ok || len(s) != keyLength {
		return false
	}
	var raw [rawKeyLength]byte
	bits, have, n := uint(0), 0, 0
	for i := range keyLength {
		v := base32Values[s[i]]
		if v == notBase32 {
			return false
		}
		bits = bits<<5 | uint(v)
		if have += 5; have >= 8 {
			have -= 8
			raw[n] = byte(bits >> have)
			n++
		}
	}
	const end = rawKeyLength - 2
	return raw[0] == byte(p) && checksum(raw[:end]) == uint16(raw[end])|uint16(raw[end+1])<<8
}

// notBase32 is the value of a letter that base32 does not have.
const notBase32 = 0xff

// base32Values has the value of each letter.
var base32Values = func() (out [256]byte) {
	for i := range out {
		out[i] = notBase32
	}
	for i, letter := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") {
		out[letter] = byte(i)
	}
	return out
}()

// crcTable is for the polynomial of CRC-16/XMODEM, which nkeys end in.
var crcTable = func() (out [256]uint16) {
	for i := range out {
		crc := uint16(i) << 8
		for range 8 {
			carry := crc >> 15
			crc = crc<<1 ^ carry*0x1021
		}
		out[i] = crc
	}
	return out
}()

func checksum(b []byte) (crc uint16) {
	for _, v := range b {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^v]
	}
	return crc
}

// CheckPublicKey returns the problem of s as a public key of the kind at pointer,
// or nil. The sentence never repeats s, which may be a seed sent by mistake.
func CheckPublicKey(pointer string, kind Kind, s string) Problems {
	if IsPublicKey(kind, s) {
		return nil
	}
	refuses := !nkeys.IsValidPublicKey(s) || nkeys.Prefix(s) != prefixes[kind]
	if LooksLikeSeed(s) {
		return seedIn(pointer).server(refuses)
	}
	return Problems{
		blocking(pointer, "invalid_key", "This must be the public key of "+article(kind)+": 56 characters, starting with "+strings.ToUpper(letter(kind))+"."),
	}.server(refuses)
}

// seedIn is the problem of a text that holds a private key.
func seedIn(pointer string) Problems {
	return Problems{blocking(pointer, "seed_not_accepted",
		"This is a private key (seed). Send the public key only, and treat the seed as exposed if it travelled over an untrusted path.")}
}

func letter(kind Kind) string {
	if kind == KindServer {
		return "n"
	}
	return string(kind[0])
}

func article(kind Kind) string {
	if kind == KindServer {
		return "a server"
	}
	if kind == KindUser {
		return "a user"
	}
	return "an " + string(kind)
}

var (
	// None of these wants a word's edge before it: in JSON a line end is \n. A seed in
	// small letters is the seed all the same: tags, for one, are lower-cased.
	seedRE    = regexp.MustCompile(`S[OAUNCX][A-Za-z2-7]{56}|s[oauncx][a-z2-7]{56}`)
	nkeyRE    = regexp.MustCompile(`^[OAUNCXP][A-Z2-7]{55}$`)
	bearerRE  = regexp.MustCompile(`chy_[a-z]+_[0-9A-Za-z]+`)
	jwtLikeRE = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`)
)

// seedLength is how many letters a seed has.
const seedLength = 58

// LooksLikeSeed tells whether s contains what has the shape of a private key: what
// seedRE matches, without its cost, for every text of an account is read at every
// signature.
func LooksLikeSeed(s string) bool {
	for i := 0; i+seedLength <= len(s); i++ {
		switch s[i] {
		case 'S':
			if strings.IndexByte("OAUNCX", s[i+1]) >= 0 && seedLetters(s[i+2:i+seedLength], true) {
				return true
			}
		case 's':
			if strings.IndexByte("oauncx", s[i+1]) >= 0 && seedLetters(s[i+2:i+seedLength], false) {
				return true
			}
		}
	}
	return false
}

func seedLetters(s string, capitals bool) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') && (!capitals || c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

// holdsSeed tells whether s contains a private key with a valid checksum. One long
// JWT in a hundred merely has the shape of one somewhere.
func holdsSeed(s string) bool {
	for i := 0; i+seedLength <= len(s); i++ {
		if s[i] != 'S' {
			continue
		}
		if _, err := nkeys.FromSeed([]byte(s[i : i+seedLength])); err == nil {
			return true
		}
	}
	return false
}

// LooksLikeKey tells whether s has the shape of a public key of any kind. Names
// must not, so that a path segment is either a name or a key, never both.
func LooksLikeKey(s string) bool { return nkeyRE.MatchString(strings.ToUpper(s)) }

// Redact replaces seeds, API tokens and JWTs in s. It is the last line of
// defence of the log handler; types that hold secrets redact themselves.
func Redact(s string) string {
	s = seedRE.ReplaceAllString(s, "[seed redacted]")
	s = bearerRE.ReplaceAllString(s, "[token redacted]")
	return jwtLikeRE.ReplaceAllString(s, "[jwt redacted]")
}
