package claims_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// inWords prints sections as a page would.
func inWords(sections []claims.Section) string {
	var b strings.Builder
	for _, s := range sections {
		fmt.Fprintln(&b, s.Title)
		for _, l := range s.Lines {
			fmt.Fprint(&b, "  ", l.Label, ": ", l.Value)
			if l.Note != "" {
				fmt.Fprint(&b, " (", l.Note, ")")
			}
			fmt.Fprintln(&b)
		}
	}
	return b.String()
}

// fieldWalk visits every leaf of a struct, making what is empty on its way.
type fieldWalk struct {
	t *testing.T
	// describe is asked before and after a leaf is changed.
	describe         func() string
	described, total int
}

func (w *fieldWalk) walk(v reflect.Value, path string) {
	before := w.describe()
	made := true
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			w.walk(v.Field(i), path+"."+v.Type().Field(i).Name)
		}
		return
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		w.walk(v.Elem(), path)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		w.walk(v.Index(0), path+"[]")
	case reflect.Map:
		w.walkMap(v, path)
	case reflect.String:
		v.SetString("changed")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Uint, reflect.Uint8, reflect.Uint64:
		v.SetUint(v.Uint() + 1)
	default:
		made = false
	}
	w.total++
	if !made || w.describe() == before {
		w.t.Errorf("%s is not described (%s)", path, v.Type())
		return
	}
	w.described++
}

func (w *fieldWalk) walkMap(v reflect.Value, path string) {
	key := reflect.New(v.Type().Key()).Elem()
	key.SetString("key")
	v.Set(reflect.MakeMap(v.Type()))
	elem := reflect.New(v.Type().Elem()).Elem()
	if v.Type() == reflect.TypeFor[jwt.SigningKeys]() {
		scope := &jwt.UserScope{}
		v.SetMapIndex(key, reflect.ValueOf(scope))
		w.walk(reflect.ValueOf(scope).Elem(), path+"[]")
		return
	}
	describe := w.describe
	w.describe = func() string { v.SetMapIndex(key, elem); return describe() }
	w.walk(elem, path+"[]")
	v.SetMapIndex(key, elem)
	w.describe = describe
}

// Whatever field nats-io/jwt has, a change of it is seen in words: a field that a later version adds fails here.
func TestDescribeNamesEveryField(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	described, total := 0, 0
	for _, c := range []jwt.Claims{
		&jwt.OperatorClaims{}, &jwt.AccountClaims{}, &jwt.UserClaims{}, &jwt.ActivationClaims{},
		&jwt.AuthorizationRequestClaims{}, &jwt.AuthorizationResponseClaims{},
	} {
		w := fieldWalk{t: t, describe: func() string { return inWords(claims.Describe(c, now)) }}
		w.walk(reflect.ValueOf(c).Elem(), reflect.TypeOf(c).Elem().Name())
		described, total = described+w.described, total+w.total
	}
	t.Logf("described: %d of %d fields of nats-io/jwt", described, total)
}

func TestDescribeAccount(t *testing.T) {
	t.Parallel()
	issuer, id, plain := strings.Repeat("O", 56), strings.Repeat("A", 56), "A"+strings.Repeat("P", 55)
	c := jwt.NewAccountClaims(id)
	c.Name, c.Issuer, c.IssuedAt, c.Expires, c.ID, c.Type, c.Version = "orders", issuer, 1_800_000_000, 1_800_864_000, "JTI", jwt.AccountClaim, 2
	c.Tags = jwt.TagList{"env:prod"}
	c.Limits.Conn, c.Limits.Payload, c.Limits.LeafNodeConn, c.Limits.DiskStorage = 1500, 1<<20, 0, 10_000_000_000
	c.Limits.Streams = 50
	c.SigningKeys.Add(plain)
	scope := jwt.NewUserScope()
	scope.Key, scope.Role = "A"+strings.Repeat("S", 55), "device"
	scope.Template.Pub.Allow.Add("devices.{{name()}}.>")
	scope.Template.Resp = &jwt.ResponsePermission{}
	scope.Template.Payload = 65536
	c.SigningKeys.AddScopedSigner(scope)
	c.Exports.Add(&jwt.Export{Name: "quote", Subject: "quote.*", Type: jwt.Service, TokenReq: true, ResponseType: "Singleton", Latency: &jwt.ServiceLatency{Sampling: 50, Results: "lat"}})
	c.Imports.Add(&jwt.Import{Name: "paid", Subject: "paid.>", Account: plain, Type: jwt.Stream, LocalSubject: "in.paid.>"})
	c.Mappings["a"] = []jwt.WeightedMapping{{Subject: "b", Weight: 30}, {Subject: "c", Weight: 70, Cluster: "east"}}
	c.Revocations = jwt.RevocationList{"*": 1_700_000_000, "UXY": 1_799_999_999}
	want := `JWT
  Type: account (version 2)
  Name: orders
  Public key: ` + id + `
  Signed by: ` + issuer + `
  Issued: 2027-01-15 08:00:00 UTC (3 hours ago)
  Expires: 2027-01-25 08:00:00 UTC (in 9 days)
  Tags: env:prod
  JWT ID: JTI
Limits
  Connections: 1,500
  Leaf node connections: 0 (none are allowed)
  Subscriptions: unlimited
  Payload: 1 MiB
  Data: unlimited (no nats-server enforces it)
  Imports: unlimited
  Exports: unlimited
  Wildcards in exports: yes
  Bearer tokens: allowed
JetStream
  Memory: 0 B
  Disk: 9.3 GiB (10,000,000,000 bytes)
  Streams: 50
  Consumers: unlimited (0)
  Pending acknowledgements: unlimited (0) (of a consumer)
  Largest stream in memory: unlimited (0)
  Largest stream on disk: unlimited (0)
Default permissions
  For users without their own: everything
Signing keys
  Plain: ` + plain + ` (users have their own permissions)
Template device
  Signing key: ` + scope.Key + ` (user_scope)
  May publish: devices.{{name()}}.>
  May subscribe to: everything
  Replies: 1 (0) for each request (within 2m0s (0))
  Bearer: no
  Subscriptions: unlimited
  Payload: 64 KiB
  Data: unlimited (no nats-server enforces it)
Export quote
  Subject: quote.* (service)
  Private: yes (importing takes an activation token)
  Response: Singleton
  Latency: to lat (sampled: 50 %)
Import paid
  Subject: paid.> (stream)
  From the account: ` + plain + `
  Here as: in.paid.>
Subject mappings
  a: to b (30 %)
  a: to c (70 % in the cluster east)
Revoked users
  Revoked: UXY (what was issued up to 2027-01-15 07:59:59 UTC)
  Revoked: everybody (what was issued up to 2023-11-14 22:13:20 UTC)
`
	if diff := cmp.Diff(want, inWords(claims.Describe(c, time.Unix(1_800_010_800+3600-1, 0)))); diff != "" {
		t.Error(diff)
	}
}

