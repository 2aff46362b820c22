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
	"slices"
	"strings"

	"github.com/nats-io/nkeys"

	"chancery/claims"
)

// Packing says what of a store is packed.
type Packing struct {
	// Operator is the name of the store's directory.
	Operator string
	// Seeds adds those of the operator's and the accounts' keys, signing keys with
	// them. Seeds and creds of users are never packed: they stay with their holders.
	Seeds bool
	// Servers are the JWTs that running servers have, by the account's public key.
	Servers map[string]string
	// Progress is told how many of the files are packed; may be nil.
	Progress func(done, total int64)
}

// Packed is an archive that Open reads.
type Packed struct {
	// Archive is a .tgz. There are seeds in it if the packing says so.
	Archive claims.Secret
	// JWTs counts the operator's, the accounts' and the users'; Seeds what else is in it.
	JWTs, Seeds int
	// Problems are the files that were left out, and why.
	Problems []Problem
}

// Pack makes an archive of the store of one operator, every JWT byte for byte as it is,
// those with faults among them: what is wrong is said by whoever reads it. The error is
// ErrNoStore when there is no such store, an *ArchiveError when it is more than an
// archive may hold, and otherwise that of reading.
func Pack(dirs Dirs, p Packing) (Packed, error) {
	s, err := Read(Dirs{Stores: dirs.Stores, Keys: dirs.Keys}, p.Operator)
	if err != nil {
		return Packed{}, err
	}
	k := &packer{packing: p}
	k.z = gzip.NewWriter(&k.archive)
	k.w = tar.NewWriter(k.z)
	files, err := k.list(dirs.Stores)
	if _, refused := errors.AsType[*ArchiveError](err); refused {
		return Packed{}, err
	}
	if err != nil {
		return Packed{}, fmt.Errorf("listing the store: %w", err)
	}
	seeds := k.seeds(s)
	k.total = int64(len(files) + len(seeds) + len(p.Servers))
	for _, file := range files {
		if err := k.copy(dirs.Stores, file); err != nil {
			return Packed{}, err
		}
	}
	for _, key := range seeds {
		file, _ := keyFile(key)
		if err := k.add(path.Join(keysDir, file), []byte(s.Keys[key].Reveal())); err != nil {
			return Packed{}, err
		}
	}
	for _, key := range sortedKeys(p.Servers) {
		if err := k.add(path.Join(serversDir, jwtFile(key)), []byte(p.Servers[key])); err != nil {
			return Packed{}, err
		}
	}
	if err := k.w.Close(); err != nil {
		return Packed{}, fmt.Errorf("packing: %w", err)
	}
	if err := k.z.Close(); err != nil {
		return Packed{}, fmt.Errorf("packing: %w", err)
	}
	if k.archive.Len() > MaxArchive || k.done > MaxArchiveEntries {
		return Packed{}, refuse("too_large", "The store has more than %d MiB packed, or more than %d files, which is more than Chancery takes at once.", MaxArchive>>20, MaxArchiveEntries)
	}
	return Packed{Archive: claims.NewSecret(k.archive.String()), JWTs: k.jwts, Seeds: len(seeds), Problems: k.problems}, nil
}

// packer writes one archive.
type packer struct {
	packing     Packing
	archive     bytes.Buffer
	z           *gzip.Writer
	w           *tar.Writer
	done, total int64
	// size is about what the store's files take in the archive.
	size     int64
	jwts     int
	problems []Problem
}

// list returns the files of the store that an archive holds.
func (k *packer) list(stores fs.FS) ([]string, error) {
	var files []string
	err := fs.WalkDir(stores, k.packing.Operator, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return nil
		}
		_, ok := wanted(p)
		_, why := cleanPath(path.Join("stores", p))
		switch {
		case !ok || (path.Base(p) == infoFile && p != path.Join(k.packing.Operator, infoFile)):
		case strings.HasSuffix(p, ".nk"), strings.HasSuffix(p, ".creds"):
			// A user's secret that somebody put beside its JWT stays where it is.
		case !d.Type().IsRegular():
			k.leave(p, "symbolic_link", "A symbolic link is not followed; put the file itself here.")
		case why != "":
			k.leave(p, "invalid_name", why)
		default:
			files = append(files, p)
			return k.count(d)
		}
		return nil
	})
	return files, err
}

// count sees to it that nothing is packed that Open would refuse.
func (k *packer) count(d fs.DirEntry) error {
	i, err := d.Info()
	if err != nil {
		return err
	}
	// Each entry has a header, its text in blocks and, for a long path, as much again.
	if k.size += i.Size() + 4*512; k.size > MaxUnpacked {
		return refuse("expands_too_much", "The store is larger than the %d MiB that Chancery takes at once.", MaxUnpacked>>20)
	}
	return nil
}

func (k *packer) leave(p, code, detail string) {
	if len(k.problems) < MaxProblems {
		k.problems = append(k.problems, Problem{Path: shown(path.Join("stores", p)), Code: code, Detail: detail, LeftOut: true})
	}
}

// seeds returns the keys whose seeds are packed.
func (k *packer) seeds(s *Store) []string {
	if !k.packing.Seeds {
		return nil
	}
	return slices.DeleteFunc(sortedKeys(s.Keys), func(key string) bool {
		kind := nkeys.Prefix(key)
		return kind != nkeys.PrefixByteOperator && kind != nkeys.PrefixByteAccount
	})
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (k *packer) copy(stores fs.FS, p string) error {
	most, _ := wanted(p)
	f, err := stores.Open(p)
	if err != nil {
		k.leave(p, "unreadable", "The file cannot be opened.")
		return nil
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		k.leave(p, "unreadable", "The file cannot be read.")
		return nil
	case int64(len(text)) > most:
		k.leave(p, "too_large", fmt.Sprintf("The file has more than the %d bytes that one of its kind may have.", most))
		return nil
	}
	if path.Base(p) != infoFile {
		k.jwts++
	}
	return k.add(path.Join("stores", p), text)
}

func (k *packer) add(p string, text []byte) error {
	if err := k.w.WriteHeader(&tar.Header{Name: p, Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(text))}); err != nil {
		return fmt.Errorf("packing: %w", err)
	}
	if _, err := k.w.Write(text); err != nil {
		return fmt.Errorf("packing: %w", err)
	}
	k.done++
	if k.packing.Progress != nil {
		k.packing.Progress(k.done, k.total)
	}
	return nil
}
