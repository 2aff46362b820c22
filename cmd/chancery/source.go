package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"chancery/claims/nsc"
)

// sourceFlags say where a command looks operators, accounts and users up.
type sourceFlags struct {
	NSC      string `name:"nsc" help:"Look things up in the stores of nsc in this directory; without it nsc's usual place." type:"path" placeholder:"DIR"`
	Operator string `help:"Name of the operator among several stores of nsc; without it the one that nsc is set to, or the only one that knows the account." placeholder:"NAME"`
	clientFlags
}

// source is where a command looks things up: a store of nsc, or a running Chancery.
// Exactly one of the two is set.
type source struct {
	nsc *nscSource
	api *client
}

// errNoSource names both ways to give a command something to look up in.
var errNoSource = usage(errors.New("there is nothing to look accounts up in: nsc has no stores in its usual place, and no .chancery is here. " +
	"Name the data directory of nsc with --nsc, or a running Chancery with --url and --token-file"))

// source decides where to look: an explicit flag, or else the .chancery of the
// working directory, or else nsc's usual place. Of several stores of nsc, and without
// --operator, it is one that suits; nil: the one that nsc is set to.
func (f sourceFlags) source(env environment, suits func(*nsc.Store) bool) (*source, error) {
	remote := f.URL != "" || f.TokenFile != ""
	switch {
	case f.NSC == "" && f.Operator != "" && remote:
		return nil, usage(errors.New("--operator tells the stores of nsc apart; a running Chancery finds the operator by itself"))
	case f.NSC == "" && f.Operator == "" && (remote || exists(filepath.Join(".chancery", "context.json"))):
		c, err := f.client(env)
		if err == nil && !remote {
			c.instead = "; .chancery names it, use --nsc DIR to look in a store of nsc instead"
		}
		return &source{api: c}, err
	}
	n, err := openNSC(env, f.NSC, f.Operator, suits)
	return &source{nsc: n}, err
}

// words says where was looked.
func (s *source) words() string {
	if s.api != nil {
		return s.api.url
	}
	return s.nsc.words()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
