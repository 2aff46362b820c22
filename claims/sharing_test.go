package claims_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"chancery/claims"
)

// share is an exporter and an importer before they are signed, and the subjects of the message that is to cross.
type share struct {
	exporter, importer   claims.Account
	signer, importSigner pair
	export               *jwt.Export
	imp                  *jwt.Import
	// published is what is published, on the exporter's side of a stream and on the importer's of a service.
	published string
	unknown   bool
}

func newShare(t *testing.T, kind jwt.ExportType) *share {
	t.Helper()
	s := &share{signer: newPair(t, claims.KindAccount), importSigner: newPair(t, claims.KindAccount), published: "a.b"}
	account := func(signer pair) claims.Account {
		return claims.Account{ID: newPair(t, claims.KindAccount).id, Name: "x", Settings: claims.NewAccountSettings(), Keys: []claims.SigningKey{{ID: signer.id}}}
	}
	s.exporter, s.importer = account(s.signer), account(s.importSigner)
	s.export = &jwt.Export{Subject: "a.*", Type: kind}
	s.imp = &jwt.Import{Subject: "a.*", Account: s.exporter.ID, Type: kind}
	return s
}

// token makes the export private and puts an activation into the import, after an edit.
func (s *share) token(t *testing.T, by pair, edit func(*claims.Activation)) {
	t.Helper()
	s.export.TokenReq = true
	a := claims.Activation{Account: s.importer.ID, Exporter: s.exporter.ID, Subject: "a.*", Kind: s.export.Type}
	edit(&a)
	s.imp.Token = sign(t, checked(t)(claims.BuildActivation(a)), by, 1_700_000_000).Token
}

type sharing struct {
	edit func(*testing.T, *share)
	code string
}

func asIs(*claims.Activation) {}

