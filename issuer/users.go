package issuer

import (
	"context"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// UserInput asks for a new user.
type UserInput struct {
	Name string
	// Template is a name or identity; empty for a user with its own Permissions.
	Template    string
	Permissions *jwt.UserPermissionLimits
	Tags        []string
	// Issue asks for a first credential in the same transaction; may be nil.
	Issue *IssueInput
}

// UserWithCredential is a user and, where one was issued, its new credential.
type UserWithCredential struct {
	User
	Issued *Issued
}

// CreateUser makes a user of an account.
func (i *Issuer) CreateUser(ctx context.Context, op Op, account string, in UserInput) (Outcome[UserWithCredential], error) {
	u := use{permission: WriteUsers, action: "create", kind: "user", target: account + "/" + in.Name}
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[UserWithCredential], error) {
		var none planned[UserWithCredential]
		if in.Issue != nil && !op.Caller.Role.Allows(IssueCredentials) {
			return none, &Error{Kind: KindForbidden, Code: "forbidden", Message: "Your role does not allow to issue credentials."}
		}
		a, err := lockAccount(ctx, w, account)
		if err != nil {
			return none, err
		}
		user := User{AccountID: a.ID, Name: in.Name, Permissions: in.Permissions, Tags: claims.NormalizeTags(in.Tags), State: "active", Version: 1, Created: w.Now(), Updated: w.Now()}
		warnings, template, err := checkUser(ctx, w.Tx, a, user, in.Template)
		if err != nil {
			return none, err
		}
		if template != nil {
			user.TemplateID = template.ID
		}
		if _, err := w.GetUser(ctx, a.ID, in.Name); err == nil {
			return none, orTaken(store.ErrExists, "user")
		}
		if user.ID, err = w.NewID("usr_"); err != nil {
			return none, err
		}
		added := false
		if template != nil {
			if added, err = i.carry(ctx, w, a, *template); err != nil {
				return none, err
			}
		}
		if in.Issue != nil {
			if problems := in.Issue.check(template); problems.Blocking() {
				return none, invalid(problems)
			}
			if _, err := i.sealer(); err != nil {
				return none, err
			}
			if err := i.rehearseIssue(ctx, w, a, user, *in.Issue); err != nil {
				return none, err
			}
		}
		plan := Plan{Warnings: warnings}
		return planned[UserWithCredential]{preview: UserWithCredential{User: user}, target: user.ID, plan: plan, apply: func(ctx context.Context) (UserWithCredential, error) {
			out := UserWithCredential{User: user}
			if err := w.CreateUser(ctx, user); err != nil {
				return out, orTaken(err, "user")
			}
			if added {
				if _, err := i.resign(ctx, w, a.ID); err != nil {
					return out, err
				}
			}
			if in.Issue == nil {
				return out, nil
			}
			issued, err := i.issue(ctx, w, a, user, *in.Issue)
			if err != nil {
				return out, err
			}
			out.Issued = &issued
			return out, w.audit(ctx, use{permission: IssueCredentials, action: "issue", kind: "credential", target: issued.ID}, Plan{})
		}}, nil
	})
}

// checkUser returns the problems of a user that do not block, and its template.
func checkUser(ctx context.Context, t *store.Tx, a Account, u User, templateRef string) (claims.Problems, *Template, error) {
	problems := append(claims.CheckName("/name", u.Name), claims.CheckTags("/tags", u.Tags)...)
	if (templateRef == "") == (u.Permissions == nil) {
		problems = append(problems, claims.Problem{
			Pointer: "/template", Code: "required", Blocking: true,
			Detail: "A user has either a template or permissions of its own; give exactly one of the two.",
		})
	}
	if u.Permissions != nil {
		problems = append(problems, claims.CheckPermissionLimits(*u.Permissions, false)...)
	}
	if problems.Blocking() {
		return nil, nil, invalid(problems)
	}
	if templateRef == "" {
		return problems, nil, nil
	}
	x, err := usableTemplate(ctx, t, a, templateRef)
	if err != nil {
		if err := orMissing(err, "template"); AsError(err).Kind != KindNotFound {
			return nil, nil, err
		}
		return nil, nil, invalidField("/template", "not_found", "The account has no template of this name or id.")
	}
	use := claims.CheckTemplateUse(x.Body, claims.Account{Name: a.Name, Settings: a.Settings}, u.Name, u.Tags)
	if use.Blocking() {
		return nil, nil, invalid(use)
	}
	return append(problems, use...), &x, nil
}

// GetUser returns a user by name or identity.
func (i *Issuer) GetUser(ctx context.Context, caller Caller, account, user string) (User, error) {
	return read(ctx, i, caller, use{permission: ReadUsers, action: "read", kind: "user", target: account + "/" + user}, func(ctx context.Context, t *store.Tx) (User, error) {
		_, u, err := findUser(ctx, t, account, user)
		return u, err
	})
}

func findUser(ctx context.Context, t *store.Tx, account, user string) (Account, User, error) {
	a, err := findAccount(ctx, t, account)
	if err != nil {
		return a, User{}, err
	}
	u, err := t.GetUser(ctx, a.ID, user)
	return a, u, orMissing(err, "user")
}

// ListUsers returns a page of an account's users by name.
func (i *Issuer) ListUsers(ctx context.Context, caller Caller, account string, page Page) ([]User, error) {
	return read(ctx, i, caller, use{permission: ReadUsers, action: "list", kind: "user", target: account}, func(ctx context.Context, t *store.Tx) ([]User, error) {
		a, err := findAccount(ctx, t, account)
		if err != nil {
			return nil, err
		}
		return t.ListUsers(ctx, a.ID, page)
	})
}
