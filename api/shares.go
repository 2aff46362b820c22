package api

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// ShareInput asks for both sides of a flow between two accounts: of one subject, or of
// what a recipe says.
type ShareInput struct {
	Exporter             string       `json:"exporter" maxLength:"64" doc:"Name or public key." example:"ORDERS"`
	Importer             string       `json:"importer" maxLength:"64" doc:"Name or public key, of an account of the same operator." example:"BILLING"`
	Kind                 string       `json:"kind,omitempty" enum:"stream,service"`
	Subject              string       `json:"subject,omitempty" maxLength:"1024" doc:"What is exported, or a part of an export that is there." example:"orders.paid.>"`
	LocalSubject         string       `json:"local_subject,omitempty" maxLength:"1024" doc:"What the importer calls it; $1 is the first wildcard of the subject." example:"in.orders.paid.>"`
	Access               string       `json:"access,omitempty" enum:"public,activation,token_position" doc:"Who may import what has to be exported first; activation unless said. Where an export covers the subject already, its access counts."`
	AccountTokenPosition int          `json:"account_token_position,omitempty" minimum:"0" maximum:"512" doc:"With access token_position: where in the subject, counted from 1, the importer's public key stands; the subject has a * there."`
	ResponseType         string       `json:"response_type,omitempty" enum:"Singleton,Stream,Chunked" doc:"Of a service: how often it answers."`
	TTLSeconds           int64        `json:"ttl_seconds,omitempty" minimum:"0" maximum:"3153600000" doc:"How long the activation is valid; 0 for ever." example:"31536000"`
	Name                 string       `json:"name,omitempty" maxLength:"1024"`
	Share                bool         `json:"share,omitempty" doc:"Of a service: the exporter learns who asks."`
	AllowTrace           bool         `json:"allow_trace,omitempty" doc:"Traces of messages cross."`
	Reason               string       `json:"reason,omitempty" maxLength:"1024"`
	Recipe               *ShareRecipe `json:"recipe,omitempty" doc:"Shares what JetStream needs for a stream or bucket, instead of one subject."`
}

// ShareRecipe shares a stream or a KV bucket.
type ShareRecipe struct {
	Kind     string `json:"kind" enum:"stream,kv"`
	Name     string `json:"name" maxLength:"64" doc:"Of the stream or bucket." example:"ORDERS"`
	Access   string `json:"access,omitempty" enum:"read,read_write" doc:"read unless said; only a bucket can be written."`
	Consumer string `json:"consumer,omitempty" maxLength:"64" doc:"Shares one durable pull consumer, which the exporter makes, and nothing else of the stream. Without it the importer makes its own consumers."`
	Domain   string `json:"domain" maxLength:"64" doc:"What clients of the importer set as their JetStream domain to reach it; one word." example:"orders"`
}

// Shared is both sides of what is shared.
type Shared struct {
	Exporter     SharingNode  `json:"exporter"`
	Importer     SharingNode  `json:"importer"`
	Shares       []SharedPair `json:"shares"`
	Client       *ClientSetup `json:"client,omitempty" doc:"Of a recipe: what clients of the importer have to set."`
	ExporterSync *Sync        `json:"exporter_sync,omitempty"`
	ImporterSync *Sync        `json:"importer_sync,omitempty"`
	Plan         *Plan        `json:"plan,omitempty"`
}

// SharedPair is one subject, on both sides.
type SharedPair struct {
	Export     Export      `json:"export"`
	Activation *Activation `json:"activation,omitempty" doc:"Absent where none is needed."`
	Import     Import      `json:"import"`
	NewExport  bool        `json:"new_export" doc:"false where an export that was there covers the subject."`
	NewImport  bool        `json:"new_import" doc:"false where an import that was there was renewed."`
}

// ClientSetup is what clients of the importer have to set.
type ClientSetup struct {
	Domain      string `json:"domain" doc:"The JetStream domain; or else the API prefix, which means the same." example:"orders"`
	APIPrefix   string `json:"api_prefix" example:"$JS.orders.API"`
	InboxPrefix string `json:"inbox_prefix,omitempty" doc:"The prefix of the connection's inboxes, needed for whatever is pushed: push consumers and watching a bucket. Absent where nothing is."`
	Stream      string `json:"stream" doc:"The stream's name; a bucket has one too." example:"KV_settings"`
}

