package issuer_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"pgregory.net/rapid"

	"chancery/claims"
	"chancery/issuer"
	"chancery/store/storetest"
)

// bounded is an account in which anything is tried, and the guardrails over it.
type bounded struct {
	h        *house
	operator string
	account  string
	levels   []claims.Guardrails
	// made and refused show that the test is about something.
	made, refused int
	users         []string
}

// words are what subjects of the attempts are made of.
var words = []string{"orders", "billing", "_INBOX", "_INBOX_x", "{{name()}}", "{{tag(team)}}", "_INBOX_{{name()}}", "*", "eu"}

func drawSubject(r *rapid.T, template bool) string {
	var tokens []string
	if rapid.IntRange(0, 3).Draw(r, "within") > 0 { // else little would be accepted
		tokens = append(tokens, "orders", "eu")
	}
	for range rapid.IntRange(1, 3).Draw(r, "tokens") {
		w := rapid.SampledFrom(words).Draw(r, "word")
		if strings.Contains(w, "{") && !template {
			w = "x"
		}
		tokens = append(tokens, w)
	}
	if rapid.Bool().Draw(r, "open") {
		tokens = append(tokens, ">")
	}
	return strings.Join(tokens, ".")
}

func drawPermissions(r *rapid.T, template bool) *jwt.UserPermissionLimits {
	p := claims.NewPermissionLimits()
	p.BearerToken = rapid.IntRange(0, 5).Draw(r, "bearer") == 0
	for _, list := range []*jwt.StringList{&p.Pub.Allow, &p.Sub.Allow, &p.Pub.Deny} {
		for range rapid.SampledFrom([]int{0, 1, 1, 1, 2}).Draw(r, "subjects") {
			list.Add(drawSubject(r, template))
		}
	}
	if rapid.IntRange(0, 5).Draw(r, "respond") == 0 {
		p.Resp = &jwt.ResponsePermission{MaxMsgs: 1}
	}
	return &p
}

func drawGuardrails(r *rapid.T) claims.Guardrails {
	if rapid.IntRange(0, 2).Draw(r, "free") == 0 {
		return quota(claims.QuotaUsers, 12)
	}
	return claims.Guardrails{
		MaxTTL: rapid.SampledFrom([]int64{0, 600, 3600}).Draw(r, "most"), NoBearer: rapid.Bool().Draw(r, "no bearer"),
		UserTags: rapid.SampledFrom([][]string{nil, {"team"}, {"team", "env"}}).Draw(r, "tags"),
		Subjects: rapid.SampledFrom([][]string{nil, {"orders."}, {"orders.", "inboxes"}, {"orders.eu.", "billing.", "responses"}, {"_INBOX.", "orders."}}).Draw(r, "prefixes"),
		Quotas:   map[claims.Quota]int64{claims.QuotaUsers: rapid.Int64Range(3, 8).Draw(r, "users"), claims.QuotaTemplates: 4},
	}
}

