package claims_test

import (
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"

	"chancery/claims"
)

// subscribe is a permission set; lists are separated by line breaks.
func subscribe(allow, deny string) jwt.Permissions {
	return jwt.Permissions{Sub: jwt.Permission{Allow: lines(allow), Deny: lines(deny)}}
}

// What a server does with lists that can be read in two ways, and how we explain it.
func TestOddCases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const allowed, filtered, denied = claims.AccessAllowed, claims.AccessFiltered, claims.AccessDenied
	both := subscribe("jobs\njobs workers", "")
	for name, c := range map[string]struct {
		permissions    jwt.Permissions
		subject, queue string
		access         claims.Access
		why            string
		// delivers are subjects that arrive, withholds are those that do not.
		delivers, withholds string
	}{
		"* covers > when it is asked for":     {subscribe("a.*", ""), "a.>", "", allowed, "The user's own permissions allow a.*. A nats-server takes that to cover a.>, so deeper subjects are delivered too.", "a.b a.b.c.d", ""},
		"* covers > at the very top":          {subscribe("*", ""), ">", "", allowed, "The user's own permissions allow *. A nats-server takes that to cover >, so deeper subjects are delivered too.", "a a.b.c", ""},
		"a word does not cover *":             {subscribe("a.b", ""), "a.*", "", denied, "No allow rule matches; the closest is a.b.", "", ""},
		"two words do not make a *":           {subscribe("a.*.c\na.b.*", ""), "a.*.*", "", denied, "No allow rule matches; the closest is a.*.c.", "", ""},
		"a denied * denies >":                 {subscribe("", "a.*"), "a.>", "", denied, "The user's own permissions deny a.*.", "", ""},
		"a denied word filters *":             {subscribe("", "a.b"), "a.*", "", filtered, "Nothing restricts it. What matches a.b is not delivered.", "a.c", "a.b"},
		"denied below filters >":              {subscribe("a.>", "a.*.x\na.b.>"), "a.>", "", filtered, "The user's own permissions allow a.>. What matches a.*.x, or one of 1 more deny rules, is not delivered.", "a.c a.c.d", "a.b.c a.c.x"},
		"both, alone":                         {both, "jobs", "", allowed, "The user's own permissions allow jobs.", "jobs", ""},
		"both, in the group":                  {both, "jobs", "workers", allowed, "The user's own permissions allow jobs workers.", "jobs", ""},
		"both, in another group":              {both, "jobs", "others", denied, "For this subject the allow list names other queue groups, such as workers, so this one is refused.", "", ""},
		"a group alone":                       {subscribe("jobs workers", ""), "jobs", "", denied, "It is allowed in the queue group workers only.", "", ""},
		"no group, any group":                 {subscribe("jobs", ""), "jobs", "others", allowed, "The user's own permissions allow jobs.", "jobs", ""},
		"a group of another subject":          {subscribe("jobs\nother.* workers", ""), "jobs", "others", allowed, "The user's own permissions allow jobs.", "jobs", ""},
		"a pattern of groups":                 {subscribe("jobs v1.*", ""), "jobs", "v1.a", allowed, "The user's own permissions allow jobs v1.*.", "jobs", ""},
		"a pattern that begins with a *":      {subscribe("jobs *z.*", ""), "jobs", "q.a", allowed, "The user's own permissions allow jobs *z.*.", "jobs", ""},
		"a denied group, alone":               {subscribe("", "jobs workers"), "jobs", "", allowed, "Nothing restricts it.", "jobs", ""},
		"a denied group, in it":               {subscribe("", "jobs workers"), "jobs", "workers", denied, "The user's own permissions deny jobs workers.", "", ""},
		"a denied group, in another":          {subscribe("", "jobs workers"), "jobs", "others", allowed, "Nothing restricts it.", "jobs", ""},
		"a denied group filters it":           {subscribe("", "jobs.a workers"), "jobs.*", "workers", filtered, "Nothing restricts it. What matches jobs.a is not delivered.", "jobs.b", "jobs.a"},
		"a denied group, not filtered alone":  {subscribe("", "jobs.a workers"), "jobs.*", "", allowed, "Nothing restricts it.", "jobs.a", ""},
		"the group of the server":             {subscribe("", ""), "jobs", "_sys_", denied, "A nats-server keeps the queue group _sys_ to itself.", "", ""},
		"a no-break space divides":            {subscribe("jobs\u00a0workers", ""), "jobs", "workers", allowed, "The user's own permissions allow jobs\u00a0workers, here jobs workers.", "jobs", ""},
		"a queue pattern needs no wildcard >": {subscribe("jobs >", ""), "jobs", "a.b.c", allowed, "The user's own permissions allow jobs >.", "jobs", ""},
		"nothing in common":                   {subscribe("*.x", ""), "jobs", "", denied, "No allow rule matches.", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := anOpenAccount(t, func(*jwt.AccountClaims) {})
			w.store(t, s.account.Subject, encode(t, s.account, w.signing))
			key := newPair(t, claims.KindUser)
			u := jwt.NewUserClaims(key.id)
			u.IssuerAccount, u.Permissions = s.account.Subject, c.permissions
			u.Pub.Allow = jwt.StringList{">"} // what it sees is its own
			nc, err := w.dial(t, encode(t, u, s.plain), key)
			if err != nil {
				t.Fatal(err)
			}
			u.Issuer = s.plain.id
			d, problems := claims.EffectivePermissions(u, s.account).Can(claims.Subscribe, c.subject, c.queue)
			if len(problems) > 0 || d.Access != c.access || d.Why != c.why {
				t.Errorf("%+v, want %s: %s %+v", d, c.access, c.why, problems)
			}
			sub, err := nc.QueueSubscribeSync(c.subject, c.queue)
			if err != nil {
				t.Fatal(err)
			}
			if got := refused(t, nc); got != (c.access == denied) {
				t.Fatalf("the server refuses: %v", got)
			}
			for _, subject := range strings.Fields(c.delivers + " " + c.withholds) {
				if err := nc.Publish(subject, nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(received(t, sub), " "); got != c.delivers {
				t.Errorf("delivered %q, want %q", got, c.delivers)
			}
		})
	}
}

