package issuer

import (
	"context"
	"time"

	"chancery/claims"
	"chancery/store"
)

// Status is what has become of a credential.
type Status string

// The statuses of a credential.
const (
	StatusActive  Status = "active"
	StatusExpired Status = "expired"
	StatusRevoked Status = "revoked"
	// StatusKeyDisabled is a credential whose signer servers do not accept for now.
	StatusKeyDisabled Status = "key_disabled"
	// StatusKeyRetired is a credential whose signer servers no longer accept.
	StatusKeyRetired Status = "key_retired"
)

// CredentialWithStatus is an entry of the ledger and what has become of it.
type CredentialWithStatus struct {
	Credential
	UserName string
	Status   Status
	// RollsOff is when its key is revoked, since a new one took its place; zero if it
	// was not rolled.
	RollsOff time.Time
}

// LedgerPage asks for one page of a list that is ordered from the newest on.
type LedgerPage struct {
	// Before is the identity of the last row of the page before; empty at first.
	Before string
	Limit  int
}

// LedgerFilter keeps some entries of an account's ledger. The zero value keeps all.
type LedgerFilter struct {
	// User and Template are a name or identity.
	User, Template         string
	Status                 Status
	PublicKey, JTI, Signer string
	// ExpiringBefore keeps what expires up to then; zero keeps all.
	ExpiringBefore time.Time
}

// ListCredentials returns up to limit issuances of a user, newest first, before
// the one with identity before ("" from the newest).
func (i *Issuer) ListCredentials(ctx context.Context, caller Caller, account, user string, page LedgerPage) ([]CredentialWithStatus, error) {
	u := use{permission: ReadCredentials, action: "list", kind: "credential", target: account + "/" + user}
	return read(ctx, i, caller, u, func(ctx context.Context, d *desk) ([]CredentialWithStatus, error) {
		_, x, err := findUser(ctx, d, account, user)
		if err != nil {
			return nil, err
		}
		return ledger(ctx, d.Tx, store.CredentialFilter{UserID: x.ID}, page)
	})
}

// FindCredentials returns a page of an account's ledger, that of deleted users
// included.
func (i *Issuer) FindCredentials(ctx context.Context, caller Caller, account string, f LedgerFilter, page LedgerPage) ([]CredentialWithStatus, error) {
	u := use{permission: ReadCredentials, action: "list", kind: "credential", target: account}
	return read(ctx, i, caller, u, func(ctx context.Context, d *desk) ([]CredentialWithStatus, error) {
		a, err := findAccount(ctx, d, account)
		if err != nil {
			return nil, err
		}
		q := store.CredentialFilter{AccountID: a.ID, PublicKey: f.PublicKey, JTI: f.JTI, Signer: f.Signer, Status: string(f.Status)}
		if f.User != "" {
			x, err := userOf(ctx, d, a, f.User)
			if err != nil {
				return nil, err
			}
			q.UserID = x.ID
		}
		if f.Template != "" {
			x, err := templateOfAccount(ctx, d, a, f.Template)
			if err != nil {
				return nil, err
			}
			q.TemplateID = x.ID
		}
		q.Bounds = d.some().In(scopeOf(a))
		if !f.ExpiringBefore.IsZero() {
			q.ExpiringBy = max(f.ExpiringBefore.Unix(), 1)
		}
		return ledger(ctx, d.Tx, q, page)
	})
}

func ledger(ctx context.Context, t *store.Tx, f store.CredentialFilter, page LedgerPage) ([]CredentialWithStatus, error) {
	list, err := t.FindCredentials(ctx, f, page.Before, page.Limit)
	if err != nil {
		return nil, err
	}
	out := make([]CredentialWithStatus, len(list))
	for n, e := range list {
		out[n] = CredentialWithStatus{Credential: e.Credential, UserName: e.UserName, Status: statusOf(e, t.Now()), RollsOff: e.RevokedAt}
	}
	return out, nil
}

func statusOf(e store.LedgerEntry, now time.Time) Status {
	switch {
	case e.Revoked:
		return StatusRevoked
	case e.Expires > 0 && now.Unix() > e.Expires:
		return StatusExpired
	}
	switch e.SignerState {
	case "prepared", "current", "retiring":
		return StatusActive
	case "disabled":
		return StatusKeyDisabled
	}
	return StatusKeyRetired
}

// UserFilter keeps some of the users; Account and Template are names or identities.
type UserFilter struct {
	Account, Template, State, Tag string
	// ExpiringBefore keeps users with an unexpired credential that expires up to then.
	ExpiringBefore time.Time
	// NoExpiry and Bearer keep users with an unexpired credential of that kind, SignedBy
	// those with one of that signing key.
	NoExpiry, Bearer bool
	SignedBy         string
}

// ListedUser is a user in a list, with what is on record of its credentials.
type ListedUser = store.ListedUser

// FindUsers returns a page of users by name, of one account or of all.
func (i *Issuer) FindUsers(ctx context.Context, caller Caller, f UserFilter, page Page) ([]ListedUser, error) {
	u := use{permission: ReadUsers, action: "list", kind: "user", target: f.Account}
	return read(ctx, i, caller, u, func(ctx context.Context, d *desk) ([]ListedUser, error) {
		q := store.UserFilter{State: f.State, NoExpiry: f.NoExpiry, Bearer: f.Bearer, SignedBy: f.SignedBy}
		var a Account
		var err error
		if f.Account != "" {
			if a, err = findAccount(ctx, d, f.Account); err != nil {
				return nil, err
			}
			q.AccountID = a.ID
		}
		if f.Template != "" {
			if q.AccountID == "" {
				return nil, invalidField("/template", "required", "Name the account with the template.")
			}
			x, err := templateOfAccount(ctx, d, a, f.Template)
			if err != nil {
				return nil, err
			}
			q.TemplateID = x.ID
		}
		page.Bounds = d.some()
		if tags := claims.NormalizeTags([]string{f.Tag}); len(tags) > 0 {
			q.Tag = tags[0]
		}
		if !f.ExpiringBefore.IsZero() {
			q.ExpiringBy = max(f.ExpiringBefore.Unix(), 1)
		}
		return d.FindUsers(ctx, q, page)
	})
}
