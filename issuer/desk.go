package issuer

import (
	"errors"

	"chancery/store"
)

// desk is where a use case works: its transaction, who asks, and what for. What a
// caller names is looked up through it, and whatever the caller may not reach is
// missing. It is used by one goroutine.
type desk struct {
	*store.Tx
	caller Caller
	use    use
	// at is the object of the use case, for the audit log.
	at Scope
	// entered tells that the caller was held against an object, partly that so far only
	// a part of it may be reached.
	entered, partly bool
	// also is what is needed besides the permission of the use.
	also []Permission
}

// enter holds the caller against the scope of an object that was found: noun is what
// it is called where it must look missing. With the permission on a part of the scope
// the use case goes on, and has to enter that part or to call some.
func (d *desk) enter(at Scope, noun string) error {
	d.at = at
	var lacks Permission
	whole := true
	for _, p := range d.needs() {
		whole = whole && d.caller.Allows(p, at)
		if lacks == "" && !d.caller.Allows(p, at) && !d.caller.mayWithin(p, at) {
			lacks = p
		}
	}
	switch {
	case lacks == "":
		d.entered, d.partly = true, !whole
		return nil
	case d.caller.sees(at):
		return denied(Forbidden(lacks))
	}
	return denied(missing(noun))
}

// needs returns the permissions that the use case needs on each of its objects.
func (d *desk) needs() []Permission { return append(d.also, d.use.permission) }

// alsoNeeds demands a further permission: on the objects that are still to be found,
// and on the last one that was.
func (d *desk) alsoNeeds(p Permission) error {
	d.also = append(d.also, p)
	if !d.entered || d.partly {
		return nil
	}
	return d.whole(d.at)
}

// whole refuses callers who may reach only a part of at.
func (d *desk) whole(at Scope) error {
	for _, p := range d.needs() {
		if !d.caller.Allows(p, at) {
			return denied(Forbidden(p))
		}
	}
	return nil
}

// some says that the use case gives no more than what lies in the returned bounds: it
// is for lists, and nil is everything.
func (d *desk) some() *store.Bounds {
	d.entered, d.partly = true, false
	return d.caller.bounds(d.use.permission)
}

// missing says that what the caller named does not exist. To a caller who may not see
// everything it is the same answer, made in the same way, as for what is somebody
// else's.
func (d *desk) missing(noun string) error {
	if d.caller.Allows(d.use.permission, Scope{}) {
		return missing(noun)
	}
	return denied(missing(noun))
}

// orMissing is orMissing for what the caller named.
func (d *desk) orMissing(err error, noun string) error {
	if errors.Is(err, store.ErrNotFound) {
		return d.missing(noun)
	}
	return err
}

// told returns what a failed use case may say to the caller: what stands in the way of
// something that the caller may not do anyway would tell of what the caller may not
// see, such as that a name is taken.
func (d *desk) told(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.denied || d.entered && !d.partly || d.caller.Allows(d.use.permission, Scope{}) {
		return err
	}
	switch e.Kind {
	case KindConflict, KindStale, KindUnconditional, KindNotFound, KindTooFast:
		return denied(Forbidden(d.use.permission))
	}
	return err
}

// left refuses at the end what was not held against an object: a use case that forgets
// to ask serves only those who may do it everywhere.
func (d *desk) left() error {
	if d.caller.Allows(d.use.permission, Scope{}) || d.entered && !d.partly {
		return nil
	}
	return denied(Forbidden(d.use.permission))
}

// denied marks an error as a denial, which is put on record.
func denied(err error) error {
	e := *AsError(err)
	e.denied = true
	return &e
}

func scopeOf(a Account) Scope { return Scope{Operator: a.OperatorID, Account: a.ID} }

// with returns the scope of a template in the account's scope.
func withTemplate(at Scope, templateID string) Scope {
	at.Template = templateID
	return at
}