func TestDescribeTimes(t *testing.T) {
	t.Parallel()
	c := jwt.NewUserClaims("U")
	for exp, want := range map[int64]string{
		0:             "never",
		1_000_000_001: "in 1 second",
		1_000_000_000: "now",
		999_999_998:   "expired 2 seconds ago",
		999_999_939:   "expired 1 minute ago",
		1_000_007_200: "in 2 hours",
		1_000_086_400: "in 1 day",
		1_900_000_000: "in 28 years",
	} {
		c.Expires = exp
		if got := inWords(claims.Describe(c, time.Unix(1_000_000_000, 0))); !strings.Contains(got, want) {
			t.Errorf("%d: %s, want %s", exp, got, want)
		}
	}
	c.IssuedAt = 1_000_000_060
	if got := inWords(claims.Describe(c, time.Unix(1_000_000_000, 0))); !strings.Contains(got, "in the future: in 1 minute") {
		t.Error(got)
	}
}

// What somebody wrote into claims neither drives a terminal nor tells a secret.
func TestDescribeHidesSecrets(t *testing.T) {
	t.Parallel()
	seed := newPair(t, claims.KindUser).seed(t).Reveal()
	token := sign(t, checked(t)(claims.BuildUser(aUser(t))), newPair(t, claims.KindAccount), 1_700_000_000).Token
	request := jwt.NewAuthorizationRequestClaims("A")
	request.ConnectOptions = jwt.ConnectOptions{JWT: token, Token: "t-secret", Password: "p-secret", SignedNonce: "s-secret", Username: seed}
	response := jwt.NewAuthorizationResponseClaims("U")
	response.Jwt, response.Error = token, "bad "+token
	account := jwt.NewAccountClaims("A")
	account.Name, account.Description = "a\x1b[31m", "line\n"+seed
	account.Imports.Add(&jwt.Import{Token: token})
	for _, c := range []jwt.Claims{request, response, account} {
		got := inWords(claims.Describe(c, time.Unix(1_800_000_000, 0)))
		for _, secret := range []string{seed, token, "-secret", "\x1b"} {
			if strings.Contains(got, secret) {
				t.Errorf("%q is shown:\n%s", secret, got)
			}
		}
	}
}

// An import's activation is told by its end, and long lists are cut.
func TestDescribeActivationsAndLongLists(t *testing.T) {
	t.Parallel()
	exporter, importer := newPair(t, claims.KindAccount), newPair(t, claims.KindAccount)
	a := jwt.NewAccountClaims(importer.id)
	for exp, want := range map[int64]string{0: "it does not expire", 1_700_000_000: "it expired 2023-11-14", 1_900_000_000: "it expires 2030-03-17"} {
		activation := jwt.NewActivationClaims(importer.id)
		activation.ImportSubject, activation.ImportType, activation.Expires = "a", jwt.Service, exp
		token, err := activation.Encode(exporter)
		if err != nil {
			t.Fatal(err)
		}
		a.Imports = jwt.Imports{{Subject: "a", Type: jwt.Service, Token: token}}
		if got := inWords(claims.Describe(a, time.Unix(1_800_000_000, 0))); !strings.Contains(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
		if got := inWords(claims.Describe(activation, time.Unix(1_800_000_000, 0))); !strings.Contains(got, "Allows to import: service a") {
			t.Error(got)
		}
	}
	a.Revocations = jwt.RevocationList{}
	for i := range 1234 {
		a.Revocations[fmt.Sprint("U", i)] = int64(1_700_000_000 + i)
	}
	got := inWords(claims.Describe(a, time.Unix(1_800_000_000, 0)))
	if strings.Count(got, "Revoked: ") != 101 || !strings.Contains(got, "Revoked: 1,134 more") {
		t.Error(got)
	}
}
