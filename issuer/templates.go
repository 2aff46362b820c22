package issuer

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"chancery/claims"
	"chancery/store"
)

// TemplateInput asks for a new template.
type TemplateInput struct {
	Body claims.Template
	// MaxTTL is the longest lifetime of credentials; 0 sets no bound.
	MaxTTL time.Duration
}

// TemplateWithKeys is a template and the scoped signing keys that carry it,
// without seeds.
type TemplateWithKeys struct {
	Template
	Keys []Key
}

// CreateTemplate makes a template in an account, with a scoped signing key that
// carries it in the account's JWT.
func (i *Issuer) CreateTemplate(ctx context.Context, op Op, account string, in TemplateInput) (Outcome[TemplateWithKeys], error) {
	return change(ctx, i, op, use{permission: WriteTemplates, action: "create", kind: "template", target: account + "/" + in.Body.Name}, func(ctx context.Context, w *work) (planned[TemplateWithKeys], error) {
		var none planned[TemplateWithKeys]
		problems := append(claims.CheckTemplate(in.Body), checkTTL("/max_ttl_seconds", in.MaxTTL)...)
		if problems.Blocking() {
			return none, invalid(problems)
		}
		a, err := lockAccount(ctx, w, account)
		if err != nil {
			return none, err
		}
		if err := slowDown(w, a); err != nil {
			return none, err
		}
		if _, err := w.GetTemplate(ctx, a.ID, in.Body.Name); err == nil {
			return none, orTaken(store.ErrExists, "template")
		}
		id, err := w.NewID("tpl_")
		if err != nil {
			return none, err
		}
		x := Template{ID: id, OperatorID: a.OperatorID, AccountID: a.ID, Body: in.Body, MaxTTL: in.MaxTTL, Version: 1, Created: w.Now(), Updated: w.Now()}
		key, err := i.newKey(ctx, w, accountSigning(a.OperatorID, a.ID, id))
		if err != nil {
			return none, err
		}
		changes, err := diff(nil, x.Body)
		if err != nil {
			return none, err
		}
		if _, err := rehearse(ctx, w, a, func(parts *claims.Account) {
			parts.Keys = append(parts.Keys, claims.SigningKey{ID: key.ID, Template: &x.Body})
		}); err != nil {
			return none, err
		}
		summary := claims.DiffTemplates(claims.Template{}, x.Body)
		plan := Plan{Changes: narrate(changes, summary), Summary: summary, Warnings: problems}
		return planned[TemplateWithKeys]{preview: TemplateWithKeys{Template: x}, target: id, plan: plan, apply: func(ctx context.Context) (TemplateWithKeys, error) {
			out := TemplateWithKeys{Template: x}
			if err := w.CreateTemplate(ctx, x); err != nil {
				return out, orTaken(err, "template")
			}
			if err := w.CreateKey(ctx, key); err != nil {
				return out, err
			}
			if _, err := i.resign(ctx, w, a.ID); err != nil {
				return out, err
			}
			key.Sealed = nil
			key.Created, key.Updated = w.Now(), w.Now()
			out.Keys = []Key{key}
			return out, nil
		}}, nil
	})
}

// UpdateTemplate changes a template as edit says. Every live connection of its
// users is closed by the servers, since their scoped key changes; they reconnect.
func (i *Issuer) UpdateTemplate(ctx context.Context, op Op, account, template string, edit func(*TemplateInput)) (Outcome[TemplateWithKeys], error) {
	live := i.liveConnections(ctx, op, WriteTemplates, account)
	return change(ctx, i, op, use{permission: WriteTemplates, action: "update", kind: "template", target: account + "/" + template}, func(ctx context.Context, w *work) (planned[TemplateWithKeys], error) {
		var none planned[TemplateWithKeys]
		a, err := lockAccount(ctx, w, account)
		if err != nil {
			return none, err
		}
		x, err := w.GetTemplate(ctx, a.ID, template)
		if err != nil {
			return none, orMissing(err, "template")
		}
		if err := w.expect(x.Version); err != nil {
			return none, err
		}
		if err := slowDown(w, a); err != nil {
			return none, err
		}
		body, err := copyOf(x.Body)
		if err != nil {
			return none, err
		}
		in := TemplateInput{Body: body, MaxTTL: x.MaxTTL}
		edit(&in)
		in.Body.Name = x.Body.Name
		problems := append(claims.CheckTemplate(in.Body), checkTTL("/max_ttl_seconds", in.MaxTTL)...)
		if problems.Blocking() {
			return none, invalid(problems)
		}
		if err := checkUsersOf(ctx, w.Tx, a, x, in.Body); err != nil {
			return none, err
		}
		changes, err := diff(x.Body, in.Body)
		if err != nil {
			return none, err
		}
		if in.MaxTTL != x.MaxTTL {
			changes = append(changes, Change{
				Path: "/max_ttl_seconds", From: int64(x.MaxTTL / time.Second), To: int64(in.MaxTTL / time.Second),
				Text: "Longest lifetime of credentials: " + x.MaxTTL.String() + " → " + in.MaxTTL.String(),
			})
		}
		summary := claims.DiffTemplates(x.Body, in.Body)
		plan := Plan{Changes: narrate(changes, summary), Summary: summary, Warnings: problems}
		x.Body, x.MaxTTL = in.Body, in.MaxTTL
		if err := foresee(ctx, w, a, func(parts *claims.Account) {
			for n, k := range parts.Keys {
				if k.Template != nil && k.Template.Name == x.Body.Name {
					parts.Keys[n].Template = &x.Body
				}
			}
		}, live, &plan); err != nil {
			return none, err
		}
		return planned[TemplateWithKeys]{preview: TemplateWithKeys{Template: x}, target: x.ID, plan: plan, apply: func(ctx context.Context) (TemplateWithKeys, error) {
			if len(changes) == 0 {
				return withKeys(ctx, w.Tx, x)
			}
			if x.Version, err = w.UpdateTemplate(ctx, x); err != nil {
				return none.preview, orMissing(err, "template")
			}
			if _, err := i.resign(ctx, w, a.ID); err != nil {
				return none.preview, err
			}
			return withKeys(ctx, w.Tx, x)
		}}, nil
	})
}

