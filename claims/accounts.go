package claims

import (
	"maps"
	"net/url"
	"regexp"
	"slices"

	"github.com/nats-io/jwt/v2"
)

// MaxAccountJWT is the longest account JWT in bytes: jwt/v2 refuses to decode
// more, and a server's default max_payload refuses the push.
const MaxAccountJWT = jwt.MaxTokenSize

// SigningKey is a signing key of an account as its JWT carries it.
type SigningKey struct {
	// ID is a public key A….
	ID string
	// Template makes the key scoped; nil leaves it plain.
	Template *Template
}

// Account is what an account JWT is built from.
type Account struct {
	// ID is the account's identity, a public key A….
	ID   string
	Name string
	// System tells that it is its operator's system account.
	System bool
	// Settings is the body, without signing keys and revocations.
	Settings jwt.Account
	Keys     []SigningKey
	// Revocations maps a user's public key, or *, to the second up to which
	// what was issued to it is refused.
	Revocations map[string]int64
	// Audience is the aud of a JWT that was read; ours have none.
	Audience string
	// Expires is Unix seconds, 0 for never; NotBefore likewise, 0 for at once.
	Expires, NotBefore int64
	// Foreign is what a JWT from elsewhere, which this takes the place of, held besides;
	// nil where there was none.
	Foreign *Foreign
}

// NewAccountSettings returns the settings of a new account: everything unlimited,
// JetStream off. A limit that is absent from a JWT means zero, nothing allowed.
func NewAccountSettings() jwt.Account {
	return jwt.Account{Limits: jwt.OperatorLimits{
		NatsLimits: jwt.NatsLimits{Subs: jwt.NoLimit, Data: jwt.NoLimit, Payload: jwt.NoLimit},
		AccountLimits: jwt.AccountLimits{
			Imports: jwt.NoLimit, Exports: jwt.NoLimit, WildcardExports: true,
			Conn: jwt.NoLimit, LeafNodeConn: jwt.NoLimit,
		},
	}}
}

// BuildAccount builds and checks account claims.
func BuildAccount(a Account) (Checked, Problems) {
	problems := CheckAccount(a)
	c := jwt.NewAccountClaims(a.ID)
	if c == nil {
		return Checked{}, append(problems, blocking("", "invalid_key", "The account has no identity."))
	}
	c.Name = a.Name
	c.Audience, c.Expires, c.NotBefore = a.Audience, a.Expires, a.NotBefore
	c.Account = a.Settings
	if f := a.Foreign; f == nil {
		c.Account.Tags = NormalizeTags(a.Settings.Tags)
	} else {
		c.Name, c.Audience, c.NotBefore = f.called(a.Name), f.Audience, f.NotBefore
	}
	if a.Settings.Trace != nil {
		trace := *a.Settings.Trace // the library's check touches it
		c.Trace = &trace
	}
	c.SigningKeys = jwt.SigningKeys{}
	for _, k := range a.Keys {
		if k.Template == nil {
			c.SigningKeys.Add(k.ID)
			continue
		}
		c.SigningKeys.AddScopedSigner(k.Template.scope(k.ID))
	}
	c.Revocations = make(jwt.RevocationList, len(a.Revocations))
	maps.Copy(c.Revocations, a.Revocations)
	return a.Foreign.carry(finish(c, problems))
}

// CheckAccount returns every problem of what an account JWT would be built from. What a
// JWT from elsewhere came with does not block.
func CheckAccount(a Account) Problems { return a.Foreign.Tolerate(checkAccount(a)) }

