package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"chancery/claims"
	"chancery/issuer"
)

const (
	// streaming bounds one answer of a stream; the reader comes again with Last-Event-ID.
	streaming = time.Hour
	// heartbeat is how long a stream is silent at most: proxies close what is silent for a
	// minute.
	heartbeat = 15 * time.Second
	// recheck is how long a stream goes on at most after its token or session was taken
	// back.
	recheck = 5 * time.Second
	// slowReader is how long a reader may stand still until it is cut off.
	slowReader = 10 * time.Second
	// mostStreams bounds the streams of one reader, allStreams those of all: each is a
	// connection and a goroutine that stay.
	mostStreams = 8
	allStreams  = 256
	// mostOfTenant bounds those of one tenant, who makes tokens at will, and tenantStreams
	// those of all tenants: the others are for whoever runs the operators.
	mostOfTenant  = 32
	tenantStreams = 224
	// streamBatch is how many events are written at once.
	streamBatch = 256
)

const eventStream = "text/event-stream"

// Event is one thing that happened.
type Event struct {
	ID         string    `json:"id" example:"evt_k3j2x_88123"`
	Type       string    `json:"type" enum:"connect,disconnect,denial,server_up,server_down,lame_duck,change,sync,drift,gap"`
	At         time.Time `json:"at"`
	OperatorID string    `json:"operator_id,omitempty"`
	AccountID  string    `json:"account_id,omitempty"`
	ServerID   string    `json:"server_id,omitempty"`
	ServerName string    `json:"server_name,omitempty"`
	CID        uint64    `json:"cid,omitempty"`
	UserKey    string    `json:"user_key,omitempty"`
	User       string    `json:"user,omitempty" doc:"The name in the JWT."`
	IssuerKey  string    `json:"issuer_key,omitempty"`
	Client     string    `json:"client,omitempty"`
	Host       string    `json:"host,omitempty"`
	Kind       string    `json:"kind,omitempty" doc:"nats, mqtt, websocket or leaf."`
	Lang       string    `json:"lang,omitempty"`
	Version    string    `json:"version,omitempty" doc:"Of the client library."`
	Reason     string    `json:"reason,omitempty"`
	Text       string    `json:"text,omitempty" doc:"It in a sentence."`
	Revision   int64     `json:"revision,omitempty" doc:"The version of the JWT that a change or a sync speaks of."`
	DenialID   string    `json:"denial_id,omitempty"`
}

func viewEvent(e claims.Event) Event {
	return Event{
		ID: e.ID.String(), Type: string(e.Type), At: e.At, OperatorID: e.OperatorID, AccountID: e.AccountID, ServerID: e.ServerID, ServerName: e.ServerName, CID: e.CID,
		UserKey: e.UserKey, User: e.UserName, IssuerKey: e.IssuerKey, Client: e.Client.Client, Host: e.Host, Kind: e.Client.Type, Lang: e.Lang, Version: e.Client.Version,
		Reason: e.Reason, Text: e.Text, Revision: e.Version, DenialID: e.DenialID,
	}
}

type listEventsInput struct {
	Types     []string `query:"types" maxItems:"10" doc:"Keep these, comma separated. A gap always comes: events are missing there." example:"denial,sync"`
	Operator  string   `query:"operator" maxLength:"64" doc:"Name or public key."`
	Account   string   `query:"account" maxLength:"64" doc:"Name or public key."`
	After     string   `query:"after" maxLength:"64" doc:"The id of the last event that you have; without it a page holds the newest, and a stream begins now."`
	Limit     int      `query:"limit" default:"50" minimum:"1" doc:"How many a page holds; more than 500 counts as 500."`
	Accept    string   `header:"Accept" maxLength:"200" doc:"text/event-stream asks for a stream, all else for a page."`
	LastEvent string   `header:"Last-Event-ID" maxLength:"64" doc:"As after; it wins."`
}

// EventPage is events in the order in which they happened.
type EventPage struct {
	Items       []Event `json:"items"`
	LastEventID string  `json:"last_event_id" doc:"Ask for what follows with ?after= or Last-Event-ID."`
}

