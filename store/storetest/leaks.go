package storetest

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"
)

// Search looks for secrets in what a system leaves behind: written plainly, in base64
// of any alphabet and alignment, in hexadecimal, escaped for JSON or an address,
// compressed with gzip, and of a seed also its 32 bytes. Whatever else is the seed of
// an nkey is found too.
type Search struct {
	needles []needle
	// Bytes is how much was searched, Secrets for how many secrets.
	Bytes   int64
	Secrets int
}

type needle struct {
	what  string
	bytes []byte
}

// NewSearch returns a search for the secrets.
func NewSearch(secrets ...string) *Search {
	s := &Search{Secrets: len(secrets)}
	for n, secret := range secrets {
		s.add(fmt.Sprintf("secret %d", n), secret)
		if _, raw, err := nkeys.DecodeSeed([]byte(secret)); err == nil {
			s.add(fmt.Sprintf("secret %d in lower case", n), strings.ToLower(secret))
			s.add(fmt.Sprintf("secret %d as bytes", n), string(raw))
		}
	}
	return s
}

// add adds a secret in the forms of text.
func (s *Search) add(what, secret string) {
	forms := map[string]string{
		"in hexadecimal": hex.EncodeToString([]byte(secret)), "in HEXADECIMAL": strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"in an address": url.QueryEscape(secret), "in a path": url.PathEscape(secret), "with slashes escaped": strings.ReplaceAll(secret, "/", `\/`),
	}
	if quoted, err := json.Marshal(secret); err == nil {
		forms["in JSON"] = strings.Trim(string(quoted), `"`)
	}
	var lower, upper strings.Builder
	for _, b := range []byte(secret) {
		fmt.Fprintf(&lower, `\u%04x`, b)
		fmt.Fprintf(&upper, `\u%04X`, b)
	}
	forms["escaped"], forms["ESCAPED"] = lower.String(), upper.String()
	for name, encoding := range map[string]*base64.Encoding{"in base64": base64.RawStdEncoding, "in base64url": base64.RawURLEncoding} {
		for before := range 3 { // what stands before it moves its letters
			text := encoding.EncodeToString(append(make([]byte, before), secret...))
			forms[fmt.Sprint(name, ", moved by ", before)] = text[(before*8+5)/6 : (before+len(secret))*8/6]
		}
	}
	seen := map[string]bool{}
	seen[secret] = true
	s.needles = append(s.needles, needle{what, []byte(secret)})
	for form, text := range forms {
		if !seen[text] {
			s.needles = append(s.needles, needle{what + " " + form, []byte(text)})
		}
		seen[text] = true
	}
}

// In returns what of the secrets is in the content, and where.
func (s *Search) In(where string, content []byte) []string {
	s.Bytes += int64(len(content))
	return s.in(where, content, 3)
}

func (s *Search) in(where string, content []byte, depth int) (hits []string) {
	for _, n := range s.needles {
		if bytes.Contains(content, n.bytes) {
			hits = append(hits, where+": "+n.what)
		}
	}
	for rest := content; len(hits) == 0; {
		at := seedRE.FindIndex(rest)
		if at == nil {
			break
		}
		// In a database file columns stand side by side, so the shape alone proves nothing.
		if _, err := nkeys.FromSeed(bytes.ToUpper(rest[at[0]:at[1]])); err == nil {
			hits = append(hits, where+": another seed")
		}
		rest = rest[at[0]+1:]
	}
	if depth > 0 {
		for _, inner := range unpacked(content) {
			hits = append(hits, s.in(where+", unpacked", inner, depth-1)...)
		}
	}
	return hits
}

var (
	seedRE    = regexp.MustCompile(`(?i)S[OAUNCX][A-Z2-7]{56}`)
	gzip64RE  = regexp.MustCompile(`H4sI[A-Za-z0-9+/_-]+`)
	gzipHexRE = regexp.MustCompile(`(?i)1f8b08[0-9a-f]+`)
)

// unpacked returns what gzip compressed in the content, also where that is written in
// base64 or hexadecimal.
func unpacked(content []byte) (out [][]byte) {
	packed := [][]byte{content}
	for _, run := range gzip64RE.FindAll(content, -1) {
		run = []byte(strings.NewReplacer("-", "+", "_", "/").Replace(string(run)))
		if b, err := base64.RawStdEncoding.DecodeString(string(run[:len(run)/4*4])); err == nil {
			packed = append(packed, b)
			if b, err := base64.RawStdEncoding.DecodeString(string(run)); err == nil {
				packed = append(packed, b)
			}
		}
	}
	for _, run := range gzipHexRE.FindAll(content, -1) {
		if b, err := hex.DecodeString(string(run[:len(run)/2*2])); err == nil {
			packed = append(packed, b)
		}
	}
	for _, p := range packed {
		for from := 0; ; {
			at := bytes.Index(p[from:], []byte{0x1f, 0x8b, 8})
			if at < 0 {
				break
			}
			from += at + 1
			r, err := gzip.NewReader(bytes.NewReader(p[from-1:]))
			if err != nil {
				continue
			}
			r.Multistream(false)
			// What follows it, or is missing of it, does not matter.
			if b, _ := io.ReadAll(io.LimitReader(r, 64<<20)); len(b) > 0 {
				out = append(out, b)
			}
		}
	}
	return out
}

// Database returns what of the secrets is in the database that came from URL: in each
// column of each row, in the files of SQLite with their write-ahead log, and in what
// pg_dump, where it is installed, writes of PostgreSQL.
func (s *Search) Database(t testing.TB, url string) (hits []string) {
	t.Helper()
	OpenRaw(t, url).Cells(t, func(table string, row int, column string, value any) {
		content, ok := value.([]byte)
		if !ok {
			content = []byte(fmt.Sprint(value))
		}
		hits = append(hits, s.In(fmt.Sprintf("%s.%s of row %d", table, column, row), content)...)
	})
	if path, ok := strings.CutPrefix(url, "sqlite://"); ok {
		files, err := filepath.Glob(path + "*")
		if err != nil || len(files) == 0 {
			t.Fatalf("no files of the database: %v", err)
		}
		return append(hits, s.Files(t, files...)...)
	}
	dump, err := dumpPostgres(url)
	if err != nil {
		t.Logf("without pg_dump: %v", err)
	}
	return append(hits, s.In("pg_dump", dump)...)
}

// Files returns what of the secrets is in the files.
func (s *Search) Files(t testing.TB, paths ...string) (hits []string) {
	t.Helper()
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		hits = append(hits, s.In(filepath.Base(path), content)...)
	}
	return hits
}

func dumpPostgres(url string) ([]byte, error) {
	tool := "pg_dump"
	if bin, err := serverBinaries(); err == nil {
		tool = filepath.Join(bin, tool)
	}
	return exec.Command(tool, "--dbname="+url).Output()
}