func checkAccount(a Account) Problems {
	problems := CheckName("/name", a.Name)
	if a.ID != "" { // nobody has one before it is created
		problems = append(problems, CheckPublicKey("/public_key", KindAccount, a.ID)...)
	}
	problems = append(problems, CheckTags("/tags", a.Settings.Tags)...)
	problems = append(problems, checkValidity(a.Audience, a.Expires, a.NotBefore)...)
	problems = append(problems, checkLimits(a.Settings.Limits)...)
	if a.System && a.Settings.Limits.IsJSEnabled() {
		problems = append(problems, blocking("/jetstream/enabled", "not_allowed",
			"JetStream is not allowed on the system account. Create a separate account for streams."))
	}
	problems = append(problems, checkInfo("", a.Settings.Info)...)
	problems = append(problems, checkPermissions("/default_permissions", a.Settings.DefaultPermissions, false)...)
	problems = append(problems, checkSigningKeys(a.Keys)...)
	problems = append(problems, checkRevocations("/revocations", KindUser, a.Revocations)...)
	problems = append(problems, checkExports(a.Settings.Exports, a.Settings.Limits.AccountLimits)...)
	problems = append(problems, checkImports(a.ID, a.Settings.Imports, a.Settings.Limits.AccountLimits)...)
	problems = append(problems, checkMappings(a.Settings.Mappings)...)
	problems = append(problems, checkCallout(a.Settings.Authorization)...)
	problems = append(problems, checkTrace(a.Settings.Trace)...)
	if a.Settings.ClusterTraffic.Valid() != nil {
		problems = append(problems, refused("/cluster_traffic", "unknown_value", "The cluster traffic is carried by system or owner; leave it empty for system."))
	}
	return problems
}

// AccountOf returns what BuildAccount makes the same claims from. It shares the
// lists and maps of the claims. Claims do not tell whether the account is the
// system account.
func AccountOf(c *jwt.AccountClaims) Account {
	a := Account{
		ID: c.Subject, Name: c.Name, Settings: c.Account, Revocations: c.Revocations,
		Audience: c.Audience, Expires: c.Expires, NotBefore: c.NotBefore,
	}
	a.Settings.SigningKeys, a.Settings.Revocations = nil, nil
	a.Settings.Type, a.Settings.Version = "", 0
	for _, id := range slices.Sorted(maps.Keys(c.SigningKeys)) {
		k := SigningKey{ID: id}
		switch s := c.SigningKeys[id].(type) {
		case *jwt.UserScope:
			k.Template = templateOf(*s)
		case jwt.UserScope:
			k.Template = templateOf(s)
		}
		a.Keys = append(a.Keys, k)
	}
	return a
}

func templateOf(s jwt.UserScope) *Template {
	return &Template{Name: s.Role, Description: s.Description, Permissions: s.Template}
}

// checkSigningKeys checks the keys and what a server never validates: the
// templates of scoped ones. A template that was read may lack a name.
func checkSigningKeys(keys []SigningKey) Problems {
	var out Problems
	seen := map[string]bool{}
	for i, k := range keys {
		at := Point("/signing_keys", i)
		out = append(out, CheckPublicKey(at, KindAccount, k.ID)...)
		if seen[k.ID] {
			out = append(out, blocking(at, "duplicate", "A signing key is listed once."))
		}
		seen[k.ID] = true
		if k.Template == nil {
			continue
		}
		if LooksLikeSeed(k.Template.Name) {
			out = append(out, seedIn(at+"/template/name")...)
		}
		out = append(out, CheckText(at+"/template/description", k.Template.Description, MaxTextLength)...)
		out = append(out, CheckPermissionLimits(k.Template.Permissions, true).At(at+"/template")...)
	}
	return out
}

// checkInfo checks a description and an information URL below pointer.
func checkInfo(pointer string, info jwt.Info) Problems {
	out := CheckText(pointer+"/description", info.Description, MaxTextLength)
	out.server(libraryRefuses(jwt.Info{Description: info.Description}.Validate))
	if s := info.InfoURL; s != "" {
		if u, err := url.Parse(s); err != nil || u.Scheme == "" || u.Hostname() == "" || u.User != nil || LooksLikeSeed(s) || len(s) > MaxTextLength {
			out = append(out, Problems{
				blocking(pointer+"/info_url", "invalid_url", "The information URL needs a scheme and a host, such as https://example.com/orders, and no credentials."),
			}.server(libraryRefuses(jwt.Info{InfoURL: s}.Validate))...)
		}
	}
	return out
}

