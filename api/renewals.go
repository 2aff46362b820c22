package api

import (
	"context"
	"net/http"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// Challenge is what the holder of a user key signs.
type Challenge struct {
	PublicKey string    `json:"public_key"`
	Nonce     string    `json:"nonce" doc:"Sign its text as it stands; nats-io/nkeys: kp.Sign([]byte(nonce))."`
	ExpiresAt time.Time `json:"expires_at"`
}

type createChallengeInput struct {
	Body struct {
		PublicKey string `json:"public_key" maxLength:"64" doc:"A user's public key U…."`
	}
}

func (a *API) createChallenge(ctx context.Context, _ call, in *createChallengeInput) (*created[Challenge], error) {
	c, err := a.issuer.Challenge(ctx, in.Body.PublicKey)
	if err != nil {
		return nil, err
	}
	return &created[Challenge]{Status: http.StatusCreated, Body: Challenge{PublicKey: c.PublicKey, Nonce: c.Nonce, ExpiresAt: c.Expires}}, nil
}

// RenewedCredential is a new JWT for a key that its holder has.
type RenewedCredential struct {
	JWT       string     `json:"jwt" doc:"It takes the place of the one before in the creds file; the seed stays."`
	PublicKey string     `json:"public_key"`
	JTI       string     `json:"jti"`
	IssuedAt  *time.Time `json:"issued_at"`
	ExpiresAt *time.Time `json:"expires_at"`
}

type renewByHolderInput struct {
	Body struct {
		JWT       string `json:"jwt" maxLength:"8192" doc:"The credential to be renewed."`
		Nonce     string `json:"nonce" maxLength:"100" doc:"That of a challenge to its key."`
		Signature string `json:"signature" maxLength:"100" doc:"The key's signature over the nonce's text, in base64url without padding."`
	}
}

func (a *API) renewByHolder(ctx context.Context, by call, in *renewByHolderInput) (*created[RenewedCredential], error) {
	out, err := a.issuer.RenewByHolder(ctx, issuer.Op{RequestID: by.requestID}, issuer.RenewalInput{
		JWT: claims.NewSecret(in.Body.JWT), Proof: issuer.Proof{Nonce: in.Body.Nonce, Signature: in.Body.Signature},
	})
	if err != nil {
		return nil, err
	}
	return &created[RenewedCredential]{Status: http.StatusCreated, Body: RenewedCredential{
		JWT: out.JWT.Reveal(), PublicKey: out.PublicKey, JTI: out.JTI, IssuedAt: unixTime(out.IssuedAt), ExpiresAt: unixTime(out.Expires),
	}}, nil
}

// LinkedCredential is what a one-time link was for. It is shown once.
type LinkedCredential struct {
	Account   string     `json:"account" example:"ORDERS"`
	User      string     `json:"user" example:"d1"`
	PublicKey string     `json:"public_key"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	Creds     string     `json:"creds" doc:"The creds file: JWT and seed. It is shown here once and kept nowhere."`
}

type useCredentialLinkInput struct {
	Body struct {
		Link string `json:"link" maxLength:"128" doc:"The last part of the link's URL: chy_cred_…."`
	}
}

func (a *API) useCredentialLink(ctx context.Context, by call, in *useCredentialLinkInput) (*created[LinkedCredential], error) {
	out, what, err := a.issuer.UseCredentialLink(ctx, issuer.Op{RequestID: by.requestID}, claims.NewSecret(in.Body.Link))
	if err != nil {
		return nil, err
	}
	return &created[LinkedCredential]{Status: http.StatusCreated, Body: LinkedCredential{
		Account: what.Account, User: what.User, PublicKey: out.PublicKey, ExpiresAt: unixTime(out.Expires), Creds: out.Creds.Reveal(),
	}}, nil
}
