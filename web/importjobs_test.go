package web_test

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"chancery/web"
)

// upload sends the form with a file, as a browser does.
func (b *browser) upload(file string, archive []byte, fields ...string) page {
	t := b.h.t
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for i := 0; i+1 < len(fields); i += 2 {
		must(t, w.WriteField(fields[i], fields[i+1]))
	}
	part, err := w.CreateFormFile("archive", file)
	must(t, err)
	_, err = part.Write(archive)
	must(t, err)
	must(t, w.Close())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.h.front.URL+"/import-jobs/new", &body)
	must(t, err)
	for k, v := range b.header {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", w.FormDataContentType())
	res, err := b.client.Do(req)
	must(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(t, err)
	return page{t: t, url: "/import-jobs/new", status: res.StatusCode, header: res.Header, body: string(text)}
}

func storeOf(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "claims", "nsc", "testdata", name))
	must(t, err)
	return raw
}

var jobPath = regexp.MustCompile(`^/import-jobs/job_[a-z0-9]+$`)

// A store is uploaded, looked at, taken in after its name was typed, and the page that
// says how far it is loads itself again until it is done.
func TestImport(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		b.get("/import-jobs").want(200).has("Nothing was imported yet", "chancery import nsc --dry-run")
		b.get("/operators").want(200).has(`href="/import-jobs/new"`)
		b.get("/import-jobs/new").want(200).has(`enctype="multipart/form-data"`, `type="file"`)
		p := b.upload("nsc.tgz", storeOf(t, "nsc-vault-strict.tgz"), "reason", "we move").want(303)
		at := p.header.Get("Location")
		if !jobPath.MatchString(at) {
			t.Fatalf("it leads to %q", at)
		}
		p = b.get(at).want(200).has("Import of vault", "To be decided", "Observe", "Adopt", "Missing", "Found", "ALPHA", "BETA", "SYS", "accounts are taken in", "we move")
		p.hasNot(`http-equiv="refresh"`)
		b.get("/import-jobs").want(200).has("vault", "To be decided", "not yet")

		b.get(at+"/observe").want(200).has("Observe vault", "Nothing can be changed here")
		p = b.get(at+"/adopt").want(200).has("Adopt vault", "Type the name")
		b.submit(p, "typed", "vaul").want(422).has("This is not the name.")
		moved := formOf(p, "typed", "vault")
		moved.Set("plan", "sha256:other")
		b.post(at+"/adopt", moved).want(412).has("Something changed meanwhile")
		b.submit(p, "typed", "vault", "reason", "now").want(303)

		b.get(at).want(200).has("Running", "<progress", `http-equiv="refresh" content="2"`, "Look now")
		for range 20 {
			must(t, h.issuer.Upkeep(t.Context()))
		}
		b.get(at).want(200).has("Everything is taken in", "7 of 7", `resolver: URL("http://chancery.test/o/O`).hasNot(`http-equiv="refresh"`)
		b.get("/import-jobs").want(200).has("Done", "adopt", "7 of 7")
		b.get("/operators").want(200).has("vault")
		b.post(at+"/adopt", url.Values{"typed": {"vault"}}).want(409)
		b.post(at+"/drop", url.Values{}).want(303)
		b.get(at).want(404)
	})
}

// What is wrong with an upload is said beside the field, and nothing of it is kept.
func TestImportRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	b := h.signedIn()
	b.upload("x", nil).want(422).has("Choose the archive first.")
	b.upload("x.txt", []byte("nonsense")).want(422).has("This is none of the archives that are understood")
	b.upload("x.tgz", storeOf(t, "nsc-vault-strict.tgz")[:2000]).want(422).has("ends too early")
	b.upload("x.tgz", bytes.Repeat([]byte("x"), 64<<20+1)).want(413).has("more than 64 MiB")
	b.post("/import-jobs/new", url.Values{"reason": {"no file"}}).want(400)
	auditor := h.auditor()
	auditor.upload("x.tgz", storeOf(t, "nsc-vault-strict.tgz")).want(403)
	auditor.get("/import-jobs").want(200).hasNot(`href="/import-jobs/new"`)
	p := b.upload("acme.tgz", storeOf(t, "nsc-acme.tgz")).want(303)
	p = b.get(p.header.Get("Location")).want(200).has("Left out", "Another operator here has this name.")
	p.hasNot(`/adopt"`)
	if n := strings.Count(h.log.String(), "SOAF"); n > 0 {
		t.Errorf("%d seeds in the log", n)
	}
}
