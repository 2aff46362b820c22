package issuer

import (
	"context"
	"errors"
	"slices"
	"strings"

	"chancery/claims"
	"chancery/store"
)

// The states of a person.
const (
	personActive   = "active"
	personDisabled = "disabled"
)

// Person is somebody who may use the control plane.
type Person struct {
	store.Person
	// Held are the grants with the names of their places.
	Held []Held
}

// PersonInput asks for a new person.
type PersonInput struct {
	// Name is unique.
	Name string
	// Grants are what the person may do: no more than the caller may. Each part of a scope
	// is a name or an identity.
	Grants []Grant
}

// CreatePerson makes a person, who can sign in with a link; see InvitePerson. Nobody
// gives more than they have, see CreateToken.
func (i *Issuer) CreatePerson(ctx context.Context, op Op, in PersonInput) (Outcome[Person], error) {
	return change(ctx, i, op, use{permission: WritePeople, action: "create", kind: "person", target: in.Name}, func(ctx context.Context, w *work) (planned[Person], error) {
		var none planned[Person]
		if problems := append(claims.CheckName("/name", in.Name), checkGrants(in.Grants)...); problems.Blocking() {
			return none, invalid(problems)
		}
		grants, err := w.give(ctx, in.Grants)
		if err != nil {
			return none, err
		}
		if _, err := w.GetPerson(ctx, in.Name); err == nil {
			return none, orTaken(store.ErrExists, "person")
		} else if ignoreMissing(err) != nil {
			return none, err
		}
		p := store.Person{Name: in.Name, Grants: grants, State: personActive, Version: 1, Created: w.Now(), Updated: w.Now()}
		if p.ID, err = w.NewID("per_"); err != nil {
			return none, err
		}
		out, err := w.person(ctx, p)
		if err != nil {
			return none, err
		}
		return planned[Person]{preview: out, target: p.ID, plan: personPlan(Person{}, out), apply: func(ctx context.Context) (Person, error) {
			return out, orTaken(w.CreatePerson(ctx, p, op.Caller.ID), "person")
		}}, nil
	})
}

// PersonEdit is what can be changed of a person.
type PersonEdit struct {
	// State is active or disabled. A disabled person is signed out at the next request.
	State string
	// Grants are as in PersonInput; those that the person had need not be the caller's to
	// give.
	Grants []Grant
}

// UpdatePerson changes a person as edit says. The last active owner of everything can
// neither be disabled nor lose that grant. Tokens that the person made stay as they
// are; the plan names them.
func (i *Issuer) UpdatePerson(ctx context.Context, op Op, person string, edit func(*PersonEdit)) (Outcome[Person], error) {
	return change(ctx, i, op, use{permission: WritePeople, action: "update", kind: "person", target: person}, func(ctx context.Context, w *work) (planned[Person], error) {
		var none planned[Person]
		before, err := lockPerson(ctx, w, person)
		if err != nil {
			return none, err
		}
		if err := w.expect(before.Version); err != nil {
			return none, err
		}
		after, err := w.edited(ctx, before, edit)
		if err != nil {
			return none, err
		}
		if err := w.keepOwner(ctx, before, after); err != nil {
			return none, err
		}
		was, err := w.person(ctx, before)
		if err != nil {
			return none, err
		}
		out, err := w.person(ctx, after)
		if err != nil {
			return none, err
		}
		w.at = enclosing(slices.Concat(before.Grants, after.Grants)) // the entry names the places of both
		plan := personPlan(was, out)
		if plan.Warnings, err = w.tokensLeft(ctx, was, out); err != nil {
			return none, err
		}
		return planned[Person]{preview: out, target: before.ID, plan: plan, apply: func(ctx context.Context) (Person, error) {
			if len(plan.Changes) == 0 {
				return was, nil
			}
			if after.State != personActive {
				if err := w.DropLinksOf(ctx, LinkSignIn, after.ID); err != nil {
					return out, err
				}
			}
			out.Updated = w.Now()
			out.Version, err = w.UpdatePerson(ctx, after, op.Caller.ID)
			return out, orMissing(err, "person")
		}}, nil
	})
}

// edited returns the person as edit makes it.
func (w *work) edited(ctx context.Context, before store.Person, edit func(*PersonEdit)) (store.Person, error) {
	in := PersonEdit{State: before.State, Grants: slices.Clone(before.Grants)}
	edit(&in)
	problems := checkGrants(in.Grants)
	if in.State != personActive && in.State != personDisabled {
		problems = append(problems, claims.Problem{Pointer: "/state", Code: "unknown_value", Detail: "A person is active or disabled.", Blocking: true})
	}
	if problems.Blocking() {
		return before, invalid(problems)
	}
	after := before
	after.State, after.Grants = in.State, nil
	var given []Grant
	for _, g := range in.Grants {
		if slices.Contains(before.Grants, g) && before.State == in.State {
			after.Grants = append(after.Grants, g)
		} else {
			given = append(given, g)
		}
	}
	given, err := w.give(ctx, given)
	for _, g := range given {
		if !slices.Contains(after.Grants, g) {
			after.Grants = append(after.Grants, g)
		}
	}
	return after, err
}

// keepOwner refuses to leave nobody who owns everything. The caller of UpdatePerson
// holds all owners, see lockPerson.
func (w *work) keepOwner(ctx context.Context, before, after store.Person) error {
	owns := func(p store.Person) bool {
		return p.State == personActive && slices.Contains(p.Grants, Everything(RoleOwner)[0])
	}
	if !owns(before) || owns(after) {
		return nil
	}
	n, err := w.CountOwners(ctx)
	if err == nil && n <= 1 {
		err = &Error{
			Kind: KindConflict, Code: "last_owner", Message: "This is the last active owner of everything: nobody could administer people any more.",
			Hint: "Make another owner first.",
		}
	}
	return err
}

