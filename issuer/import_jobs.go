package issuer

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"chancery/custody"
	"chancery/store"
)

// ImportMode is what becomes of a store of nsc.
type ImportMode string

// The modes. Observing takes no seed: everything can be read and served, and nothing
// changed. Adopting seals the seeds of operator and accounts here. What is observed can
// be adopted later.
const (
	ImportObserve ImportMode = "observe"
	ImportAdopt   ImportMode = "adopt"
)

// ImportState is how far an import is.
type ImportState string

// The states of an import.
const (
	ImportChecked ImportState = "checked"
	ImportRunning ImportState = "running"
	ImportDone    ImportState = "done"
	ImportFailed  ImportState = "failed"
)

// ImportedState is what the archive has of an operator or account, held against what
// is here.
type ImportedState string

// The states. A new one is taken in, and so is a newer one where nothing was changed
// here. What is newer here stays, and so does what was changed here and elsewhere
// (differs); of an account all revocations are taken over in any case. What is left
// out has a problem that says why.
const (
	ImportNew       ImportedState = "new"
	ImportUnchanged ImportedState = "unchanged"
	ImportNewer     ImportedState = "newer"
	ImportNewerHere ImportedState = "newer_here"
	ImportDiffers   ImportedState = "differs"
	ImportLeftOut   ImportedState = "left_out"
)

// ImportedFrom tells whose JWT of an account counts: that of the store, or the one
// that servers hold, which is newer.
type ImportedFrom string

// The places that JWTs come from.
const (
	FromStore  ImportedFrom = "store"
	FromServer ImportedFrom = "server"
)

// ImportJob is an archive of nsc's files that was uploaded, and what becomes of it.
type ImportJob struct {
	// ID is job_….
	ID     string
	State  ImportState
	Mode   ImportMode
	Report ImportReport
	// Done and Total count operators, accounts and users.
	Done, Total int64
	// Error says why it failed.
	Error                    string
	Actor, RequestID, Reason string
	// Version is the ETag.
	Version          int64
	Created, Updated time.Time
	// Expires is when the job, and the sealed archive with it, is gone.
	Expires time.Time
}

// ImportReport says what an archive holds and what taking it in does.
type ImportReport struct {
	// PlanHash names archive and rows that the report is about; RunImport wants it.
	PlanHash string `json:"plan_hash"`
	// SHA256 is that of the archive, in hexadecimal digits.
	SHA256    string             `json:"sha256"`
	Operators []ImportedOperator `json:"operators"`
	// Problems are those of the archive that belong to no operator.
	Problems []ImportProblem `json:"problems,omitempty"`
}

// ImportedOperator is an operator of an archive.
type ImportedOperator struct {
	ID string `json:"id"`
	// Name is what it is called here, Store the directory of its store.
	Name  string        `json:"name"`
	Store string        `json:"store"`
	State ImportedState `json:"state"`
	// Custody is the one it has here; empty if it is new.
	Custody string `json:"custody,omitempty"`
	// IdentitySeed tells that the identity key's seed is in the archive.
	IdentitySeed bool          `json:"identity_seed"`
	SigningKeys  []ImportedKey `json:"signing_keys,omitempty"`
	// Strict tells that servers accept what signing keys signed only. Managed tells that
	// nsc had it signed by somebody else.
	Strict        bool   `json:"strict"`
	Managed       bool   `json:"managed,omitempty"`
	SystemAccount string `json:"system_account,omitempty"`
	// SeedsFound counts the seeds of all keys, those of users and X-keys included, which
	// are not taken in.
	SeedsFound   int               `json:"seeds_found"`
	SeedsMissing int               `json:"seeds_missing"`
	Accounts     []ImportedAccount `json:"accounts"`
	// Unknown are the JSON pointers of what this version does not know and carries.
	Unknown  []string        `json:"unknown,omitempty"`
	Problems []ImportProblem `json:"problems,omitempty"`
}

// ImportedKey is a signing key of an operator.
type ImportedKey struct {
	ID   string `json:"id"`
	Seed bool   `json:"seed"`
}

