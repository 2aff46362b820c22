package web

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"unicode/utf8"

	"chancery/issuer"
)

// answer is what a handler makes of a request: a page, or a redirect.
type answer struct {
	// status is 200 when it is 0.
	status int
	// page names the template, body is its view model.
	page   string
	title  string
	crumbs []link
	// tabs are the pages beside this one.
	tabs []navItem
	body any
	// calls are the requests to the API that do the same.
	calls []apiCall
	// refresh loads the page again after so many seconds; 0 never.
	refresh int
	// location redirects by 303 instead.
	location string
	// download sends something else than a page instead, and tells whether it had begun
	// when it failed.
	download func(w http.ResponseWriter) (begun bool, err error)
}

// link is a place to go.
type link struct{ Text, URL string }

func seeOther(location string) answer {
	return answer{status: http.StatusSeeOther, location: location}
}

// serve is the way of every page: session, sign-in, permission, bounded body,
// handler, one place for errors, and only then the first byte.
func (c *Console) serve(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		most := int64(maxBody)
		switch rt.pattern {
		case inspectPath:
			most = maxDocumentBody
		case uploadPath:
			most = maxUpload
		}
		r.Body = http.MaxBytesReader(w, r.Body, most)
		r, v, err := c.open(w, r)
		var a answer
		if err == nil && rt.pattern == uploadPath && r.Method == http.MethodPost && v.imports() {
			control := http.NewResponseController(w)
			_ = control.SetReadDeadline(c.now().Add(uploadTime))
			_ = control.SetWriteDeadline(c.now().Add(uploadTime))
		}
		if err == nil {
			a, err = c.answer(rt, r, v)
		}
		if err != nil {
			a = c.failure(r, v, err)
		}
		c.write(w, r, v, a)
	})
}

func (c *Console) answer(rt route, r *http.Request, v *visit) (answer, error) {
	if rt.access == signedIn && !v.signedIn() {
		return answer{}, errSignedOut
	}
	if rt.needs != "" && !v.may(rt.needs) {
		return answer{}, issuer.Forbidden(rt.needs)
	}
	for _, name := range []string{"acct", "user", "op", "tpl", "job", "entry", "person", "token"} {
		// PostgreSQL refuses such text with an error that looks like ours.
		if s := r.PathValue(name); !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return c.notFound(r, v)
		}
	}
	if r.Method == http.MethodPost {
		if err := r.ParseForm(); err != nil {
			if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
				return errorPage(http.StatusRequestEntityTooLarge, "The form is longer than "+formatSize(tooLong.Limit)+".", "Shorten it and send it again."), nil
			}
			return errorPage(http.StatusBadRequest, "The form could not be read.", "Open the page again and send it once more."), nil
		}
		v.overrides = overrides(r.PostForm)
	}
	a, err := rt.handle(c, r, v)
	if err == nil && rt.needs != "" && !v.may(rt.needs) {
		return answer{}, issuer.Forbidden(rt.needs) // not at this place
	}
	return carryOverrides(a, v), err
}

// statuses is the one table from kinds of error to statuses of pages.
var statuses = map[issuer.Kind]int{
	issuer.KindInternal:        http.StatusInternalServerError,
	issuer.KindInvalid:         http.StatusUnprocessableEntity,
	issuer.KindUnauthenticated: http.StatusUnauthorized,
	issuer.KindForbidden:       http.StatusForbidden,
	issuer.KindNotFound:        http.StatusNotFound,
	issuer.KindConflict:        http.StatusConflict,
	issuer.KindStale:           http.StatusPreconditionFailed,
	issuer.KindUnconditional:   http.StatusPreconditionRequired,
	issuer.KindTooFast:         http.StatusTooManyRequests,
	issuer.KindSealed:          http.StatusServiceUnavailable,
	issuer.KindBusy:            http.StatusServiceUnavailable,
}

const (
	noSuchPage         = "There is no such page."
	somethingWrong     = "Something went wrong on our side."
	somethingWrongHint = "The request id leads to the entry in the server's log."
)

// failure is the one place where errors become pages. Text that is not meant for
// people goes to the log and nowhere else.
func (c *Console) failure(r *http.Request, v *visit, err error) answer {
	e := issuer.AsError(err)
	status, ok := statuses[e.Kind]
	switch {
	case errors.Is(err, errSpent):
		return errorPage(http.StatusConflict, "This form was sent before.", "What it showed cannot be shown again. Go back to the user and issue new credentials.")
	case e.Kind == issuer.KindUnauthenticated:
		return seeOther("/login")
	case e.Guard != "" && r.Method == http.MethodPost:
		return guarded(r, v, e)
	case !ok || e.Kind == issuer.KindInternal:
		level := slog.LevelError
		if r.Context().Err() != nil {
			level = slog.LevelDebug // the browser hung up, which is no fault of ours
		}
		c.log.Log(r.Context(), level, "answering a request", slog.String("request_id", v.requestID), slog.String("route", r.Pattern), slog.Any("error", err))
		return errorPage(http.StatusInternalServerError, e.Message, e.Hint)
	}
	a := errorPage(status, e.Message, e.Hint)
	view := a.body.(errorView)
	for _, p := range e.Problems {
		view.Details = append(view.Details, p.Detail)
	}
	a.body = view
	return a
}

// errorView is the page of everything that went wrong.
type errorView struct {
	Status        int
	Title         string
	Message, Hint string
	Details       []string
}

func errorPage(status int, message, hint string) answer {
	title := http.StatusText(status)
	switch status {
	case http.StatusNotFound:
		title = "Not found"
	case http.StatusForbidden:
		title = "Not allowed"
	case http.StatusPreconditionFailed:
		title = "Changed meanwhile"
	case http.StatusInternalServerError:
		title = "Something went wrong"
	case http.StatusServiceUnavailable:
		title = "Not now"
	}
	return answer{status: status, page: "error", title: title, body: errorView{Status: status, Title: title, Message: message, Hint: hint}}
}

func (c *Console) notFound(*http.Request, *visit) (answer, error) {
	return errorPage(http.StatusNotFound, noSuchPage, "The address may be mistyped, or what it named is gone."), nil
}

func (c *Console) home(*http.Request, *visit) (answer, error) { return seeOther("/accounts"), nil }

// write renders the answer, stores the session and sends both. Nothing is sent
// before the page is complete.
func (c *Console) write(w http.ResponseWriter, r *http.Request, v *visit, a answer) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	if a.download != nil {
		c.save(w, r, v)
		begun, err := a.download(w)
		switch {
		case err == nil:
			return
		case begun:
			panic(http.ErrAbortHandler) // whoever reads must not take a part for all of it
		}
		a = c.failure(r, v, err)
	}
	var page bytes.Buffer
	if a.location == "" {
		if err := c.render(&page, r, v, w.Header().Get("X-Request-Id"), a); err != nil {
			c.log.ErrorContext(r.Context(), "rendering a page", slog.String("request_id", w.Header().Get("X-Request-Id")),
				slog.String("page", a.page), slog.Any("error", err))
			page.Reset()
			page.WriteString(somethingWrong)
			a.status = http.StatusInternalServerError
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		} else {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
		}
	} else {
		w.Header().Set("Location", a.location)
	}
	if a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "5")
	}
	c.save(w, r, v)
	w.WriteHeader(a.status)
	_, _ = w.Write(page.Bytes()) // a browser that has gone is nobody's error
}
