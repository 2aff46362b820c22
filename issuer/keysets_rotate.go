package issuer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"chancery/claims"
	"chancery/custody"
	"chancery/store"
)

// KeysetStatus is what can be known of the keyset that seals seeds.
type KeysetStatus struct {
	// KEKID names the key-encryption key that opens it.
	KEKID string `json:"kek_id"`
	// Open tells whether this process has it open, Damaged that nobody can open it.
	Open    bool `json:"open"`
	Damaged bool `json:"damaged,omitempty"`
	// DataKeys are the data keys, oldest first, then those that sealed seeds and are
	// gone.
	DataKeys []DataKey `json:"data_keys"`
}

// DataKey is one data key.
type DataKey struct {
	ID uint32 `json:"id"`
	// Primary is the one that seals. Missing tells that the keyset does not have it:
	// nothing opens its seeds.
	Primary bool `json:"primary"`
	Missing bool `json:"missing,omitempty"`
	// Seeds is how many seeds it has sealed.
	Seeds int64 `json:"seeds"`
}

// unfinished tells whether a rotation has more to do.
func (s KeysetStatus) unfinished() bool { return len(s.DataKeys) > 1 }

// Behind returns how many seeds are sealed by another data key than the primary one.
func (s KeysetStatus) Behind() (n int64) {
	for _, k := range s.DataKeys {
		if !k.Primary {
			n += k.Seeds
		}
	}
	return n
}

func (i *Issuer) keysetStatus(ctx context.Context, t *store.Tx, kekID string, info custody.KeysetInfo) (KeysetStatus, error) {
	out := KeysetStatus{KEKID: kekID, Open: i.seeds.Load() != nil}
	counts, err := t.CountSealed(ctx)
	if err != nil {
		return out, err
	}
	seeds := map[uint32]int64{}
	for _, c := range counts {
		seeds[custody.DataKey(c.Mark)] += c.Count
	}
	for _, id := range info.DataKeys {
		out.DataKeys = append(out.DataKeys, DataKey{ID: id, Primary: id == info.Primary, Seeds: seeds[id]})
		delete(seeds, id)
	}
	for _, c := range counts {
		if id := custody.DataKey(c.Mark); seeds[id] > 0 {
			out.DataKeys = append(out.DataKeys, DataKey{ID: id, Missing: len(info.DataKeys) > 0, Seeds: seeds[id]})
			delete(seeds, id)
		}
	}
	return out, nil
}

// KeysetStatus returns the key-encryption key that is needed, and the data keys with
// how many seeds each has sealed. It needs no key.
func (i *Issuer) KeysetStatus(ctx context.Context, caller Caller) (KeysetStatus, error) {
	return read(ctx, i, caller, use{permission: ReadKeysets, action: "read", kind: "keyset", target: seedKeyset}, func(ctx context.Context, d *desk) (KeysetStatus, error) {
		row, err := d.GetKeyset(ctx, seedKeyset)
		if err != nil {
			return KeysetStatus{}, orMissing(err, "keyset")
		}
		info, damaged := wrapped(row).Info()
		if open := i.seeds.Load(); open != nil && open.version == row.Version {
			info = open.Info()
		}
		status, err := i.keysetStatus(ctx, d.Tx, row.KEKID, info)
		status.Damaged = damaged != nil
		return status, err
	})
}

// lockedKeyset locks the keyset's row and returns it opened.
func (i *Issuer) lockedKeyset(ctx context.Context, w *work) (store.Keyset, *custody.Keyset, error) {
	open, err := i.sealer()
	if err != nil {
		return store.Keyset{}, nil, err
	}
	row, err := w.LockKeyset(ctx, seedKeyset)
	if err != nil {
		return row, nil, fmt.Errorf("locking the keyset: %w", err)
	}
	keys, err := wrapped(row).Open(open.kek)
	if errors.Is(err, custody.ErrWrongKEK) {
		return row, nil, rewrapped(row)
	}
	if err != nil {
		return row, nil, fmt.Errorf("opening the keyset: %w", err)
	}
	return row, keys, nil
}

