package web

import (
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

func TestLimitsReadAndWritten(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		in    string
		count int64
		size  int64
		shown string
	}{
		{"", -1, -1, "Unlimited"},
		{"unlimited", -1, -1, "Unlimited"},
		{"-1", -1, -1, "Unlimited"},
		{"0", 0, 0, "0 B"},
		{"1,500", 1500, 1500, "1,500 B"},
		{" 1_048_576 ", 1 << 20, 1 << 20, "1 MiB"},
		{"-2", math.MinInt64, math.MinInt64, ""},
		{"1.5", math.MinInt64, math.MinInt64, ""},
		{"ten", math.MinInt64, math.MinInt64, ""},
		{"9223372036854775808", math.MinInt64, math.MinInt64, ""},
		{"10 GiB", math.MinInt64, 10 << 30, "10 GiB"},
		{"10gb", math.MinInt64, 10 << 30, "10 GiB"},
		{"3k", math.MinInt64, 3 << 10, "3 KiB"},
		{"512 B", math.MinInt64, 512, "512 B"},
		{"1536 MiB", math.MinInt64, 1536 << 20, "1,536 MiB"},
		{"2 TiB", math.MinInt64, 2 << 40, "2 TiB"},
		{"GiB", math.MinInt64, math.MinInt64, ""},
		{"-1 GiB", math.MinInt64, math.MinInt64, ""},
		{"8388608 TiB", math.MinInt64, math.MinInt64, ""},
		{"1 KiB GiB", math.MinInt64, math.MinInt64, ""},
	} {
		if n, err := parseCount(x.in); (err != nil) != (x.count == math.MinInt64) || (err == nil && n != x.count) {
			t.Errorf("parseCount(%q) = %d, %v", x.in, n, err)
		}
		n, err := parseSize(x.in)
		if (err != nil) != (x.size == math.MinInt64) || (err == nil && n != x.size) {
			t.Errorf("parseSize(%q) = %d, %v", x.in, n, err)
		}
		if err == nil && formatSize(n) != x.shown {
			t.Errorf("formatSize(%d) = %q, want %q", n, formatSize(n), x.shown)
		}
		// What a field shows is read back as the same limit.
		if again, err2 := parseSize(sizeInput(n)); err == nil && (err2 != nil || again != n) {
			t.Errorf("sizeInput(%d) = %q is read as %d, %v", n, sizeInput(n), again, err2)
		}
	}
}

func TestFileName(t *testing.T) {
	t.Parallel()
	for want, parts := range map[string][]string{
		"acme-ORDERS-d1.creds":               {"acme", "ORDERS", "d1"},
		"acme-ORDERS-ada_acme.example.creds": {"acme", "ORDERS", "ada@acme.example"},
		"a-b__c-d__e.creds":                  {"a", "b; c", "d\"\ne"},
		"user.creds":                         {"…", "-", "--"},
		strings.Repeat("x", 120) + ".creds":  {strings.Repeat("x", 300)},
	} {
		if got := fileName(parts...); got != want {
			t.Errorf("fileName(%q) = %q, want %q", parts, got, want)
		}
	}
}

