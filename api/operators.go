package api

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// Operator is a root of trust.
type Operator struct {
	ID                string            `json:"id" doc:"The identity key O…"`
	Name              string            `json:"name" example:"acme"`
	State             string            `json:"state" enum:"active,awaiting_signature,deleted"`
	Custody           string            `json:"custody" enum:"sealed,offline,observed" doc:"Where the identity seed is: sealed here, offline, or unknown (only the public JWT is here, and nothing is signed)."`
	Default           bool              `json:"default" doc:"Whether /jwt/v1 serves it."`
	StrictSigningKeys bool              `json:"strict_signing_keys"`
	Signing           bool              `json:"signing_enabled" doc:"The signing switch."`
	SystemAccount     string            `json:"system_account"`
	ServiceURLs       []string          `json:"service_urls"`
	AccountServerURL  string            `json:"account_server_url"`
	Tags              []string          `json:"tags"`
	Policy            Policy            `json:"policy"`
	SigningKeys       []Key             `json:"signing_keys,omitempty"`
	Pending           *PendingSignature `json:"pending_signature,omitempty" doc:"What waits for the signature of an offline identity key; absent when nothing does."`
	JTI               string            `json:"jti"`
	IssuedAt          time.Time         `json:"issued_at"`
	CreatedAt         time.Time         `json:"created_at"`
	UpdatedAt         time.Time         `json:"updated_at"`
	Plan              *Plan             `json:"plan,omitempty"`
}

// Policy is what an operator asks of what is issued under it.
type Policy struct {
	TTL            int64  `json:"credential_ttl_seconds" doc:"Lifetime of credentials that ask for none; 0 means 90 days." example:"2592000"`
	MaxTTL         int64  `json:"credential_max_ttl_seconds" doc:"Longest lifetime of credentials; 0 is no bound." example:"7776000"`
	NoBearer       bool   `json:"no_bearer" doc:"Refuse bearer users and templates."`
	OperatorKeyAge int64  `json:"operator_key_age_seconds" doc:"When the operator's signing key is rotated by itself; 0 never."`
	AccountKeyAge  int64  `json:"account_key_age_seconds" doc:"Likewise for accounts' keys."`
	TemplateKeyAge int64  `json:"template_key_age_seconds" doc:"Likewise for templates' keys."`
	Overlap        int64  `json:"rotation_overlap_seconds" doc:"How long the key before stays trusted."`
	Renewal        int64  `json:"renewal_percent" doc:"In which last part of a credential's lifetime its holder may renew it; 0 never." example:"33"`
	Servers        int64  `json:"servers_expected" doc:"How many nats-servers are to answer; one fewer is an alarm. 0 expects no number." example:"3"`
	ForeignNewer   string `json:"foreign_newer" enum:"report,keep,adopt" doc:"What becomes of an account's JWT that somebody else signed with a key of the operator, and that is newer than ours."`
}

// PolicyInput changes a policy; null puts a rule back to none.
type PolicyInput struct {
	TTL            Omit[int64]  `json:"credential_ttl_seconds,omitempty"`
	MaxTTL         Omit[int64]  `json:"credential_max_ttl_seconds,omitempty"`
	NoBearer       Omit[bool]   `json:"no_bearer,omitempty"`
	OperatorKeyAge Omit[int64]  `json:"operator_key_age_seconds,omitempty"`
	AccountKeyAge  Omit[int64]  `json:"account_key_age_seconds,omitempty"`
	TemplateKeyAge Omit[int64]  `json:"template_key_age_seconds,omitempty"`
	Overlap        Omit[int64]  `json:"rotation_overlap_seconds,omitempty"`
	Renewal        Omit[int64]  `json:"renewal_percent,omitempty"`
	Servers        Omit[int64]  `json:"servers_expected,omitempty"`
	ForeignNewer   Omit[string] `json:"foreign_newer,omitempty" doc:"report, keep or adopt; null is report."`
}