// ImportedAccount is an account of an archive.
type ImportedAccount struct {
	ID       string        `json:"id"`
	Name     string        `json:"name"`
	State    ImportedState `json:"state"`
	From     ImportedFrom  `json:"from"`
	System   bool          `json:"system,omitempty"`
	IssuedAt int64         `json:"issued_at"`
	// Differences says how it differs from what is here, in sentences.
	Differences  []string `json:"differences,omitempty"`
	IdentitySeed bool     `json:"identity_seed"`
	SigningKeys  int      `json:"signing_keys"`
	SigningSeeds int      `json:"signing_seeds"`
	// Templates are the roles of the scoped signing keys.
	Templates []string `json:"templates,omitempty"`
	Users     int      `json:"users"`
	// NewCredentials is how many of their JWTs the ledger does not have.
	NewCredentials int `json:"new_credentials"`
	Expired        int `json:"expired,omitempty"`
	Revoked        int `json:"revoked,omitempty"`
	Bearer         int `json:"bearer,omitempty"`
	// Revocations is how many there will be, AddedRevocations how many of them the JWT
	// that is served does not have: adopting signs it anew.
	Revocations      int             `json:"revocations,omitempty"`
	AddedRevocations int             `json:"added_revocations,omitempty"`
	Unknown          []string        `json:"unknown,omitempty"`
	Problems         []ImportProblem `json:"problems,omitempty"`
}

// ImportProblem is what is wrong with something in an archive.
type ImportProblem struct {
	// Path is the file, empty where the place says it.
	Path string `json:"path,omitempty"`
	// Code is stable, Detail a sentence that repeats nothing of the file.
	Code   string `json:"code"`
	Detail string `json:"detail"`
	// LeftOut tells that it is not taken in.
	LeftOut bool `json:"left_out,omitempty"`
	// Count is how often it comes; 0 is once.
	Count int `json:"count,omitempty"`
}

// The bounds of jobs.
const (
	importTTL     = 24 * time.Hour
	importHistory = 30 * 24 * time.Hour
	// maxImports is how many archives are kept at once.
	maxImports = 10
)

// importing is the archive that was read last. Reading one takes seconds.
type importing struct {
	mu     sync.Mutex
	id     string
	source *source
	// owner names this process in leases.
	owner string
}

// UploadStore reads an archive of nsc's directories stores and keys (nsc.Open), checks
// all of it, and keeps it sealed for a day. It is for those who may adopt everything:
// nobody knows what is in an archive. Nothing is taken in yet: the job's report
// says what would be.
func (i *Issuer) UploadStore(ctx context.Context, op Op, archive []byte) (Outcome[ImportJob], error) {
	u := use{permission: WriteAdoption, action: "upload", kind: "import"}
	var src *source
	if op.Caller.Allows(u.permission, Scope{}) { // else change refuses it, unread
		var err error
		if src, err = readSource(archive, i.now()); err != nil {
			return Outcome[ImportJob]{}, err
		}
	}
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[ImportJob], error) {
		var none planned[ImportJob]
		if err := w.whole(Scope{}); err != nil {
			return none, err
		}
		if _, err := i.sealer(); err != nil {
			return none, err
		}
		report, err := reportOf(ctx, w.Tx, src)
		if err != nil {
			return none, err
		}
		kept, err := w.CountImportArchives(ctx)
		if err != nil {
			return none, err
		}
		if kept >= maxImports {
			return none, &Error{Kind: KindConflict, Code: "too_many_imports", Message: "There are ten uploaded archives that were not taken in yet.", Hint: "Drop one of them, or run it."}
		}
		id, err := w.NewID("job_")
		if err != nil {
			return none, err
		}
		j := ImportJob{
			ID: id, State: ImportChecked, Report: report, Total: src.total, Actor: op.Caller.ID, RequestID: op.RequestID, Reason: op.Reason,
			Version: 1, Created: w.Now(), Updated: w.Now(), Expires: w.Now().Add(importTTL),
		}
		return planned[ImportJob]{preview: j, target: id, apply: func(ctx context.Context) (ImportJob, error) {
			keys, err := i.toSeal(ctx, w)
			if err != nil {
				return j, err
			}
			row := store.ImportJob{
				ID: id, State: string(ImportChecked), SHA256: src.sum[:], Total: src.total, Actor: op.Caller.ID, ActorKind: string(op.Caller.Kind),
				RequestID: op.RequestID, Reason: op.Reason, Expires: j.Expires,
			}
			if row.Archive, err = keys.SealSecret(archive, archiveSecret(id)); err != nil {
				return j, err
			}
			if row.Report, err = toText(report); err != nil {
				return j, err
			}
			return j, w.CreateImportJob(ctx, row)
		}}, nil
	})
}

