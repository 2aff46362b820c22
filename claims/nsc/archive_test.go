package nsc_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"chancery/claims/nsc"
)

// entry is one entry of an archive that a test packs.
type entry struct {
	name, data string
	// kind is that of tar; 0 is a file.
	kind byte
	link string
}

// entriesOf are the files below dir, as the entries of an archive with prefix before.
func entriesOf(t testing.TB, files fstest.MapFS, dir, prefix string) []entry {
	t.Helper()
	var out []entry
	err := fs.WalkDir(files, dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rest := strings.TrimPrefix(strings.TrimPrefix(p, dir), "/")
			if dir == "." {
				rest = p
			}
			out = append(out, entry{name: prefix + rest, data: string(files[p].Data)})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func packTar(t testing.TB, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o600, Size: int64(len(e.data)), Typeflag: e.kind, Linkname: e.link}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag != tar.TypeReg {
			h.Size = 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte(e.data)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packGzip(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err = w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packZip(t testing.TB, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	w.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		h.SetMode(0o600)
		if e.kind == tar.TypeSymlink {
			h.SetMode(fs.ModeSymlink | 0o777)
			e.data = e.link
		}
		if e.kind == tar.TypeFifo {
			h.SetMode(fs.ModeNamedPipe | 0o600)
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(e.data)); err != nil && e.data != "" {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// repeatGzip returns what expands to n times data.
func repeatGzip(t testing.TB, data []byte, n int) []byte { return bytes.Repeat(packGzip(t, data), n) }

// packBomb returns a .tgz of more files with this text than an archive may hold.
func packBomb(t testing.TB, name, text string) []byte {
	t.Helper()
	body := packGzip(t, []byte(text))
	var b bytes.Buffer
	for i := range nsc.MaxUnpacked/len(text) + 1 {
		b.Write(packGzip(t, packTar(t, []entry{{name: fmt.Sprintf(name, i), data: text}})[:512]))
		b.Write(body)
	}
	return b.Bytes()
}

// zipBomb is packBomb for a zip.
func zipBomb(t testing.TB, text string) []byte {
	t.Helper()
	packed := packZip(t, []entry{{name: "x", data: text}})
	z, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	must(t, err)
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := range nsc.MaxUnpacked/len(text) + 1 {
		h := z.File[0].FileHeader
		h.Name = fmt.Sprintf("stores/acme/accounts/A%d.jwt", i)
		raw, err := z.File[0].OpenRaw()
		must(t, err)
		f, err := w.CreateRaw(&h)
		must(t, err)
		_, err = io.Copy(f, raw)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestOpenAsPackedByPeople: however a person packs a store, the same is read of it.
func TestOpenAsPackedByPeople(t *testing.T) {
	for operator := range archives {
		data := unpack(t, operator)
		want := read(t, data, operator)
		both := append(entriesOf(t, data, "stores", "stores/"), entriesOf(t, data, "keys", "keys/")...)
		macOS := append(slices.Clone(both), entry{name: "__MACOSX/stores/._" + operator, data: "x"}, entry{name: "stores/" + operator + "/._" + operator + ".jwt", data: "x"})
		own := append(entriesOf(t, data, "stores/"+operator, "./"), entriesOf(t, data, "keys", "./keys/")...)
		whole, err := os.ReadFile(filepath.Join("testdata", archives[operator]))
		if err != nil {
			t.Fatal(err)
		}
		cases := map[string][]byte{
			"the whole home, .tgz":         whole,
			"the data directory, .tgz":     packGzip(t, packTar(t, entriesOf(t, data, ".", "nsc/"))),
			"the data directory, ./ , tar": packTar(t, entriesOf(t, data, ".", "./")),
			"stores and keys, zip":         packZip(t, both),
			"with what macOS adds, zip":    packZip(t, macOS),
			"one operator's directory":     packTar(t, append(entriesOf(t, data, "stores/"+operator, operator+"/"), entriesOf(t, data, "keys", "keys/")...)),
			"the inside of a directory":    packGzip(t, packTar(t, own)),
			"from deep below":              packZip(t, entriesOf(t, data, ".", "srv/backup/2026/home/ops/nsc/")),
		}
		for name, archive := range cases {
			t.Run(operator+"/"+name, func(t *testing.T) {
				a, err := nsc.Open(archive)
				if err != nil {
					t.Fatal(err)
				}
				if len(a.Problems) > 0 {
					t.Errorf("problems: %v", a.Problems)
				}
				names, err := nsc.Operators(a.Stores)
				if err != nil || !slices.Equal(names, []string{operator}) {
					t.Fatalf("operators: %v, %v", names, err)
				}
				got, err := nsc.Read(a.Dirs, operator)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got, secrets, cmpopts.IgnoreUnexported()); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// TestOpenWithoutKeys: seeds may be kept elsewhere on purpose.
func TestOpenWithoutKeys(t *testing.T) {
	a, err := nsc.Open(packTar(t, entriesOf(t, unpack(t, "acme"), "stores", "stores/")))
	if err != nil {
		t.Fatal(err)
	}
	s, err := nsc.Read(a.Dirs, "acme")
	if err != nil || len(s.Keys) != 0 || len(s.Accounts) != 5 {
		t.Errorf("%d keys, %d accounts, %v", len(s.Keys), len(s.Accounts), err)
	}
}

// TestOpenServers: what packs a store adds the JWTs of running servers beside it.
func TestOpenServers(t *testing.T) {
	const key = "ABQANNAHF2OURHVXUDYZLQCO7G3IZCP3HDOIJXXOMGHPYCYEHOEBDFIR"
	entries := append(entriesOf(t, unpack(t, "acme"), "stores", "nsc/stores/"),
		entry{name: "nsc/servers/" + key + ".jwt", data: "a.b.c\n"}, entry{name: "nsc/servers/ORDERS.jwt", data: "x"}, entry{name: "servers/" + key + ".jwt", data: "elsewhere"})
	a, err := nsc.Open(packTar(t, entries))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{key: "a.b.c"}, a.Servers); diff != "" {
		t.Error(diff)
	}
}

// hostile is an archive that somebody made to do harm, or that came to harm itself.
type hostile struct {
	name    string
	archive []byte
	// code is that of the refusal, or, of what is taken, of the first problem.
	code    string
	refused bool
}

func hostiles(t testing.TB) []hostile {
	t.Helper()
	store := entriesOf(t, unpack(t, "acme"), "stores", "stores/")
	with := func(more ...entry) []entry { return append(slices.Clone(store), more...) }
	good := packGzip(t, packTar(t, store))
	goodZip := packZip(t, store)
	var out []hostile
	refused := func(name, code string, archive []byte) { out = append(out, hostile{name, archive, code, true}) }
	leftOut := func(name, code string, e entry) {
		out = append(out, hostile{name + ", tar", packTar(t, with(e)), code, false})
		if e.kind == 0 || e.kind == tar.TypeSymlink || e.kind == tar.TypeFifo {
			out = append(out, hostile{name + ", zip", packZip(t, with(e)), code, false})
		}
	}
	for name, p := range map[string]string{
		"slip": "../../etc/evil.jwt", "slip inside": "stores/acme/accounts/../../../../evil.jwt", "absolute": "/etc/evil.jwt", "slip at the end": "stores/..",
		"Windows": `stores\acme\evil.jwt`, "drive": "C:/evil.jwt", "control character": "stores/acme/a\nb.jwt", "escape sequence": "stores/acme/\x1b[2Jx.jwt",
		"deep": strings.Repeat("d/", 40) + "x.jwt", "long name": "stores/" + strings.Repeat("n", 300) + ".jwt", "not UTF-8": "stores/acme/\xff\xfe.jwt",
		"a seed as name": "stores/acme/SOAFGN64ZOIZ6DZNGA2XRJBCDDHRX5TDE4WSZ66XPGUVQTPFM5CYXN3NFA.jwt",
	} {
		if strings.HasPrefix(p, "stores/acme/\xff") || strings.Contains(p, "\x1b") {
			out = append(out, hostile{name + ", tar", packTar(t, with(entry{name: p, data: "x"})), "invalid_path", false})
			continue
		}
		leftOut(name, "invalid_path", entry{name: p, data: "x"})
	}
	leftOut("symbolic link", "link", entry{name: "stores/acme/accounts/EVIL/EVIL.jwt", kind: tar.TypeSymlink, link: "/etc/passwd"})
	leftOut("symbolic link to a directory", "link", entry{name: "keys", kind: tar.TypeSymlink, link: "../../.."})
	leftOut("hard link", "link", entry{name: "stores/acme/evil.jwt", kind: tar.TypeLink, link: "stores/acme/acme.jwt"})
	leftOut("character device", "not_a_file", entry{name: "stores/acme/evil.jwt", kind: tar.TypeChar})
	leftOut("block device", "not_a_file", entry{name: "stores/acme/evil.jwt", kind: tar.TypeBlock})
	leftOut("pipe", "not_a_file", entry{name: "stores/acme/evil.jwt", kind: tar.TypeFifo})
	leftOut("long JWT", "too_large", entry{name: "stores/acme/accounts/ORDERS/users/x.jwt", data: strings.Repeat("x", nsc.MaxJWTFile+1)})
	leftOut("long seed", "too_large", entry{name: "keys/keys/O/AN/OAN5QT5FWZLIOIKXXVBHEPDMT5VWHK6OFGQTKC4LXYSI652LZT3DXINB.nk", data: strings.Repeat("S", nsc.MaxKeyFile+1)})

	again := entry{name: "stores/acme/acme.jwt", data: "x"}
	refused("duplicate, tar", "duplicate", packTar(t, with(again)))
	refused("duplicate, zip", "duplicate", packZip(t, with(again)))
	refused("duplicate by another spelling", "duplicate", packTar(t, with(entry{name: "./stores//acme/./acme.jwt"})))
	refused("a file that is a directory", "duplicate", packTar(t, with(entry{name: "stores/acme.jwt/x.jwt"}, entry{name: "stores/acme.jwt"})))
	refused("a directory that is a file", "duplicate", packTar(t, with(entry{name: "stores/acme/acme.jwt/x.jwt"})))
	refused("a directory's entry for a file", "duplicate", packTar(t, with(entry{name: "stores/acme/acme.jwt/", kind: tar.TypeDir})))

	refused("zeros", "no_store", repeatGzip(t, make([]byte, 1<<20), 300))
	if bombs {
		mib := strings.Repeat("x", 1<<20)
		refused("bomb of files that nobody wants", "expands_too_much", packBomb(t, "%d.bin", mib))
		refused("bomb of JWTs, tgz", "expands_too_much", packBomb(t, "stores/acme/accounts/A%[1]d/A%[1]d.jwt", mib))
		refused("bomb of JWTs, zip", "expands_too_much", zipBomb(t, mib))
		link := packTar(t, []entry{{name: "x", kind: tar.TypeSymlink, link: "y"}})[:512]
		refused("too many entries, tgz", "too_many", repeatGzip(t, bytes.Repeat(link, 1000), nsc.MaxArchiveEntries/1000+1))
		refused("too many entries, zip", "too_many", append([]byte("PK\x03\x04"), bytes.Repeat([]byte("PK\x01\x02"), nsc.MaxArchiveEntries+1)...))
	}

	for _, n := range []int{1, 5, 12, len(good) / 2, len(good) - 9, len(good) - 1} {
		code := "truncated"
		if n < 2 {
			code = "unknown_format"
		}
		refused(fmt.Sprintf("cut after %d bytes, tgz", n), code, good[:n])
	}
	plain := packTar(t, store)
	refused("cut within a file, tar", "truncated", plain[:700])
	refused("cut, zip", "damaged", goodZip[:len(goodZip)/2])
	flipped := slices.Clone(good)
	flipped[len(flipped)/2] ^= 0x55
	refused("flipped bits, tgz", "damaged", flipped)
	flipped = slices.Clone(goodZip)
	flipped[100] ^= 0x55
	refused("flipped bits, zip", "damaged", flipped)
	encrypted := slices.Clone(goodZip)
	for i := bytes.Index(encrypted, []byte("PK\x01\x02")); i >= 0 && i < len(encrypted); {
		encrypted[i+8] |= 1
		next := bytes.Index(encrypted[i+4:], []byte("PK\x01\x02"))
		if next < 0 {
			break
		}
		i += 4 + next
	}
	refused("encrypted, zip", "encrypted", encrypted)
	refused("nothing", "unknown_format", nil)
	refused("text", "unknown_format", []byte("this is no archive"))
	refused("another format", "unknown_format", []byte("7z\xbc\xaf\x27\x1c and what follows"))
	refused("an empty tar", "no_store", packGzip(t, packTar(t, nil)))
	refused("an empty zip", "no_store", packZip(t, nil))
	refused("no store", "no_store", packTar(t, []entry{{name: "readme.txt", data: "x"}}))
	refused("JWTs without .nsc", "no_store", packTar(t, []entry{{name: "acme/acme.jwt", data: "x"}}))
	refused("a store behind a link", "no_store", packTar(t, []entry{{name: "stores", kind: tar.TypeSymlink, link: "/srv/nsc/stores"}}))
	refused(".nsc that names no directory", "no_store", packTar(t, []entry{{name: ".nsc", data: `{"name":"../x"}`}, {name: "acme.jwt", data: "x"}}))
	refused(".nsc at the root that is no JSON", "no_store", packTar(t, []entry{{name: ".nsc", data: `[`}}))
	refused("two stores", "several_stores", packTar(t, append(with(), entriesOf(t, unpack(t, "acme"), "stores", "stores.bak/")...)))
	refused("a store within a store", "several_stores", packTar(t, with(entry{name: "stores/acme/accounts/X/.nsc", data: "{}"})))
	const seed = "keys/O/AN/OAN5QT5FWZLIOIKXXVBHEPDMT5VWHK6OFGQTKC4LXYSI652LZT3DXINB.nk"
	refused("two directories of keys", "several_keys", packTar(t, with(entry{name: "keys/" + seed}, entry{name: "old/" + seed})))
	refused("too long", "too_large", make([]byte, nsc.MaxArchive+1))
	return out
}

// TestOpenHostile: what was made to do harm is refused or left out, with its reason.
func TestOpenHostile(t *testing.T) {
	cases := hostiles(t)
	passed := 0
	for _, c := range cases {
		ok := t.Run(c.name, func(t *testing.T) {
			a, err := nsc.Open(c.archive)
			if c.refused {
				e, is := errors.AsType[*nsc.ArchiveError](err)
				if !is {
					t.Fatalf("got %v, want an ArchiveError", err)
				}
				if e.Code != c.code || !strings.HasSuffix(e.Detail, ".") {
					t.Errorf("refused as %s (%s), want %s", e.Code, e.Detail, c.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Problems) != 1 || a.Problems[0].Code != c.code || a.Problems[0].Detail == "" {
				t.Errorf("problems %v, want one of %s", a.Problems, c.code)
			}
			s, err := nsc.Read(a.Dirs, "acme")
			if err != nil || len(s.Accounts) != 5 {
				t.Errorf("what is good was not read: %v", err)
			}
			noEscape(t, a.Stores)
		})
		if ok {
			passed++
		}
	}
	t.Logf("%d of %d hostile archives", passed, len(cases))
}

// noEscape walks a directory: no name leads anywhere else.
func noEscape(t testing.TB, files fs.FS) {
	t.Helper()
	err := fs.WalkDir(files, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !fs.ValidPath(p) || (!d.IsDir() && !d.Type().IsRegular()) || strings.ContainsAny(d.Name(), "\\\x00\n") {
			t.Errorf("entry %q of type %v", p, d.Type())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestOpenManyAccounts: 10,000 accounts are no attack.
func TestOpenManyAccounts(t *testing.T) {
	store := entriesOf(t, unpack(t, "acme"), "stores/acme", "")
	var text string
	entries := []entry{}
	for _, e := range store {
		if path.Base(e.name) == "SHIPPING.jwt" {
			text = e.data
		}
		if !strings.Contains(e.name, "/") {
			entries = append(entries, entry{name: "acme/" + e.name, data: e.data})
		}
	}
	for i := range 10_000 {
		entries = append(entries, entry{name: fmt.Sprintf("acme/accounts/T%d/T%d.jwt", i, i), data: text})
	}
	a, err := nsc.Open(packGzip(t, packTar(t, entries)))
	if err != nil {
		t.Fatal(err)
	}
	found, err := fs.ReadDir(a.Stores, "acme/accounts")
	if err != nil || len(found) != 10_000 {
		t.Errorf("%d accounts, %v", len(found), err)
	}
}

// TestMemoryFS: what an archive holds is a file system like any other.
func TestMemoryFS(t *testing.T) {
	a, err := nsc.Open(packTar(t, entriesOf(t, unpack(t, "acme"), "stores", "stores/")))
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(a.Stores, "acme/acme.jwt", "acme/accounts/ORDERS/users/d1.jwt"); err != nil {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	store := entriesOf(f, unpack(f, "vault"), ".", "nsc/")
	f.Add(packGzip(f, packTar(f, store)))
	f.Add(packTar(f, store[:3]))
	f.Add(packZip(f, store[:3]))
	f.Add(packTar(f, []entry{{name: ".nsc", data: `{"name":"a"}`}, {name: "a.jwt"}, {name: "../x"}, {name: "l", kind: tar.TypeSymlink, link: "/"}}))
	f.Fuzz(func(t *testing.T, archive []byte) {
		a, err := nsc.Open(archive)
		if err != nil {
			if _, is := errors.AsType[*nsc.ArchiveError](err); !is {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		noEscape(t, a.Stores)
		names, err := nsc.Operators(a.Stores)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if _, err := nsc.Read(a.Dirs, name); err != nil {
				t.Error(err)
			}
		}
	})
}
