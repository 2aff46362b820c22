package nsc

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
)

// File is one file of nsc's data directory.
type File struct {
	// Path is relative to the data directory, with slashes: stores/… or keys/….
	Path string
	// Mode is 0600, as nsc has it; the directories above are for 0700.
	Mode fs.FileMode
	// Data may hold a seed.
	Data claims.Secret
}

// storeVersion is the version of the layout that nsc writes to .nsc.
const storeVersion = "1"

// ignored keeps seeds out of a Git repository, as nsc does.
const ignored = "# ignore all nk files \n**/*.nk\n\n# ignore all creds files\n**/*.creds\n"

// Files returns the files that nsc would have written for the store, by path. The
// error names a store, account or user whose name cannot be the name of a file, or
// that has no JWT, or a seed that is not that of its key.
func (s *Store) Files() ([]File, error) {
	b := &builder{}
	b.name("store", s.Name)
	b.name("operator", s.Operator.Name)
	i, err := json.Marshal(info{Managed: s.Managed, Name: s.Operator.Name, Kind: string(jwt.OperatorClaim), Version: storeVersion})
	if err != nil {
		return nil, fmt.Errorf("writing .nsc: %w", err)
	}
	b.add(path.Join("stores", s.Name, infoFile), string(i))
	b.token(path.Join("stores", s.Name, jwtFile(s.Operator.Name)), s.Operator.Token)
	seen := map[string]bool{}
	for _, a := range s.Accounts {
		b.name("account", a.Name)
		// nsc refuses the second as well: where capitals do not tell files apart, one
		// would overwrite the other.
		b.once(seen, "account", strings.ToLower(a.Name))
		b.token(path.Join("stores", accountFile(s.Name, a.Name)), a.Token)
		b.users(s.Name, a)
	}
	b.keys(s.Keys)
	if b.err != nil {
		return nil, b.err
	}
	slices.SortFunc(b.files, func(x, y File) int { return strings.Compare(x.Path, y.Path) })
	return b.files, nil
}

// builder collects files up to the first error.
type builder struct {
	files   []File
	secrets bool
	err     error
}

func (b *builder) fail(format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf(format, args...)
	}
}

func (b *builder) name(what, name string) {
	if why := nameFault(name); why != "" {
		b.fail("writing the %s %s: %s", what, shown(name), why)
	}
}

func (b *builder) once(seen map[string]bool, what, name string) {
	if seen[name] {
		b.fail("writing the %s %s: two have this name", what, shown(name))
	}
	seen[name] = true
}

func (b *builder) add(p, text string) {
	b.files = append(b.files, File{Path: p, Mode: 0o600, Data: claims.NewSecret(text)})
}

func (b *builder) token(p string, t claims.Token) {
	if t.Text == "" {
		b.fail("writing %s: there is no JWT", shown(p))
	}
	b.add(p, t.Text)
}

func (b *builder) users(store string, a Account) {
	seen := map[string]bool{}
	for _, u := range a.Users {
		b.name("user", u.Name)
		b.once(seen, "user", u.Name)
		b.token(path.Join("stores", userFile(store, a.Name, u.Name)), u.Token)
		if !u.Creds.Empty() {
			b.secrets = true
			b.add(path.Join(keysDir, credsDir, store, a.Name, u.Name+".creds"), u.Creds.Reveal())
		}
	}
}

func (b *builder) keys(keys map[string]claims.Secret) {
	for key, seed := range keys {
		p, ok := keyFile(key)
		if of, err := publicKey(seed); !ok || err != nil || of != key {
			b.fail("writing the keys: a seed is not that of its key")
			return
		}
		b.secrets = true
		b.add(path.Join(keysDir, p), seed.Reveal())
	}
	if b.secrets {
		b.add(path.Join(keysDir, ".gitignore"), ignored)
	}
}

func jwtFile(name string) string { return name + ".jwt" }

// accountFile and userFile are below the directory of stores.
func accountFile(store, account string) string {
	return path.Join(store, accountsDir, account, jwtFile(account))
}

func userFile(store, account, user string) string {
	return path.Join(store, accountsDir, account, usersDir, jwtFile(user))
}

// keyFile returns where the seed of a public key is, below the directory of keys. ok
// is false for what is no public key that nsc keeps.
func keyFile(key string) (p string, ok bool) {
	if !claims.LooksLikeKey(key) || !strings.ContainsRune("OAUX", rune(key[0])) || !nkeys.IsValidPublicKey(key) {
		return "", false
	}
	return path.Join(keysDir, key[:1], key[1:3], key+".nk"), true
}