// step tries one thing, and holds what it made against the guardrails.
func (b *bounded) step(r *rapid.T, t testing.TB, n int) {
	ctx, o := t.Context(), because()
	tags := rapid.SampledFrom([][]string{{"team:a"}, {"team:a", "env:p"}, {"env:p", "team:a"}, {"team:a", "team:b", "env:p"}}).Draw(r, "tags")
	issue := &issuer.IssueInput{TTL: time.Duration(rapid.SampledFrom([]int64{0, 0, 300, 300, 601, 7200}).Draw(r, "ttl")) * time.Second}
	if rapid.IntRange(0, 9).Draw(r, "for ever") == 0 {
		issue = &issuer.IssueInput{NoExpiry: true}
	}
	user := rapid.SampledFrom(b.users).Draw(r, "user")
	template := rapid.SampledFrom([]string{"device", "t0", "t1", "shared"}).Draw(r, "template")
	name := fmt.Sprint("u", n)
	var issued []*issuer.Issued
	var err error
	switch rapid.SampledFrom([]string{"user", "templated", "bulk", "edit", "issue", "renew", "roll", "reissue", "template", "shared", "change", "link"}).Draw(r, "what") {
	case "user":
		var out issuer.Outcome[issuer.UserWithCredential]
		out, err = b.h.CreateUser(ctx, o, b.account, issuer.UserInput{Name: name, Permissions: drawPermissions(r, false), Tags: tags, Issue: issue})
		issued, b.users = append(issued, out.Value.Issued), append(b.users, name)
	case "templated":
		var out issuer.Outcome[issuer.UserWithCredential]
		out, err = b.h.CreateUser(ctx, o, b.account, issuer.UserInput{Name: name, Template: template, Tags: tags, Issue: issue})
		issued, b.users = append(issued, out.Value.Issued), append(b.users, name)
	case "bulk":
		var list []issuer.BulkResult
		list, err = b.h.CreateUsers(ctx, o, b.account, []issuer.UserInput{
			{Name: name, Permissions: drawPermissions(r, false), Tags: tags, Issue: issue}, {Name: name + "b", Template: template, Tags: tags, Issue: issue},
		})
		for _, x := range list {
			issued, b.users = append(issued, x.Issued), append(b.users, x.Name)
		}
	case "edit":
		_, err = b.h.UpdateUser(ctx, o, b.account, user, func(e *issuer.UserEdit) {
			e.Tags, e.Template, e.Permissions = tags, "", drawPermissions(r, false)
		})
	case "issue":
		var out issuer.Outcome[issuer.Issued]
		out, err = b.h.Issue(ctx, o, b.account, user, *issue)
		issued = append(issued, &out.Value)
	case "renew":
		var out issuer.Outcome[issuer.Issued]
		out, err = b.h.Renew(ctx, o, b.account, user, issuer.RenewInput{TTL: issue.TTL, NoExpiry: issue.NoExpiry})
		issued = append(issued, &out.Value)
	case "roll":
		var out issuer.Outcome[issuer.Rolled]
		out, err = b.h.Roll(ctx, o, b.account, user, issuer.RollInput{IssueInput: *issue})
		issued = append(issued, &out.Value.Issued)
	case "reissue":
		var out issuer.Outcome[issuer.Reissued]
		out, err = b.h.Reissue(ctx, o, b.account, user, *issue)
		issued = append(issued, &out.Value.Issued)
	case "template":
		_, err = b.h.CreateTemplate(ctx, o, b.account, issuer.TemplateInput{Body: claims.Template{Name: fmt.Sprint("t", n%2), Permissions: *drawPermissions(r, true)}})
	case "shared":
		_, err = b.h.UpdateSharedTemplate(ctx, o, b.operator, "shared", func(in *issuer.TemplateInput) { in.Body.Permissions = *drawPermissions(r, true) })
	case "change":
		_, err = b.h.UpdateTemplate(ctx, o, b.account, template, func(in *issuer.TemplateInput) { in.Body.Permissions = *drawPermissions(r, true) })
	case "link":
		in := *issue
		in.Delivery = issuer.DeliverLink
		var out issuer.Outcome[issuer.Issued]
		if out, err = b.h.Issue(ctx, o, b.account, user, in); err == nil {
			var used issuer.Issued
			used, _, err = b.h.UseCredentialLink(ctx, issuer.Op{RequestID: "req_l"}, out.Value.Link)
			issued = append(issued, &used)
		}
	}
	b.h.advance(2 * time.Second)
	if err != nil {
		if e := issuer.AsError(err); e.Kind == issuer.KindInternal || e.Kind == issuer.KindBusy {
			r.Fatalf("%v", err)
		}
		b.refused++
		return
	}
	if err := b.h.Upkeep(ctx); err != nil { // what changed at the operator reaches the account
		r.Fatal(err)
	}
	b.made++
	for _, x := range issued {
		if x != nil && !x.JWT.Empty() {
			b.hold(r, t, decode[*jwt.UserClaims](t, x.JWT.Reveal()))
		}
	}
}

var inboxRE = regexp.MustCompile(`^_INBOX(_[^.]+)?\.`)

