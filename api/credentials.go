package api

import (
	"context"
	"net/url"
	"time"

	"chancery/issuer"
)

// Credential is one entry of the ledger of issuances.
type Credential struct {
	ID          string     `json:"id" example:"iss_06f3…"`
	User        string     `json:"user,omitempty" example:"d1"`
	PublicKey   string     `json:"public_key"`
	JTI         string     `json:"jti"`
	Status      string     `json:"status" enum:"active,expired,revoked,key_disabled,key_retired,pending" doc:"pending: a link that was not used yet; nothing was issued."`
	IssuedAt    *time.Time `json:"issued_at,omitempty"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty" doc:"Absent: it does not expire."`
	RollsOffAt  *time.Time `json:"rolls_off_at,omitempty" doc:"When the key is revoked, since a new one took its place."`
	SignedBy    string     `json:"signed_by" doc:"The account's signing key."`
	TemplateID  string     `json:"template_id,omitempty" doc:"The template it was issued with."`
	Bearer      bool       `json:"bearer"`
	KeyOrigin   string     `json:"key_origin" doc:"generated here; client: held by its holder, who proved it; unproven: the proof was waived." example:"client"`
	Occasion    string     `json:"occasion" doc:"issue, renew or roll." example:"issue"`
	Delivery    string     `json:"delivery" doc:"inline, one_time_link or sealed." example:"inline"`
	DeliveredTo string     `json:"delivered_to,omitempty"`
	IssuedBy    string     `json:"issued_by"`
	RequestID   string     `json:"request_id"`
	Reason      string     `json:"reason,omitempty"`
}

// IssuedCredential is a new credential with what is shown once.
type IssuedCredential struct {
	Credential
	JWT             string          `json:"jwt,omitempty" doc:"Of a bearer user this is a secret."`
	Creds           string          `json:"creds,omitempty" doc:"The creds file: JWT and seed. It is shown here once and kept nowhere."`
	Sealed          string          `json:"sealed,omitempty" doc:"The creds file, or the JWT of a holder's key, sealed to sealed_to as xkv1 (nkeys), in base64."`
	SealedBy        string          `json:"sealed_by,omitempty" doc:"The X-key of the sender, which opening needs."`
	Link            *CredentialLink `json:"link,omitempty"`
	SecretAvailable bool            `json:"secret_available" doc:"Whether this answer holds a seed, sealed or not."`
	Plan            *Plan           `json:"plan,omitempty"`
}

// CredentialLink makes a credential when it is used.
type CredentialLink struct {
	URL       string    `json:"url" doc:"Opening it shows a button; pressing that makes the credential and shows it once." example:"https://chancery.example.com/c/chy_cred_…"`
	ExpiresAt time.Time `json:"expires_at"`
}

func viewCredential(c issuer.Credential, status issuer.Status) Credential {
	return Credential{
		ID: c.ID, PublicKey: c.PublicKey, JTI: c.JTI, Status: string(status), IssuedAt: unixTime(c.IssuedAt), ExpiresAt: unixTime(c.Expires), SignedBy: c.Signer,
		TemplateID: c.TemplateID, Bearer: c.Bearer, KeyOrigin: c.KeyOrigin, Occasion: c.Occasion, Delivery: c.Delivery, DeliveredTo: c.DeliveredTo,
		IssuedBy: c.Actor, RequestID: c.RequestID, Reason: c.Reason,
	}
}

func viewLedger(c issuer.CredentialWithStatus) Credential {
	v := viewCredential(c.Credential, c.Status)
	v.User = c.UserName
	if !c.RollsOff.IsZero() {
		v.RollsOffAt = &c.RollsOff
	}
	return v
}

func (a *API) viewIssued(i issuer.Issued) IssuedCredential {
	v := IssuedCredential{
		Credential: viewCredential(i.Credential, issuer.StatusActive), JWT: i.JWT.Reveal(), Creds: i.Creds.Reveal(), Sealed: i.Sealed, SealedBy: i.SealedBy,
		SecretAvailable: !i.Creds.Empty() || i.Sealed != "",
	}
	if !i.LinkExpires.IsZero() {
		v.Status = "pending"
	}
	if !i.Link.Empty() {
		v.Link = &CredentialLink{URL: a.publicURL + "/c/" + i.Link.Reveal(), ExpiresAt: i.LinkExpires}
	}
	return v
}

type listCredentialsInput struct {
	UserPath
	List
}

func (a *API) listCredentials(ctx context.Context, by call, in *listCredentialsInput) (*paged[Credential], error) {
	name := "credentials/" + in.Account + "/" + in.User
	c, limit, err := in.position(name)
	if err != nil {
		return nil, err
	}
	rows, err := a.issuer.ListCredentials(ctx, by.caller, in.Account, in.User, issuer.LedgerPage{Before: c.ID, Limit: limit + 1})
	if err != nil {
		return nil, err
	}
	return turn(rows, limit, in.link(nil, "accounts", in.Account, "users", in.User, "credentials"), viewLedger, func(x issuer.CredentialWithStatus) cursor {
		return cursor{List: name, ID: x.ID}
	}), nil
}

