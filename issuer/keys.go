package issuer

import (
	"context"
	"slices"
	"time"

	"chancery/claims"
	"chancery/store"
)

// The states of a signing key. Servers accept what a key has signed while it is
// prepared, current or retiring; only a current key signs.
const (
	KeyPrepared = "prepared"
	KeyCurrent  = "current"
	KeyRetiring = "retiring"
	// KeyRetired is the end: a retired key never comes back.
	KeyRetired  = "retired"
	KeyDisabled = "disabled"
)

// The custodies of a seed: sealed here, with an external signer, shown once to
// whoever had the key made, or with somebody else.
const (
	CustodySealed     = "sealed"
	CustodyExternal   = "external"
	CustodyShownOnce  = "shown_once"
	CustodyPublicOnly = "public_only"
)

// keyMoves is every legal change of a key's state.
var keyMoves = map[string][]string{
	KeyPrepared: {KeyCurrent, KeyRetired, KeyDisabled},
	KeyCurrent:  {KeyRetiring, KeyRetired, KeyDisabled},
	KeyRetiring: {KeyCurrent, KeyRetired, KeyDisabled},
	KeyDisabled: {KeyCurrent, KeyRetiring, KeyRetired},
	KeyRetired:  {},
}

// trustedState tells whether servers shall accept what a key in the state has signed.
func trustedState(state string) bool {
	return state == KeyPrepared || state == KeyCurrent || state == KeyRetiring
}

// isTrusted tells whether k is a signing key that servers shall accept: a retiring
// key's signatures still hold, and a prepared key is known before it signs.
func isTrusted(k store.Key) bool { return k.Role == "signing" && trustedState(k.State) }

// KeyOwner says whose signing keys are meant: those of an operator, the plain ones of
// an account, or those in an account that carry a template. Each is a name or an
// identity; Operator stands alone, Template needs Account.
type KeyOwner struct{ Operator, Account, Template string }

// use describes a use case on the owner's keys.
func (o KeyOwner) use(action string, reads bool) use {
	u := use{action: action, kind: "key", target: o.Account}
	switch {
	case o.Operator != "":
		u.permission, u.target = WriteOperators, o.Operator
		if reads {
			u.permission = ReadOperators
		}
	case o.Template != "":
		u.permission, u.target = WriteTemplates, o.Account+"/"+o.Template
		if reads {
			u.permission = ReadTemplates
		}
	case reads:
		u.permission = ReadAccounts
	default:
		u.permission = WriteAccounts
	}
	return u
}

// OwnerOf returns whose key k is.
func OwnerOf(k Key) KeyOwner {
	if k.AccountID == "" {
		return KeyOwner{Operator: k.OperatorID}
	}
	return KeyOwner{Account: k.AccountID, Template: k.TemplateID}
}

// KeyInUse is what hangs on a signing key.
type KeyInUse struct {
	// UnexpiredCredentials is how many credentials it signed that are neither expired
	// nor revoked, as far as the ledger knows; LastIssued is when the last one was.
	UnexpiredCredentials int64
	LastIssued           time.Time
	// LiveConnections is how many are open with them, -1 when the servers were not
	// asked or did not answer.
	LiveConnections int
	// Accounts is how many accounts an operator's key has signed, tombstones included;
	// AccountsOwing how many of the operator's accounts wait to be signed anew.
	Accounts, AccountsOwing int64
}

// KeyWithUse is a signing key, without its seed, and what hangs on it.
type KeyWithUse struct {
	Key
	InUse KeyInUse
}

// keyPlace is the owner of signing keys, and the keys: of the owner, and all of the
// operator or account.
type keyPlace struct {
	operator Operator
	// account is nil for an operator's keys, template for an account's plain ones.
	account   *Account
	template  *Template
	keys, all []store.Key
	// external tells that there is a signer for keys that are not sealed here.
	external bool
}

// signs tells whether Chancery can have the key sign.
func (p *keyPlace) signs(k store.Key) bool {
	return k.Custody == CustodySealed || (k.Custody == CustodyExternal && p.external)
}

// signer returns which of the keys signs, "" for none.
func (p *keyPlace) signer(keys []store.Key) string {
	for _, k := range slices.Backward(keys) {
		if k.State == KeyCurrent && p.signs(k) {
			return k.ID
		}
	}
	return ""
}

// findKeys finds the owner's keys, oldest first.
func findKeys(ctx context.Context, d *desk, owner KeyOwner) (keyPlace, error) {
	var p keyPlace
	var err error
	if owner.Operator != "" {
		if p.operator, err = findOperator(ctx, d, owner.Operator); err != nil {
			return p, err
		}
		return p, p.list(ctx, d.Tx)
	}
	a, err := findAccount(ctx, d, owner.Account)
	if err != nil {
		return p, err
	}
	return p, p.enter(ctx, d, a, owner.Template)
}

