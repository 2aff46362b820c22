package main

import (
	"encoding/json"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"

	"chancery/api"
	"chancery/claims/nsc"
	"chancery/issuer"
	"chancery/store"
	"chancery/store/storetest"
)

// moved is a control plane without an operator, and a home directory whose stores of
// nsc come to it.
type moved struct {
	*plant
	home string
}

func newMoved(t *testing.T, dialect, home string) *moved {
	t.Helper()
	return &moved{newPlantOf(t, dialect, func(*appConfig) {}, func(*plant, issuer.Op) {}), home}
}

// chancery runs a command line against the control plane.
func (m *moved) chancery(stdin string, args ...string) (code int, stdout, stderr string) {
	m.t.Helper()
	return inProcessWith(m.t, environment{
		args: append(args, "--url", m.app.cfg.publicURL), stdin: strings.NewReader(stdin), now: time.Now,
		getenv: func(name string) string {
			return map[string]string{"HOME": m.home, "CHANCERY_TOKEN": m.token}[name]
		},
	})
}

func (m *moved) data() string { return filepath.Join(m.home, ".local/share/nats/nsc") }

func readHome(t *testing.T, data, operator string) *nsc.Store {
	t.Helper()
	s, err := nsc.Read(nsc.Dirs{Stores: os.DirFS(filepath.Join(data, "stores")), Keys: os.DirFS(filepath.Join(data, "keys"))}, operator)
	must(t, err)
	return s
}

// serve starts a nats-server that trusts the operator of a store, as it did before,
// and asks Chancery for accounts.
func (m *moved) serve(o nsc.Operator) {
	m.t.Helper()
	m.operator.JWT, m.operator.ID = o.Token.Text, o.Claims().Subject
	m.startServer()
}

// admitted tells whether a server lets the user of original creds in.
func (m *moved) admitted(creds string) bool {
	m.t.Helper()
	c, err := connect(m.running()[0], creds)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// jwtsOfStore are the JWTs of a store by their place.
func jwtsOfStore(s *nsc.Store) map[string]string {
	out := map[string]string{"operator": s.Operator.Token.Text}
	for _, a := range s.Accounts {
		out[a.Name] = a.Token.Text
		for _, u := range a.Users {
			out[a.Name+"/"+u.Name] = u.Token.Text
		}
	}
	return out
}

// Both stores that nsc made come over by the command: looked at first, then observed,
// then adopted. Creds from before go on working, and what is written out is what came.
func TestImportNSC(t *testing.T) {
	for _, dialect := range storetest.Dialects() {
		for _, operator := range []string{"acme", "vault"} {
			t.Run(dialect+"/"+operator, func(t *testing.T) {
				t.Parallel()
				m := newMoved(t, dialect, nscHome(t))
				m.importStore(operator)
			})
		}
	}
}

func (m *moved) importStore(operator string) {
	t := m.t
	code, out, errs := m.chancery("", "import", "nsc", "--operator", operator, "--dry-run")
	if code != exitOK && code != exitNo || !strings.Contains(out, operator) || !strings.Contains(errs, "Seeds and creds of users stay here.") {
		t.Fatalf("dry run: exit code %d: %s%s", code, out, errs)
	}
	t.Logf("chancery import nsc --operator %s --dry-run\n%s%s", operator, errs, out)
	if code, _, errs := m.chancery("no\n", "import", "nsc", "--operator", operator); code != exitNo || !strings.Contains(errs, "nothing was taken in") {
		t.Errorf("said no: exit code %d: %s", code, errs)
	}
	var jobs api.Page[api.ImportJob]
	m.call("GET", "/import-jobs", "", &jobs)
	if len(jobs.Items) != 0 {
		t.Errorf("%d jobs after a dry run and a no", len(jobs.Items))
	}
	code, out, errs = m.chancery("", "import", "nsc", "--operator", operator, "--observe", "--yes")
	if code != exitOK {
		t.Fatalf("observe: exit code %d: %s%s", code, out, errs)
	}
	code, out, errs = m.chancery("yes\n", "import", "nsc", "--operator", operator, "--reason", "we move")
	if code != exitOK || !strings.Contains(out, "resolver: URL(") {
		t.Fatalf("adopt: exit code %d: %s%s", code, out, errs)
	}
	t.Logf("chancery import nsc --operator %s\n%s%s", operator, errs, out)
	m.connects(operator)
	m.comesBack(operator)
}

// connects sees who of the store's users is let in.
func (m *moved) connects(operator string) {
	m.t.Helper()
	m.serve(readHome(m.t, m.data(), operator).Operator)
	want := map[string][]string{"acme": {"ORDERS/d1", "ORDERS/d2", "ORDERS/svc", "BILLING/clerk", "SHIPPING/truck", "SYS/sys"}, "vault": {"ALPHA/app", "BETA/app", "SYS/sys"}}[operator]
	refused := map[string][]string{"acme": {"ORDERS/leaver"}}[operator]
	for _, user := range append(slices.Clone(want), refused...) {
		creds := filepath.Join(m.data(), "keys/creds", operator, user+".creds")
		if got := m.admitted(creds); got != slices.Contains(want, user) {
			m.t.Errorf("%s is admitted: %v", user, got)
		}
	}
	m.t.Logf("%d users of %s admitted with their creds from before, %d refused", len(want), operator, len(refused))
}

// comesBack writes the operator out and compares.
func (m *moved) comesBack(operator string) {
	t := m.t
	t.Helper()
	dir := filepath.Join(t.TempDir(), "out")
	code, out, errs := m.chancery("", "export", "nsc", "--operator", operator, "--dir", dir)
	if code != exitOK && code != exitPartial {
		t.Fatalf("export: exit code %d: %s%s", code, out, errs)
	}
	t.Logf("chancery export nsc\n%s%s", errs, out)
	if code, _, errs := m.chancery("", "export", "nsc", "--operator", operator, "--dir", dir); code != exitUsage || !strings.Contains(errs, "--force") {
		t.Errorf("into a directory that is not empty: exit code %d: %s", code, errs)
	}
	if code, _, errs := m.chancery("", "export", "nsc", "--operator", operator, "--dir", dir, "--force"); code != exitOK && code != exitPartial {
		t.Errorf("with --force: exit code %d: %s", code, errs)
	}
	before, after := jwtsOfStore(readHome(t, m.data(), operator)), jwtsOfStore(readHome(t, dir, operator))
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("what was written out is not what came: %s", diff)
	}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := d.Info()
		if want := map[bool]fs.FileMode{true: 0o700, false: 0o600}[d.IsDir()]; err == nil && i.Mode().Perm() != want && path != dir {
			t.Errorf("%s has the mode %v", path, i.Mode())
		}
		return err
	}))
	t.Logf("%d of %d JWTs of %s written out as they came", len(after), len(before), operator)
}

