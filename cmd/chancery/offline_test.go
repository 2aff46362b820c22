package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/api"
	"chancery/claims"
)

// Whatever these commands are asked, in words or in JSON, they print no seed, although
// they read creds, and no JWT of a user, which may be a bearer's.
func TestNoSeedIsPrinted(t *testing.T) {
	t.Parallel()
	home := nscHome(t)
	data := filepath.Join(home, ".local/share/nats/nsc")
	var secrets, files []string
	var outputs strings.Builder
	runs := 0
	ask := func(args ...string) {
		for _, more := range [][]string{nil, {"--json"}} {
			_, out, errs := inProcessWith(t, atNoon(home, append(args, more...)...))
			outputs.WriteString(out + errs)
			runs++
		}
	}
	must(t, filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		switch {
		case err != nil:
			return err
		case strings.HasSuffix(path, ".nk"), filepath.Base(filepath.Dir(path)) == "users":
			secrets = append(secrets, strings.TrimSpace(string(text)))
		}
		files = append(files, path)
		return nil
	}))
	for _, path := range thin(files) {
		ask("inspect", path)
		ask("explain", path)
	}
	ask("who", "pub", "x")
	ask("who", "sub", "x", "--operator", "vault")
	ask("explain", secrets[0])
	ask("can", "pub", secrets[0], "--as", secrets[0]+"/"+secrets[0])
	ask("who", "pub", secrets[0], "--operator", secrets[0])
	hits := 0
	for _, s := range secrets {
		hits += strings.Count(outputs.String(), s)
	}
	if hits > 0 || outputs.Len() < 100_000/thinned {
		t.Errorf("%d hits in %d bytes", hits, outputs.Len())
	}
	t.Logf("secrets: %d hits of %d seeds and user JWTs in %d outputs (%d bytes)", hits, len(secrets), runs, outputs.Len())
}