// archiveSecret names a sealed archive.
func archiveSecret(id string) string { return "import|" + id }

func toText(v any) (string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("writing a report: %w", err)
	}
	return string(raw), nil
}

// RunImportInput says how to take an archive in.
type RunImportInput struct {
	Mode ImportMode
	// PlanHash is that of the report that was agreed to.
	PlanHash string
}

// RunImport has an uploaded archive taken in. It answers at once: the upkeep works
// through it, batch after batch, and the job says how far it is. It refuses when the
// report that was agreed to does not hold any more; a dry run answers with the report
// as it is now.
func (i *Issuer) RunImport(ctx context.Context, op Op, id string, in RunImportInput) (Outcome[ImportJob], error) {
	u := use{permission: WriteAdoption, action: "run", kind: "import", target: id}
	var src *source
	var unread error
	if op.Caller.Allows(u.permission, Scope{}) {
		src, unread = i.importSource(ctx, id)
	}
	out, err := change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[ImportJob], error) {
		var none planned[ImportJob]
		if err := w.whole(Scope{}); err != nil {
			return none, err
		}
		if in.Mode != ImportObserve && in.Mode != ImportAdopt {
			return none, invalidField("/mode", "unknown", "The mode is observe or adopt.")
		}
		if unread != nil {
			return none, unread
		}
		row, err := w.LockImportJob(ctx, id)
		if err != nil {
			return none, orMissing(err, "import")
		}
		if err := w.expect(row.Version); err != nil {
			return none, err
		}
		if row.State != string(ImportChecked) {
			return none, &Error{Kind: KindConflict, Code: "import_" + row.State, Message: "This import runs or has run.", Hint: "Upload the archive again to have it checked against what is here now."}
		}
		report, err := reportOf(ctx, w.Tx, src)
		if err != nil {
			return none, err
		}
		if !op.DryRun && in.PlanHash != report.PlanHash {
			return none, &Error{
				Kind: KindStale, Code: "plan_changed", Message: "The archive would be taken in otherwise than the report says that was agreed to.",
				Hint: "Ask for a dry run, read its report, and send its plan hash.",
			}
		}
		if !report.does() {
			return none, &Error{Kind: KindConflict, Code: "nothing_to_import", Message: "No operator of the archive can be taken in.", Hint: "The report says why."}
		}
		if _, err := i.sealer(); err != nil {
			return none, err
		}
		row.State, row.Mode, row.Done, row.Total = string(ImportRunning), string(in.Mode), 0, src.total
		row.Actor, row.ActorKind, row.RequestID, row.Reason = op.Caller.ID, string(op.Caller.Kind), op.RequestID, op.Reason
		if len(report.Operators) == 1 {
			row.OperatorID = report.Operators[0].ID
		}
		if row.Report, err = toText(report); err != nil {
			return none, err
		}
		preview, err := jobOf(row)
		if err != nil {
			return none, err
		}
		return planned[ImportJob]{preview: preview, target: id, plan: report.plan(in.Mode), apply: func(ctx context.Context) (ImportJob, error) {
			if err := w.UpdateImportJob(ctx, row); err != nil {
				return preview, err
			}
			now, err := w.GetImportJob(ctx, id)
			if err != nil {
				return preview, err
			}
			return jobOf(now)
		}}, nil
	})
	if err != nil || op.DryRun { // else the upkeep goes on with what was read
		i.imports.forget(id)
	}
	return out, err
}

// DropImportJob deletes a job and its archive. What it has taken in stays; one that
// runs stops.
func (i *Issuer) DropImportJob(ctx context.Context, op Op, id string) (Outcome[ImportJob], error) {
	return change(ctx, i, op, use{permission: WriteAdoption, action: "drop", kind: "import", target: id}, func(ctx context.Context, w *work) (planned[ImportJob], error) {
		if err := w.whole(Scope{}); err != nil {
			return planned[ImportJob]{}, err
		}
		row, err := w.LockImportJob(ctx, id)
		if err != nil {
			return planned[ImportJob]{}, orMissing(err, "import")
		}
		if err := w.expect(row.Version); err != nil {
			return planned[ImportJob]{}, err
		}
		j, err := jobOf(row)
		return planned[ImportJob]{preview: j, target: id, apply: func(ctx context.Context) (ImportJob, error) {
			i.imports.forget(id)
			return j, w.DropImportJob(ctx, id)
		}}, err
	})
}

