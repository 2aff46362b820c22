package main

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/api"
	"chancery/claims"
	"chancery/issuer"
)

// pair is two accounts and a client in each, on servers of their own.
type pair struct {
	*plant
	t                  *testing.T
	exporter, importer string
	from, to           *session
	// kind, subject and local are of what is shared: literal subjects, to be published and received.
	kind, subject, local string
	sent                 atomic.Int64
	checks               int
}

func (p *plant) newPair(t *testing.T, name, kind, subject, local string) *pair {
	x := &pair{plant: p, t: t, exporter: "FROM-" + name, importer: "TO-" + name, kind: kind, subject: subject, local: local}
	for _, account := range []string{x.exporter, x.importer} {
		x.do("POST", "/accounts", fmt.Sprintf(`{"name":%q}`, account), nil)
		x.do("POST", "/accounts/"+account+"/users", `{"name":"u","permissions":{"publish":{"allow":[">"]},"subscribe":{"allow":[">"]}}}`, nil)
	}
	x.connect()
	return x
}

// connect gives both accounts a client with new credentials.
func (x *pair) connect() {
	x.t.Helper()
	x.from, x.to = x.client(x.exporter, x.running()[0]), x.client(x.importer, x.running()[len(x.running())-1])
	if x.kind == "service" {
		_, err := x.from.Subscribe(x.subject, func(m *nats.Msg) { _ = m.Respond(m.Data) })
		must(x.t, err)
		must(x.t, x.from.Flush())
	}
}

func (x *pair) client(account string, s *server.Server) *session {
	x.t.Helper()
	var c issued
	x.do("POST", "/accounts/"+account+"/users/u/credentials", "{}", &c)
	path := filepath.Join(x.t.TempDir(), "u.creds")
	must(x.t, writeSecret(path, claims.NewSecret(c.Creds)))
	nc, err := connect(s, path)
	must(x.t, err)
	x.t.Cleanup(nc.Close)
	return nc
}

// do uses the API and waits until a change is in effect on every server.
func (x *pair) do(method, path, body string, answer any) {
	x.t.Helper()
	must(x.t, callAPI(x.t.Context(), x.app.cfg.publicURL, x.token, request{method, path, body, "wait=20"}, answer))
}

// refused wants the API to refuse, and to name the code.
func (x *pair) refused(method, path, body, code string) {
	x.t.Helper()
	err := callAPI(x.t.Context(), x.app.cfg.publicURL, x.token, request{method, path, body, ""}, nil)
	if x.checks++; err == nil || !strings.Contains(err.Error(), `"`+code+`"`) {
		x.t.Errorf("%s %s: %v, want %s", method, path, err, code)
	}
}

// share shares the pair's subject with more fields of the request.
func (x *pair) share(more string) api.SharedPair {
	x.t.Helper()
	var out api.Shared
	x.do("POST", "/shares", fmt.Sprintf(`{"exporter":%q,"importer":%q,"kind":%q%s}`, x.exporter, x.importer, x.kind, more), &out)
	return out.Shares[0]
}

func (x *pair) export(p api.SharedPair) string {
	return "/accounts/" + x.exporter + "/exports/" + p.Export.ID
}
func (x *pair) imported(id string) string { return "/accounts/" + x.importer + "/imports/" + id }

// crosses tells whether a message, or a request and its answer, gets through now.
func (x *pair) crosses() bool {
	x.t.Helper()
	text := fmt.Sprint(x.sent.Add(1))
	const soon = 250 * time.Millisecond
	if x.kind == "service" {
		m, err := x.to.Request(x.local, []byte(text), soon)
		return err == nil && string(m.Data) == text
	}
	sub, err := x.to.SubscribeSync(x.local)
	must(x.t, err)
	defer func() { _ = sub.Unsubscribe() }()
	must(x.t, x.to.Flush())
	for late := time.Now().Add(soon); time.Now().Before(late); { // interest takes a moment to get to the other server
		if err := x.from.Publish(x.subject, []byte(text)); err != nil {
			return false // its connection is closed
		}
		_ = x.from.Flush()
		if m, err := sub.NextMsg(25 * time.Millisecond); err == nil && string(m.Data) == text {
			return true
		}
	}
	return false
}

