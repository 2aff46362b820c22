package issuer_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

const aSeed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"

// attempt is a call that cannot be accepted and where its fault is.
type attempt struct {
	pointer string
	call    func(h *house, op issuer.Op) error
}

func attempts(t *testing.T, w world) map[string]attempt {
	ctx := t.Context()
	operator := func(edit func(*issuer.OperatorInput)) func(*house, issuer.Op) error {
		return func(h *house, op issuer.Op) error {
			in := issuer.OperatorInput{Name: "new"}
			edit(&in)
			return second(h.CreateOperator(ctx, op, in))
		}
	}
	account := func(edit func(*issuer.AccountInput)) func(*house, issuer.Op) error {
		return func(h *house, op issuer.Op) error {
			in := issuer.AccountInput{Name: "NEW", Settings: claims.NewAccountSettings()}
			edit(&in)
			return second(h.CreateAccount(ctx, op, in))
		}
	}
	update := func(ref string, edit func(*issuer.AccountEdit)) func(*house, issuer.Op) error {
		return func(h *house, op issuer.Op) error { return second(h.UpdateAccount(ctx, op, ref, edit)) }
	}
	template := func(edit func(*issuer.TemplateInput)) func(*house, issuer.Op) error {
		return func(h *house, op issuer.Op) error {
			in := deviceTemplate()
			in.Body.Name = "new"
			edit(&in)
			return second(h.CreateTemplate(ctx, op, "ORDERS", in))
		}
	}
	retemplate := func(edit func(*issuer.TemplateInput)) func(*house, issuer.Op) error {
		return func(h *house, op issuer.Op) error { return second(h.UpdateTemplate(ctx, op, "ORDERS", "device", edit)) }
	}
	user := func(edit func(*issuer.UserInput)) func(*house, issuer.Op) error {
		return func(h *house, op issuer.Op) error {
			in := issuer.UserInput{Name: "new", Template: "device", Tags: []string{"region:eu"}}
			edit(&in)
			return second(h.CreateUser(ctx, op, "ORDERS", in))
		}
	}
	issue := func(name string, in issuer.IssueInput) func(*house, issuer.Op) error {
		return func(h *house, op issuer.Op) error { return second(h.Issue(ctx, op, "ORDERS", name, in)) }
	}
	revoke := func(in issuer.RevokeInput) func(*house, issuer.Op) error {
		return func(h *house, op issuer.Op) error { return second(h.Revoke(ctx, op, "ORDERS", in)) }
	}
	token := func(in issuer.TokenInput) func(*house, issuer.Op) error {
		return func(h *house, op issuer.Op) error { return second(h.CreateToken(ctx, op, in)) }
	}
	export := func(edit func(*jwt.Export)) func(*house, issuer.Op) error {
		return func(h *house, op issuer.Op) error {
			e := jwt.Export{Subject: "a", Type: jwt.Stream}
			edit(&e)
			return second(h.CreateExport(ctx, op, "ORDERS", e))
		}
	}
	imported := func(edit func(*jwt.Import)) func(*house, issuer.Op) error {
		return func(h *house, op issuer.Op) error {
			m := jwt.Import{Subject: "a.*", Account: w.operator.Settings.SystemAccount, Type: jwt.Stream}
			edit(&m)
			return second(h.CreateImport(ctx, op, "ORDERS", m))
		}
	}
	shared := func(edit func(*issuer.ShareInput)) func(*house, issuer.Op) error {
		return func(h *house, op issuer.Op) error {
			in := issuer.ShareInput{Exporter: "ORDERS", Importer: issuer.SystemAccountName, Flows: []claims.Flow{{Kind: jwt.Stream, Subject: "a.>"}}}
			edit(&in)
			return second(h.Share(ctx, op, in))
		}
	}
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	return map[string]attempt{
		"operator without a name": {"/name", operator(func(in *issuer.OperatorInput) { in.Name = "" })},
		"operator with a seed":    {"/name", operator(func(in *issuer.OperatorInput) { in.Name = aSeed })},
		"operator's URL":          {"/service_urls/1", operator(func(in *issuer.OperatorInput) { in.ServiceURLs = []string{"nats://a", "ftp://b"} })},
		"operator's tag":          {"/tags/0", operator(func(in *issuer.OperatorInput) { in.Tags = []string{"a b"} })},
		"new URLs": {"/service_urls/0", func(h *house, op issuer.Op) error {
			return second(h.UpdateOperator(ctx, op, "acme", setURLs([]string{aSeed})))
		}},
		"account without a name":  {"/name", account(func(in *issuer.AccountInput) { in.Name = " " })},
		"account like a key":      {"/name", account(func(in *issuer.AccountInput) { in.Name = w.account.ID })},
		"account's limit":         {"/limits/connections", account(func(in *issuer.AccountInput) { in.Settings.Limits.Conn = -2 })},
		"account's tag":           {"/tags/1", account(func(in *issuer.AccountInput) { in.Settings.Tags = jwt.TagList{"a", "b:c.d"} })},
		"account's seed in small": {"/tags/0", account(func(in *issuer.AccountInput) { in.Settings.Tags = jwt.TagList{aSeed} })},
		"account's description":   {"/description", account(func(in *issuer.AccountInput) { in.Settings.Description = "the key is " + aSeed })},
		"account's permissions":   {"/default_permissions/subscribe/allow/0", account(func(in *issuer.AccountInput) { in.Settings.DefaultPermissions.Sub.Allow = jwt.StringList{"a..b"} })},
		"account's traffic":       {"/cluster_traffic", account(func(in *issuer.AccountInput) { in.Settings.ClusterTraffic = "x" })},
		"edit of a limit":         {"/limits/payload_bytes", update("ORDERS", func(s *issuer.AccountEdit) { s.Limits.Payload = -9 })},
		"edit of the trace":       {"/trace/destination", update("ORDERS", func(s *issuer.AccountEdit) { s.Trace = &jwt.MsgTrace{Destination: "a.*"} })},
		"edit of both kinds of limit": {"/jetstream/tiers", update("ORDERS", func(s *issuer.AccountEdit) {
			s.Limits.DiskStorage = 1
			s.Limits.JetStreamTieredLimits = jwt.JetStreamTieredLimits{"R1": {}}
		})},
		"streams of the system":    {"/jetstream/enabled", update(issuer.SystemAccountName, func(s *issuer.AccountEdit) { s.Limits.DiskStorage = -1 })},
		"export beyond 1 MiB":      {"", export(func(e *jwt.Export) { e.Name = strings.Repeat("x", 1<<20) })},
		"export's subject":         {"/subject", export(func(e *jwt.Export) { e.Subject = "a..b" })},
		"export's kind":            {"/kind", export(func(e *jwt.Export) { e.Type = jwt.Unknown })},
		"export's latency":         {"/latency_results", export(func(e *jwt.Export) { e.Latency = &jwt.ServiceLatency{Sampling: -1, Results: "lat"} })},
		"export's position":        {"/account_token_position", export(func(e *jwt.Export) { e.AccountTokenPosition = 9 })},
		"import of oneself":        {"/exporter", imported(func(m *jwt.Import) { m.Account = w.account.ID })},
		"import of nobody":         {"/exporter", imported(func(m *jwt.Import) { m.Account = "" })},
		"import of a broken key":   {"/exporter", imported(func(m *jwt.Import) { m.Account = "A" + strings.Repeat("B", 55) })},
		"import's token":           {"/token", imported(func(m *jwt.Import) { m.Token = "x" })},
		"import's local subject":   {"/local_subject", imported(func(m *jwt.Import) { m.LocalSubject = "a.$3" })},
		"share with oneself":       {"/importer", shared(func(in *issuer.ShareInput) { in.Importer = in.Exporter })},
		"share of nothing":         {"/subject", shared(func(in *issuer.ShareInput) { in.Flows = nil })},
		"share's access":           {"/access", shared(func(in *issuer.ShareInput) { in.Access = "x" })},
		"share's lifetime":         {"/ttl_seconds", shared(func(in *issuer.ShareInput) { in.TTL = -time.Second })},
		"share's position":         {"/account_token_position", shared(func(in *issuer.ShareInput) { in.Access = issuer.AccessTokenPosition })},
		"share's local subject":    {"/local_subject", shared(func(in *issuer.ShareInput) { in.Flows[0].LocalSubject = "b.$1" })},
		"template without a name":  {"/name", template(func(in *issuer.TemplateInput) { in.Body.Name = "" })},
		"template's subject":       {"/permissions/publish/allow/0", template(func(in *issuer.TemplateInput) { in.Body.Permissions.Pub.Allow = jwt.StringList{"a.{{nope()}}"} })},
		"template's queue":         {"/permissions/subscribe/allow/1", template(func(in *issuer.TemplateInput) { in.Body.Permissions.Sub.Allow = jwt.StringList{"a.{{name()}}", "b q"} })},
		"template's network":       {"/source_cidrs/0", template(func(in *issuer.TemplateInput) { in.Body.Permissions.Src = jwt.CIDRList{"10.0.0.0/40"} })},
		"template's lifetime":      {"/max_ttl_seconds", template(func(in *issuer.TemplateInput) { in.MaxTTL = -time.Second })},
		"template's half a second": {"/max_ttl_seconds", template(func(in *issuer.TemplateInput) { in.MaxTTL = time.Second / 2 })},
		"edit of a template":       {"/permissions/subscribe/deny/0", retemplate(func(in *issuer.TemplateInput) { in.Body.Permissions.Sub.Deny = jwt.StringList{"a."} })},
		"edit of its lifetime":     {"/max_ttl_seconds", retemplate(func(in *issuer.TemplateInput) { in.MaxTTL = 1 << 62 })},
		"user without a name":      {"/name", user(func(in *issuer.UserInput) { in.Name = "" })},
		"user called everybody":    {"/name", user(func(in *issuer.UserInput) { in.Name = "*" })},
		"user like an identity":    {"/name", user(func(in *issuer.UserInput) { in.Name = w.ada.ID })},
		"user not a token":         {"/name", user(func(in *issuer.UserInput) { in.Name = "a.*" })},
		"user that is everything":  {"/name", user(func(in *issuer.UserInput) { in.Name = ">" })},
		"user's tag":               {"/tags/0", user(func(in *issuer.UserInput) { in.Tags = []string{"region:>"} })},
		"user with neither":        {"/template", user(func(in *issuer.UserInput) { in.Template = "" })},
		"user with both":           {"/template", user(func(in *issuer.UserInput) { in.Permissions = ownPermissions() })},
		"user of no template":      {"/template", user(func(in *issuer.UserInput) { in.Template = "nothing" })},
		"user's permissions":       {"/permissions/publish/allow/0", user(func(in *issuer.UserInput) { *in = issuer.UserInput{Name: "x", Permissions: badPermissions()} })},
		"user's key":               {"/public_key", user(func(in *issuer.UserInput) { in.Issue = &issuer.IssueInput{PublicKey: "U123"} })},
		"user's lifetime":          {"/ttl_seconds", user(func(in *issuer.UserInput) { in.Issue = &issuer.IssueInput{TTL: 25 * time.Hour} })},
		"user too large": {"/permissions", user(func(in *issuer.UserInput) {
			*in = issuer.UserInput{Name: "x", Permissions: widePermissions(), Issue: &issuer.IssueInput{}}
		})},
		"key of an account":            {"/public_key", issue("d1", issuer.IssueInput{PublicKey: w.account.ID})},
		"seed for a key":               {"/public_key", issue("d1", issuer.IssueInput{PublicKey: aSeed})},
		"key with a line end":          {"/public_key", issue("d1", issuer.IssueInput{PublicKey: w.device.Issued.PublicKey + "\n"})},
		"key with a letter more":       {"/public_key", issue("d1", issuer.IssueInput{PublicKey: w.device.Issued.PublicKey + "A"})},
		"longer than the template":     {"/ttl_seconds", issue("d1", issuer.IssueInput{TTL: 24*time.Hour + time.Second})},
		"negative lifetime":            {"/ttl_seconds", issue("ada@example.com", issuer.IssueInput{TTL: -1})},
		"half a second":                {"/ttl_seconds", issue("ada@example.com", issuer.IssueInput{TTL: time.Second / 2})},
		"more than a century":          {"/ttl_seconds", issue("ada@example.com", issuer.IssueInput{TTL: 101 * 365 * 24 * time.Hour})},
		"delivered to a seed":          {"/delivered_to", issue("d1", issuer.IssueInput{DeliveredTo: aSeed})},
		"delivered to a NUL":           {"/delivered_to", issue("d1", issuer.IssueInput{DeliveredTo: "a\x00"})},
		"revoking a seed":              {"/subject", revoke(issuer.RevokeInput{Subject: aSeed})},
		"revoking an account's key":    {"/subject", revoke(issuer.RevokeInput{Subject: w.account.ID})},
		"revoking a broken key":        {"/subject", revoke(issuer.RevokeInput{Subject: "U" + strings.Repeat("A", 55)})},
		"revoking the future":          {"/before", revoke(issuer.RevokeInput{Subject: "d1", Before: now.Add(time.Second)})},
		"revoking before time began":   {"/before", revoke(issuer.RevokeInput{Subject: "d1", Before: time.Unix(-1, 0)})},
		"token without a name":         {"/name", token(issuer.TokenInput{Grants: issuer.Everything(issuer.RoleOwner), TTL: time.Hour})},
		"token without a role":         {"/grants", token(issuer.TokenInput{Name: "x", TTL: time.Hour})},
		"token of a role that is none": {"/grants/0/role", token(issuer.TokenInput{Name: "x", Grants: issuer.Everything("root"), TTL: time.Hour})},
		"token for ever":               {"/ttl_seconds", token(issuer.TokenInput{Name: "x", Grants: issuer.Everything(issuer.RoleOwner)})},
		"token for no time":            {"/ttl_seconds", token(issuer.TokenInput{Name: "x", Grants: issuer.Everything(issuer.RoleOwner), TTL: -time.Hour})},
		"revoking a token by a seed":   {"/name", func(h *house, op issuer.Op) error { return h.RevokeTokens(ctx, op, aSeed) }},
		"link for a seed":              {"/name", func(h *house, op issuer.Op) error { return second(h.SignInLink(ctx, op, aSeed)) }},
		"reason with a seed": {"/reason", func(h *house, op issuer.Op) error {
			op.Reason = "replaces " + aSeed
			return second(h.SignInLink(ctx, op, "ada"))
		}},
		"reason with a NUL": {"/reason", func(h *house, op issuer.Op) error { op.Reason = "\x00"; return second(h.SignInLink(ctx, op, "ada")) }},
		"reason of a novel": {"/reason", func(h *house, op issuer.Op) error {
			op.Reason = strings.Repeat("long ", 1000)
			return second(h.SignInLink(ctx, op, "ada"))
		}},
		"idempotency key with a seed": {"", func(h *house, op issuer.Op) error {
			op.IdempotencyKey = aSeed
			return second(h.SignInLink(ctx, op, "ada"))
		}},
	}
}