// checkUsersOf refuses a change that puts names into subjects which were accepted
// when the template x did not use them: a user called > would be given everything.
func checkUsersOf(ctx context.Context, t *store.Tx, a Account, x Template, after claims.Template) error {
	if after.Uses("account-name") && !claims.IsToken(a.Name) {
		return invalidField("/permissions", "not_a_token", "The template would put the account's name into subjects, and that name is no single subject token.")
	}
	if !after.Uses("name") || x.Body.Uses("name") {
		return nil
	}
	const page = 500
	for last := ""; ; {
		users, err := t.ListUsersOfTemplate(ctx, a.ID, x.ID, last, page)
		if err != nil {
			return err
		}
		for _, u := range users {
			if !claims.IsToken(u.Name) {
				return invalidField("/permissions", "not_a_token",
					"The template has users whose names are no single subject token, so it cannot put names into subjects. Make a new template for users with such names.")
			}
		}
		if len(users) < page {
			return nil
		}
		last = users[len(users)-1].Name
	}
}

// copyOf returns a deep copy of what is stored as JSON anyway, so that an edit
// cannot reach the original.
func copyOf[T any](v T) (T, error) {
	var out T
	raw, err := json.Marshal(v)
	if err != nil {
		return out, fmt.Errorf("copying: %w", err)
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return out, fmt.Errorf("copying: %w", err)
	}
	return out, nil
}

// maxTTL is the longest lifetime that can be asked for.
const maxTTL = 100 * 365 * 24 * time.Hour

func checkTTL(pointer string, ttl time.Duration) claims.Problems {
	if ttl < 0 || ttl > maxTTL || ttl%time.Second != 0 {
		return claims.Problems{{Pointer: pointer, Code: "out_of_range", Detail: "A lifetime is 0 (no bound) to 3,153,600,000 whole seconds.", Blocking: true}}
	}
	return nil
}

func withKeys(ctx context.Context, t *store.Tx, x Template) (TemplateWithKeys, error) {
	all, err := keysWithoutSeeds(t.ListKeys(ctx, x.OperatorID, x.AccountID))
	out := TemplateWithKeys{Template: x}
	for _, k := range all {
		if k.TemplateID == x.ID {
			out.Keys = append(out.Keys, k)
		}
	}
	return out, err
}

// GetTemplate returns a template by name or identity.
func (i *Issuer) GetTemplate(ctx context.Context, caller Caller, account, template string) (TemplateWithKeys, error) {
	return read(ctx, i, caller, use{permission: ReadTemplates, action: "read", kind: "template", target: account + "/" + template}, func(ctx context.Context, t *store.Tx) (TemplateWithKeys, error) {
		a, err := findAccount(ctx, t, account)
		if err != nil {
			return TemplateWithKeys{}, err
		}
		x, err := t.GetTemplate(ctx, a.ID, template)
		if err != nil {
			return TemplateWithKeys{}, orMissing(err, "template")
		}
		return withKeys(ctx, t, x)
	})
}

// ListTemplates returns a page of an account's templates by name.
func (i *Issuer) ListTemplates(ctx context.Context, caller Caller, account string, page Page) ([]Template, error) {
	return read(ctx, i, caller, use{permission: ReadTemplates, action: "list", kind: "template", target: account}, func(ctx context.Context, t *store.Tx) ([]Template, error) {
		a, err := findAccount(ctx, t, account)
		if err != nil {
			return nil, err
		}
		return t.ListTemplates(ctx, a.ID, page)
	})
}
