package issuer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"chancery/claims"
	"chancery/store"
)

// entrySize is what one revocation adds to an account's JWT at most, in bytes: a
// public key of 56 characters and ten digits, as JSON in base64.
const entrySize = 94

// autoCompact is how many moot entries make the upkeep sign an account anew: a new
// JWT is pushed to every server, which costs more than a few entries.
const autoCompact = 100

// compactEvery is how often the upkeep looks for accounts to compact.
const compactEvery = time.Hour

// JWTSize is how much of what a nats-server takes an account's JWT uses.
type JWTSize struct {
	// Bytes is the size of the JWT, Limit the most there may be.
	Bytes, Limit int
	// Revocations is how many entries it carries; RevocationBytes is what they take
	// at most.
	Revocations, RevocationBytes int
	// Moot is how many of the entries can be compacted now.
	Moot int
	// Warnings has something to say from half of the limit on.
	Warnings claims.Problems
}

// AccountSize tells how large an account's JWT is and what its revocations take.
func (i *Issuer) AccountSize(ctx context.Context, caller Caller, account string) (JWTSize, error) {
	return read(ctx, i, caller, use{permission: ReadAccounts, action: "read", kind: "account", target: account}, func(ctx context.Context, d *desk) (JWTSize, error) {
		a, err := findAccount(ctx, d, account)
		if err != nil {
			return JWTSize{}, err
		}
		d.some() // who may issue in it may know whether there is room
		n, err := d.CountRevocations(ctx, a.ID)
		if err != nil {
			return JWTSize{}, err
		}
		moot, err := mootEntries(ctx, d.Tx, a.ID, nil)
		out := JWTSize{Bytes: len(a.JWT), Limit: claims.MaxAccountJWT, Revocations: int(n), Moot: len(moot), Warnings: sizeWarning(len(a.JWT))}
		out.RevocationBytes = min(out.Revocations*entrySize, out.Bytes)
		return out, err
	})
}

// sizeWarning speaks up at half of what a nats-server takes.
func sizeWarning(size int) claims.Problems {
	if size <= claims.MaxAccountJWT/2 {
		return nil
	}
	return claims.Problems{{
		Pointer: "/revocations", Code: "half_full",
		Detail: fmt.Sprintf("The account's JWT has about %s of the %s bytes that a nats-server takes. Compact its revocations, or revoke everybody up to a time, which replaces all entries up to then.",
			grouped(int64(size)), grouped(claims.MaxAccountJWT)),
	}}
}

// orNoRoom says what to do about an account JWT that grew too large by revocations.
func orNoRoom(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || !slices.ContainsFunc(e.Problems, func(p claims.Problem) bool { return p.Code == "too_large" }) {
		return err
	}
	return &Error{
		Kind: KindConflict, Code: "too_many_revocations", Message: "With these revocations the account's JWT would exceed 1 MiB, which no nats-server accepts; nothing that is moot can make room for them.",
		Hint: "Revoke everybody (*) up to a time instead: that replaces all entries up to then. Then issue anew to those who are to stay.", cause: err,
	}
}

// mootEntries returns the subjects whose entries revoke nothing any more, sorted,
// once added is in force too.
func mootEntries(ctx context.Context, t *store.Tx, accountID string, added []Revocation) ([]string, error) {
	revoked, err := t.EffectiveRevocations(ctx, accountID)
	if err != nil || len(revoked)+len(added) == 0 {
		return nil, err
	}
	spent, err := t.RevokedIssuances(ctx, accountID, false)
	if err != nil {
		return nil, err
	}
	issued := make([]claims.Issued, 0, len(spent))
	for _, s := range spent {
		issued = append(issued, claims.Issued{Subject: s.Subject, IssuedAt: s.FirstIAT, Expires: s.LastExpiry})
	}
	fresh := map[string]bool{}
	for _, v := range added {
		// What is known of a subject was asked up to its old time; a new one waits
		// for the next compaction.
		fresh[v.Subject] = v.Before > revoked[v.Subject]
		revoked[v.Subject] = max(revoked[v.Subject], v.Before)
	}
	issued = slices.DeleteFunc(issued, func(x claims.Issued) bool { return fresh[x.Subject] })
	_, moot := claims.CompactRevocations(revoked, issued, t.Now().Add(-claims.CompactionSlack))
	return moot, nil
}