func (in *PolicyInput) onto(p *issuer.Policy) {
	if in == nil {
		return
	}
	in.TTL.onto(&p.DefaultTTL, 0)
	in.MaxTTL.onto(&p.MaxTTL, 0)
	in.NoBearer.onto(&p.NoBearer, false)
	in.OperatorKeyAge.onto(&p.OperatorKeyAge, 0)
	in.AccountKeyAge.onto(&p.AccountKeyAge, 0)
	in.TemplateKeyAge.onto(&p.TemplateKeyAge, 0)
	in.Overlap.onto(&p.Overlap, 0)
	in.Renewal.onto(&p.Renewal, 0)
	in.Servers.onto(&p.Servers, 0)
	foreign := cmp.Or(string(p.ForeignNewer), reportForeign)
	if in.ForeignNewer.onto(&foreign, reportForeign); foreign == reportForeign {
		foreign = ""
	}
	p.ForeignNewer = claims.DriftDecision(foreign)
}

// reportForeign is the policy that decides nothing.
const reportForeign = "report"

// PendingSignature is what an offline identity key has not signed yet.
type PendingSignature struct {
	Fingerprint string       `json:"fingerprint" doc:"That of the claims that wait." example:"3f1c-90aa-77b2-04de"`
	Changes     []WordChange `json:"changes" doc:"What differs from the JWT in force."`
}

// WordChange is a change in words.
type WordChange struct {
	Path string `json:"path" doc:"JSON pointer into the claims."`
	Text string `json:"text" example:"Strict signing key usage: off → on"`
}

func viewWords(changes []claims.FieldChange) []WordChange {
	out := make([]WordChange, len(changes))
	for n, c := range changes {
		out[n] = WordChange{c.Pointer, c.Sentence()}
	}
	return out
}

// Key is a signing key.
type Key struct {
	ID        string    `json:"id"`
	State     string    `json:"state" enum:"prepared,current,retiring,retired,disabled"`
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
	p := o.Policy
	return Operator{
		ID: o.ID, Name: o.Name, State: o.State, Custody: o.Custody, Default: o.Default, StrictSigningKeys: o.Settings.StrictSigningKeyUsage, Signing: o.Signing,
		SystemAccount: o.Settings.SystemAccount, ServiceURLs: filled(o.Settings.OperatorServiceURLs), AccountServerURL: o.Settings.AccountServerURL, Tags: filled(o.Settings.Tags),
		Policy: Policy{p.DefaultTTL, p.MaxTTL, p.NoBearer, p.OperatorKeyAge, p.AccountKeyAge, p.TemplateKeyAge, p.Overlap, p.Renewal, p.Servers, cmp.Or(string(p.ForeignNewer), reportForeign)},
		JTI:    o.JTI, IssuedAt: time.Unix(o.IssuedAt, 0).UTC(), CreatedAt: o.Created, UpdatedAt: o.Updated,
	}
}

// fullOperator adds what an offline identity key has not signed yet.
func (a *API) fullOperator(ctx context.Context, by call, o issuer.Operator) (Operator, error) {
	out := viewOperator(o)
	if o.Custody != issuer.CustodyOffline {
		return out, nil
	}
	r, err := a.issuer.OperatorRequest(ctx, by.caller, o.ID)
	if r.Pending {
		out.Pending = &PendingSignature{r.Fingerprint, viewWords(r.Changes)}
	}
	return out, err
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
	var failed error
	out := turn(rows, page.Limit-1, in.link(url.Values{"q": {in.Q}}, "operators"), func(o issuer.Operator) Operator {
		view, err := a.fullOperator(ctx, by, o)
		failed = errors.Join(failed, err)
		return view
	}, func(o issuer.Operator) cursor {
		return cursor{List: "operators?q=" + in.Q, Name: o.Name, ID: o.ID}
	})
	return out, failed
}

