package api

import (
	"context"

	"chancery/claims"
	"chancery/issuer"
)

// Guardrails bound what may be made in accounts. What there is already goes on.
type Guardrails struct {
	MaxTTL      int64    `json:"credential_max_ttl_seconds" doc:"Longest lifetime of credentials; 0 is no bound. With one, nothing is issued that never expires. Of an operator it is the same as in its policy." example:"2592000"`
	NoBearer    bool     `json:"no_bearer" doc:"Refuse bearer users and templates. Of an operator it is the same as in its policy."`
	UserTags    []string `json:"required_user_tags" doc:"Keys of tags that every user needs: team asks for a tag team:…" example:"[\"team\"]"`
	AccountTags []string `json:"required_account_tags" doc:"Keys of tags that every account needs; an operator's only."`
	Subjects    []string `json:"subject_prefixes" nullable:"true" doc:"Below which users may publish and subscribe and accounts export. orders. stands for all that orders.> matches, inboxes for _INBOX.> and private inboxes, responses for answers to requests on whatever subject these name. Null allows every subject, an empty list none." example:"[\"orders.\",\"inboxes\"]"`
	Quotas      Quotas   `json:"quotas"`
}

// Quotas are how many there may be; -1 is no bound.
type Quotas struct {
	Accounts         int64 `json:"accounts" doc:"Accounts of the operator beside its system account; an operator's only."`
	Users            int64 `json:"users_per_account"`
	Templates        int64 `json:"templates_per_account" doc:"Without shared ones."`
	SigningKeys      int64 `json:"signing_keys_per_account" doc:"With those of templates; retired ones do not count."`
	Exports          int64 `json:"exports_per_account"`
	Imports          int64 `json:"imports_per_account"`
	Credentials      int64 `json:"credentials_per_user" doc:"Keys with a credential that has not expired and is not revoked: renewing does not count again."`
	TotalConnections int64 `json:"total_connections" doc:"Sum of the limits that the operator's accounts were given; with one, no account is unlimited. An operator's only, like the other totals."`
	TotalDisk        int64 `json:"total_jetstream_disk_bytes" doc:"Likewise. Limits by replica count (tiers) count once for each replica."`
	TotalMemory      int64 `json:"total_jetstream_memory_bytes" doc:"Likewise."`
}

// GuardrailsView is the guardrails of an operator or account with what holds there.
type GuardrailsView struct {
	Guardrails
	Effective Guardrails `json:"effective" doc:"What holds: of an account the stricter of its own and its operator's, rule by rule. What of its own is looser has no effect."`
	Summary   []string   `json:"summary" doc:"What holds, in sentences." example:"[\"Credentials live for at most 30 days.\"]"`
	Plan      *Plan      `json:"plan,omitempty"`
}

func viewGuardrails(g claims.Guardrails) Guardrails {
	quota := func(q claims.Quota) int64 {
		if n, bounded := g.Quotas[q]; bounded {
			return n
		}
		return -1
	}
	return Guardrails{
		MaxTTL: g.MaxTTL, NoBearer: g.NoBearer, UserTags: filled(g.UserTags), AccountTags: filled(g.AccountTags), Subjects: g.Subjects,
		Quotas: Quotas{
			Accounts: quota(claims.QuotaAccounts), Users: quota(claims.QuotaUsers), Templates: quota(claims.QuotaTemplates), SigningKeys: quota(claims.QuotaSigningKeys),
			Exports: quota(claims.QuotaExports), Imports: quota(claims.QuotaImports), Credentials: quota(claims.QuotaCredentials),
			TotalConnections: quota(claims.TotalConnections), TotalDisk: quota(claims.TotalDisk), TotalMemory: quota(claims.TotalMemory),
		},
	}
}

func guardrailsView(g issuer.Guardrails) GuardrailsView {
	out := GuardrailsView{Guardrails: viewGuardrails(g.Own), Effective: viewGuardrails(g.Effective), Summary: g.Effective.Rules()}
	if out.Summary == nil {
		out.Summary = []string{}
	}
	return out
}

// GuardrailsInput replaces guardrails: what is left out, or null, bounds nothing.
type GuardrailsInput struct {
	MaxTTL      Omit[int64]    `json:"credential_max_ttl_seconds,omitempty" doc:"60 seconds to 100 years; 0 is no bound."`
	NoBearer    Omit[bool]     `json:"no_bearer,omitempty"`
	UserTags    Omit[[]string] `json:"required_user_tags,omitempty" maxItems:"16"`
	AccountTags Omit[[]string] `json:"required_account_tags,omitempty" maxItems:"16" doc:"Of an operator only."`
	Subjects    Omit[[]string] `json:"subject_prefixes,omitempty" maxItems:"64" doc:"Whole tokens without wildcards, ending in a dot, and the names inboxes and responses. Null or empty allows every subject."`
	Quotas      *QuotasInput   `json:"quotas,omitempty"`
	Reason      string         `json:"reason,omitempty" maxLength:"1024"`
}