func (in ShareInput) share() (issuer.ShareInput, error) {
	out := issuer.ShareInput{
		Exporter: in.Exporter, Importer: in.Importer, Access: issuer.Access(in.Access), TTL: time.Duration(in.TTLSeconds) * time.Second,
		ShareRequester: in.Share, AllowTrace: in.AllowTrace,
	}
	if in.Recipe == nil {
		out.Flows = []claims.Flow{{
			Name: in.Name, Kind: kindOf(in.Kind), Subject: in.Subject, LocalSubject: in.LocalSubject,
			TokenPosition: uint(in.AccountTokenPosition), Response: jwt.ResponseType(in.ResponseType), //nolint:gosec // not negative
		}}
		return out, nil
	}
	if in.Kind != "" || in.Subject != "" || in.LocalSubject != "" || in.AccountTokenPosition != 0 || in.ResponseType != "" || in.Access == string(issuer.AccessTokenPosition) {
		return out, &issuer.Error{
			Kind: issuer.KindInvalid, Code: "invalid", Message: "The request cannot be accepted as it is.",
			Problems: claims.Problems{{Pointer: "/recipe", Code: "exclusive", Detail: "A recipe says itself which subjects are shared and how; leave those fields out.", Blocking: true}},
		}
	}
	out.Recipe = in.recipe()
	return out, nil
}

func (in ShareInput) recipe() *claims.Recipe {
	r := in.Recipe
	if r == nil {
		return nil
	}
	return &claims.Recipe{Kind: claims.RecipeKind(r.Kind), Name: r.Name, Access: claims.RecipeAccess(r.Access), Consumer: r.Consumer, Domain: r.Domain}
}

type shareInput struct {
	Change
	Body ShareInput
}

func (a *API) share(ctx context.Context, by call, in *shareInput) (*created[Shared], error) {
	op, err := in.op(by, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	ask, err := in.Body.share()
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.Share(ctx, op, ask)
	if err != nil {
		return nil, err
	}
	body := a.sharedAfter(ctx, by, in.Change, out)
	if ask.Recipe != nil {
		setup := ClientSetup(ask.Recipe.Setup(out.Value.Importer.ID))
		body.Client = &setup
	}
	return &created[Shared]{Status: in.status(), Location: Base + "/accounts/" + out.Value.Importer.ID + "/imports", Body: body}, nil
}

// sharedAfter views both sides after a change, the imports with their state.
func (a *API) sharedAfter(ctx context.Context, by call, c Change, out issuer.Outcome[issuer.Shared]) Shared {
	v := out.Value
	body := Shared{Exporter: SharingNode(v.Exporter), Importer: SharingNode(v.Importer), Shares: []SharedPair{}, Plan: c.plan(out.Plan)}
	body.ExporterSync = a.syncAfter(ctx, c, v.Exporter.ID, v.ExporterJWTVersion)
	body.ImporterSync = a.syncAfter(ctx, c, v.Importer.ID, v.ImporterJWTVersion)
	for _, l := range v.Links {
		p := SharedPair{Export: viewExport(l.Export), Import: viewImport(l.Import), NewExport: l.NewExport, NewImport: l.NewImport}
		if e, err := a.issuer.GetImport(ctx, by.caller, v.Importer.ID, l.Import.ID); err == nil && !c.DryRun {
			p.Import = viewEdge(e)
		}
		if l.Activation != nil {
			x := viewActivation(issuer.ActivationEntry{Activation: *l.Activation, Status: issuer.ActivationActive, ImporterName: v.Importer.Name})
			p.Activation = &x
		}
		body.Shares = append(body.Shares, p)
	}
	return body
}

// sortedKeys returns the keys of a map in order.
func sortedKeys[M ~map[K]V, K cmp.Ordered, V any](m M) []K { return slices.Sorted(maps.Keys(m)) }
