package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"chancery/claims"
	"chancery/custody"
	"chancery/resolver"
)

// configFlags are the settings of a control plane. Each can be given as a flag, an
// environment variable or a line of the configuration file, in this order of
// precedence; its name is the same everywhere: --nats-urls, CHANCERY_NATS_URLS,
// nats_urls. Everything is text here and read together, so that all mistakes are
// reported at once.
type configFlags struct {
	Config          string `help:"Configuration file (YAML)." type:"path" placeholder:"FILE"`
	Listen          string `help:"Address of console, API and resolver. Default 127.0.0.1:8080." placeholder:"HOST:PORT"`
	PublicURL       string `help:"Address under which nats-servers and people reach it, such as https://chancery.acme.example." placeholder:"URL"`
	DatabaseURL     string `help:"postgres://… or sqlite:///path/to/chancery.db." placeholder:"URL"`
	DatabaseURLFile string `help:"File that holds the database URL, when it has a password." placeholder:"FILE"`
	DataDir         string `help:"Folder for what is kept outside the database." placeholder:"DIR"`
	KEKFile         string `help:"File that holds the key-encryption key: 32 bytes in base64. Without one the start is sealed." name:"kek-file" placeholder:"FILE"`
	// KEKPassphraseFile may be "-", standard input.
	KEKPassphraseFile string `help:"File that holds the passphrase from which the key-encryption key is derived; - asks, or reads standard input." name:"kek-passphrase-file" placeholder:"FILE"`
	TLSCertFile       string `help:"Certificate (PEM); with it HTTPS is served." placeholder:"FILE"`
	TLSKeyFile        string `help:"Private key of the certificate (PEM)." placeholder:"FILE"`
	NATSURLs          string `help:"Addresses of the nats-servers, with commas between; overrides the service URLs of the operators." name:"nats-urls" placeholder:"URLS"`
	AuditCheckpoints  string `help:"File to which signed checkpoints of the audit log are appended; keep it, or copies of it, where nobody who can write to the database can write." placeholder:"FILE"`
	LogLevel          string `help:"debug, info, warn or error. Default info." placeholder:"LEVEL"`
	LogFormat         string `help:"json or text. Default json." placeholder:"FORMAT"`
	TrustedOperators  string `help:"Public keys of the operators that are believed without a database, with commas between. The resolver role needs them." placeholder:"KEYS"`
	TrustedProxies    string `help:"Addresses or CIDRs of proxies whose X-Forwarded-For is believed, with commas between. Default none." placeholder:"CIDRS"`

	ResolverListen        string `help:"Address of a listener of its own for the account JWTs that nats-servers fetch. Without one they are at --listen." placeholder:"HOST:PORT"`
	ResolverPublicURL     string `help:"Address under which nats-servers reach that listener." name:"resolver-public-url" placeholder:"URL"`
	ResolverTLSCertFile   string `help:"Certificate (PEM) of that listener." name:"resolver-tls-cert-file" placeholder:"FILE"`
	ResolverTLSKeyFile    string `help:"Private key of that certificate (PEM)." name:"resolver-tls-key-file" placeholder:"FILE"`
	ResolverClientCAFile  string `help:"Certificates (PEM) of those who sign clients' certificates; with it that listener lets in nobody without one." name:"resolver-client-ca-file" placeholder:"FILE"`
	ResolverUsersFile     string `help:"File with a name:password on each line, or name:sha256:HEX; with it the account JWTs are for those only." name:"resolver-users-file" placeholder:"FILE"`
	ResolverPackTokenFile string `help:"File with a token on each line, or sha256:HEX, of at least 16 characters; without one nobody can fetch all account JWTs at once." name:"resolver-pack-token-file" placeholder:"FILE"`

	PeerURL       string `help:"Address of another Chancery that feeds the resolver role where that has no database, such as https://chancery.acme.example." name:"peer-url" placeholder:"URL"`
	PeerTokenFile string `help:"File with a token of that one's resolver_pack_token_file." placeholder:"FILE"`
}

// defaults holds for what is given nowhere.
var defaults = map[string]string{"listen": "127.0.0.1:8080", "log_level": "info", "log_format": "json", "role": "all"}

