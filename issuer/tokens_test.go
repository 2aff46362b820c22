package issuer_test

import (
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chancery/claims"
	"chancery/issuer"
)

func (h *house) token(t testing.TB, name string, role issuer.Role, ttl time.Duration) claims.Secret {
	t.Helper()
	return did(h.CreateToken(t.Context(), op(), issuer.TokenInput{Name: name, Grants: issuer.Everything(role), TTL: ttl})).well(t).Text
}

func (h *house) refused(t testing.TB, what string, token claims.Secret) {
	t.Helper()
	c, err := h.Authenticate(t.Context(), token, issuer.Origin{})
	e := wants(t, err, issuer.KindUnauthenticated)
	if c.ID != "" || c.Grants != nil || e.Code != "invalid_token" || token.Reveal() != "" && strings.Contains(e.Error()+e.Message+e.Hint, token.Reveal()) {
		t.Errorf("%s: %+v, %+v", what, c, e)
	}
}

func TestTokens(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		form := regexp.MustCompile(`^chy_pat_[0-9A-Za-z]{49}$`)
		for role, token := range map[issuer.Role]claims.Secret{issuer.RoleOwner: h.token(t, "ci", issuer.RoleOwner, time.Hour), issuer.RoleAuditor: h.token(t, "ci", issuer.RoleAuditor, time.Hour)} {
			if !form.MatchString(token.Reveal()) {
				t.Errorf("a token of the form %s", token.Reveal())
			}
			c, err := h.Authenticate(t.Context(), token, issuer.Origin{})
			if err != nil || c.Name != "ci" || c.Kind != issuer.CallerToken || !cmp.Equal(c.Grants, issuer.Everything(role)) || !strings.HasPrefix(c.ID, "tok_") {
				t.Errorf("%+v, %v", c, err)
			}
		}
		good := h.token(t, "good", issuer.RoleOwner, time.Hour).Reveal()
		bad := map[string]string{
			"nothing": "", "a prefix": "chy_pat_", "another prefix": strings.Replace(good, "pat", "link", 1), "no prefix": good[8:], "a blank before": " " + good, "a line end": good + "\n",
			"too short": good[:56], "too long": good + "0", "capitals": strings.ToUpper(good), "a NUL": good[:20] + "\x00" + good[21:], "other letters": good[:20] + "é" + good[22:],
		}
		for n := 8; n < len(good); n++ { // each letter counts: the checksum finds what was mistyped
			letter := byte('0')
			if good[n] == letter {
				letter = '1'
			}
			bad["mistyped at "+good[:n]] = good[:n] + string(letter) + good[n+1:]
		}
		for what, text := range bad {
			h.refused(t, what, claims.NewSecret(text))
		}
		if _, err := h.Authenticate(t.Context(), claims.NewSecret(good), issuer.Origin{}); err != nil {
			t.Error(err)
		}
		// Well formed, and of nobody: made by another house.
		h.refused(t, "another house's", newHouse(t, "sqlite").token(t, "ci", issuer.RoleOwner, time.Hour))
	})
}

func TestTokensEnd(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		short, ci, again, other := h.token(t, "short", issuer.RoleOwner, time.Minute), h.token(t, "ci", issuer.RoleOwner, time.Hour), h.token(t, "ci", issuer.RoleOwner, time.Hour), h.token(t, "other", issuer.RoleOwner, time.Hour)
		h.advance(time.Minute - time.Microsecond)
		if _, err := h.Authenticate(t.Context(), short, issuer.Origin{}); err != nil {
			t.Errorf("in its last moment: %v", err)
		}
		h.advance(time.Microsecond)
		h.refused(t, "expired", short)
		if err := h.RevokeTokens(t.Context(), op(), "ci"); err != nil {
			t.Fatal(err)
		}
		h.refused(t, "revoked", ci)
		h.refused(t, "revoked, of the same name", again)
		if _, err := h.Authenticate(t.Context(), other, issuer.Origin{}); err != nil {
			t.Errorf("of another name: %v", err)
		}
		if err := h.RevokeTokens(t.Context(), op(), "nobody's"); err != nil {
			t.Errorf("revoking what is not there: %v", err)
		}
		h.raw.Run(t, `UPDATE grants SET role = 'root' WHERE holder = (SELECT id FROM tokens WHERE name = 'other')`)
		c, err := h.Authenticate(t.Context(), other, issuer.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		wants(t, second(h.GetAccount(t.Context(), c, "x")), issuer.KindForbidden)
	})
}

