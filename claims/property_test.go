package claims_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"pgregory.net/rapid"

	"chancery/claims"
)

// tenThousand holds a property against as many cases, in rounds of rapid's own number; against fewer where the race
// detector watches, for make test runs it once more without.
func tenThousand(t *testing.T, name string, property func(*rapid.T)) {
	t.Helper()
	var tried atomic.Int64
	t.Run("cases", func(t *testing.T) {
		for n := range 4 {
			t.Run(strconv.Itoa(n), func(t *testing.T) {
				t.Parallel()
				for mine := 0; mine < manyCases/4 && !t.Failed(); {
					rapid.Check(t, func(r *rapid.T) {
						mine++
						tried.Add(1)
						property(r)
					})
				}
			})
		}
	})
	fmt.Printf("%s: %d cases\n", name, tried.Load())
}

// Q2: once a user is revoked, no sequence of other operations makes a JWT valid that was issued to it before.
func TestRevokedStaysRevoked(t *testing.T) {
	t.Parallel()
	users := []string{newPair(t, claims.KindUser).id, newPair(t, claims.KindUser).id}
	victim, account := users[0], newPair(t, claims.KindAccount).id
	tenThousand(t, "Q2 revoked stays revoked", func(r *rapid.T) {
		a := claims.Account{ID: account, Name: "a", Settings: claims.NewAccountSettings(), Revocations: map[string]int64{}}
		now, highest := time.Unix(1_800_000_000, 0), map[string]int64{}
		var issued, dead []claims.Issued
		steps := rapid.IntRange(2, 14).Draw(r, "steps")
		revokeAt := rapid.IntRange(0, steps-1).Draw(r, "revoked in step")
		for n := range steps {
			now = now.Add(time.Duration(rapid.IntRange(-30, 300).Draw(r, "seconds pass")) * time.Second)
			user := rapid.SampledFrom(users).Draw(r, "user")
			operation := rapid.IntRange(0, 5).Draw(r, "operation")
			if n == revokeAt {
				user, operation = victim, 1
			}
			switch operation {
			case 0:
				highest[user] = claims.NextIssuedAt(now, max(highest[user], a.Revocations[user], a.Revocations[jwt.All]))
				x := claims.Issued{Subject: user, IssuedAt: highest[user]}
				if lifetime := rapid.Int64Range(0, 400).Draw(r, "lifetime"); lifetime > 0 {
					x.Expires = x.IssuedAt + lifetime
				}
				issued = append(issued, x)
			case 1:
				a.Revocations[user] = claims.RevokedBefore(now, max(highest[user], a.Revocations[user]))
			case 2:
				a.Revocations[jwt.All] = claims.RevokedBefore(now, max(highest[users[0]], highest[users[1]], a.Revocations[jwt.All]))
			case 3:
				a.Revocations, _ = claims.CompactRevocations(a.Revocations, issued, now)
			case 4:
				a.Settings.Limits.Conn = rapid.Int64Range(-1, 5).Draw(r, "connections")
			case 5:
				c := unchecked(a)
				a = claims.AccountOf(c)
			}
			if n == revokeAt {
				for _, x := range issued {
					if x.Subject == victim {
						dead = append(dead, x)
					}
				}
			}
			c := unchecked(a)
			for _, x := range dead {
				if !c.IsClaimRevoked(user2(x)) && !expired(x, now) {
					r.Fatalf("%+v lives again at %d with %v", x, now.Unix(), a.Revocations)
				}
			}
			// A clock that runs backwards must not undo what compaction took for expired.
			issued = slices.DeleteFunc(issued, func(x claims.Issued) bool { return expired(x, now) })
			dead = slices.DeleteFunc(dead, func(x claims.Issued) bool { return expired(x, now) })
		}
	})
}

func user2(x claims.Issued) *jwt.UserClaims { return user(x.Subject, x.IssuedAt) }

func expired(x claims.Issued, now time.Time) bool { return x.Expires != 0 && now.Unix() > x.Expires }

