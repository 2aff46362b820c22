package store

import (
	"context"
	"time"
)

// Person may use the control plane.
type Person struct {
	// ID is per_….
	ID     string
	Name   string
	Grants []Grant
	// State is active or disabled.
	State string
	// Version counts the changes of the person.
	Version          int64
	Created, Updated time.Time
}

const personColumns = `id, name, state, version, created_us, updated_us`

func scanPerson(r row) (Person, error) {
	var p Person
	var created, updated int64
	err := r.Scan(&p.ID, &p.Name, &p.State, &p.Version, &created, &updated)
	p.Created, p.Updated = fromMicros(created), fromMicros(updated)
	return p, err
}

// CreatePerson inserts p with its grants, which by gave.
func (t *Tx) CreatePerson(ctx context.Context, p Person, by string) error {
	_, err := t.exec(ctx, `INSERT INTO people (id, name, state, created_us, updated_us) VALUES ($1, $2, $3, $4, $4)`,
		p.ID, p.Name, p.State, micros(t.now))
	if err != nil {
		return err
	}
	return t.SetGrants(ctx, p.ID, by, p.Grants)
}

// GetPerson finds a person by identity or name.
func (t *Tx) GetPerson(ctx context.Context, idOrName string) (Person, error) {
	p, err := one(ctx, t, scanPerson, `SELECT `+personColumns+` FROM people WHERE id = $1 OR name = $1 ORDER BY CASE WHEN id = $1 THEN 0 ELSE 1 END LIMIT 1`, idOrName)
	if err == nil {
		p.Grants, err = t.ListGrants(ctx, p.ID)
	}
	return p, err
}

// LockPerson returns the person, whom nobody else changes until the transaction ends.
func (t *Tx) LockPerson(ctx context.Context, id string) (Person, error) {
	p, err := one(ctx, t, scanPerson, `UPDATE people SET version = version WHERE id = $1 RETURNING `+personColumns, id)
	if err == nil {
		p.Grants, err = t.ListGrants(ctx, p.ID)
	}
	return p, err
}

// LockOwners has whoever else would change an owner of everything wait until the
// transaction ends.
func (t *Tx) LockOwners(ctx context.Context) error {
	_, err := t.exec(ctx, `UPDATE people SET version = version WHERE id IN (
		SELECT p.id FROM people p WHERE p.id IN (SELECT holder FROM grants WHERE role = 'owner' AND operator_id = '') ORDER BY p.id)`)
	return err
}

// UpdatePerson stores state and grants, which by gave, and returns the new version.
func (t *Tx) UpdatePerson(ctx context.Context, p Person, by string) (int64, error) {
	version, err := one(ctx, t, scanOne[int64], `UPDATE people SET version = version + 1, state = $2, updated_us = $3 WHERE id = $1 RETURNING version`,
		p.ID, p.State, micros(t.now))
	if err != nil {
		return 0, err
	}
	return version, t.SetGrants(ctx, p.ID, by, p.Grants)
}

// ListPeople returns a page of people by name, of whom all grants lie within the
// page's bounds.
func (t *Tx) ListPeople(ctx context.Context, p Page) ([]Person, error) {
	within, args := p.Bounds.holding("people.id", []any{p.AfterName, p.AfterID, p.pattern(), p.Limit})
	list, err := many(ctx, t, scanPerson, `SELECT `+personColumns+` FROM people
		WHERE (name, id) > ($1, $2) AND lower(name) LIKE lower($3) ESCAPE '\'`+within+`
		ORDER BY name, id LIMIT $4`, args...)
	if err != nil {
		return nil, err
	}
	for n := range list {
		if list[n].Grants, err = t.ListGrants(ctx, list[n].ID); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// CountOwners returns how many active people own everything.
func (t *Tx) CountOwners(ctx context.Context) (int64, error) {
	return one(ctx, t, scanOne[int64], `SELECT count(*) FROM people p JOIN grants g ON g.holder = p.id
		WHERE p.state = 'active' AND g.role = 'owner' AND g.operator_id = ''`)
}

// Link is a one-time link; only the hash of its secret is kept.
type Link struct {
	// ID is lnk_….
	ID   string
	Hash []byte
	// Purpose is sign_in, setup or credential.
	Purpose string
	// PersonID is who signs in, or the user a credential is for; empty for setup.
	PersonID string
	// Body is what a credential is made from once the link is used: JSON without a
	// secret. CreatedBy is who made the link.
	Body, CreatedBy string
	Expires         time.Time
}

// CreateLink inserts l.
func (t *Tx) CreateLink(ctx context.Context, l Link) error {
	_, err := t.exec(ctx, `INSERT INTO links (id, hash, purpose, person_id, body, created_by, expires_us, created_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		l.ID, l.Hash, l.Purpose, l.PersonID, l.Body, l.CreatedBy, micros(l.Expires), micros(t.now))
	return err
}

func scanLink(r row) (Link, error) {
	var l Link
	var expires int64
	err := r.Scan(&l.ID, &l.Purpose, &l.PersonID, &l.Body, &l.CreatedBy, &expires)
	l.Expires = fromMicros(expires)
	return l, err
}

// UseLink consumes the link with the hash: the second call, and any after its
// time, returns ErrNotFound.
func (t *Tx) UseLink(ctx context.Context, hash []byte) (Link, error) {
	return one(ctx, t, scanLink, `UPDATE links SET used_us = $2 WHERE hash = $1 AND used_us = 0 AND expires_us > $2
		RETURNING id, purpose, person_id, body, created_by, expires_us`, hash, micros(t.now))
}

// PeekLink returns the link with the hash if it can still be used.
func (t *Tx) PeekLink(ctx context.Context, hash []byte) (Link, error) {
	return one(ctx, t, scanLink, `SELECT id, purpose, person_id, body, created_by, expires_us FROM links WHERE hash = $1 AND used_us = 0 AND expires_us > $2`, hash, micros(t.now))
}

// DropLinksOf makes every unused link of the purpose for a person or user unusable.
func (t *Tx) DropLinksOf(ctx context.Context, purpose, personID string) error {
	_, err := t.exec(ctx, `UPDATE links SET used_us = $3 WHERE purpose = $1 AND person_id = $2 AND used_us = 0`, purpose, personID, micros(t.now))
	return err
}