type listAccountCredentialsInput struct {
	AccountPath
	List
	Status         string    `query:"status" enum:"active,expired,revoked,key_disabled,key_retired"`
	User           string    `query:"user" maxLength:"64" doc:"Name or id."`
	Template       string    `query:"template" maxLength:"64" doc:"Name or id: what was issued with it."`
	PublicKey      string    `query:"public_key" maxLength:"64"`
	JTI            string    `query:"jti" maxLength:"64"`
	SignedBy       string    `query:"signed_by" maxLength:"64" doc:"The account's signing key."`
	ExpiringBefore time.Time `query:"expiring_before" doc:"What expires up to then."`
}

func (in *listAccountCredentialsInput) filters() url.Values {
	q := url.Values{
		"status": {in.Status}, "user": {in.User}, "template": {in.Template}, "public_key": {in.PublicKey}, "jti": {in.JTI}, "signed_by": {in.SignedBy},
	}
	if !in.ExpiringBefore.IsZero() {
		q.Set("expiring_before", in.ExpiringBefore.Format(time.RFC3339))
	}
	return q
}

func (a *API) listAccountCredentials(ctx context.Context, by call, in *listAccountCredentialsInput) (*paged[Credential], error) {
	name := "credentials/" + in.Account + "?" + in.filters().Encode()
	c, limit, err := in.position(name)
	if err != nil {
		return nil, err
	}
	rows, err := a.issuer.FindCredentials(ctx, by.caller, in.Account, issuer.LedgerFilter{
		User: in.User, Template: in.Template, Status: issuer.Status(in.Status), PublicKey: in.PublicKey, JTI: in.JTI, Signer: in.SignedBy, ExpiringBefore: in.ExpiringBefore,
	}, issuer.LedgerPage{Before: c.ID, Limit: limit + 1})
	if err != nil {
		return nil, err
	}
	return turn(rows, limit, in.link(in.filters(), "accounts", in.Account, "credentials"), viewLedger, func(x issuer.CredentialWithStatus) cursor {
		return cursor{List: name, ID: x.ID}
	}), nil
}

// ProofInput shows that the holder of a public key asks, or says that nobody did.
type ProofInput struct {
	Nonce     string `json:"nonce,omitempty" maxLength:"100" doc:"That of a challenge to the public key."`
	Signature string `json:"signature,omitempty" maxLength:"100" doc:"The key's signature over the nonce's text, in base64url without padding."`
	Waived    bool   `json:"waived,omitempty" doc:"Do without: the key was handed over another way. Needs a reason, which goes into the ledger."`
}

// IssueKeyInput says whose key a credential is for, and how it gets there.
type IssueKeyInput struct {
	PublicKey      string      `json:"public_key,omitempty" maxLength:"64" doc:"The holder's own key U…, with a proof if the user was not issued to with it before."`
	Proof          *ProofInput `json:"proof,omitempty"`
	TTLSeconds     Omit[int64] `json:"ttl_seconds,omitempty" minimum:"1" maximum:"3153600000" doc:"Lifetime; without it the template's bound, or the operator's default, or 90 days."`
	NoExpiry       bool        `json:"no_expiry,omitempty" doc:"It never expires. Needs a reason, and a template and operator that set no bound."`
	Delivery       string      `json:"delivery,omitempty" enum:"inline,one_time_link,sealed" doc:"inline if absent, or sealed where sealed_to is there."`
	SealedTo       string      `json:"sealed_to,omitempty" maxLength:"64" doc:"The X-key of whoever is to open the answer."`
	LinkTTLSeconds Omit[int64] `json:"link_ttl_seconds,omitempty" minimum:"1" maximum:"604800" doc:"How long a link can be used; an hour if absent."`
	DeliveredTo    string      `json:"delivered_to,omitempty" maxLength:"200" doc:"Who gets it, for the ledger."`
}

func (k IssueKeyInput) input() issuer.IssueInput {
	in := issuer.IssueInput{
		PublicKey: k.PublicKey, TTL: seconds(k.TTLSeconds), NoExpiry: k.NoExpiry, Delivery: issuer.Delivery(k.Delivery), SealTo: k.SealedTo,
		LinkTTL: seconds(k.LinkTTLSeconds), DeliveredTo: k.DeliveredTo,
	}
	if in.Delivery == "" && in.SealTo != "" {
		in.Delivery = issuer.DeliverSealed
	}
	if p := k.Proof; p != nil {
		if in.Waive = p.Waived; !in.Waive {
			in.Proof = &issuer.Proof{Nonce: p.Nonce, Signature: p.Signature}
		}
	}
	return in
}