// config is configFlags once it is typed and valid.
type config struct {
	listen, publicURL, databaseURL, dataDir string
	kek                                     custody.KEK
	tls                                     *reloaded[*tls.Certificate]
	lookups                                 lookupConfig
	natsURLs                                []string
	// auditCheckpoints is a file, or empty.
	auditCheckpoints string
	trustedProxies   []netip.Prefix
	role             role
	// trustedOperators is nil for none.
	trustedOperators []string
	// peer is nil without one.
	peer     *resolver.Peer
	level            slog.Level
	jsonLogs         bool
}

// configError is every problem of a configuration.
type configError []string

// Error implements error.
func (e configError) Error() string {
	return fmt.Sprintf("the configuration has %d problem(s):\n  %s", len(e), strings.Join(e, "\n  "))
}

// load merges the three sources and types the result. The error is a configError
// that lists everything wrong.
func (f configFlags) load(env environment) (config, error) { return f.loadWith(env, "") }

// loadWith is load for the command that has a flag for the role; others know that
// word in another sense.
func (f configFlags) loadWith(env environment, role string) (config, error) {
	s := &settings{values: map[string]string{}}
	for k, v := range defaults {
		s.values[k] = v
	}
	names := settingNames()
	s.readFile(f.Config, names)
	given := reflect.ValueOf(f)
	for i, name := range names {
		if v := env.getenv("CHANCERY_" + strings.ToUpper(name)); v != "" {
			s.values[name] = v
		}
		if i+1 == given.NumField() {
			break // the role is not among the fields
		}
		if v := given.Field(i + 1).String(); v != "" { // field 0 is the file itself
			s.values[name] = v
		}
	}
	if role != "" {
		s.values["role"] = role
	}
	c := s.config(env)
	if len(s.problems) > 0 {
		return c, configError(s.problems)
	}
	return c, nil
}

// settingNames are the names in the file, in the order of the fields; role is the last.
func settingNames() []string {
	return []string{
		"listen", "public_url", "database_url", "database_url_file", "data_dir", "kek_file", "kek_passphrase_file", "tls_cert_file", "tls_key_file",
		"nats_urls", "audit_checkpoints", "log_level", "log_format", "trusted_operators", "trusted_proxies",
		"resolver_listen", "resolver_public_url", "resolver_tls_cert_file", "resolver_tls_key_file", "resolver_client_ca_file", "resolver_users_file", "resolver_pack_token_file",
		"peer_url", "peer_token_file",
		"role",
	}
}

// settings are the merged texts and what is wrong with them.
type settings struct {
	values   map[string]string
	problems []string
}

func (s *settings) wrong(name, format string, args ...any) {
	s.problems = append(s.problems, name+": "+fmt.Sprintf(format, args...))
}

func (s *settings) readFile(path string, names []string) {
	if path == "" {
		return
	}
	text, err := os.ReadFile(path)
	if err != nil {
		s.wrong("config", "the file cannot be read: %s", reason(err))
		return
	}
	var lines map[string]yaml.Node
	if err := yaml.Unmarshal(text, &lines); err != nil {
		s.wrong("config", "the file is not a list of `name: value` lines in YAML")
		return
	}
	for name, node := range lines {
		var list []string
		switch {
		case !slices.Contains(names, name):
			s.wrong("config", "line %d: there is no such setting; the settings are %s", node.Line, strings.Join(names, ", "))
		case node.Kind == yaml.ScalarNode:
			s.values[name] = node.Value
		case node.Kind == yaml.SequenceNode && node.Decode(&list) == nil:
			s.values[name] = strings.Join(list, ",")
		default:
			s.wrong(name, "line %d: a text is expected", node.Line)
		}
	}
	slices.Sort(s.problems)
}

