package claims_test

import (
	"math"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// limited is permission limits after an edit.
func limited(edit func(*jwt.UserPermissionLimits)) jwt.UserPermissionLimits {
	p := claims.NewPermissionLimits()
	edit(&p)
	return p
}

func TestSourceNetworks(t *testing.T) {
	t.Parallel()
	accepted := []string{
		"0.0.0.0/0", "::/0", "10.0.0.0/8", "10.0.0.1/8", "192.168.1.7/32", "127.0.0.0/8", "2001:db8::/32", "2001:DB8::1/128", "::1/128", "fe80::/10", "1.2.3.4/0",
	}
	refused := []string{
		"", "/", "/8", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "10.0.0.0/+8", "10.0.0.0/8 ", " 10.0.0.0/8", "10.0.0.0/8,10.1.0.0/16", "10.0.0/8", "10/8",
		"127.1/8", "010.0.0.0/8", "0x0a.0.0.0/8", "10.0.0.256/8", "10.0.0.0.0/8", "2001:db8::/129", "2001:db8:::/32", "fe80::1%eth0/64", "::g/8", "example.com/8", "localhost", "*", "all",
		"10.0.0.0/255.0.0.0", "10.0.0.0\\8", "10.0.0.0/8\n", "１０.0.0.0/8", "10.0.0.0/８",
	}
	for _, s := range append(slices.Clone(accepted), refused...) {
		want := slices.Contains(accepted, s)
		problems := claims.CheckPermissionLimits(limited(func(p *jwt.UserPermissionLimits) { p.Src = jwt.CIDRList{"10.0.0.0/8", s} }), false)
		if want && problems.Blocking() || !want && (len(problems) != 1 || problems[0].Pointer != "/source_cidrs/1") {
			t.Errorf("%q: %+v", s, problems)
		}
		// A network that a server cannot read locks its user out.
		if _, _, err := net.ParseCIDR(s); want && err != nil {
			t.Errorf("a server cannot read %q: %v", s, err)
		}
	}
}

func TestConnectHours(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		start, end, zone string
		pointer          string
	}{
		"office hours":      {"09:00:00", "17:30:00", "", ""},
		"over midnight":     {"22:00:00", "06:00:00", "Europe/Berlin", ""},
		"the whole day":     {"00:00:00", "23:59:59", "UTC", ""},
		"a zone with a gap": {"02:30:00", "02:31:00", "America/New_York", ""},
		"no such hour":      {"25:00:00", "26:00:00", "", "/times/0"},
		"24 o'clock":        {"00:00:00", "24:00:00", "", "/times/0"},
		"61 minutes":        {"10:61:00", "11:00:00", "", "/times/0"},
		"a leap second":     {"23:59:60", "00:00:00", "", "/times/0"},
		"no seconds":        {"10:00", "11:00", "", "/times/0"},
		"a date":            {"2026-01-01T10:00:00Z", "11:00:00", "", "/times/0"},
		"negative":          {"-1:00:00", "11:00:00", "", "/times/0"},
		"a blank":           {" 10:00:00", "11:00:00", "", "/times/0"},
		"nothing":           {"", "", "", "/times/0"},
		"no end":            {"10:00:00", "", "", "/times/0"},
		"no time at all":    {"10:00:00", "10:00:00", "", "/times/0"},
		"no such zone":      {"10:00:00", "11:00:00", "Mars/Olympus", "/times_location"},
		"a path":            {"10:00:00", "11:00:00", "../../etc/passwd", "/times_location"},
		"an absolute path":  {"10:00:00", "11:00:00", "/etc/localtime", "/times_location"},
		"the server's zone": {"10:00:00", "11:00:00", "Local", "/times_location"},
		"a blank zone":      {"10:00:00", "11:00:00", " ", "/times_location"},
		"an offset":         {"10:00:00", "11:00:00", "+02:00", "/times_location"},
	} {
		p := limited(func(p *jwt.UserPermissionLimits) {
			p.Times, p.Locale = []jwt.TimeRange{{Start: c.start, End: c.end}}, c.zone
		})
		problems := claims.CheckPermissionLimits(p, false)
		if c.pointer == "" && len(problems) == 0 || len(problems) == 1 && problems[0].Pointer == c.pointer && problems[0].Blocking {
			continue
		}
		t.Errorf("%s: %+v, want one at %q", name, problems, c.pointer)
	}
}