// sharings are for streams and for services alike.
func sharings() map[string]sharing {
	exports := func(subject jwt.Subject) func(*testing.T, *share) {
		return func(_ *testing.T, s *share) { s.export.Subject = subject }
	}
	token := func(edit func(*claims.Activation)) func(*testing.T, *share) {
		return func(t *testing.T, s *share) { s.token(t, s.signer, edit) }
	}
	position := func(subject func(importer string) string) func(*testing.T, *share) {
		return func(_ *testing.T, s *share) {
			s.export.AccountTokenPosition = 2
			s.published = subject(s.importer.ID)
			s.imp.Subject = jwt.Subject(s.published)
		}
	}
	return map[string]sharing{
		"the same subject":             {func(*testing.T, *share) {}, ""},
		"a part of what is exported":   {func(_ *testing.T, s *share) { s.imp.Subject = "a.b" }, ""},
		"a part of everything":         {exports(">"), ""},
		"all of a part":                {exports("a.b"), "not_subset"},
		"a part that only meets":       {exports("*.b"), "not_subset"},
		"nothing of the kind":          {exports("z"), "no_export"},
		"no export":                    {func(_ *testing.T, s *share) { s.export = nil }, "no_export"},
		"the other kind":               {func(_ *testing.T, s *share) { s.export.Type = 3 - s.export.Type }, "wrong_kind"},
		"an unknown exporter":          {func(_ *testing.T, s *share) { s.unknown = true }, "exporter_unknown"},
		"one's own key in the subject": {position(func(id string) string { return "a." + id }), ""},
		"another key in the subject":   {position(func(string) string { return "a." + "B" }), "account_token"},
		"a wildcard for the key":       {func(_ *testing.T, s *share) { s.export.AccountTokenPosition = 2 }, "account_token"},
		"one's own key comes first": {func(_ *testing.T, s *share) {
			s.export.Subject, s.export.AccountTokenPosition = "*.b", 1
			s.published = s.importer.ID + ".b"
			s.imp.Subject = jwt.Subject(s.published)
		}, ""},
		"no token":                   {func(_ *testing.T, s *share) { s.export.TokenReq = true }, "token_required"},
		"a token":                    {token(asIs), ""},
		"a token for more":           {token(func(a *claims.Activation) { a.Subject = "a.>" }), ""},
		"a token for a time to come": {token(func(a *claims.Activation) { a.Expires = time.Now().Unix() + 3600 }), ""},
		"a token that has expired":   {token(func(a *claims.Activation) { a.Expires = 1_700_000_001 }), "token_expired"},
		"a token of tomorrow":        {token(func(a *claims.Activation) { a.NotBefore = time.Now().Unix() + 86400 }), "token_not_yet_valid"},
		"a token for less":           {token(func(a *claims.Activation) { a.Subject = "a.b" }), "token_wrong_subject"},
		"a token of the other kind":  {token(func(a *claims.Activation) { a.Kind = 3 - a.Kind }), "token_wrong_kind"},
		"a token for somebody else": {func(t *testing.T, s *share) {
			s.token(t, s.signer, func(a *claims.Activation) { a.Account = s.exporter.ID })
		}, "token_wrong_account"},
		"a token of somebody else": {func(t *testing.T, s *share) {
			s.token(t, s.signer, func(a *claims.Activation) { a.Exporter = s.importer.ID })
		}, "token_wrong_issuer"},
		"a token of a key that is gone":  {func(t *testing.T, s *share) { s.token(t, newPair(t, claims.KindAccount), asIs) }, "token_untrusted_key"},
		"a token that is none":           {func(_ *testing.T, s *share) { s.export.TokenReq, s.imp.Token = true, "x" }, "invalid_token"},
		"a token that is none, unneeded": {func(_ *testing.T, s *share) { s.imp.Token = "x" }, "invalid_token"},
		"an expired token, unneeded": {func(t *testing.T, s *share) {
			s.token(t, s.signer, func(a *claims.Activation) { a.Expires = 1_700_000_001 })
			s.export.TokenReq = false
		}, ""},
		"a revoked token": {func(t *testing.T, s *share) {
			s.token(t, s.signer, asIs)
			s.export.Revocations = jwt.RevocationList{s.importer.ID: 1_700_000_000}
		}, "token_revoked"},
		"all tokens revoked": {func(t *testing.T, s *share) {
			s.token(t, s.signer, asIs)
			s.export.Revocations = jwt.RevocationList{"*": 1_700_000_000}
		}, "token_revoked"},
		"older tokens revoked": {func(t *testing.T, s *share) {
			s.token(t, s.signer, asIs)
			s.export.Revocations = jwt.RevocationList{s.importer.ID: 1_699_999_999, s.exporter.ID: 1_800_000_000}
		}, ""},
		"the deprecated field":      {func(_ *testing.T, s *share) { deprecated(s) }, ""},
		"a token of another signer": {func(t *testing.T, s *share) { s.token(t, s.importSigner, asIs) }, "token_untrusted_key"},
	}
}

// deprecated uses to in place of a local subject: a prefix for streams, the exporter's subject for services.
func deprecated(s *share) {
	if s.imp.Type == jwt.Stream {
		s.imp.To = "pre" //nolint:staticcheck // what is deprecated is still read
		return
	}
	s.imp.Subject, s.imp.To = "mine.*", "a.*" //nolint:staticcheck // likewise
	s.published = "mine.b"
}

// TestSharingAgainstServer: what CheckSharing says of an import is what a server does: it refuses the importer, or
// lets no message cross, or lets it.
func TestSharingAgainstServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agreed, cases := 0, 0
	for _, kind := range []jwt.ExportType{jwt.Stream, jwt.Service} {
		for name, c := range sharings() {
			cases++
			if t.Run(kind.String()+" "+name, func(t *testing.T) { w.trySharing(t, kind, c) }) {
				agreed++
			}
		}
	}
	fmt.Printf("sharing: %d of %d\n", agreed, cases)
}