// GetImportJob returns a job with its report.
func (i *Issuer) GetImportJob(ctx context.Context, caller Caller, id string) (ImportJob, error) {
	return read(ctx, i, caller, use{permission: ReadAdoption, action: "read", kind: "import", target: id}, func(ctx context.Context, d *desk) (ImportJob, error) {
		if err := d.whole(Scope{}); err != nil {
			return ImportJob{}, err
		}
		row, err := d.GetImportJob(ctx, id)
		if err != nil {
			return ImportJob{}, orMissing(err, "import")
		}
		return jobOf(row)
	})
}

// ListImportJobs returns a page of the jobs, newest first, without the accounts of their
// reports.
func (i *Issuer) ListImportJobs(ctx context.Context, caller Caller, page LedgerPage) ([]ImportJob, error) {
	return read(ctx, i, caller, use{permission: ReadAdoption, action: "list", kind: "import"}, func(ctx context.Context, d *desk) ([]ImportJob, error) {
		rows, err := d.ListImportJobs(ctx, page.Before, page.Limit)
		if err != nil {
			return nil, err
		}
		out := make([]ImportJob, len(rows))
		for n, row := range rows {
			if out[n], err = jobOf(row); err != nil {
				return nil, err
			}
			for k := range out[n].Report.Operators {
				out[n].Report.Operators[k].Accounts = nil
			}
		}
		return out, nil
	})
}

func jobOf(row store.ImportJob) (ImportJob, error) {
	j := ImportJob{
		ID: row.ID, State: ImportState(row.State), Mode: ImportMode(row.Mode), Done: row.Done, Total: row.Total, Error: row.Error,
		Actor: row.Actor, RequestID: row.RequestID, Reason: row.Reason, Version: row.Version, Created: row.Created, Updated: row.Updated, Expires: row.Expires,
	}
	if err := json.Unmarshal([]byte(row.Report), &j.Report); err != nil {
		return j, fmt.Errorf("reading the report of an import: %w", err)
	}
	return j, nil
}

// importSource opens the archive of a job, unless it is the one that was read last.
func (i *Issuer) importSource(ctx context.Context, id string) (*source, error) {
	i.imports.mu.Lock()
	defer i.imports.mu.Unlock()
	if i.imports.id == id && i.imports.source != nil {
		return i.imports.source, nil
	}
	var archive []byte
	err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) error {
		sealed, err := t.ImportArchive(ctx, id)
		if err != nil {
			return orMissing(err, "import")
		}
		if len(sealed) == 0 {
			return &Error{Kind: KindConflict, Code: "import_over", Message: "The archive is gone: the import is over.", Hint: "Upload it again."}
		}
		keys, err := i.toOpen(ctx, &work{desk: desk{Tx: t}}, custody.DataKey(sealed))
		if err != nil {
			return err
		}
		archive, err = keys.OpenSecret(sealed, archiveSecret(id))
		return err
	})
	if err != nil {
		return nil, err
	}
	defer clear(archive)
	src, err := readSource(archive, i.now())
	if err != nil {
		return nil, err
	}
	i.imports.id, i.imports.source = id, src
	return src, nil
}

// forget lets go of what is in memory of a job: seeds are.
func (m *importing) forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.id == id {
		m.id, m.source = "", nil
	}
}

// lease returns the name of this process in leases.
func (m *importing) lease(random interface{ Read([]byte) (int, error) }) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.owner == "" {
		var b [12]byte
		if _, err := random.Read(b[:]); err != nil {
			return "", fmt.Errorf("reading randomness: %w", err)
		}
		m.owner = base64.RawURLEncoding.EncodeToString(b[:])
	}
	return m.owner, nil
}

// hashOf returns a hash of what was written for it.
func hashOf(parts any) (string, error) {
	raw, err := json.Marshal(parts)
	if err != nil {
		return "", fmt.Errorf("hashing a plan: %w", err)
	}
	sum := sha256.Sum256(raw)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}
