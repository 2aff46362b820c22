package issuer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"chancery/store"
)

// seldom keeps what costs a look at many rows to once in a while.
type seldom struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// every tells whether what is called name is due at now, and takes note that it is done.
func (s *seldom) every(d time.Duration, name string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, done := s.last[name]; done && now.Before(last.Add(d)) && !now.Before(last) {
		return false
	}
	if s.last == nil {
		s.last = map[string]time.Time{}
	}
	s.last[name] = now
	return true
}

// A pass of the upkeep looks at keyPage keys at a time, and rotates keyRotations of an
// operator at most: the others have their turn a minute later.
const (
	keyPage      = 100
	keyRotations = 500
)

// retireKeys retires the keys whose time has come: on the day that was announced, or
// when nothing hangs on them any more. What a guard holds up waits.
func (i *Issuer) retireKeys(ctx context.Context) error {
	errs := []error{i.retireListed(ctx, (*store.Tx).ListKeysToRetire)}
	if i.seldom.every(time.Minute, "drained keys", i.now()) {
		errs = append(errs, i.retireListed(ctx, (*store.Tx).ListDrainedKeys))
	}
	return errors.Join(errs...)
}

func (i *Issuer) retireListed(ctx context.Context, list func(t *store.Tx, ctx context.Context, after string, limit int) ([]store.Key, error)) error {
	var errs []error
	for after := ""; ctx.Err() == nil; {
		var keys []store.Key
		err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
			keys, err = list(t, ctx, after, keyPage)
			return err
		})
		if err != nil || len(keys) == 0 {
			return errors.Join(append(errs, err)...)
		}
		for _, k := range keys {
			if err := i.retireKey(ctx, k); err != nil && !waits(err) {
				errs = append(errs, fmt.Errorf("retiring key %s: %w", k.ID, err))
			}
			after = k.ID
		}
	}
	return errors.Join(errs...)
}

// retireKey retires a key if nothing speaks against it.
func (i *Issuer) retireKey(ctx context.Context, k store.Key) error {
	op := Op{Caller: System("upkeep"), Reason: "nothing hangs on the key any more"}
	due := !k.RetireAt.IsZero()
	if due {
		op.Reason = "the day on which the key was to retire"
		op.Override = []Guard{GuardKeyInUse}
	}
	switch {
	case k.AccountID == "":
		free, err := i.signsNothing(ctx, k, due)
		if err != nil || !free {
			return err
		}
	case !due:
		// Who is connected with a credential that the ledger does not know keeps the key.
		live := i.askConnections(ctx, k.AccountID)
		if live == nil && i.connections != nil {
			return nil
		}
		for _, c := range live {
			if c.IssuerKey == k.ID {
				return nil
			}
		}
	}
	_, err := i.SetKeyState(ctx, op, OwnerOf(k), k.ID, KeyStateInput{State: KeyRetired})
	return err
}

// signsNothing tells whether no account is signed by the operator's key any more and,
// unless its day has come, servers have what was signed anew.
func (i *Issuer) signsNothing(ctx context.Context, k store.Key, due bool) (bool, error) {
	free := false
	err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) error {
		signed, owing, err := t.CountSignedBy(ctx, k.OperatorID, k.ID)
		if err != nil || signed > 0 || owing > 0 {
			return err
		}
		undelivered, _, err := t.CountOwed(ctx, k.OperatorID)
		free = due || undelivered == 0
		return err
	})
	return free, err
}

// waits tells whether err only says that it is not the time yet: a guard holds the
// change up, or another replica was first.
func waits(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Guard != "" || e.Code == errOvertaken.Code || e.Code == "illegal_state" || e.Kind == KindNotFound)
}

// rotateKeys rotates, once a minute, the current keys that are older than their
// operator's policy wants.
func (i *Issuer) rotateKeys(ctx context.Context) error {
	if !i.seldom.every(time.Minute, "rotation by policy", i.now()) {
		return nil
	}
	var errs []error
	for page := (Page{Limit: keyPage}); ctx.Err() == nil; {
		var list []Operator
		err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
			list, err = t.ListOperators(ctx, page)
			return err
		})
		if err != nil || len(list) == 0 {
			return errors.Join(append(errs, err)...)
		}
		for _, o := range list {
			if o.Signing {
				errs = append(errs, i.rotateOf(ctx, o))
			}
			page.AfterName, page.AfterID = o.Name, o.ID
		}
	}
	return errors.Join(errs...)
}

// ages returns after how long keys of each kind are rotated; 0 never.
func ages(p store.Policy) map[store.KeyKind]time.Duration {
	return map[store.KeyKind]time.Duration{
		store.OperatorKey: time.Duration(p.OperatorKeyAge) * time.Second,
		store.AccountKey:  time.Duration(p.AccountKeyAge) * time.Second,
		store.TemplateKey: time.Duration(p.TemplateKeyAge) * time.Second,
	}
}

func (i *Issuer) rotateOf(ctx context.Context, o Operator) error {
	var errs []error
	for kind, age := range ages(o.Policy) {
		if age <= 0 {
			continue
		}
		var due []store.Key
		err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
			due, err = t.ListAgedKeys(ctx, o.ID, kind, t.Now().Add(-age), keyRotations)
			return err
		})
		errs = append(errs, err)
		for _, k := range due {
			if err := i.rotateAged(ctx, k); err != nil && !waits(err) {
				errs = append(errs, fmt.Errorf("rotating key %s by policy: %w", k.ID, err))
			}
		}
	}
	return errors.Join(errs...)
}

// rotateAged has a new key take the place of k. An operator's is prepared first, and
// made current in a later pass, when all running servers trust it.
func (i *Issuer) rotateAged(ctx context.Context, k store.Key) error {
	op := Op{Caller: System("upkeep"), Reason: "rotation by policy"}
	owner := OwnerOf(k)
	if owner.Operator == "" {
		_, err := i.AddKey(ctx, op, owner, KeyInput{MakeCurrent: true, replaces: k.ID})
		return err
	}
	if next := i.successor(ctx, op, owner); next != "" {
		_, err := i.SetKeyState(ctx, op, owner, next, KeyStateInput{State: KeyCurrent})
		return err
	}
	_, err := i.AddKey(ctx, op, owner, KeyInput{replaces: k.ID})
	return err
}
