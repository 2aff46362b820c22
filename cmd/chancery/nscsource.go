package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/claims/nsc"
	"chancery/issuer"
)

// nscSource is a store of nsc. Its directory of keys is not opened: what these commands
// answer takes no seed.
type nscSource struct {
	// dir is the directory of stores.
	dir   string
	store *nsc.Store
}

// nscConfig is what these commands read of nsc's configuration, nsc.json.
type nscConfig struct {
	StoreRoot string `json:"store_root"`
	Operator  string `json:"operator"`
}

// openNSC reads the store of an operator below dir, "" for nsc's usual place. Without
// an operator's name it is the only one that suits, where several do the one that nsc is
// set to among them, and where none does the one that nsc is set to, or the only one. What could not be read of it is said on standard error.
func openNSC(env environment, dir, operator string, suits func(*nsc.Store) bool) (*nscSource, error) {
	root, d, err := openStores(env, dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	var n *nscSource
	if operator == "" {
		n, err = d.choose(suits)
	} else {
		n, err = d.read(operator)
	}
	if err == nil {
		n.warn(env)
	}
	return n, err
}

func (d nscDir) read(operator string) (*nscSource, error) {
	s, err := nsc.Read(nsc.Dirs{Stores: d.fs}, operator)
	if err != nil {
		return nil, usage(fmt.Errorf("%w in %s", err, d.name))
	}
	if s.Operator.Claims() == nil {
		return nil, fmt.Errorf("the JWT of the operator %s in %s cannot be read", s.Name, d.name)
	}
	return &nscSource{dir: d.name, store: s}, nil
}

func (d nscDir) choose(suits func(*nsc.Store) bool) (*nscSource, error) {
	names, err := nsc.Operators(d.fs)
	if err != nil {
		return nil, err
	}
	if i := slices.Index(names, d.set); i > 0 { // it comes first
		names = slices.Insert(slices.Delete(names, i, i+1), 0, d.set)
	}
	var suitable []*nscSource
	for _, name := range names {
		if len(names) == 1 || suits == nil {
			break
		}
		if n, err := d.read(name); err == nil && suits(n.store) {
			if name == d.set {
				return n, nil
			}
			suitable = append(suitable, n)
		}
	}
	switch {
	case len(suitable) == 1:
		return suitable[0], nil
	case len(suitable) > 1: // names are not unique; keys are
		var several []string
		for _, n := range suitable {
			several = append(several, n.store.Name)
		}
		names = several
	case len(names) == 0:
		return nil, usage(fmt.Errorf("%s holds no store of nsc; --nsc takes nsc's data directory or its stores directory", d.name))
	case len(names) == 1 || names[0] == d.set:
		return d.read(names[0])
	}
	return nil, usage(fmt.Errorf("there are several operators: name one with --operator (%s)", strings.Join(names, ", ")))
}

// mostWarnings is how many files that could not be read are named.
const mostWarnings = 5

// warn says what an answer leaves out, since the files could not be read.
func (n *nscSource) warn(env environment) {
	left := slices.DeleteFunc(slices.Clone(n.store.Problems), func(p nsc.Problem) bool { return !p.LeftOut || p.Code == "unknown_file" })
	for _, p := range left[:min(len(left), mostWarnings)] {
		fmt.Fprintf(env.stderr, "chancery: left out %s: %s\n", p.Path, p.Detail)
	}
	if more := len(left) - mostWarnings; more > 0 {
		fmt.Fprintf(env.stderr, "chancery: left out %d more files.\n", more)
	}
}

// openFirst opens the first directory that is there: nsc's configuration may name one
// that was moved.
func openFirst(places []string) (root *os.Root, place string, err error) {
	for _, place = range places {
		if root, err = os.OpenRoot(place); err == nil {
			return root, place, nil
		}
	}
	return nil, "", err
}

// knows returns a function that tells whether a store has the account of this name or
// public key.
func knows(account string) func(*nsc.Store) bool {
	return func(s *nsc.Store) bool { return (&nscSource{store: s}).account(account) != nil }
}

// storesIn takes nsc's data directory, or the directory of stores itself.
func storesIn(dir string) string {
	if stores := filepath.Join(dir, "stores"); exists(stores) {
		return stores
	}
	return dir
}

func readNSCConfig(env environment) nscConfig {
	var c nscConfig
	dir := xdg(env, "XDG_CONFIG_HOME", ".config")
	if dir == "" {
		return c
	}
	text, err := os.ReadFile(filepath.Join(dir, "nats", "nsc", "nsc.json"))
	if err != nil || json.Unmarshal(text, &c) != nil {
		return nscConfig{} // nsc itself makes a new one then
	}
	return c
}

// xdg returns a base directory of the user, below HOME where the variable is not set;
// "" where that is not set either.
func xdg(env environment, variable string, below ...string) string {
	home := env.getenv("HOME")
	if dir := env.getenv(variable); dir != "" || home == "" {
		return dir
	}
	return filepath.Join(append([]string{home}, below...)...)
}

// words says where was looked.
func (n *nscSource) words() string { return "the nsc store " + n.store.Name + " in " + n.dir }

// account returns the account with this name or public key, nil when there is none.
func (n *nscSource) account(id string) *nsc.Account {
	i := slices.IndexFunc(n.store.Accounts, func(a nsc.Account) bool { return a.Name == id || a.Claims().Subject == id })
	if i < 0 {
		return nil
	}
	return &n.store.Accounts[i]
}

// inspect follows the signatures of a JWT in the store.
func (n *nscSource) inspect(token claims.Token, at time.Time) issuer.Inspection {
	find := func(id string) *jwt.AccountClaims {
		if a := n.account(id); a != nil {
			return a.Claims()
		}
		return nil
	}
	var operators []*jwt.OperatorClaims
	if o := n.store.Operator.Claims(); o != nil {
		operators = append(operators, o)
	}
	x := issuer.Inspected(token, find, operators, at)
	if len(n.store.Accounts) == 0 {
		x.Sharing = nil // there is nothing to hold the imports against
	} else if c, ok := token.Claims.(*jwt.AccountClaims); ok {
		x.Sharing = append(x.Sharing, n.cycles(c)...)
	}
	return x
}

// cycles returns what CheckCycles says of the imports of c among the others.
func (n *nscSource) cycles(c *jwt.AccountClaims) claims.Problems {
	all := []*jwt.AccountClaims{c}
	for _, a := range n.store.Accounts {
		if other := a.Claims(); other.Subject != c.Subject {
			all = append(all, other)
		}
	}
	own := claims.Point("", 0)
	var out claims.Problems
	for _, p := range claims.CheckCycles(all) {
		if rest, ok := strings.CutPrefix(p.Pointer, own+"/"); ok {
			p.Pointer = "/" + rest
			out = append(out, p)
		}
	}
	return out
}

// view is what a nats-server has that serves the store.
func (n *nscSource) view(account string) claims.ServerView {
	v := claims.ServerView{Operators: []*jwt.OperatorClaims{n.store.Operator.Claims()}, Connections: -1, LeafNodes: -1}
	if a := n.account(account); a != nil {
		v.Account = a.Token.Text
	}
	return v
}

// members returns one user, named ACCOUNT/USER by names or keys, or all for "".
func (n *nscSource) members(who string) ([]claims.Member, []claims.Token, error) {
	account, user, _ := strings.Cut(who, "/")
	var members []claims.Member
	var tokens []claims.Token
	found := false
	for _, a := range n.store.Accounts {
		c := a.Claims()
		if who != "" && a.Name != account && c.Subject != account {
			continue
		}
		found = true
		for _, u := range a.Users {
			if who == "" || u.Name == user || u.Claims().Subject == user {
				members = append(members, claims.Member{Account: a.Name, User: u.Name, UserClaims: u.Claims(), AccountClaims: c})
				tokens = append(tokens, u.Token)
			}
		}
	}
	switch {
	case who != "" && !found:
		return nil, nil, usage(fmt.Errorf("there is no account %s in %s", plain(account), n.words()))
	case who != "" && len(members) == 0:
		return nil, nil, usage(fmt.Errorf("there is no user %s in the account %s of %s", plain(user), plain(account), n.words()))
	case len(members) > 1 && who != "":
		return nil, nil, usage(errors.New("there are several users of this name: name the one that is meant by its public key"))
	}
	return members, tokens, nil
}
