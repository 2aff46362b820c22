package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/api"
	"chancery/claims"
	"chancery/custody"
	"chancery/issuer"
	"chancery/store/storetest"
)

// landlord is a control plane without operators, whose operators have their own servers.
type landlord struct {
	t     *testing.T
	app   *app
	token string
	log   *lockedBuffer
}

func eachLandlord(t *testing.T, f func(p *landlord)) {
	for _, d := range storetest.Dialects() {
		t.Run(d, func(t *testing.T) {
			t.Parallel()
			f(newLandlord(t, storetest.URL(t, d)))
		})
	}
}

func newLandlord(t *testing.T, dsn string) *landlord {
	t.Helper()
	p := &landlord{t: t, log: &lockedBuffer{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", lastLines(p.log.String(), 40))
		}
	})
	kek, err := custody.NewKEK(strings.NewReader(strings.Repeat("k", 32)))
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p.app, err = openApp(t.Context(), appConfig{
		databaseURL: dsn, dataDir: t.TempDir(), kek: kek, publicURL: "http://" + l.Addr().String(), listener: l, now: time.Now, log: newLogger(p.log, slog.LevelDebug, false),
	})
	must(t, err)
	made, err := p.app.issuer.CreateToken(t.Context(), issuer.Op{Caller: issuer.System("test")}, issuer.TokenInput{Name: "test", Grants: issuer.Everything(issuer.RoleOwner), TTL: time.Hour})
	must(t, err)
	p.token = made.Value.Text.Reveal()
	must(t, p.app.start(t.Context()))
	t.Cleanup(func() { must(t, p.app.stop()) })
	return p
}

func (p *landlord) try(method, path, body string, answer any) error {
	return callAPI(p.t.Context(), p.app.cfg.publicURL, p.token, request{method, path, body, "wait=20"}, answer)
}

func (p *landlord) call(method, path, body string, answer any) {
	p.t.Helper()
	must(p.t, p.try(method, path, body, answer))
}

// boot starts a nats-server from what the operator's server configuration says, and tells Chancery where it is.
func (p *landlord) boot(operator, name string) *server.Server {
	p.t.Helper()
	code, conf, stderr := p.chancery(nil, "server-config", "--url", p.app.cfg.publicURL, operator)
	if code != 0 {
		p.t.Fatal(stderr)
	}
	file := filepath.Join(p.t.TempDir(), "nats.conf")
	must(p.t, os.WriteFile(file, []byte("server_name: "+name+"\nlisten: 127.0.0.1:-1\n"+conf), 0o600))
	opts, err := server.ProcessConfigFile(file)
	must(p.t, err)
	opts.NoSigs, opts.NoLog = true, true
	s, err := server.NewServer(opts)
	must(p.t, err)
	s.Start()
	p.t.Cleanup(func() { stopNATS(s) })
	if !s.ReadyForConnections(30 * time.Second) {
		p.t.Fatal("the nats-server is not ready")
	}
	p.call("PATCH", "/operators/"+operator, fmt.Sprintf(`{"service_urls":[%q]}`, s.ClientURL()), nil)
	return s
}

// chancery runs the real binary, as somebody does in a shell, and returns its exit code and outputs.
func (p *landlord) chancery(stdin *string, args ...string) (code int, stdout, stderr string) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), runMain+"=1", "CHANCERY_TOKEN="+p.token)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if stdin != nil {
		cmd.Stdin = strings.NewReader(*stdin)
	}
	err := cmd.Run()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode(), out.String(), errs.String()
	}
	must(p.t, err)
	return 0, out.String(), errs.String()
}

// servers waits until the operator's only server has told whom it trusts, as accept wants it.
func (p *landlord) servers(operator string, accept func(s api.Server) bool) {
	p.t.Helper()
	eventually(p.t, "what the server of "+operator+" trusts", func() bool {
		var list api.Page[api.Server]
		p.call("GET", "/operators/"+operator+"/servers", "", &list)
		return len(list.Items) == 1 && list.Items[0].InEffect != nil && accept(list.Items[0])
	})
}

