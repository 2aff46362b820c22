package storetest_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"chancery/store/storetest"
)

// A search that cannot find anything would always be content: one seed in each form is found in each place.
func TestSearchFinds(t *testing.T) {
	t.Parallel()
	kp, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	text, err := kp.Seed()
	if err != nil {
		t.Fatal(err)
	}
	seed := string(text)
	_, raw, err := nkeys.DecodeSeed(text)
	if err != nil {
		t.Fatal(err)
	}
	packed := func(s string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	quoted, err := json.Marshal(map[string]string{"creds": "-----BEGIN USER NKEY SEED-----\n" + seed + "\n"})
	if err != nil {
		t.Fatal(err)
	}
	escaped := ""
	for _, b := range text {
		escaped += fmt.Sprintf(`\u%04x`, b)
	}
	forms := map[string]string{
		"plain": seed, "in lower case": strings.ToLower(seed), "as bytes": string(raw), "in JSON": string(quoted), "escaped": escaped, "escaped in capitals": strings.ReplaceAll(strings.ToUpper(escaped), `\U`, `\u`),
		"hexadecimal": hex.EncodeToString(text), "HEXADECIMAL": strings.ToUpper(hex.EncodeToString(text)), "bytes in hexadecimal": hex.EncodeToString(raw),
		"gzip": packed("{" + seed + "}"), "gzip of base64": packed(base64.StdEncoding.EncodeToString(text)), "gzip twice": packed(packed(seed)),
		"gzip in base64": base64.StdEncoding.EncodeToString([]byte(packed(seed))), "gzip in base64url": base64.RawURLEncoding.EncodeToString([]byte(packed(seed))), "gzip in hexadecimal": hex.EncodeToString([]byte(packed(seed))),
	}
	for name, encoding := range map[string]*base64.Encoding{"base64": base64.StdEncoding, "raw base64": base64.RawStdEncoding, "base64url": base64.URLEncoding, "raw base64url": base64.RawURLEncoding} {
		for _, before := range []string{"", "x", "xy", "xyz", `{"seed":"`} {
			forms[name+" after "+before] = encoding.EncodeToString([]byte(before + seed + "\n"))
			forms["bytes in "+name+" after "+before] = encoding.EncodeToString([]byte(before + string(raw) + "\n"))
		}
	}
	found := 0
	for name, form := range forms {
		for _, around := range []string{"", "\x00\xff", "A", "/+/+"} {
			if around == "A" && strings.Contains(name, "gzip in base64") || around == "/+/+" && strings.Contains(name, "gzip in base64") {
				continue // what belongs to the run before it moves it
			}
			s := storetest.NewSearch("something else", seed)
			if hits := s.In("x", []byte(around+form+around)); len(hits) == 0 {
				t.Errorf("%s is not found between %q", name, around)
			} else if around == "" {
				found++
			}
		}
	}
	t.Logf("%d of %d forms found", found, len(forms))
	s := storetest.NewSearch(seed)
	if hits := s.In("x", []byte(strings.Repeat("nothing here, not even SAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA ", 100))); len(hits) > 0 || s.Bytes < 8000 || s.Secrets != 1 {
		t.Errorf("%v in %d bytes", hits, s.Bytes)
	}
	if hits := storetest.NewSearch().In("x", []byte("a seed that nobody told of: "+seed)); len(hits) != 1 {
		t.Errorf("a seed that nobody told of: %v", hits)
	}

	for _, dialect := range storetest.Dialects() {
		url := storetest.URL(t, dialect)
		db := storetest.OpenRaw(t, url)
		kind := map[string]string{"sqlite": "BLOB", "postgres": "BYTEA"}[dialect]
		db.Run(t, `CREATE TABLE planted (n BIGINT NOT NULL, bytes `+kind+`, text TEXT)`)
		if hits := storetest.NewSearch(seed).Database(t, url); len(hits) > 0 {
			t.Errorf("%s: %v", dialect, hits)
		}
		n, found := 0, 0
		for name, form := range forms {
			n++
			db.Run(t, `DELETE FROM planted`)
			db.Run(t, `INSERT INTO planted VALUES ($1, $2, NULL)`, n, []byte(form))
			if hits := storetest.NewSearch(seed).Database(t, url); len(hits) == 0 || !strings.HasPrefix(hits[0], "planted.bytes") {
				t.Errorf("%s: %s is not found: %v", dialect, name, hits)
			} else {
				found++
			}
			if n == 12 {
				break // the search itself is the same for all
			}
		}
		t.Logf("%s: %d of %d planted seeds found", dialect, found, n)
		if path, ok := strings.CutPrefix(url, "sqlite://"); ok {
			if err := os.WriteFile(path+"-journal", []byte(seed), 0o600); err != nil {
				t.Fatal(err)
			}
			db.Run(t, `DELETE FROM planted`)
			if hits := storetest.NewSearch(seed).Files(t, path+"-journal"); len(hits) != 1 || !strings.HasPrefix(hits[0], filepath.Base(path)+"-journal") {
				t.Errorf("in a file beside the database: %v", hits)
			}
		}
	}
}
