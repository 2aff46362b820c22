package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/claims/nsc"
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
// an operator's name it is the one that nsc is set to, or the only one.
func openNSC(env environment, dir, operator string) (*nscSource, error) {
	config := readNSCConfig(env)
	stores := config.StoreRoot
	if dir != "" {
		stores = storesIn(dir)
	} else if stores == "" {
		stores = filepath.Join(xdg(env, "XDG_DATA_HOME", ".local", "share"), "nats", "nsc", "stores")
	}
	root, err := os.OpenRoot(stores)
	if err != nil && dir == "" {
		return nil, usage(errNoSource)
	}
	if err != nil {
		return nil, usage(fmt.Errorf("the directory of nsc cannot be opened: %w", err))
	}
	defer root.Close()
	if operator == "" {
		names, err := nsc.Operators(root.FS())
		if err != nil {
			return nil, err
		}
		if operator, err = chooseOperator(names, config, stores); err != nil {
			return nil, err
		}
	}
	s, err := nsc.Read(nsc.Dirs{Stores: root.FS()}, operator)
	if err != nil {
		return nil, usage(fmt.Errorf("%w in %s", err, stores))
	}
	if s.Operator.Claims() == nil {
		return nil, fmt.Errorf("the JWT of the operator %s in %s cannot be read", s.Name, stores)
	}
	return &nscSource{dir: stores, store: s}, nil
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
	text, err := os.ReadFile(filepath.Join(xdg(env, "XDG_CONFIG_HOME", ".config"), "nats", "nsc", "nsc.json"))
	if err == nil && json.Unmarshal(text, &c) != nil {
		return nscConfig{}
	}
	return c
}

// xdg returns a base directory of the user, below HOME where the variable is not set.
func xdg(env environment, variable string, below ...string) string {
	if dir := env.getenv(variable); dir != "" {
		return dir
	}
	return filepath.Join(append([]string{env.getenv("HOME")}, below...)...)
}

func chooseOperator(names []string, config nscConfig, stores string) (string, error) {
	switch {
	case len(names) == 0:
		return "", usage(fmt.Errorf("%s holds no store of nsc; --nsc takes nsc's data directory or its stores directory", stores))
	case len(names) == 1:
		return names[0], nil
	case filepath.Clean(config.StoreRoot) == filepath.Clean(stores) && slices.Contains(names, config.Operator):
		return config.Operator, nil
	}
	return "", usage(fmt.Errorf("there are several operators: name one with --operator (%s)", strings.Join(names, ", ")))
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

// accountClaims is nil when there is no such account.
func (n *nscSource) accountClaims(id string) *jwt.AccountClaims {
	if a := n.account(id); a != nil {
		return a.Claims()
	}
	return nil
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
