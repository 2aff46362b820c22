package claims

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/jwt/v2"
)

func (d *describer) account(c *jwt.AccountClaims) {
	d.section("Account")
	d.text("Description", c.Description)
	d.text("Information", c.InfoURL)
	switch c.ClusterTraffic {
	case "":
	case jwt.ClusterTrafficOwner:
		d.line("Cluster traffic", string(c.ClusterTraffic), "JetStream replicates over connections of the account itself")
	default:
		d.line("Cluster traffic", string(c.ClusterTraffic), "")
	}
	if t := c.Trace; t != nil {
		d.line("Message trace", "to "+string(t.Destination), strconv.Itoa(cmp.Or(t.Sampling, 100))+" % of the sampled messages")
	}
	d.accountLimits(c.Limits)
	d.jetStream("JetStream", c.Limits)
	d.defaults(c.DefaultPermissions)
	d.signingKeys(c.SigningKeys)
	for _, e := range c.Exports {
		d.export(e)
	}
	for _, i := range c.Imports {
		d.imported(i)
	}
	d.mappings(c.Mappings)
	d.callout(c.Authorization)
	d.section("Revoked users")
	d.revocations("Revoked", c.Revocations)
}

func (d *describer) accountLimits(l jwt.OperatorLimits) {
	d.section("Limits")
	d.count("Connections", l.Conn)
	d.count("Leaf node connections", l.LeafNodeConn)
	d.natsLimits(l.NatsLimits)
	d.count("Imports", l.Imports)
	d.count("Exports", l.Exports)
	d.line("Wildcards in exports", yesNo(l.WildcardExports), "")
	d.line("Bearer tokens", map[bool]string{true: "refused", false: "allowed"}[l.DisallowBearer], "")
}

// natsLimits are an account's, a user's or a template's.
func (d *describer) natsLimits(l jwt.NatsLimits) {
	d.count("Subscriptions", l.Subs)
	d.size("Payload", l.Payload, "")
	d.size("Data", l.Data, "no nats-server enforces it")
}

func (d *describer) jetStream(title string, l jwt.OperatorLimits) {
	d.section(title)
	if !l.IsJSEnabled() {
		d.line("JetStream", "off", "neither memory nor disk is allowed")
	}
	if l.JetStreamLimits != (jwt.JetStreamLimits{}) {
		d.jetStreamLimits(l.JetStreamLimits)
	}
	for _, tier := range slices.Sorted(maps.Keys(l.JetStreamTieredLimits)) {
		d.section(title + ", tier " + tier)
		d.jetStreamLimits(l.JetStreamTieredLimits[tier])
	}
}

func (d *describer) jetStreamLimits(l jwt.JetStreamLimits) {
	d.size("Memory", l.MemoryStorage, "")
	d.size("Disk", l.DiskStorage, "")
	d.line("Streams", unlessSet(count)(l.Streams), "")
	d.line("Consumers", unlessSet(count)(l.Consumer), "")
	d.line("Pending acknowledgements", unlessSet(count)(l.MaxAckPending), "of a consumer")
	d.line("Largest stream in memory", unlessSet(size)(l.MemoryMaxStreamBytes), "")
	d.line("Largest stream on disk", unlessSet(size)(l.DiskMaxStreamBytes), "")
	d.flag("Streams must have a size", l.MaxBytesRequired, "")
}

func (d *describer) defaults(p jwt.Permissions) {
	d.section("Default permissions")
	if isEmpty(p) {
		d.line("For users without their own", "everything", "")
		return
	}
	d.permissions(p)
}

func (d *describer) signingKeys(keys jwt.SigningKeys) {
	d.section("Signing keys")
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if scopeOf(keys[k]) == nil {
			d.line("Plain", k, "users have their own permissions")
		}
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		s := scopeOf(keys[k])
		if s == nil {
			continue
		}
		d.section("Template " + cmp.Or(s.Role, ShortKey(k)))
		d.line("Signing key", s.Key, s.Kind.String())
		d.text("Description", s.Description)
		d.permissionLimits(s.Template)
	}
}

func (d *describer) export(e *jwt.Export) {
	if e == nil {
		return
	}
	d.section("Export " + cmp.Or(e.Name, string(e.Subject)))
	d.line("Subject", string(e.Subject), e.Type.String())
	note := "every account may import it"
	if e.TokenReq {
		note = "importing takes an activation token"
	} else if e.AccountTokenPosition > 0 {
		note = "only the account that the subject names may import it"
	}
	d.line("Private", yesNo(e.TokenReq), note)
	if e.AccountTokenPosition > 0 {
		d.line("Account in the subject", "token "+number(e.AccountTokenPosition), "it is the importing account's public key")
	}
	d.text("Response", string(e.ResponseType))
	d.text("Response within", duration(e.ResponseThreshold))
	if e.Latency != nil {
		d.line("Latency", "to "+string(e.Latency.Results), "sampled: "+sampling(e.Latency))
	}
	d.flag("Advertised", e.Advertise, "")
	d.flag("Message trace allowed", e.AllowTrace, "")
	d.text("Description", e.Description)
	d.text("Information", e.InfoURL)
	d.revocations("Activation revoked", e.Revocations)
}