// lockKeys is findKeys for a change: the owner is locked.
func (i *Issuer) lockKeys(ctx context.Context, w *work, owner KeyOwner) (keyPlace, error) {
	p := keyPlace{external: i.external != nil}
	if owner.Operator != "" {
		var err error
		if p.operator, err = lockOperator(ctx, w, owner.Operator); err != nil {
			return p, err
		}
		if err := writable(p.operator); err != nil {
			return p, err
		}
		return p, p.list(ctx, w.Tx)
	}
	a, err := lockAccount(ctx, w, owner.Account)
	if err != nil {
		return p, err
	}
	if err := p.enter(ctx, &w.desk, a, owner.Template); err != nil {
		return p, err
	}
	if err := writable(p.operator); err != nil {
		return p, err
	}
	if p.template != nil && p.template.Shared() {
		x, err := w.LockTemplate(ctx, p.template.ID)
		if err != nil {
			return p, orMissing(err, "template")
		}
		p.template = &x
	}
	return p, nil
}

// enter makes the account, or its template, the place.
func (p *keyPlace) enter(ctx context.Context, d *desk, a Account, template string) error {
	var err error
	p.account = &a
	if p.operator, err = d.GetOperator(ctx, a.OperatorID); err != nil {
		return err
	}
	if template != "" {
		x, err := templateOfAccount(ctx, d, a, template)
		if err != nil {
			return err
		}
		p.template = &x
	}
	return p.list(ctx, d.Tx)
}

func (p *keyPlace) list(ctx context.Context, t *store.Tx) error {
	account, template := "", ""
	if p.account != nil {
		account = p.account.ID
	}
	if p.template != nil {
		template = p.template.ID
	}
	var err error
	if p.all, err = t.ListKeys(ctx, p.operator.ID, account); err != nil {
		return err
	}
	for _, k := range p.all {
		if k.Role == "signing" && k.TemplateID == template {
			p.keys = append(p.keys, k)
		}
	}
	return nil
}

// blank returns a new key of the place, without an identity.
func (p *keyPlace) blank() store.Key {
	if p.account == nil {
		return store.Key{Kind: "operator", Role: "signing", OperatorID: p.operator.ID}
	}
	k := accountSigning(p.operator.ID, p.account.ID, "")
	if p.template != nil {
		k.TemplateID = p.template.ID
	}
	return k
}

// find returns the key with that public key.
func (p *keyPlace) find(id string) (store.Key, error) {
	n := slices.IndexFunc(p.keys, func(k store.Key) bool { return k.ID == id })
	if n < 0 {
		return store.Key{}, missing("key")
	}
	return p.keys[n], nil
}

// inUse counts what hangs on the key. live are the account's connections, nil when
// they are not known.
func (p *keyPlace) inUse(ctx context.Context, t *store.Tx, k store.Key, live []claims.Connection) (KeyInUse, error) {
	use := KeyInUse{LiveConnections: unknown}
	var err error
	if p.account == nil {
		use.Accounts, use.AccountsOwing, err = t.CountSignedBy(ctx, p.operator.ID, k.ID)
		return use, err
	}
	if live != nil {
		use.LiveConnections = 0
		for _, c := range live {
			if c.IssuerKey == k.ID {
				use.LiveConnections++
			}
		}
	}
	known, err := t.GetKeyUse(ctx, p.account.ID, k.ID)
	use.UnexpiredCredentials, use.LastIssued = known.Credentials, known.LastIssued
	return use, err
}

// view returns a key of the place without its seed, and what hangs on it.
func (p *keyPlace) view(ctx context.Context, t *store.Tx, k store.Key, live []claims.Connection) (KeyWithUse, error) {
	k.Sealed = nil
	use, err := p.inUse(ctx, t, k, live)
	return KeyWithUse{k, use}, err
}

// ListKeys returns the owner's signing keys, oldest first, with what hangs on each. It
// asks the servers for live connections, and waits two seconds at most.
func (i *Issuer) ListKeys(ctx context.Context, caller Caller, owner KeyOwner) ([]KeyWithUse, error) {
	u := owner.use("list", true)
	live := i.liveOf(ctx, caller, owner, u.permission)
	return read(ctx, i, caller, u, func(ctx context.Context, d *desk) ([]KeyWithUse, error) {
		p, err := findKeys(ctx, d, owner)
		if err != nil {
			return nil, err
		}
		out := make([]KeyWithUse, len(p.keys))
		for n, k := range p.keys {
			if out[n], err = p.view(ctx, d.Tx, k, live); err != nil {
				return nil, err
			}
		}
		return out, nil
	})
}

// GetKey returns one of the owner's signing keys, with what hangs on it.
func (i *Issuer) GetKey(ctx context.Context, caller Caller, owner KeyOwner, key string) (KeyWithUse, error) {
	u := owner.use("read", true)
	live := i.liveOf(ctx, caller, owner, u.permission)
	return read(ctx, i, caller, u, func(ctx context.Context, d *desk) (KeyWithUse, error) {
		p, err := findKeys(ctx, d, owner)
		if err != nil {
			return KeyWithUse{}, err
		}
		k, err := p.find(key)
		if err != nil {
			return KeyWithUse{}, err
		}
		return p.view(ctx, d.Tx, k, live)
	})
}

// liveOf asks for the live connections of the owner's account; nil when it has none,
// or they are not known.
func (i *Issuer) liveOf(ctx context.Context, caller Caller, owner KeyOwner, need Permission) []claims.Connection {
	if owner.Account == "" {
		return nil
	}
	return i.liveConnections(ctx, Op{Caller: caller, DryRun: true}, need, owner.Account)
}
