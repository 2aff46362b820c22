package issuer

import (
	"context"

	"chancery/claims"
	"chancery/store"
)

// keyImported and deliveryImported stand in the ledger for what came with a store.
const (
	keyImported      = "imported"
	deliveryImported = "imported"
	occasionImport   = "import"
)

// users takes users of an account in: a row for each that is new, and an entry in the
// ledger for each JWT that it does not have.
func (d *adopting) users(ctx context.Context, o *sourceOperator, a *sourceAccount, list []sourceUser) error {
	account, err := d.LockAccountForIssue(ctx, a.ID)
	if err != nil {
		return ignoreMissing(err) // it was left out
	}
	if account.OperatorID != o.ID || account.State == accountDeleted {
		return nil
	}
	if ok, err := d.takes(ctx, o, a); err != nil || !ok {
		return err
	}
	b := &userBatch{adopting: d, account: account, templates: map[string]string{}, users: map[string]User{}, known: map[string][]Credential{}}
	if err := b.read(ctx, o, list); err != nil {
		return err
	}
	for _, u := range list {
		if err := b.add(u); err != nil {
			return err
		}
	}
	return b.store(ctx)
}

// takes tells whether the account, which is here, was taken in and not left out.
func (d *adopting) takes(ctx context.Context, o *sourceOperator, a *sourceAccount) (bool, error) {
	p, err := findPlaces(ctx, d.Tx, o, []*sourceAccount{a})
	if err != nil {
		return false, err
	}
	if p.operator, err = trustedHere(ctx, d.Tx, o.ID); err != nil {
		return false, err
	}
	x, _ := decideAccount(o, a, p)
	return x.State != ImportLeftOut, nil
}

// userBatch is some users of one account.
type userBatch struct {
	*adopting
	account Account
	// templates are those of the account's scoped keys.
	templates map[string]string
	// users are by name and by identity, known the ledger by public key.
	users map[string]User
	known map[string][]Credential

	created, updated []User
	entries          []Credential
	last             int64
}

func (b *userBatch) read(ctx context.Context, o *sourceOperator, list []sourceUser) error {
	keys, err := b.ListKeys(ctx, o.ID, b.account.ID)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.TemplateID != "" {
			b.templates[k.ID] = k.TemplateID
		}
	}
	names := make([]string, len(list))
	for n, u := range list {
		names[n] = u.name
	}
	users, err := b.UsersNamed(ctx, b.account.ID, names)
	if err != nil {
		return err
	}
	for _, u := range users {
		b.users[u.Name], b.users[u.ID] = u, u
	}
	entries, err := b.Issuances(ctx, b.account.ID, userKeys(list))
	for _, c := range entries {
		b.known[c.PublicKey] = append(b.known[c.PublicKey], c)
	}
	return err
}

func (b *userBatch) add(s sourceUser) (err error) {
	c := s.claims
	sum := hashOfJWT(s.token)
	newest, onlyImported := true, true
	owner := ""
	for _, k := range b.known[c.Subject] {
		if string(k.SHA256) == string(sum) {
			return nil // it is on record
		}
		owner = k.UserID
		newest = newest && k.IssuedAt < c.IssuedAt
		onlyImported = onlyImported && k.KeyOrigin == keyImported
	}
	u := User{AccountID: b.account.ID, Name: s.name, TemplateID: b.templates[c.Issuer], Tags: c.Tags, State: "active"}
	if u.Tags == nil {
		u.Tags = []string{}
	}
	if u.TemplateID == "" {
		u.Permissions = permissionsOf(c)
	}
	if s.foreign {
		u.State = "disabled"
	}
	here, found := b.users[s.name]
	switch {
	case owner != "": // its key says whose it is, whatever its name
		u.ID = owner
		if here, found = b.users[owner]; found && newest && onlyImported {
			u.Name, u.State = here.Name, here.State
			b.updated = append(b.updated, u)
		}
	case found:
		u.ID = here.ID
	default:
		if u.ID, err = b.NewID("usr_"); err != nil {
			return err
		}
		b.created = append(b.created, u)
		b.users[u.Name], b.users[u.ID] = u, u
	}
	return b.enter(s, u.ID, sum)
}

// enter adds the JWT to the ledger.
func (b *userBatch) enter(s sourceUser, userID string, sum []byte) (err error) {
	c := s.claims
	e := Credential{
		UserID: userID, AccountID: b.account.ID, PublicKey: c.Subject, JTI: c.ID, IssuedAt: c.IssuedAt, Expires: c.Expires, Signer: c.Issuer,
		SHA256: sum, Bearer: s.bearer, KeyOrigin: keyImported, Occasion: occasionImport, TemplateID: b.templates[c.Issuer], Delivery: deliveryImported,
		Actor: b.op.Caller.ID, RequestID: b.op.RequestID, Reason: b.op.Reason, JWT: s.token,
	}
	if e.ID, err = b.NewID("iss_"); err != nil {
		return err
	}
	if s.bearer {
		e.JWT = ""
		if b.sealing != nil {
			if e.Sealed, err = b.sealing.SealSecret([]byte(s.token), jwtSecret(e.ID)); err != nil {
				return err
			}
		}
	}
	b.entries = append(b.entries, e)
	b.known[c.Subject] = append(b.known[c.Subject], e)
	b.last = max(b.last, c.IssuedAt)
	return nil
}

// jwtSecret names the sealed JWT of a credential.
func jwtSecret(id string) string { return "credential|" + id }

func (b *userBatch) store(ctx context.Context) error {
	if len(b.entries) == 0 {
		return nil
	}
	if err := b.CreateUsers(ctx, b.created); err != nil {
		return err
	}
	for _, u := range b.updated {
		if _, err := b.UpdateUser(ctx, u); err != nil {
			return ignoreMissing(err)
		}
	}
	if err := b.CreateCredentials(ctx, b.entries); err != nil {
		return err
	}
	for _, e := range b.entries {
		b.record("credential", e.ID)
	}
	return b.SetLastUserIAT(ctx, b.account.ID, b.last)
}

// importedJWT returns the JWT that was kept of a credential, "" for none.
func (i *Issuer) importedJWT(ctx context.Context, w *work, k store.KeptJWT) (string, error) {
	if len(k.Sealed) == 0 {
		return k.JWT, nil
	}
	text, err := i.openSecret(ctx, w, k.Sealed, jwtSecret(k.ID))
	if err != nil {
		return "", err
	}
	return claims.NewSecret(string(text)).Reveal(), nil
}
