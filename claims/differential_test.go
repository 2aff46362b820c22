package claims_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"chancery/claims"
)

var differentialSeed = flag.Uint64("differential.seed", 0, "repeat the differential test of this seed")

// tally counts comparisons by what was compared.
type tally struct {
	sync.Mutex
	agreed, all map[string]int
}

func (y *tally) count(kind string, agreed bool) {
	y.Lock()
	defer y.Unlock()
	y.all[kind]++
	if agreed {
		y.agreed[kind]++
	}
}

// What we say a user may do is what a server lets it do: random permissions of every origin, asked on real
// connections.
func TestDifferential(t *testing.T) {
	t.Parallel()
	seed := *differentialSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	y := &tally{agreed: map[string]int{}, all: map[string]int{}}
	w := newWorld(t)
	t.Run("accounts", func(t *testing.T) {
		for n := range uint64(100) {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				g := generator{rand.New(rand.NewPCG(seed, n))}
				s := g.scene(t)
				w.store(t, s.account.Subject, encode(t, s.account, w.signing))
				admin := s.dialAdmin(t, w)
				for _, u := range s.users {
					compare(t, w, g, y, s, u, admin)
				}
			})
		}
	})
	agreed, all := 0, 0
	for _, kind := range slices.Sorted(maps.Keys(y.all)) {
		t.Logf("%s: %d of %d", kind, y.agreed[kind], y.all[kind])
		agreed, all = agreed+y.agreed[kind], all+y.all[kind]
	}
	t.Logf("differential: %d of %d", agreed, all)
	if all < 3000 {
		t.Errorf("%d comparisons, want 3,000", all)
	}
	if t.Failed() {
		t.Logf("repeat with -differential.seed=%d", seed)
	}
}

func encode(t testing.TB, c jwt.Claims, by pair) string {
	t.Helper()
	token, err := c.Encode(by)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// client is a connection that gathers what the server refuses.
type client struct {
	*nats.Conn
	errs chan string
	ends int
}

func dialClient(t *testing.T, w *world, token string, key pair) (*client, error) {
	t.Helper()
	c := &client{errs: make(chan string, 1000)}
	nc, err := nats.Connect(w.server.ClientURL(), nats.UserJWT(func() (string, error) { return token, nil }, key.Sign), nats.NoReconnect(), nats.Timeout(patience),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.errs <- err.Error() }))
	if err != nil {
		return nil, err
	}
	t.Cleanup(nc.Close)
	c.Conn = nc
	return c, nil
}

// refusals returns what was refused since it was last asked. No one may publish below _GR_, so the refusal of that
// comes last.
func (c *client) refusals(t *testing.T) []string {
	t.Helper()
	c.ends++
	end := fmt.Sprintf("_GR_.%d", c.ends)
	if err := c.Publish(end, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	var out []string
	for {
		select {
		case e := <-c.errs:
			if strings.Contains(e, end) {
				return out
			}
			out = append(out, e)
		case <-time.After(patience):
			t.Fatal("the server does not answer")
		}
	}
}

// flushed waits until the server did what the connections asked for, in their order.
func flushed(t *testing.T, connections ...*client) {
	t.Helper()
	for _, c := range connections {
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
	}
}

// received drains what was delivered to sub, as subjects in order.
func received(t *testing.T, sub *nats.Subscription) []string {
	t.Helper()
	var out []string
	n, _, err := sub.Pending()
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		m, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, m.Subject)
	}
	slices.Sort(out)
	return out
}

