package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// submissions takes what holders post as nsc does: account JWTs and activation tokens.
// nsc shows people the body of an answer, line by line, and nothing else of it.
type submissions struct {
	issuer *issuer.Issuer
	log    *slog.Logger
	// readable tells, once it is so, that the version of an account is what GET answers.
	readable func(ctx context.Context, accountID string, version int64) bool
	refusals refusals
	// reading bounds how many bodies are read at once, slots how many are worked on.
	reading, slots chan struct{}
}

const (
	// maxSubmission is the longest body: the longest JWT there is, and some white space.
	maxSubmission = claims.MaxAccountJWT + 1<<10
	// mostSubmissions are worked on at once. mostReading bodies are read at once, mostOfOne
	// of them from one address: a client that sends its body slowly, or never, keeps nobody
	// else's from being worked on.
	mostSubmissions = 64
	mostReading     = 256
	mostOfOne       = 32
	submissionTime  = 20 * time.Second
)

// EnrolmentValue is the path value of a request that carries an enrolment token.
const EnrolmentValue = "enrolment"

// Submissions returns the handler of POST of accounts and activations below /jwt/v1. A
// request carries the path values operator, account, which is empty for activations, and
// EnrolmentValue. readable waits until GET answers with a version of an account, or ctx
// ends.
func (a *API) Submissions(readable func(ctx context.Context, accountID string, version int64) bool) http.Handler {
	return &submissions{issuer: a.issuer, log: a.log, readable: readable, refusals: refusals{now: a.now}, reading: make(chan struct{}, mostReading), slots: make(chan struct{}, mostSubmissions)}
}

// ServeHTTP implements http.Handler.
func (s *submissions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), submissionTime)
	defer cancel()
	from := addressOf(r)
	source := claims.SourceOf(from.String())
	if !s.refusals.admits(source) {
		unread(w)
		say(w, http.StatusTooManyRequests, "Too many JWTs from this address were refused. Wait a minute.")
		return
	}
	body, ok := s.read(ctx, w, r, source)
	if !ok {
		return
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		say(w, http.StatusServiceUnavailable, "Too many JWTs are posted at once. Try again.")
		return
	}
	in := issuer.SubmitInput{
		Operator: r.PathValue("operator"), Account: r.PathValue("account"), Token: string(body), Secret: secretOf(r), Remote: from.String(), RequestID: newRequestID(),
	}
	status, text := s.submit(ctx, in)
	if status == http.StatusAccepted || status >= http.StatusBadRequest && status < http.StatusInternalServerError {
		s.refusals.count(source)
	}
	say(w, status, text)
}

// read returns the body; false when the request was answered.
func (s *submissions) read(ctx context.Context, w http.ResponseWriter, r *http.Request, source string) ([]byte, bool) {
	if !s.refusals.begin(source) {
		unread(w)
		say(w, http.StatusTooManyRequests, "Too many JWTs are sent from this address at once. Try again.")
		return nil, false
	}
	defer s.refusals.end(source)
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
	case <-ctx.Done():
		say(w, http.StatusServiceUnavailable, "Too many JWTs are posted at once. Try again.")
		return nil, false
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSubmission))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		s.refusals.count(source)
		say(w, http.StatusRequestEntityTooLarge, "The JWT is longer than 1 MiB, which no nats-server reads.")
		return nil, false
	}
	if err != nil {
		s.refusals.count(source)
		say(w, http.StatusBadRequest, "The request was not read to its end.")
		return nil, false
	}
	return body, true
}

func (s *submissions) submit(ctx context.Context, in issuer.SubmitInput) (int, string) {
	if in.Account == "" {
		if _, err := s.issuer.SubmitActivation(ctx, in); err != nil {
			return s.refusal(ctx, in, err, "")
		}
		return http.StatusOK, "The activation token can be fetched."
	}
	out, err := s.issuer.SubmitAccount(ctx, in)
	if err != nil {
		name := ""
		if e, ok := errors.AsType[*issuer.SubmitError](err); ok {
			name = e.Name
		}
		return s.refusal(ctx, in, err, recovery(name))
	}
	if out.Pending {
		return http.StatusAccepted, "The account waits for approval by whoever runs the operator.\nOnce it is approved: nsc pull -a NAME -F"
	}
	if !s.readable(ctx, out.Account.ID, out.Account.JWTVersion) {
		return http.StatusServiceUnavailable, "The account is signed, and cannot be read yet. Get it with:\n" + pull(out.Name)
	}
	return http.StatusOK, outcome(in.Token, out)
}

