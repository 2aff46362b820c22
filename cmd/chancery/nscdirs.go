package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"chancery/claims/nsc"
)

// nscFiles is where nsc keeps its stores and its keys on this machine.
type nscFiles struct {
	root *os.Root
	nscDir
	// keysRoot is nil when there is no directory of keys; keys is its name.
	keysRoot *os.Root
	keys     string
}

// openNSCFiles opens nsc's directories: those of dir, or those that nsc itself would
// use. keystore names the directory of keys; "" finds it as nsc does.
func openNSCFiles(env environment, dir, keystore string) (*nscFiles, error) {
	root, stores, err := openStores(env, dir)
	if errors.Is(err, errNoSource) {
		return nil, usage(errors.New("nsc has no stores in its usual place: name its data directory with --dir, for example --dir ~/.local/share/nats/nsc"))
	}
	if err != nil {
		return nil, err
	}
	h := &nscFiles{root: root, nscDir: stores}
	places := []string{keystore}
	if keystore == "" {
		// A copy of somebody's directory comes before what is set for this machine's own.
		beside := filepath.Join(filepath.Dir(filepath.Clean(stores.name)), "keys")
		places = []string{env.getenv("NKEYS_PATH"), beside}
		if dir != "" {
			slices.Reverse(places)
		}
		if data := xdg(env, "XDG_DATA_HOME", ".local", "share"); data != "" && dir == "" {
			places = append(places, filepath.Join(data, "nats", "nsc", "keys"), filepath.Join(env.getenv("HOME"), ".nkeys"))
		}
	}
	places = slices.DeleteFunc(places, func(p string) bool { return p == "" })
	h.keysRoot, h.keys, err = openFirst(places)
	if err != nil && keystore != "" {
		return nil, errors.Join(usage(fmt.Errorf("the directory of keys cannot be opened: %w", err)), h.close())
	}
	return h, nil
}

func (h *nscFiles) close() error {
	err := h.root.Close()
	if h.keysRoot != nil {
		err = errors.Join(err, h.keysRoot.Close())
	}
	return err
}

func (h *nscFiles) dirs() nsc.Dirs {
	d := nsc.Dirs{Stores: h.fs}
	if h.keysRoot != nil {
		d.Keys = h.keysRoot.FS()
	}
	return d
}

// openStores opens the directory of stores below dir, "" for nsc's usual place.
func openStores(env environment, dir string) (*os.Root, nscDir, error) {
	config := readNSCConfig(env)
	places := []string{config.StoreRoot}
	if data := xdg(env, "XDG_DATA_HOME", ".local", "share"); data != "" {
		places = append(places, filepath.Join(data, "nats", "nsc", "stores"))
	}
	if dir != "" {
		places = []string{storesIn(dir)}
	}
	root, stores, err := openFirst(places)
	if err != nil && dir == "" {
		return nil, nscDir{}, errNoSource
	}
	if err != nil {
		return nil, nscDir{}, usage(fmt.Errorf("the directory of nsc cannot be opened: %w", err))
	}
	if filepath.Clean(config.StoreRoot) != filepath.Clean(stores) && dir != "" {
		config.Operator = "" // it is set for other stores
	}
	return root, nscDir{root.FS(), stores, config.Operator}, nil
}

// operator returns the operator whose store is meant: the one that is named, or the
// only one. Of several, ask is asked; "" is no answer.
func (h *nscFiles) operator(name string, ask func(names []string, set string) string) (string, error) {
	names, err := nsc.Operators(h.fs)
	switch {
	case err != nil:
		return "", err
	case name != "" && !slices.Contains(names, name):
		return "", usage(fmt.Errorf("there is no store of the operator %s in %s", plain(name), h.name))
	case name != "":
		return name, nil
	case len(names) == 0:
		return "", usage(fmt.Errorf("%s holds no store of nsc; --dir takes nsc's data directory or its stores directory", h.name))
	case len(names) == 1:
		return names[0], nil
	}
	if name = ask(names, h.set); name == "" {
		return "", usage(fmt.Errorf("there are several operators: name one with --operator (%s)", plain(strings.Join(names, ", "))))
	}
	return name, nil
}

// nscDir is a directory of stores; set is the operator that nsc is set to there.
type nscDir struct {
	fs        fs.FS
	name, set string
}
