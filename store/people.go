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
}

func scanPerson(r row) (Person, error) {
	var p Person
	err := r.Scan(&p.ID, &p.Name, &p.State)
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
	p, err := one(ctx, t, scanPerson, `SELECT id, name, state FROM people WHERE id = $1 OR name = $1`, idOrName)
	if err == nil {
		p.Grants, err = t.ListGrants(ctx, p.ID)
	}
	return p, err
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

// DropLinks makes every unused link of the purpose unusable.
func (t *Tx) DropLinks(ctx context.Context, purpose string) error {
	_, err := t.exec(ctx, `UPDATE links SET used_us = $2 WHERE purpose = $1 AND used_us = 0`, purpose, micros(t.now))
	return err
}

// DropLinksOf makes every unused link of the purpose for a person or user unusable.
func (t *Tx) DropLinksOf(ctx context.Context, purpose, personID string) error {
	_, err := t.exec(ctx, `UPDATE links SET used_us = $3 WHERE purpose = $1 AND person_id = $2 AND used_us = 0`, purpose, personID, micros(t.now))
	return err
}