// A store that grew for years comes over in time, with progress, and goes back as it came.
func TestImportGeneratedStore(t *testing.T) { //nolint:paralleltest // it is timed
	home := t.TempDir()
	g := newGenerator(t)
	g.make(grown)
	g.writeTo(home)
	for _, dialect := range storetest.Dialects() {
		t.Run(dialect, func(t *testing.T) { //nolint:paralleltest // it is timed
			m := newMoved(t, dialect, home)
			started := time.Now()
			code, out, errs := m.chancery("", "import", "nsc", "--yes", "--json")
			took := time.Since(started)
			if code != exitOK {
				t.Fatalf("exit code %d: %s%s", code, errs, lastLines(out, 30))
			}
			var job api.ImportJob
			must(t, json.Unmarshal([]byte(out), &job))
			if job.State != "done" || job.Done != job.Total || len(job.Report.Operators) != 1 || len(job.Report.Operators[0].Accounts) != grown.accounts {
				t.Errorf("%s, %d of %d", job.State, job.Done, job.Total)
			}
			t.Logf("%d accounts and %d users: %v from the command to done\n%s", grown.accounts, grown.users, took.Round(10*time.Millisecond), errs)
			m.everybody(g)
			m.comesBackEqual(g)
		})
	}
}

// everybody connects with the original creds of every user: to a server that asks Chancery, and to one with nsc's own
// configuration, which has the accounts in its memory.
func (m *moved) everybody(g *generator) {
	m.t.Helper()
	m.serve(g.store.Operator)
	memory := new(server.MemAccResolver)
	for _, a := range g.store.Accounts {
		must(m.t, memory.Store(a.Claims().Subject, a.Token.Text))
	}
	own, err := startNATS(natsServerConfig{
		name: "own", operatorJWT: m.operator.JWT, resolverURL: m.app.cfg.publicURL + "/jwt/v1/accounts/", log: slog.New(slog.DiscardHandler),
		adjust: func(o *server.Options) { o.JetStream, o.AccountResolver = false, memory },
	})
	must(m.t, err)
	defer stopNATS(own)
	in, out := 0, 0
	for _, a := range g.store.Accounts {
		for _, u := range a.Users {
			creds := filepath.Join(m.data(), "keys/creds/grown", a.Name, u.Name+".creds")
			got, want := m.admitted(creds), true
			if c, err := connect(own, creds); err != nil {
				want = false
			} else {
				c.Close()
			}
			if got != want || want == g.outside[a.Name+"/"+u.Name] {
				m.t.Errorf("%s/%s is admitted: %v, with nsc's own configuration: %v", a.Name, u.Name, got, want)
			}
			if got {
				in++
			} else {
				out++
			}
		}
	}
	m.t.Logf("%d of %d users as with nsc's own configuration: %d admitted, %d refused", in+out, in+out, in, out)
}