func badPermissions() *jwt.UserPermissionLimits {
	p := claims.NewPermissionLimits()
	p.Pub.Allow = jwt.StringList{"{{name()}}"}
	return &p
}

func widePermissions() *jwt.UserPermissionLimits {
	p := claims.NewPermissionLimits()
	for n := range 20 {
		p.Pub.Allow = append(p.Pub.Allow, fmt.Sprint(strings.Repeat("wide.", 40), n))
	}
	return &p
}

// What cannot be accepted is told with where the fault is, without the value, and changes nothing.
func TestInvalidInput(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		h.unchanged(t, func() {
			for name, a := range attempts(t, w) {
				e := wants(t, a.call(h, op()), issuer.KindInvalid)
				// A dry run finds the same.
				if dry := wants(t, a.call(h, dryRun()), issuer.KindInvalid); !cmp.Equal(dry.Problems, e.Problems) {
					t.Errorf("%s: a dry run says %+v, the change %+v", name, dry.Problems, e.Problems)
				}
				if len(e.Problems) != 1 || e.Problems[0].Pointer != a.pointer || !e.Problems[0].Blocking || e.Problems[0].Detail == "" {
					t.Errorf("%s: %+v, want one at %q", name, e.Problems, a.pointer)
				}
				if text := fmt.Sprint(e, e.Message, e.Hint, e.Problems); strings.Contains(strings.ToUpper(text), aSeed) {
					t.Errorf("%s: the seed comes back: %s", name, text)
				}
			}
		})
		if n := len(attempts(t, w)); n < 60 {
			t.Errorf("%d attempts", n)
		}
	})
}

