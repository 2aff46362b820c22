package issuer

import (
	"context"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// PermissionQuery asks who may do something with a subject.
type PermissionQuery struct {
	Action claims.Action
	// Subject is literal for publishing; Queue is for subscribing and may be empty.
	Subject, Queue string
	// Account and User narrow the question, by name or identity; empty means all. A
	// user needs its account.
	Account, User string
	// After is the last row of the page before; Limit bounds the rows of a page.
	After Place
	Limit int
}

// Place is where a page of users of many accounts ends.
type Place struct{ AccountName, AccountID, UserName, UserID string }

// Standing is a user and what it may do.
type Standing struct {
	claims.Standing
	Place Place
}

// Permitted answers a query with a page of users, by account and name, each with
// its decision. It asks the claims, as a nats-server would; who is connected does
// not matter.
func (i *Issuer) Permitted(ctx context.Context, caller Caller, q PermissionQuery) ([]Standing, error) {
	u := use{permission: ReadUsers, action: "check", kind: "permissions", target: q.Account + "/" + q.User}
	return read(ctx, i, caller, u, func(ctx context.Context, d *desk) ([]Standing, error) {
		// A subject that cannot be asked about is refused even where nobody is.
		if _, problems := claims.Who(nil, q.Action, q.Subject, q.Queue); problems.Blocking() {
			return nil, invalid(problems)
		}
		members, places, err := membersOf(ctx, d, q)
		if err != nil {
			return nil, err
		}
		list, problems := claims.Who(members, q.Action, q.Subject, q.Queue)
		if problems.Blocking() {
			return nil, invalid(problems)
		}
		out := make([]Standing, len(list))
		for n, s := range list {
			out[n] = Standing{s, places[n]}
		}
		return out, nil
	})
}

// membersOf returns the users that a query is about, up to its limit.
func membersOf(ctx context.Context, d *desk, q PermissionQuery) ([]claims.Member, []Place, error) {
	if q.User != "" {
		a, u, err := findUser(ctx, d, q.Account, q.User)
		if err != nil {
			return nil, nil, err
		}
		return membersIn(ctx, d.Tx, a, []User{u})
	}
	if q.Account != "" {
		a, err := findAccount(ctx, d, q.Account)
		if err != nil {
			return nil, nil, err
		}
		page := Page{AfterName: q.After.UserName, AfterID: q.After.UserID, Limit: q.Limit, Bounds: d.some().In(scopeOf(a))}
		users, err := d.ListUsers(ctx, a.ID, page)
		if err != nil {
			return nil, nil, err
		}
		return membersIn(ctx, d.Tx, a, users)
	}
	return membersOfAll(ctx, d, q)
}

func membersOfAll(ctx context.Context, d *desk, q PermissionQuery) (members []claims.Member, places []Place, err error) {
	const batch = 100
	bounds := d.some()
	add := func(a Account, after Page) error {
		after.Limit, after.Bounds = q.Limit-len(members), bounds.In(scopeOf(a))
		users, err := d.ListUsers(ctx, a.ID, after)
		if err != nil {
			return err
		}
		m, p, err := membersIn(ctx, d.Tx, a, users)
		members, places = append(members, m...), append(places, p...)
		return err
	}
	if q.After.AccountID != "" {
		a, err := findAccount(ctx, d, q.After.AccountID)
		if err != nil {
			return nil, nil, err
		}
		d.some()
		if err := add(a, Page{AfterName: q.After.UserName, AfterID: q.After.UserID}); err != nil {
			return nil, nil, err
		}
	}
	page := Page{AfterName: q.After.AccountName, AfterID: q.After.AccountID, Limit: batch, Bounds: bounds}
	for len(members) < q.Limit {
		accounts, err := d.ListAccounts(ctx, "", page)
		if err != nil || len(accounts) == 0 {
			return members, places, err
		}
		for _, a := range accounts {
			if len(members) >= q.Limit {
				break
			}
			if err := add(a, Page{}); err != nil {
				return nil, nil, err
			}
			page.AfterName, page.AfterID = a.Name, a.ID
		}
	}
	return members, places, nil
}

// membersIn reads users of one account as their next credential would describe
// them. A template that uses subject() sees the newest key of the user.
func membersIn(ctx context.Context, t *store.Tx, a Account, users []User) ([]claims.Member, []Place, error) {
	if len(users) == 0 {
		return nil, nil, nil
	}
	account, err := jwt.DecodeAccountClaims(a.JWT)
	if err != nil {
		return nil, nil, err
	}
	keys, err := t.ListKeys(ctx, a.OperatorID, a.ID)
	if err != nil {
		return nil, nil, err
	}
	members, places := make([]claims.Member, len(users)), make([]Place, len(users))
	for n, u := range users {
		c := &jwt.UserClaims{}
		c.Name, c.IssuerAccount, c.Tags = u.Name, a.ID, u.Tags
		if u.Permissions != nil {
			c.UserPermissionLimits = *u.Permissions
		}
		if signer, err := current(keys, u.TemplateID); err == nil {
			c.Issuer = signer.ID
		}
		if c.Subject, err = newestKey(ctx, t, account, c.Issuer, u); err != nil {
			return nil, nil, err
		}
		members[n] = claims.Member{Account: a.Name, User: u.Name, UserClaims: c, AccountClaims: account}
		places[n] = Place{a.Name, a.ID, u.Name, u.ID}
	}
	return members, places, nil
}

func newestKey(ctx context.Context, t *store.Tx, account *jwt.AccountClaims, issuer string, u User) (string, error) {
	scope, _ := account.SigningKeys.GetScope(issuer)
	s, scoped := scope.(*jwt.UserScope)
	if !scoped {
		return "", nil
	}
	if template := (claims.Template{Permissions: s.Template}); !template.Uses("subject") {
		return "", nil
	}
	list, err := t.ListCredentials(ctx, u.ID, "", 1)
	if err != nil || len(list) == 0 {
		return "", err
	}
	return list[0].PublicKey, nil
}