// maxTokensNamed is how many tokens a warning names.
const maxTokensNamed = 20

// tokensLeft warns of tokens that somebody made who is disabled, or may do less: they
// go on.
func (w *work) tokensLeft(ctx context.Context, before, after Person) (claims.Problems, error) {
	lost := after.State != personActive && before.State == personActive
	for _, g := range before.Grants {
		lost = lost || !slices.Contains(after.Grants, g)
	}
	if !lost {
		return nil, nil
	}
	list, err := w.ListTokens(ctx, store.TokenFilter{CreatedBy: before.ID, InUse: true, Bounds: w.caller.bounds(WriteTokens)}, "", maxTokensNamed+1)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	var names []string
	for _, k := range list[:min(len(list), maxTokensNamed)] {
		names = append(names, k.Name+" ("+k.ID+")")
	}
	if len(list) > maxTokensNamed {
		names = append(names, "and more")
	}
	return claims.Problems{{Code: "tokens_stay", Detail: "API tokens that this person made stay valid: " + strings.Join(names, ", ") + ". Revoke them if they are to end too."}}, nil
}

// personPlan says what changes of a person, in words.
func personPlan(before, after Person) Plan {
	p := Plan{Connections: unknown}
	add := func(pointer, field, from, to string) {
		c := Change{Path: pointer}
		f := claims.FieldChange{Pointer: pointer, Field: field, Before: from, After: to}
		if from != "" {
			c.From = from
		}
		if to != "" {
			c.To = to
		}
		c.Text = f.Sentence()
		p.Changes, p.Summary = append(p.Changes, c), append(p.Summary, f)
	}
	if before.Name != after.Name {
		add("/name", "Name", before.Name, after.Name)
	}
	if before.State != after.State {
		add("/state", "State", before.State, after.State)
	}
	for _, h := range before.Held {
		if !slices.Contains(after.Held, h) {
			add("/grants", "Grant", h.Words(), "")
		}
	}
	for _, h := range after.Held {
		if !slices.Contains(before.Held, h) {
			add("/grants", "Grant", "", h.Words())
		}
	}
	return p
}

// person adds the names of places.
func (d *desk) person(ctx context.Context, p store.Person) (out Person, err error) {
	out.Person = p
	out.Held, err = d.held(ctx, p.Grants)
	return out, err
}

// findPerson finds a person by name or identity, of whom all grants have to lie where
// the caller has the permission.
func findPerson(ctx context.Context, d *desk, ref string) (store.Person, error) {
	p, err := d.GetPerson(ctx, ref)
	if err != nil {
		return p, d.orMissing(err, "person")
	}
	return p, d.enterAll(p.Grants, "person")
}

// lockPerson is findPerson for a change: the person is locked, and so are all owners of
// everything, so that no two of them take the last one away.
func lockPerson(ctx context.Context, w *work, ref string) (store.Person, error) {
	if err := w.LockOwners(ctx); err != nil {
		return store.Person{}, err
	}
	p, err := findPerson(ctx, &w.desk, ref)
	if err != nil {
		return p, err
	}
	p, err = w.LockPerson(ctx, p.ID)
	if err != nil {
		return p, orMissing(err, "person")
	}
	return p, w.enterAll(p.Grants, "person")
}

// GetPerson returns a person by name or identity.
func (i *Issuer) GetPerson(ctx context.Context, caller Caller, person string) (Person, error) {
	return read(ctx, i, caller, use{permission: ReadPeople, action: "read", kind: "person", target: person}, func(ctx context.Context, d *desk) (Person, error) {
		p, err := findPerson(ctx, d, person)
		if err != nil {
			return Person{}, err
		}
		return d.person(ctx, p)
	})
}

// ListPeople returns a page of the people of whom all grants lie where the caller may
// read people, by name.
func (i *Issuer) ListPeople(ctx context.Context, caller Caller, page Page) ([]Person, error) {
	return read(ctx, i, caller, use{permission: ReadPeople, action: "list", kind: "person", target: ""}, func(ctx context.Context, d *desk) ([]Person, error) {
		page.Bounds = d.some()
		list, err := d.ListPeople(ctx, page)
		if err != nil {
			return nil, err
		}
		out := make([]Person, len(list))
		for n, p := range list {
			if out[n], err = d.person(ctx, p); err != nil {
				return nil, err
			}
		}
		return out, nil
	})
}

func createOwner(ctx context.Context, w *work, name string) (store.Person, error) {
	id, err := w.NewID("per_")
	if err != nil {
		return store.Person{}, err
	}
	p := store.Person{ID: id, Name: name, Grants: Everything(RoleOwner), State: personActive}
	return p, orTaken(w.CreatePerson(ctx, p, w.op.Caller.ID), "person")
}

func personCaller(p store.Person) Caller {
	return Caller{ID: p.ID, Name: p.Name, Kind: CallerPerson, Grants: p.Grants}
}

// Person returns the caller of a session: the person as they are now.
func (i *Issuer) Person(ctx context.Context, id string) (Caller, error) {
	var p store.Person
	err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		p, err = t.GetPerson(ctx, id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) || (err == nil && p.State != personActive) {
		return Caller{}, &Error{Kind: KindUnauthenticated, Code: "signed_out", Message: "Sign in to go on."}
	}
	return personCaller(p), err
}
