package nsc

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"

	"chancery/claims"
)

// tree is one of nsc's directories; name is what its paths are shown under.
type tree struct {
	fs   fs.FS
	name string
}

// reader fills a store.
type reader struct {
	store  *Store
	stores tree
	keys   *tree
	// left is how many directory entries may still be looked at.
	left int
	// unlisted counts the problems beyond MaxProblems.
	unlisted int
	// plain remembers which directories are neither symbolic links nor below one.
	plain map[string]bool
}

// report notes a problem of the file at p.
func (r *reader) report(t tree, p, code, detail string, leftOut bool) {
	if len(r.store.Problems) >= MaxProblems {
		r.unlisted++
		return
	}
	r.store.Problems = append(r.store.Problems, Problem{Path: shown(path.Join(t.name, p)), Code: code, Detail: detail, LeftOut: leftOut})
}

func (r *reader) reportForeign(t tree, p string) {
	r.report(t, p, "unknown_file", "This belongs to nothing in the store, or to something that could not be read.", true)
}

// sumUp adds the number of the problems that are not listed.
func (r *reader) sumUp() {
	if r.unlisted > 0 {
		r.store.Problems = append(r.store.Problems, Problem{
			Code: "more", Detail: fmt.Sprintf("There are %d more problems, which are not listed.", r.unlisted),
		})
	}
}

// shown makes a path fit to be printed: a file's name is its owner's choice.
func shown(p string) string {
	p = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return unicode.ReplacementChar
		}
		return c
	}, p)
	return claims.Redact(p)
}

// list returns the entries of a directory by name, no more than may still be looked at.
func (r *reader) list(t tree, dir string) []fs.DirEntry {
	if !r.isPlain(t, dir) {
		r.report(t, dir, "symbolic_link", "A symbolic link is not followed; put the directory itself here.", true)
		return nil
	}
	f, err := t.fs.Open(dir)
	if err != nil {
		r.report(t, dir, "unreadable", "The directory cannot be opened.", true)
		return nil
	}
	defer func() { _ = f.Close() }()
	d, ok := f.(fs.ReadDirFile)
	if !ok {
		r.report(t, dir, "unreadable", "This is not a directory.", true)
		return nil
	}
	var entries []fs.DirEntry
	for {
		some, err := d.ReadDir(min(r.left+1, 1024))
		entries = append(entries, some[:min(len(some), r.left)]...)
		if len(some) > r.left {
			r.report(t, dir, "too_many", fmt.Sprintf("The store has more than %d files; the rest is left out.", MaxEntries), true)
			r.left = 0
			break
		}
		r.left -= len(some)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				r.report(t, dir, "unreadable", "The directory cannot be read to its end.", true)
			}
			break
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries
}

// listOptional is list for a directory that nsc makes when it needs it.
func (r *reader) listOptional(t tree, dir string) []fs.DirEntry {
	if !r.exists(t, dir) {
		return nil
	}
	return r.list(t, dir)
}

// usable tells whether an entry is a plain directory, or else a plain file, with a
// name that can be written again.
func (r *reader) usable(t tree, p string, e fs.DirEntry, dir bool, name string) bool {
	if why := nameFault(name); why != "" {
		r.report(t, p, "invalid_name", why, true)
		return false
	}
	switch {
	case e.Type()&fs.ModeSymlink != 0:
		r.report(t, p, "symbolic_link", "A symbolic link is not followed; put the file itself here.", true)
	case dir && !e.IsDir():
		r.reportForeign(t, p)
	case !dir && !e.Type().IsRegular():
		r.report(t, p, "not_a_file", "This is not an ordinary file.", true)
	default:
		return true
	}
	return false
}

// read returns a file of at most most bytes. It follows no symbolic link and opens
// nothing but ordinary files, since opening a pipe may wait for ever.
func (r *reader) read(t tree, p string, most int64) ([]byte, bool) {
	entry, err := fs.Lstat(t.fs, p)
	switch {
	case err != nil:
		r.report(t, p, "unreadable", "The file cannot be opened.", true)
		return nil, false
	case entry.Mode()&fs.ModeSymlink != 0 || !r.isPlain(t, path.Dir(p)):
		r.report(t, p, "symbolic_link", "A symbolic link is not followed; put the file itself here.", true)
		return nil, false
	case !entry.Mode().IsRegular():
		r.report(t, p, "not_a_file", "This is not an ordinary file.", true)
		return nil, false
	}
	f, err := t.fs.Open(p)
	if err != nil {
		r.report(t, p, "unreadable", "The file cannot be opened.", true)
		return nil, false
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		r.report(t, p, "unreadable", "The file cannot be read.", true)
		return nil, false
	}
	if int64(len(text)) > most {
		r.report(t, p, "too_large", fmt.Sprintf("The file has more than the %d bytes that one of its kind may have.", most), true)
		return nil, false
	}
	return text, true
}

// exists tells whether there is something at p, whatever it is.
func (r *reader) exists(t tree, p string) bool {
	_, err := fs.Lstat(t.fs, p)
	return err == nil
}

// isFile tells whether there is an ordinary file at p, or a symbolic link, which
// reading reports.
func (r *reader) isFile(t tree, p string) bool {
	entry, err := fs.Lstat(t.fs, p)
	return err == nil && !entry.IsDir()
}

// isPlain tells whether neither dir nor a directory above it is a symbolic link.
func (r *reader) isPlain(t tree, dir string) bool {
	if dir == "." {
		return true
	}
	key := path.Join(t.name, dir)
	plain, known := r.plain[key]
	if !known {
		entry, err := fs.Lstat(t.fs, dir)
		plain = err == nil && entry.Mode()&fs.ModeSymlink == 0 && r.isPlain(t, path.Dir(dir))
		if r.plain == nil {
			r.plain = map[string]bool{}
		}
		r.plain[key] = plain
	}
	return plain
}
