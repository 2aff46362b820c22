package issuer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/custody"
	"chancery/store"
)

// adopting takes a source in, in one transaction of many. What it does with each part
// it decides from the rows as they are then, so that it may be repeated.
type adopting struct {
	*work
	issuer *Issuer
	mode   ImportMode
	// sealing is nil while observing.
	sealing *custody.Keyset
	// jwts are the newest JWTs of accounts; owing those of them that are to be signed
	// anew at once, for a revocation that is not in them.
	jwts  []store.JWT
	owing []string
	// targets go on record by their kind.
	targets map[string][]string
	// silent are operators that are only observed: nothing is pushed for them.
	silent map[string]bool
	// dropping disables the keys that a JWT does not list, so that a later one may bring
	// them back, instead of retiring them.
	dropping bool
}

// operator takes an operator in.
func (d *adopting) operator(ctx context.Context, o *sourceOperator) error {
	x, err := decideOperator(ctx, d.Tx, o)
	if err != nil || x.State == ImportLeftOut {
		return err
	}
	if x.State == ImportNew {
		return d.newOperator(ctx, o, x)
	}
	here, err := d.LockOperatorForEdit(ctx, o.ID)
	if err != nil {
		return err
	}
	after := here
	if upgrade := here.Custody == CustodyObserved && d.mode == ImportAdopt; upgrade {
		after.Custody = o.custody()
	}
	if x.State == ImportNewer {
		after.Settings, after.State = claims.OperatorOf(o.claims).Settings, operatorActive
		if after.Foreign, err = claims.ForeignOperator(o.token, here.Name); err != nil {
			return err
		}
		if err := d.operatorKeys(ctx, o); err != nil {
			return err
		}
	}
	after.Verbatim = after.Verbatim || x.State == ImportNewer
	if after.Custody != here.Custody && x.State == ImportUnchanged && here.Foreign == nil {
		// It was observed before imports: what its JWT holds besides was not read.
		after.Verbatim = true
		if after.Foreign, err = claims.ForeignOperator(o.token, here.Name); err != nil {
			return err
		}
	}
	if x.State == ImportNewer {
		if err := d.putOperator(ctx, o); err != nil {
			return err
		}
	}
	if !reflect.DeepEqual(here, after) {
		if err := d.AdoptOperator(ctx, after); err != nil {
			return err
		}
		d.record("operator", o.ID)
	}
	if err := d.seal(ctx, o, "", after.Custody == CustodySealed); err != nil {
		return err
	}
	if after.Custody != here.Custody {
		return d.OweDelivery(ctx, o.ID, true)
	}
	return nil
}

// custody is where the identity key of an adopted operator is.
func (o *sourceOperator) custody() string {
	if o.IdentitySeed {
		return CustodySealed
	}
	return CustodyOffline
}

func (d *adopting) newOperator(ctx context.Context, o *sourceOperator, x ImportedOperator) error {
	row := Operator{ID: o.ID, Name: x.Name, State: operatorActive, Custody: CustodyObserved, Signing: true, Settings: claims.OperatorOf(o.claims).Settings, Verbatim: true}
	if d.mode == ImportAdopt {
		row.Custody = o.custody()
	}
	var err error
	if row.Foreign, err = claims.ForeignOperator(o.token, row.Name); err != nil {
		return err
	}
	if err := d.CreateOperator(ctx, row); err != nil {
		return err
	}
	if err := d.key(ctx, o, publicKey(o.ID, o.ID, "identity"), d.mode == ImportAdopt); err != nil {
		return err
	}
	if err := d.operatorKeys(ctx, o); err != nil {
		return err
	}
	if err := d.putOperator(ctx, o); err != nil {
		return err
	}
	d.record("operator", o.ID)
	return d.AdoptOperator(ctx, row)
}

func (d *adopting) putOperator(ctx context.Context, o *sourceOperator) error {
	c := o.claims
	return putOperatorJWT(ctx, d.work, claims.Signed{Token: o.token.Text, Subject: o.ID, Issuer: c.Issuer, ID: c.ID, IssuedAt: c.IssuedAt})
}

// operatorKeys makes the rows of the signing keys what the operator's JWT lists.
func (d *adopting) operatorKeys(ctx context.Context, o *sourceOperator) error {
	known, err := d.syncStates(ctx, o.ID, "", func(id string) bool { return slices.Contains(o.claims.SigningKeys, id) })
	if err != nil {
		return err
	}
	for _, id := range o.claims.SigningKeys {
		if known[id].ID != "" {
			continue
		}
		known[id] = store.Key{ID: id}
		if err := d.key(ctx, o, publicKey(id, o.ID, "signing"), d.mode == ImportAdopt); err != nil {
			return err
		}
	}
	return nil
}

