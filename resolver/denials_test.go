package resolver_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store/storetest"
)

// everything is the sight of who may see all.
var everything = claims.Sight{Of: func(string, string) bool { return true }, Part: func(string) bool { return true }}

// serverLog keeps what a nats-server logs.
type serverLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *serverLog) add(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, v...))
}

func (l *serverLog) Noticef(format string, v ...any) { l.add(format, v...) }
func (l *serverLog) Warnf(format string, v ...any)   { l.add(format, v...) }
func (l *serverLog) Fatalf(format string, v ...any)  { l.add(format, v...) }
func (l *serverLog) Errorf(format string, v ...any)  { l.add(format, v...) }
func (l *serverLog) Debugf(format string, v ...any)  { l.add(format, v...) }
func (l *serverLog) Tracef(string, ...any)           {}

// says tells whether a line about a connection matches.
func (l *serverLog) says(cid uint64, pattern string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	re, about := regexp.MustCompile(pattern), regexp.MustCompile(fmt.Sprintf(`cid:%d\b`, cid))
	return slices.ContainsFunc(l.lines, func(line string) bool {
		// Of an auth callout that is silent the server does not say for which connection.
		return re.MatchString(line) && (about.MatchString(line) || strings.HasPrefix(line, "Authorization callout"))
	})
}

// custom issues a user of the account as edit makes it.
func (w *world) custom(a *account, edit func(*jwt.UserClaims)) user {
	w.t.Helper()
	pair, id := newPair(w.t, claims.KindUser)
	c := jwt.NewUserClaims(id)
	c.Name = "custom"
	edit(c)
	token, err := c.Encode(a.pair)
	if err != nil {
		w.t.Fatal(err)
	}
	return user{id: id, token: token, pair: pair}
}

// bare connects with an option that is no user's.
func bare(s *server.Server, more ...nats.Option) error {
	nc, err := nats.Connect(s.ClientURL(), append(more, nats.NoReconnect(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
	if err == nil {
		nc.Close()
	}
	return err
}

// TestDenials provokes every kind of refusal on a real server and holds the explanation, made when the event came,
// against what that server logs of the connection.
func TestDenials(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r := w.start(resolver.Hurry{})
	log := &serverLog{}
	s := w.serverWith("n1", func(o *server.Options) { o.AuthTimeout = 1 })
	s.SetLogger(log, true, false)
	w.await(1)

	a, full, callout := w.account("a"), w.account("full"), w.account("callout")
	w.wait(full, w.edit(full, func(c *claims.Account) { c.Settings.Limits.Conn = 1 }))
	w.wait(a, w.edit(a, func(c *claims.Account) { c.Settings.Limits.DisallowBearer = true }))
	_, service := newPair(t, claims.KindUser)
	w.wait(callout, w.edit(callout, func(c *claims.Account) { c.Settings.Authorization.AuthUsers.Add(service) }))
	w.connect(s, w.user(full, "first"))
	_, missingID := newPair(t, claims.KindAccount)
	missing := &account{id: missingID}
	missing.pair, missing.id = newPair(t, claims.KindAccount)
	stranger, _ := newPair(t, claims.KindAccount)
	revoked, wrongSeed, ruined := w.user(a, "revoked"), w.user(a, "wrong seed"), w.user(a, "ruined")
	w.wait(a, w.revoke(a, revoked))
	wrongSeed.pair, _ = newPair(t, claims.KindUser)
	ruined.token = ruined.token[:len(ruined.token)-10] + strings.Map(func(r rune) rune {
		if r == 'A' {
			return 'B'
		}
		return 'A'
	}, ruined.token[len(ruined.token)-10:])
	hour := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.TimeOnly) }

	attempts := map[string]user{
		"not_revoked":    revoked,
		"jwt_valid":      w.custom(a, func(c *jwt.UserClaims) { c.Expires = time.Now().Unix() - 60 }),
		"issuer_known":   w.custom(&account{pair: stranger}, func(c *jwt.UserClaims) { c.IssuerAccount = a.id }),
		"account_found":  w.user(missing, "of nobody"),
		"jwt_decodes":    ruined,
		"nonce_signed":   wrongSeed,
		"source_network": w.custom(a, func(c *jwt.UserClaims) { c.Src = jwt.CIDRList{"10.0.0.0/8"} }),
		"connect_hours": w.custom(a, func(c *jwt.UserClaims) {
			c.Times, c.Locale = []jwt.TimeRange{{Start: hour(time.Hour), End: hour(2 * time.Hour)}}, "UTC"
		}),
		"connection_type_allowed": w.custom(a, func(c *jwt.UserClaims) { c.AllowedConnectionTypes.Add("MQTT") }),
		"bearer_allowed":          w.custom(a, func(c *jwt.UserClaims) { c.BearerToken = true }),
		"connection_limit":        w.user(full, "second"),
		"auth_callout":            w.custom(callout, func(c *jwt.UserClaims) { c.BearerToken = true }),
	}
	for class, u := range attempts {
		if err := bare(s, u.option(), nats.Timeout(4*time.Second)); err == nil {
			t.Errorf("%s: the client was let in", class)
		}
	}
	if err := bare(s); err == nil {
		t.Error("a client without a JWT was let in")
	}
	attempts["jwt_present"] = user{}
	eventually(t, "every denial is on record", func() bool { return r.Denials(claims.DenialQuery{Sight: everything}).Attempts >= uint64(len(attempts)) })

	page := r.Denials(claims.DenialQuery{Sight: everything, Limit: 100})
	good := 0
	for _, class := range slices.Sorted(maps.Keys(attempts)) {
		u := attempts[class]
		n := slices.IndexFunc(page.Denials, func(d claims.Denial) bool { return d.UserKey == u.id && d.Class == class })
		if n < 0 {
			t.Errorf("%s: not on record", class)
			continue
		}
		d := page.Denials[n]
		e := d.Explanation
		switch {
		case d.Count != 1 || d.Recent != 1 || d.ServerName != "n1" || d.Host != "127.0.0.1" || e == nil || e.Failed == nil || e.Verdict != claims.VerdictRefused:
			t.Errorf("%s: %+v", class, d)
		case class != "nonce_signed" && class != "jwt_present" && class != "auth_callout" && len(e.Failed.Fixes) == 0:
			t.Errorf("%s: no fixes", class)
		case !log.says(d.CID, e.Failed.ServerLog):
			t.Errorf("%s: the server says nothing like %q of connection %d", class, e.Failed.ServerLog, d.CID)
		default:
			good++
		}
		ev, ok := r.FindEvent(d.LastEvent, everything)
		if !ok || ev.Type != claims.EventDenial || ev.DenialID != d.ID || ev.AccountID != d.AccountID {
			t.Errorf("%s: event %+v of %+v", class, ev, d)
		}
	}
	if page.Attempts != uint64(len(attempts)) {
		t.Errorf("%d attempts on record, want %d", page.Attempts, len(attempts))
	}
	t.Logf("denials: %d of %d explained as the server says", good, len(attempts))
	if t.Failed() {
		t.Log(strings.Join(log.lines, "\n"))
	}
}
