package api

import (
	"context"
	"net/url"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/issuer"
)

// Import is what an account takes from another one, seen from both sides.
type Import struct {
	ID           string       `json:"id" example:"imp_06f3…"`
	Name         string       `json:"name"`
	Exporter     SharingNode  `json:"exporter"`
	Importer     SharingNode  `json:"importer"`
	Kind         string       `json:"kind" enum:"stream,service"`
	Subject      string       `json:"subject" doc:"The exporter's subject." example:"orders.paid.>"`
	LocalSubject string       `json:"local_subject,omitempty" doc:"What the importer calls it; absent for the same." example:"in.orders.paid.>"`
	Share        bool         `json:"share" doc:"Of a service: the exporter learns who asks."`
	AllowTrace   bool         `json:"allow_trace" doc:"Of a stream: traces of messages cross."`
	Export       string       `json:"export,omitempty" doc:"The id of the export that it is held against; absent for none, and for an account that is not known here."`
	Access       string       `json:"access,omitempty" enum:"public,activation,token_position"`
	Activation   string       `json:"activation,omitempty" doc:"The id of the activation whose token it carries; absent for none, and for a token from elsewhere."`
	HasToken     bool         `json:"has_token" doc:"Whether it carries an activation token."`
	ExpiresAt    *time.Time   `json:"expires_at,omitempty" doc:"When the activation token does; absent for never."`
	State        string       `json:"state" enum:"in_effect,pending,broken" doc:"Whether messages cross; pending is right and not yet proven on every server."`
	Problem      *EdgeProblem `json:"problem,omitempty"`
	CreatedAt    time.Time    `json:"created_at"`
	UpdatedAt    time.Time    `json:"updated_at"`
	Sync         *Sync        `json:"sync,omitempty"`
	Plan         *Plan        `json:"plan,omitempty"`
}

// SharingNode is an account that shares.
type SharingNode struct {
	ID    string `json:"id" doc:"The public key."`
	Name  string `json:"name,omitempty" doc:"Absent of an account that is not known here, or not yours." example:"ORDERS"`
	State string `json:"state,omitempty"`
}

// EdgeProblem is what is wrong with an import.
type EdgeProblem struct {
	Code   string `json:"code" example:"token_revoked"`
	Detail string `json:"detail"`
	Fix    string `json:"fix" doc:"What to do about it."`
}

func viewEdge(e issuer.Edge) Import {
	v := viewImport(e.Import)
	v.Exporter, v.Importer = SharingNode(e.Exporter), SharingNode(e.Importer)
	v.Export, v.Access, v.State = e.ExportID, string(e.Access), string(e.State)
	if e.Expires != 0 {
		at := time.Unix(e.Expires, 0).UTC()
		v.ExpiresAt = &at
	}
	if p := e.Problem; p != nil {
		v.Problem = &EdgeProblem{p.Code, p.Detail, p.Fix}
	}
	return v
}

func viewImport(m issuer.Import) Import {
	b := m.Body
	return Import{
		ID: m.ID, Name: b.Name, Exporter: SharingNode{ID: b.Account}, Importer: SharingNode{ID: m.AccountID}, Kind: b.Type.String(), Subject: string(b.Subject),
		LocalSubject: string(b.LocalSubject), Share: b.Share, AllowTrace: b.AllowTrace, Activation: m.ActivationID, HasToken: b.Token != "",
		State: string(issuer.EdgePending), CreatedAt: m.Created, UpdatedAt: m.Updated,
	}
}

// ImportPatch changes an import.
type ImportPatch struct {
	Name         Omit[string] `json:"name,omitempty" maxLength:"1024"`
	Exporter     Omit[string] `json:"exporter,omitempty" maxLength:"64" doc:"A name, or the public key of any account, known here or not." example:"ORDERS"`
	Kind         Omit[string] `json:"kind,omitempty" enum:"stream,service"`
	Subject      Omit[string] `json:"subject,omitempty" maxLength:"1024" doc:"The exporter's subject, or a part of it." example:"orders.paid.>"`
	LocalSubject Omit[string] `json:"local_subject,omitempty" maxLength:"1024" doc:"What the importer calls it; $1 is the first wildcard of the subject." example:"in.orders.paid.>"`
	Share        Omit[bool]   `json:"share,omitempty" doc:"Of a service: the exporter learns who asks."`
	AllowTrace   Omit[bool]   `json:"allow_trace,omitempty" doc:"Of a stream: traces of messages cross."`
	Token        Omit[string] `json:"token,omitempty" maxLength:"16384" doc:"An activation token of the exporter."`
}

