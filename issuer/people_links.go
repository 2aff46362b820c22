package issuer

import (
	"context"
	"errors"
	"time"

	"chancery/claims"
	"chancery/store"
)

// linkPrefix starts the secret of a one-time link.
const linkPrefix = "chy_link_"

// The purposes of one-time links.
const (
	LinkSignIn = "sign_in"
	LinkSetup  = "setup"
)

// SignInLinkTTL is how long a sign-in link can be used, SetupLinkTTL the link for
// the first owner.
const (
	SignInLinkTTL = 24 * time.Hour
	SetupLinkTTL  = 24 * time.Hour
)

// SignInLink makes a one-time link for a person by name, who is made an owner if new.
// It is for whoever sits at the machine: `chancery dev` and `chancery sign-in-link`.
// Links made before for the person stop working.
func (i *Issuer) SignInLink(ctx context.Context, op Op, name string) (claims.Secret, error) {
	out, err := change(ctx, i, op, use{permission: WritePeople, action: "create", kind: "sign_in_link", target: name}, func(ctx context.Context, w *work) (planned[claims.Secret], error) {
		var none planned[claims.Secret]
		if problems := claims.CheckName("/name", name); problems.Blocking() {
			return none, invalid(problems)
		}
		text, err := i.newSecret(linkPrefix)
		if err != nil {
			return none, err
		}
		return planned[claims.Secret]{target: name, apply: func(ctx context.Context) (claims.Secret, error) {
			person, err := w.GetPerson(ctx, name)
			if errors.Is(err, store.ErrNotFound) {
				person, err = createOwner(ctx, w, name)
			}
			if err != nil {
				return text, err
			}
			return text, w.putLink(ctx, store.Link{Hash: hashSecret(text.Reveal()), Purpose: LinkSignIn, PersonID: person.ID, Expires: w.Now().Add(SignInLinkTTL)})
		}}, nil
	})
	return out.Value, err
}

// SignInWay is a person's way in.
type SignInWay struct {
	Person
	// Link is shown once; it is empty in a plan.
	Link    claims.Secret
	Expires time.Time
}

// InvitePerson makes a one-time link with which a person signs in. Whoever makes it could
// use it, so that it takes all that the person may do. Links made before for the person
// stop working.
func (i *Issuer) InvitePerson(ctx context.Context, op Op, person string) (Outcome[SignInWay], error) {
	return change(ctx, i, op, use{permission: WritePeople, action: "create", kind: "sign_in_link", target: person}, func(ctx context.Context, w *work) (planned[SignInWay], error) {
		var none planned[SignInWay]
		p, err := findPerson(ctx, &w.desk, person)
		if err != nil {
			return none, err
		}
		for _, g := range p.Grants {
			if err := w.mayGive(g); err != nil {
				return none, err
			}
		}
		if p.State != personActive {
			return none, &Error{Kind: KindConflict, Code: "person_disabled", Message: "This person is disabled and cannot sign in.", Hint: "Enable the person first."}
		}
		out := SignInWay{Expires: w.Now().Add(SignInLinkTTL)}
		if out.Person, err = w.person(ctx, p); err != nil {
			return none, err
		}
		plan := Plan{Connections: unknown, Changes: []Change{{Path: "/sign_in_link", To: p.Name, Text: "A link signs in as " + p.Name + ", once and within a day; links made before stop working"}}}
		return planned[SignInWay]{preview: out, target: p.ID, plan: plan, apply: func(ctx context.Context) (SignInWay, error) {
			if out.Link, err = i.newSecret(linkPrefix); err != nil {
				return out, err
			}
			return out, w.putLink(ctx, store.Link{Hash: hashSecret(out.Link.Reveal()), Purpose: LinkSignIn, PersonID: p.ID, CreatedBy: op.Caller.ID, Expires: out.Expires})
		}}, nil
	})
}