// QuotasInput sets quotas; what is left out, null or -1 has no bound.
type QuotasInput struct {
	Accounts         Omit[int64] `json:"accounts,omitempty" minimum:"-1" doc:"Of an operator only."`
	Users            Omit[int64] `json:"users_per_account,omitempty" minimum:"-1"`
	Templates        Omit[int64] `json:"templates_per_account,omitempty" minimum:"-1"`
	SigningKeys      Omit[int64] `json:"signing_keys_per_account,omitempty" minimum:"-1"`
	Exports          Omit[int64] `json:"exports_per_account,omitempty" minimum:"-1"`
	Imports          Omit[int64] `json:"imports_per_account,omitempty" minimum:"-1"`
	Credentials      Omit[int64] `json:"credentials_per_user,omitempty" minimum:"-1"`
	TotalConnections Omit[int64] `json:"total_connections,omitempty" minimum:"-1" doc:"Of an operator only."`
	TotalDisk        Omit[int64] `json:"total_jetstream_disk_bytes,omitempty" minimum:"-1" doc:"Of an operator only."`
	TotalMemory      Omit[int64] `json:"total_jetstream_memory_bytes,omitempty" minimum:"-1" doc:"Of an operator only."`
}

func (in GuardrailsInput) guardrails() claims.Guardrails {
	g := claims.Guardrails{MaxTTL: in.MaxTTL.Value, NoBearer: in.NoBearer.Value, UserTags: in.UserTags.Value, AccountTags: in.AccountTags.Value, Subjects: in.Subjects.Value}
	if in.Quotas == nil {
		return g
	}
	g.Quotas = map[claims.Quota]int64{}
	for q, n := range map[claims.Quota]Omit[int64]{
		claims.QuotaAccounts: in.Quotas.Accounts, claims.QuotaUsers: in.Quotas.Users, claims.QuotaTemplates: in.Quotas.Templates, claims.QuotaSigningKeys: in.Quotas.SigningKeys,
		claims.QuotaExports: in.Quotas.Exports, claims.QuotaImports: in.Quotas.Imports, claims.QuotaCredentials: in.Quotas.Credentials,
		claims.TotalConnections: in.Quotas.TotalConnections, claims.TotalDisk: in.Quotas.TotalDisk, claims.TotalMemory: in.Quotas.TotalMemory,
	} {
		if n.Set && !n.Null && n.Value != -1 {
			g.Quotas[q] = n.Value
		}
	}
	return g
}

func (a *API) getOperatorGuardrails(ctx context.Context, by call, in *OperatorPath) (*saved[GuardrailsView], error) {
	g, err := a.issuer.OperatorGuardrails(ctx, by.caller, in.Operator)
	if err != nil {
		return nil, err
	}
	return &saved[GuardrailsView]{ETag: etag(g.Version), Body: guardrailsView(g)}, nil
}

func (a *API) getAccountGuardrails(ctx context.Context, by call, in *AccountPath) (*saved[GuardrailsView], error) {
	g, err := a.issuer.AccountGuardrails(ctx, by.caller, in.Account)
	if err != nil {
		return nil, err
	}
	return &saved[GuardrailsView]{ETag: etag(g.Version), Body: guardrailsView(g)}, nil
}

type setOperatorGuardrailsInput struct {
	OperatorPath
	Change
	Body GuardrailsInput
}

func (a *API) setOperatorGuardrails(ctx context.Context, by call, in *setOperatorGuardrailsInput) (*saved[GuardrailsView], error) {
	return setGuardrails(ctx, by, in.Change, in.Operator, in.Body, a.issuer.SetOperatorGuardrails)
}

type setAccountGuardrailsInput struct {
	AccountPath
	Change
	Body GuardrailsInput
}

func (a *API) setAccountGuardrails(ctx context.Context, by call, in *setAccountGuardrailsInput) (*saved[GuardrailsView], error) {
	return setGuardrails(ctx, by, in.Change, in.Account, in.Body, a.issuer.SetAccountGuardrails)
}

func setGuardrails(ctx context.Context, by call, c Change, of string, in GuardrailsInput,
	set func(context.Context, issuer.Op, string, claims.Guardrails) (issuer.Outcome[issuer.Guardrails], error),
) (*saved[GuardrailsView], error) {
	op, err := c.op(by, in.Reason)
	if err != nil {
		return nil, err
	}
	out, err := set(ctx, op, of, in.guardrails())
	if err != nil {
		return nil, err
	}
	body := guardrailsView(out.Value)
	body.Plan = c.plan(out.Plan)
	return &saved[GuardrailsView]{ETag: etag(out.Value.Version), Body: body}, nil
}