func compare(t *testing.T, w *world, g generator, y *tally, s scene, u probed, admin *client) {
	t.Helper()
	token := encode(t, u.claims, u.signer)
	decoded, err := jwt.DecodeUserClaims(token)
	if err != nil {
		t.Fatal(err)
	}
	account, err := jwt.DecodeAccountClaims(encode(t, s.account, w.signing))
	if err != nil {
		t.Fatal(err)
	}
	e := claims.EffectivePermissions(decoded, account)
	c, err := dialClient(t, w, token, u.key)
	y.count("connection "+map[bool]string{true: "accepted", false: "refused"}[err == nil], (err == nil) == (e.Refusal == nil))
	if (err == nil) != (e.Refusal == nil) || err != nil && !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("%s: connecting: %v, but we say %+v\n%s", u.kind, err, e.Refusal, describe(u, s))
		return
	}
	if err != nil {
		if d, _ := e.Can(claims.Publish, "a", ""); d.Access != claims.AccessDenied || d.Why != e.Refusal.Detail {
			t.Errorf("refused, and may publish: %+v", d)
		}
		return
	}
	x := comparison{t, y, e, c, admin, u.kind, describe(u, s)}
	x.publishing(g)
	for range 10 {
		x.subscribing(g.subject(), g.queue())
	}
	x.replying()
	x.info()
}

func describe(u probed, s scene) string {
	b, _ := json.Marshal([]any{u.claims.Name, u.claims.Tags, u.claims.Permissions, s.account.Name, s.account.Tags, s.account.DefaultPermissions, s.account.SigningKeys[u.signer.id]})
	return string(b)
}

type comparison struct {
	t           *testing.T
	y           *tally
	e           claims.Effective
	c, admin    *client
	kind, words string
}

func (x comparison) check(kind string, agreed bool, format string, args ...any) {
	x.t.Helper()
	x.y.count(kind, agreed)
	if !agreed {
		x.t.Errorf("%s, %s: %s\n%s", kind, x.kind, fmt.Sprintf(format, args...), x.words)
	}
}

func (x comparison) can(a claims.Action, subject, queue string) claims.Decision {
	x.t.Helper()
	d, problems := x.e.Can(a, subject, queue)
	if len(problems) > 0 {
		x.t.Fatalf("%s %q %q: %+v", a, subject, queue, problems)
	}
	return d
}

// publishing compares what arrives at a subscriber who may see everything.
func (x comparison) publishing(g generator) {
	all := x.subscribe(x.admin, ">", "")
	flushed(x.t, x.admin)
	probes := append(g.literals(10), "$SYS.REQ.USER.AUTH", "$NRG.a", "$GR.a", "x.y")
	for _, subject := range probes {
		if err := x.c.Publish(subject, nil); err != nil {
			x.t.Fatal(err)
		}
	}
	refusals := strings.Join(x.c.refusals(x.t), "\n")
	flushed(x.t, x.admin)
	arrived := received(x.t, all)
	for _, subject := range probes {
		d := x.can(claims.Publish, subject, "")
		want := d.Access == claims.AccessAllowed
		refused := strings.Contains(refusals, fmt.Sprintf("Publish to %q", subject))
		delivered := slices.Contains(arrived, subject)
		x.check("publish "+string(d.Access), want == !refused && want == delivered, "%s: refused %v, delivered %v; we say %+v", subject, refused, delivered, d)
	}
	x.unsubscribe(x.admin, all)
}

func (x comparison) subscribe(c *client, subject, queue string) *nats.Subscription {
	x.t.Helper()
	sub, err := c.QueueSubscribeSync(subject, queue)
	if err != nil {
		x.t.Fatal(err)
	}
	return sub
}

func (x comparison) unsubscribe(c *client, sub *nats.Subscription) {
	x.t.Helper()
	if err := sub.Unsubscribe(); err != nil {
		x.t.Fatal(err)
	}
	flushed(x.t, c)
}

// subscribing compares the verdict, and then what is delivered of everything that can be.
func (x comparison) subscribing(subject, queue string) {
	d := x.can(claims.Subscribe, subject, queue)
	sub := x.subscribe(x.c, subject, queue)
	refused := len(x.c.refusals(x.t)) > 0
	with := " without a queue group"
	if queue != "" {
		with = " with a queue group"
	}
	x.check("subscribe "+string(d.Access)+with, refused == (d.Access == claims.AccessDenied), "%q in %q: refused %v; we say %+v", subject, queue, refused, d)
	if !refused {
		var want []string
		for _, s := range alphabet {
			withheld := slices.ContainsFunc(d.Filters, func(r claims.Rule) bool { return inPattern(s, r.Subject) })
			if inPattern(s, subject) && !withheld {
				want = append(want, s)
			}
			if err := x.admin.Publish(s, nil); err != nil {
				x.t.Fatal(err)
			}
		}
		slices.Sort(want)
		flushed(x.t, x.admin, x.c)
		got := received(x.t, sub)
		x.check("delivery "+string(d.Access)+with, slices.Equal(got, want), "%q in %q: %v, want %v; we say %+v", subject, queue, got, want, d)
	}
	x.unsubscribe(x.c, sub)
}