func (w *world) trySharing(t *testing.T, kind jwt.ExportType, c sharing) {
	s := newShare(t, kind)
	c.edit(t, s)
	if s.export != nil {
		s.exporter.Settings.Exports = jwt.Exports{s.export}
	}
	s.importer.Settings.Imports = jwt.Imports{s.imp}
	exporter, importer := unchecked(s.exporter), unchecked(s.importer)
	problems := claims.CheckSharing(importer, func(id string) *jwt.AccountClaims {
		if id != s.exporter.ID || s.unknown {
			return nil
		}
		return exporter
	}, time.Now())
	refused, found := false, c.code == ""
	for _, p := range problems {
		refused = refused || p.Server
		found = found || p.Code == c.code
		if p.Server != p.Blocking || !strings.HasPrefix(p.Pointer, "/imports/0/") {
			t.Errorf("%+v", p)
		}
	}
	if !found || c.code == "" && len(problems) > 0 {
		t.Errorf("%+v, want %q", problems, c.code)
	}
	for id, a := range map[string]*jwt.AccountClaims{s.exporter.ID: exporter, s.importer.ID: importer} {
		token, err := a.Encode(w.signing)
		if err != nil {
			t.Fatal(err)
		}
		if id == s.exporter.ID && s.unknown {
			continue
		}
		w.store(t, id, token)
	}
	p := claims.NewPermissionLimits()
	importing, err := w.connect(t, claims.User{Name: "i", Account: s.importer.ID, Permissions: &p}, s.importSigner)
	if (err != nil) != refused {
		t.Fatalf("the server refuses the importer: %v; we say %v: %+v", err, refused, problems)
	}
	if refused || s.unknown {
		return
	}
	exporting, err := w.connect(t, claims.User{Name: "e", Account: s.exporter.ID, Permissions: &p}, s.signer)
	if err != nil {
		t.Fatal(err)
	}
	from, to := exporting, importing
	if kind == jwt.Service {
		from, to = importing, exporting
	}
	if got, want := crosses(t, from, to, s.published), len(problems) == 0; got != want {
		t.Errorf("the message crosses: %v; we say %v: %+v", got, want, problems)
	}
}

// crosses publishes on one connection and tells whether it arrives at the other, before what is published there next.
func crosses(t *testing.T, from, to *nats.Conn, subject string) bool {
	t.Helper()
	sub, err := to.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := from.Publish(subject, []byte("crossed")); err != nil {
		t.Fatal(err)
	}
	if err := from.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := to.Publish("afterwards", []byte("stayed")); err != nil {
		t.Fatal(err)
	}
	m, err := sub.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	return string(m.Data) == "crossed"
}

// A missing import, and overlaps with other imports, are found here too.
func TestSharingWithoutServer(t *testing.T) {
	t.Parallel()
	s := newShare(t, jwt.Service)
	exporter, importer := unchecked(s.exporter), unchecked(s.importer)
	exporter.Exports = jwt.Exports{nil, s.export}
	importer.Imports = jwt.Imports{s.imp, nil, {Subject: "a.*", Account: s.exporter.ID, Type: jwt.Service}}
	problems := claims.CheckSharing(importer, func(string) *jwt.AccountClaims { return exporter }, time.Now())
	if len(problems) != 2 || problems[0].Pointer != "/imports/1" || problems[1].Pointer != "/imports/2/local_subject" || problems[1].Code != "overlap" {
		t.Errorf("%+v", problems)
	}
}

// circle is accounts by name; link imports subject of the second into the first under a local subject.
type link struct {
	importer, exporter string
	subject            jwt.Subject
	local              jwt.RenamingSubject
}