// syncStates retires the signing keys that a JWT does not list, and makes those
// current that it lists and that were not trusted. It returns the keys.
func (d *adopting) syncStates(ctx context.Context, operatorID, accountID string, listed func(id string) bool) (map[string]store.Key, error) {
	keys, err := d.ListKeys(ctx, operatorID, accountID)
	if err != nil {
		return nil, err
	}
	out := map[string]store.Key{}
	for _, k := range keys {
		out[k.ID] = k
		state := KeyRetired
		switch is := listed(k.ID); {
		case k.Role != "signing" || is == trustedState(k.State):
			continue
		case is:
			state = KeyCurrent
		case d.dropping:
			if err := d.DropKey(ctx, k.ID); err != nil {
				return nil, err
			}
			continue
		}
		if err := d.SetKeyState(ctx, k.ID, state, time.Time{}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// key stores a key, with its seed if that is wanted and there.
func (d *adopting) key(ctx context.Context, o *sourceOperator, k store.Key, withSeed bool) error {
	if seed, found := o.seeds[k.ID]; withSeed && found {
		if err := d.sealKey(&k, seed); err != nil {
			return err
		}
	}
	return d.CreateKey(ctx, k)
}

func (d *adopting) sealKey(k *store.Key, seed claims.Secret) error {
	pair, err := custody.ParseKey([]byte(seed.Reveal()))
	if err != nil {
		return err
	}
	defer pair.Wipe()
	if k.Sealed, err = d.sealing.Seal(pair, identity(*k)); err != nil {
		return err
	}
	k.Custody, k.DataKey = CustodySealed, custody.DataKey(k.Sealed)
	return nil
}

// seal takes the seeds in of keys of which only the public key was known: of the
// operator, or of an account.
func (d *adopting) seal(ctx context.Context, o *sourceOperator, accountID string, identityToo bool) error {
	if d.mode != ImportAdopt {
		return nil
	}
	keys, err := d.ListKeys(ctx, o.ID, accountID)
	if err != nil {
		return err
	}
	for _, k := range keys {
		seed, found := o.seeds[k.ID]
		if !found || k.Custody != CustodyPublicOnly || k.State == KeyRetired || k.Role == "identity" && !identityToo {
			continue
		}
		if err := d.sealKey(&k, seed); err != nil {
			return err
		}
		if err := d.SetKeyCustody(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

// accounts takes accounts in, without their users.
func (d *adopting) accounts(ctx context.Context, o *sourceOperator, list []*sourceAccount) error {
	operator, err := d.HoldOperator(ctx, o.ID)
	if err != nil {
		return ignoreMissing(err) // it was left out
	}
	d.silent[o.ID] = operator.Custody == CustodyObserved
	p, err := findPlaces(ctx, d.Tx, o, list)
	if err != nil {
		return err
	}
	if p.operator, err = trustedHere(ctx, d.Tx, o.ID); err != nil {
		return err
	}
	for _, a := range list {
		x, _ := decideAccount(o, a, p)
		switch x.State {
		case ImportLeftOut:
			continue
		case ImportNew:
			err = d.newAccount(ctx, o, a, x.Name)
		default:
			err = d.knownAccount(ctx, o, a)
		}
		if err != nil {
			return fmt.Errorf("taking account %s in: %w", a.ID, err)
		}
	}
	return nil
}

func (d *adopting) newAccount(ctx context.Context, o *sourceOperator, a *sourceAccount, name string) error {
	parts := claims.AccountOf(a.claims)
	row := Account{ID: a.ID, OperatorID: o.ID, Name: name, State: accountActive, System: a.System, Settings: parts.Settings, Expires: parts.Expires}
	if err := d.CreateAccount(ctx, row); err != nil {
		return err
	}
	k := accountIdentity(o.ID)
	k.ID, k.AccountID = a.ID, a.ID
	if err := d.key(ctx, o, k, d.mode == ImportAdopt); err != nil {
		return err
	}
	return d.fill(ctx, o, a, row, nil)
}

// knownAccount brings an account that is here up to date.
func (d *adopting) knownAccount(ctx context.Context, o *sourceOperator, a *sourceAccount) error {
	here, err := d.LockAccountForIssue(ctx, a.ID)
	if err != nil {
		return err
	}
	force, err := d.EffectiveRevocations(ctx, a.ID)
	if err != nil {
		return err
	}
	if err := d.seal(ctx, o, a.ID, true); err != nil {
		return err
	}
	if compareJWT(here.JWT, here.IssuedAt, here.Verbatim, a.token.Text, a.claims.IssuedAt) == ImportNewer {
		return d.fill(ctx, o, a, here, force)
	}
	if d.silent[o.ID] {
		return nil // rows hold what its JWT holds: nobody can sign another one here
	}
	added, err := d.revoke(ctx, a.ID, force, a.revoked)
	if err != nil || added == 0 {
		return err
	}
	d.record("account", a.ID)
	return d.OweAccountResigning(ctx, a.ID)
}

// fill makes the rows of an account what its JWT says: settings, keys, templates and
// revocations. force is what is revoked here already.
func (d *adopting) fill(ctx context.Context, o *sourceOperator, a *sourceAccount, here Account, force map[string]int64) error {
	parts := claims.AccountOf(a.claims)
	after := here
	after.Settings, after.Expires, after.System = parts.Settings, parts.Expires, a.System
	var err error
	if after.Foreign, err = claims.ForeignAccount(a.token, here.Name); err != nil {
		return err
	}
	if err := d.AdoptAccount(ctx, after); err != nil {
		return err
	}
	if err := d.accountKeys(ctx, o, a, parts); err != nil {
		return err
	}
	if err := d.sharing(ctx, a.ID, parts.Settings); err != nil {
		return err
	}
	want := a.revoked
	if d.silent[o.ID] {
		if want = a.claims.Revocations; len(force) > 0 {
			if err := d.liftGone(ctx, a.ID, force, want); err != nil {
				return err
			}
		}
	}
	if _, err := d.revoke(ctx, a.ID, force, want); err != nil {
		return err
	}
	for subject, before := range union(force, want) {
		if !d.silent[o.ID] && a.claims.Revocations[subject] < before {
			d.owing = append(d.owing, a.ID)
			break
		}
	}
	c := a.claims
	d.jwts = append(d.jwts, store.JWT{
		Subject: a.ID, Kind: "account", OperatorID: o.ID, Version: here.JWTVersion + 1, IssuedAt: c.IssuedAt, JTI: c.ID,
		Signer: c.Issuer, Actor: d.op.Caller.ID, RequestID: d.op.RequestID, Token: a.token.Text,
	})
	d.record("account", a.ID)
	return nil
}

// importCause is the cause of the revocations that came with a store. They are never
// compacted: nsc keeps one JWT of each user, so nobody knows all that they refuse.
const importCause = "import"

// revoke adds what is not revoked yet, or not for as long.
func (d *adopting) revoke(ctx context.Context, accountID string, force, want map[string]int64) (added int, err error) {
	var rows []Revocation
	for _, subject := range slices.Sorted(maps.Keys(want)) {
		if before, known := force[subject]; known && before >= want[subject] {
			continue
		}
		v := Revocation{AccountID: accountID, Subject: subject, Before: want[subject], Cause: importCause, Reason: "imported from nsc", Actor: d.op.Caller.ID, RequestID: d.op.RequestID}
		if v.ID, err = d.NewID("rev_"); err != nil {
			return 0, err
		}
		rows = append(rows, v)
	}
	return len(rows), d.CreateRevocations(ctx, rows)
}

// liftGone takes revocations back that the newer JWT of an observed account does not
// hold any more: its owner lifted them.
func (d *adopting) liftGone(ctx context.Context, accountID string, force, want map[string]int64) error {
	for subject, before := range force {
		if want[subject] >= before {
			continue
		}
		if _, err := d.LiftRevocations(ctx, accountID, store.RevocationsOf{Subject: subject}, d.op.Caller.ID); err != nil {
			return err
		}
		delete(force, subject)
	}
	return nil
}

// accountKeys makes signing keys and templates what the account's JWT lists.
func (d *adopting) accountKeys(ctx context.Context, o *sourceOperator, a *sourceAccount, parts claims.Account) error {
	_, scoped := map[string]bool{}, map[string]*claims.Template{}
	for _, k := range parts.Keys {
		scoped[k.ID] = k.Template
	}
	known, err := d.syncStates(ctx, o.ID, a.ID, func(id string) bool { _, is := scoped[id]; return is })
	if err != nil {
		return err
	}
	templates, err := d.templates(ctx, o, a, parts, known)
	if err != nil {
		return err
	}
	for _, k := range parts.Keys {
		row, found := known[k.ID]
		switch template := templates[k.ID]; {
		case !found:
			row = accountSigning(o.ID, a.ID, template)
			row.ID, row.Custody = k.ID, CustodyPublicOnly
			err = d.key(ctx, o, row, d.mode == ImportAdopt)
		case row.TemplateID != template:
			err = d.SetKeyTemplate(ctx, k.ID, template)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// templates returns the template of each scoped key, making those that are new. Keys
// of one role and one permission set share theirs; a key that is known keeps its
// template, which becomes what the JWT says.
func (d *adopting) templates(ctx context.Context, o *sourceOperator, a *sourceAccount, parts claims.Account, known map[string]store.Key) (map[string]string, error) {
	out, names := map[string]string{}, map[string]bool{}
	if !slices.ContainsFunc(parts.Keys, func(k claims.SigningKey) bool { return k.Template != nil }) {
		return out, nil
	}
	var made []Template
	existing, err := d.ListTemplates(ctx, a.ID, Page{Limit: MaxImportedUsers})
	if err != nil {
		return nil, err
	}
	bodies := map[string]claims.Template{}
	for _, x := range existing {
		names[x.Body.Name] = true
	}
	for _, k := range parts.Keys {
		if k.Template == nil {
			continue
		}
		if id := known[k.ID].TemplateID; id != "" {
			if body, seen := bodies[id]; !seen || sameRole(body, *k.Template) {
				bodies[id], out[k.ID] = *k.Template, id
				continue
			}
		}
		n := slices.IndexFunc(made, func(x Template) bool { return sameRole(x.Body, *k.Template) })
		if n < 0 {
			x := Template{OperatorID: o.ID, AccountID: a.ID, Body: *k.Template}
			x.Body.Name = roleName(k.Template.Name, k.ID, names)
			if role := k.Template.Name; x.Body.Name != role {
				x.Body.Role = &role
			}
			names[x.Body.Name] = true
			if x.ID, err = d.NewID("tpl_"); err != nil {
				return nil, err
			}
			if err := d.CreateTemplate(ctx, x); err != nil {
				return nil, err
			}
			made, n = append(made, x), len(made)
		}
		out[k.ID] = made[n].ID
	}
	for _, x := range existing {
		body, used := bodies[x.ID]
		if !used || sameRole(x.Body, body) {
			continue
		}
		role := body.Name
		if body.Name = x.Body.Name; role != x.Body.Name {
			body.Role = &role
		}
		x.Body = body
		if _, err := d.UpdateTemplate(ctx, x); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// sameRole tells whether two templates say the same in a JWT.
func sameRole(a, b claims.Template) bool {
	role := func(t claims.Template) string {
		if t.Role != nil {
			return *t.Role
		}
		return t.Name
	}
	return role(a) == role(b) && a.Description == b.Description && reflect.DeepEqual(a.Permissions, b.Permissions)
}

// roleName returns a name for the template of a role that no other one has.
func roleName(role, key string, names map[string]bool) string {
	name := role
	if claims.CheckName("/name", role).Blocking() {
		name = tamed(role, key)
	}
	if !names[name] {
		return name
	}
	for n := 2; ; n++ {
		next := fmt.Sprintf("%s-%d", name, n)
		if len([]rune(next)) > claims.MaxNameLength {
			name, n = distinct("role", key), 1
			next = name
		}
		if !names[next] {
			return next
		}
	}
}

// finish stores what was collected: JWTs, what is owed, and who did it.
func (d *adopting) finish(ctx context.Context) error {
	if err := d.PutAccountJWTs(ctx, d.jwts); err != nil {
		return err
	}
	ids := make([]string, len(d.jwts))
	for n, j := range d.jwts {
		ids[n] = j.Subject
	}
	if err := d.ServeVerbatim(ctx, ids); err != nil {
		return err
	}
	for _, id := range d.owing {
		if err := d.OweAccountResigning(ctx, id); err != nil {
			return err
		}
	}
	for id, silent := range d.silent {
		if silent {
			if err := d.OweDelivery(ctx, id, false); err != nil {
				return err
			}
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(d.targets)) {
		d.use.kind = kind
		if err := d.auditAll(ctx, d.targets[kind]); err != nil {
			return err
		}
	}
	return nil
}

func (d *adopting) record(kind, id string) { d.targets[kind] = append(d.targets[kind], id) }

func hashOfJWT(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// permissionsOf returns the permissions that a user's JWT has of its own.
func permissionsOf(c *jwt.UserClaims) *jwt.UserPermissionLimits {
	p := c.UserPermissionLimits
	return &p
}
