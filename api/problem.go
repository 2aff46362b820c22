package api

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"chancery/claims"
	"chancery/issuer"
)

const problemType = "application/problem+json"

// Problem is a problem document of RFC 9457. It never repeats what the caller sent.
type Problem struct {
	Type      string `json:"type" doc:"Identifies the kind of problem." example:"https://chancery.dev/problems/name_taken"`
	Title     string `json:"title" doc:"The problem in a sentence."`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty" doc:"What is wrong with this request."`
	Code      string `json:"code" doc:"Stable, for programs." example:"name_taken"`
	RequestID string `json:"request_id" doc:"Leads to the entry in the server's log."`
	Retryable bool   `json:"retryable" doc:"Whether the same request may succeed later."`
	Hint      string `json:"hint,omitempty" doc:"The next step."`
	Guard     string `json:"guard,omitempty" doc:"What held the change up, because it would lock somebody out. Named in ?override= it lets the change pass." example:"last_operator_key"`
	// Errors lists every field that is wrong.
	Errors []FieldError `json:"errors,omitempty"`
}

// FieldError is one thing wrong with one field.
type FieldError struct {
	Pointer   string `json:"pointer,omitempty" doc:"JSON pointer (RFC 6901) into the request body." example:"/limits/connections"`
	Parameter string `json:"parameter,omitempty" doc:"The path, query or header parameter, if it is none of the body." example:"limit"`
	Code      string `json:"code" example:"out_of_range"`
	Detail    string `json:"detail"`
}

// Error implements error.
func (p *Problem) Error() string { return p.Code }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return problemType }

// statuses is the one table from the kinds of issuer.Error to HTTP.
var statuses = map[issuer.Kind]struct {
	status    int
	retryable bool
}{
	issuer.KindInternal:        {http.StatusInternalServerError, true},
	issuer.KindInvalid:         {http.StatusUnprocessableEntity, false},
	issuer.KindUnauthenticated: {http.StatusUnauthorized, false},
	issuer.KindForbidden:       {http.StatusForbidden, false},
	issuer.KindNotFound:        {http.StatusNotFound, false},
	issuer.KindConflict:        {http.StatusConflict, false},
	issuer.KindStale:           {http.StatusPreconditionFailed, false},
	issuer.KindUnconditional:   {http.StatusPreconditionRequired, false},
	issuer.KindTooFast:         {http.StatusTooManyRequests, true},
	issuer.KindSealed:          {http.StatusServiceUnavailable, true},
	issuer.KindBusy:            {http.StatusServiceUnavailable, true},
}

// problem maps err to its document; an internal one is logged here, once.
func (a *API) problem(ctx context.Context, err error) *Problem {
	e := issuer.AsError(err)
	s := statuses[e.Kind]
	p := newProblem(ctx, s.status, e.Code, e.Message)
	p.Hint, p.Retryable, p.Guard = e.Hint, s.retryable, string(e.Guard)
	if e.Guard != "" {
		p.Hint += " To do it all the same, send the request with ?override=" + p.Guard + "."
	}
	for _, x := range e.Problems {
		if x.Blocking {
			p.Errors = append(p.Errors, FieldError{Pointer: x.Pointer, Code: x.Code, Detail: x.Detail})
		}
	}
	if e.Kind == issuer.KindInternal {
		a.log.ErrorContext(ctx, "request failed", slog.String("request_id", p.RequestID), slog.String("error", claims.Redact(e.Error())))
	}
	return p
}

func newProblem(ctx context.Context, status int, code, title string) *Problem {
	return &Problem{Type: "https://chancery.dev/problems/" + code, Title: title, Status: status, Code: code, RequestID: recordOf(ctx).requestID}
}

func (a *API) writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	a.problem(r.Context(), err).write(w)
}

func (p *Problem) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	p.writeTo(w)
}

func (p *Problem) writeTo(w io.Writer) {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(p) // a client that hung up needs no answer
}

// humaProblem turns what huma found into our document, without the value it adds.
func humaProblem(hc huma.Context, status int, message string, errs ...error) huma.StatusError {
	ctx := context.Background()
	if hc != nil {
		ctx = hc.Context()
	}
	p := newProblem(ctx, status, "invalid", "The request cannot be accepted as it is.")
	switch status {
	case http.StatusRequestEntityTooLarge:
		p.Code, p.Title = "too_large", "The request body is too large."
	case http.StatusInternalServerError:
		p.Code, p.Title, p.Retryable = "internal", "Something went wrong on our side.", true
	case http.StatusRequestTimeout:
		p.Code, p.Title, p.Retryable = "timeout", "The request body did not arrive in time.", true
	}
	p.Type = "https://chancery.dev/problems/" + p.Code
	if len(errs) == 0 && strings.Contains(message, "body is required") {
		p.Errors = []FieldError{{Code: "required", Detail: "A JSON body is needed."}}
	}
	for _, err := range errs {
		if d, ok := err.(huma.ErrorDetailer); ok {
			p.Errors = append(p.Errors, fieldError(d.ErrorDetail()))
		}
	}
	return p
}

var (
	requiredRE = regexp.MustCompile(`^expected required property (\S+) to be present$`)
	locationRE = regexp.MustCompile(`[^.\[\]]+`)
)

func fieldError(d *huma.ErrorDetail) FieldError {
	where := locationRE.FindAllString(d.Location, -1)
	e := FieldError{}
	e.Code, e.Detail = explain(d.Message)
	if len(where) == 0 {
		return e
	}
	if where[0] != "body" {
		e.Parameter = where[len(where)-1]
		if d.Message == "unknown query parameter" {
			// Its name is the caller's text.
			e.Parameter = ""
		}
		return e
	}
	for _, token := range where[1:] {
		e.Pointer = claims.Point(e.Pointer, token)
	}
	if m := requiredRE.FindStringSubmatch(d.Message); m != nil {
		e.Pointer = claims.Point(e.Pointer, m[1])
	}
	return e
}

// explanations maps the beginnings of huma's messages to a code and, where huma's
// words would repeat input or help nobody, a sentence of ours.
var explanations = []struct{ prefix, code, detail string }{
	{"expected required property", "required", "This field is needed."},
	{"required ", "required", "This parameter is needed."},
	{"expected string to match pattern", "invalid_format", ""},
	{"expected string to be", "invalid_format", ""},
	{"expected value to be one of", "unknown_value", ""},
	{"expected number to be", "out_of_range", ""},
	{"expected number ", "out_of_range", ""},
	{"expected number", "wrong_type", "This must be a number."},
	{"expected integer", "wrong_type", "This must be a whole number."},
	{"expected string", "wrong_type", "This must be a string."},
	{"expected boolean", "wrong_type", "This must be true or false."},
	{"expected object", "wrong_type", "This must be an object."},
	{"expected length >=", "too_short", ""},
	{"expected length", "too_long", ""},
	{"expected array length", "too_many", ""},
	{"expected array items to be unique", "not_unique", ""},
	{"expected array", "wrong_type", "This must be an array."},
	{"invalid integer", "wrong_type", "This must be a whole number."},
	{"invalid boolean", "wrong_type", "This must be true or false."},
	{"unknown query parameter", "unknown_parameter", "There is no such query parameter here."},
}

func explain(message string) (code, detail string) {
	for _, x := range explanations {
		if strings.HasPrefix(message, x.prefix) {
			if x.detail != "" {
				return x.code, x.detail
			}
			return x.code, strings.ToUpper(message[:1]) + message[1:] + "."
		}
	}
	return "invalid", "This value cannot be accepted."
}
