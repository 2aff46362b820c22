package store_test

import (
	"context"
	"testing"
	"time"

	"chancery/store"
)

// What carries an import waits until its exporter was tried, a moment at most; a revocation never waits.
func TestExporterFirst(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		stories := map[string]func(t *testing.T, operator, exporter, importer string){
			"the exporter was tried": func(t *testing.T, operator, exporter, importer string) {
				d.after(t, importer, exporter)
				d.wants(t, operator, importer)
			},
			"in one change": func(t *testing.T, operator, exporter, importer string) {
				d.signed(t, exporter, 100)
				d.after(t, importer, exporter)
				first := d.wants(t, operator, exporter)
				d.claimNone(t, operator)
				d.postpone(t, first, time.Minute) // it failed, or is to be read back
				d.wants(t, operator, importer)
			},
			"the exporter is everywhere": func(t *testing.T, operator, exporter, importer string) {
				d.signed(t, exporter, 100)
				d.after(t, importer, exporter)
				d.settle(t, d.wants(t, operator, exporter))
				d.wants(t, operator, importer)
			},
			"not for long": func(t *testing.T, operator, exporter, importer string) {
				d.signed(t, exporter, 100)
				d.after(t, importer, exporter)
				d.wants(t, operator, exporter)
				d.advance(2*time.Second + time.Millisecond)
				d.wants(t, operator, importer)
			},
			"a revocation follows": func(t *testing.T, operator, exporter, importer string) {
				d.signed(t, exporter, 100)
				d.wants(t, operator, exporter)
				d.after(t, importer, exporter)
				d.signed(t, importer, 300)
				d.wants(t, operator, importer)
			},
			"a revocation comes before": func(t *testing.T, operator, exporter, importer string) {
				d.signed(t, exporter, 100)
				d.wants(t, operator, exporter)
				d.signed(t, importer, 100)
				d.after(t, importer, exporter)
				d.wants(t, operator, importer)
			},
			"a circle": func(t *testing.T, operator, exporter, importer string) {
				d.after(t, importer, exporter)
				d.after(t, exporter, importer)
				d.claimNone(t, operator)
				d.advance(2*time.Second + time.Millisecond)
				if got := d.claim(t, operator, "me"); len(got) != 2 {
					t.Errorf("claimed %+v, want both", got)
				}
			},
		}
		for name, story := range stories {
			t.Run(name, func(t *testing.T) {
				operator, exporter := d.tenant(t, name)
				importer := exporter + "-importer"
				d.write(t, func(ctx context.Context, tx *store.Tx) error {
					return tx.CreateAccount(ctx, anAccount(operator, importer, "IMPORTER"))
				})
				story(t, operator, exporter, importer)
			})
		}
	})
}

// after signs the account as one that is to be pushed after the exporter.
func (d *db) after(t testing.TB, account, exporter string) {
	t.Helper()
	d.write(t, func(ctx context.Context, tx *store.Tx) error {
		a, _, err := tx.LockAccount(ctx, account)
		if err != nil {
			return err
		}
		return tx.PutJWT(ctx, store.JWT{
			Subject: a.ID, Kind: "account", OperatorID: a.OperatorID, Version: a.JWTVersion, IssuedAt: a.IssuedAt + 1, JTI: account + exporter, Signer: "O-s", Token: "t", After: exporter,
		})
	})
}

// wants one row, of the account, and no other.
func (d *db) wants(t testing.TB, operator, account string) store.Owed {
	t.Helper()
	got := d.claim(t, operator, "me")
	if len(got) != 1 || got[0].AccountID != account {
		t.Fatalf("claimed %+v, want %s", got, account)
	}
	return got[0]
}