func (w *work) putLink(ctx context.Context, l store.Link) (err error) {
	if err := w.DropLinksOf(ctx, l.Purpose, l.PersonID); err != nil {
		return err
	}
	if l.ID, err = w.NewID("lnk_"); err != nil {
		return err
	}
	return w.CreateLink(ctx, l)
}

// NeedsSetup tells whether nobody owns this control plane yet.
func (i *Issuer) NeedsSetup(ctx context.Context) (bool, error) {
	var n int64
	err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		n, err = t.CountOwners(ctx)
		return err
	})
	return n == 0, err
}

// SetupLink makes the one-time link with which the first owner comes in. It is an
// error once there is an owner.
func (i *Issuer) SetupLink(ctx context.Context, op Op) (claims.Secret, error) {
	out, err := change(ctx, i, op, use{permission: WritePeople, action: "create", kind: "setup_link", target: ""}, func(ctx context.Context, w *work) (planned[claims.Secret], error) {
		var none planned[claims.Secret]
		if err := stillNobody(ctx, w); err != nil {
			return none, err
		}
		text, err := i.newSecret(linkPrefix)
		if err != nil {
			return none, err
		}
		return planned[claims.Secret]{apply: func(ctx context.Context) (claims.Secret, error) {
			return text, w.putLink(ctx, store.Link{Hash: hashSecret(text.Reveal()), Purpose: LinkSetup, Expires: w.Now().Add(SetupLinkTTL)})
		}}, nil
	})
	return out.Value, err
}

func stillNobody(ctx context.Context, w *work) error {
	n, err := w.CountOwners(ctx)
	if err == nil && n > 0 {
		err = &Error{Kind: KindConflict, Code: "already_set_up", Message: "This control plane has an owner already."}
	}
	return err
}

var errLink = &Error{
	Kind: KindUnauthenticated, Code: "invalid_link", Message: "This link was used, has expired or was replaced by a newer one.",
	Hint: "Get a new one: chancery dev prints one at each start, chancery sign-in-link makes one beside chancery serve.",
}

// PeekLink returns the purpose of a link that can still be used.
func (i *Issuer) PeekLink(ctx context.Context, link claims.Secret) (purpose string, err error) {
	if !validSecret(linkPrefix, link.Reveal()) {
		return "", errLink
	}
	var l store.Link
	err = i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		l, err = t.PeekLink(ctx, hashSecret(link.Reveal()))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return "", errLink
	}
	return l.Purpose, err
}

// UseLink consumes a one-time link and returns who signed in. A setup link makes
// the first owner, called name; name is ignored otherwise.
func (i *Issuer) UseLink(ctx context.Context, op Op, link claims.Secret, name string) (Caller, error) {
	if !validSecret(linkPrefix, link.Reveal()) {
		return Caller{}, errLink
	}
	if problems := op.check(); problems.Blocking() {
		return Caller{}, invalid(problems)
	}
	var person store.Person
	err := i.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
		l, err := t.UseLink(ctx, hashSecret(link.Reveal()))
		if errors.Is(err, store.ErrNotFound) {
			return errLink
		}
		if err != nil {
			return err
		}
		w := &work{desk: desk{Tx: t, use: use{permission: WritePeople, action: "sign_in", kind: "person"}}, op: op}
		if l.Purpose == LinkSetup {
			if problems := claims.CheckName("/name", name); problems.Blocking() {
				return invalid(problems)
			}
			if err := stillNobody(ctx, w); err != nil {
				return err
			}
			person, err = createOwner(ctx, w, name)
		} else {
			person, err = t.GetPerson(ctx, l.PersonID)
		}
		if err != nil {
			return err
		}
		if person.State != personActive {
			return errLink
		}
		w.op.Caller, w.at = personCaller(person), enclosing(person.Grants)
		return w.audit(ctx, use{permission: WritePeople, action: "sign_in", kind: "person", target: person.ID}, Plan{})
	})
	if err != nil {
		return Caller{}, err
	}
	return personCaller(person), nil
}
