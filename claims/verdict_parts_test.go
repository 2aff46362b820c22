package claims_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

func exportVerdicts(t *testing.T, stream, service jwt.ExportType) map[string]verdict {
	latency := func(subject jwt.Subject, sampling jwt.SamplingRate) *jwt.ServiceLatency {
		return &jwt.ServiceLatency{Results: subject, Sampling: sampling}
	}
	both := func(exports ...*jwt.Export) func(*claims.Account) {
		return func(a *claims.Account) { a.Settings.Exports = exports }
	}
	allowing := func(n int64, wildcards bool) func(*claims.Account) {
		return func(a *claims.Account) {
			exported(jwt.Export{Subject: "a.*", Type: stream})(a)
			a.Settings.Limits.Exports, a.Settings.Limits.WildcardExports = n, wildcards
		}
	}
	return map[string]verdict{
		"every kind of export": {edit: both(
			&jwt.Export{Name: "all", Subject: "s.*.>", Type: stream, AccountTokenPosition: 2, Advertise: true, Revocations: jwt.RevocationList{newPair(t, claims.KindAccount).id: 5, "*": 3}},
			&jwt.Export{Subject: "r", Type: service, ResponseType: jwt.ResponseTypeSingleton, ResponseThreshold: time.Second, Latency: latency("lat", 5), TokenReq: true, AllowTrace: true},
			&jwt.Export{Subject: "q", Type: service, ResponseType: jwt.ResponseTypeChunked}, &jwt.Export{Subject: "h", Type: service, Latency: latency("lat", jwt.Headers)},
		)},
		"no export at all":                {both(nil), "/exports/0", "required", true, [2]string{`[null]`, `[null]`}},
		"an export of no kind":            {exported(jwt.Export{Subject: "a"}), "/exports/0/type", "unknown_value", true, [2]string{`"type":"stream"`, `"type":"bogus"`}},
		"latency of 101 percent":          {exported(jwt.Export{Subject: "a", Type: service, Latency: latency("b", 101)}), "/exports/0/latency/sampling", "out_of_range", true, [2]string{`"sampling":5`, `"sampling":101`}},
		"an export of a..b":               {exported(jwt.Export{Subject: "a..b", Type: stream}), "/exports/0/subject", "invalid_subject", true, [2]string{}},
		"an export of a*":                 {exported(jwt.Export{Subject: "a*", Type: stream}), "/exports/0/subject", "invalid_subject", true, [2]string{}},
		"an export of >.a":                {exported(jwt.Export{Subject: ">.a", Type: service}), "/exports/0/subject", "invalid_subject", true, [2]string{}},
		"an export with a bell":           {exported(jwt.Export{Name: "\a", Subject: "a", Type: stream}), "/exports/0/name", "invalid_text", true, [2]string{}},
		"an export's link":                {exported(jwt.Export{Subject: "a", Type: stream, Info: jwt.Info{InfoURL: "x"}}), "/exports/0/info_url", "invalid_url", true, [2]string{}},
		"a revocation of a user":          {exported(jwt.Export{Subject: "a", Type: stream, Revocations: jwt.RevocationList{newPair(t, claims.KindUser).id: 5}}), "/exports/0/revocations", "invalid_key", true, [2]string{}},
		"a stream with responses":         {exported(jwt.Export{Subject: "a", Type: stream, ResponseType: jwt.ResponseTypeStream}), "/exports/0/response_type", "not_allowed", true, [2]string{}},
		"a stream with a threshold":       {exported(jwt.Export{Subject: "a", Type: stream, ResponseThreshold: time.Second}), "/exports/0/response_threshold", "not_allowed", true, [2]string{}},
		"a stream with traces":            {exported(jwt.Export{Subject: "a", Type: stream, AllowTrace: true}), "/exports/0/allow_trace", "not_allowed", true, [2]string{}},
		"a stream with latency":           {exported(jwt.Export{Subject: "a", Type: stream, Latency: latency("b", 5)}), "/exports/0/latency", "not_allowed", true, [2]string{}},
		"a service of other responses":    {exported(jwt.Export{Subject: "a", Type: service, ResponseType: "singleton"}), "/exports/0/response_type", "unknown_value", true, [2]string{}},
		"a threshold below zero":          {exported(jwt.Export{Subject: "a", Type: service, ResponseThreshold: -1}), "/exports/0/response_threshold", "out_of_range", true, [2]string{}},
		"latency to many":                 {exported(jwt.Export{Subject: "a", Type: service, Latency: latency("b.>", 5)}), "/exports/0/latency/results", "invalid_subject", true, [2]string{}},
		"latency to nowhere":              {exported(jwt.Export{Subject: "a", Type: service, Latency: latency("", 5)}), "/exports/0/latency/results", "invalid_subject", true, [2]string{}},
		"latency to b*":                   {exported(jwt.Export{Subject: "a", Type: service, Latency: latency("b*", 5)}), "/exports/0/latency/results", "invalid_subject", true, [2]string{}},
		"latency of chunks":               {exported(jwt.Export{Subject: "a", Type: service, ResponseType: jwt.ResponseTypeChunked, Latency: latency("b", 5)}), "/exports/0/latency", "no_effect", false, [2]string{}},
		"a token position too far":        {exported(jwt.Export{Subject: "a.*", Type: stream, AccountTokenPosition: 3}), "/exports/0/account_token_position", "out_of_range", true, [2]string{}},
		"a token position at a word":      {exported(jwt.Export{Subject: "a.*", Type: stream, AccountTokenPosition: 1}), "/exports/0/account_token_position", "out_of_range", true, [2]string{}},
		"a token position without a *":    {exported(jwt.Export{Subject: "a.b", Type: stream, AccountTokenPosition: 1}), "/exports/0/account_token_position", "out_of_range", true, [2]string{}},
		"a token position and a token":    {exported(jwt.Export{Subject: "a.*", Type: stream, AccountTokenPosition: 2, TokenReq: true}), "/exports/0/token_required", "no_effect", false, [2]string{}},
		"an export within another":        {both(&jwt.Export{Subject: "a.>", Type: stream}, &jwt.Export{Subject: "a.b", Type: stream}), "/exports/1/subject", "overlap", true, [2]string{}},
		"an export twice":                 {both(&jwt.Export{Subject: "a", Type: service}, &jwt.Export{Subject: "a", Type: service}), "/exports/1/subject", "overlap", true, [2]string{}},
		"exports that meet":               {both(&jwt.Export{Subject: "a.*", Type: stream}, &jwt.Export{Subject: "*.b", Type: stream}), "/exports/1/subject", "overlap", false, [2]string{}},
		"a stream and a service":          {edit: both(&jwt.Export{Subject: "a", Type: stream}, &jwt.Export{Subject: "a", Type: service})},
		"more exports than allowed":       {allowing(0, true), "/exports", "too_many", true, [2]string{}},
		"a wildcard where counted":        {allowing(5, false), "/exports/0/subject", "not_allowed", true, [2]string{}},
		"a wildcard where not counted":    {allowing(-1, false), "/exports/0/subject", "not_allowed", true, [2]string{}},
		"as many exports, with wildcards": {edit: allowing(1, true)},
	}
}

