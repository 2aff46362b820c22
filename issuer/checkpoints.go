package issuer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nkeys"
	sumdb "golang.org/x/mod/sumdb/note"

	"chancery/claims"
	"chancery/store"
)

// CheckpointLog is where signed checkpoints of the audit log are kept, outside the
// database. It is used by one goroutine at a time for each method.
type CheckpointLog interface {
	// Append adds a line, which ends in a line feed, and returns when it is on disk.
	Append(line []byte) error
	// Lines calls each for every line, without its line feed, the oldest first. The last
	// one may be torn. What does not exist has no lines.
	Lines(each func(line []byte) error) error
}

// SignedCheckpoint says that an entry of the audit log had a hash at a time, and is
// signed by the key of this instance.
type SignedCheckpoint struct {
	store.Checkpoint
	// Note is the signed text, as golang.org/x/mod/sumdb/note reads it.
	Note string
	// Verifier is the key that verifies it, in the form of that package.
	Verifier string
}

// The limits of what may be in the log and under no checkpoint: a minute, or a
// thousand entries.
const (
	checkpointEvery   = time.Minute
	checkpointEntries = 1000
	// checkpointPoll is how often it is looked whether one is due.
	checkpointPoll = time.Second
)

// originPrefix is how the origin of a checkpoint begins: the instance follows.
const originPrefix = "chancery/audit/"

// Reasons why a line of a checkpoint log is no checkpoint.
var (
	// ErrTornCheckpoint: the line was not written to its end.
	ErrTornCheckpoint = errors.New("the line is torn")
	// ErrForeignCheckpoint: this key did not sign it.
	ErrForeignCheckpoint = errors.New("the checkpoint is not signed by this key")
)

// noteVerifier returns the verifier of the instance's key, in both forms.
func noteVerifier(public string) (text string, v sumdb.Verifier, err error) {
	raw, err := nkeys.Decode(claims.KindAudit.Prefix(), []byte(public))
	if err != nil {
		return "", nil, fmt.Errorf("reading the key of checkpoints: %w", err)
	}
	// The key is the one of the instance as long as its database lives, and names it.
	const named = 12
	if text, err = sumdb.NewEd25519VerifierKey(originPrefix+strings.ToLower(public[2:2+named]), ed25519.PublicKey(raw)); err != nil {
		return "", nil, fmt.Errorf("naming the key of checkpoints: %w", err)
	}
	v, err = sumdb.NewVerifier(text)
	return text, v, err
}

// noteSigner signs notes with a key that custody holds.
type noteSigner struct {
	sumdb.Verifier
	sign func(message []byte) ([]byte, error)
}

// Sign implements sumdb.Signer.
func (s noteSigner) Sign(message []byte) ([]byte, error) { return s.sign(message) }

// checkpointLine is one line of a checkpoint log: JSON, so that a line that was torn
// shows, and what is signed stays as it is.
type checkpointLine struct {
	Note string `json:"note"`
}

// ParseCheckpoint reads a line of a checkpoint log, which the key verifier has to have
// signed. Errors are ErrTornCheckpoint and ErrForeignCheckpoint.
func ParseCheckpoint(line []byte, verifier string) (store.Checkpoint, error) {
	var c store.Checkpoint
	v, err := sumdb.NewVerifier(verifier)
	if err != nil {
		return c, fmt.Errorf("reading the verifier key: %w", err)
	}
	var l checkpointLine
	if err := json.Unmarshal(line, &l); err != nil || l.Note == "" {
		return c, ErrTornCheckpoint
	}
	n, err := sumdb.Open([]byte(l.Note), sumdb.VerifierList(v))
	if err != nil {
		return c, ErrForeignCheckpoint
	}
	lines := strings.Split(strings.TrimSuffix(n.Text, "\n"), "\n")
	if len(lines) != 4 || lines[0] != v.Name() {
		return c, ErrForeignCheckpoint
	}
	var errs [3]error
	c.Seq, errs[0] = strconv.ParseInt(lines[1], 10, 64)
	c.Hash, errs[1] = base64.StdEncoding.DecodeString(lines[2])
	c.At, errs[2] = time.Parse(time.RFC3339, lines[3])
	if errors.Join(errs[:]...) != nil {
		return c, ErrForeignCheckpoint
	}
	return c, nil
}

// CheckVerifier tells what is wrong with a key that is to verify checkpoints.
func CheckVerifier(verifier string) error {
	_, err := sumdb.NewVerifier(verifier)
	return err
}

// Checkpoint returns a checkpoint of the audit log as it ends now, signed for whoever
// asks. There is none before the instance has a key, which it gets when it is to write
// checkpoints to a file.
func (i *Issuer) Checkpoint(ctx context.Context, caller Caller) (SignedCheckpoint, error) {
	return read(ctx, i, caller, auditUse("read", "checkpoint"), func(ctx context.Context, d *desk) (SignedCheckpoint, error) {
		d.some()
		key, err := d.GetAuditKey(ctx)
		if errors.Is(err, store.ErrNotFound) {
			return SignedCheckpoint{}, &Error{
				Kind: KindNotFound, Code: "no_checkpoints", Message: "This instance signs no checkpoints of its audit log.",
				Hint: "Start it with --audit-checkpoints and a file that is kept outside the database.",
			}
		}
		if err != nil {
			return SignedCheckpoint{}, err
		}
		return i.signCheckpoint(ctx, &work{desk: *d}, key)
	})
}

