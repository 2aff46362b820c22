package nsc

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// unpacker takes the entries of one archive.
type unpacker struct {
	files *node
	// paths are those of the files that were kept, in the order of the archive.
	paths []string
	// seen are the paths of all entries that could be kept, directories with a slash.
	seen map[string]bool
	// left is how many bytes and entries how many entries may still come.
	left     int64
	entries  int
	problems []Problem
	unlisted int
}

// unpack tells the kinds of archive apart by their first bytes.
func (u *unpacker) unpack(archive []byte) error {
	switch {
	case bytes.HasPrefix(archive, []byte("PK\x03\x04")), bytes.HasPrefix(archive, []byte("PK\x05\x06")):
		return u.zip(archive)
	case bytes.HasPrefix(archive, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(bytes.NewReader(archive))
		if err != nil {
			return damaged(err)
		}
		return u.tar(z)
	case len(archive) > 262 && bytes.Equal(archive[257:262], []byte("ustar")):
		return u.tar(bytes.NewReader(archive))
	case len(archive) == 0:
		return refuse("unknown_format", "The archive is empty.")
	}
	return refuse("unknown_format", "This is none of the archives that are understood: .tgz, .tar or .zip.")
}

func damaged(err error) error {
	switch {
	case errors.Is(err, errFull):
		return refuse("expands_too_much", "The archive expands to more than %d MiB. Pack the directories of one operator only.", MaxUnpacked>>20)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return refuse("truncated", "The archive ends too early: it was not packed, or not sent, to its end.")
	}
	return refuse("damaged", "The archive is damaged and cannot be read to its end.")
}

// metered ends when too much was read through it.
type metered struct {
	from io.Reader
	u    *unpacker
	// ended tells that there was no more to read.
	ended bool
}

// Read implements io.Reader.
func (m *metered) Read(b []byte) (int, error) {
	if m.u.left <= 0 {
		return 0, errFull
	}
	n, err := m.from.Read(b[:min(int64(len(b)), m.u.left)])
	m.u.left -= int64(n)
	m.ended = m.ended || n == 0 && errors.Is(err, io.EOF)
	return n, err
}

func (u *unpacker) tar(from io.Reader) error {
	// The headers count as well: they are what a bomb of empty files is made of.
	meter := &metered{from: from, u: u}
	r := tar.NewReader(meter)
	for first := true; ; first = false {
		h, err := r.Next()
		if errors.Is(err, io.EOF) && meter.ended {
			return damaged(io.ErrUnexpectedEOF) // without the mark that ends an archive
		}
		if errors.Is(err, io.EOF) && !first {
			// What follows the end is padding; reading it finds out about a cut gzip.
			if _, err := io.Copy(io.Discard, meter); err != nil {
				return damaged(err)
			}
			return nil
		}
		if errors.Is(err, io.EOF) {
			return refuse("no_store", "The archive is empty.")
		}
		if err != nil {
			return damaged(err)
		}
		if err := u.entry(); err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeReg:
			err = u.file(h.Name, r)
		case tar.TypeDir:
			err = u.directory(h.Name)
		case tar.TypeSymlink, tar.TypeLink:
			u.note(h.Name, "link", "A link is not followed; pack the file itself, for example with tar --dereference --hard-dereference.")
		case tar.TypeXGlobalHeader:
		default:
			u.note(h.Name, "not_a_file", "This is neither a directory nor an ordinary file.")
		}
		if err != nil {
			return err
		}
	}
}

func (u *unpacker) zip(archive []byte) error {
	// archive/zip reads the whole directory at once, whatever number the archive claims.
	if bytes.Count(archive, []byte("PK\x01\x02")) > MaxArchiveEntries {
		return tooMany()
	}
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return damaged(err)
	}
	if len(z.File) == 0 {
		return refuse("no_store", "The archive is empty.")
	}
	for _, f := range z.File {
		if err := u.entry(); err != nil {
			return err
		}
		if err := u.zipped(f); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) zipped(f *zip.File) error {
	const encrypted = 1
	switch mode := f.Mode(); {
	case mode.IsDir():
		return u.directory(f.Name)
	case mode&fs.ModeSymlink != 0:
		u.note(f.Name, "link", "A link is not followed; pack the file itself.")
		return nil
	case !mode.IsRegular():
		u.note(f.Name, "not_a_file", "This is neither a directory nor an ordinary file.")
		return nil
	case f.Flags&encrypted != 0:
		return refuse("encrypted", "The archive is encrypted. Pack it without a password; it is sealed as soon as it arrives.")
	}
	r, err := f.Open()
	if err != nil {
		return damaged(err)
	}
	defer func() { _ = r.Close() }()
	return u.file(f.Name, &metered{from: r, u: u})
}

func tooMany() error {
	return refuse("too_many", "The archive has more than %d entries. Pack the directories of one operator only.", MaxArchiveEntries)
}

// entry counts one.
func (u *unpacker) entry() error {
	if u.entries--; u.entries < 0 {
		return tooMany()
	}
	return nil
}

// directory sees to it that no file has the name of a directory; directories exist by
// the files in them.
func (u *unpacker) directory(name string) error {
	p, why := cleanPath(name)
	if why != "" {
		u.note(name, "invalid_path", why)
		return nil
	}
	if u.seen[p] {
		return twice(p)
	}
	u.seen[p+"/"] = true
	return nil
}

func twice(p string) error {
	return refuse("duplicate", "The archive holds %s twice, and nobody can say which is meant. Pack it anew.", shown(p))
}

// file keeps the file of an entry.
func (u *unpacker) file(name string, r io.Reader) error {
	p, why := cleanPath(name)
	if p == "" && why == "" {
		why = "The file has no name."
	}
	if why != "" {
		u.note(name, "invalid_path", why)
		return nil
	}
	if u.seen[p] || u.seen[p+"/"] {
		return twice(p)
	}
	u.seen[p] = true
	for i := range len(p) {
		if p[i] == '/' {
			if u.seen[p[:i]] {
				return twice(p[:i])
			}
			u.seen[p[:i+1]] = true
		}
	}
	most, ok := wanted(p)
	if !ok {
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return damaged(err)
	}
	if int64(len(data)) > most {
		u.note(name, "too_large", fmt.Sprintf("The file has more than the %d bytes that one of its kind may have.", most))
		return nil
	}
	u.files.add(p, data)
	u.paths = append(u.paths, p)
	return nil
}
