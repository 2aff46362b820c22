package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/alexedwards/scs/v2"

	"chancery/claims"
	"chancery/issuer"
)

// How long a session lives: without a request, and at most.
const (
	sessionIdle     = 30 * time.Minute
	sessionLifetime = 12 * time.Hour
	// sessionTouch is how stale the idle time may be in the database; it saves
	// a write on nearly every request.
	sessionTouch = time.Minute
)

// What a session holds.
const (
	keyPerson = "person"
	keySeen   = "seen"
	keyNotice = "notice"
	keySpent  = "spent"
)

// newSessions does not use scs.New, which starts a memory store and a goroutine
// that would only be thrown away.
func newSessions(store scs.Store, secure bool) *scs.SessionManager {
	m := &scs.SessionManager{
		Store: store, Codec: scs.GobCodec{}, HashTokenInStore: true,
		IdleTimeout: sessionIdle, Lifetime: sessionLifetime,
		Cookie: scs.SessionCookie{Name: "chancery", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: secure},
	}
	if secure {
		// The prefix makes browsers refuse a cookie that a neighbour on another
		// host name, or plain HTTP, tries to plant.
		m.Cookie.Name = "__Host-chancery"
	}
	return m
}

// visit is one request and who makes it.
type visit struct {
	requestID string
	// caller is the zero value while nobody is signed in.
	caller issuer.Caller
	// at is the place of the page, once it was found: what the visitor may do is asked of
	// it from then on. The zero value is any place.
	at issuer.Scope
	// overrides are the guards that the form of this request lets pass.
	overrides []issuer.Guard
	// changed says that the session has to be stored.
	changed bool
}

// signedIn tells whether somebody is.
func (v *visit) signedIn() bool { return v != nil && v.caller.ID != "" }

// may tells whether the caller has the permission at the place of the page, in an
// account also where it is for a part of it; pages leave out what would be refused.
func (v *visit) may(p issuer.Permission) bool {
	switch {
	case v.at == (issuer.Scope{}):
		return v.caller.May(p)
	case v.at.Account == "":
		return v.caller.Allows(p, v.at)
	}
	return v.caller.MayWithin(p, v.at)
}

// mayOnOperators tells whether the caller has the permission on a whole operator.
func (v *visit) mayOnOperators(p issuer.Permission) bool {
	return slices.ContainsFunc(v.caller.Grants, func(g issuer.Grant) bool { return g.Account == "" && issuer.Role(g.Role).Allows(p) })
}

// op returns the circumstances of a change that this request asks for.
func (v *visit) op(reason string) issuer.Op {
	return issuer.Op{Caller: v.caller, RequestID: v.requestID, Reason: reason, Override: v.overrides}
}

func (v *visit) dryRun(reason string) issuer.Op {
	op := v.op(reason)
	op.DryRun = true
	return op
}

var errSignedOut = &issuer.Error{Kind: issuer.KindUnauthenticated, Code: "signed_out", Message: "Sign in to go on."}

// open loads the session of the request and the person as they are now. The
// returned request carries the session.
func (c *Console) open(w http.ResponseWriter, r *http.Request) (*http.Request, *visit, error) {
	v := &visit{requestID: w.Header().Get("X-Request-Id")}
	token := ""
	if cookie, err := r.Cookie(c.sessions.Cookie.Name); err == nil {
		token = cookie.Value
	}
	ctx, err := c.sessions.Load(r.Context(), token)
	if err != nil {
		return r, v, err
	}
	r = r.WithContext(ctx)
	id := c.sessions.GetString(ctx, keyPerson)
	if id == "" {
		return r, v, nil
	}
	v.caller, err = c.issuer.Person(ctx, id)
	if err != nil && issuer.AsError(err).Kind == issuer.KindUnauthenticated {
		v.caller = issuer.Caller{}
		return r, v, c.destroy(ctx, v)
	}
	v.caller.RequestID = v.requestID
	if seen := time.Unix(c.sessions.GetInt64(ctx, keySeen), 0); c.now().Sub(seen) >= sessionTouch {
		c.put(ctx, v, keySeen, c.now().Unix())
	}
	return r, v, err
}

func (c *Console) put(ctx context.Context, v *visit, key string, value any) {
	c.sessions.Put(ctx, key, value)
	v.changed = true
}

func (c *Console) destroy(ctx context.Context, v *visit) error {
	v.changed = true
	return c.sessions.Destroy(ctx)
}

// notify leaves a sentence for the next page.
func (c *Console) notify(r *http.Request, v *visit, sentence string) {
	c.put(r.Context(), v, keyNotice, sentence)
}

// save stores the session if it changed. That the idle time could not be moved on
// is no reason to withhold a page, which may show a secret for the only time.
func (c *Console) save(w http.ResponseWriter, r *http.Request, v *visit) {
	if v == nil || !v.changed {
		return
	}
	ctx := r.Context()
	if c.sessions.Status(ctx) == scs.Destroyed {
		c.sessions.WriteSessionCookie(ctx, w, "", time.Time{})
		return
	}
	token, expiry, err := c.sessions.Commit(ctx)
	if err != nil {
		c.log.ErrorContext(ctx, "storing a session", slog.String("request_id", v.requestID), slog.Any("error", err))
		return
	}
	c.sessions.WriteSessionCookie(ctx, w, token, expiry)
}