// client makes an account with a user and connects it.
func (p *landlord) client(operator, account string, s *server.Server) (*nats.Conn, error) {
	p.t.Helper()
	var a api.Account
	p.call("POST", "/accounts", fmt.Sprintf(`{"name":%q,"operator":%q}`, account, operator), &a)
	return p.connect(a.ID, s)
}

func (p *landlord) connect(account string, s *server.Server) (*nats.Conn, error) {
	p.t.Helper()
	out, err := p.app.issuer.CreateUser(p.t.Context(), issuer.Op{Caller: issuer.System("test")}, account, issuer.UserInput{
		Name: fmt.Sprintf("u%d", time.Now().UnixNano()), Permissions: permissive(), Issue: &issuer.IssueInput{TTL: time.Hour},
	})
	must(p.t, err)
	file := filepath.Join(p.t.TempDir(), "u.creds")
	must(p.t, os.WriteFile(file, []byte(out.Value.Issued.Creds.Reveal()), 0o600))
	nc, err := nats.Connect(s.ClientURL(), nats.UserCredentials(file), nats.NoReconnect(), nats.Timeout(20*time.Second))
	if err == nil {
		p.t.Cleanup(nc.Close)
	}
	return nc, err
}

func permissive() *jwt.UserPermissionLimits {
	l := claims.NewPermissionLimits()
	l.Pub.Allow, l.Sub.Allow = jwt.StringList{">"}, jwt.StringList{">"}
	return &l
}

// export writes what the operator's identity key is to sign to a file.
func (p *landlord) export(operator string) string {
	p.t.Helper()
	var raw json.RawMessage
	p.call("GET", "/operators/"+operator+"/unsigned-claims", "", &raw)
	file := filepath.Join(p.t.TempDir(), "claims.json")
	must(p.t, os.WriteFile(file, raw, 0o600))
	return file
}

func (p *landlord) upload(operator, token string) error {
	return p.try("PUT", "/operators/"+operator+"/jwt", fmt.Sprintf(`{"jwt":%q}`, strings.TrimSpace(token)), nil)
}

