package nsc

import (
	"errors"
	"io/fs"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// ErrNoStore tells that there is no store of an operator where one was looked for.
var ErrNoStore = errors.New("there is no nsc store")

// The bounds of reading.
const (
	// MaxJWTFile is the longest file of a JWT in bytes: jwt/v2 decodes no more.
	MaxJWTFile = jwt.MaxTokenSize
	// MaxKeyFile is the longest file of a seed, of creds or .nsc in bytes.
	MaxKeyFile = 64 * 1024
	// MaxEntries is how many directory entries of one store are looked at.
	MaxEntries = 1_000_000
	// MaxProblems is how many problems are listed; one more tells how many are not.
	MaxProblems = 1_000
)

// Dirs are the two directories of nsc. They are found apart, since nsc takes the
// second from --keystore-dir or NKEYS_PATH.
type Dirs struct {
	// Stores holds a directory for each operator; by default …/nats/nsc/stores.
	Stores fs.FS
	// Keys holds keys/ and creds/; by default …/nats/nsc/keys. nil: there are none.
	Keys fs.FS
}

// Store is all that nsc knows of one operator.
type Store struct {
	// Name is the name of the store's directory, which creds are filed under too.
	Name string
	// Managed tells that the operator is somebody else's: nsc sends accounts to its
	// account server to be signed.
	Managed  bool
	Operator Operator
	// Accounts are sorted by name.
	Accounts []Account
	// Keys maps public keys O…, A…, U… and X… that the JWTs name to their seeds.
	// Other keys of the key directory belong to other operators and are not read.
	Keys map[string]claims.Secret
	// Missing are the keys that the JWTs name and whose seeds are not there.
	Missing []Missing
	// Problems are what is wrong with files and with the chain of trust.
	Problems []Problem
}

// Operator is the operator of a store.
type Operator struct {
	// Name is the name of its file, which nsc takes from .nsc.
	Name string
	// Token is empty when the operator's JWT could not be read.
	Token claims.Token
}

// Claims returns the operator's claims, nil when its JWT could not be read.
func (o Operator) Claims() *jwt.OperatorClaims {
	c, _ := o.Token.Claims.(*jwt.OperatorClaims)
	return c
}

// Account is an account of a store with its users.
type Account struct {
	// Name is the name of its directory and file.
	Name  string
	Token claims.Token
	// Users are sorted by name.
	Users []User
}

// Claims returns the account's claims; Read leaves out what has none.
func (a Account) Claims() *jwt.AccountClaims {
	c, _ := a.Token.Claims.(*jwt.AccountClaims)
	return c
}

// User is a user of an account.
type User struct {
	// Name is the name of its file.
	Name  string
	Token claims.Token
	// Creds is the text of its creds file, empty when there is none.
	Creds claims.Secret
}

// Claims returns the user's claims; Read leaves out what has none.
func (u User) Claims() *jwt.UserClaims {
	c, _ := u.Token.Claims.(*jwt.UserClaims)
	return c
}

// Use is what a key is there for.
type Use string

// The uses of keys.
const (
	UseIdentity   Use = "identity"
	UseSigningKey Use = "signing_key"
	UseXKey       Use = "xkey"
)

// Missing is a key whose seed is not there. Neither a .nk file nor, for a user, a
// creds file holds it; a seed may well be kept elsewhere on purpose.
type Missing struct {
	// Key is the public key.
	Key string
	Use Use
	// Account and User name whose key it is; both are empty for the operator's.
	Account, User string
}

// Problem is what is wrong with one file, or with the place of its JWT in the chain
// of trust.
type Problem struct {
	// Path is the file, below nsc's data directory: stores/… or keys/….
	Path string
	// Code is stable, snake_case and meant for programs.
	Code string
	// Detail is a sentence a person can act on. It repeats nothing of the file.
	Detail string
	// LeftOut tells that nothing of the file is in the Store.
	LeftOut bool
}

// maxName leaves room for .creds in the 255 bytes of a file's name.
const maxName = 249

// nameFault tells why s cannot be the name of a file everywhere nsc runs, or "".
func nameFault(s string) string {
	switch {
	case s == "":
		return "The name is empty."
	case len(s) > maxName:
		return "The name is too long to be the name of a file: at most 249 bytes."
	case s == "." || s == ".." || strings.ContainsAny(s, `/\`):
		return `A name that is also the name of a file must not be . or .., nor hold / or \.`
	case strings.TrimSpace(s) != s:
		return "nsc trims the names of its files, so a name must not start or end with a space."
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return "The name holds control characters or is not UTF-8."
	case claims.LooksLikeSeed(s):
		return "The name has the shape of a private key (seed). Treat that key as exposed and give the object another name."
	}
	return ""
}