func TestUserLimits(t *testing.T) {
	t.Parallel()
	many := slices.Repeat(jwt.StringList{"a"}, claims.MaxSubjects+1)
	for name, c := range map[string]struct {
		edit    func(*jwt.UserPermissionLimits)
		pointer string
	}{
		"unlimited":             {func(*jwt.UserPermissionLimits) {}, ""},
		"zero":                  {func(p *jwt.UserPermissionLimits) { p.Subs, p.Data, p.Payload = 0, 0, 0 }, ""},
		"the largest":           {func(p *jwt.UserPermissionLimits) { p.Subs = math.MaxInt64 }, ""},
		"subscriptions -2":      {func(p *jwt.UserPermissionLimits) { p.Subs = -2 }, "/limits/subscriptions"},
		"the smallest data":     {func(p *jwt.UserPermissionLimits) { p.Data = math.MinInt64 }, "/limits/data_bytes"},
		"payload -2":            {func(p *jwt.UserPermissionLimits) { p.Payload = -2 }, "/limits/payload_bytes"},
		"every connection type": {func(p *jwt.UserPermissionLimits) { p.AllowedConnectionTypes = connectionTypes() }, ""},
		"a type in small":       {func(p *jwt.UserPermissionLimits) { p.AllowedConnectionTypes = jwt.StringList{"standard"} }, "/connection_types/0"},
		"an unknown type":       {func(p *jwt.UserPermissionLimits) { p.AllowedConnectionTypes = jwt.StringList{"MQTT", "CARRIER_PIGEON"} }, "/connection_types/1"},
		"an empty type":         {func(p *jwt.UserPermissionLimits) { p.AllowedConnectionTypes = jwt.StringList{""} }, "/connection_types/0"},
		"any responses":         {func(p *jwt.UserPermissionLimits) { p.Resp = &jwt.ResponsePermission{MaxMsgs: -1, Expires: time.Hour} }, ""},
		"responses -2":          {func(p *jwt.UserPermissionLimits) { p.Resp = &jwt.ResponsePermission{MaxMsgs: -2} }, "/permissions/responses/max"},
		"a negative time":       {func(p *jwt.UserPermissionLimits) { p.Resp = &jwt.ResponsePermission{Expires: -1} }, "/permissions/responses/ttl_seconds"},
		"as many subjects":      {func(p *jwt.UserPermissionLimits) { p.Pub.Allow = many[1:] }, ""},
		"too many to publish":   {func(p *jwt.UserPermissionLimits) { p.Pub.Allow = many }, "/permissions/publish/allow"},
		"too many to subscribe": {func(p *jwt.UserPermissionLimits) { p.Sub.Deny = many }, "/permissions/subscribe/deny"},
		"a bad publish deny":    {func(p *jwt.UserPermissionLimits) { p.Pub.Deny = jwt.StringList{"a", "a..b"} }, "/permissions/publish/deny/1"},
		"a queue to publish":    {func(p *jwt.UserPermissionLimits) { p.Pub.Allow = jwt.StringList{"a q"} }, "/permissions/publish/allow/0"},
		"a queue to subscribe":  {func(p *jwt.UserPermissionLimits) { p.Sub.Allow = jwt.StringList{"a q"} }, ""},
		"a function":            {func(p *jwt.UserPermissionLimits) { p.Sub.Allow = jwt.StringList{"{{name()}}"} }, "/permissions/subscribe/allow/0"},
	} {
		problems := claims.CheckPermissionLimits(limited(c.edit), false)
		if c.pointer == "" && len(problems) == 0 || len(problems) == 1 && problems[0].Pointer == c.pointer && problems[0].Blocking {
			continue
		}
		t.Errorf("%s: %+v, want one at %q", name, problems, c.pointer)
	}
}

