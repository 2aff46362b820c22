package api

import (
	"context"
	"net/url"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/issuer"
)

// Export is what an account offers to others.
type Export struct {
	ID      string `json:"id" example:"exp_06f3…"`
	Name    string `json:"name"`
	Kind    string `json:"kind" enum:"stream,service"`
	Subject string `json:"subject" example:"orders.paid.>"`
	Access  string `json:"access" enum:"public,activation,token_position" doc:"Who may import it: everybody, who has an activation token, or each account under its own public key in the subject."`
	// The position is of AccessTokenPosition only.
	AccountTokenPosition int         `json:"account_token_position,omitempty" doc:"Where in the subject the importer's public key stands, counted from 1."`
	ResponseType         string      `json:"response_type,omitempty" enum:"Singleton,Stream,Chunked" doc:"How often a service answers."`
	ResponseThresholdMS  int64       `json:"response_threshold_ms,omitempty" doc:"After how many milliseconds a server gives an answer up; absent for the server's own."`
	LatencyResults       string      `json:"latency_results,omitempty" doc:"The subject, in the exporter's account, on which a server publishes how long answers took; absent for no measuring." example:"latency.orders"`
	LatencySampling      int         `json:"latency_sampling,omitempty" doc:"Percent of the requests that are measured; absent or 0 for those that ask for it by a header."`
	AllowTrace           bool        `json:"allow_trace"`
	Advertise            bool        `json:"advertise"`
	Description          string      `json:"description"`
	InfoURL              string      `json:"info_url,omitempty"`
	Revocations          []RevokedTo `json:"revocations" doc:"Importers whose activations are refused."`
	Imports              *int64      `json:"imports,omitempty" doc:"How many imports of accounts here are held against it."`
	Activations          *int64      `json:"activations,omitempty" doc:"How many of its activation tokens have not expired."`
	CreatedAt            time.Time   `json:"created_at"`
	UpdatedAt            time.Time   `json:"updated_at"`
	Sync                 *Sync       `json:"sync,omitempty"`
	Plan                 *Plan       `json:"plan,omitempty"`
}

// RevokedTo is an importer whose activations are refused.
type RevokedTo struct {
	Importer string    `json:"importer" doc:"An account's public key, or * for every account."`
	Before   time.Time `json:"before" doc:"What was issued at or before this second is refused."`
}

func viewExport(e issuer.Export) Export {
	b := e.Body
	v := Export{
		ID: e.ID, Name: b.Name, Kind: b.Type.String(), Subject: string(b.Subject), Access: string(issuer.AccessOf(&b)), AccountTokenPosition: int(b.AccountTokenPosition), //nolint:gosec // at most the length of a subject
		ResponseType: string(b.ResponseType), ResponseThresholdMS: b.ResponseThreshold.Milliseconds(), AllowTrace: b.AllowTrace, Advertise: b.Advertise,
		Description: b.Description, InfoURL: b.InfoURL, Revocations: []RevokedTo{}, CreatedAt: e.Created, UpdatedAt: e.Updated,
	}
	if b.Latency != nil {
		v.LatencyResults, v.LatencySampling = string(b.Latency.Results), int(b.Latency.Sampling)
	}
	for _, importer := range sortedKeys(b.Revocations) {
		v.Revocations = append(v.Revocations, RevokedTo{importer, time.Unix(b.Revocations[importer], 0).UTC()})
	}
	return v
}

func viewExportWithUse(e issuer.ExportWithUse) Export {
	v := viewExport(e.Export)
	v.Imports, v.Activations = &e.Imports, &e.Activations
	return v
}

// ExportPatch changes an export.
type ExportPatch struct {
	Name                 Omit[string] `json:"name,omitempty" maxLength:"1024"`
	Kind                 Omit[string] `json:"kind,omitempty" enum:"stream,service"`
	Subject              Omit[string] `json:"subject,omitempty" maxLength:"1024" example:"orders.paid.>"`
	Access               Omit[string] `json:"access,omitempty" enum:"public,activation,token_position" doc:"public unless said."`
	AccountTokenPosition Omit[int]    `json:"account_token_position,omitempty" minimum:"0" maximum:"512" doc:"With access token_position: where in the subject, counted from 1, the importer's public key stands; the subject has a * there."`
	ResponseType         Omit[string] `json:"response_type,omitempty" enum:"Singleton,Stream,Chunked"`
	ResponseThresholdMS  Omit[int64]  `json:"response_threshold_ms,omitempty" minimum:"0" maximum:"3153600000000"`
	LatencyResults       Omit[string] `json:"latency_results,omitempty" maxLength:"1024" doc:"The subject, in the exporter's account, on which a server publishes how long answers took; null measures nothing." example:"latency.orders"`
	LatencySampling      Omit[int]    `json:"latency_sampling,omitempty" minimum:"0" maximum:"100" doc:"Percent of the requests that are measured; 0 measures those that ask for it by a header."`
	AllowTrace           Omit[bool]   `json:"allow_trace,omitempty"`
	Advertise            Omit[bool]   `json:"advertise,omitempty"`
	Description          Omit[string] `json:"description,omitempty" maxLength:"8192"`
	InfoURL              Omit[string] `json:"info_url,omitempty" maxLength:"8192"`
}

