package nsc

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

// The bounds of an archive.
const (
	// MaxArchive is the longest archive in bytes, as it is sent.
	MaxArchive = 64 << 20
	// MaxUnpacked is how many bytes its files may have together.
	MaxUnpacked = 256 << 20
)

// ErrArchive tells that bytes are not an archive that holds stores of nsc.
var ErrArchive = errors.New("this is no archive of nsc's files")

// Archive is nsc's data directory as it was packed, with what else was packed beside it.
type Archive struct {
	Dirs
	// Servers maps the public keys A… of accounts to the JWTs that running servers
	// hold: the files servers/A….jwt.
	Servers map[string]string
}

// Open reads an archive, a tar file compressed with gzip, wherever in it the
// directories stores and keys lie. Everything is held in memory. Links and special
// files are passed over: nsc makes none.
func Open(archive []byte) (*Archive, error) {
	if len(archive) > MaxArchive {
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrArchive, MaxArchive)
	}
	files, err := untar(archive)
	if err != nil {
		return nil, err
	}
	root, ok := dataDir(files)
	if !ok {
		return nil, fmt.Errorf("%w: there is no directory stores with the store of an operator in it", ErrArchive)
	}
	data := newMemory(files, root)
	out := &Archive{Servers: map[string]string{}}
	if out.Stores, err = fs.Sub(data, "stores"); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrArchive, err)
	}
	if _, found := data.nodes[keysDir]; found {
		if out.Keys, err = fs.Sub(data, keysDir); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrArchive, err)
		}
	}
	for p, text := range files {
		dir, file := path.Split(p)
		id, isJWT := strings.CutSuffix(file, ".jwt")
		if isJWT && path.Base(dir) == "servers" && strings.HasPrefix(id, "A") && len(text) <= MaxJWTFile {
			out.Servers[id] = strings.TrimSpace(string(text))
		}
	}
	return out, nil
}

func untar(archive []byte) (map[string][]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, fmt.Errorf("%w: it is not compressed with gzip", ErrArchive)
	}
	files, left := map[string][]byte{}, int64(MaxUnpacked)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: the tar file cannot be read", ErrArchive)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		p := path.Clean(strings.TrimPrefix(h.Name, "/"))
		if !fs.ValidPath(p) {
			return nil, fmt.Errorf("%w: the name of a file leaves the archive", ErrArchive)
		}
		data, err := io.ReadAll(io.LimitReader(r, left+1))
		if err != nil {
			return nil, fmt.Errorf("%w: the tar file cannot be read", ErrArchive)
		}
		if left -= int64(len(data)); left < 0 || len(files) >= MaxEntries {
			return nil, fmt.Errorf("%w: unpacked it is too large", ErrArchive)
		}
		files[p] = data
	}
}

// dataDir returns the directory above stores; of several the one nearest to the root.
func dataDir(files map[string][]byte) (string, bool) {
	best, found := "", false
	for p := range files {
		parts := strings.Split(p, "/")
		n := len(parts) - 3 // …/stores/OPERATOR/.nsc
		if n < 0 || parts[len(parts)-1] != infoFile || parts[n] != "stores" {
			continue
		}
		dir := strings.Join(parts[:n], "/")
		if !found || len(dir) < len(best) || len(dir) == len(best) && dir < best {
			best, found = dir, true
		}
	}
	return best, found
}

// memory is a directory in memory.
type memory struct{ nodes map[string]*node }

// node is a file, or a directory with its entries.
type node struct {
	name    string
	dir     bool
	data    []byte
	entries []fs.DirEntry
}

func newMemory(files map[string][]byte, root string) *memory {
	m := &memory{nodes: map[string]*node{".": {name: ".", dir: true}}}
	for p, data := range files {
		if root != "" {
			var below bool
			if p, below = strings.CutPrefix(p, root+"/"); !below {
				continue
			}
		}
		m.add(p, &node{name: path.Base(p), data: data})
	}
	return m
}

// add puts n at p, below directories that it makes. What is a file and a directory at
// once stays what it was first.
func (m *memory) add(p string, n *node) bool {
	if known, ok := m.nodes[p]; ok {
		return known.dir && n.dir
	}
	parent := path.Dir(p)
	if parent != "." && !m.add(parent, &node{name: path.Base(parent), dir: true}) {
		return false
	}
	m.nodes[p] = n
	above := m.nodes[parent]
	above.entries = append(above.entries, fs.FileInfoToDirEntry(n))
	return true
}

// Open implements fs.FS.
func (m *memory) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	n, ok := m.nodes[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &opened{node: n, Reader: bytes.NewReader(n.data)}, nil
}

// Name implements fs.FileInfo.
func (n *node) Name() string { return n.name }

// Size implements fs.FileInfo.
func (n *node) Size() int64 { return int64(len(n.data)) }

// Mode implements fs.FileInfo.
func (n *node) Mode() fs.FileMode {
	if n.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}

// ModTime implements fs.FileInfo.
func (*node) ModTime() time.Time { return time.Time{} }

// IsDir implements fs.FileInfo.
func (n *node) IsDir() bool { return n.dir }

// Sys implements fs.FileInfo.
func (*node) Sys() any { return nil }

// opened is an open file or directory.
type opened struct {
	*bytes.Reader
	node *node
	at   int
}

// Stat implements fs.File.
func (o *opened) Stat() (fs.FileInfo, error) { return o.node, nil }

// Close implements fs.File.
func (*opened) Close() error { return nil }

// ReadDir implements fs.ReadDirFile.
func (o *opened) ReadDir(n int) ([]fs.DirEntry, error) {
	if !o.node.dir {
		return nil, &fs.PathError{Op: "readdir", Path: o.node.name, Err: fs.ErrInvalid}
	}
	rest := o.node.entries[o.at:]
	if n <= 0 {
		o.at = len(o.node.entries)
		return rest, nil
	}
	if len(rest) == 0 {
		return nil, io.EOF
	}
	rest = rest[:min(n, len(rest))]
	o.at += len(rest)
	return rest, nil
}
