package api

import (
	"context"
	"net/http"
	"time"

	"chancery/issuer"
)

// ImportJob is an archive of nsc's files that was uploaded, and what becomes of it.
type ImportJob struct {
	ID     string       `json:"id" example:"job_06gvun56fgd508m4m3ac3q86fo"`
	State  string       `json:"state" enum:"checked,running,done,failed" doc:"checked: nothing is taken in yet, the report says what would be."`
	Mode   string       `json:"mode,omitempty" enum:"observe,adopt" doc:"Absent until it runs."`
	Report ImportReport `json:"report"`
	Done   int64        `json:"done" doc:"How many operators, accounts and users are taken in."`
	Total  int64        `json:"total"`
	Error  string       `json:"error,omitempty" doc:"Why it failed."`
	// Reason is that of the one who uploaded it, and later of the one who ran it.
	Reason    string    `json:"reason,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	ExpiresAt time.Time `json:"expires_at" doc:"When the job is gone; the sealed archive goes with it, or before, when the job is over."`
	Plan      *Plan     `json:"plan,omitempty"`
}

// ImportReport says what an archive holds and what taking it in does.
type ImportReport struct {
	PlanHash  string             `json:"plan_hash" doc:"Names the archive and the objects here that the report is about; running the job takes it." example:"sha256:5c1e"`
	SHA256    string             `json:"sha256" doc:"That of the archive, in hexadecimal digits."`
	Operators []ImportedOperator `json:"operators"`
	Problems  []ImportProblem    `json:"problems,omitempty" doc:"Those that belong to no operator."`
}

// ImportedOperator is an operator of an archive.
type ImportedOperator struct {
	ID            string            `json:"id"`
	Name          string            `json:"name" doc:"What it is called here."`
	Store         string            `json:"store" doc:"The directory of its store."`
	State         string            `json:"state" enum:"new,unchanged,newer,newer_here,differs,left_out" doc:"What the archive has, held against what is here. newer_here and differs stay as they are here; left_out has a problem that says why."`
	Custody       string            `json:"custody,omitempty" doc:"Where its identity key is kept here; absent if it is new."`
	IdentitySeed  bool              `json:"identity_seed" doc:"Whether the identity key's seed is in the archive."`
	SigningKeys   []ImportedKey     `json:"signing_keys,omitempty"`
	Strict        bool              `json:"strict" doc:"Whether servers accept only what signing keys signed."`
	Managed       bool              `json:"managed,omitempty" doc:"Whether nsc had it signed by somebody else."`
	SystemAccount string            `json:"system_account,omitempty"`
	SeedsFound    int               `json:"seeds_found" doc:"Those of users and X-keys included, which are not taken in."`
	SeedsMissing  int               `json:"seeds_missing"`
	Accounts      []ImportedAccount `json:"accounts,omitempty" doc:"A list of jobs leaves them out."`
	Unknown       []string          `json:"unknown_fields,omitempty" doc:"JSON pointers of what this version does not know and carries on."`
	Problems      []ImportProblem   `json:"problems,omitempty"`
}

// ImportedKey is a signing key of an operator.
type ImportedKey struct {
	ID   string `json:"id"`
	Seed bool   `json:"seed" doc:"Whether its seed is in the archive."`
}

// ImportedAccount is an account of an archive.
type ImportedAccount struct {
	ID               string          `json:"id"`
	Name             string          `json:"name"`
	State            string          `json:"state" enum:"new,unchanged,newer,newer_here,differs,left_out"`
	From             string          `json:"from,omitempty" enum:"store,server" doc:"Whose JWT counts: that of the store, or the newer one that servers hold."`
	System           bool            `json:"system,omitempty"`
	IssuedAt         *time.Time      `json:"issued_at,omitempty"`
	Differences      []string        `json:"differences,omitempty" doc:"How it differs from what is here."`
	IdentitySeed     bool            `json:"identity_seed"`
	SigningKeys      int             `json:"signing_keys"`
	SigningSeeds     int             `json:"signing_seeds" doc:"How many of the signing keys have their seed in the archive."`
	Templates        []string        `json:"templates,omitempty" doc:"The roles of scoped signing keys."`
	Users            int             `json:"users"`
	NewCredentials   int             `json:"new_credentials" doc:"How many of the users' JWTs the ledger does not have."`
	Expired          int             `json:"expired,omitempty" doc:"Users whose JWT has expired."`
	Revoked          int             `json:"revoked,omitempty" doc:"Users whose JWT is revoked."`
	Bearer           int             `json:"bearer,omitempty" doc:"Users whose JWT admits whoever bears it."`
	Revocations      int             `json:"revocations,omitempty" doc:"How many there will be."`
	AddedRevocations int             `json:"added_revocations,omitempty" doc:"How many of them the JWT that is served does not have: adopting signs it anew."`
	Unknown          []string        `json:"unknown_fields,omitempty"`
	Problems         []ImportProblem `json:"problems,omitempty"`
}

// ImportProblem is what is wrong with something in an archive.
type ImportProblem struct {
	Path    string `json:"path,omitempty" doc:"The file, absent where the place says it."`
	Code    string `json:"code" example:"not_trusted"`
	Detail  string `json:"detail"`
	LeftOut bool   `json:"left_out,omitempty" doc:"Whether it is not taken in."`
	Count   int    `json:"count,omitempty" doc:"How often it comes, if more than once."`
}

func viewImportJob(j issuer.ImportJob) ImportJob {
	v := ImportJob{
		ID: j.ID, State: string(j.State), Mode: string(j.Mode), Done: j.Done, Total: j.Total, Error: j.Error, Reason: j.Reason,
		CreatedAt: j.Created, UpdatedAt: j.Updated, ExpiresAt: j.Expires,
		Report: ImportReport{PlanHash: j.Report.PlanHash, SHA256: j.Report.SHA256, Operators: []ImportedOperator{}, Problems: viewImportProblems(j.Report.Problems)},
	}
	for _, o := range j.Report.Operators {
		v.Report.Operators = append(v.Report.Operators, viewImportedOperator(o))
	}
	return v
}

func viewImportedOperator(o issuer.ImportedOperator) ImportedOperator {
	v := ImportedOperator{
		ID: o.ID, Name: o.Name, Store: o.Store, State: string(o.State), Custody: o.Custody, IdentitySeed: o.IdentitySeed, Strict: o.Strict, Managed: o.Managed,
		SystemAccount: o.SystemAccount, SeedsFound: o.SeedsFound, SeedsMissing: o.SeedsMissing, Unknown: o.Unknown, Problems: viewImportProblems(o.Problems),
	}
	for _, k := range o.SigningKeys {
		v.SigningKeys = append(v.SigningKeys, ImportedKey{k.ID, k.Seed})
	}
	for _, a := range o.Accounts {
		v.Accounts = append(v.Accounts, ImportedAccount{
			ID: a.ID, Name: a.Name, State: string(a.State), From: string(a.From), System: a.System, IssuedAt: unixTime(a.IssuedAt), Differences: a.Differences,
			IdentitySeed: a.IdentitySeed, SigningKeys: a.SigningKeys, SigningSeeds: a.SigningSeeds, Templates: a.Templates,
			Users: a.Users, NewCredentials: a.NewCredentials, Expired: a.Expired, Revoked: a.Revoked, Bearer: a.Bearer,
			Revocations: a.Revocations, AddedRevocations: a.AddedRevocations, Unknown: a.Unknown, Problems: viewImportProblems(a.Problems),
		})
	}
	return v
}

func viewImportProblems(list []issuer.ImportProblem) []ImportProblem {
	var out []ImportProblem
	for _, p := range list {
		out = append(out, ImportProblem{p.Path, p.Code, p.Detail, p.LeftOut, p.Count})
	}
	return out
}

// ImportReason says why.
type ImportReason struct {
	Reason string `query:"reason" maxLength:"500" doc:"Goes on record." example:"We leave the laptop of the one who ran nsc."`
}

type createImportJobInput struct {
	Change
	ImportReason
	RawBody []byte `contentType:"application/gzip" doc:"A .tgz, .tar or .zip of nsc's data directory, of its directories stores and keys, or of one operator's directory. Seeds of users and creds are not needed and not taken in."`
}

func (a *API) createImportJob(ctx context.Context, by call, in *createImportJobInput) (*created[ImportJob], error) {
	op, err := in.op(by, in.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.UploadStore(ctx, op, in.RawBody)
	if err != nil {
		return nil, err
	}
	v := viewImportJob(out.Value)
	v.Plan = in.plan(out.Plan)
	return &created[ImportJob]{Status: in.status(), ETag: etag(out.Value.Version), Location: Base + "/import-jobs/" + v.ID, Body: v}, nil
}

func (a *API) listImportJobs(ctx context.Context, by call, in *List) (*paged[ImportJob], error) {
	const name = "import-jobs"
	c, limit, err := in.position(name)
	if err != nil {
		return nil, err
	}
	rows, err := a.issuer.ListImportJobs(ctx, by.caller, issuer.LedgerPage{Before: c.ID, Limit: limit + 1})
	if err != nil {
		return nil, err
	}
	return turn(rows, limit, in.link(nil, name), viewImportJob, func(j issuer.ImportJob) cursor { return cursor{List: name, ID: j.ID} }), nil
}

// ImportJobPath names an import job.
type ImportJobPath struct {
	Job string `path:"job" maxLength:"64" doc:"The id of the job."`
}

func (a *API) getImportJob(ctx context.Context, by call, in *ImportJobPath) (*saved[ImportJob], error) {
	j, err := a.issuer.GetImportJob(ctx, by.caller, in.Job)
	if err != nil {
		return nil, err
	}
	return &saved[ImportJob]{ETag: etag(j.Version), Body: viewImportJob(j)}, nil
}

// RunImportInput says how an archive is taken in.
type RunImportInput struct {
	Mode     string `json:"mode" enum:"observe,adopt" doc:"observe reads and serves, and changes nothing; adopt takes the seeds of operator and accounts over, sealed. What is observed can be adopted later."`
	PlanHash string `json:"plan_hash" maxLength:"100" doc:"That of the report that was agreed to."`
	Reason   string `json:"reason,omitempty" maxLength:"500"`
}

type runImportJobInput struct {
	ImportJobPath
	Change
	Body RunImportInput
}

// accepted is the answer of what goes on after it.
type accepted[T any] struct {
	Status int
	ETag   string `header:"ETag"`
	Body   T
}

func (a *API) runImportJob(ctx context.Context, by call, in *runImportJobInput) (*accepted[ImportJob], error) {
	op, err := in.op(by, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.RunImport(ctx, op, in.Job, issuer.RunImportInput{Mode: issuer.ImportMode(in.Body.Mode), PlanHash: in.Body.PlanHash})
	if err != nil {
		return nil, err
	}
	v := viewImportJob(out.Value)
	v.Plan = in.plan(out.Plan)
	status := http.StatusAccepted
	if in.DryRun {
		status = http.StatusOK
	}
	return &accepted[ImportJob]{status, etag(out.Value.Version), v}, nil
}

type dropImportJobInput struct {
	ImportJobPath
	Change
	ImportReason
}

func (a *API) dropImportJob(ctx context.Context, by call, in *dropImportJobInput) (*saved[ImportJob], error) {
	op, err := in.op(by, in.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.DropImportJob(ctx, op, in.Job)
	if err != nil {
		return nil, err
	}
	v := viewImportJob(out.Value)
	v.Plan = in.plan(out.Plan)
	return &saved[ImportJob]{ETag: etag(out.Value.Version), Body: v}, nil
}
