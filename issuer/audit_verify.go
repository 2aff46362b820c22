package issuer

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"chancery/store"
)

// AuditVerification is what a verification of the audit log found.
type AuditVerification struct {
	store.ChainReport
	At time.Time
	// Lines is how many lines the instance's own checkpoint log has, Torn how many were
	// not written to their end, Foreign how many its key did not sign.
	Lines, Torn, Foreign int
}

// Whole tells whether nothing is wrong. A torn line is the trace of a crash.
func (v AuditVerification) Whole() bool { return v.ChainReport.Whole() && v.Foreign == 0 }

// MaxCheckpoints is how many checkpoints may be held against the log at once.
const MaxCheckpoints = 10_000

// VerifyAudit walks the whole audit log and holds it against the instance's own
// checkpoint log and those checkpoints that the caller kept elsewhere, and verified.
// It takes about two seconds for 100,000 entries and little memory.
func (i *Issuer) VerifyAudit(ctx context.Context, caller Caller, kept []store.Checkpoint) (AuditVerification, error) {
	v, err := read(ctx, i, caller, auditUse("verify", ""), func(ctx context.Context, d *desk) (AuditVerification, error) {
		v := AuditVerification{At: d.Now()}
		if len(kept) > MaxCheckpoints {
			return v, invalidField("/checkpoints", "too_many", "At most 10,000 checkpoints can be held against the log at once.")
		}
		if i.checkpoints == nil {
			return v, nil
		}
		verifier := ""
		switch key, err := d.GetAuditKey(ctx); {
		case errors.Is(err, store.ErrNotFound): // what is in the file nevertheless is of a key that was taken away
		case err != nil:
			return v, err
		default:
			if verifier, _, err = noteVerifier(key.ID); err != nil {
				return v, err
			}
		}
		own, err := ReadCheckpoints(i.checkpoints.Lines, verifier)
		if err != nil {
			return v, &Error{
				Kind: KindConflict, Code: "checkpoints_unreadable", Message: "The file with the checkpoints of the audit log cannot be read.",
				Hint: "Make it readable for the server, or start the server without it.", cause: err,
			}
		}
		v.Lines, v.Torn, v.Foreign = own.Lines, own.Torn, own.Foreign
		kept = append(slices.Clone(kept), own.Checkpoints...)
		return v, nil
	})
	if err != nil {
		return v, err
	}
	slices.SortStableFunc(kept, func(a, b store.Checkpoint) int { return int(max(-1, min(1, a.Seq-b.Seq))) })
	if v.ChainReport, err = i.store.VerifyAudit(ctx, kept); err != nil {
		return v, err
	}
	i.verified.Store(&v)
	return v, nil
}

// AuditBroken returns the last verification of this process, if it found the log
// broken, to who may read all of it: what is wrong tells of entries everywhere.
func (i *Issuer) AuditBroken(caller Caller) (AuditVerification, bool) {
	v := i.verified.Load()
	if v == nil || v.Whole() || !caller.Allows(ReadAudit, Scope{}) {
		return AuditVerification{}, false
	}
	return *v, true
}

// CheckpointFile is what is in a checkpoint log.
type CheckpointFile struct {
	// Checkpoints are those that the key signed, by their numbers: of a long log every
	// so many, and the last.
	Checkpoints []store.Checkpoint
	// Lines is how many lines there are, Torn how many of them were not written to their
	// end, Foreign how many the key did not sign.
	Lines, Torn, Foreign int
}

// ReadCheckpoints reads the lines of a checkpoint log that verifier signed; without a
// verifier all of them are foreign. What was
// rewritten from some entry on differs from every later checkpoint: of a long log it is
// enough to keep some, and the last.
func ReadCheckpoints(lines func(each func(line []byte) error) error, verifier string) (CheckpointFile, error) {
	var f CheckpointFile
	var last store.Checkpoint
	every := 1
	err := lines(func(line []byte) error {
		if len(bytes.TrimSpace(line)) == 0 {
			return nil
		}
		f.Lines++
		if verifier == "" {
			f.Foreign++
			return nil
		}
		c, err := ParseCheckpoint(line, verifier)
		switch {
		case errors.Is(err, ErrTornCheckpoint):
			f.Torn++
			return nil
		case errors.Is(err, ErrForeignCheckpoint):
			f.Foreign++
			return nil
		case err != nil:
			return err
		}
		if last = c; f.Lines%every == 0 {
			f.Checkpoints = append(f.Checkpoints, c)
		}
		if len(f.Checkpoints) == MaxCheckpoints/2 {
			every *= 2
			half := f.Checkpoints[:0]
			for n, c := range f.Checkpoints {
				if n%2 == 1 {
					half = append(half, c)
				}
			}
			f.Checkpoints = half
		}
		return nil
	})
	if n := len(f.Checkpoints); last.Seq > 0 && (n == 0 || f.Checkpoints[n-1].Seq != last.Seq) {
		f.Checkpoints = append(f.Checkpoints, last)
	}
	return f, err
}

// AuditVerifier returns the key that verifies the instance's checkpoints, to be kept
// elsewhere; "" before the first one.
func (i *Issuer) AuditVerifier(ctx context.Context, caller Caller) (string, error) {
	return read(ctx, i, caller, auditUse("read", "checkpoint"), func(ctx context.Context, d *desk) (string, error) {
		d.some()
		key, err := d.GetAuditKey(ctx)
		if errors.Is(err, store.ErrNotFound) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		text, _, err := noteVerifier(key.ID)
		return text, err
	})
}