// TestCyclesAgainstServer: a circle is found where a server leaves an account incomplete, and nowhere else.
func TestCyclesAgainstServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agreed, cases := 0, map[string]struct {
		links []link
		cycle bool
	}{
		"nothing":                 {nil, false},
		"a chain":                 {[]link{{"a", "b", "x", ""}, {"b", "c", "x", ""}}, false},
		"two":                     {[]link{{"a", "b", "x", ""}, {"b", "a", "x", ""}}, true},
		"two with other subjects": {[]link{{"a", "b", "x", ""}, {"b", "a", "y", ""}}, false},
		"three":                   {[]link{{"a", "b", "x", ""}, {"b", "c", "x", ""}, {"c", "a", "x", ""}}, true},
		"three by wildcards":      {[]link{{"a", "b", "x.*", ""}, {"b", "c", "x.*", ""}, {"c", "a", "x.*", ""}}, true},
		"two, one of them wider":  {[]link{{"a", "b", "x.>", ""}, {"b", "a", "x.y", ""}}, true},
		"two that rename":         {[]link{{"a", "b", "x", "p"}, {"b", "a", "y", "q"}}, false},
		"two that rename into":    {[]link{{"a", "b", "x", "y"}, {"b", "a", "y", "x"}}, true},
		"two by references":       {[]link{{"a", "b", "x.*", "y.$1"}, {"b", "a", "y.*", "x.$1"}}, true},
		"beside a circle":         {[]link{{"a", "b", "x", ""}, {"b", "a", "x", ""}, {"c", "a", "x", ""}}, true},
	}
	for _, kind := range []jwt.ExportType{jwt.Stream, jwt.Service} {
		for name, c := range cases {
			if t.Run(kind.String()+" "+name, func(t *testing.T) { w.tryCycle(t, kind, c.links, c.cycle) }) {
				agreed++
			}
		}
	}
	fmt.Printf("cycles: %d of %d\n", agreed, 2*len(cases))
}

func (w *world) tryCycle(t *testing.T, kind jwt.ExportType, links []link, cycle bool) {
	all := map[string]*jwt.AccountClaims{}
	for _, name := range []string{"a", "b", "c"} {
		a := jwt.NewAccountClaims(newPair(t, claims.KindAccount).id)
		a.Name, a.Exports = name, jwt.Exports{{Subject: ">", Type: kind}}
		all[name] = a
	}
	for _, l := range links {
		all[l.importer].Imports.Add(&jwt.Import{Subject: l.subject, LocalSubject: l.local, Account: all[l.exporter].Subject, Type: kind})
	}
	accounts := []*jwt.AccountClaims{all["a"], all["b"], all["c"]}
	problems := claims.CheckCycles(accounts)
	if (len(problems) > 0) != cycle || slices.ContainsFunc(problems, func(p claims.Problem) bool { return p.Code != "import_cycle" || p.Blocking || p.Server }) {
		t.Errorf("%+v", problems)
	}
	for _, a := range accounts {
		token, err := a.Encode(w.signing)
		if err != nil {
			t.Fatal(err)
		}
		w.store(t, a.Subject, token)
	}
	incomplete := false
	for _, a := range accounts {
		if _, err := w.server.LookupAccount(a.Subject); err != nil {
			t.Fatal(err)
		}
		z, err := w.server.Accountz(&server.AccountzOptions{Account: a.Subject})
		if err != nil {
			t.Fatal(err)
		}
		incomplete = incomplete || !z.Account.Complete
	}
	if incomplete != cycle {
		t.Errorf("the server found a circle: %v", incomplete)
	}
}

// Two exports overlap for us where they collide for a server.
func TestOverlapIsThatOfAServer(t *testing.T) {
	t.Parallel()
	subject := rapid.Custom(func(r *rapid.T) string {
		tokens := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*", "c"}), 1, 4).Draw(r, "tokens")
		if rapid.Bool().Draw(r, "open") {
			tokens[len(tokens)-1] = ">"
		}
		return strings.Join(tokens, ".")
	})
	rapid.Check(t, func(r *rapid.T) {
		x, y := subject.Draw(r, "one"), subject.Draw(r, "other")
		a := claims.Account{Name: "a", Settings: claims.NewAccountSettings()}
		a.Settings.Exports = jwt.Exports{{Subject: jwt.Subject(x), Type: jwt.Stream}, {Subject: jwt.Subject(y), Type: jwt.Stream}}
		if got, want := len(claims.CheckAccount(a)) > 0, server.SubjectsCollide(x, y); got != want {
			r.Fatalf("%s and %s overlap: %v, a server says %v", x, y, got, want)
		}
	})
}