// CredentialInput asks for a credential.
type CredentialInput struct {
	Key string `json:"key,omitempty" enum:"generate" doc:"generate, as without public_key: a key is made here and its seed delivered once."`
	IssueKeyInput
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

type issueCredentialInput struct {
	UserPath
	Change
	Body CredentialInput
}

func (a *API) issueCredential(ctx context.Context, by call, in *issueCredentialInput) (*created[IssuedCredential], error) {
	op, err := in.op(by, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.Issue(ctx, op, in.Account, in.User, in.Body.input())
	if err != nil {
		return nil, err
	}
	body := a.viewIssued(out.Value)
	body.Plan = in.plan(out.Plan)
	return &created[IssuedCredential]{Status: in.status(), Body: body}, nil
}

type renewCredentialInput struct {
	UserPath
	Change
	Body struct {
		PublicKey   string      `json:"public_key,omitempty" maxLength:"64" doc:"One of the user's keys; absent: that of the newest credential."`
		TTLSeconds  Omit[int64] `json:"ttl_seconds,omitempty" minimum:"1" maximum:"3153600000" doc:"Lifetime; absent: that of the credential before."`
		NoExpiry    bool        `json:"no_expiry,omitempty" doc:"It never expires. Needs a reason."`
		DeliveredTo string      `json:"delivered_to,omitempty" maxLength:"200"`
		Reason      string      `json:"reason,omitempty" maxLength:"500"`
	}
}

func (a *API) renewCredential(ctx context.Context, by call, in *renewCredentialInput) (*created[IssuedCredential], error) {
	op, err := in.op(by, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.Renew(ctx, op, in.Account, in.User, issuer.RenewInput{
		PublicKey: in.Body.PublicKey, TTL: seconds(in.Body.TTLSeconds), NoExpiry: in.Body.NoExpiry, DeliveredTo: in.Body.DeliveredTo,
	})
	if err != nil {
		return nil, err
	}
	body := a.viewIssued(out.Value)
	body.Plan = in.plan(out.Plan)
	return &created[IssuedCredential]{Status: in.status(), Body: body}, nil
}

// RolledCredential is a credential of a new key, and what becomes of the old one.
type RolledCredential struct {
	IssuedCredential
	OldKey     string    `json:"old_key" doc:"The key that was replaced."`
	RollsOffAt time.Time `json:"old_key_rolls_off_at" doc:"From then on the old key is refused."`
	Sync       *Sync     `json:"sync,omitempty"`
}

type rollCredentialInput struct {
	UserPath
	Change
	Body struct {
		CredentialInput
		OldKey       string      `json:"old_key,omitempty" maxLength:"64" doc:"One of the user's keys; absent: that of the newest credential."`
		GraceSeconds Omit[int64] `json:"grace_seconds,omitempty" minimum:"0" maximum:"2592000" doc:"How long the old key goes on; absent or 0: it is revoked at once." example:"86400"`
	}
}

func (a *API) rollCredential(ctx context.Context, by call, in *rollCredentialInput) (*created[RolledCredential], error) {
	op, err := in.op(by, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.Roll(ctx, op, in.Account, in.User, issuer.RollInput{IssueInput: in.Body.input(), OldKey: in.Body.OldKey, Grace: seconds(in.Body.GraceSeconds)})
	if err != nil {
		return nil, err
	}
	body := RolledCredential{IssuedCredential: a.viewIssued(out.Value.Issued), OldKey: out.Value.OldKey, RollsOffAt: out.Value.RollsOff}
	body.Plan = in.plan(out.Plan)
	if out.Value.JWTVersion > 0 {
		body.Sync = a.syncAfter(ctx, in.Change, out.Value.AccountID, out.Value.JWTVersion)
	}
	return &created[RolledCredential]{Status: in.status(), Body: body}, nil
}

// ReissuedCredential is a credential in place of those that were revoked.
type ReissuedCredential struct {
	IssuedCredential
	Revocations []Revocation `json:"revocations"`
	Sync        *Sync        `json:"sync,omitempty"`
}

type reissueCredentialInput struct {
	UserPath
	Change
	Body CredentialInput
}

func (a *API) reissueCredential(ctx context.Context, by call, in *reissueCredentialInput) (*created[ReissuedCredential], error) {
	op, err := in.op(by, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.Reissue(ctx, op, in.Account, in.User, in.Body.input())
	if err != nil {
		return nil, err
	}
	body := ReissuedCredential{IssuedCredential: a.viewIssued(out.Value.Issued), Revocations: viewRevocations(out.Value.Revocations)}
	body.Plan = in.plan(out.Plan)
	body.Sync = a.syncAfter(ctx, in.Change, out.Value.AccountID, out.Value.JWTVersion)
	return &created[ReissuedCredential]{Status: in.status(), Body: body}, nil
}

func viewRevocations(list []issuer.Revocation) []Revocation {
	out := []Revocation{}
	for _, v := range list {
		out = append(out, viewRevocation(issuer.RevocationEntry{Revocation: v}))
	}
	return out
}