// A sign-in link lets its person in once, until it is used, replaced or old.
func TestSignInLinks(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		link := func(name string) claims.Secret {
			t.Helper()
			s, err := h.SignInLink(t.Context(), op(), name)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		use := func(l claims.Secret) (issuer.Caller, error) {
			return h.UseLink(t.Context(), issuer.Op{RequestID: "req_in"}, l, "ignored")
		}
		gone := func(what string, l claims.Secret) {
			t.Helper()
			h.unchanged(t, func() {
				_, peeked := h.PeekLink(t.Context(), l)
				_, used := use(l)
				for _, err := range []error{peeked, used} {
					if e := wants(t, err, issuer.KindUnauthenticated); e.Code != "invalid_link" || strings.Contains(e.Error(), l.Reveal()) && !l.Empty() {
						t.Errorf("%s: %+v", what, e)
					}
				}
			})
		}
		first := link("ada")
		if !regexp.MustCompile(`^chy_link_[0-9A-Za-z]{49}$`).MatchString(first.Reveal()) {
			t.Errorf("a link of the form %s", first.Reveal())
		}
		for range 2 { // looking at it is not using it
			if purpose, err := h.PeekLink(t.Context(), first); err != nil || purpose != issuer.LinkSignIn {
				t.Errorf("%s, %v", purpose, err)
			}
		}
		entries := len(h.audited(t))
		ada, err := use(first)
		if err != nil || ada.Name != "ada" || ada.Kind != issuer.CallerPerson || !cmp.Equal(ada.Grants, issuer.Everything(issuer.RoleOwner)) {
			t.Fatalf("%+v, %v", ada, err)
		}
		if news := h.audited(t)[entries:]; len(news) != 1 || news[0].Action != "sign_in" || news[0].Actor != ada.ID || news[0].RequestID != "req_in" {
			t.Errorf("on record is %+v", news)
		}
		gone("used", first)

		replaced := link("ada")
		last := link("ada")
		gone("replaced", replaced)
		if again, err := use(last); err != nil || !cmp.Equal(again, ada) {
			t.Errorf("%+v, %v", again, err)
		}
		old := link("ada")
		h.advance(issuer.SignInLinkTTL)
		gone("too old", old)
		for what, text := range map[string]string{"nothing": "", "mistyped": first.Reveal()[:57] + "!", "a token": h.token(t, "x", issuer.RoleOwner, time.Hour).Reveal()} {
			gone(what, claims.NewSecret(text))
		}

		known, err := h.Person(t.Context(), ada.ID)
		if err != nil || !cmp.Equal(known, ada) {
			t.Errorf("%+v, %v", known, err)
		}
		locked := link("ada")
		h.raw.Run(t, `UPDATE people SET state = 'disabled' WHERE name = 'ada'`)
		if e := wants(t, second(h.Person(t.Context(), ada.ID)), issuer.KindUnauthenticated); e.Code != "signed_out" {
			t.Errorf("%+v", e)
		}
		if _, err := use(locked); issuer.AsError(err).Kind != issuer.KindUnauthenticated {
			t.Errorf("a disabled person comes in: %v", err)
		}
		wants(t, second(h.Person(t.Context(), "per_none")), issuer.KindUnauthenticated)
	})
}

// The first owner comes in by the setup link, once, and then there is none any more.
func TestSetup(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		needs := func(want bool) {
			t.Helper()
			if got, err := h.NeedsSetup(t.Context()); err != nil || got != want {
				t.Errorf("needs setup: %v, %v", got, err)
			}
		}
		needs(true)
		system := issuer.Op{Caller: issuer.System("setup")}
		link, err := h.SetupLink(t.Context(), system)
		if err != nil {
			t.Fatal(err)
		}
		if purpose, err := h.PeekLink(t.Context(), link); err != nil || purpose != issuer.LinkSetup {
			t.Errorf("%s, %v", purpose, err)
		}
		h.unchanged(t, func() { // a name that is none does not use the link up
			e := wants(t, second(h.UseLink(t.Context(), op(), link, "a/b")), issuer.KindInvalid)
			if len(e.Problems) != 1 || e.Problems[0].Pointer != "/name" {
				t.Errorf("%+v", e.Problems)
			}
		})
		var wg sync.WaitGroup
		var mu sync.Mutex
		var owners []issuer.Caller
		for range 8 {
			wg.Go(func() {
				c, err := h.UseLink(t.Context(), op(), link, "ada")
				if e := issuer.AsError(err); err != nil && e.Kind != issuer.KindUnauthenticated {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					owners = append(owners, c)
				}
			})
		}
		wg.Wait()
		if len(owners) != 1 || !cmp.Equal(owners[0].Grants, issuer.Everything(issuer.RoleOwner)) || owners[0].Name != "ada" {
			t.Errorf("%d came in: %+v", len(owners), owners)
		}
		needs(false)
		h.unchanged(t, func() {
			for _, op := range []issuer.Op{system, {Caller: system.Caller, DryRun: true}} {
				if e := wants(t, second(h.SetupLink(t.Context(), op)), issuer.KindConflict); e.Code != "already_set_up" {
					t.Errorf("%+v", e)
				}
			}
		})
		// A setup link that was made before, by another replica, is worth nothing now.
		h.raw.Run(t, `UPDATE links SET used_us = 0`)
		h.unchanged(t, func() { wants(t, second(h.UseLink(t.Context(), op(), link, "eve")), issuer.KindConflict) })
	})
}

// What nobody classified gives nothing away.
func TestUnclassifiedErrors(t *testing.T) {
	t.Parallel()
	e := issuer.AsError(errors.New("MARKER: connection refused to 10.0.0.7"))
	if e.Kind != issuer.KindInternal || strings.Contains(e.Message+e.Hint+e.Code, "MARKER") || !strings.Contains(e.Error(), "MARKER") {
		t.Errorf("%+v", e)
	}
	known := &issuer.Error{Kind: issuer.KindStale, Code: "stale", Message: "m"}
	if got := issuer.AsError(errors.Join(errors.New("x"), known)); got != known || got.Error() != "stale: m" {
		t.Errorf("%+v", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite")
	for name, edit := range map[string]func(*issuer.Config){
		"no store": func(c *issuer.Config) { c.Store = nil }, "no clock": func(c *issuer.Config) { c.Now = nil }, "no logger": func(c *issuer.Config) { c.Logger = nil },
	} {
		c := h.config(h.store, h.kek)
		edit(&c)
		if _, err := issuer.Open(t.Context(), c); err == nil {
			t.Errorf("opened with %s", name)
		}
	}
}

// tokenCalled returns the identity of the newest token of the name.
func (h *house) tokenCalled(t testing.TB, name string) string {
	t.Helper()
	list, err := h.ListTokens(t.Context(), owner, issuer.TokenFilter{}, issuer.LedgerPage{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range list {
		if k.Name == name {
			return k.ID
		}
	}
	t.Fatalf("no token %s", name)
	return ""
}