func importVerdicts(second string, in, srv func(func(*jwt.Import)) *jwt.Import) map[string]verdict {
	local := func(subject jwt.Subject, s jwt.RenamingSubject) func(*jwt.Import) {
		return func(m *jwt.Import) { m.Subject, m.LocalSubject = subject, s }
	}
	to := func(subject, s jwt.Subject) func(*jwt.Import) {
		return func(m *jwt.Import) { m.Subject, m.To = subject, s } //nolint:staticcheck // what is deprecated is still read
	}
	few := func(a *claims.Account) { imported(in(func(*jwt.Import) {}))(a); a.Settings.Limits.Imports = 0 }
	long := jwt.RenamingSubject(strings.Repeat("x", 1025))
	return map[string]verdict{
		"imports": {edit: imported(
			in(local("x.*.*", "y.$2.$1")), in(local("y.*.>", "z.*.>")), in(local("z", "w")), srv(local("x.*.*", "lx.$2.$1")), srv(local("y.*", "ly.*")), srv(func(m *jwt.Import) { m.Subject, m.Share = "zz", true }),
			in(func(m *jwt.Import) { m.Subject, m.AllowTrace = "t", true }),
		)},
		"an import of no kind":            {imported(in(func(m *jwt.Import) { m.Type = 0 })), "/imports/0/type", "unknown_value", true, [2]string{`"type":"stream"`, `"type":"bogus"`}},
		"no import at all":                {imported(nil), "/imports/0", "required", true, [2]string{`[null]`, `[null]`}},
		"more imports than allowed":       {few, "/imports", "too_many", true, [2]string{}},
		"an import of a..b":               {imported(in(func(m *jwt.Import) { m.Subject = "a..b" })), "/imports/0/subject", "invalid_subject", true, [2]string{}},
		"an import of *a":                 {imported(in(func(m *jwt.Import) { m.Subject = "*a" })), "/imports/0/subject", "invalid_subject", true, [2]string{}},
		"an import from nobody":           {imported(in(func(m *jwt.Import) { m.Account = "" })), "/imports/0/account", "invalid_key", true, [2]string{}},
		"an import from no account":       {imported(in(func(m *jwt.Import) { m.Account = "ada" })), "/imports/0/account", "invalid_key", true, [2]string{}},
		"an import from oneself":          {func(a *claims.Account) { imported(in(func(m *jwt.Import) { m.Account = a.ID }))(a) }, "/imports/0/account", "not_allowed", true, [2]string{}},
		"an import with a bell":           {imported(in(func(m *jwt.Import) { m.Name = "\a" })), "/imports/0/name", "invalid_text", true, [2]string{}},
		"a service with traces":           {imported(srv(func(m *jwt.Import) { m.AllowTrace = true })), "/imports/0/allow_trace", "not_allowed", true, [2]string{}},
		"a stream that shares":            {imported(in(func(m *jwt.Import) { m.Share = true })), "/imports/0/share", "not_allowed", true, [2]string{}},
		"a field to":                      {imported(in(to("a", "b"))), "/imports/0/to", "deprecated", false, [2]string{}},
		"a field to of a service":         {imported(srv(to("a.*", "b.*"))), "/imports/0/to", "deprecated", false, [2]string{}},
		"a local subject of a..b":         {imported(in(local("a", "b..c"))), "/imports/0/local_subject", "invalid_subject", true, [2]string{}},
		"a local wildcard too many":       {imported(in(local("a.*", "b.*.*"))), "/imports/0/local_subject", "invalid_subject", true, [2]string{}},
		"a local wildcard missing":        {imported(in(local("a.*", "b"))), "/imports/0/local_subject", "invalid_subject", true, [2]string{}},
		"a local $2 of one":               {imported(srv(local("a.*", "b.$2"))), "/imports/0/local_subject", "invalid_subject", true, [2]string{}},
		"a local > missing":               {imported(in(local("a.>", "b"))), "/imports/0/local_subject", "invalid_subject", true, [2]string{}},
		"a local $1 twice":                {imported(in(local("a.*.*", "b.$1.$1"))), "", "", false, [2]string{}},
		"a local b*":                      {imported(in(local("a", "b*"))), "/imports/0/local_subject", "invalid_subject", true, [2]string{}},
		"a local seed":                    {imported(in(local("a", jwt.RenamingSubject(aSeed)))), "/imports/0/local_subject", "seed_not_accepted", true, [2]string{}},
		"a local subject too long":        {imported(in(local("a", long))), "/imports/0/local_subject", "too_long", true, [2]string{}},
		"a stream twice":                  {imported(in(local("a", "b")), in(local("a", "c"))), "/imports/1/subject", "duplicate", true, [2]string{}},
		"a service twice":                 {imported(srv(local("a", "b")), srv(local("c", "b"))), "/imports/1/local_subject", "overlap", true, [2]string{}},
		"a service within another":        {imported(srv(local("a.>", "l.>")), srv(local("c", "l.x"))), "/imports/1/local_subject", "overlap", true, [2]string{}},
		"services of two that meet":       {imported(srv(local("a.*", "l.*")), srv(func(m *jwt.Import) { local("c", "l.x")(m); m.Account = second })), "/imports/1/local_subject", "overlap", false, [2]string{}},
		"a local subject with a function": {imported(in(local("a.*", "b.{{wildcard(1)}}"))), "/imports/0/local_subject", "invalid_subject", true, [2]string{}},
	}
}