func (p *ImportPatch) onto(m *jwt.Import) {
	p.Name.onto(&m.Name, "")
	p.Exporter.onto(&m.Account, "")
	onKind(p.Kind, &m.Type)
	subject, local := string(m.Subject), string(m.LocalSubject)
	p.Subject.onto(&subject, "")
	p.LocalSubject.onto(&local, "")
	m.Subject, m.LocalSubject = jwt.Subject(subject), jwt.RenamingSubject(local)
	p.Share.onto(&m.Share, false)
	p.AllowTrace.onto(&m.AllowTrace, false)
	p.Token.onto(&m.Token, "")
}

type listImportsInput struct {
	AccountPath
	Search
}

func (a *API) listImports(ctx context.Context, by call, in *listImportsInput) (*paged[Import], error) {
	name := "imports/" + in.Account
	page, err := in.pageOf(name)
	if err != nil {
		return nil, err
	}
	rows, err := a.issuer.ListImports(ctx, by.caller, in.Account, page)
	if err != nil {
		return nil, err
	}
	return turn(rows, page.Limit-1, in.link(url.Values{"q": {in.Q}}, "accounts", in.Account, "imports"), viewEdge, func(x issuer.Edge) cursor {
		return cursor{List: name + "?q=" + in.Q, ID: x.ID}
	}), nil
}

type createImportInput struct {
	AccountPath
	Change
	Body ImportPatch
}

func (a *API) createImport(ctx context.Context, by call, in *createImportInput) (*created[Import], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	var m jwt.Import
	in.Body.onto(&m)
	out, err := a.issuer.CreateImport(ctx, op, in.Account, m)
	if err != nil {
		return nil, err
	}
	x := out.Value
	return &created[Import]{Status: in.status(), ETag: etag(x.Version), Location: Base + "/accounts/" + x.AccountID + "/imports/" + x.ID, Body: a.importAfter(ctx, by, in.Change, out)}, nil
}

// importAfter views an import after a change, with its state if it is there.
func (a *API) importAfter(ctx context.Context, by call, c Change, out issuer.Outcome[issuer.ImportChange]) Import {
	sync := a.syncAfter(ctx, c, out.Value.AccountID, out.Value.JWTVersion)
	body := viewImport(out.Value.Import)
	if !c.DryRun {
		if e, err := a.issuer.GetImport(ctx, by.caller, out.Value.AccountID, out.Value.ID); err == nil {
			body = viewEdge(e)
		}
	}
	body.Plan, body.Sync = c.plan(out.Plan), sync
	return body
}

// ImportPath names an import of an account.
type ImportPath struct {
	AccountPath
	Import string `path:"import" maxLength:"64" doc:"The id." example:"imp_06f3…"`
}

func (a *API) getImport(ctx context.Context, by call, in *ImportPath) (*saved[Import], error) {
	x, err := a.issuer.GetImport(ctx, by.caller, in.Account, in.Import)
	if err != nil {
		return nil, err
	}
	return &saved[Import]{ETag: etag(x.Version), Body: viewEdge(x)}, nil
}

type updateImportInput struct {
	ImportPath
	Change
	Body ImportPatch `contentType:"application/merge-patch+json"`
}

func (a *API) updateImport(ctx context.Context, by call, in *updateImportInput) (*saved[Import], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.UpdateImport(ctx, op, in.Account, in.Import, in.Body.onto)
	if err != nil {
		return nil, err
	}
	return &saved[Import]{ETag: etag(out.Value.Version), Body: a.importAfter(ctx, by, in.Change, out)}, nil
}

type deleteImportInput struct {
	ImportPath
	Change
	Why
}

func (a *API) deleteImport(ctx context.Context, by call, in *deleteImportInput) (*saved[Import], error) {
	op, err := in.op(by, in.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.DeleteImport(ctx, op, in.Account, in.Import)
	if err != nil {
		return nil, err
	}
	return &saved[Import]{ETag: etag(out.Value.Version), Body: a.importAfter(ctx, by, in.Change, out)}, nil
}

// ImportRenewal says how long the new activation is valid.
type ImportRenewal struct {
	TTLSeconds int64 `json:"ttl_seconds,omitempty" minimum:"0" maximum:"3153600000" doc:"0 for ever." example:"31536000"`
}

type renewImportInput struct {
	ImportPath
	Change
	Body ImportRenewal
}

func (a *API) renewImport(ctx context.Context, by call, in *renewImportInput) (*saved[Shared], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.RenewImport(ctx, op, in.Account, in.Import, time.Duration(in.Body.TTLSeconds)*time.Second)
	if err != nil {
		return nil, err
	}
	body := a.sharedAfter(ctx, by, in.Change, out)
	return &saved[Shared]{ETag: etag(out.Value.Links[0].Import.Version), Body: body}, nil
}
