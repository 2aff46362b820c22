package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// Denial is what was refused again and again for one reason.
type Denial struct {
	ID           string       `json:"id" example:"den_3f1c90aa77b204de11aa"`
	OperatorID   string       `json:"operator_id"`
	AccountID    string       `json:"account_id,omitempty" doc:"The account that the JWT names, if it is one of the operator."`
	Proven       bool         `json:"proven" doc:"One of the account's keys signed the JWT. Where it is false, account, user and name are claims of whoever sent it."`
	Account      string       `json:"account,omitempty"`
	UserKey      string       `json:"user_key,omitempty" doc:"The subject of the JWT, whoever signed it."`
	User         string       `json:"user,omitempty"`
	IssuerKey    string       `json:"issuer_key,omitempty"`
	Template     string       `json:"template,omitempty"`
	Host         string       `json:"host"`
	Client       string       `json:"client,omitempty"`
	Type         string       `json:"type,omitempty"`
	ServerID     string       `json:"server_id"`
	ServerName   string       `json:"server_name"`
	Class        string       `json:"class" doc:"The id of the check that failed; authentication_timeout, tls_handshake or server_connection_limit; too_many_claims for what one address sent without proof beyond what is listed; unexplained while nobody knows." example:"not_revoked"`
	ServerReason string       `json:"server_reason" doc:"The server's own word for it."`
	Summary      string       `json:"summary" doc:"Why, in a sentence."`
	Count        uint64       `json:"count"`
	LastHour     int          `json:"last_hour" doc:"How often in the last hour."`
	FirstAt      time.Time    `json:"first_at"`
	LastAt       time.Time    `json:"last_at"`
	JWTIssuedAt  *time.Time   `json:"jwt_issued_at,omitempty"`
	JWTExpiresAt *time.Time   `json:"jwt_expires_at,omitempty"`
	JWTSHA256    string       `json:"jwt_sha256,omitempty" doc:"Of the last JWT, which itself is not kept."`
	LastEventID  string       `json:"last_event_id"`
	Explanation  *Explanation `json:"explanation,omitempty"`
	ExplainedAt  *time.Time   `json:"explained_at,omitempty" doc:"It was explained by what was in force then."`
	Fixes        []Fix        `json:"fixes,omitempty"`
}

// Fix is one thing to do about a denial.
type Fix struct {
	Text   string `json:"text" example:"Issue new credentials; they will be later than the revocation."`
	Method string `json:"method,omitempty" example:"POST"`
	Href   string `json:"href,omitempty" doc:"The request that does it, where there is one."`
}

const notExplained = "The server refused it. Why is not known: too many were refused at once. It is explained when the client comes again."

func partyOfDenial(d claims.Denial) issuer.PartyKey {
	return issuer.PartyKey{AccountID: d.AccountID, UserKey: d.UserKey, IssuerKey: d.IssuerKey}
}

func viewDenial(d claims.Denial, p issuer.Party) Denial {
	v := Denial{
		ID: d.ID, OperatorID: d.OperatorID, AccountID: d.AccountID, Account: p.Account, Proven: d.Proven, UserKey: d.UserKey, User: d.UserName, IssuerKey: d.IssuerKey, Template: p.Template,
		Host: d.Host, Client: d.Client.Client, Type: d.Type, ServerID: d.ServerID, ServerName: d.ServerName, Class: d.Class, ServerReason: d.ServerReason, Summary: notExplained,
		Count: d.Count, LastHour: d.Recent, FirstAt: d.First, LastAt: d.Last, JWTIssuedAt: unixTime(d.IssuedAt), JWTExpiresAt: unixTime(d.Expires), JWTSHA256: d.TokenHash,
		LastEventID: d.LastEvent.String(),
	}
	if p.User != "" && d.Proven {
		v.User = p.User
	}
	if d.Explanation != nil {
		v.Summary = d.Explanation.Summary
	}
	return v
}

// explained adds why, and what to do.
func (v Denial) explained(d claims.Denial, p issuer.Party) Denial {
	if d.Explanation == nil {
		return v
	}
	e, at := ExplanationOf(*d.Explanation), d.ExplainedAt
	v.Explanation, v.ExplainedAt = &e, &at
	for n, text := range fixesOf(d) {
		f := Fix{Text: text}
		if n == 0 && p.UserID != "" && d.Proven && reissued[d.Class] {
			f.Method, f.Href = http.MethodPost, Base+"/accounts/"+d.AccountID+"/users/"+p.UserID+"/credentials"
		}
		v.Fixes = append(v.Fixes, f)
	}
	return v
}

