package claims_test

import (
	"fmt"
	"testing"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// crowd is an account with a template of the usual size, and its users.
func crowd(b testing.TB, n int) []claims.Member {
	b.Helper()
	signer := newPair(b, claims.KindAccount)
	a := jwt.NewAccountClaims(newPair(b, claims.KindAccount).id)
	a.Name = "tenant"
	scope := jwt.NewUserScope()
	scope.Key = signer.id
	scope.Template.Pub.Allow = jwt.StringList{"devices.{{tag(region)}}.{{name()}}.>", "status.{{name()}}", "_INBOX.>", "$JS.API.STREAM.INFO.KV_cfg"}
	scope.Template.Pub.Deny = jwt.StringList{"devices.*.*.secret.>"}
	scope.Template.Sub.Allow = jwt.StringList{"cmd.{{name()}}.>", "jobs.{{tag(region)}}.*", "_INBOX.>"}
	scope.Template.Sub.Deny = jwt.StringList{"cmd.*.secret"}
	a.SigningKeys.AddScopedSigner(scope)
	members := make([]claims.Member, n)
	for i := range members {
		u := jwt.NewUserClaims("U")
		u.Name, u.Issuer, u.IssuerAccount = fmt.Sprintf("device-%d", i), signer.id, a.Subject
		u.User.Tags = jwt.TagList{"region:eu", "region:us", "beta"}
		u.SetScoped(true)
		members[i] = claims.Member{Account: a.Name, User: u.Name, UserClaims: u, AccountClaims: a}
	}
	return members
}

func BenchmarkExpand(b *testing.B) {
	m := crowd(b, 1)[0]
	b.Run("device", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if e := claims.EffectivePermissions(m.UserClaims, m.AccountClaims); len(e.Publish.Allow) != 5 {
				b.Fatalf("%+v", e)
			}
		}
	})
	b.Run("4096", func(b *testing.B) {
		b.ReportAllocs()
		scope := jwt.NewUserScope()
		scope.Key = newPair(b, claims.KindAccount).id
		scope.Template.Pub.Allow = jwt.StringList{"{{tag(x)}}.{{tag(x)}}.{{tag(x)}}"}
		a, u := *m.AccountClaims, *m.UserClaims
		a.SigningKeys = jwt.SigningKeys{scope.Key: scope}
		u.Issuer, u.User.Tags = scope.Key, nil
		for i := range 16 {
			u.User.Tags = append(u.User.Tags, fmt.Sprintf("x:%d", i))
		}
		for b.Loop() {
			if e := claims.EffectivePermissions(&u, &a); len(e.Publish.Allow) != 4096 {
				b.Fatalf("%+v", e.Refusal)
			}
		}
	})
}

func BenchmarkCan(b *testing.B) {
	m := crowd(b, 1)[0]
	e := claims.EffectivePermissions(m.UserClaims, m.AccountClaims)
	for _, subject := range []string{"devices.eu.device-0.temp", "devices.eu.device-1.temp", "devices.eu.device-0.secret.x"} {
		b.Run(subject, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, problems := e.Can(claims.Publish, subject, ""); len(problems) > 0 {
					b.Fatal(problems)
				}
			}
		})
	}
}

func BenchmarkWho(b *testing.B) {
	members := crowd(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, problems := claims.Who(members, claims.Publish, "devices.eu.device-77.temp", ""); len(problems) > 0 {
			b.Fatal(problems)
		}
	}
}