// outcome says what became of an accepted JWT.
func outcome(sent string, out issuer.Submitted) string {
	var lines []string
	switch {
	case out.Enrolled:
		lines = append(lines, "The account is enrolled and signed by the operator.")
	case out.Result == issuer.MergeTaken:
		lines = append(lines, "The account is signed by the operator.")
	case out.Result == issuer.MergeUnchanged, strings.TrimSpace(sent) == out.Account.JWT:
		lines = append(lines, "Nothing changes: the account says this already.")
	default:
		lines = append(lines, "This version was here before: nothing is rolled back to it. Get the current one with:", pull(out.Name))
	}
	if out.Revoked > 0 && out.Result == issuer.MergeReplay {
		lines = append(lines, "Revocations that were only in it are in force now.")
	}
	return strings.Join(append(lines, out.Notes...), "\n")
}

// maxSaid is how many problems of a JWT are said.
const maxSaid = 5

// refusal says why a JWT is not accepted and how to go on. An error of ours is logged.
func (s *submissions) refusal(ctx context.Context, in issuer.SubmitInput, err error, next string) (int, string) {
	e := issuer.AsError(err)
	status := statuses[e.Kind].status
	lines := []string{}
	if len(e.Problems) == 0 {
		lines = append(lines, e.Message)
	}
	for _, p := range e.Problems {
		if p.Blocking && len(lines) < maxSaid {
			lines = append(lines, placed(p))
		}
	}
	if e.Hint != "" {
		lines = append(lines, e.Hint)
	}
	if e.Kind == issuer.KindInternal || e.Code == "database_away" {
		lines = append(lines, "In the log it is "+in.RequestID+".")
		s.log.ErrorContext(ctx, "a posted JWT failed", slog.String("request_id", in.RequestID), slog.String("error", claims.Redact(e.Error())))
	}
	if next != "" {
		lines = append(lines, next)
	}
	return status, strings.Join(lines, "\n")
}

// placeRE is a pointer that may be said: names of fields and places in lists.
var placeRE = regexp.MustCompile(`^(/[A-Za-z0-9_]{1,56}){1,6}$`)

func placed(p claims.Problem) string {
	if p.Pointer == "/jwt" || !placeRE.MatchString(p.Pointer) || claims.LooksLikeSeed(p.Pointer) {
		return p.Detail
	}
	return p.Pointer + ": " + p.Detail
}

// recovery tells how to get rid of a local JWT that was refused: nsc keeps that.
func recovery(name string) string {
	if name == "" {
		return ""
	}
	return "Nothing was changed, and your copy is not what is in force. Get that back with:\n" + pull(name)
}

func pull(name string) string { return "nsc pull -a " + quoted(name) + " -F" }

var plainRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.@-]*$`)

// quoted is the name as a shell takes it.
func quoted(name string) string {
	if plainRE.MatchString(name) {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

// unread has the answer sent without waiting for the rest of the body, as net/http else
// does.
func unread(w http.ResponseWriter) { w.Header().Set("Connection", "close") }

// say answers in plain text.
func say(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // a client that hung up needs no answer
}

// secretOf returns the enrolment token that came with the request: in its path, as t in
// its query, or as the password of Basic authentication.
func secretOf(r *http.Request) claims.Secret {
	if s := r.PathValue(EnrolmentValue); s != "" {
		return claims.NewSecret(s)
	}
	if s := r.URL.Query().Get("t"); s != "" {
		return claims.NewSecret(s)
	}
	_, password, _ := r.BasicAuth()
	return claims.NewSecret(password)
}

func addressOf(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}

const (
	// mostRefusals of one address in refusalSpan make it wait for the rest of that.
	mostRefusals = 60
	refusalSpan  = time.Minute
	// mostAddresses are remembered.
	mostAddresses = 1 << 16
)

// refusals counts what addresses were refused, or have waiting for approval: whoever guesses enrolment tokens, or
// makes this server verify nonsense, is stopped. What is accepted has no bound.
type refusals struct {
	now func() time.Time

	mu    sync.Mutex
	begun time.Time
	by    map[string]int
	// under counts the bodies that are being read.
	under map[string]int
}

// begin counts a body that is read, unless there are too many of the address; end has to
// follow.
func (f *refusals) begin(from string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.under[from] >= mostOfOne {
		return false
	}
	if f.under == nil {
		f.under = map[string]int{}
	}
	f.under[from]++
	return true
}

func (f *refusals) end(from string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.under[from]--; f.under[from] <= 0 {
		delete(f.under, from)
	}
}

func (f *refusals) admits(from string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn()
	return f.by[from] < mostRefusals
}

func (f *refusals) count(from string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn()
	if _, known := f.by[from]; known || len(f.by) < mostAddresses {
		f.by[from]++
	}
}

// turn forgets everything when the span is over.
func (f *refusals) turn() {
	if now := f.now(); f.by == nil || now.Sub(f.begun) >= refusalSpan || now.Before(f.begun) {
		f.begun, f.by = now, map[string]int{}
	}
}
