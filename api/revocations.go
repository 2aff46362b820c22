package api

import (
	"context"
	"net/url"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// Revocation refuses everything issued to its subject up to a time.
type Revocation struct {
	ID          string     `json:"id,omitempty"`
	Subject     string     `json:"subject" doc:"A user's public key, or * for everybody."`
	Before      time.Time  `json:"before" doc:"What was issued at or before this second is refused."`
	User        string     `json:"user,omitempty" doc:"The name of whom the key was issued to; absent for nobody known." example:"d1"`
	Cause       string     `json:"cause,omitempty" doc:"What it belongs to: template: and an id, key: and a public key, or user: and an id." example:"template:tpl_06f3…"`
	Reason      string     `json:"reason,omitempty"`
	RevokedBy   string     `json:"revoked_by"`
	CreatedAt   time.Time  `json:"created_at"`
	Issuances   int64      `json:"issuances" doc:"Credentials that it refuses."`
	Unexpired   int64      `json:"unexpired" doc:"How many of them have not expired."`
	CompactFrom *time.Time `json:"compact_from,omitempty" doc:"When it can be compacted, since all that it refuses has expired; absent for never."`
	Removal     string     `json:"removal,omitempty" enum:"compacted,lifted" doc:"How it left; absent while it is in force."`
	RemovedAt   *time.Time `json:"removed_at,omitempty"`
	RemovedBy   string     `json:"removed_by,omitempty"`
}

// RevocationProof is a revocation and where it is in effect.
type RevocationProof struct {
	Revocation
	LiveConnections *int  `json:"live_connections,omitempty" doc:"Connections of the subject that are still open; absent when the servers did not answer."`
	Sync            *Sync `json:"sync,omitempty"`
}

// Revoked is what a revocation came to.
type Revoked struct {
	Count            int          `json:"count" doc:"How many subjects are revoked."`
	Revocations      []Revocation `json:"revocations" doc:"The first hundred of them; the list has all."`
	Compacted        int          `json:"compacted" doc:"Entries that revoked nothing any more and made room in the JWT."`
	Affected         PlanAffected `json:"affected"`
	ReissueNotBefore time.Time    `json:"reissue_not_before" doc:"What is issued from this second on is not refused."`
	Sync             *Sync        `json:"sync,omitempty"`
	Plan             *Plan        `json:"plan,omitempty"`
}

func viewRevocation(v issuer.RevocationEntry) Revocation {
	out := Revocation{
		ID: v.ID, Subject: v.Subject, Before: time.Unix(v.Before, 0).UTC(), User: v.User, Cause: v.Cause, Reason: v.Reason, RevokedBy: v.Actor, CreatedAt: v.Created,
		Issuances: v.Issuances, Unexpired: v.Unexpired, Removal: v.Removal, RemovedBy: v.RemovedBy,
	}
	if !v.CompactFrom.IsZero() {
		out.CompactFrom = &v.CompactFrom
	}
	if !v.Removed.IsZero() {
		out.RemovedAt = &v.Removed
	}
	return out
}

type listRevocationsInput struct {
	AccountPath
	List
	User  string `query:"user" maxLength:"64" doc:"Only those of this user's keys, by name or id."`
	Cause string `query:"cause" maxLength:"80" doc:"Only those of a template or key: template: and its name or id, or key: and its public key." example:"template:device"`
	State string `query:"state" enum:"in_force,removed" default:"in_force" doc:"Those in force, or those that were compacted or lifted."`
}

func (a *API) listRevocations(ctx context.Context, by call, in *listRevocationsInput) (*paged[Revocation], error) {
	name := "revocations/" + in.Account + "?user=" + in.User + "&cause=" + in.Cause + "&state=" + in.State
	c, limit, err := in.position(name)
	if err != nil {
		return nil, err
	}
	rows, err := a.issuer.ListRevocations(ctx, by.caller, in.Account, issuer.RevocationQuery{
		LedgerPage: issuer.LedgerPage{Before: c.ID, Limit: limit + 1}, User: in.User, Cause: in.Cause, Removed: in.State == "removed",
	})
	if err != nil {
		return nil, err
	}
	filters := url.Values{"user": {in.User}, "cause": {in.Cause}, "state": {in.State}}
	return turn(rows, limit, in.link(filters, "accounts", in.Account, "revocations"), viewRevocation, func(v issuer.RevocationEntry) cursor {
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
	Subject string `path:"subject" maxLength:"80" doc:"A user's public key, or * for everybody. Or what stands for all keys with unexpired credentials: a user's name or id, template: and a template's name or id, key: and the public key that signed."`
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
	body := Revoked{Count: out.Value.Count, Compacted: out.Value.Compacted, Revocations: []Revocation{}, Affected: affected(out.Plan), ReissueNotBefore: time.Unix(out.Value.ReissueNotBefore, 0).UTC(), Plan: in.plan(out.Plan)}
	for _, v := range out.Value.Revocations {
		body.Revocations = append(body.Revocations, viewRevocation(issuer.RevocationEntry{Revocation: v}))
	}
	body.Sync = a.syncAfter(ctx, in.Change, out.Value.AccountID, out.Value.JWTVersion)
	return &saved[Revoked]{Body: body}, nil
}

type unrevokeInput struct {
	AccountPath
	Change
	Subject string `path:"subject" maxLength:"80" doc:"As it was revoked: a user's public key, *, a user's name or id, template: and a template's name or id, key: and a public key."`
	Reason  string `query:"reason" maxLength:"500" doc:"Needed, and put on record." example:"revoked by mistake"`
}

// Unrevoked is what taking revocations back came to.
type Unrevoked struct {
	Lifted       int64         `json:"lifted" doc:"Entries that were taken back."`
	Restored     int           `json:"restored" doc:"Entries that come back into force, since only everybody's covered them."`
	Affected     PlanAffected  `json:"affected"`
	Users        []RevivedUser `json:"users" doc:"Who gets in again; the first hundred."`
	StillRefused int64         `json:"still_refused" doc:"Credentials that other revocations go on refusing."`
	Sync         *Sync         `json:"sync,omitempty"`
	Plan         *Plan         `json:"plan,omitempty"`
}

// RevivedUser is a user whose credentials are accepted again.
type RevivedUser struct {
	User        string `json:"user" example:"d1"`
	Credentials int64  `json:"credentials"`
}

func (a *API) unrevoke(ctx context.Context, by call, in *unrevokeInput) (*saved[Unrevoked], error) {
	op, err := in.op(by, in.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.Unrevoke(ctx, op, in.Account, in.Subject)
	if err != nil {
		return nil, err
	}
	v := out.Value
	body := Unrevoked{Lifted: v.Lifted, Restored: v.Restored, StillRefused: v.StillRefused, Users: []RevivedUser{}, Affected: affected(out.Plan), Plan: in.plan(out.Plan)}
	body.Affected.Revived = v.Revived
	for _, u := range v.Users {
		body.Users = append(body.Users, RevivedUser{u.User, u.Credentials})
	}
	body.Sync = a.syncAfter(ctx, in.Change, v.AccountID, v.JWTVersion)
	return &saved[Unrevoked]{Body: body}, nil
}

type compactInput struct {
	AccountPath
	Change
}

// Compacted is what compacting came to.
type Compacted struct {
	Removed int   `json:"removed" doc:"Entries that left."`
	Kept    int   `json:"kept" doc:"Entries that are left."`
	Sync    *Sync `json:"sync,omitempty"`
	Plan    *Plan `json:"plan,omitempty"`
}

func (a *API) compactRevocations(ctx context.Context, by call, in *compactInput) (*saved[Compacted], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.Compact(ctx, op, in.Account)
	if err != nil {
		return nil, err
	}
	body := Compacted{Removed: out.Value.Removed, Kept: out.Value.Kept, Plan: in.plan(out.Plan)}
	body.Sync = a.syncAfter(ctx, in.Change, out.Value.AccountID, out.Value.JWTVersion)
	return &saved[Compacted]{Body: body}, nil
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