// expect wants messages to cross or not, and the graph to say so and why; without a state there is no edge.
func (x *pair) expect(crosses bool, state, code string) {
	x.t.Helper()
	x.checks++
	var got api.Import
	poll(x.t, 20*time.Millisecond, time.Minute, fmt.Sprintf("crosses: %v, graph: %s %s", crosses, state, code), func() bool {
		if x.crosses() != crosses {
			return false
		}
		got = x.edge()
		problem := ""
		if got.Problem != nil {
			problem = got.Problem.Code
		}
		return got.State == state && problem == code
	})
	if p := got.Problem; p != nil && (p.Detail == "" || p.Fix == "") {
		x.t.Errorf("%+v says not enough", *p)
	}
	if !crosses && x.crosses() {
		x.t.Error("a message crossed after all")
	}
}

// crossesWhileItLasts wants messages to cross, and the graph to say so, before the token of a pair expires. Where the
// machine is too busy to show it in the few seconds of the token, one that lasts longer takes its place.
func (x *pair) crossesWhileItLasts(p api.SharedPair) {
	x.t.Helper()
	x.checks++
	for seconds := 12; ; seconds *= 3 {
		good := false
		poll(x.t, 20*time.Millisecond, 2*time.Minute, "crosses, or is expired", func() bool {
			crosses, got := x.crosses(), x.edge()
			good = crosses && got.State == "in_effect" && got.Problem == nil
			return good || got.Problem != nil && got.Problem.Code == "token_expired"
		})
		if good {
			return
		}
		if seconds > 120 {
			x.t.Fatal("expired before anything crossed, again and again")
		}
		x.do("POST", x.imported(p.Import.ID)+"/renewal", fmt.Sprintf(`{"ttl_seconds":%d}`, seconds), nil)
	}
}

// edge returns the only edge of the importer, as the operator's graph has it.
func (x *pair) edge() api.Import {
	x.t.Helper()
	for cursor := ""; ; {
		var g api.SharingGraph
		x.do("GET", "/operators/acme/sharing-graph?limit=50&cursor="+url.QueryEscape(cursor), "", &g)
		for _, e := range g.Edges {
			if e.Importer.Name == x.importer {
				return e
			}
		}
		if cursor = g.NextCursor; cursor == "" {
			return api.Import{}
		}
	}
}