// inPattern is the textbook rule for a literal subject; that of server.SubjectMatchesFilter takes *b for *.
func inPattern(subject, pattern string) bool {
	tokens, words := strings.Split(subject, "."), strings.Split(pattern, ".")
	for i, w := range words {
		if i >= len(tokens) || w != "*" && w != ">" && w != tokens[i] {
			return false
		}
		if w == ">" {
			return true
		}
	}
	return len(tokens) == len(words)
}

// replying compares how many replies to a request go through.
func (x comparison) replying() {
	i := slices.IndexFunc(alphabet, func(s string) bool { return x.can(claims.Subscribe, s, "").Access == claims.AccessAllowed })
	if i < 0 || x.e.Responses == nil {
		return
	}
	const replies = 4
	for _, reply := range []string{"re.ply", "a"} {
		d := x.can(claims.Publish, reply, "")
		want := 0
		switch {
		case d.Access == claims.AccessAllowed, d.RepliesOnly && x.e.Responses.MaxMsgs < 0:
			want = replies
		case d.RepliesOnly:
			want = min(replies, x.e.Responses.MaxMsgs)
		}
		requests, answers := x.subscribe(x.c, alphabet[i], ""), x.subscribe(x.admin, reply, "")
		flushed(x.t, x.c, x.admin)
		if err := x.admin.PublishRequest(alphabet[i], reply, nil); err != nil {
			x.t.Fatal(err)
		}
		flushed(x.t, x.admin, x.c)
		for range replies {
			if err := x.c.Publish(reply, nil); err != nil {
				x.t.Fatal(err)
			}
		}
		x.c.refusals(x.t)
		flushed(x.t, x.admin)
		got := len(received(x.t, answers))
		if alphabet[i] == reply {
			got-- // the request
		}
		x.check("reply", got == want, "%s: %d, want %d; we say %+v", reply, got, want, d)
		x.unsubscribe(x.c, requests)
		x.unsubscribe(x.admin, answers)
	}
}

// info compares rule by rule with what the server says it enforces.
func (x comparison) info() {
	if x.can(claims.Publish, userInfo, "").Access != claims.AccessAllowed || x.can(claims.Subscribe, "_INBOX.x.*", "").Access != claims.AccessAllowed {
		return
	}
	got := askInfo(x.t, x.c.Conn)
	diff := cmp.Diff(wanted(x.e), got, cmpopts.SortSlices(strings.Compare), cmpopts.EquateEmpty())
	x.check("user info", diff == "", "(-we +server)\n%s", diff)
}

const userInfo = "$SYS.REQ.USER.INFO"

// enforced is a permission set as $SYS.REQ.USER.INFO tells it.
type enforced struct {
	Publish   struct{ Allow, Deny []string }
	Subscribe struct{ Allow, Deny []string }
	Responses *jwt.ResponsePermission
}

func askInfo(t testing.TB, nc *nats.Conn) enforced {
	t.Helper()
	m, err := nc.Request(userInfo, nil, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Data struct{ Permissions enforced }
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Data.Permissions
}

func wanted(e claims.Effective) enforced {
	list := func(rules []claims.Rule) []string {
		var out []string
		for _, r := range rules {
			out = append(out, strings.TrimSuffix(r.Subject+" "+r.Queue, " "))
		}
		return out
	}
	var out enforced
	out.Publish.Allow, out.Publish.Deny = list(e.Publish.Allow), list(e.Publish.Deny)
	out.Subscribe.Allow, out.Subscribe.Deny = list(e.Subscribe.Allow), list(e.Subscribe.Deny)
	out.Responses = e.Responses
	return out
}
