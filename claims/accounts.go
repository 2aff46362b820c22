package claims

import (
	"maps"
	"net/url"
	"regexp"

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
	// Expires is Unix seconds, 0 for never.
	Expires int64
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
	c.Expires = a.Expires
	c.Account = a.Settings
	c.Account.Tags = NormalizeTags(a.Settings.Tags)
	if a.Settings.Trace != nil {
		trace := *a.Settings.Trace // the library's check fills in the sampling
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
	c.Revocations = jwt.RevocationList{}
	maps.Copy(c.Revocations, a.Revocations)
	return finish(c, problems)
}

// CheckAccount returns every problem of what an account JWT would be built from.
func CheckAccount(a Account) Problems {
	problems := CheckName("/name", a.Name)
	problems = append(problems, CheckTags("/tags", a.Settings.Tags)...)
	problems = append(problems, checkLimits(a.Settings.Limits)...)
	if a.System && a.Settings.Limits.IsJSEnabled() {
		problems = append(problems, blocking("/jetstream/enabled", "not_allowed",
			"JetStream is not allowed on the system account. Create a separate account for streams."))
	}
	if a.System && a.Settings.Limits.Conn == 0 {
		problems = append(problems, blocking("/limits/connections", "would_lock_out",
			"Without connections on the system account Chancery could not reach the servers any more."))
	}
	problems = append(problems, CheckText("/description", a.Settings.Description, MaxTextLength)...)
	problems = append(problems, checkInfoURL(a.Settings.InfoURL)...)
	problems = append(problems, checkPermissions("/default_permissions", a.Settings.DefaultPermissions, false)...)
	for i, k := range a.Keys {
		problems = append(problems, CheckPublicKey(Point("/signing_keys", i), KindAccount, k.ID)...)
	}
	for subject := range a.Revocations {
		if subject != jwt.All && !IsPublicKey(KindUser, subject) {
			problems = append(problems, blocking("/revocations", "invalid_key", "What is revoked is the public key of a user, or * for everybody."))
		}
	}
	return problems
}

func checkInfoURL(s string) Problems {
	if s == "" {
		return nil
	}
	if u, err := url.Parse(s); err != nil || u.Scheme == "" || u.Hostname() == "" || u.User != nil || LooksLikeSeed(s) || len(s) > MaxTextLength {
		return Problems{blocking("/info_url", "invalid_url", "The information URL needs a scheme and a host, such as https://example.com/orders, and no credentials.")}
	}
	return nil
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
	out = append(out, checkJetStream("/jetstream", l.JetStreamLimits)...)
	for tier, t := range l.JetStreamTieredLimits {
		if !tierRE.MatchString(tier) {
			out = append(out, blocking("/jetstream/tiers", "invalid_tier", "A tier is named by its replica count: R1, R3 or R5."))
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