// OperatorInput asks for a new operator.
type OperatorInput struct {
	Name              string       `json:"name,omitempty" maxLength:"64" example:"acme" doc:"May be left out when it is observed: its JWT has it."`
	Custody           string       `json:"custody,omitempty" enum:"sealed,offline,observed" doc:"Where the identity seed is. sealed (the default): made and kept here. offline: made elsewhere, only its public key is given. observed: only a public JWT is given, nothing can be signed." example:"sealed"`
	PublicKey         string       `json:"public_key,omitempty" maxLength:"64" doc:"The identity key O… that was made offline."`
	JWT               string       `json:"jwt,omitempty" maxLength:"65536" doc:"The JWT of an observed operator."`
	ServiceURLs       []string     `json:"service_urls,omitempty" maxItems:"32" example:"[\"nats://n1.acme:4222\"]"`
	Tags              []string     `json:"tags,omitempty" maxItems:"64"`
	StrictSigningKeys *bool        `json:"strict_signing_keys,omitempty" doc:"True unless said otherwise: identity keys sign nothing but their own JWT."`
	Policy            *PolicyInput `json:"policy,omitempty"`
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
	ask := issuer.OperatorInput{
		Name: b.Name, Custody: b.Custody, PublicKey: b.PublicKey, JWT: b.JWT, ServiceURLs: b.ServiceURLs, Tags: b.Tags,
		Lax: b.StrictSigningKeys != nil && !*b.StrictSigningKeys,
	}
	b.Policy.onto(&ask.Policy)
	out, err := a.issuer.CreateOperator(ctx, op, ask)
	if err != nil {
		return nil, err
	}
	body, err := a.changedOperator(ctx, by, in.Change, out)
	return &created[Operator]{Status: in.status(), ETag: etag(out.Value.Version), Location: Base + "/operators/" + out.Value.ID, Body: body}, err
}

// changedOperator is the answer to a change; a dry run stored nothing to compare.
func (a *API) changedOperator(ctx context.Context, by call, c Change, out issuer.Outcome[issuer.Operator]) (Operator, error) {
	if c.DryRun {
		body := viewOperator(out.Value)
		body.Plan = c.plan(out.Plan)
		return body, nil
	}
	return a.fullOperator(ctx, by, out.Value)
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
	body, err := a.fullOperator(ctx, by, o)
	if err != nil {
		return nil, err
	}
	body.SigningKeys = viewKeys(keys)
	return &saved[Operator]{ETag: etag(o.Version), Body: body}, nil
}

// OperatorPatch changes an operator.
type OperatorPatch struct {
	ServiceURLs       Omit[[]string] `json:"service_urls,omitempty" maxItems:"32" example:"[\"nats://n1.acme:4222\"]"`
	Tags              Omit[[]string] `json:"tags,omitempty" maxItems:"64"`
	AccountServerURL  Omit[string]   `json:"account_server_url,omitempty" maxLength:"2048"`
	StrictSigningKeys Omit[bool]     `json:"strict_signing_keys,omitempty"`
	Policy            *PolicyInput   `json:"policy,omitempty"`
}

func (p *OperatorPatch) onto(e *issuer.OperatorEdit) {
	p.ServiceURLs.onto(&e.ServiceURLs, nil)
	p.Tags.onto(&e.Tags, nil)
	p.AccountServerURL.onto(&e.AccountServerURL, "")
	p.StrictSigningKeys.onto(&e.Strict, true)
	p.Policy.onto(&e.Policy)
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
	out, err := a.issuer.UpdateOperator(ctx, op, in.Operator, in.Body.onto)
	if err != nil {
		return nil, err
	}
	body, err := a.changedOperator(ctx, by, in.Change, out)
	return &saved[Operator]{ETag: etag(out.Value.Version), Body: body}, err
}

type deleteOperatorInput struct {
	OperatorPath
	Change
}

func (a *API) deleteOperator(ctx context.Context, by call, in *deleteOperatorInput) (*saved[Operator], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.DeleteOperator(ctx, op, in.Operator)
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