// What is not there is told as such by every method, whatever the reference looks like.
func TestNotFound(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		h.unchanged(t, func() {
			for _, ref := range []string{"nothing", "", "a\x00b", "a\xff", aSeed, "'; --", "%", strings.Repeat("x", 10_000), w.account.ID[:30] + "AA" + w.account.ID[32:], w.account.ID + "\n", "*", ">", "../x"} {
				c, page, ledger := owner, issuer.Page{Limit: 5}, issuer.LedgerPage{Limit: 5}
				ctx := t.Context()
				for name, err := range map[string]error{
					"operator":             second(h.GetOperator(ctx, c, ref)),
					"operator's keys":      second(h.OperatorKeys(ctx, c, ref)),
					"configuration":        second(h.ServerConfig(ctx, c, ref, "https://x")),
					"operator's URLs":      second(h.UpdateOperator(ctx, op(), ref, setURLs(nil))),
					"system credential":    second(h.SystemCredential(ctx, op(), ref, "x")),
					"account":              second(h.GetAccount(ctx, c, ref)),
					"edit":                 second(h.UpdateAccount(ctx, op(), ref, func(*issuer.AccountEdit) {})),
					"template":             second(h.GetTemplate(ctx, c, "ORDERS", ref)),
					"template elsewhere":   second(h.GetTemplate(ctx, c, ref, "device")),
					"templates":            second(h.ListTemplates(ctx, c, ref, page)),
					"new template":         second(h.CreateTemplate(ctx, op(), ref, deviceTemplate())),
					"edit of a template":   second(h.UpdateTemplate(ctx, op(), "ORDERS", ref, func(*issuer.TemplateInput) {})),
					"user":                 second(h.GetUser(ctx, c, "ORDERS", ref)),
					"users":                second(h.ListUsers(ctx, c, ref, page)),
					"new user":             second(h.CreateUser(ctx, op(), ref, issuer.UserInput{Name: "x", Permissions: ownPermissions()})),
					"credentials":          second(h.ListCredentials(ctx, c, "ORDERS", ref, ledger)),
					"issue":                second(h.Issue(ctx, op(), "ORDERS", ref, issuer.IssueInput{})),
					"issue elsewhere":      second(h.Issue(ctx, op(), ref, "d1", issuer.IssueInput{})),
					"revocation":           second(h.GetRevocation(ctx, c, "ORDERS", ref)),
					"revocations":          second(h.ListRevocations(ctx, c, ref, issuer.RevocationQuery{LedgerPage: ledger})),
					"revocation elsewhere": second(h.Revoke(ctx, op(), ref, issuer.RevokeInput{Subject: "d1"})),
					"person":               errors401(second(h.Person(ctx, ref))),
				} {
					if e := issuer.AsError(err); err == nil || e.Kind != issuer.KindNotFound {
						t.Errorf("%s called %.60q: %v", name, ref, err)
					}
				}
				// Without an operator's name the only one is meant, and of accounts all are listed.
				if ref != "" {
					wants(t, second(h.CreateAccount(ctx, op(), issuer.AccountInput{Operator: ref, Name: "N", Settings: claims.NewAccountSettings()})), issuer.KindNotFound)
					wants(t, second(h.ListAccounts(ctx, c, ref, page)), issuer.KindNotFound)
				}
			}
		})
	})
}