// hold is what the guardrails mean, told of what a nats-server will make of a credential.
func (b *bounded) hold(r *rapid.T, t testing.TB, c *jwt.UserClaims) {
	account := decode[*jwt.AccountClaims](t, b.h.account(t, b.account).JWT)
	e := claims.EffectivePermissions(c, account)
	bearer := c.BearerToken
	if scope, ok := account.SigningKeys[c.Issuer].(*jwt.UserScope); ok && scope != nil {
		bearer = scope.Template.BearerToken
	}
	for _, g := range b.levels {
		if g.NoBearer && bearer {
			r.Fatalf("a bearer credential under %+v", g)
		}
		if g.MaxTTL > 0 && (c.Expires == 0 || c.Expires-c.IssuedAt > g.MaxTTL) {
			r.Fatalf("it lives from %d to %d under %+v", c.IssuedAt, c.Expires, g)
		}
		for _, key := range g.UserTags {
			if !slices.ContainsFunc(c.User.Tags, func(s string) bool { return strings.HasPrefix(s, key+":") }) {
				r.Fatalf("its tags are %q under %+v", c.User.Tags, g)
			}
		}
		if len(g.Subjects) == 0 || e.Refusal != nil {
			continue
		}
		if e.Responses != nil && !slices.Contains(g.Subjects, "responses") {
			r.Fatalf("it answers under %+v", g)
		}
		for action, set := range map[string]claims.RuleSet{"publish": e.Publish, "subscribe": e.Subscribe} {
			silent := slices.ContainsFunc(set.Deny, func(rule claims.Rule) bool { return rule.Subject == ">" })
			if !set.Restricted && !silent {
				r.Fatalf("it may %s everything under %+v", action, g)
			}
			for _, rule := range set.Allow {
				if !silent && !slices.ContainsFunc(g.Subjects, func(p string) bool {
					return p == "inboxes" && inboxRE.MatchString(rule.Subject) || strings.HasSuffix(p, ".") && strings.HasPrefix(rule.Subject, p) && rule.Subject != p
				}) {
					r.Fatalf("it may %s %s under %+v", action, rule.Subject, g)
				}
			}
		}
	}
}

// Q15 and its neighbours: whatever is tried under whatever guardrails, nothing that was made afterwards is outside
// of what they mean to a nats-server, and nothing exceeds a quota.
func TestGuardrailsHoldForAnySequence(t *testing.T) {
	t.Parallel()
	for _, dialect := range storetest.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, dialect)
			steps, made, refused, lived := 0, 0, 0, 0
			rapid.Check(t, func(r *rapid.T) {
				if lived++; lived > bounds { // a life is a hundred transactions
					return
				}
				w := h.furnishAs(t, fmt.Sprint("life ", lived), "A")
				shared := deviceTemplate()
				shared.Body.Name = "shared"
				did(h.CreateSharedTemplate(t.Context(), op(), w.operator.ID, shared)).well(t)
				b := &bounded{h: h, operator: w.operator.ID, account: w.account.ID, users: []string{"d1", "ada@example.com"}, levels: []claims.Guardrails{drawGuardrails(r), drawGuardrails(r)}}
				o := op()
				o.ExpectedVersion = w.operator.Version
				did(h.SetOperatorGuardrails(t.Context(), o, b.operator, b.levels[0])).well(t)
				o.ExpectedVersion = h.account(t, b.account).Version
				did(h.SetAccountGuardrails(t.Context(), o, b.account, b.levels[1])).well(t)
				for n := range rapid.IntRange(10, 30).Draw(r, "steps") {
					b.step(r, t, n)
					steps++
				}
				b.holdQuotas(r, t)
				made, refused = made+b.made, refused+b.refused
			})
			if made == 0 || refused == 0 {
				t.Errorf("%d made and %d refused: nothing was tried", made, refused)
			}
			t.Logf("%d of %d steps within the guardrails: %d made something, %d were refused", steps, steps, made, refused)
		})
	}
}

func (b *bounded) holdQuotas(r *rapid.T, t testing.TB) {
	users, err := b.h.ListUsers(t.Context(), owner, b.account, issuer.Page{Limit: 100})
	if err != nil {
		r.Fatal(err)
	}
	for _, g := range b.levels {
		if int64(len(users)) > g.Quotas[claims.QuotaUsers] {
			r.Fatalf("%d users under %+v", len(users), g)
		}
	}
}
