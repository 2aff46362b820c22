package api

import (
	"context"
	"net/url"
	"time"

	"chancery/issuer"
)

// Person is somebody who may use the control plane.
type Person struct {
	ID        string    `json:"id" example:"per_06f3…"`
	Name      string    `json:"name" example:"ada@acme.example"`
	State     string    `json:"state" enum:"active,disabled"`
	Grants    []Grant   `json:"grants"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	Plan      *Plan     `json:"plan,omitempty"`
}

func viewPerson(p issuer.Person) Person {
	return Person{ID: p.ID, Name: p.Name, State: p.State, Grants: viewGrants(p.Held), CreatedAt: p.Created, UpdatedAt: p.Updated}
}

type listPeopleInput struct{ Search }

func (a *API) listPeople(ctx context.Context, by call, in *listPeopleInput) (*paged[Person], error) {
	const name = "people"
	page, err := in.pageOf(name)
	if err != nil {
		return nil, err
	}
	rows, err := a.issuer.ListPeople(ctx, by.caller, page)
	if err != nil {
		return nil, err
	}
	return turn(rows, page.Limit-1, in.link(url.Values{"q": {in.Q}}, "people"), viewPerson, func(p issuer.Person) cursor {
		return cursor{List: name + "?q=" + in.Q, Name: p.Name, ID: p.ID}
	}), nil
}

// PersonInput asks for a new person.
type PersonInput struct {
	Name   string       `json:"name" maxLength:"64" doc:"Unique; shown in the audit log beside what the person does." example:"ada@acme.example"`
	Grants []GrantInput `json:"grants" minItems:"1" maxItems:"64" doc:"What the person may do: no more than you may."`
	Reason string       `json:"reason,omitempty" maxLength:"500"`
}

type createPersonInput struct {
	Change
	Body PersonInput
}

func (a *API) createPerson(ctx context.Context, by call, in *createPersonInput) (*created[Person], error) {
	op, err := in.op(by, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.CreatePerson(ctx, op, issuer.PersonInput{Name: in.Body.Name, Grants: grantsOf(in.Body.Grants)})
	if err != nil {
		return nil, err
	}
	body := viewPerson(out.Value)
	body.Plan = in.plan(out.Plan)
	return &created[Person]{Status: in.status(), ETag: etag(out.Value.Version), Location: Base + "/people/" + out.Value.ID, Body: body}, nil
}

// PersonPath names a person.
type PersonPath struct {
	Person string `path:"person" maxLength:"64" doc:"Name or id." example:"ada@acme.example"`
}

func (a *API) getPerson(ctx context.Context, by call, in *PersonPath) (*saved[Person], error) {
	p, err := a.issuer.GetPerson(ctx, by.caller, in.Person)
	if err != nil {
		return nil, err
	}
	return &saved[Person]{ETag: etag(p.Version), Body: viewPerson(p)}, nil
}

// PersonPatch changes a person.
type PersonPatch struct {
	State  string       `json:"state,omitempty" enum:"active,disabled" doc:"A disabled person is signed out at the next request."`
	Grants []GrantInput `json:"grants,omitempty" maxItems:"64" doc:"All that the person may do from now on: no more than you may, beside what they had."`
	Reason string       `json:"reason,omitempty" maxLength:"500"`
}

type updatePersonInput struct {
	PersonPath
	Change
	Body PersonPatch `contentType:"application/merge-patch+json"`
}

func (a *API) updatePerson(ctx context.Context, by call, in *updatePersonInput) (*saved[Person], error) {
	op, err := in.op(by, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.UpdatePerson(ctx, op, in.Person, func(e *issuer.PersonEdit) {
		if in.Body.State != "" {
			e.State = in.Body.State
		}
		if in.Body.Grants != nil {
			e.Grants = grantsOf(in.Body.Grants)
		}
	})
	if err != nil {
		return nil, err
	}
	body := viewPerson(out.Value)
	body.Plan = in.plan(out.Plan)
	return &saved[Person]{ETag: etag(out.Value.Version), Body: body}, nil
}

// SignInLink is a person's way in.
type SignInLink struct {
	Person          string    `json:"person" doc:"The id."`
	URL             string    `json:"url,omitempty" doc:"Shown once, here: opening it signs in, once. Give it to the person over a trusted path."`
	ExpiresAt       time.Time `json:"expires_at"`
	SecretAvailable bool      `json:"secret_available" doc:"False in plans, and where the request was answered before."`
	Plan            *Plan     `json:"plan,omitempty"`
}

type createSignInLinkInput struct {
	PersonPath
	Change
}

func (a *API) createSignInLink(ctx context.Context, by call, in *createSignInLinkInput) (*created[SignInLink], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.InvitePerson(ctx, op, in.Person)
	if err != nil {
		return nil, err
	}
	body := SignInLink{Person: out.Value.ID, ExpiresAt: out.Value.Expires, SecretAvailable: !out.Value.Link.Empty(), Plan: in.plan(out.Plan)}
	if body.SecretAvailable {
		body.URL = a.publicURL + "/login/" + out.Value.Link.Reveal()
	}
	return &created[SignInLink]{Status: in.status(), Body: body}, nil
}
