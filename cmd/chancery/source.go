package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// sourceFlags say where a command looks operators, accounts and users up.
type sourceFlags struct {
	NSC      string `name:"nsc" help:"Look things up in the stores of nsc in this directory; without it nsc's usual place." type:"path" placeholder:"DIR"`
	Operator string `help:"Name of the operator; may be left out where nsc knows which one is meant." placeholder:"NAME"`
	clientFlags
}

// source is where a command looks things up: a store of nsc, or a running Chancery.
// Exactly one of the two is set.
type source struct {
	nsc *nscSource
	api *client
}

// errNoSource names both ways to give a command something to look up in.
var errNoSource = errors.New("there is nothing to look accounts up in: use --nsc with the directory of nsc (stores/ is in it), " +
	"or --url and --token-file with the address of a running Chancery")

// source decides where to look: an explicit flag, or else the .chancery of the
// working directory, or else nsc's usual place.
func (f sourceFlags) source(env environment) (*source, error) {
	switch {
	case f.NSC != "":
		n, err := openNSC(env, f.NSC, f.Operator)
		return &source{nsc: n}, err
	case f.URL != "" || f.TokenFile != "" || exists(filepath.Join(".chancery", "context.json")):
		c, err := f.client(env)
		return &source{api: c}, err
	}
	n, err := openNSC(env, "", f.Operator)
	return &source{nsc: n}, err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