func (m *moved) comesBackEqual(g *generator) {
	t := m.t
	t.Helper()
	dir := filepath.Join(t.TempDir(), "out")
	code, out, errs := m.chancery("", "export", "nsc", "--operator", "grown", "--dir", dir, "--json")
	if code != exitOK {
		t.Fatalf("export: exit code %d: %s%s", code, errs, lastLines(out, 30))
	}
	s := readHome(t, dir, "grown")
	before, after := jwtsOfStore(g.store), jwtsOfStore(s)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("what was written out is not what came: %s", lastLines(diff, 40))
	}
	equal := 0
	for _, a := range g.store.Accounts {
		i := slices.IndexFunc(s.Accounts, func(x nsc.Account) bool { return x.Name == a.Name })
		if i >= 0 && cmp.Equal(claimsOf(t, a.Token.Text), claimsOf(t, s.Accounts[i].Token.Text)) {
			equal++
		}
	}
	if equal != len(g.store.Accounts) {
		t.Errorf("the claims of %d of %d accounts are equal", equal, len(g.store.Accounts))
	}
	t.Logf("%d of %d JWTs are the same bytes, the claims of %d of %d accounts equal", len(after), len(before), equal, len(s.Accounts))
}

func claimsOf(t *testing.T, text string) *jwt.AccountClaims {
	t.Helper()
	c, err := jwt.DecodeAccountClaims(text)
	must(t, err)
	return c
}

// Each way to end has its exit code, and what went wrong is said in a sentence.
func TestImportExitCodes(t *testing.T) {
	t.Parallel()
	p := newPlant(t, storetest.Dialects()[0])
	m := &moved{p, nscHome(t)}
	auditor, err := p.app.issuer.CreateToken(t.Context(), issuer.Op{Caller: issuer.System("test"), RequestID: "test"},
		issuer.TokenInput{Name: "auditor", Grants: issuer.Everything(issuer.RoleAuditor), TTL: time.Hour})
	must(t, err)
	empty := t.TempDir()
	must(t, os.WriteFile(filepath.Join(empty, "x"), nil, 0o600))
	for name, c := range map[string]struct {
		args  []string
		token string
		code  int
		says  string
	}{
		"several operators":        {[]string{"import", "nsc"}, "", exitUsage, "name one with --operator (acme, vault)"},
		"no such operator":         {[]string{"import", "nsc", "--operator", "nobody"}, "", exitUsage, "no store of the operator nobody"},
		"no such directory":        {[]string{"import", "nsc", "--dir", "/nowhere"}, "", exitUsage, "cannot be opened"},
		"no store":                 {[]string{"import", "nsc", "--dir", empty}, "", exitUsage, "holds no store of nsc"},
		"no such keystore":         {[]string{"import", "nsc", "--operator", "vault", "--keystore-dir", "/nowhere"}, "", exitUsage, "directory of keys cannot be opened"},
		"not permitted":            {[]string{"import", "nsc", "--operator", "vault", "--yes"}, auditor.Value.Text.Reveal(), exitForbidden, "adoption:write"},
		"a name that is taken":     {[]string{"import", "nsc", "--operator", "acme", "--dry-run"}, "", exitNo, ""},
		"nothing to take in":       {[]string{"import", "nsc", "--operator", "acme", "--yes"}, "", exitConflict, "No operator of the archive can be taken in."},
		"export of nobody":         {[]string{"export", "nsc", "--operator", "nobody", "--dir", filepath.Join(empty, "out")}, "", exitUsage, ""},
		"export where files are":   {[]string{"export", "nsc", "--operator", "acme", "--dir", empty}, "", exitUsage, "is not empty"},
		"export without a reason":  {[]string{"export", "nsc", "--operator", "acme", "--dir", filepath.Join(empty, "out"), "--keys"}, "", exitUsage, "--reason"},
		"a reason without seeds":   {[]string{"export", "nsc", "--operator", "acme", "--dir", filepath.Join(empty, "out"), "--reason", "x"}, "", exitUsage, "--keys"},
		"a dry run without a word": {[]string{"import", "nsc", "--operator", "vault", "--dry-run", "--no-seeds", "--json"}, "", exitOK, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := &moved{p, m.home}
			if c.token != "" {
				m.plant = &plant{t: t, app: p.app, token: c.token}
			}
			m.plant.t = t
			code, out, errs := m.chancery("", c.args...)
			if code != c.code || !strings.Contains(errs, c.says) {
				t.Errorf("exit code %d, want %d: %s%s", code, c.code, errs, lastLines(out, 12))
			}
		})
	}
	if code, _, errs := inProcessWith(t, environment{
		args: []string{"import", "nsc", "--operator", "vault", "--yes", "--url", "http://127.0.0.1:1"}, stdin: strings.NewReader(""), now: time.Now,
		getenv: func(name string) string { return map[string]string{"HOME": m.home, "CHANCERY_TOKEN": "x"}[name] },
	}); code != exitUnreachable {
		t.Errorf("nobody there: exit code %d: %s", code, errs)
	}
}

