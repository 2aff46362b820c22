package claims_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"chancery/claims"
)

// No subject that we let pass is invalid for a server, and of a subject that is asked about we say the same as it.
func FuzzSubject(f *testing.F) {
	for _, corpus := range []map[string]map[where][]string{acceptedSubjects, refusedSubjects} {
		for _, groups := range corpus {
			for _, subjects := range groups {
				for _, s := range subjects {
					f.Add(s)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, in := range []where{inPublish, inSubscribe, inTemplate} {
			if problems := claims.CheckSubject("", s, in.queue, in.template); !problems.Blocking() && !serverAccepts(s) {
				t.Errorf("a server refuses %q in %+v", s, in)
			}
		}
		if len(s) > claims.MaxSubjectLength || claims.LooksLikeSeed(s) {
			return
		}
		var open claims.Effective
		if _, problems := open.Can(claims.Subscribe, s, ""); server.IsValidSubject(s) != (len(problems) == 0) {
			t.Errorf("subscribing to %q: %+v", s, problems)
		}
		if _, problems := open.Can(claims.Publish, s, ""); server.IsValidPublishSubject(s) != (len(problems) == 0) {
			t.Errorf("publishing to %q: %+v", s, problems)
		}
	})
}

// A template comes to what a server makes of it: the same rules, or the same refusal.
func FuzzExpand(f *testing.F) {
	for _, s := range []struct{ pubAllow, pubDeny, subAllow, subDeny, name, tags, accountName, accountTags string }{
		{"a.{{name()}}\nb", "", "", "", "ada", "", "", ""},
		{"{{tag(x)}}.{{tag(y)}}", "{{tag(x)}}", "", "a q\nb", "ada", "x:1\nx:2\ny:3", "", ""},
		{"a.{{tag(none)}}", "", "b {{name()}}", "", "ada", "", "", ""},
		{"", "{{tag(none)}}", "", "", "ada", "", "", ""},
		{"", "a.{{name()}}", "", "", "a b", "", "", ""},
		{"{{account-name()}}.{{account-tag(e)}}.{{subject()}}.{{account-subject()}}", "", "{{ NAME() }}.{{Tag(x)}}", "", "n", "tag(x:1", "acme", "e:1\ne:2"},
		{"{{nope()}}", "", "", "", "", "", "", ""},
		{"{{}}\n{{{name()}}}", "", "", "", "", "", "", ""},
		{"a.{{name()}}.{{tag(x)}}", "", "", "", "{{tag(x)}}", "x:{{name()}}\nx:b", "", ""},
		{"{{tag(x)}}" + strings.Repeat(".{{tag(x)}}", 11), "", "", "", "", "x:1\nx:2", "", ""},
		{"{{tag(x)}}" + strings.Repeat(".{{tag(x)}}", 12), "", "", "", "", "x:1\nx:2", "", ""},
		{"{{\u017fubject()}}", "a b", "a\u00a0b\n a\n>.a", "a b c", "", "", "", ""},
		{"{{tag()}}", "", "{{name()}}\na q", "", "*", ":a", "", ""},
		{"", "", "{{name()}}", ">", ">", "", "", ""},
	} {
		f.Add(s.pubAllow, s.pubDeny, s.subAllow, s.subDeny, s.name, s.tags, s.accountName, s.accountTags)
	}
	w := newWorld(f, func(o *server.Options) { o.MaxControlLine = 1 << 20 })
	f.Fuzz(func(t *testing.T, pubAllow, pubDeny, subAllow, subDeny, name, tags, accountName, accountTags string) {
		signer, key := newPair(t, claims.KindAccount), newPair(t, claims.KindUser)
		a := jwt.NewAccountClaims(newPair(t, claims.KindAccount).id)
		a.Name, a.Account.Tags = accountName, lines(accountTags)
		scope := jwt.NewUserScope()
		scope.Key = signer.id
		p := &scope.Template.Permissions
		p.Pub.Allow, p.Pub.Deny = lines(pubAllow, userInfo), lines(pubDeny)
		p.Sub.Allow, p.Sub.Deny = lines(subAllow, "_INBOX.>"), lines(subDeny)
		a.SigningKeys.AddScopedSigner(scope)
		u := jwt.NewUserClaims(key.id)
		u.Name, u.User.Tags, u.IssuerAccount = name, lines(tags), a.Subject
		u.SetScoped(true)
		accountToken, token := encode(t, a, w.signing), encode(t, u, signer)
		if len(accountToken) > 1<<19 || len(token) > 1<<19 {
			return
		}
		w.store(t, a.Subject, accountToken)
		nc, err := w.dial(t, token, key)
		account, err1 := jwt.DecodeAccountClaims(accountToken)
		user, err2 := jwt.DecodeUserClaims(token)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		e := claims.EffectivePermissions(user, account)
		switch {
		case (err == nil) != (e.Refusal == nil) || err != nil && !errors.Is(err, nats.ErrAuthorization):
			t.Fatalf("connecting: %v, but we say %+v", err, e.Refusal)
		case err != nil:
		case !can(t, e, claims.Publish, userInfo):
			if mayPublish(t, nc, userInfo) {
				t.Errorf("published, and we say %+v", e)
			}
		case !can(t, e, claims.Subscribe, "_INBOX.x.*"):
			if maySubscribe(t, nc, "_INBOX.x.*", "") {
				t.Errorf("subscribed, and we say %+v", e)
			}
		default:
			if diff := cmp.Diff(wanted(e), askInfo(t, nc), cmpopts.SortSlices(strings.Compare), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-we +server)\n%s", diff)
			}
		}
	})
}

func can(t testing.TB, e claims.Effective, a claims.Action, subject string) bool {
	t.Helper()
	d, problems := e.Can(a, subject, "")
	if len(problems) > 0 {
		t.Fatalf("%+v", problems)
	}
	return d.Access != claims.AccessDenied
}

// lines splits a list, and adds more to one that is not empty.
func lines(s string, more ...string) []string {
	if s == "" {
		return nil
	}
	return append(strings.Split(s, "\n"), more...)
}