// RewrapKeyset wraps the keyset with another key-encryption key; no seed changes. It
// needs the key that opens it now. Where kek opens it already nothing is done, so that
// it can be repeated.
func (i *Issuer) RewrapKeyset(ctx context.Context, op Op, kek custody.KEK) (Outcome[KeysetStatus], error) {
	var now *openKeyset
	out, err := change(ctx, i, op, use{permission: WriteKeysets, action: "rewrap", kind: "keyset", target: seedKeyset}, func(ctx context.Context, w *work) (planned[KeysetStatus], error) {
		var none planned[KeysetStatus]
		if kek.Empty() {
			return none, invalidField("/kek", "required", "The new key-encryption key is missing.")
		}
		row, err := w.GetKeyset(ctx, seedKeyset)
		if err != nil {
			return none, orMissing(err, "keyset")
		}
		keys, err := wrapped(row).Open(kek)
		done := err == nil
		if !done {
			if row, keys, err = i.lockedKeyset(ctx, w); err != nil {
				return none, err
			}
		}
		status, err := i.keysetStatus(ctx, w.Tx, row.KEKID, keys.Info())
		if err != nil || done {
			return planned[KeysetStatus]{preview: status, apply: func(context.Context) (KeysetStatus, error) { return status, nil }}, err
		}
		anew, err := keys.Wrap(kek)
		if err != nil {
			return none, err
		}
		// What could not be opened again would be lost with the old key.
		if keys, err = anew.Open(kek); err != nil {
			return none, fmt.Errorf("opening the keyset that was just wrapped: %w", err)
		}
		plan := Plan{Changes: []Change{{Path: "/kek_id", From: row.KEKID, To: anew.KEKID}}, Connections: unknown}
		status.KEKID = anew.KEKID
		return planned[KeysetStatus]{preview: status, plan: plan, apply: func(ctx context.Context) (KeysetStatus, error) {
			row.KEKID, row.Wrapped = anew.KEKID, anew.Bytes
			now = &openKeyset{Keyset: keys, version: row.Version, kek: kek}
			return status, w.UpdateKeyset(ctx, row)
		}}, nil
	})
	if err == nil && now != nil {
		i.seeds.Store(now)
	}
	return out, err
}

// RotateDataKey adds a data key that seals from now on, seals every seed anew with it,
// and drops the data keys that no seed needs any more. A rotation that was cut short is
// finished first: that is all the next one does. Servers on the same database go on
// meanwhile. progress, which may be nil, is told after each batch how many seeds are
// through, of how many. An error after the start leaves every seed readable.
func (i *Issuer) RotateDataKey(ctx context.Context, op Op, progress func(done, total int64)) (Outcome[KeysetStatus], error) {
	u := use{permission: WriteKeysets, action: "rotate", kind: "keyset", target: seedKeyset}
	out, err := change(ctx, i, op, u, i.planRotation)
	if err != nil || op.DryRun {
		return out, err
	}
	r := &resealing{issuer: i, op: op, use: u, total: out.Value.Behind(), progress: progress}
	// What a process without the new data key sealed meanwhile is found the next time round.
	for range 3 {
		if err := r.all(ctx); err != nil {
			return out, err
		}
		if out.Value, err = r.drop(ctx); err != nil || !out.Value.unfinished() {
			return out, err
		}
		if len(r.unreadable) > 0 {
			break
		}
	}
	return out, r.incomplete()
}

func (i *Issuer) planRotation(ctx context.Context, w *work) (planned[KeysetStatus], error) {
	var none planned[KeysetStatus]
	row, keys, err := i.lockedKeyset(ctx, w)
	if err != nil {
		return none, err
	}
	plan, next := Plan{Connections: unknown}, keys
	if len(keys.Info().DataKeys) == 1 {
		if next, err = keys.Add(); err != nil {
			return none, err
		}
		plan.Changes = []Change{{Path: "/data_key", From: keys.Info().Primary, To: next.Info().Primary}}
	}
	status, err := i.keysetStatus(ctx, w.Tx, row.KEKID, next.Info())
	if err != nil {
		return none, err
	}
	return planned[KeysetStatus]{preview: status, plan: plan, apply: func(ctx context.Context) (KeysetStatus, error) {
		return status, storeKeyset(ctx, w, row, next)
	}}, nil
}

func storeKeyset(ctx context.Context, w *work, row store.Keyset, keys *custody.Keyset) error {
	again, err := keys.WrapAgain()
	if err != nil {
		return err
	}
	row.KEKID, row.Wrapped = again.KEKID, again.Bytes
	return w.UpdateKeyset(ctx, row)
}

// resealing seals seeds anew. It is used by one goroutine.
type resealing struct {
	issuer      *Issuer
	op          Op
	use         use
	done, total int64
	progress    func(done, total int64)
	// unreadable are the keys whose seed does not open.
	unreadable []string
}

// resealBatch is how many seeds are sealed in one transaction.
const resealBatch = 100

// all takes every seed once that the primary data key has not sealed.
func (r *resealing) all(ctx context.Context) error {
	r.unreadable = nil
	busy := 0
	for after := ""; ; {
		last, err := r.batch(ctx, after)
		switch {
		case errors.Is(err, store.ErrBusy) && busy < 5:
			busy++ // a server was at the same rows
			continue
		case err != nil:
			return fmt.Errorf("sealing seeds anew: %w", err)
		case last == "":
			return errors.Join(r.secrets(ctx, store.CredentialJWT, resealBatch), r.secrets(ctx, store.ImportArchive, 1))
		}
		after, busy = last, 0
		if r.progress != nil {
			r.progress(r.done, max(r.done, r.total))
		}
	}
}

