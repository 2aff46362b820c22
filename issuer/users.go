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
	if err := i.withProof(ctx, op.Caller, in.Issue); err != nil {
		return Outcome[UserWithCredential]{}, err
	}
	u := use{permission: WriteUsers, action: "create", kind: "user", target: account + "/" + in.Name}
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[UserWithCredential], error) {
		var none planned[UserWithCredential]
		if in.Issue != nil {
			if err := w.alsoNeeds(IssueCredentials); err != nil {
				return none, err
			}
		}
		a, err := lockAccount(ctx, w, account)
		if err != nil {
			return none, err
		}
		user := User{AccountID: a.ID, Name: in.Name, Permissions: in.Permissions, Tags: claims.NormalizeTags(in.Tags), State: "active", Version: 1, Created: w.Now(), Updated: w.Now()}
		warnings, template, err := checkUser(ctx, &w.desk, a, user, in.Template)
		if err != nil {
			return none, err
		}
		if template != nil {
			user.TemplateID = template.ID
		}
		if _, err := w.GetUser(ctx, a.ID, in.Name); err == nil {
			return none, orTaken(store.ErrExists, "user")
		} else if ignoreMissing(err) != nil {
			return none, err
		}
		if err := w.guardCount(ctx, a, claims.QuotaUsers, 1); err != nil {
			return none, err
		}
		if user.ID, err = w.NewID("usr_"); err != nil {
			return none, err
		}
		preview := UserWithCredential{User: user}
		added := false
		if template != nil {
			if added, err = i.carry(ctx, w, a, *template); err != nil {
				return none, err
			}
		}
		if in.Issue != nil {
			issued, err := i.planIssue(ctx, w, a, user, *in.Issue)
			if err != nil {
				return none, err
			}
			preview.Issued = &issued
		}
		plan := Plan{Warnings: warnings}
		return planned[UserWithCredential]{preview: preview, target: user.ID, plan: plan, apply: func(ctx context.Context) (UserWithCredential, error) {
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
func checkUser(ctx context.Context, d *desk, a Account, u User, templateRef string) (claims.Problems, *Template, error) {
	if err := checkOwn(u, templateRef); err != nil {
		return nil, nil, err
	}
	var template *Template
	if templateRef != "" {
		x, err := usableTemplate(ctx, d, a, templateRef)
		if err != nil {
			return nil, nil, orNoTemplate(err)
		}
		template = &x
	} else if err := d.whole(scopeOf(a)); err != nil {
		return nil, nil, err
	}
	warnings, err := checkUse(a, u, template)
	if err != nil {
		return warnings, template, err
	}
	asked, err := termsOf(ctx, d.Tx, a)
	if err != nil {
		return warnings, template, err
	}
	if problems := asked.checkUser(a, u, template); problems.Blocking() {
		return warnings, template, invalid(problems)
	}
	return warnings, template, nil
}

// checkOwn refuses what is wrong with a user whatever its template is.
func checkOwn(u User, templateRef string) error {
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
		return invalid(problems)
	}
	return nil
}

// orNoTemplate says of a template that was not found that it is a field of the user.
func orNoTemplate(err error) error {
	if err := orMissing(err, "template"); AsError(err).Kind != KindNotFound {
		return err
	}
	return invalidField("/template", "not_found", "The account has no template of this name or id.")
}

// checkUse returns the problems of a user that do not block: of its own permissions,
// or with its template.
func checkUse(a Account, u User, template *Template) (claims.Problems, error) {
	problems := claims.CheckTags("/tags", u.Tags)
	if u.Permissions != nil {
		problems = append(problems, claims.CheckPermissionLimits(*u.Permissions, false)...)
	}
	if template != nil {
		problems = append(problems, claims.CheckTemplateUse(template.Body, claims.Account{Name: a.Name, Settings: a.Settings}, u.Name, u.Tags)...)
	}
	if problems.Blocking() {
		return nil, invalid(problems)
	}
	return problems, nil
}

// GetUser returns a user by name or identity.
func (i *Issuer) GetUser(ctx context.Context, caller Caller, account, user string) (User, error) {
	return read(ctx, i, caller, use{permission: ReadUsers, action: "read", kind: "user", target: account + "/" + user}, func(ctx context.Context, d *desk) (User, error) {
		_, u, err := findUser(ctx, d, account, user)
		return u, err
	})
}

func findUser(ctx context.Context, d *desk, account, user string) (Account, User, error) {
	a, err := findAccount(ctx, d, account)
	if err != nil {
		return a, User{}, err
	}
	u, err := userOf(ctx, d, a, user)
	return a, u, err
}

// userOf finds a user of an account that was entered, and enters what concerns the
// user's template. Users of their own permissions are of the account alone.
func userOf(ctx context.Context, d *desk, a Account, user string) (User, error) {
	u, err := d.GetUser(ctx, a.ID, user)
	switch {
	case err != nil:
		return u, d.orMissing(err, "user")
	case u.TemplateID != "":
		return u, d.enter(withTemplate(scopeOf(a), u.TemplateID), "user")
	case !d.caller.Allows(d.use.permission, scopeOf(a)):
		return u, d.missing("user")
	}
	return u, nil
}

// ListUsers returns a page of an account's users by name.
func (i *Issuer) ListUsers(ctx context.Context, caller Caller, account string, page Page) ([]User, error) {
	return read(ctx, i, caller, use{permission: ReadUsers, action: "list", kind: "user", target: account}, func(ctx context.Context, d *desk) ([]User, error) {
		a, err := findAccount(ctx, d, account)
		if err != nil {
			return nil, err
		}
		page.Bounds = d.some().In(scopeOf(a))
		return d.ListUsers(ctx, a.ID, page)
	})
}