// What is packed on this machine holds no seed and no creds of a user, and the command
// prints none.
func TestImportSendsNoUserSeeds(t *testing.T) {
	t.Parallel()
	home := nscHome(t)
	files, err := openNSCFiles(atNoon(home), "", "")
	must(t, err)
	defer func() { must(t, files.close()) }()
	packed, err := nsc.Pack(files.dirs(), nsc.Packing{Operator: "acme", Seeds: true})
	must(t, err)
	a, err := nsc.Open([]byte(packed.Archive.Reveal()))
	must(t, err)
	s, err := nsc.Read(a.Dirs, "acme")
	must(t, err)
	seeds := 0
	for key := range s.Keys {
		if key[0] != 'O' && key[0] != 'A' {
			t.Errorf("the seed of %s is sent", key)
		}
		seeds++
	}
	for _, a := range s.Accounts {
		for _, u := range a.Users {
			if !u.Creds.Empty() {
				t.Errorf("the creds of %s/%s are sent", a.Name, u.Name)
			}
		}
	}
	if seeds != packed.Seeds || seeds == 0 {
		t.Errorf("%d seeds, want %d", seeds, packed.Seeds)
	}
}

// Who leaves takes the seeds along: by the command on the server itself, with a reason,
// on record; and nsc can sign with them.
func TestExportWithSeeds(t *testing.T) {
	for _, dialect := range storetest.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			dsn := storetest.URL(t, dialect)
			args, _ := hostArgs(t, dsn)
			onStore(t, dsn, func(_ *store.Store, i *issuer.Issuer) {
				op := issuer.Op{Caller: issuer.System("test"), RequestID: "test"}
				archive, err := os.ReadFile(filepath.Join("..", "..", "claims", "nsc", "testdata", "nsc-acme.tgz"))
				must(t, err)
				up, err := i.UploadStore(t.Context(), op, archive)
				must(t, err)
				_, err = i.RunImport(t.Context(), op, up.Value.ID, issuer.RunImportInput{Mode: issuer.ImportAdopt, PlanHash: up.Value.Report.PlanHash})
				must(t, err)
				for range 20 {
					must(t, i.Upkeep(t.Context()))
				}
			})
			dir := filepath.Join(t.TempDir(), "out")
			code, out, errs := inProcess(t, append([]string{"export", "nsc", "--operator", "acme", "--dir", dir, "--keys", "--reason", "we leave"}, args...)...)
			if code != exitOK && code != exitPartial {
				t.Fatalf("exit code %d: %s%s", code, errs, out)
			}
			t.Log(out)
			home := t.TempDir()
			unpack(t, filepath.Join("..", "..", "claims", "nsc", "testdata", "nsc-acme.tgz"), home)
			before, after := readHome(t, filepath.Join(home, ".local/share/nats/nsc"), "acme"), readHome(t, dir, "acme")
			if diff := cmp.Diff(jwtsOfStore(before), jwtsOfStore(after)); diff != "" {
				t.Error(diff)
			}
			for key, seed := range before.Keys {
				if (key[0] == 'O' || key[0] == 'A') && after.Keys[key].Reveal() != seed.Reveal() {
					t.Errorf("the seed of %s is not there", key)
				}
			}
			if strings.Contains(out+errs, "SO") && strings.Contains(out+errs, before.Keys[before.Operator.Claims().Subject].Reveal()) {
				t.Error("a seed was printed")
			}
			onStore(t, dsn, func(s *store.Store, _ *issuer.Issuer) {
				dump := storetest.OpenRaw(t, dsn).Dump(t)
				if !strings.Contains(dump, "export_seeds") || !strings.Contains(dump, "we leave") {
					t.Error("it is not on record")
				}
			})
		})
	}
}