func connectionTypes() jwt.StringList {
	return jwt.StringList{"STANDARD", "WEBSOCKET", "LEAFNODE", "LEAFNODE_WS", "MQTT", "MQTT_WS", "IN_PROCESS"}
}

func TestAccountLimits(t *testing.T) {
	t.Parallel()
	type account = claims.Account
	for name, c := range map[string]struct {
		edit    func(*account)
		pointer string
	}{
		"a new account":            {func(*account) {}, ""},
		"nothing allowed":          {func(a *account) { a.Settings.Limits = jwt.OperatorLimits{} }, ""},
		"the largest":              {func(a *account) { a.Settings.Limits.Conn = math.MaxInt64 }, ""},
		"connections":              {func(a *account) { a.Settings.Limits.Conn = -2 }, "/limits/connections"},
		"leaf nodes":               {func(a *account) { a.Settings.Limits.LeafNodeConn = math.MinInt64 }, "/limits/leaf_connections"},
		"subscriptions":            {func(a *account) { a.Settings.Limits.Subs = -2 }, "/limits/subscriptions"},
		"data":                     {func(a *account) { a.Settings.Limits.Data = -2 }, "/limits/data_bytes"},
		"payload":                  {func(a *account) { a.Settings.Limits.Payload = -2 }, "/limits/payload_bytes"},
		"imports":                  {func(a *account) { a.Settings.Limits.Imports = -2 }, "/limits/imports"},
		"exports":                  {func(a *account) { a.Settings.Limits.Exports = -2 }, "/limits/exports"},
		"jetstream":                {func(a *account) { a.Settings.Limits.DiskStorage = -1 }, ""},
		"jetstream memory":         {func(a *account) { a.Settings.Limits.MemoryStorage = -2 }, "/jetstream/memory_bytes"},
		"jetstream disk":           {func(a *account) { a.Settings.Limits.DiskStorage = -2 }, "/jetstream/disk_bytes"},
		"streams":                  {func(a *account) { a.Settings.Limits.Streams = -2 }, "/jetstream/streams"},
		"consumers":                {func(a *account) { a.Settings.Limits.Consumer = -2 }, "/jetstream/consumers"},
		"ack pending":              {func(a *account) { a.Settings.Limits.MaxAckPending = -2 }, "/jetstream/max_ack_pending"},
		"stream bytes in memory":   {func(a *account) { a.Settings.Limits.MemoryMaxStreamBytes = -2 }, "/jetstream/memory_max_stream_bytes"},
		"stream bytes on disk":     {func(a *account) { a.Settings.Limits.DiskMaxStreamBytes = -2 }, "/jetstream/disk_max_stream_bytes"},
		"tiers":                    {tiers(jwt.JetStreamTieredLimits{"R1": {DiskStorage: 1}, "R3": {DiskStorage: -1}}), ""},
		"a limit in a tier":        {tiers(jwt.JetStreamTieredLimits{"R3": {Streams: -2}}), "/jetstream/tiers/R3/streams"},
		"a tier of no name":        {tiers(jwt.JetStreamTieredLimits{"": {DiskStorage: 1}}), "/jetstream/tiers"},
		"a tier of ten":            {tiers(jwt.JetStreamTieredLimits{"R10": {DiskStorage: 1}}), "/jetstream/tiers"},
		"tiers and flat limits":    {func(a *account) { tiers(jwt.JetStreamTieredLimits{"R1": {}})(a); a.Settings.Limits.Streams = 1 }, "/jetstream/tiers"},
		"jetstream for the system": {func(a *account) { a.System = true; a.Settings.Limits.MemoryStorage = 1 }, "/jetstream/enabled"},
		"tiers for the system":     {func(a *account) { a.System = true; tiers(jwt.JetStreamTieredLimits{"R1": {DiskStorage: 1}})(a) }, "/jetstream/enabled"},
		"default permissions":      {func(a *account) { a.Settings.DefaultPermissions.Pub.Allow = jwt.StringList{"a..b"} }, "/default_permissions/publish/allow/0"},
		"a default function":       {func(a *account) { a.Settings.DefaultPermissions.Sub.Deny = jwt.StringList{"{{name()}}"} }, "/default_permissions/subscribe/deny/0"},
		"a link":                   {func(a *account) { a.Settings.InfoURL = "https://example.com/x?y=z" }, ""},
		"a link without a scheme":  {func(a *account) { a.Settings.InfoURL = "example.com" }, "/info_url"},
		"a link with a password":   {func(a *account) { a.Settings.InfoURL = "https://u:p@example.com" }, "/info_url"},
		"a broken link":            {func(a *account) { a.Settings.InfoURL = "http://[::1" }, "/info_url"},
		"a long description":       {func(a *account) { a.Settings.Description = string(make([]byte, 8193)) }, "/description"},
		"a key of another kind":    {func(a *account) { a.Keys = []claims.SigningKey{{ID: newPair(t, claims.KindOperator).id}} }, "/signing_keys/0"},
		"a revocation of nobody":   {func(a *account) { a.Revocations = map[string]int64{"ada": 1} }, "/revocations"},
		"a revocation of all":      {func(a *account) { a.Revocations = map[string]int64{"*": 1} }, ""},
	} {
		a := account{ID: newPair(t, claims.KindAccount).id, Name: "a", Settings: claims.NewAccountSettings()}
		c.edit(&a)
		problems := claims.CheckAccount(a)
		if c.pointer == "" && len(problems) == 0 || len(problems) == 1 && problems[0].Pointer == c.pointer && problems[0].Blocking {
			if _, built := claims.BuildAccount(a); built.Blocking() != problems.Blocking() {
				t.Errorf("%s: built with %+v", name, built)
			}
			continue
		}
		t.Errorf("%s: %+v, want one at %q", name, problems, c.pointer)
	}
}

