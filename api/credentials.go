package api

import (
	"context"
	"time"

	"chancery/issuer"
)

// Credential is one entry of the ledger of issuances.
type Credential struct {
	ID          string     `json:"id" example:"iss_06f3…"`
	PublicKey   string     `json:"public_key"`
	JTI         string     `json:"jti"`
	Status      string     `json:"status" enum:"active,expired,revoked,key_retired"`
	IssuedAt    time.Time  `json:"issued_at"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty" doc:"Absent: it does not expire."`
	SignedBy    string     `json:"signed_by" doc:"The account's signing key."`
	Bearer      bool       `json:"bearer"`
	KeyOrigin   string     `json:"key_origin" enum:"generated,client"`
	Delivery    string     `json:"delivery"`
	DeliveredTo string     `json:"delivered_to,omitempty"`
	IssuedBy    string     `json:"issued_by"`
	RequestID   string     `json:"request_id"`
}

// IssuedCredential is a new credential with what is shown once.
type IssuedCredential struct {
	Credential
	JWT             string `json:"jwt" doc:"Of a bearer user this is a secret."`
	Creds           string `json:"creds,omitempty" doc:"The creds file: JWT and seed. It is shown here once and kept nowhere."`
	SecretAvailable bool   `json:"secret_available" doc:"Whether this answer holds a seed."`
}

func viewCredential(c issuer.Credential, status issuer.Status) Credential {
	v := Credential{
		ID: c.ID, PublicKey: c.PublicKey, JTI: c.JTI, Status: string(status), IssuedAt: time.Unix(c.IssuedAt, 0).UTC(), SignedBy: c.Signer, Bearer: c.Bearer,
		KeyOrigin: c.KeyOrigin, Delivery: c.Delivery, DeliveredTo: c.DeliveredTo, IssuedBy: c.Actor, RequestID: c.RequestID,
	}
	if c.Expires > 0 {
		t := time.Unix(c.Expires, 0).UTC()
		v.ExpiresAt = &t
	}
	return v
}

func viewIssued(i issuer.Issued) IssuedCredential {
	return IssuedCredential{
		Credential: viewCredential(i.Credential, issuer.StatusActive), JWT: i.JWT.Reveal(), Creds: i.Creds.Reveal(), SecretAvailable: !i.Creds.Empty(),
	}
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
	view := func(x issuer.CredentialWithStatus) Credential { return viewCredential(x.Credential, x.Status) }
	return turn(rows, limit, in.link(nil, "accounts", in.Account, "users", in.User, "credentials"), view, func(x issuer.CredentialWithStatus) cursor {
		return cursor{List: name, ID: x.ID}
	}), nil
}

// CredentialInput asks for a credential.
type CredentialInput struct {
	PublicKey   string      `json:"public_key,omitempty" maxLength:"64" doc:"The holder's own key U…; without it a key is made here and its seed returned once."`
	TTLSeconds  Omit[int64] `json:"ttl_seconds,omitempty" minimum:"1" maximum:"3153600000" doc:"Lifetime; without it the template's bound, or for ever."`
	DeliveredTo string      `json:"delivered_to,omitempty" maxLength:"200" doc:"Who gets it, for the ledger."`
	Reason      string      `json:"reason,omitempty" maxLength:"500"`
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
	out, err := a.issuer.Issue(ctx, op, in.Account, in.User, issuer.IssueInput{
		PublicKey: in.Body.PublicKey, TTL: seconds(in.Body.TTLSeconds), DeliveredTo: in.Body.DeliveredTo,
	})
	if err != nil {
		return nil, err
	}
	return &created[IssuedCredential]{Status: in.status(), Body: viewIssued(out.Value)}, nil
}