func (d *describer) imported(i *jwt.Import) {
	if i == nil {
		return
	}
	d.section("Import " + cmp.Or(i.Name, string(i.Subject)))
	d.line("Subject", string(i.Subject), i.Type.String())
	d.line("From the account", i.Account, "")
	d.text("Here as", string(i.LocalSubject))
	if to := i.GetTo(); to != "" {
		d.line("Here as", to, "in the deprecated field to")
	}
	if i.Token != "" {
		d.line("Activation token", "given", d.activation(i.Token))
	}
	d.flag("Shares who asks", i.Share, "latency samples name the connection")
	d.flag("Message trace allowed", i.AllowTrace, "")
}

// activation says of the token of an import when it ends.
func (d *describer) activation(token string) string {
	c, err := jwt.DecodeActivationClaims(token)
	switch {
	case err != nil:
		return "it cannot be read here"
	case c.Expires == 0:
		return "it does not expire"
	case d.at.Unix() > c.Expires:
		return "it expired " + moment(c.Expires)
	}
	return "it expires " + moment(c.Expires)
}

func (d *describer) mappings(m jwt.Mapping) {
	d.section("Subject mappings")
	for _, from := range slices.Sorted(maps.Keys(m)) {
		for _, to := range m[from] {
			note := percent(int(to.GetWeight()))
			if to.Cluster != "" {
				note += " in the cluster " + to.Cluster
			}
			d.line(string(from), "to "+string(to.Subject), note)
		}
	}
}

func (d *describer) callout(a jwt.ExternalAuthorization) {
	d.section("Auth callout")
	for _, u := range a.AuthUsers {
		d.line("Answered by the user", u, "")
	}
	for _, id := range a.AllowedAccounts {
		if id == jwt.AnyAccount {
			id = "every account"
		}
		d.line("May place users in", id, "")
	}
	d.text("Encrypted for", a.XKey)
}

func (d *describer) calloutRequest(c *jwt.AuthorizationRequestClaims) {
	d.section("Server")
	s := c.Server
	d.text("Name", s.Name)
	d.text("Host", s.Host)
	d.text("ID", s.ID)
	d.text("Version", s.Version)
	d.text("Cluster", s.Cluster)
	d.list("Tags", s.Tags)
	d.text("Encryption key", s.XKey)
	d.section("Client")
	i := c.ClientInformation
	d.line("Key for this attempt", c.UserNkey, "the answer is to be for it")
	d.text("Host", i.Host)
	if i.ID > 0 {
		d.line("Connection", strconv.FormatUint(i.ID, 10), "")
	}
	d.text("User", i.User)
	d.text("Name", i.Name)
	d.list("Tags", i.Tags)
	d.text("Name tag", i.NameTag)
	d.text("Kind", i.Kind)
	d.text("Type", i.Type)
	d.text("MQTT client", i.MQTT)
	d.text("Nonce", i.Nonce)
	d.text("Request nonce", c.RequestNonce)
	d.section("What the client sent")
	o := c.ConnectOptions
	d.secret("JWT", o.JWT)
	d.text("Key", o.Nkey)
	d.secret("Signature", o.SignedNonce)
	d.secret("Token", o.Token)
	d.text("User name", o.Username)
	d.secret("Password", o.Password)
	d.text("Client name", o.Name)
	d.text("Language", o.Lang)
	d.text("Client version", o.Version)
	d.line("Protocol", strconv.Itoa(o.Protocol), "")
	if t := c.TLS; t != nil {
		d.section("TLS")
		d.line("Version", cmp.Or(t.Version, "not told"), "")
		d.text("Cipher", t.Cipher)
		d.list("Certificates", fingerprints(t.Certs))
		for _, chain := range t.VerifiedChains {
			d.line("Verified chain", strings.Join(fingerprints(chain), " signed by "), "")
		}
	}
}

// fingerprints are SHA-256 over certificates, as openssl shows them but without colons.
func fingerprints(certs []string) []string {
	out := make([]string, len(certs))
	for i, c := range certs {
		der := []byte(c)
		if block, _ := pem.Decode(der); block != nil {
			der = block.Bytes
		}
		sum := sha256.Sum256(der)
		out[i] = "SHA-256 " + hex.EncodeToString(sum[:])
	}
	return out
}
