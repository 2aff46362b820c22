package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"chancery/issuer"
)

const (
	// bulkOperation also takes a stream, one user a line.
	bulkOperation = "createUser"
	ndjson        = "application/x-ndjson"
	// maxLine bounds one line of it.
	maxLine = small
	// bulkPause is how long the stream may stand still, in either direction.
	bulkPause = time.Minute
)

// BulkLine is what became of one line of a stream of users.
type BulkLine struct {
	Line  int      `json:"line" doc:"The first line is 1."`
	User  *User    `json:"user,omitempty"`
	Error *Problem `json:"error,omitempty" doc:"Why there is no user. code already_issued: it was made before with this very key, as when a stream is sent again."`
}

// describeBulk puts the stream into the contract.
func (a *API) describeBulk() {
	for _, item := range a.huma.OpenAPI().Paths {
		op := item.Post
		if op == nil || op.OperationID != bulkOperation {
			continue
		}
		op.Description = "As " + ndjson + " the body is a stream: one user a line, of any number. The answer has one line for each, in order, as soon as it is made; " +
			"up to 500 are made in one transaction. An error of one line does not stop the others. Sent again, what exists is refused line by line."
		op.RequestBody.Content[ndjson] = &huma.MediaType{Schema: op.RequestBody.Content["application/json"].Schema}
		op.Responses["200"] = &huma.Response{
			Description: "One line for each user; and the answer of a dry run",
			Content: map[string]*huma.MediaType{
				ndjson:             {Schema: huma.SchemaFromType(a.huma.OpenAPI().Components.Schemas, reflect.TypeFor[BulkLine]())},
				"application/json": op.Responses["201"].Content["application/json"],
			},
		}
	}
}

// bulk answers a stream of users; anything else goes on.
func (a *API) bulk(hc huma.Context, next func(huma.Context)) {
	if media, _, err := mime.ParseMediaType(hc.Header("Content-Type")); err != nil || media != ndjson {
		next(hc)
		return
	}
	by, _ := hc.Context().Value(callKey{}).(call)
	r, w := humachi.Unwrap(hc)
	s := &stream{
		a: a, by: by, account: chi.URLParam(r, "account"), dryRun: r.URL.Query().Get("dry_run") == "true",
		in: bufio.NewReaderSize(r.Body, maxLine), out: json.NewEncoder(w), control: http.NewResponseController(w), w: w,
		schema: bodySchema(hc.Operation()),
	}
	s.out.SetEscapeHTML(false)
	// The deadline of the other requests does not hold: batch by batch, it is bulkPause.
	s.run(r.Context(), hc)
}

// stream is a bulk request in progress.
type stream struct {
	a       *API
	by      call
	account string
	dryRun  bool
	in      *bufio.Reader
	out     *json.Encoder
	w       http.ResponseWriter
	control *http.ResponseController
	schema  *huma.Schema
	// lines is how many were read, begun that something was answered.
	lines int
	begun bool
}

// line is one that was read: a user, or what is wrong with it.
type line struct {
	number  int
	user    issuer.UserInput
	reason  string
	problem *Problem
}

func (s *stream) run(ctx context.Context, hc huma.Context) {
	_ = s.control.EnableFullDuplex() // HTTP/2 is so by itself
	for {
		_ = s.control.SetReadDeadline(s.a.now().Add(bulkPause))
		batch, err := s.read(ctx)
		if len(batch) > 0 {
			if err := s.answer(ctx, hc, batch); err != nil {
				return
			}
		}
		if err != nil {
			break
		}
	}
	if !s.begun {
		s.begin()
	}
}

// read returns the lines that are there, up to a batch, and waits for one. They have
// one reason, since a change has one.
func (s *stream) read(ctx context.Context) ([]line, error) {
	var batch []line
	for len(batch) < issuer.BulkBatch && (len(batch) == 0 || s.in.Buffered() > 0) {
		raw, err := s.in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			err = s.skip()
			raw = nil
			s.lines++
			p := newProblem(ctx, http.StatusRequestEntityTooLarge, "too_large", "The line is too long.")
			batch = append(batch, line{number: s.lines, problem: p})
		}
		if raw = bytes.TrimSpace(raw); len(raw) > 0 {
			s.lines++
			batch = append(batch, s.parse(ctx, raw))
		}
		if err != nil {
			return batch, err
		}
	}
	return batch, nil
}

// skip reads on to the end of a line.
func (s *stream) skip() error {
	for {
		_, err := s.in.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

func (s *stream) parse(ctx context.Context, raw []byte) line {
	l := line{number: s.lines}
	if f := checkJSON(raw, s.schema, s.a.huma.OpenAPI().Components.Schemas); f != nil {
		l.problem = newProblem(ctx, http.StatusBadRequest, "malformed", "The line is not the JSON that is expected here.")
		l.problem.Errors = []FieldError{*f}
		return l
	}
	var in UserInput
	if err := json.Unmarshal(raw, &in); err != nil {
		l.problem = newProblem(ctx, http.StatusUnprocessableEntity, "invalid", "A field of the line has another type than is expected here.")
		return l
	}
	l.user, l.reason = in.input(), in.Reason
	return l
}

// answer makes the users of a batch and writes a line for each. An error ends the
// stream: nobody could be told of more.
func (s *stream) answer(ctx context.Context, hc huma.Context, batch []line) error {
	for len(batch) > 0 {
		n := 1
		for n < len(batch) && batch[n].reason == batch[0].reason {
			n++
		}
		if err := s.answerAlike(ctx, hc, batch[:n]); err != nil {
			return err
		}
		batch = batch[n:]
	}
	return nil
}

// answerAlike is answer for lines of one reason.
func (s *stream) answerAlike(ctx context.Context, hc huma.Context, batch []line) error {
	var users []issuer.UserInput
	for _, l := range batch {
		if l.problem == nil {
			users = append(users, l.user)
		}
	}
	op := issuer.Op{Caller: s.by.caller, RequestID: s.by.requestID, DryRun: s.dryRun, Reason: batch[0].reason}
	results, err := s.a.issuer.CreateUsers(ctx, op, s.account, users)
	if err != nil && !s.begun {
		s.a.refuse(hc, err)
		s.begun = true
		return err
	}
	if !s.begun {
		s.begin()
	}
	_ = s.control.SetWriteDeadline(s.a.now().Add(bulkPause))
	for _, l := range batch {
		out := BulkLine{Line: l.number, Error: l.problem}
		switch {
		case l.problem != nil:
		case err != nil:
			out.Error = s.a.problem(ctx, err)
		case results[0].Err != nil:
			out.Error = s.a.problem(ctx, results[0].Err)
		default:
			u := s.a.viewNewUser(results[0].UserWithCredential)
			out.User = &u
		}
		if l.problem == nil && err == nil {
			results = results[1:]
		}
		if err := s.out.Encode(out); err != nil {
			return err
		}
	}
	return errors.Join(err, s.control.Flush())
}

func (s *stream) begin() {
	s.begun = true
	s.w.Header().Set("Content-Type", ndjson)
	s.w.WriteHeader(http.StatusOK)
}
