package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"chancery/api"
	"chancery/claims"
	"chancery/claims/nsc"
	"chancery/issuer"
)

// exportCommand writes out what is kept.
type exportCommand struct {
	NSC exportNSCCommand `cmd:"" name:"nsc" help:"Write an operator as a store that nsc reads: its JWT, those of its accounts and those of users that were imported. With --keys also the seeds, directly from the database. Exit code 3: written, but something is missing in it."`
}

type exportNSCCommand struct {
	clientFlags
	hostCommand
	Operator string `help:"Name or public key; may be left out when there is only one." placeholder:"NAME"`
	Dir      string `help:"Directory to write to: it gets stores/ and keys/, as nsc's data directory has them." type:"path" required:"" placeholder:"DIR"`
	Force    bool   `help:"Write into a directory that is not empty; files of the same name are replaced."`
	Keys     bool   `help:"Write the seeds too that are sealed here. Works on the database itself, needs the key-encryption key and a reason, and goes on record."`
	Reason   string `help:"Why the seeds leave." placeholder:"WORDS"`
	JSON     bool   `help:"Print the outcome as one JSON object." name:"json"`
}

func (c *exportNSCCommand) run(ctx context.Context, env environment) error {
	if err := c.checkDir(); err != nil {
		return err
	}
	if c.Keys {
		return c.withSeeds(ctx, env)
	}
	if c.Reason != "" {
		return usage(errors.New("--reason belongs to --keys"))
	}
	cl, err := c.client(env)
	if err != nil {
		return err
	}
	if c.Operator == "" {
		if c.Operator, err = onlyOperator(ctx, cl); err != nil {
			return err
		}
	}
	at := "/operators/" + url.PathEscape(c.Operator) + "/nsc-store"
	out := exported{Dir: c.Dir}
	if err := cl.ask(ctx, apiCall{method: http.MethodGet, path: at, accept: "application/json", most: nsc.MaxArchive}, &out.NSCStore); err != nil {
		return err
	}
	archive, err := cl.call(ctx, apiCall{method: http.MethodGet, path: at, most: nsc.MaxArchive})
	if err != nil {
		return err
	}
	files, err := filesOf(archive)
	if err != nil {
		return err
	}
	return c.write(env, files, out)
}

// withSeeds reads the database itself: seeds never leave over the network.
func (c *exportNSCCommand) withSeeds(ctx context.Context, env environment) error {
	if c.Reason == "" {
		return usage(errors.New("--keys needs a --reason: it goes on record"))
	}
	if c.Operator == "" {
		return usage(errors.New("--keys needs the --operator that is meant"))
	}
	return c.withKEK(ctx, env, func(i *issuer.Issuer, _ config) error {
		op := opWith("export-nsc", false)
		op.Reason = c.Reason
		s, err := i.ExportNSCWithSeeds(ctx, op, c.Operator)
		if err != nil {
			return unopened(i, err)
		}
		out := exported{Dir: c.Dir, Seeds: s.Seeds, NSCStore: api.NSCStore{Accounts: s.Accounts, Users: s.Users, Missing: []api.NSCMissing{}}}
		for _, m := range s.Missing {
			out.Missing = append(out.Missing, api.NSCMissing{Account: m.Account, User: m.User, Code: m.Code, Detail: m.Detail})
		}
		return c.write(env, s.Files, out)
	})
}

func (c *exportNSCCommand) checkDir() error {
	entries, err := os.ReadDir(c.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return usage(fmt.Errorf("the directory cannot be written to: %w", err))
	case len(entries) > 0 && !c.Force:
		return usage(fmt.Errorf("%s is not empty: name another directory, or use --force to replace files of the same name", c.Dir))
	}
	return nil
}

// write puts the files into the directory, for this user alone. Nothing leaves it: not
// by a path, and not by a link that lies there.
func (c *exportNSCCommand) write(env environment, files []storeFile, out exported) (err error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("making the directory: %w", err)
	}
	root, err := os.OpenRoot(c.Dir)
	if err != nil {
		return fmt.Errorf("opening the directory: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	progress := newProgress(env, "writing")
	for n, f := range files {
		if err := writeIn(root, f); err != nil {
			return fmt.Errorf("writing the store: %w", err)
		}
		progress.show(int64(n+1), int64(len(files)))
	}
	progress.end()
	if err := printAnswer(env, c.JSON, out); err != nil {
		return err
	}
	if len(out.Missing) > 0 {
		return &exitError{nil, exitPartial}
	}
	return nil
}

// storeFile is a file of nsc's data directory.
type storeFile = nsc.File

func writeIn(root *os.Root, f storeFile) error {
	at := filepath.FromSlash(f.Path)
	if err := root.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return err
	}
	// A file that is there may be open to others: it is not written to, but replaced.
	if err := root.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w, err := root.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, f.Data.Reveal())
	return errors.Join(err, w.Close())
}

// filesOf unpacks what the API answered.
func filesOf(archive []byte) ([]storeFile, error) {
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of the control plane: %w", err)
	}
	var out []storeFile
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the answer of the control plane: %w", err)
		}
		text, err := io.ReadAll(io.LimitReader(r, nsc.MaxJWTFile+1))
		if err != nil || len(text) > nsc.MaxJWTFile {
			return nil, errors.New("reading the answer of the control plane: a file is too long, or cut off")
		}
		out = append(out, storeFile{Path: h.Name, Mode: 0o600, Data: claims.NewSecret(string(text))})
	}
}

// exported is what was written.
type exported struct {
	Dir   string `json:"dir"`
	Seeds int    `json:"seeds"`
	api.NSCStore
}

// mostMissing is how many of what is missing are named.
const mostMissing = 20

func (a exported) print(p page) {
	p.line(p.paint(green, "Written "), "to ", a.Dir, ": ", counted(a.Accounts, "account"), ", ", counted(a.Users, "user"), " and ", counted(a.Seeds, "seed"), ".")
	if a.Seeds == 0 {
		p.line("There are no seeds in it: nsc reads it and cannot sign with it. With --keys, on the server itself, the seeds that are kept here are written too.")
	} else {
		p.line("Whoever has the seeds in ", filepath.Join(a.Dir, "keys"), " can sign what Chancery signs. Keep them as you keep money.")
	}
	if len(a.Missing) > 0 {
		p.line("")
		p.line(p.paint(yellow, "Missing in it:"))
	}
	for _, m := range a.Missing[:min(len(a.Missing), mostMissing)] {
		who := plain(m.Account)
		if m.User != "" {
			who += "/" + plain(m.User)
		}
		if who != "" {
			who += ": "
		}
		p.line("  ", who, m.Detail)
	}
	if more := len(a.Missing) - mostMissing; more > 0 {
		p.line("  and ", strconv.Itoa(more), " more; --json lists them all")
	}
	p.line("")
	p.line("Next: nsc env -s ", filepath.Join(a.Dir, "stores"), "; export NKEYS_PATH=", filepath.Join(a.Dir, "keys"))
}