func (in *listEventsInput) query() (claims.EventQuery, error) {
	q := claims.EventQuery{Limit: min(max(in.Limit, 1), maxLimit)}
	after := in.After
	if in.LastEvent != "" {
		after = in.LastEvent
	}
	var ok bool
	if q.After, ok = claims.ParseEventID(after); !ok {
		return q, badParameter("invalid_event_id", "An event id looks like evt_k3j2x_88123.")
	}
	q.Newest = after == ""
	for _, t := range in.Types {
		if !slices.Contains(claims.EventTypes(), claims.EventType(t)) {
			return q, badParameter("unknown_value", "The types are connect, disconnect, denial, server_up, server_down, lame_duck, change, sync, drift and gap.")
		}
		q.Types = append(q.Types, claims.EventType(t))
	}
	return q, nil
}

func badParameter(code, detail string) error {
	return &issuer.Error{Kind: issuer.KindInvalid, Code: "invalid", Message: "The request cannot be accepted as it is.", Problems: claims.Problems{{Code: code, Detail: detail, Blocking: true}}}
}

// listEvents answers with a page or with a stream.
func (a *API) listEvents(_ context.Context, by call, in *listEventsInput) (*huma.StreamResponse, error) {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		if err := a.answerEvents(hc, by, in); err != nil {
			a.refuse(hc, err)
		}
	}}, nil
}

func (a *API) answerEvents(hc huma.Context, by call, in *listEventsInput) error {
	ctx := hc.Context()
	q, err := in.query()
	if err != nil {
		return err
	}
	s, err := a.issuer.Sight(ctx, by.caller, in.Operator, in.Account)
	if err != nil {
		return err
	}
	q.AccountID = s.AccountID
	if !strings.Contains(in.Accept, eventStream) {
		q.Sight = s.Sight
		page := a.live.Events(q)
		out := EventPage{Items: []Event{}, LastEventID: page.Next.String()}
		for _, e := range page.Events {
			out.Items = append(out.Items, viewEvent(e))
		}
		hc.SetHeader("Content-Type", "application/json")
		hc.SetStatus(http.StatusOK)
		_ = json.NewEncoder(hc.BodyWriter()).Encode(out) // a reader who has gone is nobody's error
		return nil
	}
	_, w := humachi.Unwrap(hc)
	token := hc.Header("Authorization")
	return a.StreamEvents(ctx, w, claims.EventStream{
		Reader: by.caller.ID, Tenant: by.caller.Tenant(), Query: q,
		Sight: func(ctx context.Context) (claims.Sight, error) {
			caller, err := a.caller(ctx, token, hc.RemoteAddr(), by.requestID)
			if err != nil {
				return claims.Sight{}, err
			}
			s, err := a.issuer.Sight(ctx, caller, in.Operator, in.Account)
			return s.Sight, err
		},
	})
}

// streams are those that are open. It is safe for concurrent use.
type streams struct {
	mu sync.Mutex
	// readers counts by reader, tenants by tenant, with "" for who is none.
	readers, tenants map[string]int
	all              int
	end              chan struct{}
	ended            bool
}

func newStreams() *streams {
	return &streams{readers: map[string]int{}, tenants: map[string]int{}, end: make(chan struct{})}
}

// enter counts a stream; leave has to follow.
func (s *streams) enter(reader, tenant string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	full := tenant != "" && (s.tenants[tenant] >= mostOfTenant || s.all-s.tenants[""] >= tenantStreams)
	if full || s.readers[reader] >= mostStreams || s.all >= allStreams || s.ended {
		return &issuer.Error{
			Kind: issuer.KindTooFast, Code: "too_many_streams", Message: "Too many streams of events are open.", Hint: "Close one: each reader may have eight, each tenant 32.",
		}
	}
	s.readers[reader]++
	s.tenants[tenant]++
	s.all++
	return nil
}

func (s *streams) leave(reader, tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.tenants[tenant]--; s.tenants[tenant] == 0 {
		delete(s.tenants, tenant)
	}
	if s.readers[reader]--; s.readers[reader] == 0 {
		delete(s.readers, reader)
	}
}

