package web

import (
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"time"

	"chancery/issuer"
)

// The bounds of an upload: the longest archive, its form beside it, how long it may
// take, and how many are read at once, since each is held in memory.
const (
	maxArchive  = 64 << 20
	maxUpload   = maxArchive + 64<<10
	uploadTime  = 3 * time.Minute
	mostUploads = 2
)

func uploadForm() *form {
	return &form{
		Action: uploadPath, Submit: "Upload and check", Cancel: importsPath, Multipart: true,
		Groups: []group{{Fields: []*field{
			{
				Name: "archive", Pointer: "/archive", Label: "Archive", Kind: kindFile, Required: true, Accept: ".tgz,.tar.gz,.gz,.tar,.zip",
				Hint: "A .tgz, .tar or .zip of nsc's data directory ~/.local/share/nats/nsc with its directories stores and keys, up to 64 MiB. Seeds are sealed as soon as they arrive.",
			},
			{Name: "reason", Pointer: "/reason", Label: "Reason", Kind: kindText, Autocomplete: "off", Hint: "Optional. Shown in the audit log."},
		}}},
	}
}

func (c *Console) newImport(_ *http.Request, v *visit) (answer, error) {
	if !v.imports() {
		return answer{}, issuer.Forbidden(issuer.WriteAdoption)
	}
	return c.uploadPage(uploadForm()), nil
}

// imports tells whether the visitor may take stores in: an archive may hold any
// operator, so the permission has to be on everything.
func (v *visit) imports() bool { return v.caller.Allows(issuer.WriteAdoption, issuer.Scope{}) }

func (c *Console) uploadPage(f *form) answer {
	return answer{
		status: f.status(), page: "import_new", title: "Import from nsc", crumbs: importCrumbs(), body: formView{
			Title: "Import from nsc", Form: f,
			Lead: "Upload a store of nsc. It is checked and shown first; nothing is taken in before you say so.",
		},
		calls: []apiCall{{"The same from the machine that has the store; it leaves the seeds of users there", "chancery import nsc --dry-run"}},
	}
}

// createImport reads the upload part by part: no part of it, which may hold seeds, is
// written to a temporary file.
func (c *Console) createImport(r *http.Request, v *visit) (answer, error) {
	if !v.imports() {
		_, err := c.issuer.UploadStore(r.Context(), v.op(""), nil) // it refuses, and puts it on record
		return answer{}, err
	}
	select {
	case c.uploads <- struct{}{}:
		defer func() { <-c.uploads }()
	default:
		return answer{}, &issuer.Error{Kind: issuer.KindBusy, Code: "busy", Message: "Other uploads are being read.", Hint: "Try again in some seconds."}
	}
	f := uploadForm()
	archive, sent, err := readUpload(r)
	if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
		f.raise(http.StatusRequestEntityTooLarge)
		f.fail("archive", "The archive has more than 64 MiB. Pack the directories of one operator only.")
		return c.uploadPage(f), nil
	}
	if err != nil {
		return errorPage(http.StatusBadRequest, "The form could not be read.", "Open the page again and send it once more."), nil
	}
	f.read(sent)
	if len(archive) == 0 {
		f.fail("archive", "Choose the archive first.")
	}
	if !f.ok() {
		return c.uploadPage(f), nil
	}
	out, err := c.issuer.UploadStore(r.Context(), v.op(f.value("reason")), archive)
	clear(archive)
	if err != nil {
		if !f.accept(err) {
			return answer{}, err
		}
		return c.uploadPage(f), nil
	}
	return seeOther(importURL(out.Value.ID)), nil
}

// readUpload returns the file and the fields of a form with a file.
func readUpload(r *http.Request) (archive []byte, sent url.Values, err error) {
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, nil, err
	}
	sent = url.Values{}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return archive, sent, nil
		}
		if err != nil {
			return nil, nil, err
		}
		if err := readPart(part, &archive, sent); err != nil {
			return nil, nil, err
		}
	}
}

func readPart(part *multipart.Part, archive *[]byte, sent url.Values) error {
	defer func() { _ = part.Close() }()
	if part.FormName() == "archive" && *archive == nil {
		raw, err := io.ReadAll(io.LimitReader(part, maxArchive+1))
		if err == nil && len(raw) > maxArchive {
			return &http.MaxBytesError{Limit: maxArchive}
		}
		*archive = raw
		return err
	}
	raw, err := io.ReadAll(io.LimitReader(part, maxField+1))
	if len(sent) < 16 {
		sent.Add(part.FormName(), string(raw))
	}
	return err
}

// importStep is one way to take an archive in.
type importStep struct {
	mode                      issuer.ImportMode
	title, lead, submit, note string
}