// checkValidity checks the fields that all claims share.
func checkValidity(audience string, expires, notBefore int64) Problems {
	out := CheckText("/audience", audience, MaxTextLength)
	if expires < 0 { // the library passes it over, a server compares it with its clock
		out = append(out, refused("/expires_at", "out_of_range", "The end of validity is a time after 1970, or absent for never."))
	}
	if notBefore < 0 {
		out = append(out, blocking("/not_before", "out_of_range", "The start of validity is a time after 1970, or absent for at once."))
	}
	if expires > 0 && notBefore > expires {
		out = append(out, refused("/not_before", "never_valid", "The start of validity is after its end, so that these claims are never valid."))
	}
	return out
}

// checkTrace checks the message tracing of an account.
func checkTrace(trace *jwt.MsgTrace) Problems {
	if trace == nil {
		return nil
	}
	out := checkLiteral("/trace/destination", trace.Destination)
	if trace.Sampling < 0 || trace.Sampling > 100 {
		out = append(out, refused("/trace/sampling", "out_of_range", "Sampling is a percentage from 1 to 100; 0 means 100."))
	}
	return out
}

// checkSharedSubject checks a subject that may hold wildcards but nothing else.
func checkSharedSubject(pointer string, s jwt.Subject) Problems {
	return checkSubject(pointer, string(s), false, false).server(libraryRefuses(s.Validate))
}

// checkLiteral checks a subject that a server publishes to.
func checkLiteral(pointer string, s jwt.Subject) Problems {
	out := checkSharedSubject(pointer, s)
	if len(out) == 0 && s.HasWildCards() {
		out = append(out, refused(pointer, "invalid_subject", "A server publishes to this subject, so it must not hold wildcards."))
	}
	return out
}

var tierRE = regexp.MustCompile(`^R[1-9]$`)

func checkLimits(l jwt.OperatorLimits) Problems {
	var out Problems
	for _, x := range []struct {
		pointer string
		value   int64
	}{
		{"/limits/connections", l.Conn},
		{"/limits/leaf_connections", l.LeafNodeConn},
		{"/limits/subscriptions", l.Subs},
		{"/limits/data_bytes", l.Data},
		{"/limits/payload_bytes", l.Payload},
		{"/limits/imports", l.Imports},
		{"/limits/exports", l.Exports},
	} {
		out = append(out, checkLimit(x.pointer, x.value)...)
	}
	// A server takes these literally: less than none.
	out.refusedAt("/limits/connections", "/limits/subscriptions", "/limits/imports", "/limits/exports")
	out = append(out, checkJetStream("/jetstream", l.JetStreamLimits)...)
	for tier, t := range l.JetStreamTieredLimits {
		if !tierRE.MatchString(tier) {
			out = append(out, Problems{
				blocking("/jetstream/tiers", "invalid_tier", "A tier is named by its replica count: R1, R3 or R5."),
			}.server(tier == "")...)
			continue
		}
		out = append(out, checkJetStream(Point("/jetstream/tiers", tier), t)...)
	}
	if len(l.JetStreamTieredLimits) > 0 && l.JetStreamLimits != (jwt.JetStreamLimits{}) {
		out = append(out, blocking("/jetstream/tiers", "exclusive", "Tiers and flat JetStream limits exclude each other; use one of the two."))
	}
	return out
}

func checkJetStream(pointer string, l jwt.JetStreamLimits) Problems {
	var out Problems
	for _, x := range []struct {
		field string
		value int64
	}{
		{"memory_bytes", l.MemoryStorage},
		{"disk_bytes", l.DiskStorage},
		{"streams", l.Streams},
		{"consumers", l.Consumer},
		{"max_ack_pending", l.MaxAckPending},
		{"memory_max_stream_bytes", l.MemoryMaxStreamBytes},
		{"disk_max_stream_bytes", l.DiskMaxStreamBytes},
	} {
		out = append(out, checkLimit(Point(pointer, x.field), x.value)...)
	}
	return out
}

func checkLimit(pointer string, v int64) Problems {
	if v >= jwt.NoLimit {
		return nil
	}
	return Problems{blocking(pointer, "out_of_range", "A limit is -1 (unlimited), 0 (nothing) or more.")}
}