func (p *ExportPatch) onto(e *jwt.Export) {
	p.Name.onto(&e.Name, "")
	onKind(p.Kind, &e.Type)
	subject := string(e.Subject)
	p.Subject.onto(&subject, "")
	e.Subject = jwt.Subject(subject)
	access, position := string(issuer.AccessOf(e)), int(e.AccountTokenPosition) //nolint:gosec // as in viewExport
	p.Access.onto(&access, string(issuer.AccessPublic))
	p.AccountTokenPosition.onto(&position, 0)
	if p.AccountTokenPosition.Set && position > 0 {
		access = string(issuer.AccessTokenPosition)
	}
	e.TokenReq, e.AccountTokenPosition = access == string(issuer.AccessActivation), 0
	if access == string(issuer.AccessTokenPosition) {
		e.AccountTokenPosition = uint(max(position, 1)) //nolint:gosec // at least 1
	}
	response := string(e.ResponseType)
	p.ResponseType.onto(&response, "")
	e.ResponseType = jwt.ResponseType(response)
	threshold := e.ResponseThreshold.Milliseconds()
	p.ResponseThresholdMS.onto(&threshold, 0)
	if p.ResponseThresholdMS.Set {
		e.ResponseThreshold = time.Duration(threshold) * time.Millisecond
	}
	var latency jwt.ServiceLatency
	if e.Latency != nil {
		latency = *e.Latency
	}
	results, sampling := string(latency.Results), int(latency.Sampling)
	p.LatencyResults.onto(&results, "")
	p.LatencySampling.onto(&sampling, 0)
	e.Latency = nil
	if results != "" {
		e.Latency = &jwt.ServiceLatency{Results: jwt.Subject(results), Sampling: jwt.SamplingRate(sampling)}
	}
	p.AllowTrace.onto(&e.AllowTrace, false)
	p.Advertise.onto(&e.Advertise, false)
	p.Description.onto(&e.Description, "")
	p.InfoURL.onto(&e.InfoURL, "")
}

func onKind(p Omit[string], kind *jwt.ExportType) {
	if p.Set {
		*kind = kindOf(p.Value)
	}
}

func kindOf(s string) jwt.ExportType {
	switch s {
	case jwt.Stream.String():
		return jwt.Stream
	case jwt.Service.String():
		return jwt.Service
	}
	return jwt.Unknown
}

type listExportsInput struct {
	AccountPath
	Search
}

func (a *API) listExports(ctx context.Context, by call, in *listExportsInput) (*paged[Export], error) {
	name := "exports/" + in.Account
	page, err := in.pageOf(name)
	if err != nil {
		return nil, err
	}
	rows, err := a.issuer.ListExports(ctx, by.caller, in.Account, page)
	if err != nil {
		return nil, err
	}
	return turn(rows, page.Limit-1, in.link(url.Values{"q": {in.Q}}, "accounts", in.Account, "exports"), viewExportWithUse, func(x issuer.ExportWithUse) cursor {
		return cursor{List: name + "?q=" + in.Q, ID: x.ID}
	}), nil
}

type createExportInput struct {
	AccountPath
	Change
	Body ExportPatch
}

func (a *API) createExport(ctx context.Context, by call, in *createExportInput) (*created[Export], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	var e jwt.Export
	in.Body.onto(&e)
	out, err := a.issuer.CreateExport(ctx, op, in.Account, e)
	if err != nil {
		return nil, err
	}
	x := out.Value
	return &created[Export]{Status: in.status(), ETag: etag(x.Version), Location: Base + "/accounts/" + x.AccountID + "/exports/" + x.ID, Body: a.exportAfter(ctx, in.Change, out)}, nil
}

func (a *API) exportAfter(ctx context.Context, c Change, out issuer.Outcome[issuer.ExportChange]) Export {
	body := viewExport(out.Value.Export)
	body.Plan = c.plan(out.Plan)
	body.Sync = a.syncAfter(ctx, c, out.Value.AccountID, out.Value.JWTVersion)
	return body
}

// ExportPath names an export of an account.
type ExportPath struct {
	AccountPath
	Export string `path:"export" maxLength:"64" doc:"The id." example:"exp_06f3…"`
}

func (a *API) getExport(ctx context.Context, by call, in *ExportPath) (*saved[Export], error) {
	x, err := a.issuer.GetExport(ctx, by.caller, in.Account, in.Export)
	if err != nil {
		return nil, err
	}
	return &saved[Export]{ETag: etag(x.Version), Body: viewExportWithUse(x)}, nil
}

type updateExportInput struct {
	ExportPath
	Change
	Body ExportPatch `contentType:"application/merge-patch+json"`
}

func (a *API) updateExport(ctx context.Context, by call, in *updateExportInput) (*saved[Export], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.UpdateExport(ctx, op, in.Account, in.Export, in.Body.onto)
	if err != nil {
		return nil, err
	}
	return &saved[Export]{ETag: etag(out.Value.Version), Body: a.exportAfter(ctx, in.Change, out)}, nil
}

type deleteExportInput struct {
	ExportPath
	Change
	Why
}

func (a *API) deleteExport(ctx context.Context, by call, in *deleteExportInput) (*saved[Export], error) {
	op, err := in.op(by, in.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.DeleteExport(ctx, op, in.Account, in.Export)
	if err != nil {
		return nil, err
	}
	return &saved[Export]{ETag: etag(out.Value.Version), Body: a.exportAfter(ctx, in.Change, out)}, nil
}
