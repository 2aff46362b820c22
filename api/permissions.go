package api

import (
	"context"
	"strings"

	"chancery/claims"
	"chancery/issuer"
)

// PermissionCheck is a user and what it may do with the subject.
type PermissionCheck struct {
	User     string     `json:"user" example:"ORDERS/d1"`
	Access   string     `json:"access" enum:"allowed,filtered,denied" doc:"filtered: the subscription is accepted, some messages are withheld."`
	Why      string     `json:"why"`
	Rule     *RuleView  `json:"rule,omitempty" doc:"The rule that decides; absent when nothing restricts the user, or no allow rule matches."`
	Filters  []RuleView `json:"filters,omitempty" doc:"The deny rules that withhold messages."`
	Closest  *RuleView  `json:"closest,omitempty" doc:"The allow rule that comes closest to the subject."`
	Replying bool       `json:"replies_only,omitempty" doc:"Denied as such, but replies to requests that were received are allowed."`
}

type permissionsInput struct {
	Body struct {
		Op      string `json:"op" enum:"publish,subscribe"`
		Subject string `json:"subject" minLength:"1" maxLength:"1024" example:"devices.eu.d1.temp"`
		Queue   string `json:"queue,omitempty" maxLength:"1024" doc:"Queue group of a subscription."`
		User    string `json:"user,omitempty" maxLength:"200" doc:"ACCOUNT/USER by name or id; without it everybody is asked about." example:"ORDERS/d1"`
		Account string `json:"account,omitempty" maxLength:"64" doc:"Only the users of this account."`
		Cursor  string `json:"cursor,omitempty" maxLength:"1000" doc:"next_cursor of the page before."`
		Limit   int    `json:"limit,omitempty" minimum:"1" doc:"How many users a page has; 500 at most and by default."`
	}
}

func (a *API) checkPermissions(ctx context.Context, by call, in *permissionsInput) (*answered[Page[PermissionCheck]], error) {
	b := in.Body
	q := issuer.PermissionQuery{Action: claims.Action(b.Op), Subject: b.Subject, Queue: b.Queue, Account: b.Account}
	if b.User != "" {
		var ok bool
		if q.Account, q.User, ok = strings.Cut(b.User, "/"); !ok {
			return nil, &issuer.Error{
				Kind: issuer.KindInvalid, Code: "invalid", Message: "The request cannot be accepted as it is.",
				Problems: claims.Problems{{Pointer: "/user", Code: "invalid_name", Detail: "A user is named with its account: ACCOUNT/USER.", Blocking: true}},
			}
		}
	}
	if b.Limit == 0 {
		b.Limit = maxLimit
	}
	list := "permissions/" + b.Op + "/" + b.Subject + "/" + b.Queue + "/" + b.Account + "/" + b.User
	c, limit, err := List{Limit: b.Limit, Cursor: b.Cursor}.position(list)
	if err != nil {
		return nil, err
	}
	if q.Limit = limit + 1; c.ID != "" {
		q.After = placeOf(c)
	}
	rows, err := a.issuer.Permitted(ctx, by.caller, q)
	if err != nil {
		return nil, err
	}
	out := Page[PermissionCheck]{Items: []PermissionCheck{}}
	for n, s := range rows {
		if n == limit {
			out.NextCursor = cursorAt(list, rows[n-1].Place).encode()
			break
		}
		out.Items = append(out.Items, PermissionCheckOf(s.Standing))
	}
	return &answered[Page[PermissionCheck]]{out}, nil
}

// A cursor has one name and one identity; the account's and the user's share them.
// Neither names nor identities hold a slash.
func cursorAt(list string, p issuer.Place) cursor {
	return cursor{List: list, Name: p.AccountName + "/" + p.UserName, ID: p.AccountID + "/" + p.UserID}
}

func placeOf(c cursor) (p issuer.Place) {
	p.AccountName, p.UserName, _ = strings.Cut(c.Name, "/")
	p.AccountID, p.UserID, _ = strings.Cut(c.ID, "/")
	return p
}

// PermissionCheckOf returns the answer about one user.
func PermissionCheckOf(s claims.Standing) PermissionCheck {
	v := PermissionCheck{User: s.Account + "/" + s.User, Access: string(s.Access), Why: s.Why, Replying: s.RepliesOnly}
	for _, r := range s.Filters {
		v.Filters = append(v.Filters, viewRule(r))
	}
	if s.Rule != nil {
		r := viewRule(*s.Rule)
		v.Rule = &r
	}
	if s.Closest != nil {
		r := viewRule(*s.Closest)
		v.Closest = &r
	}
	return v
}