// EndStreams ends all streams of events and takes no more: a server that stops need not
// wait for them.
func (a *API) EndStreams() {
	a.streams.mu.Lock()
	defer a.streams.mu.Unlock()
	if !a.streams.ended {
		a.streams.ended = true
		close(a.streams.end)
	}
}

// StreamEvents writes events to w as they happen, as server-sent events, until the
// reader goes or may not read any more, ctx ends, or EndStreams is called. An error
// means that nothing was written. A reader who does not keep up is cut off, and resumes
// with Last-Event-ID: what it missed by then is a gap.
func (a *API) StreamEvents(ctx context.Context, w http.ResponseWriter, s claims.EventStream) error {
	q := s.Query
	q.Limit = streamBatch
	var err error
	if q.Sight, err = s.Sight(ctx); err != nil {
		return err
	}
	if err := a.streams.enter(s.Reader, s.Tenant); err != nil {
		return err
	}
	defer a.streams.leave(s.Reader, s.Tenant)
	out := &sse{a: a, w: w, control: http.NewResponseController(w)}
	_ = out.control.SetReadDeadline(time.Time{}) // else the server's own ends the request
	if q.Newest {
		q.After, q.Newest = a.live.Events(claims.EventQuery{Newest: true}).Next, false
	}
	h := w.Header()
	h.Set("Content-Type", eventStream)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	out.follow(ctx, q, s)
	return nil
}

// sse writes server-sent events.
type sse struct {
	a       *API
	w       http.ResponseWriter
	control *http.ResponseController
}

func (x *sse) follow(ctx context.Context, q claims.EventQuery, s claims.EventStream) {
	beat, again := time.NewTicker(heartbeat), time.NewTicker(recheck)
	defer beat.Stop()
	defer again.Stop()
	silent := true
	if !x.write([]byte("retry: 2000\n\n")) {
		return
	}
	for {
		page := x.a.live.Events(q)
		if q.After = page.Next; len(page.Events) > 0 {
			silent = false
			if !x.events(page.Events) {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-x.a.streams.end:
			return
		case <-page.More:
		case <-again.C:
			var err error
			if q.Sight, err = s.Sight(ctx); err != nil {
				return
			}
		case <-beat.C:
			// The id moves the reader on past what is not for it, so that it is not told of
			// a gap among events of others.
			if silent && !x.write(fmt.Appendf(nil, ": hb\nid: %s\n\n", q.After)) {
				return
			}
			silent = true
		}
	}
}

func (x *sse) events(list []claims.Event) bool {
	var b bytes.Buffer
	for _, e := range list {
		data, err := json.Marshal(viewEvent(e))
		if err != nil {
			return false
		}
		fmt.Fprintf(&b, "id: %s\nevent: %s\ndata: %s\n\n", e.ID, e.Type, data)
	}
	return x.write(b.Bytes())
}

// write tells whether the reader took it in time.
func (x *sse) write(b []byte) bool {
	_ = x.control.SetWriteDeadline(x.a.now().Add(slowReader))
	_, err := x.w.Write(b)
	return err == nil && x.control.Flush() == nil
}

// describeEvents puts the two forms into the contract.
func (a *API) describeEvents() {
	op, registry := a.huma.OpenAPI().Paths[Base+"/events"].Get, a.huma.OpenAPI().Components.Schemas
	op.Description = "The last 16,384 events are kept, of one process and its run. Whoever asks for what is gone gets an event of type gap first. As a stream, " +
		"each event has its id, its type and as data one JSON object; a comment with an id comes every 15 s. A reader who stands still for 10 s is cut off; " +
		"each token may have eight streams, all of a tenant 32. Permission violations of clients are no system events and do not come."
	op.Responses["200"] = &huma.Response{
		Description: "A page, or a stream",
		Content: map[string]*huma.MediaType{
			"application/json": {Schema: huma.SchemaFromType(registry, reflect.TypeFor[EventPage]())},
			eventStream:        {Schema: huma.SchemaFromType(registry, reflect.TypeFor[Event]())},
		},
	}
}
