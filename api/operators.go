package api

import (
	"context"
	"math"
	"net/url"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// Operator is a root of trust.
type Operator struct {
	ID                string    `json:"id" doc:"The identity key O…"`
	Name              string    `json:"name" example:"acme"`
	State             string    `json:"state"`
	Custody           string    `json:"custody" doc:"Where the identity seed is."`
	Default           bool      `json:"default" doc:"Whether /jwt/v1 serves it."`
	StrictSigningKeys bool      `json:"strict_signing_keys"`
	SystemAccount     string    `json:"system_account"`
	ServiceURLs       []string  `json:"service_urls"`
	Tags              []string  `json:"tags"`
	SigningKeys       []Key     `json:"signing_keys,omitempty"`
	JTI               string    `json:"jti"`
	IssuedAt          time.Time `json:"issued_at"`
	CreatedAt         time.Time `json:"created_at"`
	UpdatedAt         time.Time `json:"updated_at"`
	Plan              *Plan     `json:"plan,omitempty"`
}

// Key is a signing key.
type Key struct {
	ID        string    `json:"id"`
	State     string    `json:"state" enum:"current,retiring,retired,disabled"`
	Custody   string    `json:"custody"`
	CreatedAt time.Time `json:"created_at"`
}

func viewKeys(keys []issuer.Key) []Key {
	out := []Key{}
	for _, k := range keys {
		if k.Role == "signing" {
			out = append(out, Key{ID: k.ID, State: k.State, Custody: k.Custody, CreatedAt: k.Created})
		}
	}
	return out
}

func viewOperator(o issuer.Operator) Operator {
	return Operator{
		ID: o.ID, Name: o.Name, State: o.State, Custody: o.Custody, Default: o.Default, StrictSigningKeys: o.Settings.StrictSigningKeyUsage,
		SystemAccount: o.Settings.SystemAccount, ServiceURLs: filled(o.Settings.OperatorServiceURLs), Tags: filled(o.Settings.Tags), JTI: o.JTI,
		IssuedAt: time.Unix(o.IssuedAt, 0).UTC(), CreatedAt: o.Created, UpdatedAt: o.Updated,
	}
}

// filled returns s, never nil: an empty list is [] in an answer.
func filled[S ~[]string](s S) []string {
	if s == nil {
		return []string{}
	}
	return s
}

type listOperatorsInput struct{ Search }

func (a *API) listOperators(ctx context.Context, by call, in *listOperatorsInput) (*paged[Operator], error) {
	page, err := in.pageOf("operators")
	if err != nil {
		return nil, err
	}
	rows, err := a.issuer.ListOperators(ctx, by.caller, page)
	if err != nil {
		return nil, err
	}
	return turn(rows, page.Limit-1, in.link(url.Values{"q": {in.Q}}, "operators"), viewOperator, func(o issuer.Operator) cursor {
		return cursor{List: "operators?q=" + in.Q, Name: o.Name, ID: o.ID}
	}), nil
}

// OperatorInput asks for a new operator.
type OperatorInput struct {
	Name              string   `json:"name" maxLength:"64" example:"acme"`
	ServiceURLs       []string `json:"service_urls,omitempty" maxItems:"32" example:"[\"nats://n1.acme:4222\"]"`
	Tags              []string `json:"tags,omitempty" maxItems:"64"`
	StrictSigningKeys *bool    `json:"strict_signing_keys,omitempty" doc:"True unless said otherwise: identity keys sign nothing but their own JWT."`
}

type createOperatorInput struct {
	Change
	Body OperatorInput
}

func (a *API) createOperator(ctx context.Context, by call, in *createOperatorInput) (*created[Operator], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	b := in.Body
	out, err := a.issuer.CreateOperator(ctx, op, issuer.OperatorInput{
		Name: b.Name, ServiceURLs: b.ServiceURLs, Tags: b.Tags, Lax: b.StrictSigningKeys != nil && !*b.StrictSigningKeys,
	})
	if err != nil {
		return nil, err
	}
	body := viewOperator(out.Value)
	body.Plan = in.plan(out.Plan)
	return &created[Operator]{Status: in.status(), ETag: etag(out.Value.Version), Location: Base + "/operators/" + out.Value.ID, Body: body}, nil
}

// OperatorPath names an operator.
type OperatorPath struct {
	Operator string `path:"operator" maxLength:"64" doc:"Name or public key." example:"acme"`
}

func (a *API) getOperator(ctx context.Context, by call, in *OperatorPath) (*saved[Operator], error) {
	o, err := a.issuer.GetOperator(ctx, by.caller, in.Operator)
	if err != nil {
		return nil, err
	}
	keys, err := a.issuer.OperatorKeys(ctx, by.caller, o.ID)
	if err != nil {
		return nil, err
	}
	body := viewOperator(o)
	body.SigningKeys = viewKeys(keys)
	return &saved[Operator]{ETag: etag(o.Version), Body: body}, nil
}

// OperatorPatch changes an operator.
type OperatorPatch struct {
	ServiceURLs Omit[[]string] `json:"service_urls,omitempty" maxItems:"32"`
}

type updateOperatorInput struct {
	OperatorPath
	Change
	Body OperatorPatch `contentType:"application/merge-patch+json"`
}

func (a *API) updateOperator(ctx context.Context, by call, in *updateOperatorInput) (*saved[Operator], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	o, err := a.issuer.GetOperator(ctx, by.caller, in.Operator)
	if err != nil {
		return nil, err
	}
	urls := []string(o.Settings.OperatorServiceURLs)
	in.Body.ServiceURLs.onto(&urls, nil)
	out, err := a.issuer.SetServiceURLs(ctx, op, o.ID, urls)
	if err != nil {
		return nil, err
	}
	body := viewOperator(out.Value)
	body.Plan = in.plan(out.Plan)
	return &saved[Operator]{ETag: etag(out.Value.Version), Body: body}, nil
}

type text struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (a *API) getServerConfig(ctx context.Context, by call, in *OperatorPath) (*text, error) {
	conf, err := a.issuer.ServerConfig(ctx, by.caller, in.Operator, a.publicURL)
	if err != nil {
		return nil, err
	}
	return &text{ContentType: "text/plain; charset=utf-8", Body: []byte(conf)}, nil
}

// Server is a nats-server that answers on the system account.
type Server struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Cluster  string    `json:"cluster"`
	Version  string    `json:"version"`
	LastSeen time.Time `json:"last_seen"`
}

func (a *API) listServers(ctx context.Context, by call, in *OperatorPath) (*paged[Server], error) {
	o, err := a.issuer.GetOperator(ctx, by.caller, in.Operator)
	if err != nil {
		return nil, err
	}
	return turn(a.live.Servers(o.ID), math.MaxInt, nil, func(s claims.Server) Server {
		return Server{ID: s.ID, Name: s.Name, Cluster: s.Cluster, Version: s.Version, LastSeen: s.LastSeen}
	}, func(claims.Server) cursor { return cursor{} }), nil
}
