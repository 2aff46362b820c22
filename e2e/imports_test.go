package e2e

import (
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// A store of nsc is uploaded, reviewed and adopted as a person does; the page that says
// how far it is loads itself again, without scripts.
func TestImportFromNSC(t *testing.T) {
	b := openTab(t, chromium(t))
	d := startDev(t)
	b.open(d.SignInURL)
	b.press("form button")
	b.press(`nav a[href="/operators"]`)
	b.examine("operators-import")
	b.press(`a[href="/import-jobs/new"]`)
	b.says("Import from nsc", "How to pack it")
	b.examine("import-new")
	b.press("form.form button")
	b.says("Choose the archive first.")
	b.forgive("422")
	b.examine("import-no-file")
	archive, err := filepath.Abs("../claims/nsc/testdata/nsc-acme.tgz")
	must(t, err)
	b.do(chromedp.SetUploadFiles(chromedp.CSS("#f-archive"), []string{archive}))
	b.press("form.form button")
	b.says("Import of acme", "To be decided", "ORDERS", "BILLING", "accounts are taken in", "Found")
	b.examine("import-review")
	b.press(`a[href$="/observe"]`)
	b.examine("import-observe")
	b.press(`a.cancel`)
	b.press(`a[href$="/adopt"]`)
	b.says("Type the name")
	b.fill("#f-typed", "nobody")
	b.press("form.form button")
	b.says("This is not the name.")
	b.forgive("422")
	b.examine("import-adopt")
	b.fill("#f-typed", "acme")
	b.fill("#f-reason", "The laptop is given back.")
	b.scripts(false)
	b.press("form.form button")
	b.awaits("section.finished")
	b.scripts(true)
	b.open(origin(d.SignInURL) + "/import-jobs")
	b.says("Done", "acme")
	b.examine("imports")
	b.press("tbody a")
	b.says("Next for acme", "resolver: URL(")
	b.examine("import-done")
	b.open(origin(d.SignInURL) + "/operators/acme")
	b.says("acme")
	b.examine("operator-adopted")
}
