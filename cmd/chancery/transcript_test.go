package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// nscHome is a home directory with two stores of nsc, set to the operator acme.
func nscHome(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	for _, archive := range []string{"nsc-vault-strict.tgz", "nsc-acme.tgz"} {
		unpack(t, filepath.Join("..", "..", "claims", "nsc", "testdata", archive), home)
	}
	config := fmt.Sprintf(`{"store_root":%q,"operator":"acme"}`, filepath.Join(home, ".local/share/nats/nsc/stores"))
	must(t, os.WriteFile(filepath.Join(home, ".config/nats/nsc/nsc.json"), []byte(config), 0o600))
	return home
}

func unpack(t *testing.T, archive, dir string) {
	t.Helper()
	f, err := os.Open(archive)
	must(t, err)
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	must(t, err)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		must(t, err)
		p := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag != tar.TypeReg {
			must(t, os.MkdirAll(p, 0o700))
			continue
		}
		data, err := io.ReadAll(r)
		must(t, err)
		must(t, os.MkdirAll(filepath.Dir(p), 0o700))
		must(t, os.WriteFile(p, data, 0o600))
	}
}

// atNoon is an environment whose home is home, at noon of the day the stores were made.
func atNoon(home string, args ...string) environment {
	return environment{
		args: args, stdin: strings.NewReader(""),
		now: func() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) },
		getenv: func(name string) string {
			if name == "HOME" {
				return home
			}
			return ""
		},
	}
}

// Each transcript in testdata is a user story: what is typed after "$ chancery", what
// is printed, and the exit code if it is not 0. $NSC is the data directory of nsc.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	home := nscHome(t)
	files, err := filepath.Glob("testdata/*.transcript")
	must(t, err)
	commands := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		var got strings.Builder
		for _, line := range strings.SplitAfter(string(text), "\n") {
			if strings.HasPrefix(line, "#") {
				got.WriteString(line)
			}
			if command, ok := strings.CutPrefix(line, "$ chancery "); ok {
				got.WriteString(line)
				got.WriteString(replay(t, home, strings.TrimSpace(command)))
				commands++
			}
		}
		if diff := cmp.Diff(string(text), got.String()); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
	if commands == 0 {
		t.Fatal("no commands were replayed")
	}
	t.Logf("transcripts: %d commands of %d files as written", commands, len(files))
}

// replay runs one command line, of which '…' is one word and < names standard input.
func replay(t *testing.T, home, command string) string {
	t.Helper()
	data := filepath.Join(home, ".local/share/nats/nsc")
	command, stdin, _ := strings.Cut(strings.ReplaceAll(command, "$NSC", data), " < ")
	var args []string
	for i, part := range strings.Split(command, "'") {
		if i%2 == 1 {
			args = append(args, part)
		} else {
			args = append(args, strings.Fields(part)...)
		}
	}
	env := atNoon(home, args...)
	if stdin != "" {
		f, err := os.Open(stdin)
		must(t, err)
		defer func() { _ = f.Close() }()
		env.stdin = f
	}
	code, out, errs := inProcessWith(t, env)
	out = strings.ReplaceAll(out+errs, data, "$NSC")
	if code != exitOK {
		out += fmt.Sprintf("[exit %d]\n", code)
	}
	return out + "\n"
}
