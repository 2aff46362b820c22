package api

import (
	"context"
	"net/url"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// Subjects is a list of what is allowed and one of what is denied.
type Subjects struct {
	Allow []string `json:"allow,omitempty" maxItems:"500"`
	Deny  []string `json:"deny,omitempty" maxItems:"500"`
}

// Permissions say what may be published and subscribed to.
type Permissions struct {
	Publish   *Subjects  `json:"publish,omitempty"`
	Subscribe *Subjects  `json:"subscribe,omitempty" doc:"A subject may be followed by a space and a queue group."`
	Responses *Responses `json:"responses,omitempty" doc:"Allows to publish to the reply subject of a message that was received."`
}

// Responses bound what may be published to reply subjects.
type Responses struct {
	Max        int   `json:"max,omitempty" doc:"Messages for each reply subject; 0 means 1, -1 no bound."`
	TTLSeconds int64 `json:"ttl_seconds,omitempty" maximum:"31536000" doc:"0 means 2 minutes."`
}

// ConnectHours is a part of the day, HH:MM:SS; it may cross midnight.
type ConnectHours struct {
	Start string `json:"start" maxLength:"8" example:"08:00:00"`
	End   string `json:"end" maxLength:"8" example:"18:00:00"`
}

// UserLimits bound one user's connections; -1 is unlimited.
type UserLimits struct {
	Subscriptions Omit[int64] `json:"subscriptions,omitempty"`
	DataBytes     Omit[int64] `json:"data_bytes,omitempty"`
	PayloadBytes  Omit[int64] `json:"payload_bytes,omitempty"`
}

// PermissionSet is the permissions and limits of a user or a template.
type PermissionSet struct {
	Permissions     *Permissions         `json:"permissions,omitempty"`
	Limits          *UserLimits          `json:"limits,omitempty"`
	ConnectionTypes Omit[[]string]       `json:"connection_types,omitempty" maxItems:"16" doc:"Empty allows every type."`
	SourceCIDRs     Omit[[]string]       `json:"source_cidrs,omitempty" maxItems:"100" doc:"Networks from which clients may connect; empty allows all." example:"[\"10.0.0.0/8\"]"`
	Times           Omit[[]ConnectHours] `json:"times,omitempty" maxItems:"32"`
	TimesLocation   Omit[string]         `json:"times_location,omitempty" maxLength:"64" example:"Europe/Berlin"`
	Bearer          Omit[bool]           `json:"bearer,omitempty" doc:"Whoever has the JWT may connect, without a key."`
}

// given tells whether anything was said.
func (p *PermissionSet) given() bool {
	return p.Permissions != nil || p.Limits != nil || p.ConnectionTypes.Set || p.SourceCIDRs.Set || p.Times.Set || p.Bearer.Set
}

func (p *PermissionSet) onto(l *jwt.UserPermissionLimits) {
	if x := p.Permissions; x != nil {
		if x.Publish != nil {
			l.Pub = jwt.Permission{Allow: x.Publish.Allow, Deny: x.Publish.Deny}
		}
		if x.Subscribe != nil {
			l.Sub = jwt.Permission{Allow: x.Subscribe.Allow, Deny: x.Subscribe.Deny}
		}
		if x.Responses != nil {
			l.Resp = &jwt.ResponsePermission{MaxMsgs: x.Responses.Max, Expires: time.Duration(x.Responses.TTLSeconds) * time.Second}
		}
	}
	if x := p.Limits; x != nil {
		x.Subscriptions.onto(&l.Subs, jwt.NoLimit)
		x.DataBytes.onto(&l.Data, jwt.NoLimit)
		x.PayloadBytes.onto(&l.Payload, jwt.NoLimit)
	}
	p.ConnectionTypes.onto((*[]string)(&l.AllowedConnectionTypes), nil)
	p.SourceCIDRs.onto((*[]string)(&l.Src), nil)
	if p.Times.Set {
		l.Times = nil
		for _, t := range p.Times.Value {
			l.Times = append(l.Times, jwt.TimeRange(t))
		}
	}
	p.TimesLocation.onto(&l.Locale, "")
	p.Bearer.onto(&l.BearerToken, false)
}

// PermissionView is the permissions and limits as they are.
type PermissionView struct {
	Permissions     Permissions    `json:"permissions"`
	Limits          UserLimitsView `json:"limits"`
	ConnectionTypes []string       `json:"connection_types"`
	SourceCIDRs     []string       `json:"source_cidrs"`
	Times           []ConnectHours `json:"times"`
	TimesLocation   string         `json:"times_location"`
	Bearer          bool           `json:"bearer"`
}

// UserLimitsView is UserLimits filled in.
type UserLimitsView struct {
	Subscriptions int64 `json:"subscriptions"`
	DataBytes     int64 `json:"data_bytes"`
	PayloadBytes  int64 `json:"payload_bytes"`
}

func viewPermissions(l jwt.UserPermissionLimits) PermissionView {
	v := PermissionView{
		Permissions: Permissions{Publish: &Subjects{l.Pub.Allow, l.Pub.Deny}, Subscribe: &Subjects{l.Sub.Allow, l.Sub.Deny}},
		Limits:      UserLimitsView{l.Subs, l.Data, l.Payload}, ConnectionTypes: filled(l.AllowedConnectionTypes), SourceCIDRs: filled(l.Src),
		Times: []ConnectHours{}, TimesLocation: l.Locale, Bearer: l.BearerToken,
	}
	if l.Resp != nil {
		v.Permissions.Responses = &Responses{l.Resp.MaxMsgs, int64(l.Resp.Expires / time.Second)}
	}
	for _, t := range l.Times {
		v.Times = append(v.Times, ConnectHours(t))
	}
	return v
}

// Template is a permission set for many users.
type Template struct {
	ID          string `json:"id" example:"tpl_06f3…"`
	Name        string `json:"name" example:"device"`
	Description string `json:"description"`
	PermissionView
	MaxTTLSeconds int64     `json:"max_ttl_seconds" doc:"Longest lifetime of credentials; 0 sets no bound."`
	Keys          []Key     `json:"keys,omitempty" doc:"The scoped signing keys that carry it."`
	CreatedAt     time.Time `json:"created_at"`
	UpdatedAt     time.Time `json:"updated_at"`
	Sync          *Sync     `json:"sync,omitempty"`
	Plan          *Plan     `json:"plan,omitempty"`
}

func viewTemplate(x issuer.Template) Template {
	return Template{
		ID: x.ID, Name: x.Body.Name, Description: x.Body.Description, PermissionView: viewPermissions(x.Body.Permissions),
		MaxTTLSeconds: int64(x.MaxTTL / time.Second), CreatedAt: x.Created, UpdatedAt: x.Updated,
	}
}

// TemplatePatch changes a template; lists and response rules replace what was.
type TemplatePatch struct {
	Description Omit[string] `json:"description,omitempty" maxLength:"8192"`
	PermissionSet
	MaxTTLSeconds Omit[int64] `json:"max_ttl_seconds,omitempty" minimum:"0" maximum:"3153600000"`
}

func (p *TemplatePatch) onto(in *issuer.TemplateInput) {
	p.Description.onto(&in.Body.Description, "")
	p.PermissionSet.onto(&in.Body.Permissions)
	seconds := int64(in.MaxTTL / time.Second)
	p.MaxTTLSeconds.onto(&seconds, 0)
	in.MaxTTL = time.Duration(seconds) * time.Second
}

// TemplateInput asks for a new template.
type TemplateInput struct {
	Name string `json:"name" maxLength:"64" example:"device"`
	TemplatePatch
}

type listTemplatesInput struct {
	AccountPath
	Search
}

func (a *API) listTemplates(ctx context.Context, by call, in *listTemplatesInput) (*paged[Template], error) {
	name := "templates/" + in.Account
	page, err := in.pageOf(name)
	if err != nil {
		return nil, err
	}
	rows, err := a.issuer.ListTemplates(ctx, by.caller, in.Account, page)
	if err != nil {
		return nil, err
	}
	return turn(rows, page.Limit-1, in.link(url.Values{"q": {in.Q}}, "accounts", in.Account, "templates"), viewTemplate, func(x issuer.Template) cursor {
		return cursor{List: name + "?q=" + in.Q, Name: x.Body.Name, ID: x.ID}
	}), nil
}

type createTemplateInput struct {
	AccountPath
	Change
	Body TemplateInput
}

func (a *API) createTemplate(ctx context.Context, by call, in *createTemplateInput) (*created[Template], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	t := issuer.TemplateInput{Body: claims.Template{Name: in.Body.Name, Permissions: claims.NewPermissionLimits()}}
	in.Body.onto(&t)
	out, err := a.issuer.CreateTemplate(ctx, op, in.Account, t)
	if err != nil {
		return nil, err
	}
	body := a.templateAfter(ctx, by, in.Change, out)
	return &created[Template]{
		Status: in.status(), ETag: etag(out.Value.Version), Body: body,
		Location: Base + "/accounts/" + out.Value.AccountID + "/templates/" + out.Value.ID,
	}, nil
}

func (a *API) templateAfter(ctx context.Context, by call, c Change, out issuer.Outcome[issuer.TemplateWithKeys]) Template {
	body := viewTemplate(out.Value.Template)
	body.Keys = viewKeys(out.Value.Keys)
	body.Plan = c.plan(out.Plan)
	if acct, err := a.issuer.GetAccount(ctx, by.caller, out.Value.AccountID); err == nil {
		body.Sync = a.syncAfter(ctx, c, acct.ID, acct.JWTVersion)
	}
	return body
}

// TemplatePath names a template of an account.
type TemplatePath struct {
	AccountPath
	Template string `path:"template" maxLength:"64" doc:"Name or id." example:"device"`
}

func (a *API) getTemplate(ctx context.Context, by call, in *TemplatePath) (*saved[Template], error) {
	x, err := a.issuer.GetTemplate(ctx, by.caller, in.Account, in.Template)
	if err != nil {
		return nil, err
	}
	body := viewTemplate(x.Template)
	body.Keys = viewKeys(x.Keys)
	return &saved[Template]{ETag: etag(x.Version), Body: body}, nil
}

type updateTemplateInput struct {
	TemplatePath
	Change
	Body TemplatePatch `contentType:"application/merge-patch+json"`
}

func (a *API) updateTemplate(ctx context.Context, by call, in *updateTemplateInput) (*saved[Template], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.UpdateTemplate(ctx, op, in.Account, in.Template, in.Body.onto)
	if err != nil {
		return nil, err
	}
	return &saved[Template]{ETag: etag(out.Value.Version), Body: a.templateAfter(ctx, by, in.Change, out)}, nil
}
