package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chancery/custody"
)

// kekText is a key-encryption key made of one letter, as its file holds it.
func kekText(t *testing.T, letter string) string {
	t.Helper()
	kek, err := custody.NewKEK(strings.NewReader(strings.Repeat(letter, 32)))
	must(t, err)
	return kek.Text().Reveal() + "\n"
}

// A key-encryption key comes from one place, which only its owner can read.
func TestKEKSources(t *testing.T) {
	t.Parallel()
	const words = "six words that nobody will guess"
	dir := t.TempDir()
	file := func(name, text string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(text), 0o600))
		must(t, os.Chmod(path, mode))
		return path
	}
	key, passphrase := file("kek", kekText(t, "k"), 0o600), file("words", words+"\n", 0o400)
	none := map[string]string{}
	for name, c := range map[string]struct {
		sources kekSources
		env     map[string]string
		stdin   string
		// want is the key's name, or wrong what is said instead.
		want, wrong string
	}{
		"nothing":                     {kekSources{}, none, "", "", ""},
		"a file":                      {kekSources{file: key}, none, "", "kek", ""},
		"the environment":             {kekSources{}, map[string]string{"CHANCERY_KEK": kekText(t, "k")}, "", "kek", ""},
		"a passphrase in a file":      {kekSources{passphraseFile: passphrase}, none, "", "passphrase", ""},
		"a passphrase in environment": {kekSources{}, map[string]string{"CHANCERY_KEK_PASSPHRASE": words}, "", "passphrase", ""},
		"a passphrase on stdin":       {kekSources{passphraseFile: "-"}, none, words + "\nanother line", "passphrase", ""},
		"the new key":                 {kekSources{prefix: "new_"}, map[string]string{"CHANCERY_NEW_KEK": kekText(t, "k")}, "", "kek", ""},
		"the other's variable":        {kekSources{prefix: "new_"}, map[string]string{"CHANCERY_KEK": kekText(t, "k")}, "", "", ""},
		"readable by the group":       {kekSources{file: file("group", kekText(t, "k"), 0o640)}, none, "", "", "kek_file: others than its owner may read or write the file; chmod 600 it"},
		"readable by all":             {kekSources{file: file("all", kekText(t, "k"), 0o604)}, none, "", "", "chmod 600"},
		"writable by the group":       {kekSources{passphraseFile: file("write", words, 0o620)}, none, "", "", "kek_passphrase_file: others"},
		"no file":                     {kekSources{file: filepath.Join(dir, "absent")}, none, "", "", "kek_file: cannot be read: no such file"},
		"a folder":                    {kekSources{passphraseFile: dir}, none, "", "", "cannot be read"},
		"no key in the file":          {kekSources{file: passphrase}, none, "", "", "kek_file: the key-encryption key must be 32 bytes in base64"},
		"no key in the environment":   {kekSources{}, map[string]string{"CHANCERY_KEK": "MARKER"}, "", "", "CHANCERY_KEK: the key-encryption key must be"},
		"a short passphrase":          {kekSources{prefix: "new_", passphraseFile: "-"}, none, "MARKER\n", "", "new_kek_passphrase_file: the passphrase must have 16 characters"},
		"an empty stdin":              {kekSources{passphraseFile: "-"}, none, "", "", "the passphrase must have"},
		"two files":                   {kekSources{file: key, passphraseFile: passphrase}, none, "", "", "kek_file: these exclude each other: kek_file, kek_passphrase_file"},
		"a file and the environment":  {kekSources{file: key}, map[string]string{"CHANCERY_KEK": kekText(t, "k")}, "", "", "exclude each other: kek_file, CHANCERY_KEK;"},
		"all at once": {
			kekSources{prefix: "new_", file: key, passphraseFile: "-"},
			map[string]string{"CHANCERY_NEW_KEK": "x", "CHANCERY_NEW_KEK_PASSPHRASE": "y"},
			words, "",
			"new_kek_file, CHANCERY_NEW_KEK, new_kek_passphrase_file, CHANCERY_NEW_KEK_PASSPHRASE",
		},
	} {
		var asked lockedBuffer
		kek, err := c.sources.read(environment{getenv: func(k string) string { return c.env[k] }, stdin: strings.NewReader(c.stdin), stderr: &asked})
		switch {
		case c.wrong != "":
			if err == nil || !strings.Contains(err.Error(), c.wrong) || strings.Contains(err.Error(), "MARKER") {
				t.Errorf("%s: %v, want %q", name, err, c.wrong)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case kek.Empty() != (c.want == ""), c.want != "" && (kek.ID() == "passphrase") != (c.want == "passphrase"):
			t.Errorf("%s: %s", name, kek.ID())
		}
		if asked.String() != "" {
			t.Errorf("%s: it asked %q, of nobody", name, asked.String())
		}
	}
	if _, err := (kekSources{passphraseFile: "-"}).read(environment{getenv: func(string) string { return "" }}); err == nil {
		t.Error("without a standard input")
	}
}

// The configuration says so with its other problems, by the name of the setting.
func TestKEKInTheConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "kek")
	must(t, os.WriteFile(path, []byte(kekText(t, "k")), 0o600))
	f := configFlags{DataDir: dir, DatabaseURL: "sqlite://" + dir + "/c.db", PublicURL: "http://x", KEKFile: path}
	c, err := f.load(environment{getenv: func(string) string { return "" }})
	if err != nil || c.kek.Empty() {
		t.Errorf("%v", err)
	}
	must(t, os.Chmod(path, 0o644))
	_, err = f.load(environment{getenv: func(string) string { return "" }})
	if err == nil || !strings.Contains(fmt.Sprint(err), "1 problem(s):\n  kek_file: others than its owner") {
		t.Errorf("%v", err)
	}
}