func TestQuestions(t *testing.T) {
	t.Parallel()
	var open claims.Effective
	long := strings.Repeat("a", claims.MaxSubjectLength+1)
	for name, c := range map[string]struct {
		action         claims.Action
		subject, queue string
		pointer, code  string
	}{
		"an action that is none":  {"read", "a", "", "/action", "unknown_value"},
		"a publisher's queue":     {claims.Publish, "a", "q", "/queue", "invalid_queue"},
		"a queue with a space":    {claims.Subscribe, "a", "q r", "/queue", "invalid_queue"},
		"a long queue":            {claims.Subscribe, "a", long, "/queue", "too_long"},
		"a seed as the queue":     {claims.Subscribe, "a", aSeed, "/queue", "seed_not_accepted"},
		"a long subject":          {claims.Subscribe, long, "", "/subject", "too_long"},
		"a seed":                  {claims.Subscribe, aSeed, "", "/subject", "seed_not_accepted"},
		"an empty subject":        {claims.Subscribe, "", "", "/subject", "invalid_subject"},
		"a wildcard to publish":   {claims.Publish, "a.*", "", "/subject", "not_literal"},
		"everything to publish":   {claims.Publish, ">", "", "/subject", "not_literal"},
		"> before the end":        {claims.Subscribe, ">.a", "", "/subject", "invalid_subject"},
		"what a server keeps":     {claims.Publish, "_GR_.a", "", "", ""},
		"a star within a word":    {claims.Publish, "a*", "", "", ""},
		"a wildcard to subscribe": {claims.Subscribe, "a.*", "q.*", "", ""},
	} {
		_, problems := open.Can(c.action, c.subject, c.queue)
		if c.code == "" && len(problems) == 0 || len(problems) == 1 && problems[0].Pointer == c.pointer && problems[0].Code == c.code && problems.Blocking() {
			continue
		}
		t.Errorf("%s: %+v, want %s at %s", name, problems, c.code, c.pointer)
	}
}

// Whose rule it is and what became of a function is in the sentence; what may be a secret is not.
func TestWhy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit    func(*pairing)
		subject string
		why     string
	}{
		"a template's":        {templated(publish("a.{{tag(region)}}", "")), "a.us", "The template's permissions allow a.{{tag(region)}}, here a.us."},
		"the closest":         {templated(publish("a.{{name()}}.x\nb.c.d", "")), "a.bob.x", "No allow rule matches; the closest is a.{{name()}}.x, here a.ada.x."},
		"an account's":        {func(p *pairing) { p.account.DefaultPermissions = publish("", "a") }, "a", "The account's default permissions deny a."},
		"nothing left":        {templated(publish("{{tag(none)}}", "")), "a", "Nothing was left of the allow list, so the nats-server denies everything."},
		"the server's":        {func(p *pairing) { p.account.Authorization.AuthUsers.Add("U") }, "$SYS.REQ.USER.AUTH", "The nats-server itself denies $SYS.REQ.USER.AUTH."},
		"replies":             {own(jwt.Permissions{Resp: &jwt.ResponsePermission{}}), "a", "No allow rule matches. Replies to requests that were received are allowed."},
		"what a server keeps": {own(jwt.Permissions{Resp: &jwt.ResponsePermission{}}), "$NRG.a", "A nats-server keeps what begins with $NRG. to itself."},
		"a seed":              {own(publish("a."+aSeed, "")), "a.b", "No allow rule matches; the closest is a.[seed redacted]."},
	} {
		d, problems := newPairing(c.edit).effective().Can(claims.Publish, c.subject, "")
		if len(problems) > 0 || d.Why != c.why {
			t.Errorf("%s: %q, want %q %+v", name, d.Why, c.why, problems)
		}
		if want := strings.Contains(c.why, "Replies"); d.RepliesOnly != want {
			t.Errorf("%s: replies only: %v", name, d.RepliesOnly)
		}
	}
}

// Patterns that overlap do so for a server too, and the other way round.
func TestFiltersCollide(t *testing.T) {
	t.Parallel()
	patterns := []string{"a", "a.b", "a.*", "*.b", "*", ">", "a.>", "*.>", "a.*.c", "*.*", "a.b.>", "b.>", "*.b.*"}
	for _, deny := range patterns {
		e := newPairing(own(subscribe("", deny))).effective()
		for _, subject := range patterns {
			d, _ := e.Can(claims.Subscribe, subject, "")
			if got, want := d.Access != claims.AccessAllowed, server.SubjectsCollide(deny, subject); got != want {
				t.Errorf("%s against %s: %s, but they collide: %v", subject, deny, d.Access, want)
			}
		}
	}
}