// errors401 takes the answer to a session of nobody for what it is: there is no such person.
func errors401(err error) error {
	if e := issuer.AsError(err); e.Kind == issuer.KindUnauthenticated {
		return &issuer.Error{Kind: issuer.KindNotFound}
	}
	return err
}

// A template cannot come to use names while one of its users has a name that would widen it.
func TestTemplateWithUsersThatAreNoTokens(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		plain := deviceTemplate()
		plain.Body.Name, plain.Body.Permissions.Pub.Allow, plain.Body.Permissions.Sub.Allow = "plain", jwt.StringList{"a.>"}, nil
		did(h.CreateTemplate(t.Context(), op(), "ORDERS", plain)).well(t)
		users := []string{"ok", ">"}
		for _, name := range users {
			did(h.CreateUser(t.Context(), op(), "ORDERS", issuer.UserInput{Name: name, Template: "plain"})).well(t)
		}
		put := func(subject string) func(*issuer.TemplateInput) {
			return func(in *issuer.TemplateInput) { in.Body.Permissions.Sub.Allow = jwt.StringList{subject} }
		}
		h.unchanged(t, func() {
			e := wants(t, second(h.UpdateTemplate(t.Context(), op(), "ORDERS", "plain", put("app.{{name()}}"))), issuer.KindInvalid)
			if len(e.Problems) != 1 || e.Problems[0].Code != "not_a_token" {
				t.Errorf("%+v", e.Problems)
			}
		})
		did(h.UpdateTemplate(t.Context(), op(), "ORDERS", "plain", put("app.{{subject()}}"))).well(t)
		h.raw.Run(t, `UPDATE users SET name = 'fine' WHERE name = '>'`)
		did(h.UpdateTemplate(t.Context(), op(), "ORDERS", "plain", put("app.{{name()}}"))).well(t)
		// From here on every new user is checked, so no further edit needs to look.
		wants(t, second(h.CreateUser(t.Context(), op(), "ORDERS", issuer.UserInput{Name: "a.b", Template: "plain"})), issuer.KindInvalid)

		dotted := did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Name: "or.ders", Settings: claims.NewAccountSettings()})).well(t)
		did(h.CreateTemplate(t.Context(), op(), dotted.ID, plain)).well(t)
		wants(t, second(h.UpdateTemplate(t.Context(), op(), dotted.ID, "plain", put("{{account-name()}}.x"))), issuer.KindInvalid)
	})
}
