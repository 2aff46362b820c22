package nsc

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/nats-io/nkeys"

	"chancery/claims"
)

// The bounds of an archive.
const (
	// MaxArchive is the longest archive in bytes.
	MaxArchive = 64 << 20
	// MaxUnpacked is how many bytes an archive may hold, with what is left out of it.
	MaxUnpacked = 256 << 20
	// MaxArchiveEntries is how many entries an archive may have: a store of 10,000
	// accounts with 10 users each has half of that.
	MaxArchiveEntries = 250_000
	// maxPath bounds an entry's path in bytes and maxDepth its directories.
	maxPath, maxDepth = 1024, 24
)

// serversDir holds what running servers had of each account, by public key. nsc has no
// such directory: what packs a store adds it beside stores.
const serversDir = "servers"

// ErrArchive is what every ArchiveError wraps.
var ErrArchive = errors.New("this is no archive of nsc's files that can be taken")

// ArchiveError tells why a whole archive is refused.
type ArchiveError struct {
	// Code is stable, snake_case and meant for programs.
	Code string
	// Detail is a sentence a person can act on.
	Detail string
}

// Error implements error.
func (e *ArchiveError) Error() string { return e.Detail }

// Unwrap lets errors.Is find ErrArchive.
func (*ArchiveError) Unwrap() error { return ErrArchive }

func refuse(code, format string, args ...any) error {
	return &ArchiveError{code, fmt.Sprintf(format, args...)}
}

// Archive is what an archive of nsc's files holds.
type Archive struct {
	// Dirs are the directories of stores and of keys that were found in it.
	Dirs
	// Servers maps public keys of accounts to the JWTs that running servers had when
	// the archive was made: the files servers/A….jwt beside stores. Nothing of them
	// was checked.
	Servers map[string]string
	// Problems are the entries that were left out, and why.
	Problems []Problem
}

// Open reads an archive of nsc's files as people make it: a .tgz, .tar or .zip of
// nsc's whole home, of its data directory, of the directories of stores and of keys,
// or of the directory of one operator. Nothing is written anywhere, and what the
// archive names outside of itself is never followed.
//
// An entry that is a link or a device, or that would leave the archive, is left out
// and reported. The error is an *ArchiveError when the archive as a whole cannot be
// taken: it is damaged, too large, has two entries of one name, or it holds no store
// or several directories of stores, of which nobody could say which is meant.
func Open(archive []byte) (*Archive, error) {
	if len(archive) > MaxArchive {
		return nil, refuse("too_large", "The archive has more than %d MiB. Pack the directories of one operator only.", MaxArchive>>20)
	}
	u := &unpacker{files: newDirectory(), left: MaxUnpacked, entries: MaxArchiveEntries, seen: map[string]bool{}}
	if err := u.unpack(archive); err != nil {
		return nil, err
	}
	return u.open()
}

// wanted tells whether a file can be one of nsc's, and how long it may be. All others
// are passed over without a word: people pack whole directories.
func wanted(p string) (most int64, ok bool) {
	name := path.Base(p)
	if strings.HasPrefix(name, "._") || strings.HasPrefix(p, "__MACOSX/") || strings.Contains(p, "/__MACOSX/") {
		return 0, false // what macOS adds to archives
	}
	switch {
	case strings.HasSuffix(name, ".jwt"):
		return MaxJWTFile, true
	case name == infoFile, strings.HasSuffix(name, ".nk"), strings.HasSuffix(name, ".creds"):
		return MaxKeyFile, true
	}
	return 0, false
}