func TestShellWord(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"nats://127.0.0.1:4222": "nats://127.0.0.1:4222",
		"nats://[::1]:4222":     "'nats://[::1]:4222'",
		"x; rm -rf $HOME":       "'x; rm -rf $HOME'",
		"it's":                  `'it'\''s'`,
	} {
		if got := shellWord(in); got != want {
			t.Errorf("shellWord(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestLifetimes(t *testing.T) {
	t.Parallel()
	for longest, want := range map[time.Duration]string{
		0:                      "No expiry: say why below",
		time.Hour:              "1 hour",
		90 * time.Minute:       "90 minutes",
		7 * 24 * time.Hour:     "7 days",
		time.Second:            "1 second",
		366 * 24 * time.Hour:   "366 days",
		25 * time.Hour:         "25 hours",
		61 * time.Second:       "61 seconds",
		30 * 24 * time.Hour:    "30 days",
		1_000_000 * time.Hour:  "1,000,000 hours",
		24 * time.Hour:         "1 day",
		2400000 * time.Hour:    "100,000 days",
		time.Minute * 60 * 100: "100 hours",
	} {
		f := lifetimeField(bounds{longest: longest, usual: longest, template: longest > 0})
		value := "0"
		if longest == 0 {
			value = noExpiry
		}
		if last := f.Options[len(f.Options)-1]; last.Value != value || !strings.HasSuffix(last.Text, want) {
			t.Errorf("lifetimeField(%v) ends with %+v", longest, last)
		}
		if !f.offers(f.Value) {
			t.Errorf("lifetimeField(%v) starts with %q, which it does not offer", longest, f.Value)
		}
	}
}

func TestSyncInWords(t *testing.T) {
	t.Parallel()
	now := time.Unix(1790000000, 0)
	server := func(name string, version int64, state claims.DeliveryState) claims.Delivery {
		return claims.Delivery{ServerName: name, Version: version, State: state, Sent: now, Error: map[bool]string{true: "no"}[state == claims.DeliveryFailed]}
	}
	for _, x := range []struct {
		connected bool
		servers   []claims.Delivery
		tone      tone
		text      string
		note      string
	}{
		{true, nil, toneOff, "No servers", "No nats-server"},
		{false, []claims.Delivery{server("a", 3, claims.DeliveryInEffect)}, toneOff, "Not connected", "cannot be reached"},
		{true, []claims.Delivery{server("a", 3, claims.DeliveryInEffect), server("b", 4, claims.DeliveryNotLoaded)}, toneGood, "In effect on 2/2", ""},
		{true, []claims.Delivery{server("a", 3, claims.DeliveryInEffect), server("b", 2, claims.DeliveryInEffect)}, tonePart, "In effect on 1/2", "Still to come: b."},
		{true, []claims.Delivery{server("a", 3, claims.DeliverySent), server("b", 3, claims.DeliveryAcknowledged)}, toneWait, "Pending on 2", "Still to come: a, b."},
		{true, []claims.Delivery{server("a", 3, claims.DeliveryFailed)}, toneBad, "Refused, in effect on 0/1", "Still to come: a."},
	} {
		d := newDelivery(claims.Sync{Version: 3, Connected: x.connected, Servers: x.servers})
		if d.Chip != (chip{x.tone, x.text}) || !strings.Contains(d.Note, x.note) || (x.note == "") != (d.Note == "") {
			t.Errorf("%+v: %+v, %q", x.servers, d.Chip, d.Note)
		}
		if d.Done != (x.tone == toneGood) {
			t.Errorf("%s: done is %v", x.text, d.Done)
		}
	}
	for _, s := range []claims.DeliveryState{
		claims.DeliveryPending, claims.DeliverySent, claims.DeliveryAcknowledged, claims.DeliveryStored, claims.DeliveryInEffect,
		claims.DeliveryNotLoaded, claims.DeliveryFailed, "of tomorrow",
	} {
		if c, _ := deliveryChip(server("a", 3, s), 3); c.Text == "" || (c.Tone == toneGood) != s.Satisfied() {
			t.Errorf("%s is shown as %+v", s, c)
		}
	}
}

func TestChangesInWords(t *testing.T) {
	t.Parallel()
	before, after := jwt.NewAccountClaims("A"), jwt.NewAccountClaims("A")
	before.DefaultPermissions.Pub.Allow = jwt.StringList{"a", "b"}
	after.DefaultPermissions.Pub.Allow = jwt.StringList{"b"}
	after.Description, after.Limits.Conn, after.Limits.DiskStorage = "x", 1000, 1<<30
	want := []planChange{
		{"Description", "–", "x", ""},
		{"Connections", "unlimited", "1,000", ""},
		{"JetStream disk", "0 B", "1 GiB", ""},
		{"Users without permissions of their own: publish allow", "a", "–", "may no longer publish a"},
	}
	if diff := cmp.Diff(want, describe(claims.DiffAccounts(before, after))); diff != "" {
		t.Error(diff)
	}
}

func TestImpactInWords(t *testing.T) {
	t.Parallel()
	back := impact{"1,234", "live connections will reconnect", "Closed, and free to come back at once.", toneWait}
	refused := impact{"1", "live connection will be refused", "Closed, and kept out with the credentials they have.", toneBad}
	for name, c := range map[string]struct {
		blast *claims.Blast
		want  []impact
	}{
		"not asked": {nil, []impact{{"?", "live connections", "They could not be counted: no server answered.", toneWait}}},
		"nobody":    {&claims.Blast{}, []impact{{"0", "live connections close", "Nobody is thrown out.", toneOff}}},
		"both":      {&claims.Blast{Closed: 1235, Refused: 1}, []impact{back, refused}},
		"a range":   {&claims.Blast{Uncertain: 9, AtLeast: 3, AtMost: 9}, []impact{{"3 to 9", "live connections close in the end", "Which ones is up to the servers.", toneBad}}},
	} {
		if diff := cmp.Diff(c.want, connectionsImpact(c.blast)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	blast := claims.Blast{Impacts: []claims.Impact{{Effect: claims.Effect{Fate: claims.FateRefused, Why: "W.", ServerSays: "S"}}, {Effect: claims.Effect{Fate: claims.FateStays}}}}
	if got := why(&blast); len(got) != 1 || got[0] != (reason{"1", "are refused", "W.", "S"}) || why(nil) != nil {
		t.Errorf("%+v", got)
	}
}

// A form takes what is wrong to the field that the pointer leads to.
func TestProblemsFindTheirField(t *testing.T) {
	t.Parallel()
	f := &form{Groups: []group{{Fields: []*field{
		{Name: "all", Pointer: "/limits"}, {Name: "conn", Pointer: "/limits/connections"}, {Name: "tags", Pointer: "/tags"}, {Name: "other"},
	}}}}
	for pointer, want := range map[string]string{
		"/limits/connections": "conn", "/limits/connectionsx": "all", "/limits": "all", "/tags/0": "tags", "/tagsx": "", "": "", "/nowhere": "",
	} {
		if got := f.byPointer(pointer); got != want {
			t.Errorf("%s leads to %q, want %q", pointer, got, want)
		}
	}
}

func TestCursor(t *testing.T) {
	t.Parallel()
	p := newPage("q", cursor("a b", "AID"), 10)
	if p.AfterName != "a b" || p.AfterID != "AID" || p.Limit != 11 || p.Search != "q" {
		t.Errorf("%+v", p)
	}
	for _, bad := range []string{"", "%%%", "YQ", cursor("a", "b\x00c"), cursor("\xff", "b")} {
		if p := newPage("", bad, 10); p.AfterID != "" || p.AfterName != "" {
			t.Errorf("the cursor %q was taken: %+v", bad, p)
		}
	}
}

// A panic becomes a page that gives nothing away, and an entry in the log that does.
func TestPanic(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	c := &Console{now: time.Now, log: slog.New(slog.NewJSONHandler(&log, nil)), sessions: newSessions(nil, false)}
	var err error
	if c.assets, c.pages, err = embedded(); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h := c.observe(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("the inside") }))
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "the inside") || !strings.Contains(w.Body.String(), w.Header().Get("X-Request-Id")) {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "the inside") {
		t.Errorf("the log does not say why: %s", log.String())
	}
	// A page that cannot be rendered is not half a page.
	w = httptest.NewRecorder()
	c.write(w, httptest.NewRequest(http.MethodGet, "/", nil), nil, answer{page: "login", title: "x", body: 7})
	if w.Code != http.StatusInternalServerError || w.Body.String() != somethingWrong {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}