// templateVerdicts are problems of the template of key 1, which no server validates before a user comes.
func templateVerdicts() map[string]verdict {
	pub := func(subjects ...string) func(*jwt.UserPermissionLimits) {
		return func(p *jwt.UserPermissionLimits) { p.Pub.Allow = subjects }
	}
	deny := func(subjects ...string) func(*jwt.UserPermissionLimits) {
		return func(p *jwt.UserPermissionLimits) { p.Sub.Deny = subjects }
	}
	times := func(zone string, ranges ...jwt.TimeRange) func(*jwt.UserPermissionLimits) {
		return func(p *jwt.UserPermissionLimits) { p.Times, p.Locale = ranges, zone }
	}
	always := []jwt.TimeRange{{Start: "00:00:00", End: "12:00:00"}, {Start: "12:00:00", End: "00:00:00"}}
	const at = "/signing_keys/1/template"
	out := map[string]verdict{
		"a name": {func(a *claims.Account) {
			scopedTo(pub("a"))(a)
			a.Keys[1].Template.Name = "SUAIO3FHUX5PNV2LQIIP7TZ3N4L7TX3W53MQGEIVYFIGA635OZCKEYHFLM"
		}, at + "/name", "seed_not_accepted", true, [2]string{}},
		"a description":                   {func(a *claims.Account) { scopedTo(pub("a"))(a); a.Keys[1].Template.Description = "\a" }, at + "/description", "invalid_text", true, [2]string{}},
		"a subject":                       {scopedTo(pub("a..b")), at + "/permissions/publish/allow/0", "invalid_subject", true, [2]string{}},
		"an unknown function":             {scopedTo(pub("a.{{nope()}}")), at + "/permissions/publish/allow/0", "unknown_function", true, [2]string{}},
		"a function in capitals":          {scopedTo(pub("a.{{TAG(x)}}")), at + "/permissions/publish/allow/0", "unknown_function", true, [2]string{}},
		"a function in capitals, denied":  {scopedTo(deny("a.{{TAG(x)}}")), at + "/permissions/subscribe/deny/0", "unknown_function", true, [2]string{}},
		"braces":                          {scopedTo(pub("a.{{}}")), at + "/permissions/publish/allow/0", "unknown_function", true, [2]string{}},
		"a subject beside a function":     {scopedTo(pub("{{name()}}", "a..b")), at + "/permissions/publish/allow/1", "invalid_subject", true, [2]string{}},
		"a denied subject":                {scopedTo(deny("a..b")), at + "/permissions/subscribe/deny/0", "invalid_subject", true, [2]string{}},
		"a denied one beside a function":  {scopedTo(deny("{{name()}}", "a..b")), at + "/permissions/subscribe/deny/1", "invalid_subject", true, [2]string{}},
		"a denied a* beside a function":   {scopedTo(deny("{{name()}}", "a*")), at + "/permissions/subscribe/deny/1", "invalid_subject", true, [2]string{}},
		"a queue beside a function":       {scopedTo(func(p *jwt.UserPermissionLimits) { p.Sub.Allow = jwt.StringList{"{{name()}}", "a q"} }), at + "/permissions/subscribe/allow/1", "invalid_subject", true, [2]string{}},
		"a denied queue and a function":   {scopedTo(deny("{{name()}}", "a q")), at + "/permissions/subscribe/deny/1", "invalid_subject", true, [2]string{}},
		"a network first":                 {scopedTo(func(p *jwt.UserPermissionLimits) { p.Src = jwt.CIDRList{"x", "127.0.0.0/8"} }), at + "/source_cidrs/0", "invalid_cidr", true, [2]string{}},
		"a network last":                  {scopedTo(func(p *jwt.UserPermissionLimits) { p.Src = jwt.CIDRList{"127.0.0.0/8", "x"} }), at + "/source_cidrs/1", "invalid_cidr", true, [2]string{}},
		"a network with host bits":        {scopedTo(func(p *jwt.UserPermissionLimits) { p.Src = jwt.CIDRList{"127.0.0.1/8"} }), at + "/source_cidrs/0", "host_bits", false, [2]string{}},
		"a time":                          {scopedTo(times("", append(always[:2:2], jwt.TimeRange{Start: "x", End: "12:00:00"})...)), at + "/times/2", "invalid_time", true, [2]string{}},
		"an empty time":                   {scopedTo(times("", jwt.TimeRange{Start: "12:00:00", End: "12:00:00"})), at + "/times/0", "invalid_time", true, [2]string{}},
		"an empty time and others":        {scopedTo(times("", append(always[:2:2], jwt.TimeRange{Start: "12:00:00", End: "12:00:00"})...)), at + "/times/2", "invalid_time", true, [2]string{}},
		"a zone":                          {scopedTo(times("Mars/Olympus", always...)), at + "/times_location", "invalid_time_zone", true, [2]string{}},
		"a zone without times":            {scopedTo(times("Mars/Olympus")), at + "/times_location", "invalid_time_zone", true, [2]string{}},
		"a local zone":                    {scopedTo(times("Local", always...)), at + "/times_location", "invalid_time_zone", true, [2]string{}},
		"an unknown connection type":      {scopedTo(func(p *jwt.UserPermissionLimits) { p.AllowedConnectionTypes = jwt.StringList{"PIGEON"} }), at + "/connection_types/0", "unknown_value", true, [2]string{}},
		"one connection type of two":      {scopedTo(func(p *jwt.UserPermissionLimits) { p.AllowedConnectionTypes = jwt.StringList{"PIGEON", "STANDARD"} }), at + "/connection_types/0", "unknown_value", true, [2]string{}},
		"a connection type in small":      {scopedTo(func(p *jwt.UserPermissionLimits) { p.AllowedConnectionTypes = jwt.StringList{"standard"} }), at + "/connection_types/0", "unknown_value", true, [2]string{}},
		"a limit below -1":                {scopedTo(func(p *jwt.UserPermissionLimits) { p.Subs = -2 }), at + "/limits/subscriptions", "out_of_range", true, [2]string{}},
		"a limit of nothing":              {scopedTo(func(p *jwt.UserPermissionLimits) { p.Payload = 0 }), at + "/limits/payload_bytes", "out_of_range", true, [2]string{}},
		"a limit that is rounded":         {scopedTo(func(p *jwt.UserPermissionLimits) { p.Subs = 1<<53 + 1 }), at + "/limits/subscriptions", "out_of_range", true, [2]string{}},
		"a limit that cannot be read":     {scopedTo(func(p *jwt.UserPermissionLimits) { p.Data = math.MaxInt64 }), at + "/limits/data_bytes", "out_of_range", true, [2]string{}},
		"responses below -1":              {scopedTo(func(p *jwt.UserPermissionLimits) { p.Resp = &jwt.ResponsePermission{MaxMsgs: -2} }), at + "/permissions/responses/max", "out_of_range", true, [2]string{}},
		"a time of responses below zero":  {scopedTo(func(p *jwt.UserPermissionLimits) { p.Resp = &jwt.ResponsePermission{Expires: -1} }), at + "/permissions/responses/ttl_seconds", "out_of_range", true, [2]string{}},
		"a time of responses too precise": {scopedTo(func(p *jwt.UserPermissionLimits) { p.Resp = &jwt.ResponsePermission{Expires: 1<<60 + 1} }), at + "/permissions/responses/ttl_seconds", "out_of_range", true, [2]string{}},
	}
	named := map[string]verdict{}
	for name, v := range out {
		named["a template's "+name] = v
	}
	return named
}
