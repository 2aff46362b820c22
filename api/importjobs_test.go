package api_test

import (
	"strings"
	"testing"

	"chancery/api"
	"chancery/claims/nsc"
)

// An archive is taken as it is, of the kinds that the contract names, up to its bound,
// and what is wrong with it is said of the archive.
func TestUploads(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		send := func(media, body string) answer {
			return h.send(request{method: post, path: "/import-jobs", body: body, token: h.owner, header: map[string]string{"Content-Type": media}})
		}
		for _, media := range []string{"application/json", "text/plain", "multipart/form-data; boundary=x", ""} {
			a := send(media, someArchive(h.t))
			if p := a.problem(h.t); a.status != 415 || !strings.Contains(p.Hint, "application/gzip, application/octet-stream, application/zip") {
				h.t.Errorf("%q answered %d %s", media, a.status, a.body)
			}
		}
		if a := send("application/gzip", strings.Repeat("x", nsc.MaxArchive+1)); a.status != 413 || a.problem(h.t).Code != "too_large" {
			h.t.Errorf("a long one answered %d %s", a.status, a.body)
		}
		for body, code := range map[string]string{"nonsense": "unknown_format", "": "unknown_format", "PK\x05\x06" + strings.Repeat("\x00", 18): "no_store", "\x1f\x8b\x08": "truncated"} {
			a := send("application/octet-stream", body)
			p := a.problem(h.t)
			if a.status != 422 && a.status != 400 || a.status == 422 && (len(p.Errors) != 1 || p.Errors[0].Pointer != "/archive" || p.Errors[0].Code != code) {
				h.t.Errorf("%q answered %d %s, want %s", body, a.status, a.body, code)
			}
		}
		a := h.send(request{method: post, path: "/import-jobs", body: someArchive(h.t), token: h.auditor, header: archiveHeader})
		if a.status != 403 {
			h.t.Errorf("an auditor's upload answered %d", a.status)
		}
		if n := strings.Count(h.log.String(), "SOAF"); n > 0 {
			h.t.Errorf("%d seeds in the log", n)
		}
	})
}

// A job goes from its report to its end over the API; a list leaves the accounts out.
func TestImportJobs(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		id := h.importJob()
		var j api.ImportJob
		h.want(get, "/import-jobs/"+id, "", 200).into(h.t, &j)
		if j.State != "checked" || len(j.Report.Operators) != 1 || len(j.Report.Operators[0].Accounts) != 3 || j.Report.Operators[0].IdentitySeed || j.ExpiresAt.Before(j.CreatedAt) {
			h.t.Errorf("%+v", j)
		}
		var list api.Page[api.ImportJob]
		h.want(get, "/import-jobs?limit=1", "", 200).into(h.t, &list)
		if len(list.Items) != 1 || list.Items[0].ID != id || list.Items[0].Report.Operators[0].Accounts != nil {
			h.t.Errorf("%+v", list)
		}
		a := h.want(put, "/import-jobs/"+id+"/run", `{"mode":"adopt","plan_hash":"`+j.Report.PlanHash+`"}`, 202)
		a.into(h.t, &j)
		if j.State != "running" || j.Mode != "adopt" || a.header.Get("ETag") == "" {
			h.t.Errorf("%s", a.body)
		}
		if a := h.send(request{method: put, path: "/import-jobs/" + id + "/run", body: `{"mode":"adopt","plan_hash":"` + j.Report.PlanHash + `"}`, token: h.owner}); a.status != 409 {
			h.t.Errorf("run twice answered %d", a.status)
		}
		for _, secret := range []string{"archive", "seed\":\"S"} {
			if strings.Contains(string(a.body), secret) {
				h.t.Errorf("the answer holds %s", secret)
			}
		}
	})
}
