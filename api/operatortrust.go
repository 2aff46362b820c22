package api

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

type serverConfigInput struct {
	OperatorPath
	Resolver string `query:"resolver" enum:"url,full,cache,memory" default:"url" doc:"How the servers get accounts: fetch each from Chancery (url), keep all on disk (full), or the last thousand (cache), or know those in the file (memory, which holds all account JWTs and needs leave to read accounts)." example:"url"`
	Accept   string `header:"Accept" maxLength:"200" doc:"application/json answers with the configuration and its fingerprint, anything else with the text alone."`
}

// ServerConfig is what a nats-server needs to know.
type ServerConfig struct {
	Config      string `json:"config" doc:"Part of a nats-server's configuration file."`
	Fingerprint string `json:"fingerprint" doc:"Short hash of what the operator's JWT makes servers trust: identity, signing keys, strictness, system account." example:"3f1c-90aa-77b2-04de"`
	ResolverURL string `json:"resolver_url"`
}

func (a *API) getServerConfig(ctx context.Context, by call, in *serverConfigInput) (*text, error) {
	conf, err := a.issuer.ServerConfigWith(ctx, by.caller, in.Operator, issuer.ServerConfigInput{BaseURL: a.resolverURL, Resolver: claims.ResolverKind(in.Resolver)})
	if err != nil {
		return nil, err
	}
	if !strings.Contains(in.Accept, "application/json") {
		return &text{ContentType: "text/plain; charset=utf-8", Body: []byte(conf.Text)}, nil
	}
	body, err := json.Marshal(ServerConfig{conf.Text, conf.Fingerprint, conf.ResolverURL})
	return &text{ContentType: "application/json", Body: body}, err
}

func (a *API) getOperatorJWT(ctx context.Context, by call, in *OperatorPath) (*text, error) {
	o, err := a.issuer.GetOperator(ctx, by.caller, in.Operator)
	if err != nil {
		return nil, err
	}
	if o.JWT == "" {
		return nil, &issuer.Error{
			Kind: issuer.KindNotFound, Code: "awaiting_signature", Message: "The operator's JWT is not signed yet.",
			Hint: "Export the unsigned claims, sign them where the identity key is, and upload the JWT.",
		}
	}
	return &text{ContentType: "application/jwt", Body: []byte(o.JWT)}, nil
}

// OperatorJWTInput uploads an operator's JWT.
type OperatorJWTInput struct {
	JWT string `json:"jwt" maxLength:"65536" doc:"Signed by the identity key itself, later than the one in force."`
}

type uploadOperatorJWTInput struct {
	OperatorPath
	Change
	Body OperatorJWTInput
}

func (a *API) uploadOperatorJWT(ctx context.Context, by call, in *uploadOperatorJWTInput) (*saved[Operator], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.UploadOperatorJWT(ctx, op, in.Operator, strings.TrimSpace(in.Body.JWT))
	if err != nil {
		return nil, err
	}
	body, err := a.changedOperator(ctx, by, in.Change, out)
	return &saved[Operator]{ETag: etag(out.Value.Version), Body: body}, err
}

// UnsignedClaims is what an operator's offline identity key is to sign. The file can
// be carried to `chancery operator sign --offline` as it is.
type UnsignedClaims struct {
	Operator     string       `json:"operator" doc:"The identity key O…"`
	Name         string       `json:"name"`
	SigningInput string       `json:"signing_input" doc:"What is signed, byte for byte: the JWT without its signature."`
	CurrentJWT   string       `json:"current_jwt,omitempty" doc:"The JWT in force, to compare with; absent before the first."`
	Fingerprint  string       `json:"fingerprint" example:"3f1c-90aa-77b2-04de"`
	IssuedAt     time.Time    `json:"issued_at"`
	Pending      bool         `json:"pending" doc:"Whether the JWT in force holds something else."`
	Changes      []WordChange `json:"changes" doc:"What differs from the JWT in force."`
}

func (a *API) getUnsignedClaims(ctx context.Context, by call, in *OperatorPath) (*saved[UnsignedClaims], error) {
	o, err := a.issuer.GetOperator(ctx, by.caller, in.Operator)
	if err != nil {
		return nil, err
	}
	r, err := a.issuer.OperatorRequest(ctx, by.caller, o.ID)
	if err != nil {
		return nil, err
	}
	return &saved[UnsignedClaims]{ETag: etag(o.Version), Body: UnsignedClaims{
		Operator: o.ID, Name: o.Name, SigningInput: r.SigningInput, CurrentJWT: r.CurrentJWT, Fingerprint: r.Fingerprint,
		IssuedAt: time.Unix(r.IssuedAt, 0).UTC(), Pending: r.Pending, Changes: viewWords(r.Changes),
	}}, nil
}