func fixesOf(d claims.Denial) []string {
	if d.Explanation == nil || d.Explanation.Failed == nil {
		return nil
	}
	return d.Explanation.Failed.Fixes
}

// reissued are the reasons that new credentials do away with.
var reissued = map[string]bool{"not_revoked": true, "jwt_valid": true, "issuer_known": true, "jwt_decodes": true, "nonce_signed": true, "bearer_allowed": true}

// DenialFilters keep some of the groups.
type DenialFilters struct {
	Operator string    `query:"operator" maxLength:"64" doc:"Name or public key."`
	Account  string    `query:"account" maxLength:"64" doc:"Name or public key."`
	UserKey  string    `query:"user_key" maxLength:"64"`
	Class    string    `query:"class" maxLength:"64" doc:"The id of the check that failed, such as not_revoked."`
	Since    time.Time `query:"since" doc:"With an attempt at or after."`
}

func (f DenialFilters) values() url.Values {
	q := url.Values{"operator": {f.Operator}, "account": {f.Account}, "user_key": {f.UserKey}, "class": {f.Class}}
	if !f.Since.IsZero() {
		q.Set("since", f.Since.Format(time.RFC3339))
	}
	return q
}

type listDenialsInput struct {
	List
	DenialFilters
}

func (a *API) listDenials(ctx context.Context, by call, in *listDenialsInput) (*paged[Denial], error) {
	name := "denials?" + in.values().Encode()
	c, limit, err := in.position(name)
	if err != nil {
		return nil, err
	}
	s, err := a.issuer.Sight(ctx, by.caller, in.Operator, in.Account)
	if err != nil {
		return nil, err
	}
	found := a.live.Denials(claims.DenialQuery{
		Sight: s.Sight, OperatorID: s.OperatorID, AccountID: s.AccountID, UserKey: in.UserKey, Class: in.Class, Since: in.Since, After: c.ID, Limit: limit + 1,
	})
	var keys []issuer.PartyKey
	for _, d := range found.Denials {
		keys = append(keys, partyOfDenial(d))
	}
	known, err := a.issuer.Parties(ctx, by.caller, keys)
	if err != nil {
		return nil, err
	}
	return turn(found.Denials, limit, in.link(in.values(), "denials"), func(d claims.Denial) Denial { return viewDenial(d, known[partyOfDenial(d)]) },
		func(d claims.Denial) cursor { return cursor{List: name, ID: d.ID} }), nil
}

// DenialPath names a group of denials.
type DenialPath struct {
	Denial string `path:"denial" maxLength:"64" example:"den_3f1c90aa77b204de11aa"`
}

func (a *API) getDenial(ctx context.Context, by call, in *DenialPath) (*saved[Denial], error) {
	s, err := a.issuer.Sight(ctx, by.caller, "", "")
	if err != nil {
		return nil, err
	}
	d, ok := a.live.FindDenial(in.Denial, s.Sight)
	if !ok {
		return nil, noSuchDenial()
	}
	known, err := a.issuer.Parties(ctx, by.caller, []issuer.PartyKey{partyOfDenial(d)})
	if err != nil {
		return nil, err
	}
	p := known[partyOfDenial(d)]
	return &saved[Denial]{Body: viewDenial(d, p).explained(d, p)}, nil
}

func noSuchDenial() error {
	return &issuer.Error{
		Kind: issuer.KindNotFound, Code: "denial_not_found", Message: "There is no such denial.", Hint: "Denials are kept in memory: the oldest make room, and a restart forgets them.",
	}
}

// explainEvent explains the denial that an event speaks of.
func (a *API) explainEvent(ctx context.Context, by call, eventID string) (*answered[Explanation], error) {
	s, err := a.issuer.Sight(ctx, by.caller, "", "")
	if err != nil {
		return nil, err
	}
	id, ok := claims.ParseEventID(eventID)
	if ok {
		var e claims.Event
		if e, ok = a.live.FindEvent(id, s.Sight); ok {
			d, found := a.live.FindDenial(e.DenialID, s.Sight)
			if ok = found; ok && d.Explanation == nil {
				return nil, &issuer.Error{Kind: issuer.KindConflict, Code: "not_explained", Message: notExplained}
			}
			if ok {
				return &answered[Explanation]{ExplanationOf(*d.Explanation)}, nil
			}
		}
	}
	return nil, noSuchDenial()
}
