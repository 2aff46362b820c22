package issuer

import (
	"context"
	"fmt"
	"slices"
	"time"

	"chancery/claims"
	"chancery/custody"
	"chancery/store"
)

// Succession says what becomes of the keys that were current when another one takes
// their place.
type Succession struct {
	// State is retiring, the default, or, in an emergency, retired or disabled.
	State string
	// RetireAfter is for how long a retiring key stays trusted. Zero retires it when
	// nothing hangs on it any more; nil means the operator's policy.
	RetireAfter *time.Duration
}

// KeyInput asks for a new signing key.
type KeyInput struct {
	// PublicKey is a key that was made elsewhere; its seed never comes here. Empty
	// makes one.
	PublicKey string
	// Custody is sealed, the default, or shown_once for a key that is made here, and
	// public_only, the default, or external for one that is not.
	Custody string
	// MakeCurrent has the key sign from now on, and Previous says what becomes of those
	// that did. Otherwise it is prepared: trusted, and not signing yet.
	MakeCurrent bool
	Previous    Succession
	// replaces is the current key that the upkeep saw: it does nothing if another
	// replica was first.
	replaces string
}

// KeyStateInput asks for another state of a signing key.
type KeyStateInput struct {
	State string
	// RetireAfter is for how long a key that retires stays trusted, as in Succession.
	RetireAfter *time.Duration
	// Previous says what becomes of the current keys when this one takes their place.
	Previous Succession
}

// KeyChange is what a change of signing keys came to.
type KeyChange struct {
	KeyWithUse
	// Previous are the other keys that it moved.
	Previous []KeyWithUse
	// Seed is that of a key to be shown once, empty for others.
	Seed claims.Secret
	// JWTVersion is the account's JWT that carries the change; 0 for operator keys.
	JWTVersion int64
	// Owing is how many accounts are to be signed anew in the background.
	Owing int64
}

// keyMove is a key on its way into a state; made is a key that is new.
type keyMove struct {
	key      store.Key
	to       string
	retireAt time.Time
	made     bool
}

// keyPlan is a change of signing keys that was worked out.
type keyPlan struct {
	place *keyPlace
	// moves begins with what was asked for; the others follow from it.
	moves []keyMove
	seed  claims.Secret
	live  []claims.Connection
	// untrusted are the servers that do not trust the operator key which is to become
	// current; see Config.Trusts.
	untrusted trustReport
	// compromise tells that the first key is in wrong hands; revoked is what is revoked
	// with it.
	compromise bool
	revoked    []Revocation
	warnings   claims.Problems
}

// AddKey adds a signing key to an operator, an account or a template. With MakeCurrent
// it is the whole rotation of an account's or a template's key: the account's JWT
// carries both keys, so that nobody is dropped. An operator's key is better prepared
// first: servers trust it when they have loaded the operator's new JWT, which takes a
// restart of each.
func (i *Issuer) AddKey(ctx context.Context, op Op, owner KeyOwner, in KeyInput) (Outcome[KeyChange], error) {
	u := owner.use("add", false)
	live := i.liveConnections(ctx, op, u.permission, owner.Account)
	report := i.whoTrusts(ctx, op, owner, in.PublicKey, in.MakeCurrent)
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[KeyChange], error) {
		var none planned[KeyChange]
		p, err := i.lockKeys(ctx, w, owner)
		if err != nil {
			return none, err
		}
		if err := p.slowDown(w); err != nil {
			return none, err
		}
		if err := p.overtaken(in); err != nil {
			return none, err
		}
		if owner.Operator == "" {
			if err := w.guardCount(ctx, *p.account, claims.QuotaSigningKeys, 1); err != nil {
				return none, err
			}
		}
		key, seed, err := i.makeKey(ctx, w, p.blank(), in)
		if err != nil {
			return none, err
		}
		if in.PublicKey != "" {
			if _, err := w.GetKey(ctx, key.ID); err == nil {
				return none, orTaken(store.ErrExists, "key")
			} else if ignoreMissing(err) != nil {
				return none, err
			}
		}
		x := &keyPlan{place: &p, seed: seed, live: live, untrusted: report, moves: []keyMove{{key: key, to: KeyPrepared, made: true}}}
		if in.MakeCurrent {
			x.moves[0].to = KeyCurrent
			if err := x.succeed(w, key, in.Previous); err != nil {
				return none, err
			}
		}
		return i.planKeys(ctx, w, x)
	})
}

// SetKeyState moves a signing key: prepared to current when it shall sign, current to
// retiring when another shall, retiring to retired at the end; disabled refuses what it
// signed until it comes back. Which moves there are says a table; others are refused.
func (i *Issuer) SetKeyState(ctx context.Context, op Op, owner KeyOwner, key string, in KeyStateInput) (Outcome[KeyChange], error) {
	u := owner.use("set_state", false)
	u.target += "/" + key
	// Taking rights away is never held up.
	u.protective = in.State == KeyRetired || in.State == KeyDisabled
	live := i.liveConnections(ctx, op, u.permission, owner.Account)
	report := i.whoTrusts(ctx, op, owner, key, in.State == KeyCurrent)
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[KeyChange], error) {
		var none planned[KeyChange]
		p, err := i.lockKeys(ctx, w, owner)
		if err != nil {
			return none, err
		}
		k, err := p.find(key)
		if err != nil {
			return none, err
		}
		if err := w.expect(k.Version); err != nil {
			return none, err
		}
		if err := mayMove(k, in.State); err != nil {
			return none, err
		}
		m := keyMove{key: k, to: in.State}
		if in.State == KeyRetiring {
			if m.retireAt, err = p.retireAt(w, Succession{RetireAfter: in.RetireAfter}); err != nil {
				return none, err
			}
		}
		x := &keyPlan{place: &p, live: live, untrusted: report, moves: []keyMove{m}}
		if in.State == KeyCurrent && k.State != KeyCurrent {
			if err := x.succeed(w, k, in.Previous); err != nil {
				return none, err
			}
		}
		return i.planKeys(ctx, w, x)
	})
}