func (s *settings) config(env environment) config {
	v := s.values
	c := config{listen: v["listen"], publicURL: strings.TrimSuffix(v["public_url"], "/"), dataDir: v["data_dir"], jsonLogs: v["log_format"] != "text", auditCheckpoints: v["audit_checkpoints"]}
	if _, _, err := net.SplitHostPort(c.listen); err != nil {
		s.wrong("listen", "must be HOST:PORT, such as 127.0.0.1:8080 or :8443")
	}
	if v["log_format"] != "text" && v["log_format"] != "json" {
		s.wrong("log_format", "must be json or text")
	}
	if err := c.level.UnmarshalText([]byte(v["log_level"])); err != nil {
		s.wrong("log_level", "must be debug, info, warn or error")
	}
	if c.dataDir == "" {
		s.wrong("data_dir", "is required: a folder that only Chancery can read")
	}
	c.role, c.trustedOperators = s.role()
	c.databaseURL = s.database(c.role)
	if c.role.manages() {
		c.kek = s.kek(env)
	}
	c.tls = s.tls("tls_cert_file", "tls_key_file")
	c.lookups = s.lookups(c.role)
	c.peer = s.peer(c.role)
	// Nothing that a resolver answers names its own address.
	if (c.publicURL != "" || c.role.manages()) && !isBase(c.publicURL) {
		s.wrong("public_url", "is required: http:// or https:// and a host, without a path; nats-servers fetch accounts from there")
	}
	for _, u := range strings.Split(v["nats_urls"], ",") {
		if u = strings.TrimSpace(u); u != "" {
			if p, err := url.Parse(u); err != nil || p.Host == "" || p.User != nil {
				s.wrong("nats_urls", "each must be nats://HOST:PORT or tls://HOST:PORT, without credentials")
				break
			}
			c.natsURLs = append(c.natsURLs, u)
		}
	}
	c.trustedProxies = s.proxies()
	return c
}

// isBase tells whether an address is http or https and a host, and nothing more.
func isBase(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.Path == "" && u.RawQuery == "" && u.User == nil
}

func (s *settings) proxies() []netip.Prefix {
	var out []netip.Prefix
	for _, text := range strings.Split(s.values["trusted_proxies"], ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		p, err := netip.ParsePrefix(text)
		if a, notOne := netip.ParseAddr(text); notOne == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			s.wrong("trusted_proxies", "each must be an address or a CIDR, such as 10.0.0.0/8")
			break
		}
		out = append(out, p.Masked())
	}
	return out
}

// role reads the role and whom it believes.
func (s *settings) role() (r role, trusted []string) {
	r = role(s.values["role"])
	if r != roleAll && r != roleResolver && r != roleAPI {
		s.wrong("role", "must be all, resolver or api")
		r = roleAll
	}
	for _, key := range strings.Split(s.values["trusted_operators"], ",") {
		if key = strings.TrimSpace(key); key == "" {
			continue
		}
		if !claims.IsPublicKey(claims.KindOperator, key) {
			s.wrong("trusted_operators", "each must be the public key of an operator, O and 55 more characters")
			break
		}
		trusted = append(trusted, key)
	}
	if r == roleResolver && trusted == nil {
		s.wrong("trusted_operators", "is required for the resolver role: the public keys of the operators, with commas between")
	}
	return r, trusted
}

func (s *settings) database(r role) string {
	v, file := s.values["database_url"], s.values["database_url_file"]
	switch {
	case v == "" && file == "" && r == roleResolver:
		return ""
	case v == "" && file == "":
		s.wrong("database_url", "is required: postgres://… or sqlite:///path/to/chancery.db (or database_url_file)")
		return ""
	case v != "" && file != "":
		s.wrong("database_url", "and database_url_file exclude each other")
		return ""
	case file != "":
		text, err := os.ReadFile(file)
		if err != nil {
			s.wrong("database_url_file", "cannot be read: %s", reason(err))
			return ""
		}
		v = strings.TrimSpace(string(text))
	}
	if !strings.HasPrefix(v, "postgres://") && !strings.HasPrefix(v, "postgresql://") && !strings.HasPrefix(v, "sqlite://") {
		s.wrong("database_url", "must start with postgres:// or sqlite://")
	}
	if r == roleResolver && strings.HasPrefix(v, "sqlite://") {
		s.wrong("database_url", "must be of PostgreSQL for the resolver role: an SQLite file belongs to one process")
	}
	return v
}

// kek reads the key-encryption key. None is no problem of the configuration: the start
// is sealed then.
func (s *settings) kek(env environment) custody.KEK {
	kek, err := kekSources{file: s.values["kek_file"], passphraseFile: s.values["kek_passphrase_file"]}.read(env)
	if err != nil {
		s.problems = append(s.problems, err.Error())
	}
	return kek
}

func (s *settings) tls(certName, keyName string) *reloaded[*tls.Certificate] {
	cert, key := s.values[certName], s.values[keyName]
	if cert == "" && key == "" {
		return nil
	}
	if cert == "" || key == "" {
		s.wrong(certName, "and %s must be given together", keyName)
		return nil
	}
	pair, err := keyPair(cert, key)
	if err != nil {
		s.wrong(certName, "certificate and key cannot be used together or not be read")
	}
	return pair
}

// reason says why a file could not be read, without repeating its path.
func reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}
