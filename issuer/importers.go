package issuer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// importPage is how many imports are read at once.
const importPage = 500

// eachImportFrom calls f with every import from the exporter by the accounts here.
func eachImportFrom(ctx context.Context, t *store.Tx, exporter string, f func(Import)) error {
	for after := ""; ; {
		list, err := t.ListImportsFrom(ctx, exporter, after, importPage)
		if err != nil {
			return err
		}
		for _, m := range list {
			f(m)
			after = m.ID
		}
		if len(list) < importPage {
			return nil
		}
	}
}

// deadImport returns what keeps an import from working while its exporter is from, nil
// for unknown: beside what a server refuses the importer for.
func deadImport(m Import, from *jwt.AccountClaims, now time.Time) claims.Problems {
	importer := &jwt.AccountClaims{Account: jwt.Account{Imports: jwt.Imports{&m.Body}}}
	importer.Subject = m.AccountID
	return claims.CheckSharing(importer, func(string) *jwt.AccountClaims { return from }, now)
}

// lost is what other accounts lose by a change of the one they import from.
type lost struct {
	imports  int64
	accounts map[string]string
}

// maxLosers is how many accounts that lose something are named.
const maxLosers = 10

// warnImporters says in the plan whose imports from the account work today and will not
// with its claims as edit makes them.
func (w *work) warnImporters(ctx context.Context, a Account, plan *Plan, edit func(*jwt.AccountClaims)) error {
	before, err := jwt.DecodeAccountClaims(a.JWT)
	if err != nil {
		return fmt.Errorf("decoding the current account JWT: %w", err)
	}
	after := *before
	after.SigningKeys = maps.Clone(before.SigningKeys)
	edit(&after)
	l := lost{accounts: map[string]string{}}
	err = eachImportFrom(ctx, w.Tx, a.ID, func(m Import) {
		if len(deadImport(m, before, w.Now())) == 0 && len(deadImport(m, &after, w.Now())) > 0 {
			l.imports++
			l.accounts[m.AccountID] = ""
		}
	})
	if err != nil || l.imports == 0 {
		return err
	}
	return w.sayLost(ctx, l, plan)
}

func (w *work) sayLost(ctx context.Context, l lost, plan *Plan) error {
	ids := slices.Sorted(maps.Keys(l.accounts))
	known, err := w.AccountsByID(ctx, ids[:min(len(ids), maxLosers)])
	if err != nil {
		return err
	}
	var names []string
	for id, a := range known {
		if !w.caller.sees(scopeOf(a)) {
			a.Name = claims.ShortKey(id)
		}
		names = append(names, a.Name)
	}
	slices.Sort(names)
	who := strings.Join(names, ", ")
	if more := len(ids) - maxLosers; more > 0 {
		who += fmt.Sprintf(" and %s more", grouped(int64(more)))
	}
	n := counted(l.imports, "import", "imports") + " of " + counted(int64(len(ids)), "account", "accounts")
	plan.Warnings = append(plan.Warnings, claims.Problem{Pointer: "/imports", Code: "imports_break", Detail: n + " will not work any more: of " + who + "."})
	plan.Summary = append(plan.Summary, claims.FieldChange{Field: "Importers", Pointer: "/imports", Before: n, After: "stop working (" + who + ")"})
	return nil
}

// counted is a number and its noun.
func counted(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + many
}

// countActivated returns how many activations of the export have not expired.
func countActivated(ctx context.Context, t *store.Tx, export string) (int64, error) {
	list, err := t.ListActivated(ctx, export, "")
	n := int64(0)
	for _, x := range list {
		n += x.Count
	}
	return n, err
}

// revokeIssuedFor revokes in the export what was issued for it to the importer, or to
// everybody with an empty one, and has not expired.
func revokeIssuedFor(ctx context.Context, w *work, e *Export, importer string) error {
	list, err := w.ListActivated(ctx, e.ID, importer)
	for _, x := range list {
		revokeIn(&e.Body, x.Importer, claims.RevokedBefore(w.Now(), x.Highest))
	}
	return err
}

// revokeAllFor revokes in an export that goes what was issued for it. Tokens need not be
// on record here, such as those from before an adoption: of what asks for one, all that
// were issued up to now are refused.
func revokeAllFor(ctx context.Context, w *work, e *Export) error {
	if err := revokeIssuedFor(ctx, w, e, ""); err != nil || !e.Body.TokenReq {
		return err
	}
	highest, err := w.LastActivationIAT(ctx, e.AccountID, "")
	revokeIn(&e.Body, Everybody, claims.RevokedBefore(w.Now(), highest))
	return err
}

// warnOfState says what the importers of an account lose that is suspended or deleted.
func (w *work) warnOfState(ctx context.Context, before, after Account, plan *Plan) error {
	switch {
	case before.State == after.State:
		return nil
	case after.State == accountDeleted:
		return w.warnImporters(ctx, before, plan, func(c *jwt.AccountClaims) { c.Exports = nil })
	case after.State == accountSuspended:
		n, err := w.CountImportsFrom(ctx, before.ID)
		if n > 0 {
			plan.Warnings = append(plan.Warnings, claims.Problem{Pointer: "/imports", Code: "imports_fall_silent", Detail: counted(n, "import", "imports") + " of other accounts will get nothing, and no answers, from clients of this one."})
		}
		return err
	}
	return nil
}