func importSteps() map[string]importStep {
	return map[string]importStep{
		"observe": {
			mode: issuer.ImportObserve, title: "Observe ", submit: "Observe",
			lead: "Everything can be looked at and is served to nats-servers byte for byte. Nothing can be changed here, and no seed is taken over. It can be adopted later.",
			note: "You go on with nsc as before, and import again what you changed there.",
		},
		"adopt": {
			mode: issuer.ImportAdopt, title: "Adopt ", submit: "Adopt",
			lead: "Chancery keeps the accounts from now on. The seeds of the operator and its accounts are sealed here. JWTs stay byte for byte as they are until the first change.",
			note: "Do not change these accounts with nsc any more: what is pushed from there would be overwritten. Creds that people hold go on working.",
		},
	}
}

// importRun is the page before an archive is taken in.
type importRun struct {
	formView
	Note    string
	Moved   bool
	Changes []planChange
}

func (c *Console) confirmImport(r *http.Request, v *visit) (answer, error) {
	s, j, f, err := c.importStepOf(r, v)
	if err != nil {
		return answer{}, err
	}
	return c.runPage(r, v, s, j, f)
}

func (c *Console) importStepOf(r *http.Request, v *visit) (importStep, issuer.ImportJob, *form, error) {
	s, known := importSteps()[r.PathValue("mode")]
	if !known {
		return s, issuer.ImportJob{}, nil, &issuer.Error{Kind: issuer.KindNotFound, Code: "no_such_page", Message: noSuchPage}
	}
	j, err := c.issuer.GetImportJob(r.Context(), v.caller, r.PathValue("job"))
	f := &form{Action: importURL(j.ID, string(s.mode)), Submit: s.submit + " " + importNames(j), Cancel: importURL(j.ID), Danger: s.mode == issuer.ImportAdopt}
	fields := []*field{{Name: "reason", Pointer: "/reason", Label: "Reason", Kind: kindText, Autocomplete: "off", Hint: "Optional. Shown in the audit log."}}
	if s.mode == issuer.ImportAdopt {
		fields = append([]*field{typed("operator")}, fields...)
	}
	f.Groups = []group{{Fields: fields}}
	return s, j, f, err
}

// runPage shows what would happen as things are now, which may be otherwise than when
// the archive was uploaded.
func (c *Console) runPage(r *http.Request, v *visit, s importStep, j issuer.ImportJob, f *form) (answer, error) {
	out, err := c.issuer.RunImport(r.Context(), v.dryRun(""), j.ID, issuer.RunImportInput{Mode: s.mode})
	if err != nil {
		return answer{}, err
	}
	f.Hidden = []hidden{{"plan", out.Value.Report.PlanHash}}
	view := importRun{formView: formView{Title: s.title + importNames(j), Lead: s.lead, Form: f}, Note: s.note, Moved: out.Value.Report.PlanHash != j.Report.PlanHash, Changes: describe(out.Plan.Summary)}
	return answer{
		status: f.status(), page: "import_run", title: view.Title, crumbs: importCrumbs(link{importNames(j), importURL(j.ID)}), body: view,
		calls: []apiCall{c.call("The same", http.MethodPut, "/import-jobs/"+j.ID+"/run", `{"mode":"`+string(s.mode)+`","plan_hash":"`+out.Value.Report.PlanHash+`"}`)},
	}, nil
}

func (c *Console) runImport(r *http.Request, v *visit) (answer, error) {
	s, j, f, err := c.importStepOf(r, v)
	if err != nil {
		return answer{}, err
	}
	f.read(r.PostForm)
	if s.mode == issuer.ImportAdopt && f.value("typed") != importNames(j) {
		f.fail("typed", "This is not the name.")
	}
	if !f.ok() {
		return c.runPage(r, v, s, j, f)
	}
	_, err = c.issuer.RunImport(r.Context(), v.op(f.value("reason")), j.ID, issuer.RunImportInput{Mode: s.mode, PlanHash: strings.TrimSpace(r.PostForm.Get("plan"))})
	if e := issuer.AsError(err); err != nil && e.Code == "plan_changed" {
		f.raise(http.StatusPreconditionFailed)
		f.Message, f.Hint = "Something changed meanwhile", "Look at what would happen now, and send it again."
		return c.runPage(r, v, s, j, f)
	}
	if err != nil && f.accept(err) {
		return c.runPage(r, v, s, j, f)
	}
	if err != nil {
		return answer{}, err
	}
	return seeOther(importURL(j.ID)), nil
}

func (c *Console) dropImport(r *http.Request, v *visit) (answer, error) {
	out, err := c.issuer.DropImportJob(r.Context(), v.op(""), r.PathValue("job"))
	if err != nil {
		return answer{}, err
	}
	c.notify(r, v, "The upload of "+importNames(out.Value)+" was deleted. What was taken in stays.")
	return seeOther(importsPath), nil
}