func tiers(l jwt.JetStreamTieredLimits) func(*claims.Account) {
	return func(a *claims.Account) { a.Settings.Limits.JetStreamTieredLimits = l }
}

func TestOperatorSettings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit    func(*claims.Operator)
		pointer string
	}{
		"all set":                      {func(*claims.Operator) {}, ""},
		"a web socket":                 {func(o *claims.Operator) { o.Settings.OperatorServiceURLs = jwt.StringList{"wss://a:443", "ws://a"} }, ""},
		"a URL of HTTP":                {func(o *claims.Operator) { o.Settings.OperatorServiceURLs = jwt.StringList{"nats://a", "http://a"} }, "/service_urls/1"},
		"a URL with a password":        {func(o *claims.Operator) { o.Settings.OperatorServiceURLs = jwt.StringList{"nats://u:p@a"} }, "/service_urls/0"},
		"a URL with a path":            {func(o *claims.Operator) { o.Settings.OperatorServiceURLs = jwt.StringList{"nats://a/b"} }, "/service_urls/0"},
		"an empty URL":                 {func(o *claims.Operator) { o.Settings.OperatorServiceURLs = jwt.StringList{""} }, "/service_urls/0"},
		"a URL that holds a seed":      {func(o *claims.Operator) { o.Settings.OperatorServiceURLs = jwt.StringList{"nats://" + aSeed} }, "/service_urls/0"},
		"a system account that is not": {func(o *claims.Operator) { o.Settings.SystemAccount = o.ID }, "/system_account"},
		"a resolver without a scheme":  {func(o *claims.Operator) { o.Settings.AccountServerURL = "example.com/jwt" }, "/account_server_url"},
		"a version that is none":       {func(o *claims.Operator) { o.Settings.AssertServerVersion = "2.x.1" }, "/assert_server_version"},
		"a signing key of an account":  {func(o *claims.Operator) { o.SigningKeys = []string{newPair(t, claims.KindAccount).id} }, "/signing_keys/0"},
		"a tag":                        {func(o *claims.Operator) { o.Settings.Tags = jwt.TagList{"a", "b c"} }, "/tags/1"},
	} {
		o := anOperator(t)
		c.edit(&o)
		problems := claims.CheckOperator(o)
		if c.pointer == "" && len(problems) == 0 || len(problems) == 1 && problems[0].Pointer == c.pointer && problems[0].Blocking {
			continue
		}
		t.Errorf("%s: %+v, want one at %q", name, problems, c.pointer)
	}
}