// mayMove refuses a move that is not in the table. Staying is no move; a key that
// retires may be given another day.
func mayMove(k store.Key, to string) error {
	if _, known := keyMoves[to]; !known || (to == KeyPrepared && k.State != KeyPrepared) {
		return invalidField("/state", "unknown_value", "A key can be made current, retiring, retired or disabled.")
	}
	if k.State == to || slices.Contains(keyMoves[k.State], to) {
		return nil
	}
	hint := "A " + k.State + " key can become " + inWords(keyMoves[k.State]) + "."
	if k.State == KeyRetired {
		hint = "A retired key never comes back. Add a new key."
	}
	return &Error{Kind: KindConflict, Code: "illegal_state", Message: "A " + k.State + " key cannot become " + to + ".", Hint: hint}
}

func inWords(states []string) string {
	out := ""
	for n, s := range states {
		switch {
		case n == 0:
		case n == len(states)-1:
			out += " or "
		default:
			out += ", "
		}
		out += s
	}
	return out
}

// maxOverlap is how long a retiring key can be kept.
const maxOverlap = 10 * 365 * 24 * time.Hour

// retireAt returns when a key that retires now is due; zero for when nothing hangs on
// it.
func (p *keyPlace) retireAt(w *work, s Succession) (time.Time, error) {
	after := time.Duration(p.operator.Policy.Overlap) * time.Second
	if s.RetireAfter != nil {
		after = *s.RetireAfter
	}
	if after < 0 || after > maxOverlap {
		return time.Time{}, invalidField("/retire_previous_after_seconds", "out_of_range", "A key stays trusted for 0 seconds (until nothing hangs on it) to 10 years.")
	}
	if after == 0 {
		return time.Time{}, nil
	}
	return w.Now().Add(after), nil
}

// succeed moves every other current key of the place out of the way.
func (x *keyPlan) succeed(w *work, to store.Key, s Succession) error {
	if s.State == "" {
		s.State = KeyRetiring
	}
	if !slices.Contains(keyMoves[KeyCurrent], s.State) {
		return invalidField("/previous", "unknown_value", "The keys before can be made retiring, retired or disabled.")
	}
	for _, k := range x.place.keys {
		if k.State != KeyCurrent || k.ID == to.ID {
			continue
		}
		m := keyMove{key: k, to: s.State}
		if s.State == KeyRetiring {
			var err error
			if m.retireAt, err = x.place.retireAt(w, s); err != nil {
				return err
			}
		}
		x.moves = append(x.moves, m)
	}
	return nil
}

func (p *keyPlace) slowDown(w *work) error {
	if p.account == nil {
		return nil
	}
	return slowDown(w, *p.account)
}

// errOvertaken tells the upkeep that another replica was first.
var errOvertaken = &Error{Kind: KindConflict, Code: "overtaken", Message: "The key was rotated already."}

func (p *keyPlace) overtaken(in KeyInput) error {
	if in.replaces == "" {
		return nil
	}
	k, err := current(p.keys, p.blank().TemplateID)
	if err != nil || k.ID != in.replaces || (!in.MakeCurrent && p.prepared() != nil) {
		return errOvertaken
	}
	return nil
}

// prepared returns the newest prepared key that can sign here; nil for none.
func (p *keyPlace) prepared() *store.Key {
	for n := len(p.keys) - 1; n >= 0; n-- {
		if k := p.keys[n]; k.State == KeyPrepared && p.signs(k) {
			return &p.keys[n]
		}
	}
	return nil
}

// makeKey makes the key that is asked for, or takes the public one that is given.
func (i *Issuer) makeKey(ctx context.Context, w *work, k store.Key, in KeyInput) (store.Key, claims.Secret, error) {
	k.Custody = in.Custody
	if in.PublicKey != "" {
		if k.Custody == "" {
			k.Custody = CustodyPublicOnly
		}
		if k.Custody != CustodyPublicOnly && k.Custody != CustodyExternal {
			return k, claims.Secret{}, invalidField("/custody", "not_allowed", "The seed of a key that was made elsewhere stays there: its custody is public_only or external.")
		}
		if problems := claims.CheckPublicKey("/public_key", claims.Kind(k.Kind), in.PublicKey); problems.Blocking() {
			return k, claims.Secret{}, invalid(problems)
		}
		k.ID = in.PublicKey
		return k, claims.Secret{}, nil
	}
	switch k.Custody {
	case "", CustodySealed:
		k.Custody = CustodySealed
		k, err := i.newKey(ctx, w, k)
		return k, claims.Secret{}, err
	case CustodyShownOnce:
		return i.showKey(k)
	}
	return k, claims.Secret{}, invalidField("/custody", "not_allowed", "A key that is made here is sealed or shown_once; with another custody, send its public key.")
}

// showKey makes a key whose seed is returned and kept nowhere.
func (i *Issuer) showKey(k store.Key) (store.Key, claims.Secret, error) {
	pair, err := custody.NewKey(claims.Kind(k.Kind), i.rand)
	if err != nil {
		return k, claims.Secret{}, fmt.Errorf("making a key: %w", err)
	}
	defer pair.Wipe()
	k.ID = pair.Public()
	seed, err := pair.Seed()
	if err != nil {
		return k, claims.Secret{}, fmt.Errorf("making a key: %w", err)
	}
	defer clear(seed)
	return k, claims.NewSecret(string(seed)), nil
}
