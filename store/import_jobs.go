package store

import (
	"context"
	"time"
)

// ImportJob is a store of nsc that was uploaded to be adopted.
type ImportJob struct {
	// ID is job_….
	ID string
	// State is checked, running, done or failed.
	State string
	// Mode is observe or adopt; empty until it runs.
	Mode string
	// OperatorID is the operator that the store is of, empty where there are several.
	OperatorID string
	// Archive is the sealed archive, nil once the job is finished; SHA256 is that of the
	// archive in clear.
	Archive, SHA256 []byte
	// Report is JSON.
	Report string
	// Done and Total count accounts and users.
	Done, Total int64
	// Error says why it failed.
	Error                               string
	Actor, ActorKind, RequestID, Reason string
	// LeaseOwner works on it until LeaseUntil.
	LeaseOwner string
	LeaseUntil time.Time
	// Version counts intent and is the ETag.
	Version                   int64
	Created, Updated, Expires time.Time
}

const (
	importJobHead    = `id, state, mode, operator_id, sha256, report, done, total, error, actor, actor_kind, request_id, reason, lease_owner, lease_until_us, version, created_us, updated_us, expires_us`
	importJobColumns = importJobHead + `, archive`
)

func scanImportJob(r row) (ImportJob, error) {
	var j ImportJob
	var lease, created, updated, expires int64
	err := r.Scan(&j.ID, &j.State, &j.Mode, &j.OperatorID, &j.SHA256, &j.Report, &j.Done, &j.Total, &j.Error, &j.Actor, &j.ActorKind, &j.RequestID, &j.Reason,
		&j.LeaseOwner, &lease, &j.Version, &created, &updated, &expires, &j.Archive)
	j.LeaseUntil, j.Created, j.Updated, j.Expires = fromMicros(lease), fromMicros(created), fromMicros(updated), fromMicros(expires)
	return j, err
}

// CreateImportJob inserts j.
func (t *Tx) CreateImportJob(ctx context.Context, j ImportJob) error {
	_, err := t.exec(ctx, `INSERT INTO import_jobs (id, state, mode, operator_id, archive, sha256, report, total, actor, actor_kind, request_id, reason, created_us, updated_us, expires_us)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $14)`,
		j.ID, j.State, j.Mode, j.OperatorID, j.Archive, j.SHA256, j.Report, j.Total, j.Actor, j.ActorKind, j.RequestID, j.Reason, micros(t.now), micros(j.Expires))
	return err
}

// LockImportJob locks the row until the transaction ends and returns it, with its
// archive.
func (t *Tx) LockImportJob(ctx context.Context, id string) (ImportJob, error) {
	return one(ctx, t, scanImportJob, `UPDATE import_jobs SET version = version WHERE id = $1 RETURNING `+importJobColumns, id)
}

// LeaseImportJob locks the row of a running job and takes or renews the lease of the
// owner. ErrNotFound if the job runs no more, or somebody else works on it.
func (t *Tx) LeaseImportJob(ctx context.Context, id, owner string, until time.Time) (ImportJob, error) {
	return one(ctx, t, scanImportJob, `UPDATE import_jobs SET lease_owner = $2, lease_until_us = $3
		WHERE id = $1 AND state = 'running' AND (lease_owner = $2 OR lease_until_us < $4) RETURNING `+importJobHead+`, NULL`, id, owner, micros(until), micros(t.now))
}

// ImportArchive returns the sealed archive of a job.
func (t *Tx) ImportArchive(ctx context.Context, id string) ([]byte, error) {
	return one(ctx, t, scanOne[[]byte], `SELECT archive FROM import_jobs WHERE id = $1`, id)
}

// UpdateImportJob stores what a job has come to, and counts the intent. The archive
// goes with the last of it.
func (t *Tx) UpdateImportJob(ctx context.Context, j ImportJob) error {
	return t.must(ctx, `UPDATE import_jobs SET state = $2, mode = $3, operator_id = $4, report = $5, done = $6, total = $7, error = $8, actor = $9, actor_kind = $10,
		request_id = $11, reason = $12, archive = CASE WHEN $2 IN ('done', 'failed') THEN NULL ELSE archive END, version = version + 1, updated_us = $13, expires_us = $14
		WHERE id = $1`, j.ID, j.State, j.Mode, j.OperatorID, j.Report, j.Done, j.Total, j.Error, j.Actor, j.ActorKind, j.RequestID, j.Reason, micros(t.now), micros(j.Expires))
}

// SetImportProgress stores how far a job is, and nothing else.
func (t *Tx) SetImportProgress(ctx context.Context, id string, done int64) error {
	return t.must(ctx, `UPDATE import_jobs SET done = $2, updated_us = $3 WHERE id = $1`, id, done, micros(t.now))
}

// GetImportJob returns a job without its archive.
func (t *Tx) GetImportJob(ctx context.Context, id string) (ImportJob, error) {
	return one(ctx, t, scanImportJob, `SELECT `+importJobHead+`, NULL FROM import_jobs WHERE id = $1`, id)
}

// ListImportJobs returns up to limit jobs before the one with identity beforeID, newest
// first, without archives.
func (t *Tx) ListImportJobs(ctx context.Context, beforeID string, limit int) ([]ImportJob, error) {
	return many(ctx, t, scanImportJob, `SELECT `+importJobHead+`, NULL FROM import_jobs WHERE ($1 = '' OR id < $1) ORDER BY id DESC LIMIT $2`, beforeID, limit)
}

// RunningImports returns the identities of the jobs that run, oldest first, and that
// nobody but the owner works on.
func (t *Tx) RunningImports(ctx context.Context, owner string) ([]string, error) {
	return many(ctx, t, scanOne[string], `SELECT id FROM import_jobs WHERE state = 'running' AND (lease_owner = $1 OR lease_until_us < $2) ORDER BY id LIMIT 10`, owner, micros(t.now))
}

// CountImportArchives returns how many jobs hold an archive.
func (t *Tx) CountImportArchives(ctx context.Context) (int64, error) {
	return one(ctx, t, scanOne[int64], `SELECT count(*) FROM import_jobs WHERE archive IS NOT NULL`)
}

// HasExpiredImports tells whether DropExpiredImports would do something.
func (t *Tx) HasExpiredImports(ctx context.Context) (bool, error) {
	return one(ctx, t, scanOne[bool], `SELECT EXISTS (SELECT 1 FROM import_jobs WHERE expires_us <= $1 AND state <> 'running')`, micros(t.now))
}

// DropExpiredImports deletes the jobs whose time is over, but for those that run.
func (t *Tx) DropExpiredImports(ctx context.Context) error {
	_, err := t.exec(ctx, `DELETE FROM import_jobs WHERE expires_us <= $1 AND state <> 'running'`, micros(t.now))
	return err
}

// DropImportJob deletes a job with its archive.
func (t *Tx) DropImportJob(ctx context.Context, id string) error {
	return t.must(ctx, `DELETE FROM import_jobs WHERE id = $1`, id)
}