// secrets takes what is sealed and is no seed, some in one transaction.
func (r *resealing) secrets(ctx context.Context, place store.SecretPlace, some int) error {
	for after := ""; ; {
		var list []store.SealedSecret
		err := r.issuer.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
			keys, err := r.issuer.toSeal(ctx, &work{desk: desk{Tx: t, use: r.use}, op: r.op})
			if err != nil {
				return err
			}
			if list, err = t.SecretsToReseal(ctx, place, custody.Mark(keys.Info().Primary), after, some); err != nil {
				return err
			}
			for _, s := range list {
				name := jwtSecret(s.ID)
				if place == store.ImportArchive {
					name = archiveSecret(s.ID)
				}
				was := s.Sealed
				if s.Sealed, err = keys.ResealSecret(was, name); err != nil {
					r.unreadable = append(r.unreadable, s.ID)
					continue
				}
				if _, err := t.SetSealedSecret(ctx, s, was); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("sealing secrets anew: %w", err)
		}
		if len(list) == 0 {
			return nil
		}
		after = list[len(list)-1].ID
	}
}

// batch seals the seeds that follow the key called after, and returns the last one's
// key; "" when there are no more.
func (r *resealing) batch(ctx context.Context, after string) (last string, err error) {
	var done int64
	var unreadable []string
	err = r.issuer.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
		w := &work{desk: desk{Tx: t, use: r.use}, op: r.op}
		keys, err := r.issuer.toSeal(ctx, w)
		if err != nil {
			return err
		}
		primary := keys.Info().Primary
		rows, err := t.KeysToReseal(ctx, primary, custody.Mark(primary), after, resealBatch)
		if err != nil {
			return err
		}
		for _, k := range rows {
			last = k.ID
			was := k.Sealed
			if k.Sealed, err = keys.Reseal(was, identity(k)); err != nil {
				unreadable = append(unreadable, k.ID)
				continue
			}
			k.DataKey = primary
			if ok, err := t.SetSealed(ctx, k, was); err != nil {
				return err
			} else if ok {
				done++
			}
		}
		return nil
	})
	if err == nil {
		r.done += done
		r.unreadable = append(r.unreadable, unreadable...)
	}
	return last, err
}

// drop drops the data keys that have sealed no seed. The keyset is locked before the
// seeds are counted: whoever seals one holds it, so none is on its way.
func (r *resealing) drop(ctx context.Context) (status KeysetStatus, err error) {
	err = r.issuer.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
		w := &work{desk: desk{Tx: t, use: r.use}, op: r.op}
		row, keys, err := r.issuer.lockedKeyset(ctx, w)
		if err != nil {
			return err
		}
		if status, err = r.issuer.keysetStatus(ctx, t, row.KEKID, keys.Info()); err != nil {
			return err
		}
		plan, next := Plan{Connections: unknown}, keys
		for _, k := range status.DataKeys {
			if k.Primary || k.Missing || k.Seeds > 0 {
				continue
			}
			if next, err = next.Drop(k.ID); err != nil {
				return err
			}
			plan.Changes = append(plan.Changes, Change{Path: "/data_keys", From: k.ID, To: nil})
		}
		if len(plan.Changes) == 0 {
			return nil
		}
		if status, err = r.issuer.keysetStatus(ctx, t, row.KEKID, next.Info()); err != nil {
			return err
		}
		if err := storeKeyset(ctx, w, row, next); err != nil {
			return err
		}
		dropped := r.use
		dropped.action = "drop_data_key"
		return w.audit(ctx, dropped, plan)
	})
	return status, err
}

// incomplete is the error of a rotation that could not seal everything anew.
func (r *resealing) incomplete() error {
	if len(r.unreadable) == 0 {
		return &Error{
			Kind: KindBusy, Code: "rotation_unfinished", Message: "Seeds were sealed with the old data key while they were sealed anew; the old data key stays.",
			Hint: "Run the rotation again. If it does not end, restart the servers on this database.",
		}
	}
	named := r.unreadable[:min(len(r.unreadable), 5)]
	return &Error{
		Kind: KindConflict, Code: "seeds_unreadable", Message: fmt.Sprintf("%d seeds do not open; the data keys that sealed them stay.", len(r.unreadable)),
		Hint: claims.Redact("Replace or remove these keys, then run the rotation again: " + strings.Join(named, ", ") + "."),
	}
}