// loginView is the sign-in page.
type loginView struct {
	Message, Hint string
	// Unowned says that nobody owns this control plane yet.
	Unowned bool
}

func (c *Console) login(r *http.Request, v *visit) (answer, error) {
	if v.signedIn() {
		return seeOther("/accounts"), nil
	}
	unowned, err := c.issuer.NeedsSetup(r.Context())
	return answer{page: "login", title: "Sign in", body: loginView{Unowned: unowned}}, err
}

// showLink shows what a one-time link is for and a button. It never uses the link
// up: mail scanners and chat previews open links too.
func (c *Console) showLink(r *http.Request, _ *visit) (answer, error) {
	purpose, err := c.issuer.PeekLink(r.Context(), claims.NewSecret(r.PathValue("link")))
	if err != nil {
		return deadLink(err)
	}
	f := linkForm(purpose, r)
	return linkPage(purpose, f, http.StatusOK), nil
}

func (c *Console) useLink(r *http.Request, v *visit) (answer, error) {
	ctx, link := r.Context(), claims.NewSecret(r.PathValue("link"))
	purpose, err := c.issuer.PeekLink(ctx, link)
	if err != nil {
		return deadLink(err)
	}
	f := linkForm(purpose, r)
	if f.read(r.PostForm); f.ok() {
		var caller issuer.Caller
		caller, err = c.issuer.UseLink(ctx, v.op(""), link, f.value("name"))
		if err == nil {
			return c.signIn(ctx, v, caller)
		}
		if issuer.AsError(err).Kind == issuer.KindUnauthenticated {
			return deadLink(err)
		}
		if !f.accept(err) {
			return answer{}, err
		}
	}
	return linkPage(purpose, f, f.status()), nil
}

// signIn binds the session to the person under a new token, so that one planted
// before signing in is worth nothing.
func (c *Console) signIn(ctx context.Context, v *visit, caller issuer.Caller) (answer, error) {
	if err := c.sessions.Clear(ctx); err != nil {
		return answer{}, err
	}
	if err := c.sessions.RenewToken(ctx); err != nil {
		return answer{}, err
	}
	v.caller = caller
	c.put(ctx, v, keyPerson, caller.ID)
	c.put(ctx, v, keySeen, c.now().Unix())
	// The link is used up: a session that cannot be stored must not pass in silence.
	_, _, err := c.sessions.Commit(ctx)
	return seeOther("/accounts"), err
}

func linkForm(purpose string, r *http.Request) *form {
	f := &form{Action: r.URL.EscapedPath(), Submit: "Sign in"}
	if purpose == issuer.LinkSetup {
		f.Submit = "Become the owner"
		f.Groups = []group{{Fields: []*field{{
			Name: "name", Pointer: "/name", Label: "Your name", Kind: kindText, Required: true, Autocomplete: "name",
			Hint: "Shown in the audit log beside what you do. An e-mail address will do.",
		}}}}
	}
	return f
}

func linkPage(purpose string, f *form, status int) answer {
	a := answer{status: status, page: "link", title: "Sign in", body: linkView{
		Title: "Sign in to Chancery", Lead: "This link works once. It is used up when you press the button, not by opening it.", Form: f,
	}}
	if purpose == issuer.LinkSetup {
		a.title = "Set up"
		a.body = linkView{
			Title: "Take ownership",
			Lead:  "Nobody owns this control plane yet. Whoever sends this form becomes its first owner and may do everything. The link works once.",
			Form:  f,
		}
	}
	return a
}

// linkView is the page behind a one-time link.
type linkView struct {
	Title, Lead string
	Form        *form
}

func deadLink(err error) (answer, error) {
	e := issuer.AsError(err)
	if e.Kind != issuer.KindUnauthenticated {
		return answer{}, err
	}
	return answer{status: http.StatusUnauthorized, page: "login", title: "Sign in", body: loginView{Message: e.Message, Hint: e.Hint}}, nil
}

func (c *Console) logout(r *http.Request, v *visit) (answer, error) {
	return seeOther("/login"), c.destroy(r.Context(), v)
}

// spent tells whether a form that shows a secret once was sent before: sending it
// again, by a reload or by Back, would issue another credential nobody looks at.
func (c *Console) spent(r *http.Request, once string) bool {
	if len(once) != len(newOnce()) {
		return true // not one of ours
	}
	list, _ := c.sessions.Get(r.Context(), keySpent).([]string)
	return slices.Contains(list, once)
}

// spend remembers that the form was sent.
func (c *Console) spend(r *http.Request, v *visit, once string) {
	const remembered = 32
	list, _ := c.sessions.Get(r.Context(), keySpent).([]string)
	list = append(slices.Clone(list), once)
	c.put(r.Context(), v, keySpent, list[max(0, len(list)-remembered):])
}

var errSpent = errors.New("the form was sent before")
