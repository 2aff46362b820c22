package nsc

import (
	"path"
	"slices"

	"github.com/nats-io/nkeys"

	"chancery/claims"
)

// checkChain reports every JWT that the one above it does not vouch for, and every one
// that is called otherwise than its file.
func (r *reader) checkChain() {
	s := r.store
	if o := s.Operator.Claims(); o != nil && o.Name != s.Operator.Name {
		r.reportName(path.Join(s.Name, jwtFile(s.Operator.Name)))
	}
	known := map[string]bool{}
	for _, a := range s.Accounts {
		file := accountFile(s.Name, a.Name)
		c := a.Claims()
		if c.Name != a.Name {
			r.reportName(file)
		}
		if known[c.Subject] {
			r.report(r.stores, file, "duplicate_key", "Another account of the store has the same key.", false)
		}
		known[c.Subject] = true
		r.checkAccountIssuer(file, a)
		for _, u := range a.Users {
			r.checkUser(a, u)
		}
	}
}

func (r *reader) reportName(p string) {
	r.report(r.stores, p, "name_differs", "The name in the JWT is not the name of its file; nsc finds it by its file.", false)
}

func (r *reader) checkAccountIssuer(file string, a Account) {
	o := r.store.Operator.Claims()
	if o == nil {
		return // that is a problem already
	}
	c := a.Claims()
	switch {
	case slices.Contains(o.SigningKeys, c.Issuer):
	case c.Issuer == o.Subject && !o.StrictSigningKeyUsage:
	case c.Issuer == o.Subject:
		r.report(r.stores, file, "not_trusted", "The operator accepts its signing keys only, and this account is signed by its identity key.", false)
	case c.Issuer == c.Subject:
		r.report(r.stores, file, "self_signed", "The account is signed by itself; no nats-server accepts it until the operator has signed it.", false)
	default:
		r.report(r.stores, file, "not_trusted", "The account is signed by a key that is none of the operator's.", false)
	}
}

func (r *reader) checkUser(a Account, u User) {
	file := userFile(r.store.Name, a.Name, u.Name)
	if u.Claims().Name != u.Name {
		r.reportName(file)
	}
	if !a.Claims().DidSign(u.Claims()) {
		r.report(r.stores, file, "not_trusted", "The user is not signed by a key of its account.", false)
	}
}

// named returns every key that the JWTs of the store name, each once, in the order of
// the store.
func (s *Store) named() []Missing {
	var out []Missing
	seen := map[string]bool{}
	add := func(m Missing) {
		if m.Key != "" && !seen[m.Key] {
			seen[m.Key] = true
			out = append(out, m)
		}
	}
	if o := s.Operator.Claims(); o != nil {
		add(Missing{Key: o.Subject, Use: UseIdentity})
		for _, k := range o.SigningKeys {
			add(Missing{Key: k, Use: UseSigningKey})
		}
	}
	for _, a := range s.Accounts {
		c := a.Claims()
		add(Missing{Key: c.Subject, Use: UseIdentity, Account: a.Name})
		for _, k := range slices.Sorted(slices.Values(c.SigningKeys.Keys())) {
			add(Missing{Key: k, Use: UseSigningKey, Account: a.Name})
		}
		add(Missing{Key: c.Authorization.XKey, Use: UseXKey, Account: a.Name})
		for _, u := range a.Users {
			add(Missing{Key: u.Claims().Subject, Use: UseIdentity, Account: a.Name, User: u.Name})
		}
	}
	return out
}

// publicKey returns the public key of a seed of any kind.
func publicKey(seed claims.Secret) (string, error) {
	pair, err := nkeys.FromSeed([]byte(seed.Reveal()))
	if err != nil {
		return "", err
	}
	defer pair.Wipe()
	return pair.PublicKey()
}