// sharingCases is what is shared how, what happens to it, and what clients experience at each step.
var sharingCases = []struct {
	name, kind, subject, local string
	run                        func(x *pair)
}{
	{"public stream, import deleted", "stream", "news.eu", "in.news.eu", func(x *pair) {
		p := x.share(`,"subject":"news.>","local_subject":"in.news.>","access":"public"`)
		x.expect(true, "in_effect", "")
		x.do("DELETE", x.imported(p.Import.ID), "", nil)
		x.expect(false, "", "")
	}},
	{"public service, export deleted", "service", "ask.price", "prices", func(x *pair) {
		p := x.share(`,"subject":"ask.price","local_subject":"prices","access":"public"`)
		x.expect(true, "in_effect", "")
		x.do("DELETE", x.export(p), "", nil)
		x.expect(false, "broken", "no_export")
		x.share(`,"subject":"ask.price","local_subject":"prices","access":"public"`)
		x.expect(true, "in_effect", "")
	}},
	{"private stream, revoked", "stream", "paid.1", "paid.1", func(x *pair) {
		p := x.share(`,"subject":"paid.*","access":"activation"`)
		x.expect(true, "in_effect", "")
		x.do("DELETE", x.export(p)+"/activations/"+p.Activation.ID, "", nil)
		x.expect(false, "broken", "token_revoked")
		x.share(`,"subject":"paid.*"`)
		x.expect(true, "in_effect", "")
	}},
	{"private service, everybody revoked", "service", "do.it", "do.it", func(x *pair) {
		p := x.share(`,"subject":"do.>"`)
		x.expect(true, "in_effect", "")
		x.do("DELETE", x.export(p)+"/activations/*", "", nil)
		x.expect(false, "broken", "token_revoked")
		x.do("POST", x.imported(p.Import.ID)+"/renewal", `{"ttl_seconds":3600}`, nil)
		x.expect(true, "in_effect", "")
	}},
	{"private stream, export deleted and made again", "stream", "gone.1", "gone.1", func(x *pair) {
		p := x.share(`,"subject":"gone.*"`)
		x.expect(true, "in_effect", "")
		x.do("DELETE", x.export(p), "", nil)
		x.expect(false, "broken", "no_export")
		x.do("POST", "/accounts/"+x.exporter+"/exports", `{"kind":"stream","subject":"gone.>","access":"activation"}`, nil)
		x.expect(false, "broken", "token_revoked")
	}},
	{"private stream, expired", "stream", "soon.1", "soon.1", func(x *pair) {
		p := x.share(`,"subject":"soon.*","ttl_seconds":4`)
		x.crossesWhileItLasts(p)
		x.expect(false, "broken", "token_expired")
		x.do("POST", x.imported(p.Import.ID)+"/renewal", `{}`, nil)
		x.expect(true, "in_effect", "")
	}},
	{"private service, expired", "service", "quick.1", "quick.1", func(x *pair) {
		x.crossesWhileItLasts(x.share(`,"subject":"quick.*","ttl_seconds":4`))
		x.expect(false, "broken", "token_expired")
	}},
	{"token position, stream", "stream", "", "feed.x", func(x *pair) {
		x.subject = "feeds." + x.key(x.importer) + ".x"
		p := x.share(`,"subject":"feeds.*.>","local_subject":"feed.>","access":"token_position","account_token_position":2`)
		x.expect(true, "in_effect", "")
		x.do("PATCH", x.imported(p.Import.ID), fmt.Sprintf(`{"subject":"feeds.%s.>"}`, x.key(x.exporter)), nil)
		x.subject = "feeds." + x.key(x.exporter) + ".x" // what is somebody else's
		x.expect(false, "broken", "account_token")
	}},
	{"token position, service", "service", "ask.*.price", "price", func(x *pair) {
		p := x.share(`,"subject":"ask.*.price","local_subject":"price","access":"token_position","account_token_position":2`)
		x.expect(true, "in_effect", "")
		x.do("DELETE", x.imported(p.Import.ID), "", nil)
		x.expect(false, "", "")
	}},
	{"exporter suspended", "service", "s.1", "s.1", func(x *pair) {
		x.share(`,"subject":"s.*"`)
		x.expect(true, "in_effect", "")
		x.do("PUT", "/accounts/"+x.exporter+"/suspension", `{}`, nil)
		x.expect(false, "broken", "exporter_suspended")
		x.do("DELETE", "/accounts/"+x.exporter+"/suspension", "", nil)
		x.connect()
		x.expect(true, "in_effect", "")
	}},
	{"exporter deleted", "stream", "d.1", "d.1", func(x *pair) {
		x.share(`,"subject":"d.*","access":"public"`)
		x.expect(true, "in_effect", "")
		by := issuer.Op{Caller: issuer.System("test"), RequestID: "test"}
		a, err := x.app.issuer.GetAccount(x.t.Context(), by.Caller, x.exporter)
		must(x.t, err)
		by.ExpectedVersion = a.Version
		_, err = x.app.issuer.DeleteAccount(x.t.Context(), by, a.ID)
		must(x.t, err)
		x.expect(false, "broken", "exporter_deleted")
	}},
	{"export narrowed and widened", "stream", "wide.b", "wide.b", func(x *pair) {
		p := x.share(`,"subject":"wide.>","access":"public"`)
		x.expect(true, "in_effect", "")
		x.do("PATCH", x.export(p), `{"subject":"wide.a.>"}`, nil)
		x.expect(false, "broken", "not_subset")
		x.do("PATCH", x.export(p), `{"subject":"wide.>"}`, nil)
		x.expect(true, "in_effect", "")
	}},
	{"public made private", "service", "p.1", "p.1", func(x *pair) {
		p := x.share(`,"subject":"p.*","access":"public"`)
		x.expect(true, "in_effect", "")
		x.do("PATCH", x.export(p), `{"access":"activation"}`, nil)
		x.expect(false, "broken", "token_required")
		x.share(`,"subject":"p.*"`)
		x.expect(true, "in_effect", "")
	}},
	{"signing key disabled", "stream", "k.1", "k.1", func(x *pair) {
		p := x.share(`,"subject":"k.*"`)
		x.expect(true, "in_effect", "")
		path := "/accounts/" + x.exporter + "/signing-keys?override=key_in_use"
		var foretold api.ChangedKey
		x.do("POST", path+"&dry_run=true", `{"make_current":true,"previous_state":"disabled"}`, &foretold)
		if text := fmt.Sprint(foretold.Plan.Warnings); !strings.Contains(text, "activations_break") || !strings.Contains(text, "1 import of 1 account") || !strings.Contains(text, x.importer) {
			x.t.Errorf("the plan warns: %s", text)
		}
		x.do("POST", path, `{"make_current":true,"previous_state":"disabled"}`, nil)
		x.connect()
		x.expect(false, "broken", "token_untrusted_key")
		x.do("POST", x.imported(p.Import.ID)+"/renewal", `{}`, nil)
		x.expect(true, "in_effect", "")
	}},
	{"imported before it was exported", "stream", "late.1", "late.1", func(x *pair) {
		x.do("POST", "/accounts/"+x.importer+"/imports", fmt.Sprintf(`{"exporter":%q,"kind":"stream","subject":"late.*"}`, x.exporter), nil)
		x.expect(false, "broken", "no_export")
		x.do("POST", "/accounts/"+x.exporter+"/exports", `{"kind":"stream","subject":"late.>"}`, nil)
		x.expect(true, "in_effect", "")
	}},
	{"service imported before it was exported", "service", "late.1", "late.1", func(x *pair) {
		x.do("POST", "/accounts/"+x.importer+"/imports", fmt.Sprintf(`{"exporter":%q,"kind":"service","subject":"late.*"}`, x.exporter), nil)
		x.expect(false, "broken", "no_export")
		x.do("POST", "/accounts/"+x.exporter+"/exports", `{"kind":"service","subject":"late.>"}`, nil)
		x.expect(true, "in_effect", "")
	}},
	{"a token handed over", "stream", "h.1", "h.1", func(x *pair) {
		var e api.Export
		x.do("POST", "/accounts/"+x.exporter+"/exports", `{"kind":"stream","subject":"h.>","access":"activation"}`, &e)
		var mine, other api.Activation
		issue := "/accounts/" + x.exporter + "/exports/" + e.ID + "/activations"
		x.do("POST", issue, fmt.Sprintf(`{"target_account":%q,"subject":"h.*"}`, x.key(x.importer)), &mine)
		x.do("POST", issue, fmt.Sprintf(`{"target_account":%q,"subject":"h.*"}`, x.key("SYS")), &other)
		body := func(token string) string {
			return fmt.Sprintf(`{"exporter":%q,"kind":"stream","subject":"h.*","token":%q}`, x.key(x.exporter), token)
		}
		x.refused("POST", "/accounts/"+x.importer+"/imports", body(other.Token), "token_wrong_account")
		x.do("POST", "/accounts/"+x.importer+"/imports", body(mine.Token), nil)
		x.expect(true, "in_effect", "")
		x.do("DELETE", issue+"/"+x.key(x.importer), "", nil)
		x.expect(false, "broken", "token_revoked")
	}},
	{"subjects renamed", "stream", "a.1.b.2", "x.2.y.1", func(x *pair) {
		x.share(`,"subject":"a.*.b.*","local_subject":"x.$2.y.$1","access":"public"`)
		x.expect(true, "in_effect", "")
	}},
	{"imported as the wrong kind", "service", "w.1", "w.1", func(x *pair) {
		x.do("POST", "/accounts/"+x.exporter+"/exports", `{"kind":"stream","subject":"w.>"}`, nil)
		x.do("POST", "/accounts/"+x.importer+"/imports", fmt.Sprintf(`{"exporter":%q,"kind":"service","subject":"w.1"}`, x.exporter), nil)
		x.expect(false, "broken", "wrong_kind")
	}},
	{"an exporter that nobody knows", "stream", "n.1", "n.1", func(x *pair) {
		x.do("POST", "/accounts/"+x.importer+"/imports", `{"exporter":"ACZSWBJ4SYILK7QVDELO64VX3EFWB6CXCPMEBUKA36MJJQRPXGEEQ2WJ","kind":"stream","subject":"n.1"}`, nil)
		x.expect(false, "broken", "exporter_unknown")
	}},
	{"a circle", "service", "c.1", "c.1", func(x *pair) {
		for _, account := range []string{x.exporter, x.importer} {
			x.do("POST", "/accounts/"+account+"/exports", `{"kind":"service","subject":"c.>"}`, nil)
		}
		x.share(`,"subject":"c.1"`)
		x.expect(true, "in_effect", "")
		x.refused("POST", "/shares", fmt.Sprintf(`{"exporter":%q,"importer":%q,"kind":"service","subject":"c.1"}`, x.importer, x.exporter), "import_cycle")
		x.expect(true, "in_effect", "")
	}},
}

// key returns an account's public key.
func (x *pair) key(account string) string {
	x.t.Helper()
	var a api.Account
	x.do("GET", "/accounts/"+account, "", &a)
	return a.ID
}

// TestSharing holds the graph against what clients of two accounts experience on two servers.
func TestSharing(t *testing.T) {
	t.Parallel()
	eachPlant(t, func(p *plant) {
		p.startServers(2)
		good, checks := 0, 0
		for n, c := range sharingCases {
			p.t.Run(c.name, func(t *testing.T) {
				x := p.newPair(t, fmt.Sprint(n), c.kind, c.subject, c.local)
				c.run(x)
				checks += x.checks
				if !t.Failed() {
					good++
				}
			})
		}
		p.t.Logf("%d of %d cases, with %d states, as the graph says", good, len(sharingCases), checks)
	})
}