// cleanPath returns the path of an entry, "" for the archive's root; why tells that it
// cannot be taken. No path that is returned leads out of the archive.
func cleanPath(name string) (p, why string) {
	switch {
	case len(name) > maxPath:
		return "", "The path is too long."
	case strings.Contains(name, `\`) || (len(name) > 2 && name[1:3] == ":/"):
		return "", "The path is written as Windows does: pack it with / between directories."
	case strings.HasPrefix(name, "/"):
		return "", "The path is absolute. Pack the directory with a relative path, for example with tar -C."
	case slices.Contains(strings.Split(name, "/"), ".."):
		return "", "The path leads out of the archive by a .. in it."
	}
	p = path.Clean(name)
	if p == "." {
		return "", ""
	}
	parts := strings.Split(p, "/")
	if len(parts) > maxDepth {
		return "", "The path has too many directories."
	}
	for _, part := range parts {
		if nameFault(part) != "" {
			return "", "A name in the path cannot be the name of a file everywhere that nsc runs."
		}
	}
	return p, ""
}

// open finds nsc's directories among the files.
func (u *unpacker) open() (*Archive, error) {
	a := &Archive{Servers: map[string]string{}, Problems: u.problems}
	if u.unlisted > 0 {
		a.Problems = append(a.Problems, Problem{Code: "more", Detail: fmt.Sprintf("There are %d more entries that were left out and are not listed.", u.unlisted)})
	}
	stores, err := u.findStores()
	if err != nil {
		return nil, err
	}
	a.Stores = u.files.sub(stores)
	keys, err := u.findKeys()
	if err != nil {
		return nil, err
	}
	if keys != "" {
		a.Keys = u.files.sub(keys)
	}
	u.servers(path.Join(path.Dir(stores), serversDir), a)
	return a, nil
}

// findStores returns the directory that holds the directories of operators.
func (u *unpacker) findStores() (string, error) {
	var found []string
	bare := false
	for _, p := range u.paths {
		if path.Base(p) != infoFile {
			continue
		}
		if p == infoFile {
			bare = true
			continue
		}
		if dir := path.Dir(path.Dir(p)); !slices.Contains(found, dir) {
			found = append(found, dir)
		}
	}
	switch {
	case bare && len(found) == 0:
		return u.wrap()
	case bare || len(found) > 1:
		names := append([]string(nil), found...)
		if bare {
			names = append(names, ".")
		}
		slices.Sort(names)
		return "", refuse("several_stores", "The archive holds several directories of stores (%s), and nobody can say which is meant. Pack one of them with its keys.", listed(names))
	case len(found) == 0 && len(u.problems) > 0:
		return "", refuse("no_store", "The archive holds no store of nsc that can be used. %s was left out: %s", u.problems[0].Path, u.problems[0].Detail)
	case len(found) == 0:
		return "", refuse("no_store", "The archive holds no store of nsc: there is no directory with a file .nsc in it. Pack the directory %s, or its stores and keys.", "~/.local/share/nats/nsc")
	}
	return found[0], nil
}

// wrap puts an operator's directory that is the archive's root below one of its name.
func (u *unpacker) wrap() (string, error) {
	node := u.files.at(infoFile)
	var i info
	if err := json.Unmarshal(node.data, &i); err != nil || nameFault(i.Name) != "" {
		return "", refuse("no_store", "The file .nsc is not what nsc writes, so that the operator's name is not known. Pack the directory above it.")
	}
	own := newDirectory()
	for name, x := range u.files.children {
		if name == infoFile || name == accountsDir || name == jwtFile(i.Name) {
			own.children[name] = x
		}
	}
	const stores = ".stores" // no entry's path can be this one: it was made up here
	if u.files.at(stores) != nil {
		return "", refuse("no_store", "The archive's root holds a store and other directories. Pack the directory above it.")
	}
	root := newDirectory()
	root.children[i.Name] = own
	u.files.children[stores] = root
	return stores, nil
}

// findKeys returns the directory that holds keys/ and creds/, "" when there is none.
func (u *unpacker) findKeys() (string, error) {
	var found []string
	for _, p := range u.paths {
		dir, ok := u.keysOf(p)
		if ok && !slices.Contains(found, dir) {
			found = append(found, dir)
		}
	}
	if len(found) > 1 {
		slices.Sort(found)
		return "", refuse("several_keys", "The archive holds several directories of keys (%s), and nobody can say which is meant. Pack one of them with its store.", listed(found))
	}
	if len(found) == 0 {
		return "", nil
	}
	return found[0], nil
}

// keysOf returns the directory of keys that a file of a seed or of creds belongs to.
func (u *unpacker) keysOf(p string) (dir string, ok bool) {
	up := func(n int) string {
		for range n {
			p = path.Dir(p)
		}
		return p
	}
	if name, isKey := strings.CutSuffix(path.Base(p), ".nk"); isKey {
		if file, valid := keyFile(name); valid && (p == file || strings.HasSuffix(p, "/"+file)) {
			return up(strings.Count(file, "/") + 1), true
		}
		return "", false
	}
	if !strings.HasSuffix(p, ".creds") || strings.Count(p, "/") < 3 {
		return "", false
	}
	if dir := up(3); path.Base(dir) == credsDir {
		return path.Dir(dir), true
	}
	return "", false
}

// servers takes the JWTs of running servers.
func (u *unpacker) servers(dir string, a *Archive) {
	d := u.files.at(dir)
	if d == nil {
		return
	}
	for name, file := range d.children {
		key, ok := strings.CutSuffix(name, ".jwt")
		if ok && !file.dir() && nkeys.IsValidPublicAccountKey(key) {
			a.Servers[key] = strings.TrimSpace(string(file.data))
		}
	}
}

// listed names at most five paths.
func listed(paths []string) string {
	const most = 5
	var names []string
	for _, p := range paths[:min(len(paths), most)] {
		names = append(names, shown(p))
	}
	if more := len(paths) - most; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// errFull ends the reading of an archive that holds more than it may.
var errFull = errors.New("the archive expands to too much")

// note keeps an entry that is left out.
func (u *unpacker) note(name, code, detail string) {
	if len(u.problems) >= MaxProblems {
		u.unlisted++
		return
	}
	if len(name) > maxPath {
		name = name[:maxPath]
	}
	u.problems = append(u.problems, Problem{Path: shown(claims.Redact(name)), Code: code, Detail: detail, LeftOut: true})
}
