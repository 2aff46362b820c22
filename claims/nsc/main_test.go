package nsc_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"chancery/claims"
	"chancery/claims/nsc"
	"chancery/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// archives are two stores that nsc 2.14.0 made, with the operator of each.
var archives = map[string]string{"acme": "nsc-acme.tgz", "vault": "nsc-vault-strict.tgz"}

// unpack returns nsc's data directory of an archive.
func unpack(t testing.TB, operator string) fstest.MapFS {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", archives[operator]))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		p, ok := strings.CutPrefix(h.Name, ".local/share/nats/nsc/")
		if !ok || h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[p] = &fstest.MapFile{Data: data, Mode: h.FileInfo().Mode()}
	}
}

// dirs are the two directories of a data directory.
func dirs(t testing.TB, data fs.FS) nsc.Dirs {
	t.Helper()
	stores, err := fs.Sub(data, "stores")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := fs.Sub(data, "keys")
	if err != nil {
		t.Fatal(err)
	}
	return nsc.Dirs{Stores: stores, Keys: keys}
}

func read(t testing.TB, data fs.FS, operator string) *nsc.Store {
	t.Helper()
	s, err := nsc.Read(dirs(t, data), operator)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// write returns the files of a store as a data directory.
func write(t testing.TB, s *nsc.Store) fstest.MapFS {
	t.Helper()
	files, err := s.Files()
	if err != nil {
		t.Fatal(err)
	}
	out := fstest.MapFS{}
	for _, f := range files {
		out[f.Path] = &fstest.MapFile{Data: []byte(f.Data.Reveal()), Mode: f.Mode}
	}
	return out
}

// secrets are compared by what they hold.
var secrets = cmp.Comparer(func(a, b claims.Secret) bool { return a.Reveal() == b.Reveal() })