// drawn is one of the four kinds of JWT with some of what it can have left out.
func drawn(r *rapid.T, signers map[claims.Kind]pair, o claims.Operator, a claims.Account, u claims.User) (claims.Checked, claims.Problems, pair) {
	drop := func(what string) bool { return rapid.IntRange(0, 2).Draw(r, what) > 0 }
	expires := rapid.SampledFrom([]int64{0, 1, 4_000_000_000}).Draw(r, "expires")
	switch rapid.IntRange(0, 3).Draw(r, "kind") {
	case 0:
		o.Expires = expires
		if drop("service URLs") {
			o.Settings.OperatorServiceURLs = nil
		}
		if drop("keys") {
			o.SigningKeys, o.Settings.StrictSigningKeyUsage = nil, false
		}
		c, problems := claims.BuildOperator(o)
		return c, problems, signers[claims.KindOperator]
	case 1:
		a.Expires, a.NotBefore = expires, rapid.SampledFrom([]int64{0, 1}).Draw(r, "not before")
		if drop("exports") {
			a.Settings.Exports = nil
		}
		if drop("imports") {
			a.Settings.Imports = nil
		}
		if drop("tiers") {
			a.Settings.Limits.JetStreamTieredLimits = nil
			a.Settings.Limits.DiskStorage = rapid.Int64Range(-1, 1<<60).Draw(r, "disk")
		}
		if drop("trace") {
			a.Settings.Trace = nil
		}
		if drop("keys") {
			a.Keys = nil
		}
		if drop("mappings") {
			a.Settings.Mappings = nil
		}
		if drop("revocations") {
			a.Revocations = nil
		}
		c, problems := claims.BuildAccount(a)
		return c, problems, signers[claims.KindOperator]
	case 2:
		u.Expires = expires
		if drop("permissions") {
			u.Permissions = nil
		}
		c, problems := claims.BuildUser(u)
		return c, problems, signers[claims.KindAccount]
	}
	c, problems := claims.BuildActivation(claims.Activation{
		Account: a.ID, Exporter: u.Account, Subject: jwt.Subject(rapid.SampledFrom([]string{"a.>", "b"}).Draw(r, "subject")),
		Kind: jwt.ExportType(rapid.IntRange(1, 2).Draw(r, "kind of share")), Tags: u.Tags, Name: rapid.SampledFrom([]string{"", "x"}).Draw(r, "name"), Expires: expires,
	})
	return c, problems, signers[claims.KindAccount]
}

// rebuilt goes the long way: claims to what they are built from, and back.
func rebuilt(c jwt.Claims) (claims.Checked, claims.Problems) {
	switch v := c.(type) {
	case *jwt.OperatorClaims:
		return claims.BuildOperator(claims.OperatorOf(v))
	case *jwt.AccountClaims:
		return claims.BuildAccount(claims.AccountOf(v))
	case *jwt.UserClaims:
		return claims.BuildUser(claims.UserOf(v))
	case *jwt.ActivationClaims:
		return claims.BuildActivation(claims.ActivationOf(v))
	}
	return claims.Checked{}, claims.Problems{{Blocking: true}}
}

// Q8: a JWT that is read and signed anew without an edit says the same, but for who signed it, when, and its id.
func TestUneditedStaysTheSame(t *testing.T) {
	t.Parallel()
	o, a, u := anOperator(t), anAccount(t), aUser(t)
	a.Keys[1].Template.Permissions.Locale = "" // reading a time zone costs more than all the rest
	signers := map[claims.Kind]pair{claims.KindOperator: newPair(t, claims.KindOperator), claims.KindAccount: newPair(t, claims.KindAccount)}
	others := map[claims.Kind]pair{claims.KindOperator: newPair(t, claims.KindOperator), claims.KindAccount: newPair(t, claims.KindAccount)}
	tenThousand(t, "Q8 unedited stays the same", func(r *rapid.T) {
		c, problems, signer := drawn(r, signers, o, a, u)
		if problems.Blocking() {
			r.Fatalf("%+v", problems)
		}
		first, err := claims.Encode(c, claims.Stamp{Issuer: signer.id, IssuedAt: 1_800_000_000})
		if err != nil {
			r.Fatal(err)
		}
		read, err := claims.Read(compose(t, string(payload(t, string(first.SigningInput()))), signer))
		if err != nil || len(read.Unknown) > 0 {
			r.Fatalf("%v, unknown %v", err, read.Unknown)
		}
		by := others[claims.KindOperator]
		if signer.id == signers[claims.KindAccount].id {
			by = others[claims.KindAccount]
		}
		again := read.Checked
		if rapid.Bool().Draw(r, "rebuilt") {
			again = func() (claims.Checked, claims.Problems) { return rebuilt(read.Claims) }
		}
		c, problems = again()
		if problems.Blocking() {
			r.Fatalf("%+v", problems)
		}
		second, err := claims.Encode(c, claims.Stamp{Issuer: by.id, IssuedAt: 1_800_000_007})
		if err != nil {
			r.Fatal(err)
		}
		if one, two := said(t, first), said(t, second); one != two {
			r.Fatalf("-first +second:\n%s", cmp.Diff(one, two))
		}
	})
}

// statement is a payload as it is written.
type statement struct {
	jwt.ClaimsData
	Nats string
}

