package issuer_test

import (
	"os"
	"path/filepath"
	"testing"

	"chancery/issuer"
)

// archiveOf returns one of the stores that nsc 2.14.0 made.
func archiveOf(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "claims", "nsc", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

const (
	acmeStore  = "nsc-acme.tgz"
	vaultStore = "nsc-vault-strict.tgz"
)

// takeIn uploads an archive, runs it to its end and returns the job.
func (h *house) takeIn(t testing.TB, archive []byte, mode issuer.ImportMode) issuer.ImportJob {
	t.Helper()
	j := did(h.UploadStore(t.Context(), op(), archive)).well(t)
	did(h.RunImport(t.Context(), op(), j.ID, issuer.RunImportInput{Mode: mode, PlanHash: j.Report.PlanHash})).well(t)
	return h.ran(t, j.ID)
}

// ran has the upkeep work until the import is over.
func (h *house) ran(t testing.TB, id string) issuer.ImportJob {
	t.Helper()
	for range 1000 {
		if err := h.Upkeep(t.Context()); err != nil {
			t.Fatal(err)
		}
		j, err := h.GetImportJob(t.Context(), owner, id)
		if err != nil {
			t.Fatal(err)
		}
		if j.State != issuer.ImportRunning {
			return j
		}
	}
	t.Fatal("the import does not end")
	return issuer.ImportJob{}
}

// Both stores are taken in: every JWT is served as it came, and the rows say the same.
func TestAdoptStores(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		for name, operator := range map[string]string{acmeStore: "acme", vaultStore: "vault"} {
			j := h.takeIn(t, archiveOf(t, name), issuer.ImportAdopt)
			if j.State != issuer.ImportDone || j.Done != j.Total {
				t.Errorf("%s: %s %d of %d: %s", name, j.State, j.Done, j.Total, j.Error)
			}
			for _, o := range j.Report.Operators {
				t.Logf("%s: %s %+v", name, o.State, o.Problems)
				for _, a := range o.Accounts {
					t.Logf("%+v", a)
				}
			}
			o, err := h.GetOperator(t.Context(), owner, operator)
			if err != nil || !o.Verbatim {
				t.Fatal(err, o.Verbatim)
			}
			h.holds(t, name)
			list, err := h.ListAccounts(t.Context(), owner, operator, issuer.Page{Limit: 100})
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range list {
				did(h.UpdateAccount(t.Context(), op(), a.ID, func(s *issuer.AccountEdit) { s.Description = "edited" })).well(t)
			}
			h.holds(t, name+" edited")
		}
	})
}
