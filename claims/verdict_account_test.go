package claims_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

func accountVerdicts(t *testing.T) map[string]verdict {
	other, foreign := newPair(t, claims.KindAccount).id, newPair(t, claims.KindAccount)
	user := newPair(t, claims.KindUser).id
	xkey := curveKey(t)
	stream, service := jwt.ExportType(jwt.Stream), jwt.ExportType(jwt.Service)
	in := func(edit func(*jwt.Import)) *jwt.Import {
		m := jwt.Import{Subject: "a.*", Account: other, Type: stream}
		edit(&m)
		return &m
	}
	srv := func(edit func(*jwt.Import)) *jwt.Import {
		return in(func(m *jwt.Import) { m.Type = service; edit(m) })
	}
	activation := func(edit func(*claims.Activation)) string {
		a := claims.Activation{Account: other, Exporter: other, Subject: "a.*", Kind: stream}
		edit(&a)
		return sign(t, checked(t)(claims.BuildActivation(a)), foreign, time.Now().Unix()).Token
	}
	withToken := func(edit func(*claims.Activation)) func(*claims.Account) {
		return func(a *claims.Account) {
			token := activation(func(x *claims.Activation) { x.Account = a.ID; edit(x) })
			imported(in(func(m *jwt.Import) { m.Token = token }))(a)
		}
	}
	settings := func(edit func(*jwt.Account)) func(*claims.Account) {
		return func(a *claims.Account) { edit(&a.Settings) }
	}
	limits := func(edit func(*jwt.OperatorLimits)) func(*claims.Account) {
		return func(a *claims.Account) { edit(&a.Settings.Limits) }
	}
	long := strings.Repeat("x", claims.MaxTextLength+1)
	half := jwt.WeightedMapping{Subject: "b", Weight: 50}
	out := map[string]verdict{
		"nothing":                      {edit: func(*claims.Account) {}},
		"a name":                       {func(a *claims.Account) { a.Name = "a/b" }, "/name", "invalid_name", true, [2]string{}},
		"a tag":                        {settings(func(s *jwt.Account) { s.Tags = jwt.TagList{"a b"} }), "/tags/0", "invalid_tag", true, [2]string{}},
		"a control character in aud":   {func(a *claims.Account) { a.Audience = "a\x01" }, "/audience", "invalid_text", true, [2]string{}},
		"an end before 1970":           {func(a *claims.Account) { a.Expires = -5 }, "/expires_at", "out_of_range", true, [2]string{}},
		"a start before 1970":          {func(a *claims.Account) { a.NotBefore = -5 }, "/not_before", "out_of_range", true, [2]string{}},
		"a start after the end":        {func(a *claims.Account) { a.Expires, a.NotBefore = 4_000_000_000, 4_000_000_001 }, "/not_before", "never_valid", true, [2]string{}},
		"connections":                  {limits(func(l *jwt.OperatorLimits) { l.Conn = -2 }), "/limits/connections", "out_of_range", true, [2]string{}},
		"leaf connections":             {limits(func(l *jwt.OperatorLimits) { l.LeafNodeConn = -2 }), "/limits/leaf_connections", "out_of_range", true, [2]string{}},
		"subscriptions":                {limits(func(l *jwt.OperatorLimits) { l.Subs = -2 }), "/limits/subscriptions", "out_of_range", true, [2]string{}},
		"data":                         {limits(func(l *jwt.OperatorLimits) { l.Data = -2 }), "/limits/data_bytes", "out_of_range", true, [2]string{}},
		"payload":                      {limits(func(l *jwt.OperatorLimits) { l.Payload = -2 }), "/limits/payload_bytes", "out_of_range", true, [2]string{}},
		"imports":                      {limits(func(l *jwt.OperatorLimits) { l.Imports = -2 }), "/limits/imports", "out_of_range", true, [2]string{}},
		"exports":                      {limits(func(l *jwt.OperatorLimits) { l.Exports = -2 }), "/limits/exports", "out_of_range", true, [2]string{}},
		"jetstream disk":               {limits(func(l *jwt.OperatorLimits) { l.DiskStorage = -2 }), "/jetstream/disk_bytes", "out_of_range", true, [2]string{}},
		"a tier of ten":                {tiers(jwt.JetStreamTieredLimits{"R10": {DiskStorage: 1}}), "/jetstream/tiers", "invalid_tier", true, [2]string{}},
		"a tier without a name":        {tiers(jwt.JetStreamTieredLimits{"": {DiskStorage: 1}}), "/jetstream/tiers", "invalid_tier", true, [2]string{}},
		"a tier's limit":               {tiers(jwt.JetStreamTieredLimits{"R1": {DiskStorage: -2}}), "/jetstream/tiers/R1/disk_bytes", "out_of_range", true, [2]string{}},
		"tiers and flat limits":        {func(a *claims.Account) { tiers(jwt.JetStreamTieredLimits{"R1": {}})(a); a.Settings.Limits.Streams = 1 }, "/jetstream/tiers", "exclusive", true, [2]string{}},
		"a long description":           {settings(func(s *jwt.Account) { s.Description = long }), "/description", "too_long", true, [2]string{}},
		"a bell in the description":    {settings(func(s *jwt.Account) { s.Description = "\a" }), "/description", "invalid_text", true, [2]string{}},
		"a link without a scheme":      {settings(func(s *jwt.Account) { s.InfoURL = "example.com" }), "/info_url", "invalid_url", true, [2]string{}},
		"a link with a password":       {settings(func(s *jwt.Account) { s.InfoURL = "https://u:p@example.com" }), "/info_url", "invalid_url", true, [2]string{}},
		"a default subject":            {settings(func(s *jwt.Account) { s.DefaultPermissions.Pub.Allow = jwt.StringList{"a..b"} }), "/default_permissions/publish/allow/0", "invalid_subject", true, [2]string{}},
		"a default wildcard in a word": {settings(func(s *jwt.Account) { s.DefaultPermissions.Pub.Allow = jwt.StringList{"a*"} }), "/default_permissions/publish/allow/0", "invalid_subject", true, [2]string{}},
		"a default queue to publish":   {settings(func(s *jwt.Account) { s.DefaultPermissions.Pub.Allow = jwt.StringList{"a q"} }), "/default_permissions/publish/allow/0", "invalid_subject", true, [2]string{}},
		"a default function":           {settings(func(s *jwt.Account) { s.DefaultPermissions.Sub.Deny = jwt.StringList{"{{name()}}"} }), "/default_permissions/subscribe/deny/0", "invalid_subject", true, [2]string{}},
		"a default response":           {settings(func(s *jwt.Account) { s.DefaultPermissions.Resp = &jwt.ResponsePermission{MaxMsgs: -2} }), "/default_permissions/responses/max", "out_of_range", true, [2]string{}},
		"a signing key of an operator": {func(a *claims.Account) {
			a.Keys = append(a.Keys, claims.SigningKey{ID: newPair(t, claims.KindOperator).id})
		}, "/signing_keys/2", "invalid_key", true, [2]string{}},
		"a signing key that is a seed":    {func(a *claims.Account) { a.Keys = append(a.Keys, claims.SigningKey{ID: aSeed}) }, "/signing_keys/2", "seed_not_accepted", true, [2]string{}},
		"a signing key twice":             {func(a *claims.Account) { a.Keys = append(a.Keys, a.Keys[0]) }, "/signing_keys/2", "duplicate", true, [2]string{}},
		"a revocation of nobody":          {func(a *claims.Account) { a.Revocations = map[string]int64{"ada": 1} }, "/revocations", "invalid_key", true, [2]string{}},
		"a revocation before 1970":        {func(a *claims.Account) { a.Revocations = map[string]int64{user: -1} }, "/revocations", "out_of_range", true, [2]string{}},
		"a trace to many":                 {settings(func(s *jwt.Account) { s.Trace = &jwt.MsgTrace{Destination: "a.*"} }), "/trace/destination", "invalid_subject", true, [2]string{}},
		"a trace to nowhere":              {settings(func(s *jwt.Account) { s.Trace = &jwt.MsgTrace{} }), "/trace/destination", "invalid_subject", true, [2]string{}},
		"a trace to a*":                   {settings(func(s *jwt.Account) { s.Trace = &jwt.MsgTrace{Destination: "a*"} }), "/trace/destination", "invalid_subject", true, [2]string{}},
		"a trace of 101 percent":          {settings(func(s *jwt.Account) { s.Trace = &jwt.MsgTrace{Destination: "a", Sampling: 101} }), "/trace/sampling", "out_of_range", true, [2]string{}},
		"cluster traffic":                 {settings(func(s *jwt.Account) { s.ClusterTraffic = "owners" }), "/cluster_traffic", "unknown_value", true, [2]string{}},
		"callout accounts without users":  {settings(func(s *jwt.Account) { s.Authorization.AllowedAccounts = jwt.StringList{"*"} }), "/authorization/auth_users", "required", true, [2]string{}},
		"a callout user that is none":     {settings(func(s *jwt.Account) { s.Authorization.AuthUsers = jwt.StringList{user, "*"} }), "/authorization/auth_users/1", "invalid_key", true, [2]string{}},
		"a callout account that is none":  {settings(func(s *jwt.Account) { s.Authorization = callout(user, "ada") }), "/authorization/allowed_accounts/0", "invalid_key", true, [2]string{}},
		"a callout to all and one":        {settings(func(s *jwt.Account) { s.Authorization = callout(user, "*", other) }), "/authorization/allowed_accounts", "exclusive", true, [2]string{}},
		"an xkey without callout":         {settings(func(s *jwt.Account) { s.Authorization.XKey = xkey }), "/authorization/xkey", "no_effect", false, [2]string{}},
		"an xkey of an account":           {settings(func(s *jwt.Account) { s.Authorization = callout(user); s.Authorization.XKey = other }), "/authorization/xkey", "invalid_key", true, [2]string{}},
		"an xkey that is a seed":          {settings(func(s *jwt.Account) { s.Authorization = callout(user); s.Authorization.XKey = aSeed }), "/authorization/xkey", "seed_not_accepted", true, [2]string{}},
		"a mapping of a..b":               {mapped("a..b", half), "/mappings/0/source", "invalid_subject", true, [2]string{}},
		"a mapping of a*":                 {mapped("a*", half), "/mappings/0/source", "invalid_subject", true, [2]string{}},
		"a mapping to a..b":               {mapped("a", jwt.WeightedMapping{Subject: "a..b"}), "/mappings/0/destinations/0/subject", "invalid_destination", true, [2]string{}},
		"a mapping to nothing":            {mapped("a", jwt.WeightedMapping{}), "/mappings/0/destinations/0/subject", "invalid_destination", true, [2]string{}},
		"a mapping to a wildcard":         {mapped("a.*", jwt.WeightedMapping{Subject: "b.*"}), "/mappings/0/destinations/0/subject", "invalid_destination", true, [2]string{}},
		"a mapping to $2 of one":          {mapped("a.*", jwt.WeightedMapping{Subject: "b.$2"}), "/mappings/0/destinations/0/subject", "invalid_destination", true, [2]string{}},
		"a mapping by a function of none": {mapped("a.*", jwt.WeightedMapping{Subject: "b.{{reverse(1)}}"}), "/mappings/0/destinations/0/subject", "invalid_destination", true, [2]string{}},
		"a mapping with a blank":          {mapped("a.*", jwt.WeightedMapping{Subject: "b.{{wildcard( 1 )}}"}), "/mappings/0/destinations/0/subject", "invalid_destination", true, [2]string{}},
		"a mapping twice to one":          {mapped("a", half, jwt.WeightedMapping{Subject: "b", Weight: 50, Cluster: "east"}), "/mappings/0/destinations/1/subject", "duplicate", true, [2]string{}},
		"a mapping of 200 percent":        {mapped("a", jwt.WeightedMapping{Subject: "b"}, jwt.WeightedMapping{Subject: "c"}), "/mappings/0/destinations", "too_heavy", true, [2]string{}},
		"a mapping too heavy in one":      {mapped("a", jwt.WeightedMapping{Subject: "b", Cluster: "x", Weight: 60}, jwt.WeightedMapping{Subject: "c", Cluster: "x", Weight: 60}), "/mappings/0/destinations", "too_heavy", true, [2]string{}},
		"a mapping that is a seed":        {mapped("a", jwt.WeightedMapping{Subject: aSeed}), "/mappings/0/destinations/0/subject", "seed_not_accepted", true, [2]string{}},
		"a mapping that is long":          {mapped("a", jwt.WeightedMapping{Subject: jwt.Subject(strings.Repeat("x", 1025))}), "/mappings/0/destinations/0/subject", "too_long", true, [2]string{}},
		"a mapping to a bell":             {mapped("a", jwt.WeightedMapping{Subject: "b", Cluster: "\a"}), "/mappings/0/destinations/0/cluster", "invalid_text", true, [2]string{}},
	}
	maps.Copy(out, exportVerdicts(t, stream, service))
	maps.Copy(out, importVerdicts(newPair(t, claims.KindAccount).id, in, srv))
	maps.Copy(out, templateVerdicts())
	maps.Copy(out, map[string]verdict{
		"a token of somebody else":  {withToken(func(x *claims.Activation) { x.Exporter = newPair(t, claims.KindAccount).id }), "/imports/0/token", "token_wrong_issuer", true, [2]string{}},
		"a token for somebody else": {withToken(func(x *claims.Activation) { x.Account = newPair(t, claims.KindAccount).id }), "/imports/0/token", "token_wrong_account", true, [2]string{}},
		"a token of the other kind": {withToken(func(x *claims.Activation) { x.Kind = service }), "/imports/0/token", "token_wrong_kind", true, [2]string{}},
		"a token for less":          {withToken(func(x *claims.Activation) { x.Subject = "a.b" }), "/imports/0/token", "token_wrong_subject", true, [2]string{}},
		"a token that is none":      {imported(in(func(m *jwt.Import) { m.Token = "x.y.z" })), "/imports/0/token", "invalid_token", true, [2]string{}},
		"a token that is a seed":    {imported(in(func(m *jwt.Import) { m.Token = aSeed })), "/imports/0/token", "seed_not_accepted", true, [2]string{}},
		"a token that has expired":  {withToken(func(x *claims.Activation) { x.Expires = 1 }), "", "", false, [2]string{}},
		"a token for more":          {withToken(func(x *claims.Activation) { x.Subject = ">" }), "", "", false, [2]string{}},
	})
	return out
}

func callout(user string, accounts ...string) jwt.ExternalAuthorization {
	return jwt.ExternalAuthorization{AuthUsers: jwt.StringList{user}, AllowedAccounts: accounts}
}
