package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/term"

	"chancery/custody"
)

// kekSources are the places from which one key-encryption key may come.
type kekSources struct {
	// prefix is before every name: "" or "new_".
	prefix string
	// file and passphraseFile are paths; the latter may be "-", standard input.
	file, passphraseFile string
}

// read returns the key from the one source that is given; none is the zero value. The
// error names the setting.
func (k kekSources) read(env environment) (custody.KEK, error) {
	variable := "CHANCERY_" + strings.ToUpper(k.prefix) + "KEK"
	sources := []struct {
		name, value string
		read        func(value string) (custody.KEK, error)
	}{
		{k.prefix + "kek_file", k.file, func(path string) (custody.KEK, error) { return fromFile(path, custody.ParseKEK) }},
		{variable, env.getenv(variable), custody.ParseKEK},
		{k.prefix + "kek_passphrase_file", k.passphraseFile, func(path string) (custody.KEK, error) {
			if path == "-" {
				return askPassphrase(env, k.prefix)
			}
			return fromFile(path, custody.NewPassphrase)
		}},
		{variable + "_PASSPHRASE", env.getenv(variable + "_PASSPHRASE"), custody.NewPassphrase},
	}
	given := sources[:0]
	var names []string
	for _, s := range sources {
		if s.value != "" {
			given, names = append(given, s), append(names, s.name)
		}
	}
	switch len(given) {
	case 0:
		return custody.KEK{}, nil
	case 1:
		kek, err := given[0].read(given[0].value)
		if err != nil {
			return kek, fmt.Errorf("%s: %w", names[0], err)
		}
		return kek, nil
	}
	return custody.KEK{}, fmt.Errorf("%s: these exclude each other: %s; give the key-encryption key in one way only", names[0], strings.Join(names, ", "))
}

// maxKEKFile is the most that is read of a file or of standard input, in bytes.
const maxKEKFile = 4 << 10

// fromFile reads a secret from a file that only its owner can read.
func fromFile(path string, parse func(text string) (custody.KEK, error)) (custody.KEK, error) {
	f, err := os.Open(path)
	if err != nil {
		return custody.KEK{}, fmt.Errorf("cannot be read: %s", reason(err))
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return custody.KEK{}, fmt.Errorf("cannot be read: %s", reason(err))
	}
	// Windows has no such bits.
	if info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		return custody.KEK{}, errors.New("others than its owner may read or write the file; chmod 600 it")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKEKFile))
	if err != nil {
		return custody.KEK{}, fmt.Errorf("cannot be read: %s", reason(err))
	}
	return parse(string(text))
}

// askPassphrase reads a passphrase from standard input: at a terminal it asks, and
// does not show what is typed.
func askPassphrase(env environment, prefix string) (custody.KEK, error) {
	if f, ok := env.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) { //nolint:gosec // a file descriptor is small
		fmt.Fprintf(env.stderr, "%spassphrase: ", strings.ReplaceAll(prefix, "_", " "))
		text, err := term.ReadPassword(int(f.Fd())) //nolint:gosec // likewise
		fmt.Fprintln(env.stderr)
		if err != nil {
			return custody.KEK{}, fmt.Errorf("the passphrase cannot be read: %w", err)
		}
		return custody.NewPassphrase(string(text))
	}
	if env.stdin == nil {
		return custody.KEK{}, errors.New("there is no standard input")
	}
	line, err := bufio.NewReader(io.LimitReader(env.stdin, maxKEKFile)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return custody.KEK{}, fmt.Errorf("the passphrase cannot be read: %w", err)
	}
	return custody.NewPassphrase(line)
}