// An operator whose identity key never was on this machine: made, signed and changed through the real binary, until a
// nats-server boots with it and a client works on it.
func TestOfflineOperatorEndToEnd(t *testing.T) {
	t.Parallel()
	eachLandlord(t, func(p *landlord) {
		t := p.t
		seed := filepath.Join(t.TempDir(), "operator.seed")
		code, said, stderr := p.chancery(nil, "operator", "init", "--offline", seed)
		fields := strings.Fields(said)
		if code != 0 || len(fields) < 6 {
			t.Fatalf("init: %d %s%s", code, said, stderr)
		}
		public := fields[2]
		if info, err := os.Stat(seed); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the seed file: %v, %v", info.Mode(), err)
		}
		if !claims.IsPublicKey(claims.KindOperator, public) || !strings.Contains(said, claims.KeyFingerprint(public)) || claims.LooksLikeSeed(said) {
			t.Errorf("init says %s", said)
		}
		if code, _, stderr := p.chancery(nil, "operator", "init", "--offline", seed); code != 1 || !strings.Contains(stderr, "exists") {
			t.Errorf("init over a seed: %d %s", code, stderr)
		}

		var o api.Operator
		p.call("POST", "/operators", fmt.Sprintf(`{"name":"vault","custody":"offline","public_key":%q}`, public), &o)
		if o.State != "awaiting_signature" || o.Pending == nil || len(o.Pending.Changes) == 0 {
			t.Errorf("made %+v", o)
		}
		if err := p.try("GET", "/operators/vault/server-config", "", nil); err == nil {
			t.Error("there is a configuration before the JWT is signed")
		}
		file := p.export("vault")
		p.refuseToSign(seed, file)
		no := "no\n"
		if code, out, said := p.chancery(&no, "operator", "sign", "--offline", "--seed-file", seed, file); code != exitNo || out != "" ||
			!strings.Contains(said, o.Pending.Fingerprint) || !strings.Contains(said, "Strict signing key usage") || !strings.Contains(said, public) {
			t.Errorf("saying no: %d %q %s", code, out, said)
		}
		yes := "yes\n"
		code, token, said := p.chancery(&yes, "operator", "sign", "--offline", "--seed-file", seed, file)
		if code != 0 {
			t.Fatal(said)
		}
		must(t, p.upload("vault", token))
		var signed api.Operator // its own: what is absent leaves a value as it was
		p.call("GET", "/operators/vault", "", &signed)
		if signed.State != "active" || signed.Pending != nil {
			t.Errorf("uploaded %+v", signed)
		}

		s := p.boot("vault", "n1")
		p.servers("vault", func(s api.Server) bool { return *s.InEffect })
		nc, err := p.client("vault", "ORDERS", s)
		must(t, err)
		must(t, nc.Publish("orders.new", nil))
		must(t, nc.FlushTimeout(30*time.Second))

		// A later change: the new service URL waits, and strictness with it.
		p.call("PATCH", "/operators/vault", `{"strict_signing_keys":false}`, &signed)
		if signed.Pending == nil || len(signed.Pending.Changes) != 2 {
			t.Errorf("waits: %+v", signed.Pending)
		}
		code, token, said = p.chancery(nil, "operator", "sign", "--offline", "--seed-file", seed, "--yes", p.export("vault"))
		if code != 0 || !strings.Contains(said, "Against the JWT in force it changes") {
			t.Fatalf("%d %s", code, said)
		}
		must(t, p.upload("vault", token))
		p.servers("vault", func(s api.Server) bool { return !*s.InEffect })
		if _, err := p.client("vault", "BILLING", s); err != nil {
			t.Errorf("a server with the JWT before: %v", err)
		}
	})
}

// refuseToSign tries what the identity key must not sign.
func (p *landlord) refuseToSign(seed, file string) {
	p.t.Helper()
	dir := p.t.TempDir()
	raw, err := os.ReadFile(file)
	must(p.t, err)
	var request map[string]any
	must(p.t, json.Unmarshal(raw, &request))
	write := func(name string, edit func(m map[string]any)) string {
		m := map[string]any{}
		for k, v := range request {
			m[k] = v
		}
		edit(m)
		text, err := json.Marshal(m)
		must(p.t, err)
		path := filepath.Join(dir, name)
		must(p.t, os.WriteFile(path, text, 0o600))
		return path
	}
	another := filepath.Join(dir, "another.seed")
	if code, _, stderr := p.chancery(nil, "operator", "init", "--offline", another); code != 0 {
		p.t.Fatal(stderr)
	}
	garbage := filepath.Join(dir, "garbage")
	must(p.t, os.WriteFile(garbage, []byte("no seed"), 0o600))
	input, _ := request["signing_input"].(string)
	account, err := p.app.issuer.GetAccount(p.t.Context(), issuer.System("test"), "SYS")
	must(p.t, err)
	cases := map[string][2]string{
		"another key":            {another, file},
		"no seed":                {garbage, file},
		"no file":                {filepath.Join(dir, "missing"), file},
		"no claims":              {seed, garbage},
		"missing claims":         {seed, filepath.Join(dir, "missing")},
		"an account's claims":    {seed, write("account", func(m map[string]any) { m["signing_input"] = account.JWT[:strings.LastIndex(account.JWT, ".")] })},
		"a cut input":            {seed, write("cut", func(m map[string]any) { m["signing_input"] = input[:len(input)-9] })},
		"another header":         {seed, write("header", func(m map[string]any) { m["signing_input"] = "e30" + input[strings.Index(input, "."):] })},
		"a JWT before that lies": {seed, write("before", func(m map[string]any) { m["current_jwt"] = account.JWT })},
		"no input":               {seed, write("none", func(m map[string]any) { delete(m, "signing_input") })},
	}
	refused := 0
	for name, c := range cases {
		code, out, stderr := p.chancery(nil, "operator", "sign", "--offline", "--yes", "--seed-file", c[0], c[1])
		if code != exitFailure || out != "" || stderr == "" {
			p.t.Errorf("%s: exit code %d, %q, %s", name, code, out, stderr)
			continue
		}
		refused++
	}
	p.t.Logf("%d of %d signatures refused", refused, len(cases))
}

