package resolver_test

import (
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store/storetest"
)

// only is the sight of who may see one account.
func only(a *account) claims.Sight {
	return claims.Sight{Of: func(_, id string) bool { return id == a.id }, Part: func(string) bool { return true }}
}

// TestTenantSees lets clients of two tenants come, go and be refused: what concerns one
// of them is shown to the other in no list, and not by its identity either.
func TestTenantSees(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{})
	s := w.serve(1)[0]
	mine, theirs := w.account("mine"), w.account("theirs")
	for _, a := range []*account{mine, theirs} {
		w.connect(s, w.user(a, "stays"))
		refused := w.custom(a, func(c *jwt.UserClaims) { c.Src = jwt.CIDRList{"10.0.0.0/8"} })
		if err := bare(s, refused.option()); err == nil {
			t.Fatal("the client was let in")
		}
	}
	eventually(t, "all is on record", func() bool {
		n := 0
		for _, e := range allEvents(r, claims.EventConnect, claims.EventDenial) {
			if e.AccountID == mine.id || e.AccountID == theirs.id {
				n++
			}
		}
		return n == 4
	})
	sight := only(mine)
	for _, e := range r.Events(claims.EventQuery{Sight: sight, Limit: 1000}).Events {
		if e.AccountID != mine.id && e.Type != claims.EventGap {
			t.Errorf("the tenant sees %+v", e)
		}
	}
	for _, e := range allEvents(r, claims.EventConnect, claims.EventDenial) {
		if _, seen := r.FindEvent(e.ID, sight); seen != (e.AccountID == mine.id) {
			t.Errorf("the tenant sees by its identity: %t, %+v", seen, e)
		}
	}
	if page := r.Denials(claims.DenialQuery{Sight: sight, Limit: 10}); len(page.Denials) != 1 || page.Groups != 1 || page.Attempts != 1 || page.Denials[0].AccountID != mine.id {
		t.Errorf("denials that the tenant sees: %+v", page)
	}
	for _, d := range r.Denials(claims.DenialQuery{Sight: everything, Limit: 10}).Denials {
		if _, seen := r.FindDenial(d.ID, sight); seen != (d.AccountID == mine.id) {
			t.Errorf("the tenant sees by its identity: %t, %+v", seen, d)
		}
	}
	if page := r.ListConnections(claims.ConnectionQuery{Sight: sight, Limit: 10}); page.Total != 1 || len(page.Connections) != 1 || page.Connections[0].AccountID != mine.id {
		t.Errorf("connections that the tenant sees: %+v", page)
	}
	if page := r.Events(claims.EventQuery{Limit: 1000}); len(page.Events) != 0 {
		t.Errorf("without a sight one sees %+v", page.Events)
	}
}

// TestHostileNames lets clients that are refused, and one that is not, call themselves by
// secrets, control characters and a page's markup. Secrets and control characters are
// gone from all that is kept; markup is text, which pages escape.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{})
	s := w.serve(1)[0]
	a := w.account("a")
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	const token = "chy_pat_0123456789abcdefghijklmnopqrstuvwxyzABCDEF"
	names := []string{
		string(seed), "my seed is " + string(seed) + "!", token, "line\r\nid: evt_1_1\n\ndata: forged", "bell\a\x1b[31mred\x00",
		`<script>alert(1)</script>`, strings.Repeat("long", 5000), "\u202eright to left",
	}
	for _, name := range names {
		refused := w.custom(a, func(c *jwt.UserClaims) { c.Name, c.Src = name, jwt.CIDRList{"10.0.0.0/8"} })
		if len(name) > 1000 {
			refused = w.custom(a, func(c *jwt.UserClaims) { c.Src = jwt.CIDRList{"10.0.0.0/8"} }) // the rest does not fit into a CONNECT
		}
		_ = bare(s, refused.option(), nats.Name(name[:min(len(name), 2000)]))
	}
	nc := w.connect(s, w.user(a, string(seed)), nats.Name(names[1]))
	defer nc.Close()
	eventually(t, "all is on record", func() bool {
		return len(allEvents(r, claims.EventDenial)) == len(names) && len(connectionsOf(r, a)) == 1
	})
	strs, secrets, controls, long := 0, 0, 0, 0
	for _, part := range resolver.Kept(r, w.operator) {
		walk(reflect.ValueOf(part), map[uintptr]bool{}, func(text string) {
			strs++
			if strings.Contains(text, string(seed)) || strings.Contains(text, token) {
				secrets++
				t.Logf("%.80q", text)
			}
			if len(text) > 2000 {
				long++
			}
		})
	}
	shown := []string{}
	for _, e := range allEvents(r, claims.EventDenial, claims.EventConnect) {
		shown = append(shown, e.Client.Client, e.UserName, e.Text, e.UserKey, e.Host, e.Reason)
	}
	for _, d := range r.Denials(claims.DenialQuery{Sight: everything, Limit: 100}).Denials {
		shown = append(shown, d.Client.Client, d.UserName, d.UserKey, d.ServerReason)
		if d.Explanation != nil {
			shown = append(shown, d.Explanation.Summary)
			for _, c := range d.Explanation.Checks {
				shown = append(append(shown, c.Evidence), c.Fixes...)
			}
		}
	}
	listed, err := r.Connections(t.Context(), a.id)
	if err != nil || len(listed) != 1 {
		t.Fatalf("listed are %d connections, %v", len(listed), err)
	}
	for _, c := range append(listed, connectionsOf(r, a)[0].Connection) {
		shown = append(shown, c.Client, c.User.Name, c.UserKey)
	}
	for _, text := range shown {
		if strings.Contains(text, string(seed)) || strings.Contains(text, token) {
			secrets++
		}
		if strings.ContainsFunc(text, unicode.IsControl) {
			controls++
			t.Logf("%.80q", text)
		}
	}
	if secrets+controls+long != 0 || strs < 50 {
		t.Errorf("of %d strings %d hold secrets, %d are too long, and %d of %d that are shown hold control characters", strs, secrets, long, controls, len(shown))
	}
	t.Logf("hostile names: %d strings, %d secrets, %d control characters in %d that are shown", strs, secrets, controls, len(shown))
}