// signCheckpoint signs where the log ends.
func (i *Issuer) signCheckpoint(ctx context.Context, w *work, key store.Key) (SignedCheckpoint, error) {
	var out SignedCheckpoint
	head, err := w.AuditHead(ctx)
	if err != nil {
		return out, err
	}
	signer, err := i.signerFor(ctx, w, key)
	if err != nil {
		return out, err
	}
	return noteOf(store.Checkpoint{Seq: head.Seq, Hash: head.Hash, At: w.Now().Truncate(time.Second)}, key.ID, func(message []byte) ([]byte, error) {
		return signer.Sign(ctx, key.ID, message)
	})
}

func noteOf(c store.Checkpoint, public string, sign func(message []byte) ([]byte, error)) (SignedCheckpoint, error) {
	out := SignedCheckpoint{Checkpoint: c}
	text, v, err := noteVerifier(public)
	if err != nil {
		return out, err
	}
	out.Verifier = text
	signed, err := sumdb.Sign(&sumdb.Note{
		Text: fmt.Sprintf("%s\n%d\n%s\n%s\n", v.Name(), c.Seq, base64.StdEncoding.EncodeToString(c.Hash), c.At.UTC().Format(time.RFC3339)),
	}, noteSigner{v, sign})
	out.Note = string(signed)
	return out, err
}

// auditKey returns the key that signs checkpoints, making one in a database that has
// none.
func (i *Issuer) auditKey(ctx context.Context) (store.Key, error) {
	var key store.Key
	err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		key, err = t.GetAuditKey(ctx)
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		return key, err
	}
	op := Op{Caller: System("audit"), Reason: "the first checkpoint of the audit log"}
	out, err := change(ctx, i, op, use{permission: WriteKeysets, action: "create", kind: "key", target: "audit"}, func(ctx context.Context, w *work) (planned[store.Key], error) {
		var none planned[store.Key]
		if err := w.LockAudit(ctx); err != nil {
			return none, err
		}
		if known, err := w.GetAuditKey(ctx); !errors.Is(err, store.ErrNotFound) {
			return planned[store.Key]{preview: known, target: known.ID, apply: func(context.Context) (store.Key, error) { return known, nil }}, err
		}
		made, err := i.newKey(ctx, w, store.Key{Kind: string(claims.KindAudit), Role: "checkpoint", State: KeyCurrent, Custody: CustodySealed})
		return planned[store.Key]{preview: made, target: made.ID, apply: func(ctx context.Context) (store.Key, error) {
			return made, w.CreateKey(ctx, made)
		}}, err
	})
	return out.Value, err
}

// AnchorState is how far the checkpoints of this process are.
type AnchorState struct {
	// Seq is the number of the entry that the last one is of, At when it was written; 0
	// and zero before the first.
	Seq int64
	At  time.Time
	// Behind is how many entries there are since.
	Behind int64
	// Error is why the last attempt failed, or "".
	Error string
}

// AnchorState returns how far the checkpoints of this process are.
func (i *Issuer) AnchorState() AnchorState {
	if s := i.anchored.Load(); s != nil {
		return *s
	}
	return AnchorState{}
}

// Anchor appends signed checkpoints of the audit log to the configured log: each
// minute or thousand entries, as long as there is something new, until ctx ends, and
// once more then. That the log takes none, or the issuer is sealed, is warned of and
// holds nothing up; the next one that succeeds covers all before. Without a log it
// returns at once.
func (i *Issuer) Anchor(ctx context.Context) {
	if i.checkpoints == nil {
		return
	}
	tick := time.NewTicker(checkpointPoll)
	defer tick.Stop()
	for {
		i.anchor(ctx, false)
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			i.anchor(last, true)
			return
		case <-tick.C:
		}
	}
}

// anchor appends a checkpoint if one is due, or if there is something new and it is
// the last occasion.
func (i *Issuer) anchor(ctx context.Context, last bool) {
	s := i.AnchorState()
	err := i.anchorDue(ctx, &s, last)
	if ctx.Err() != nil {
		return
	}
	failed := ""
	if err != nil {
		failed = claims.Redact(err.Error())
	}
	switch {
	case failed != "" && s.Error == "":
		i.log.WarnContext(ctx, "no checkpoint of the audit log can be written; changes go on, and it is retried", slog.Any("error", err))
	case failed == "" && s.Error != "":
		i.log.InfoContext(ctx, "checkpoints of the audit log are written again")
	}
	s.Error = failed
	i.anchored.Store(&s)
}

func (i *Issuer) anchorDue(ctx context.Context, s *AnchorState, last bool) error {
	var head store.ChainHead
	err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		head, err = t.AuditHead(ctx)
		return err
	})
	if err != nil {
		return err
	}
	s.Behind = head.Seq - s.Seq
	now := i.now()
	due := last || s.At.IsZero() || s.Error != "" || s.Behind >= checkpointEntries || now.Sub(s.At) >= checkpointEvery
	if s.Behind <= 0 || !due {
		return nil
	}
	if _, err := i.sealer(); err != nil {
		return err
	}
	key, err := i.auditKey(ctx)
	if err != nil {
		return err
	}
	var c SignedCheckpoint
	err = i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		c, err = i.signCheckpoint(ctx, &work{desk: desk{Tx: t}}, key)
		return err
	})
	if err != nil {
		return err
	}
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	if err := e.Encode(checkpointLine{c.Note}); err != nil {
		return fmt.Errorf("writing a checkpoint: %w", err)
	}
	if err := i.checkpoints.Append(line.Bytes()); err != nil {
		return fmt.Errorf("writing a checkpoint: %w", err)
	}
	s.Seq, s.At, s.Behind = c.Seq, now, head.Seq-c.Seq
	return nil
}