// makeRoom returns the entries that go so that rows fit: none while there is plenty
// of room.
func makeRoom(ctx context.Context, w *work, a Account, rows []Revocation) ([]string, error) {
	if len(a.JWT)+len(rows)*entrySize < claims.MaxAccountJWT*3/4 {
		return nil, nil
	}
	return mootEntries(ctx, w.Tx, a.ID, rows)
}

// Compaction is what compacting came to.
type Compaction struct {
	AccountID string
	// Removed is how many entries went, Kept how many are left.
	Removed, Kept int
	JWTVersion    int64
}

func compactedChange(n int) Change {
	text := grouped(int64(n)) + " revocations that revoke nothing any more leave the JWT"
	if n == 1 {
		text = "1 revocation that revokes nothing any more leaves the JWT"
	}
	return Change{Path: "/revocations", From: n, Text: text}
}

// Compact drops the revocations of an account that revoke nothing any more: all that
// they revoke has expired, or everybody's covers them. Nothing comes to life by it.
func (i *Issuer) Compact(ctx context.Context, op Op, account string) (Outcome[Compaction], error) {
	live := i.liveConnections(ctx, op, WriteRevocations, account)
	return change(ctx, i, op, use{permission: WriteRevocations, action: "compact", kind: "account", target: account}, func(ctx context.Context, w *work) (planned[Compaction], error) {
		a, err := lockAccount(ctx, w, account)
		if err != nil {
			return planned[Compaction]{}, err
		}
		return i.planCompaction(ctx, w, a, live)
	})
}

func (i *Issuer) planCompaction(ctx context.Context, w *work, a Account, live []claims.Connection) (planned[Compaction], error) {
	var none planned[Compaction]
	if err := w.expect(a.Version); err != nil {
		return none, err
	}
	revoked, err := w.CountRevocations(ctx, a.ID)
	if err != nil {
		return none, err
	}
	moot, err := mootEntries(ctx, w.Tx, a.ID, nil)
	if err != nil {
		return none, err
	}
	out := Compaction{AccountID: a.ID, Removed: len(moot), Kept: int(revoked) - len(moot), JWTVersion: a.JWTVersion}
	plan := Plan{Connections: unknown}
	if len(moot) > 0 {
		plan.Changes = []Change{compactedChange(len(moot))}
		plan.Summary = []claims.FieldChange{{Field: "Revocations", Pointer: "/revocations", Before: grouped(revoked), After: grouped(int64(out.Kept))}}
		if err := foresee(ctx, w, a, func(parts *claims.Account) {
			for _, subject := range moot {
				delete(parts.Revocations, subject)
			}
		}, live, &plan); err != nil {
			return none, err
		}
	}
	return planned[Compaction]{preview: out, target: a.ID, plan: plan, apply: func(ctx context.Context) (Compaction, error) {
		if len(moot) == 0 {
			return out, nil
		}
		if err := w.CompactRevocations(ctx, a.ID, moot, w.op.Caller.ID); err != nil {
			return out, err
		}
		signed, err := i.resign(ctx, w, a.ID)
		out.JWTVersion = signed.JWTVersion
		return out, err
	}}, nil
}

// compactMoot compacts accounts with many moot entries. It looks once an hour, and
// leaves alone what the signing switch holds up.
func (i *Issuer) compactMoot(ctx context.Context) error {
	now := i.now()
	last := i.compacted.Load()
	if last != 0 && now.UnixMicro() >= last && now.UnixMicro() < last+compactEvery.Microseconds() {
		return nil
	}
	if !i.compacted.CompareAndSwap(last, now.UnixMicro()) {
		return nil
	}
	var errs []error
	for after := ""; ; {
		var ids []string
		err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
			ids, err = t.MootAccounts(ctx, after, autoCompact, t.Now().Add(-claims.CompactionSlack).Unix(), resignBatch)
			return err
		})
		if err != nil || len(ids) == 0 {
			return errors.Join(append(errs, err)...)
		}
		for _, id := range ids {
			out, err := i.Compact(ctx, Op{Caller: System("upkeep")}, id)
			switch {
			case err == nil:
				i.log.InfoContext(ctx, "revocations compacted", slog.String("account", id), slog.Int("removed", out.Value.Removed), slog.Int("kept", out.Value.Kept))
			case AsError(err).Code != "signing_off":
				errs = append(errs, err)
			}
		}
		after = ids[len(ids)-1]
	}
}

// grouped writes a number for people, in groups of three digits.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
