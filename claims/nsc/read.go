package nsc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// info is what nsc writes to .nsc.
type info struct {
	Managed bool   `json:"managed"`
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Version string `json:"version"`
}

const (
	infoFile    = ".nsc"
	accountsDir = "accounts"
	usersDir    = "users"
	keysDir     = "keys"
	credsDir    = "creds"
)

// Operators returns the names of the stores in stores, sorted: the directories that
// hold a file .nsc.
func Operators(stores fs.FS) ([]string, error) {
	r := &reader{store: &Store{}, left: MaxEntries}
	t := tree{fs: stores, name: "stores"}
	if _, err := fs.Stat(stores, "."); err != nil {
		return nil, fmt.Errorf("%w: the directory of stores cannot be opened", ErrNoStore)
	}
	var names []string
	for _, e := range r.list(t, ".") {
		if e.IsDir() && nameFault(e.Name()) == "" && r.isFile(t, path.Join(e.Name(), infoFile)) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Read returns the store of an operator with its keys and creds. The error is
// ErrNoStore, when there is none of that name; everything else that is wrong is one of
// the store's problems.
func Read(dirs Dirs, operator string) (*Store, error) {
	r := &reader{store: &Store{Name: operator, Keys: map[string]claims.Secret{}}, left: MaxEntries}
	r.stores = tree{fs: dirs.Stores, name: "stores"}
	if nameFault(operator) != "" || !r.isFile(r.stores, path.Join(operator, infoFile)) {
		return nil, fmt.Errorf("%w of an operator called %s", ErrNoStore, shown(operator))
	}
	r.readOperator()
	r.readAccounts()
	if dirs.Keys != nil {
		r.keys = &tree{fs: dirs.Keys, name: keysDir}
		r.readCreds()
	}
	r.checkChain()
	r.readKeys()
	r.sumUp()
	return r.store, nil
}

func (r *reader) readOperator() {
	p := path.Join(r.store.Name, infoFile)
	i := info{Name: r.store.Name}
	if text, ok := r.read(r.stores, p, MaxKeyFile); ok && (json.Unmarshal(text, &i) != nil || nameFault(i.Name) != "") {
		r.report(r.stores, p, "invalid_info", "This is not what nsc writes to .nsc. The operator is taken to be called like its directory.", false)
		i = info{Name: r.store.Name}
	}
	r.store.Managed = i.Managed
	r.store.Operator.Name = i.Name
	file := path.Join(r.store.Name, jwtFile(i.Name))
	if !r.isFile(r.stores, file) {
		r.report(r.stores, file, "missing_operator", "The operator's JWT is not there, so no account can be checked against it.", true)
	} else if t, ok := r.token(r.stores, file, jwt.OperatorClaim); ok {
		r.store.Operator.Token = t
	}
	for _, e := range r.list(r.stores, r.store.Name) {
		if !slices.Contains([]string{infoFile, accountsDir, jwtFile(i.Name)}, e.Name()) {
			r.reportForeign(r.stores, path.Join(r.store.Name, e.Name()))
		}
	}
}

func (r *reader) readAccounts() {
	dir := path.Join(r.store.Name, accountsDir)
	for _, e := range r.listOptional(r.stores, dir) {
		p := path.Join(dir, e.Name())
		if !r.usable(r.stores, p, e, true, e.Name()) {
			continue
		}
		file := path.Join(p, jwtFile(e.Name()))
		if !r.isFile(r.stores, file) {
			r.report(r.stores, p, "missing_account", "The directory holds no JWT of its account, so the account and its users are left out.", true)
			continue
		}
		t, ok := r.token(r.stores, file, jwt.AccountClaim)
		if !ok {
			r.report(r.stores, p, "missing_account", "The account's JWT cannot be read, so the account and its users are left out.", true)
			continue
		}
		a := Account{Name: e.Name(), Token: t}
		for _, x := range r.list(r.stores, p) {
			if x.Name() != usersDir && x.Name() != jwtFile(a.Name) {
				r.reportForeign(r.stores, path.Join(p, x.Name()))
			}
		}
		a.Users = r.readUsers(path.Join(p, usersDir))
		r.store.Accounts = append(r.store.Accounts, a)
	}
}

func (r *reader) readUsers(dir string) []User {
	var users []User
	for _, e := range r.listOptional(r.stores, dir) {
		p := path.Join(dir, e.Name())
		name, isJWT := strings.CutSuffix(e.Name(), ".jwt")
		if !isJWT {
			r.reportForeign(r.stores, p)
			continue
		}
		if !r.usable(r.stores, p, e, false, name) {
			continue
		}
		if t, ok := r.token(r.stores, p, jwt.UserClaim); ok {
			users = append(users, User{Name: name, Token: t})
		}
	}
	slices.SortFunc(users, func(a, b User) int { return strings.Compare(a.Name, b.Name) })
	return users
}

// token reads the JWT of a file and sees to it that it is of the type.
func (r *reader) token(t tree, p string, kind jwt.ClaimType) (claims.Token, bool) {
	text, ok := r.read(t, p, MaxJWTFile)
	if !ok {
		return claims.Token{}, false
	}
	token, err := claims.Read(string(text))
	if err != nil {
		r.report(t, p, "invalid_jwt", "The JWT cannot be read: "+err.Error()+".", true)
		return claims.Token{}, false
	}
	if token.Claims.ClaimType() != kind {
		r.report(t, p, "wrong_type", "This is a JWT of another kind than its place says; it should be of the kind "+string(kind)+".", true)
		return claims.Token{}, false
	}
	return token, true
}

func (r *reader) readCreds() {
	dir := path.Join(credsDir, r.store.Name)
	for _, e := range r.listOptional(*r.keys, dir) {
		p := path.Join(dir, e.Name())
		i := slices.IndexFunc(r.store.Accounts, func(a Account) bool { return a.Name == e.Name() })
		if i < 0 {
			r.reportForeign(*r.keys, p)
		} else if r.usable(*r.keys, p, e, true, e.Name()) {
			r.readAccountCreds(p, &r.store.Accounts[i])
		}
	}
}

func (r *reader) readAccountCreds(dir string, a *Account) {
	users := make(map[string]*User, len(a.Users))
	for i := range a.Users {
		users[a.Users[i].Name] = &a.Users[i]
	}
	for _, e := range r.list(*r.keys, dir) {
		p := path.Join(dir, e.Name())
		name, isCreds := strings.CutSuffix(e.Name(), ".creds")
		u := users[name]
		if !isCreds || u == nil {
			r.reportForeign(*r.keys, p)
			continue
		}
		if !r.usable(*r.keys, p, e, false, name) {
			continue
		}
		text, ok := r.read(*r.keys, p, MaxKeyFile)
		if !ok {
			continue
		}
		creds := claims.NewSecret(string(text))
		token, seed, err := claims.ParseCreds(creds)
		if err != nil {
			r.report(*r.keys, p, "invalid_creds", "The creds file cannot be read: "+err.Error()+".", true)
			continue
		}
		u.Creds = creds
		if key, err := publicKey(seed); err != nil || key != u.Claims().Subject {
			r.report(*r.keys, p, "wrong_key", "The seed in the creds file is not that of the user's key.", false)
		} else if token != u.Token.Text {
			r.report(*r.keys, p, "creds_differ", "The creds file holds another JWT than the store: one of the two is out of date.", false)
		}
	}
}

// readKeys looks for the seed of every key that the JWTs name.
func (r *reader) readKeys() {
	inCreds := map[string]bool{}
	for _, a := range r.store.Accounts {
		for _, u := range a.Users {
			if _, seed, err := claims.ParseCreds(u.Creds); err == nil {
				key, _ := publicKey(seed)
				inCreds[key] = true
			}
		}
	}
	for _, m := range r.store.named() {
		if r.readKey(m.Key) || inCreds[m.Key] {
			continue
		}
		r.store.Missing = append(r.store.Missing, m)
	}
}

func (r *reader) readKey(key string) bool {
	if _, known := r.store.Keys[key]; known {
		return true
	}
	p, ok := keyFile(key)
	if r.keys == nil || !ok || !r.exists(*r.keys, p) {
		return false
	}
	text, ok := r.read(*r.keys, p, MaxKeyFile)
	if !ok {
		return false
	}
	seed := claims.NewSecret(string(bytes.TrimSpace(text)))
	if of, err := publicKey(seed); err != nil || of != key {
		r.report(*r.keys, p, "wrong_key", "The file does not hold the seed of the key it is named after.", true)
		return false
	}
	r.store.Keys[key] = seed
	return true
}