// Two operators in one process, each with its own server, system account and resolver base: clients work on both, a
// push reaches its own server alone, and one's credentials are nothing to the other.
func TestTwoOperatorsEndToEnd(t *testing.T) {
	t.Parallel()
	eachLandlord(t, func(p *landlord) {
		t := p.t
		servers := map[string]*server.Server{}
		for _, name := range []string{"east", "west"} {
			p.call("POST", "/operators", fmt.Sprintf(`{"name":%q}`, name), nil)
			servers[name] = p.boot(name, "n-"+name)
			p.servers(name, func(s api.Server) bool { return *s.InEffect && s.Name == "n-"+name })
		}
		accounts := map[string]api.Account{}
		for name, s := range servers {
			_, err := p.client(name, "ORDERS", s)
			must(t, err)
			var list api.Page[api.Account]
			p.call("GET", "/accounts?q=ORDERS&operator="+name, "", &list)
			if len(list.Items) != 1 {
				t.Fatalf("%s has %+v", name, list.Items)
			}
			accounts[name] = list.Items[0]
		}
		err := p.try("GET", "/accounts/ORDERS", "", nil)
		if err == nil || !strings.Contains(err.Error(), "409") || !strings.Contains(err.Error(), accounts["east"].ID) || !strings.Contains(err.Error(), accounts["west"].ID) {
			t.Errorf("a name of two accounts: %v", err)
		}
		if _, err := p.connect(accounts["east"].ID, servers["west"]); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("east's client on west's server: %v", err)
		}
		// A change is in effect on its own operator's server, and counted there alone.
		var suspended api.Account
		p.call("PUT", "/accounts/"+accounts["west"].ID+"/suspension", `{"reason":"a drill"}`, &suspended)
		if suspended.Sync == nil || suspended.Sync.State != "in_effect" || len(suspended.Sync.Servers) != 1 || suspended.Sync.Servers[0].Name != "n-west" {
			t.Errorf("suspended: %+v", suspended.Sync)
		}
		if _, err := p.connect(accounts["east"].ID, servers["east"]); err != nil {
			t.Errorf("east while west's account is suspended: %v", err)
		}
		// With one operator deleted the other goes on, and nothing of the first is served.
		var o api.Operator
		p.call("GET", "/operators/west", "", &o)
		_, err = p.app.issuer.DeleteAccount(t.Context(), issuer.Op{Caller: issuer.System("test"), ExpectedVersion: versionOf(p, accounts["west"].ID)}, accounts["west"].ID)
		must(t, err)
		west, err := p.app.issuer.GetOperator(t.Context(), issuer.System("test"), "west")
		must(t, err)
		_, err = p.app.issuer.DeleteOperator(t.Context(), issuer.Op{Caller: issuer.System("test"), ExpectedVersion: west.Version}, "west")
		must(t, err)
		eventually(t, "nothing of a deleted operator is served", func() bool {
			return p.app.resolver.Servers(west.ID) == nil && servers["west"].NumClients() == 0
		})
		if _, err := p.connect(accounts["east"].ID, servers["east"]); err != nil {
			t.Errorf("east without west: %v", err)
		}
	})
}

func versionOf(p *landlord, account string) int64 {
	a, err := p.app.issuer.GetAccount(p.t.Context(), issuer.System("test"), account)
	must(p.t, err)
	return a.Version
}
