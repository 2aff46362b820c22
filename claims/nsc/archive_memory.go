package nsc

import (
	"bytes"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// node is a file or a directory in memory. A directory is read as a memory.
type node struct {
	data []byte
	// children is nil for a file.
	children map[string]*node
}

func newDirectory() *node { return &node{children: map[string]*node{}} }

func (n *node) dir() bool { return n.children != nil }

// add makes the directories above p as well; the caller saw to it that none is a file.
func (n *node) add(p string, data []byte) {
	dir, rest, below := strings.Cut(p, "/")
	if !below {
		n.children[p] = &node{data: data}
		return
	}
	if n.children[dir] == nil {
		n.children[dir] = newDirectory()
	}
	n.children[dir].add(rest, data)
}

// at returns what is at p, nil when there is nothing.
func (n *node) at(p string) *node {
	if p == "." || p == "" {
		return n
	}
	for part := range strings.SplitSeq(p, "/") {
		if n = n.children[part]; n == nil {
			return nil
		}
	}
	return n
}

func (n *node) sub(p string) fs.FS { return memory{n.at(p)} }

// memory is a directory of files that are in memory only.
type memory struct{ root *node }

// Open implements fs.FS.
func (m memory) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	n := m.root.at(name)
	if n == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	f := &memoryFile{entry: memoryEntry{path.Base(name), n}}
	if !n.dir() {
		f.text = bytes.NewReader(n.data)
		return f, nil
	}
	for child, x := range n.children {
		f.list = append(f.list, memoryEntry{child, x})
	}
	slices.SortFunc(f.list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return f, nil
}

// memoryEntry is what is told of a file: both fs.FileInfo and fs.DirEntry.
type memoryEntry struct {
	name string
	node *node
}

func (e memoryEntry) Name() string               { return e.name }
func (e memoryEntry) Size() int64                { return int64(len(e.node.data)) }
func (e memoryEntry) IsDir() bool                { return e.node.dir() }
func (e memoryEntry) Type() fs.FileMode          { return e.Mode().Type() }
func (e memoryEntry) Info() (fs.FileInfo, error) { return e, nil }
func (e memoryEntry) ModTime() time.Time         { return time.Time{} }
func (e memoryEntry) Sys() any                   { return nil }

func (e memoryEntry) Mode() fs.FileMode {
	if e.node.dir() {
		return fs.ModeDir | 0o700
	}
	return 0o600
}

// memoryFile is an open file or directory.
type memoryFile struct {
	entry memoryEntry
	text  *bytes.Reader
	list  []fs.DirEntry
}

func (f *memoryFile) Stat() (fs.FileInfo, error) { return f.entry, nil }
func (f *memoryFile) Close() error               { return nil }

func (f *memoryFile) Read(b []byte) (int, error) {
	if f.text == nil {
		return 0, &fs.PathError{Op: "read", Path: f.entry.name, Err: fs.ErrInvalid}
	}
	return f.text.Read(b)
}

// ReadDir implements fs.ReadDirFile.
func (f *memoryFile) ReadDir(n int) ([]fs.DirEntry, error) {
	if f.text != nil {
		return nil, &fs.PathError{Op: "readdir", Path: f.entry.name, Err: fs.ErrInvalid}
	}
	some := f.list
	if n > 0 {
		if len(some) == 0 {
			return nil, io.EOF
		}
		some = some[:min(n, len(some))]
	}
	f.list = f.list[len(some):]
	return some, nil
}
