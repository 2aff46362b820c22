package main

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "chancery"

// mayImport is the direction of imports: what each package may use of ours. A package that is missing here
// has no place in the house yet. "*" is everything: the wiring knows everybody.
var mayImport = map[string][]string{
	"cmd/chancery":        {"*"},
	"api":                 {"issuer", "claims"},
	"web":                 {"issuer", "claims"},
	"callout":             {"issuer", "claims"},
	"resolver":            {"store", "claims"},
	"issuer":              {"claims", "claims/nsc", "custody", "store"},
	"custody":             {"claims"},
	"custody/custodytest": {"custody"},
	"store":               {"migrations", "claims"},
	"store/storetest":     {"store"},
	"claims":              nil,
	"claims/nsc":          {"claims"},
	"migrations":          nil,
	"scripts/benchtable":  nil,
}

// mustNotImport is what each package keeps out of itself, with everything below the path named.
var mustNotImport = map[string][]string{
	// Pure functions: no file, network or SQL.
	"claims": {"os", "net/http", "database/sql", "github.com/nats-io/nats.go", "github.com/nats-io/nats-server"},
	// Files are an fs.FS that is handed in, or are handed out.
	"claims/nsc": {"os", "net/http", "database/sql", "github.com/nats-io/nats.go", "github.com/nats-io/nats-server"},
	// Rows and transactions: no protocol, and no way to open a sealed seed.
	"store": {"net/http", "github.com/nats-io/nats.go", "github.com/nats-io/nats-server", "github.com/tink-crypto"},
	// Use cases: whoever opens seeds speaks to nobody outside but the store.
	"issuer": {
		"net/http", "database/sql", "github.com/jackc/pgx", "modernc.org/sqlite",
		"github.com/nats-io/nats.go", "github.com/nats-io/nats-server", "github.com/tink-crypto",
	},
	// Bytes in, bytes out: the only place where a seed is open.
	"custody": {"net/http", "database/sql", "github.com/jackc/pgx", "modernc.org/sqlite", "github.com/nats-io/nats.go", "github.com/nats-io/nats-server"},
	// What faces nats-servers cannot open a seed.
	"resolver": {"github.com/tink-crypto"},
	"callout":  {"github.com/tink-crypto"},
	// Surfaces reach rows through issuer only.
	"api": {"database/sql", "github.com/jackc/pgx", "github.com/tink-crypto"},
	"web": {"database/sql", "github.com/jackc/pgx", "github.com/tink-crypto"},
	// The wiring hands the key-encryption key on, and opens nothing with it.
	"cmd/chancery": {"github.com/tink-crypto"},
}

// modulePackage is what the tests need of one entry of `go list -json`.
type modulePackage struct {
	Dir        string
	ImportPath string
	GoFiles    []string
	Imports    []string
}

// name returns the path inside the module: "claims", "store/storetest".
func (p modulePackage) name() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

func TestImportDirections(t *testing.T) {
	t.Parallel()
	for _, p := range modulePackages(t) {
		allowed, known := mayImport[p.name()]
		if !known {
			t.Errorf("package %s has no place in mayImport: say there what it may import, and in its package doc why it exists", p.name())
		}
		for _, path := range p.Imports {
			ours, isOurs := strings.CutPrefix(path, module+"/")
			if known && isOurs && !slices.Contains(allowed, ours) && !slices.Contains(allowed, "*") {
				t.Errorf("%s imports %s; of ours it may import only %v", p.name(), ours, allowed)
			}
			// Importing it is enough to serve profiles on the default mux, so the choice is the wiring's.
			if path == "net/http/pprof" && p.name() != "cmd/chancery" {
				t.Errorf("%s imports %s, which only cmd/chancery may", p.name(), path)
			}
			for _, refused := range mustNotImport[p.name()] {
				if path == refused || strings.HasPrefix(path, refused+"/") {
					t.Errorf("%s imports %s, which it keeps out of itself", p.name(), path)
				}
			}
		}
	}
}

func TestPackageDocs(t *testing.T) {
	t.Parallel()
	for _, p := range modulePackages(t) {
		doc := packageDoc(t, p)
		if n := strings.Count(doc, "\n"); n < 3 {
			t.Errorf("%s: the package doc has %d lines, at least 3 are needed", p.name(), n)
		}
		words := strings.Join(strings.Fields(doc), " ")
		for question, answers := range map[string][]string{
			"what it owns":    {"owns"},
			"what it refuses": {"refuses", "must not", "never"},
			"who calls it":    {"Called by", "called by"},
		} {
			if !slices.ContainsFunc(answers, func(a string) bool { return strings.Contains(words, a) }) {
				t.Errorf("%s: the package doc does not say %s (one of %q)", p.name(), question, answers)
			}
		}
	}
}

// modulePackages lists the packages of this module without their test files.
func modulePackages(t *testing.T) []modulePackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=Dir,ImportPath,GoFiles,Imports", "./...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("listing packages: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("listing packages: %v", err)
	}
	var packages []modulePackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p modulePackage
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("reading the list of packages: %v", err)
		}
		if len(p.GoFiles) > 0 {
			packages = append(packages, p)
		}
	}
	if len(packages) == 0 {
		t.Fatal("no packages were listed")
	}
	return packages
}

// packageDoc returns the comments above the package clauses, whichever file has them.
func packageDoc(t *testing.T, p modulePackage) string {
	t.Helper()
	var doc strings.Builder
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatalf("reading %s of %s: %v", name, p.name(), err)
		}
		doc.WriteString(f.Doc.Text())
	}
	return doc.String()
}