// said is a payload without the fields that the signer adds.
func said(t testing.TB, u claims.Unsigned) statement {
	t.Helper()
	var m struct {
		jwt.ClaimsData
		Nats json.RawMessage `json:"nats"`
	}
	if err := json.Unmarshal(payload(t, string(u.SigningInput())), &m); err != nil {
		t.Fatal(err)
	}
	m.Issuer, m.IssuedAt, m.ID = "", 0, ""
	return statement{m.ClaimsData, string(m.Nats)}
}

// place is an object of a payload and the way to it.
type place struct {
	pointer string
	object  map[string]any
}

func places(pointer string, v any) []place {
	var out []place
	switch x := v.(type) {
	case map[string]any:
		out = append(out, place{pointer, x})
		for _, k := range slices.Sorted(maps.Keys(x)) {
			out = append(out, places(claims.Point(pointer, k), x[k])...)
		}
	case []any:
		for i, e := range x {
			out = append(out, places(claims.Point(pointer, i), e)...)
		}
	}
	return out
}

// Q9: a field that this version does not know, wherever in a JWT it stands, is kept or refused with its name.
func TestUnknownFieldsAreNeverDropped(t *testing.T) {
	t.Parallel()
	o, a, u := anOperator(t), anAccount(t), aUser(t)
	a.Keys[1].Template.Permissions.Locale = "" // reading a time zone costs more than all the rest
	a.Settings.Exports[1].Latency = &jwt.ServiceLatency{Sampling: 5, Results: "lat"}
	signers := map[claims.Kind]pair{claims.KindOperator: newPair(t, claims.KindOperator), claims.KindAccount: newPair(t, claims.KindAccount)}
	var named, kept, failed atomic.Int64
	tenThousand(t, "Q9 unknown fields", func(r *rapid.T) {
		c, _, signer := drawn(r, signers, o, a, u)
		first, err := claims.Encode(c, claims.Stamp{Issuer: signer.id, IssuedAt: 1_800_000_000})
		if err != nil {
			r.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(payload(t, string(first.SigningInput())), &m); err != nil {
			r.Fatal(err)
		}
		at := rapid.SampledFrom(places("", m)).Draw(r, "place")
		name := rapid.SampledFrom([]string{"x", "future_field", "a/b", "~", "Tagz", "", "*"}).Draw(r, "name")
		at.object[name] = rapid.SampledFrom([]any{1, "x", nil, true, []any{map[string]any{"y": 1}}, map[string]any{"mem_storage": 7}}).Draw(r, "value")
		raw, err := json.Marshal(m)
		if err != nil {
			r.Fatal(err)
		}
		pointer := claims.Point(at.pointer, name)
		read, err := claims.Read(compose(t, string(raw), signer))
		if err != nil {
			failed.Add(1) // refused as a whole: the value does not fit what is a map
			return
		}
		again, problems := read.Checked()
		if slices.Contains(read.Unknown, pointer) {
			named.Add(1)
			if !slices.ContainsFunc(problems, func(p claims.Problem) bool { return p.Pointer == pointer && p.Code == "unknown_field" && p.Blocking }) {
				r.Fatalf("%s is unknown and not refused: %+v", pointer, problems)
			}
			return
		}
		if problems.Blocking() {
			return
		}
		second, err := claims.Encode(again, claims.Stamp{Issuer: signer.id, IssuedAt: 1_800_000_001})
		if err != nil {
			r.Fatal(err)
		}
		var out map[string]any
		if err := json.Unmarshal(payload(t, string(second.SigningInput())), &out); err != nil {
			r.Fatal(err)
		}
		if !slices.ContainsFunc(places("", out), func(p place) bool { _, ok := p.object[name]; return ok && p.pointer == at.pointer }) {
			r.Fatalf("%s is dropped", pointer)
		}
		kept.Add(1)
	})
	if named.Load() == 0 || kept.Load() == 0 || failed.Load() == 0 {
		t.Errorf("%d named, %d kept, %d refused as a whole", named.Load(), kept.Load(), failed.Load())
	}
}

// A field of the header is named too, in the words of the header.
func TestUnknownHeaderFields(t *testing.T) {
	t.Parallel()
	by := newPair(t, claims.KindAccount)
	u, err := claims.Encode(checked(t)(claims.BuildUser(aUser(t))), claims.Stamp{Issuer: by.id, IssuedAt: 1})
	if err != nil {
		t.Fatal(err)
	}
	token := composeWith(t, `{"typ":"JWT","alg":"ed25519-nkey","kid":"1","crit":["x"]}`, string(payload(t, string(u.SigningInput()))), by)
	read, err := claims.Read(token)
	if err != nil || !slices.Equal(read.Unknown, []string{"/header/crit", "/header/kid"}) {
		t.Fatalf("%v, %v", read.Unknown, err)
	}
	if _, problems := read.Checked(); len(problems) != 2 || !strings.HasPrefix(problems[0].Pointer, "/header/") {
		t.Errorf("%+v", problems)
	}
}
