package issuer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"chancery/custody"
	"chancery/store"
)

// seedKeyset is the row of the keyset that seals seeds.
const seedKeyset = "seeds"

// openKeyset is a keyset, the version of its row, and what opens it.
type openKeyset struct {
	*custody.Keyset
	version int64
	kek     custody.KEK
	// foreign is the version that kek did not open; 0 for none.
	foreign int64
}

// unseal opens the keyset of the database, making one in a database that has none.
// It returns why the issuer stays sealed instead; an error is a failure to find out.
func unseal(ctx context.Context, s *store.Store, kek custody.KEK) (open *openKeyset, sealed string, err error) {
	if kek.Empty() {
		return nil, "no key-encryption key was given", nil
	}
	var row store.Keyset
	var missing, sealedKeys bool
	err = s.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		row, err = t.GetKeyset(ctx, seedKeyset)
		if errors.Is(err, store.ErrNotFound) {
			missing = true
			sealedKeys, err = t.HasSealedKeys(ctx)
		}
		return err
	})
	switch {
	case err != nil:
		return nil, "", err
	case missing && sealedKeys:
		// A new keyset would seal new seeds beside ones that nothing opens.
		return nil, "the database holds sealed seeds but not the keyset that opens them: restore it from a backup", nil
	case missing:
		row, err = createKeyset(ctx, s, kek)
	}
	if err != nil {
		return nil, "", err
	}
	keys, err := wrapped(row).Open(kek)
	switch {
	case errors.Is(err, custody.ErrWrongKEK):
		return nil, fmt.Sprintf("the key-encryption key given is %s, the database was sealed with %s", kek.ID(), row.KEKID), nil
	case errors.Is(err, custody.ErrDamaged):
		return nil, "the keyset in the database cannot be opened: it is damaged", nil
	case err != nil:
		return nil, "", err
	}
	return &openKeyset{Keyset: keys, version: row.Version, kek: kek}, "", nil
}

func wrapped(row store.Keyset) custody.Wrapped {
	return custody.Wrapped{KEKID: row.KEKID, Bytes: row.Wrapped}
}

func createKeyset(ctx context.Context, s *store.Store, kek custody.KEK) (store.Keyset, error) {
	keys, err := custody.NewKeyset()
	if err != nil {
		return store.Keyset{}, err
	}
	w, err := keys.Wrap(kek)
	if err != nil {
		return store.Keyset{}, err
	}
	err = s.Write(ctx, func(ctx context.Context, t *store.Tx) error {
		return t.CreateKeyset(ctx, store.Keyset{ID: seedKeyset, KEKID: w.KEKID, Wrapped: w.Bytes})
	})
	if err != nil && !errors.Is(err, store.ErrExists) { // else another replica was first; its keyset holds
		return store.Keyset{}, err
	}
	var row store.Keyset
	err = s.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		row, err = t.GetKeyset(ctx, seedKeyset)
		return err
	})
	return row, err
}

// sealer returns the open keyset, or the error of a sealed process.
func (i *Issuer) sealer() (*openKeyset, error) {
	open := i.seeds.Load()
	if open == nil {
		return nil, &Error{
			Kind: KindSealed, Code: "sealed", Message: "This server is sealed: it serves and pushes what is signed, but cannot sign.",
			Hint: "Start it with the key-encryption key of this database.",
		}
	}
	return open, nil
}

// toSeal returns the keyset to seal a seed with in this transaction, and keeps it as
// it is until the transaction ends.
func (i *Issuer) toSeal(ctx context.Context, w *work) (*custody.Keyset, error) {
	open, err := i.sealer()
	if err != nil {
		return nil, err
	}
	row, err := w.HoldKeyset(ctx, seedKeyset)
	if err != nil {
		return nil, fmt.Errorf("reading the keyset: %w", err)
	}
	return i.follow(ctx, open, row)
}

// toOpen returns the keyset that has the data key, if there is one.
func (i *Issuer) toOpen(ctx context.Context, w *work, dataKey uint32) (*custody.Keyset, error) {
	open, err := i.sealer()
	if err != nil {
		return nil, err
	}
	if open.Has(dataKey) {
		return open.Keyset, nil
	}
	row, err := w.GetKeyset(ctx, seedKeyset)
	if err != nil {
		return nil, fmt.Errorf("reading the keyset: %w", err)
	}
	return i.follow(ctx, open, row)
}

// follow returns the keyset of the row, which another process may have changed since
// it was opened here.
func (i *Issuer) follow(ctx context.Context, open *openKeyset, row store.Keyset) (*custody.Keyset, error) {
	switch row.Version {
	case open.version:
		return open.Keyset, nil
	case open.foreign:
		return nil, rewrapped(row)
	}
	keys, err := wrapped(row).Open(open.kek)
	switch {
	case err == nil:
		i.log.InfoContext(ctx, "took over a changed keyset", slog.Int64("version", row.Version))
		i.seeds.Store(&openKeyset{Keyset: keys, version: row.Version, kek: open.kek})
		return keys, nil
	case !errors.Is(err, custody.ErrWrongKEK):
		return nil, fmt.Errorf("opening the changed keyset: %w", err)
	}
	i.log.WarnContext(ctx, "the keyset was wrapped with another key-encryption key: the next start needs that one", slog.String("kek_id", row.KEKID))
	// What is open here stays good for as long as the data key that seals is the same.
	if info, err := wrapped(row).Info(); err == nil && info.Primary == open.Info().Primary {
		i.seeds.Store(&openKeyset{Keyset: open.Keyset, version: row.Version, kek: open.kek})
		return open.Keyset, nil
	}
	i.seeds.Store(&openKeyset{Keyset: open.Keyset, version: open.version, kek: open.kek, foreign: row.Version})
	return nil, rewrapped(row)
}

func rewrapped(row store.Keyset) error {
	return &Error{
		Kind: KindSealed, Code: "sealed", Message: "The keyset of this database is wrapped with another key-encryption key than this process was started with.",
		Hint: "Start it with the key-encryption key " + row.KEKID + ".",
	}
}
