package api

import (
	"context"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// Revocation refuses everything issued to its subject up to a time.
type Revocation struct {
	ID        string    `json:"id,omitempty"`
	Subject   string    `json:"subject" doc:"A user's public key, or * for everybody."`
	Before    time.Time `json:"before" doc:"What was issued at or before this second is refused."`
	Reason    string    `json:"reason,omitempty"`
	RevokedBy string    `json:"revoked_by"`
	CreatedAt time.Time `json:"created_at"`
}

// RevocationProof is a revocation and where it is in effect.
type RevocationProof struct {
	Revocation
	LiveConnections *int  `json:"live_connections,omitempty" doc:"Connections of the subject that are still open; absent when the servers did not answer."`
	Sync            *Sync `json:"sync,omitempty"`
}

// Revoked is what a revocation came to.
type Revoked struct {
	Revocations      []Revocation `json:"revocations"`
	Affected         PlanAffected `json:"affected"`
	ReissueNotBefore time.Time    `json:"reissue_not_before" doc:"What is issued from this second on is not refused."`
	Sync             *Sync        `json:"sync,omitempty"`
	Plan             *Plan        `json:"plan,omitempty"`
}

func viewRevocation(v issuer.Revocation) Revocation {
	return Revocation{ID: v.ID, Subject: v.Subject, Before: time.Unix(v.Before, 0).UTC(), Reason: v.Reason, RevokedBy: v.Actor, CreatedAt: v.Created}
}

type listRevocationsInput struct {
	AccountPath
	List
}

func (a *API) listRevocations(ctx context.Context, by call, in *listRevocationsInput) (*paged[Revocation], error) {
	name := "revocations/" + in.Account
	c, limit, err := in.position(name)
	if err != nil {
		return nil, err
	}
	rows, err := a.issuer.ListRevocations(ctx, by.caller, in.Account, issuer.LedgerPage{Before: c.ID, Limit: limit + 1})
	if err != nil {
		return nil, err
	}
	return turn(rows, limit, in.link(nil, "accounts", in.Account, "revocations"), viewRevocation, func(v issuer.Revocation) cursor {
		return cursor{List: name, ID: v.ID}
	}), nil
}

type getRevocationInput struct {
	AccountPath
	Subject string `path:"subject" maxLength:"64" doc:"A user's public key, or *."`
	Include string `query:"include" enum:"proof" doc:"proof adds the servers and the connections that are left."`
}

func (a *API) getRevocation(ctx context.Context, by call, in *getRevocationInput) (*saved[RevocationProof], error) {
	v, err := a.issuer.GetRevocation(ctx, by.caller, in.Account, in.Subject)
	if err != nil {
		return nil, err
	}
	out := RevocationProof{Revocation: viewRevocation(v)}
	if in.Include == "" {
		return &saved[RevocationProof]{Body: out}, nil
	}
	s, err := a.live.Sync(ctx, v.AccountID)
	if err != nil {
		return nil, err
	}
	out.Sync = viewSync(s)
	if all, err := a.live.Connections(ctx, v.AccountID); err == nil {
		n := 0
		for _, c := range all {
			if v.Subject == issuer.Everybody || c.UserKey == v.Subject {
				n++
			}
		}
		out.LiveConnections = &n
	}
	return &saved[RevocationProof]{Body: out}, nil
}

// RevocationInput asks for a revocation.
type RevocationInput struct {
	Before string `json:"before,omitempty" maxLength:"40" doc:"now, or a time of RFC 3339: what was issued up to then is refused." example:"now"`
	Reason string `json:"reason,omitempty" maxLength:"500" example:"laptop lost"`
}

type revokeInput struct {
	AccountPath
	Change
	Subject string `path:"subject" maxLength:"64" doc:"A user's public key, a user's name or id, or * for everybody."`
	Body    RevocationInput
}

func (a *API) revoke(ctx context.Context, by call, in *revokeInput) (*saved[Revoked], error) {
	op, err := in.op(by, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	before, err := beforeTime(in.Body.Before)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.Revoke(ctx, op, in.Account, issuer.RevokeInput{Subject: in.Subject, Before: before})
	if err != nil {
		return nil, err
	}
	body := Revoked{Revocations: []Revocation{}, Affected: affected(out.Plan), ReissueNotBefore: time.Unix(out.Value.ReissueNotBefore, 0).UTC(), Plan: in.plan(out.Plan)}
	for _, v := range out.Value.Revocations {
		body.Revocations = append(body.Revocations, viewRevocation(v))
	}
	body.Sync = a.syncAfter(ctx, in.Change, out.Value.AccountID, out.Value.JWTVersion)
	return &saved[Revoked]{Body: body}, nil
}

func beforeTime(s string) (time.Time, error) {
	if s == "" || s == "now" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, &issuer.Error{
			Kind: issuer.KindInvalid, Code: "invalid", Message: "The request cannot be accepted as it is.",
			Problems: claims.Problems{{Pointer: "/before", Code: "invalid_time", Detail: "This is now, or a time such as 2026-11-21T10:12:31Z.", Blocking: true}},
		}
	}
	return t, nil
}