// An explicit flag wins, then the .chancery of the working directory, then nsc.
func TestSourceRules(t *testing.T) { //nolint:paralleltest // it changes the working directory
	home := nscHome(t)
	dir := t.TempDir()
	t.Chdir(dir)
	must(t, os.WriteFile("token", []byte("chy_pat_x"), 0o600))
	data := filepath.Join(home, ".local/share/nats/nsc")
	for name, c := range map[string]struct {
		flags   sourceFlags
		context bool
		home    string
		want    string
	}{
		"nsc by itself":           {sourceFlags{}, false, home, "acme"},
		"nsc of nobody":           {sourceFlags{}, false, dir, errNoSource.Error()},
		"no home at all":          {sourceFlags{}, false, "", errNoSource.Error()},
		"a context":               {sourceFlags{}, true, home, "http://context"},
		"--nsc over a context":    {sourceFlags{NSC: data, Operator: "vault"}, true, home, "vault"},
		"--nsc, set elsewhere":    {sourceFlags{NSC: data}, false, dir, "there are several operators: name one with --operator (acme, vault)"},
		"--url over nsc":          {sourceFlags{clientFlags: clientFlags{URL: "http://flag", TokenFile: "token"}}, false, home, "http://flag"},
		"--nsc over --url":        {sourceFlags{NSC: data, clientFlags: clientFlags{URL: "http://flag", TokenFile: "token"}}, false, home, "acme"},
		"--token-file alone":      {sourceFlags{clientFlags: clientFlags{TokenFile: "token"}}, false, home, "no control plane is named: use --url and --token-file, or run this where chancery dev keeps its .chancery"},
		"an operator by its name": {sourceFlags{Operator: "vault"}, false, home, "vault"},
	} {
		must(t, os.RemoveAll(".chancery"))
		if c.context {
			must(t, os.Mkdir(".chancery", 0o700))
			must(t, os.WriteFile(".chancery/context.json", []byte(`{"url":"http://context","token_file":"token"}`), 0o600))
		}
		got := ""
		switch s, err := c.flags.source(atNoon(c.home), nil); {
		case err != nil:
			got = err.Error()
		case s.api != nil:
			got = s.api.url
		default:
			got = s.nsc.store.Name
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	must(t, os.MkdirAll(".chancery", 0o700))
	must(t, os.WriteFile(".chancery/context.json", []byte(`{"url":"http://127.0.0.1:1","token_file":"token"}`), 0o600))
	code, _, errs := inProcessWith(t, atNoon(home, "who", "pub", "x"))
	if code != exitUnreachable || !strings.Contains(errs, "cannot be reached: dial tcp") || !strings.Contains(errs, "use --nsc DIR") {
		t.Errorf("a Chancery that is not running: exit code %d: %s", code, errs)
	}
}

// nsc's configuration may name stores elsewhere, be damaged, or stand in the directories
// that XDG names.
func TestNSCConfig(t *testing.T) {
	t.Parallel()
	home := nscHome(t)
	config := filepath.Join(home, ".config/nats/nsc/nsc.json")
	moved := filepath.Join(t.TempDir(), "moved")
	must(t, os.Rename(filepath.Join(home, ".local/share/nats/nsc/stores/vault"), filepath.Join(home, "vault")))
	must(t, os.Mkdir(moved, 0o700))
	must(t, os.Rename(filepath.Join(home, "vault"), filepath.Join(moved, "vault")))
	for text, want := range map[string]string{
		`{"store_root":"` + moved + `"}`:              "vault",
		`{"store_root":"/nowhere","operator":"acme"}`: "acme",
		`{`: "acme",
	} {
		must(t, os.WriteFile(config, []byte(text), 0o600))
		if s, err := (sourceFlags{}).source(atNoon(home), nil); err != nil || s.nsc.store.Name != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	env := atNoon(home)
	env.getenv = func(name string) string {
		return map[string]string{"XDG_DATA_HOME": filepath.Join(home, ".local/share"), "XDG_CONFIG_HOME": filepath.Join(home, "none")}[name]
	}
	if s, err := (sourceFlags{}).source(env, nil); err != nil || s.nsc.store.Name != "acme" {
		t.Errorf("XDG: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(moved, "vault", "vault.jwt"), []byte("x"), 0o600))
	if _, err := (sourceFlags{NSC: moved}).source(env, nil); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("a broken operator: %v", err)
	}
}

// Documents may be anything, and users anybody's.
func TestDocuments(t *testing.T) {
	t.Parallel()
	home := nscHome(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		must(t, os.WriteFile(p, []byte(text), 0o600))
		return p
	}
	both := filepath.Join(nscHome(t), ".local/share/nats/nsc")
	users := filepath.Join(home, ".local/share/nats/nsc/stores/acme/accounts/ORDERS/users")
	svc, err := os.ReadFile(filepath.Join(users, "svc.jwt"))
	must(t, err)
	good := string(svc)
	expired := jwt.NewUserClaims(newUserKey(t))
	expired.Name, expired.Expires = "x\x1b[2J", 1
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"a file that is not there":  {[]string{"inspect", filepath.Join(dir, "none")}, exitFailure, "no such file"},
		"a directory":               {[]string{"inspect", dir}, exitFailure, "reading the JWT"},
		"too large":                 {[]string{"inspect", write("large", strings.Repeat(" ", maxDocument+1))}, exitFailure, "more than 2 MiB"},
		"a wrong signature":         {[]string{"inspect", write("flipped", good[:len(good)-10]+"AAAAAAAAAA")}, exitNo, "not valid: The signature"},
		"the same in JSON":          {[]string{"inspect", "--json", filepath.Join(dir, "flipped")}, exitNo, `"valid": false`},
		"creds that are flipped":    {[]string{"inspect", write("creds", "-----BEGIN NATS USER JWT-----\n"+good[:len(good)-10]+"AAAAAAAAAA\n------END NATS USER JWT------\n"+newSeed(t)+"\n")}, exitNo, "holds a private key"},
		"expired, of nobody":        {[]string{"inspect", write("expired", encode(t, expired))}, exitOK, "a nats-server refuses it: It expired at"},
		"inspect a JWT itself":      {[]string{"inspect", good}, exitOK, "by the account ORDERS  trusted"},
		"two JWTs and two seeds":    {[]string{"inspect", write("two", good+"\n"+newSeed(t)+"\n"+encode(t, expired)+"\n"+newSeed(t))}, exitFailure, "more than one JWT\n"},
		"explain a key's file":      {[]string{"explain", write("key", newSeed(t))}, exitFailure, "only a private key (seed)"},
		"explain another system's":  {[]string{"explain", write("other", hs256)}, exitNo, "it is not a JWT of NATS."},
		"explain an account":        {[]string{"explain", filepath.Join(users, "../ORDERS.jwt")}, exitNo, "→ Give the client a creds file, or the user JWT"},
		"a type in small letters":   {[]string{"explain", good, "--type", "mqtt"}, exitNo, "The client connects by MQTT, which has no way to sign"},
		"a name in two stores":      {[]string{"can", "pub", "x", "--as", "SYS/sys", "--nsc", both}, exitUsage, "several operators: name one with --operator (acme, vault)"},
		"a name in one of two":      {[]string{"can", "pub", "x", "--as", "ALPHA/app", "--nsc", both}, exitOK, "the nsc store vault in"},
		"examples in the help":      {[]string{"can", "--help"}, exitOK, "chancery can pub orders.new --as ORDERS/svc"},
		"a JWT as the argument":     {[]string{"explain", good}, exitOK, "cannot know"},
		"a flag that does not hold": {[]string{"inspect", filepath.Join(users, "svc.jwt"), "--operator", "nobody"}, exitUsage, "no nsc store"},
		"explain without a source":  {[]string{"explain", good, "--nsc", dir}, exitUsage, "holds no store"},
		"explain a missing file":    {[]string{"explain", filepath.Join(dir, "none")}, exitFailure, "no such file"},
	} {
		code, out, errs := inProcessWith(t, atNoon(home, c.args...))
		if code != c.code || !strings.Contains(out+errs, c.want) || strings.Contains(out+errs, "\x1b") {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s%s", name, code, c.code, c.want, out, errs)
		}
	}
	// A user of ORDERS under the account's JWT of another operator is not trusted.
	must(t, os.WriteFile(filepath.Join(users, "evil.jwt"), []byte(encode(t, func() *jwt.UserClaims {
		c := jwt.NewUserClaims(newUserKey(t))
		c.Name, c.IssuerAccount = "evil", "AAO77KCK72ZJXZMYLR65MCGXMPYBMVDFQIDNJBY2IJI3ZNXDUK2YMQNJ"
		return c
	}())), 0o600))
	code, out, _ := inProcessWith(t, atNoon(home, "inspect", filepath.Join(users, "evil.jwt")))
	if code != exitNo || !strings.Contains(out, "not trusted: The account does not have this signing key") {
		t.Errorf("exit code %d: %s", code, out)
	}
	must(t, os.WriteFile(filepath.Join(users, "twin.jwt"), svc, 0o600))
	code, _, errs := inProcessWith(t, atNoon(home, "can", "pub", "x", "--as", "ORDERS/UCFH62XPD2E4ZRWC77USCB4IG2HJHBSX4G6O3MWJ626TOZO5BPJICXFD"))
	if code != exitUsage || !strings.Contains(errs, "several users") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

// hs256 is a JWT of another system, as they are everywhere.
const hs256 = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"

// An answer that could not be written is a failure, not a yes.
func TestAnswerNotWritten(t *testing.T) {
	t.Parallel()
	home := nscHome(t)
	for _, args := range [][]string{{"who", "pub", "x"}, {"who", "pub", "x", "--json"}, {"can", "pub", "x", "--as", "SYS/sys"}} {
		closed, err := os.Create(filepath.Join(t.TempDir(), "out"))
		must(t, err)
		must(t, closed.Close())
		var errs strings.Builder
		env := atNoon(home, args...)
		env.stdout, env.stderr = closed, &errs
		if code := run(t.Context(), env); code != exitFailure || !strings.Contains(errs.String(), "file already closed") {
			t.Errorf("%v: exit code %d: %s", args, code, errs.String())
		}
	}
}

func newUserKey(t *testing.T) string {
	t.Helper()
	pair, err := nkeys.CreateUser()
	must(t, err)
	key, err := pair.PublicKey()
	must(t, err)
	return key
}

func newSeed(t *testing.T) string {
	t.Helper()
	pair, err := nkeys.CreateUser()
	must(t, err)
	seed, err := pair.Seed()
	must(t, err)
	return string(seed)
}

// encode signs claims by an account of nobody's.
func encode(t *testing.T, c *jwt.UserClaims) string {
	t.Helper()
	pair, err := nkeys.CreateAccount()
	must(t, err)
	token, err := c.Encode(pair)
	must(t, err)
	return token
}

// What could not be read is missing from an answer, and that is said.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	home := nscHome(t)
	users := filepath.Join(home, ".local/share/nats/nsc/stores/acme/accounts/ORDERS/users")
	for _, name := range []string{"d1", "d2", "leaver", "office", "svc", "temp", "new"} {
		must(t, os.WriteFile(filepath.Join(users, name+".jwt"), []byte("eyJ"), 0o600))
	}
	code, out, errs := inProcessWith(t, atNoon(home, "who", "pub", "x"))
	if code != exitOK || !strings.HasPrefix(out, "3 of 5 users") || strings.Count(errs, "left out stores/acme/accounts/ORDERS/users/") != 5 || !strings.Contains(errs, "left out 2 more files.") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
}

// A running Chancery gives the same answers; its own rules about who may ask hold.
func TestThroughTheAPI(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	ready, stop := devProcess(t, dir)
	defer stop()
	token := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(token, []byte(ready.Token), 0o600))
	stale := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(stale, []byte(ready.Token[:len(ready.Token)-4]+"0000"), 0o600))
	foreign := filepath.Join(nscHome(t), ".local/share/nats/nsc/keys/creds/acme/ORDERS/d1.creds")
	account := filepath.Join(nscHome(t), ".local/share/nats/nsc/stores/acme/accounts/ORDERS/ORDERS.jwt")
	for name, c := range map[string]struct {
		args  []string
		token string
		code  int
		want  []string
	}{
		"inspect":                 {[]string{"inspect", ready.CredsFile}, token, exitOK, []string{"by the account", "trusted: ", "Permissions in effect", "looked up in", "holds a private key"}},
		"inspect a stranger":      {[]string{"inspect", foreign, "--json"}, token, exitOK, []string{`"state": "unknown"`, `"valid": true`, `"seed": true`}},
		"inspect an account":      {[]string{"inspect", account}, token, exitOK, []string{"not known: ", "Export audit"}},
		"explain":                 {[]string{"explain", ready.CredsFile, "--host", "127.0.0.1", "--type", "STANDARD"}, token, exitOK, []string{"pass   The user is not revoked"}},
		"explain a stranger":      {[]string{"explain", foreign, "--json"}, token, exitNo, []string{`"verdict": "refused"`, `"failed_check": "account_found"`}},
		"who":                     {[]string{"who", "sub", "_INBOX.x"}, token, exitOK, []string{" users may subscribe to _INBOX.x"}},
		"who, JSON":               {[]string{"who", "pub", "$NRG.x", "--json"}, token, exitNo, []string{`"users": []`}},
		"can, a user of nobody's": {[]string{"can", "pub", "x", "--as", "NONE/none"}, token, exitUsage, []string{"There is no such account. (req_"}},
		"explain what is no JWT":  {[]string{"explain", hs256}, token, exitNo, []string{"refused: ", "it is not a JWT of NATS."}},
		"can, a wildcard":         {[]string{"can", "pub", "x.>", "--as", "NONE/none"}, token, exitUsage, []string{"without the wildcards"}},
		"a token that is wrong":   {[]string{"who", "pub", "x"}, stale, exitForbidden, []string{"chancery: "}},
		"an operator":             {[]string{"who", "pub", "x", "--operator", "acme"}, token, exitUsage, []string{"--operator tells"}},
	} {
		env := atNoon("", append(c.args, "--url", strings.TrimSuffix(ready.APIURL, api.Base), "--token-file", c.token)...)
		env.now = time.Now
		code, out, errs := inProcessWith(t, env)
		if code != c.code || claims.LooksLikeSeed(out+errs) {
			t.Errorf("%s: exit code %d, want %d:\n%s%s", name, code, c.code, out, errs)
		}
		for _, want := range c.want {
			if !strings.Contains(out+errs, want) {
				t.Errorf("%s: %q is missing:\n%s%s", name, want, out, errs)
			}
		}
	}
	remote := []string{"--json", "--url", strings.TrimSuffix(ready.APIURL, api.Base), "--token-file", token}
	_, out, _ := inProcessWith(t, atNoon("", append([]string{"who", "sub", "_INBOX.x"}, remote...)...))
	var who whoAnswer
	must(t, json.Unmarshal([]byte(out), &who))
	if len(who.Users) == 0 {
		t.Fatalf("nobody may: %s", out)
	}
	_, out, _ = inProcessWith(t, atNoon("", append([]string{"can", "sub", "_INBOX.x", "--as", who.Users[0].User}, remote...)...))
	var can canAnswer
	if err := json.Unmarshal([]byte(out), &can); err != nil || can.Access != "allowed" || can.User != who.Users[0].User {
		t.Errorf("%v: %s", err, out)
	}
	if code, _, errs := inProcessWith(t, atNoon("", "who", "pub", "x", "--url", "127.0.0.1:1", "--token-file", token)); code != exitUsage || !strings.Contains(errs, "written like https://") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	if code, _, errs := inProcessWith(t, atNoon("", "who", "pub", "x", "--url", "http://127.0.0.1:1", "--token-file", token)); code != exitUnreachable {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

func TestColours(t *testing.T) {
	t.Parallel()
	terminal, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // a character device, as a terminal is
	must(t, err)
	defer func() { _ = terminal.Close() }()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	must(t, err)
	defer func() { _ = file.Close() }()
	set := func(name, value string) func(string) string {
		return func(n string) string { return map[string]string{name: value}[n] }
	}
	for name, c := range map[string]struct {
		env  environment
		want bool
	}{
		"a terminal":      {environment{stdout: terminal, getenv: set("TERM", "xterm")}, true},
		"NO_COLOR":        {environment{stdout: terminal, getenv: set("NO_COLOR", "1")}, false},
		"a dumb terminal": {environment{stdout: terminal, getenv: set("TERM", "dumb")}, false},
		"a file":          {environment{stdout: file, getenv: set("", "")}, false},
		"a pipe":          {environment{stdout: &strings.Builder{}, getenv: set("", "")}, false},
	} {
		if got := newPage(c.env).coloured; got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := (page{coloured: true}).link(api.ChainLink{State: "broken", Why: "w"}).Value; got != "\x1b[31mnot trusted\x1b[0m: w" {
		t.Errorf("%q", got)
	}
	var b strings.Builder
	canAnswer{permission: permission{PermissionCheck: api.PermissionCheck{
		Access: "filtered", Why: "w", Closest: &api.RuleView{Subject: "a"}, Filters: []api.RuleView{{Subject: "b", Queue: "q"}},
	}}}.print(page{w: &b})
	if !strings.Contains(b.String(), "withheld      b in the queue group q") || !strings.Contains(b.String(), "allowed but filtered: w") {
		t.Error(b.String())
	}
}
