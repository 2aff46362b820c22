package web

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"
)

// The headers of every response. Styles, scripts and images come from here, and
// nothing else is loaded, framed, or allowed to turn text into code.
var headers = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
		"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
}

// maxBody bounds what a form may send.
const maxBody = 64 << 10

// maxDocumentBody bounds what is sent to be read: a JWT of 1 MiB and its form.
const maxDocumentBody = 2 << 20

// observe is the outermost wrapper: it names the request, sets the headers, logs
// one line and turns a panic into an error page. The line has the route's pattern
// and never the URL, which may hold the secret of a one-time link.
func (c *Console) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := c.now()
		id := "req_" + rand.Text()
		h := w.Header()
		for name, value := range headers {
			h.Set(name, value)
		}
		if c.secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		h.Set("Cache-Control", "no-store")
		h.Set("X-Request-Id", id)
		rec := &recorder{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil {
				if e, ok := p.(error); ok && errors.Is(e, http.ErrAbortHandler) {
					panic(p)
				}
				c.log.ErrorContext(r.Context(), "panic while answering", slog.String("request_id", id), slog.String("route", r.Pattern),
					slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))
				if rec.status == 0 {
					c.write(rec, r, nil, errorPage(http.StatusInternalServerError, somethingWrong, somethingWrongHint))
				}
			}
			c.log.InfoContext(r.Context(), "request", slog.String("surface", "web"), slog.String("method", r.Method), slog.String("route", r.Pattern),
				slog.Int("status", rec.status), slog.Int64("bytes", rec.bytes), slog.Duration("took", c.now().Sub(start).Round(time.Microsecond)),
				slog.String("request_id", id))
		}()
		next.ServeHTTP(rec, r)
	})
}

// protect refuses what another site makes a browser send, and, since old browsers
// and programs send neither header, what carries a session without saying where it
// comes from.
func (c *Console) protect(next http.Handler) http.Handler {
	deny := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.write(w, r, nil, errorPage(http.StatusForbidden, "This request came from another site, so it was refused.",
			"Open the page here and send the form again. Over plain HTTP, browsers say where a form comes from only on localhost: use HTTPS elsewhere."))
	})
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(deny)
	return cross.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		safe := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
		_, err := r.Cookie(c.sessions.Cookie.Name)
		if !safe && err == nil && r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" {
			deny.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	}))
}

// recorder remembers what was answered, for the log.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
