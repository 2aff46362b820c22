package nsc_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/claims/nsc"
)

var unpackNothing = fstest.MapFS{}

const (
	orders = "stores/acme/accounts/ORDERS/ORDERS.jwt"
	d1     = "stores/acme/accounts/ORDERS/users/d1.jwt"
	d1Key  = "keys/keys/U/AB/UABB4TZYRBHIAXNCQZ2EKUQCZYBBJX2G2URLJZ7M2AFZTFYKVBLJGL4X.nk"
	d1Cred = "keys/creds/acme/ORDERS/d1.creds"
)

func text(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s), Mode: 0o600} }

func link(to string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
}

// signedBy encodes claims by a new key of the kind.
func signedBy(t *testing.T, prefix nkeys.PrefixByte, c jwt.Claims) string {
	t.Helper()
	pair, err := nkeys.CreatePair(prefix)
	if err != nil {
		t.Fatal(err)
	}
	token, err := c.Encode(pair)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// selfSigned encodes an account by itself, as nsc does for an operator of somebody else.
func selfSigned(t *testing.T, s *nsc.Store, name string) string {
	t.Helper()
	for _, a := range s.Accounts {
		if a.Name == name {
			pair, err := nkeys.FromSeed([]byte(s.Keys[a.Claims().Subject].Reveal()))
			if err != nil {
				t.Fatal(err)
			}
			token, err := a.Claims().Encode(pair)
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
	}
	t.Fatalf("no account %s", name)
	return ""
}

// Each fault is reported with its file, and everything else is read as before.
func TestProblems(t *testing.T) {
	t.Parallel()
	whole := read(t, unpack(t, "acme"), "acme")
	other := read(t, unpack(t, "vault"), "vault")
	otherSeed := text(other.Keys[other.Accounts[0].Claims().Subject].Reveal())
	cases := map[string]struct {
		edit func(fstest.MapFS)
		// code @ path of every problem, and how many accounts, users and keys are left.
		want                  string
		accounts, users, keys int
	}{
		"no .nsc to speak of":      {func(m fstest.MapFS) { m["stores/acme/.nsc"] = text("{") }, "invalid_info@stores/acme/.nsc", 5, 11, 22},
		".nsc names another place": {func(m fstest.MapFS) { m["stores/acme/.nsc"] = text(`{"name":"../vault"}`) }, "invalid_info@stores/acme/.nsc", 5, 11, 22},
		"no operator":              {func(m fstest.MapFS) { delete(m, "stores/acme/acme.jwt") }, "missing_operator@stores/acme/acme.jwt", 5, 11, 20},
		"a broken operator":        {func(m fstest.MapFS) { m["stores/acme/acme.jwt"] = text("eyJ") }, "invalid_jwt@stores/acme/acme.jwt", 5, 11, 20},
		"a user as the operator":   {func(m fstest.MapFS) { m["stores/acme/acme.jwt"] = m[d1] }, "wrong_type@stores/acme/acme.jwt", 5, 11, 20},
		"an account cut short":     {func(m fstest.MapFS) { m[orders].Data = m[orders].Data[:100] }, "invalid_jwt@" + orders + " missing_account@stores/acme/accounts/ORDERS unknown_file@keys/creds/acme/ORDERS", 4, 5, 13},
		"an account without JWT":   {func(m fstest.MapFS) { delete(m, orders) }, "missing_account@stores/acme/accounts/ORDERS unknown_file@keys/creds/acme/ORDERS", 4, 5, 13},
		"a user with a bit off":    {func(m fstest.MapFS) { m[d1].Data[len(m[d1].Data)-20] ^= 1 }, "invalid_jwt@" + d1 + " unknown_file@" + d1Cred, 5, 10, 21},
		"an oversized user":        {func(m fstest.MapFS) { m[d1] = text(strings.Repeat("x", nsc.MaxJWTFile+1)) }, "too_large@" + d1 + " unknown_file@" + d1Cred, 5, 10, 21},
		"an oversized key":         {func(m fstest.MapFS) { m[d1Key] = text(strings.Repeat("x", nsc.MaxKeyFile+1)) }, "too_large@" + d1Key, 5, 11, 21},
		"another operator's account": {func(m fstest.MapFS) {
			m["stores/acme/accounts/ALPHA/ALPHA.jwt"] = text(other.Accounts[0].Token.Text)
		}, "not_trusted@stores/acme/accounts/ALPHA/ALPHA.jwt", 6, 11, 22},
		"a self-signed account": {func(m fstest.MapFS) { m[orders] = text(selfSigned(t, whole, "ORDERS")) }, "self_signed@" + orders, 5, 11, 22},
		"an account twice":      {func(m fstest.MapFS) { m["stores/acme/accounts/OTHER/OTHER.jwt"] = m[orders] }, "name_differs@stores/acme/accounts/OTHER/OTHER.jwt duplicate_key@stores/acme/accounts/OTHER/OTHER.jwt", 6, 11, 22},
		"another account's user": {func(m fstest.MapFS) {
			m["stores/acme/accounts/SHIPPING/users/d1.jwt"] = m[d1]
		}, "not_trusted@stores/acme/accounts/SHIPPING/users/d1.jwt", 5, 12, 22},
		"a user under another name": {func(m fstest.MapFS) {
			m["stores/acme/accounts/ORDERS/users/dd.jwt"] = m[d1]
			delete(m, d1)
		}, "unknown_file@" + d1Cred + " name_differs@stores/acme/accounts/ORDERS/users/dd.jwt", 5, 11, 22},
		"a linked user":        {func(m fstest.MapFS) { m[d1] = link("svc.jwt") }, "symbolic_link@" + d1 + " unknown_file@" + d1Cred, 5, 10, 21},
		"a linked account":     {func(m fstest.MapFS) { m["stores/acme/accounts/X"] = link("ORDERS") }, "symbolic_link@stores/acme/accounts/X", 5, 11, 22},
		"a linked account JWT": {func(m fstest.MapFS) { m["stores/acme/accounts/X/X.jwt"] = link("../ORDERS/ORDERS.jwt") }, "symbolic_link@stores/acme/accounts/X/X.jwt missing_account@stores/acme/accounts/X", 5, 11, 22},
		"linked users": {func(m fstest.MapFS) {
			m["stores/acme/accounts/SYS/users"] = link("../ORDERS/users")
			delete(m, "stores/acme/accounts/SYS/users/sys.jwt")
		}, "symbolic_link@stores/acme/accounts/SYS/users unknown_file@keys/creds/acme/SYS/sys.creds", 5, 10, 21},
		"a linked key": {func(m fstest.MapFS) { m[d1Key] = link("/etc/passwd") }, "symbolic_link@" + d1Key, 5, 11, 21},
		"a linked directory of keys": {func(m fstest.MapFS) {
			m["keys/keys/U/ZZ/"+filepath.Base(d1Key)], m["keys/keys/U/AB"] = m[d1Key], link("ZZ")
			delete(m, d1Key)
		}, "symbolic_link@keys/keys/U/AB/" + filepath.Base(d1Key), 5, 11, 21},
		"a pipe as a user":     {func(m fstest.MapFS) { m[d1].Mode = fs.ModeNamedPipe | 0o600 }, "not_a_file@" + d1 + " unknown_file@" + d1Cred, 5, 10, 21},
		"a pipe as a key":      {func(m fstest.MapFS) { m[d1Key].Mode = fs.ModeNamedPipe | 0o600 }, "not_a_file@" + d1Key, 5, 11, 21},
		"another key's seed":   {func(m fstest.MapFS) { m[d1Key] = otherSeed }, "wrong_key@" + d1Key, 5, 11, 21},
		"no seed":              {func(m fstest.MapFS) { m[d1Key] = text("seed") }, "wrong_key@" + d1Key, 5, 11, 21},
		"broken creds":         {func(m fstest.MapFS) { m[d1Cred] = text("-----BEGIN") }, "invalid_creds@" + d1Cred, 5, 11, 22},
		"another user's creds": {func(m fstest.MapFS) { m[d1Cred] = m["keys/creds/acme/ORDERS/d2.creds"] }, "wrong_key@" + d1Cred, 5, 11, 22},
		"creds of another issue": {func(m fstest.MapFS) {
			_, seed, _ := claims.ParseCreds(claims.NewSecret(string(m[d1Cred].Data)))
			m[d1Cred] = text(claims.FormatCreds(string(m["stores/acme/accounts/ORDERS/users/d2.jwt"].Data), seed).Reveal())
		}, "creds_differ@" + d1Cred, 5, 11, 22},
		"oversized creds":       {func(m fstest.MapFS) { m[d1Cred] = text(strings.Repeat("x", nsc.MaxKeyFile+1)) }, "too_large@" + d1Cred, 5, 11, 22},
		"linked creds":          {func(m fstest.MapFS) { m[d1Cred] = link("d2.creds") }, "symbolic_link@" + d1Cred, 5, 11, 22},
		"creds of nobody":       {func(m fstest.MapFS) { m["keys/creds/acme/ORDERS/x.creds"] = m[d1Cred] }, "unknown_file@keys/creds/acme/ORDERS/x.creds", 5, 11, 22},
		"notes among the users": {func(m fstest.MapFS) { m["stores/acme/accounts/ORDERS/users/notes.txt"] = text("") }, "unknown_file@stores/acme/accounts/ORDERS/users/notes.txt", 5, 11, 22},
		"notes in an account":   {func(m fstest.MapFS) { m["stores/acme/accounts/ORDERS/notes.txt"] = text("") }, "unknown_file@stores/acme/accounts/ORDERS/notes.txt", 5, 11, 22},
		"notes among accounts":  {func(m fstest.MapFS) { m["stores/acme/accounts/notes.txt"] = text("") }, "unknown_file@stores/acme/accounts/notes.txt", 5, 11, 22},
		"notes in the store":    {func(m fstest.MapFS) { m["stores/acme/notes.txt"] = text("") }, "unknown_file@stores/acme/notes.txt", 5, 11, 22},
		"a name for a terminal": {func(m fstest.MapFS) { m["stores/acme/\x1b[31m.txt"] = text("") }, "unknown_file@stores/acme/\ufffd[31m.txt", 5, 11, 22},
		"a seed as a name":      {func(m fstest.MapFS) { m["stores/acme/"+string(otherSeed.Data)] = text("") }, "unknown_file@stores/acme/[seed redacted]", 5, 11, 22},
		"an account with a \\":  {func(m fstest.MapFS) { m[`stores/acme/accounts/a\b/a\b.jwt`] = m[orders] }, `invalid_name@stores/acme/accounts/a\b`, 5, 11, 22},
		"a user with a \\":      {func(m fstest.MapFS) { m[`stores/acme/accounts/ORDERS/users/a\b.jwt`] = m[d1] }, `invalid_name@stores/acme/accounts/ORDERS/users/a\b.jwt`, 5, 11, 22},
		"users that are a file": {func(m fstest.MapFS) {
			m["stores/acme/accounts/X/X.jwt"] = m[orders]
			m["stores/acme/accounts/X/users"] = text("")
		}, "unreadable@stores/acme/accounts/X/users name_differs@stores/acme/accounts/X/X.jwt duplicate_key@stores/acme/accounts/X/X.jwt", 6, 11, 22},
		"an account of nobody's": {func(m fstest.MapFS) {
			m[orders] = text(signedBy(t, nkeys.PrefixByteOperator, account(whole, "ORDERS")))
		}, "not_trusted@" + orders, 5, 11, 22},
	}
	reported := 0
	for name, c := range cases {
		data := unpack(t, "acme")
		if _, ok := data[d1Key]; !ok {
			t.Fatalf("%s is not where the test looks for it", d1Key)
		}
		c.edit(data)
		s := read(t, data, "acme")
		var got []string
		for _, p := range s.Problems {
			got = append(got, p.Code+"@"+p.Path)
			if !strings.HasSuffix(p.Detail, ".") || claims.LooksLikeSeed(p.Detail+p.Path) {
				t.Errorf("%s: %+v", name, p)
			}
		}
		users := 0
		for _, a := range s.Accounts {
			users += len(a.Users)
		}
		if strings.Join(got, " ") != c.want || len(s.Accounts) != c.accounts || users != c.users || len(s.Keys) != c.keys {
			t.Errorf("%s: %q, want %q\n%d accounts, %d users, %d keys", name, got, c.want, len(s.Accounts), users, len(s.Keys))
			continue
		}
		reported++
	}
	t.Logf("problems: %d of %d reported with their file", reported, len(cases))
}

func account(s *nsc.Store, name string) *jwt.AccountClaims {
	for _, a := range s.Accounts {
		if a.Name == name {
			return a.Claims()
		}
	}
	return nil
}

// An operator that is strict does not stand behind what its identity key signed.
func TestStrictOperator(t *testing.T) {
	t.Parallel()
	data := unpack(t, "acme")
	s := read(t, data, "acme")
	pair, err := nkeys.FromSeed([]byte(s.Keys[s.Operator.Claims().Subject].Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	s.Operator.Claims().StrictSigningKeyUsage = true
	token, err := s.Operator.Claims().Encode(pair)
	if err != nil {
		t.Fatal(err)
	}
	data["stores/acme/acme.jwt"] = text(token)
	// Of the five accounts, SYS alone is signed by the operator's signing key.
	if got := read(t, data, "acme").Problems; len(got) != 4 || got[0].Code != "not_trusted" {
		t.Errorf("%+v", got)
	}
}

// endless is a directory of stores whose operator never comes to the end of its entries.
type endless struct{ fstest.MapFS }

func (e endless) Open(name string) (fs.File, error) {
	if name == "acme/accounts/ORDERS/users" {
		return &endlessDir{}, nil
	}
	return e.MapFS.Open(name)
}

type endlessDir struct{ n int }

func (*endlessDir) Stat() (fs.FileInfo, error) { return endlessEntry("users").Info() }
func (*endlessDir) Read([]byte) (int, error)   { return 0, fs.ErrInvalid }
func (*endlessDir) Close() error               { return nil }

func (d *endlessDir) ReadDir(n int) ([]fs.DirEntry, error) {
	out := make([]fs.DirEntry, n)
	for i := range out {
		out[i] = endlessEntry(fmt.Sprint("x", d.n))
		d.n++
	}
	return out, nil
}

type endlessEntry string

func (e endlessEntry) Name() string               { return string(e) }
func (endlessEntry) IsDir() bool                  { return false }
func (endlessEntry) Type() fs.FileMode            { return 0 }
func (endlessEntry) Size() int64                  { return 0 }
func (endlessEntry) Mode() fs.FileMode            { return 0 }
func (endlessEntry) ModTime() time.Time           { return time.Time{} }
func (endlessEntry) Sys() any                     { return nil }
func (e endlessEntry) Info() (fs.FileInfo, error) { return e, nil }

func TestReadingIsBounded(t *testing.T) {
	t.Parallel()
	data := unpack(t, "acme")
	stores := fstest.MapFS{}
	for p, f := range data {
		if below, ok := strings.CutPrefix(p, "stores/"); ok {
			stores[below] = f
		}
	}
	s, err := nsc.Read(nsc.Dirs{Stores: endless{stores}}, "acme")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Problems) != nsc.MaxProblems+1 || s.Problems[0].Code != "too_many" || s.Problems[nsc.MaxProblems].Code != "more" {
		t.Errorf("%d problems, first %+v, last %+v", len(s.Problems), s.Problems[0], s.Problems[len(s.Problems)-1])
	}
	// What comes after the bound is left out, what came before it is there.
	if got := len(s.Accounts[0].Users) + len(s.Accounts[1].Users); got != 3 || len(s.Accounts[4].Users) != 0 {
		t.Errorf("%d users before the bound, %d after it", got, len(s.Accounts[4].Users))
	}
}

// A file that fails while it is read is reported like any other.
type failing struct {
	fs.FS
	bad string
}

func (f failing) Open(name string) (fs.File, error) {
	file, err := f.FS.Open(name)
	if err == nil && name == f.bad {
		return failingFile{file}, nil
	}
	return file, err
}

type failingFile struct{ fs.File }

func (failingFile) Read([]byte) (int, error)           { return 0, io.ErrUnexpectedEOF }
func (failingFile) ReadDir(int) ([]fs.DirEntry, error) { return nil, io.ErrUnexpectedEOF }

func TestFailingFiles(t *testing.T) {
	t.Parallel()
	data := unpack(t, "acme")
	for _, bad := range []string{"stores/acme/accounts/ORDERS/users", "stores/acme/accounts/ORDERS/users/d1.jwt"} {
		s := read(t, failing{data, bad}, "acme")
		if len(s.Problems) == 0 || s.Problems[0].Code != "unreadable" || s.Problems[0].Path != bad {
			t.Errorf("%s: %+v", bad, s.Problems)
		}
	}
}

// On a real disk: links and permissions as an administrator's machine has them.
func TestRealDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := unpack(t, "acme")
	if err := os.CopyFS(dir, data); err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(dir, "stores/acme/accounts/ORDERS/users")
	if err := os.Symlink("/etc/passwd", filepath.Join(users, "x.jwt")); err != nil {
		t.Fatal(err)
	}
	s := read(t, os.DirFS(dir), "acme")
	if len(s.Problems) != 1 || s.Problems[0].Code != "symbolic_link" || len(s.Accounts) != 5 {
		t.Errorf("%+v", s.Problems)
	}
}

// A link above the directory that is read is not followed either.
func TestLinkedDirectories(t *testing.T) {
	t.Parallel()
	for linked, lost := range map[string]func(*nsc.Store) bool{
		"stores/acme": func(s *nsc.Store) bool { return len(s.Accounts) == 0 },
		"keys/keys":   func(s *nsc.Store) bool { return len(s.Keys) == 0 },
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, unpack(t, "acme")); err != nil {
			t.Fatal(err)
		}
		elsewhere := filepath.Join(t.TempDir(), "elsewhere")
		if err := os.Rename(filepath.Join(dir, linked), elsewhere); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(elsewhere, filepath.Join(dir, linked)); err != nil {
			t.Fatal(err)
		}
		s := read(t, os.DirFS(dir), "acme")
		if !lost(s) || !slices.ContainsFunc(s.Problems, func(p nsc.Problem) bool { return p.Code == "symbolic_link" }) {
			t.Errorf("%s: %d accounts, %d keys, %+v", linked, len(s.Accounts), len(s.Keys), s.Problems)
		}
	}
}

// A file of a seed may be as long as the bound, and no longer.
func TestLongestKeyFile(t *testing.T) {
	t.Parallel()
	for more, code := range map[int]string{0: "", 1: "too_large"} {
		data := unpack(t, "acme")
		whole := read(t, data, "acme")
		id := whole.Operator.Claims().Subject
		p := "keys/keys/O/" + id[1:3] + "/" + id + ".nk"
		data[p].Data = append(data[p].Data, bytes.Repeat([]byte("\n"), nsc.MaxKeyFile-len(data[p].Data)+more)...)
		s := read(t, data, "acme")
		_, known := s.Keys[id]
		if known != (code == "") || known != (len(s.Problems) == 0) || !known && s.Problems[0].Code != code {
			t.Errorf("%d more: %v, %+v", more, known, s.Problems)
		}
	}
}
