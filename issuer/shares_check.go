package issuer

import (
	"context"
	"fmt"
	"slices"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// check holds the two sides, as they will be, against each other. The tokens are yet to
// be signed: that they are asked for is left out.
func (s *sharePlan) check(ctx context.Context, w *work) error {
	from, err := accountParts(ctx, w.Tx, s.exporter)
	if err != nil {
		return err
	}
	to, err := accountParts(ctx, w.Tx, s.importer)
	if err != nil {
		return err
	}
	s.editExporter(&from)
	s.editImporter(&to)
	open := &jwt.AccountClaims{}
	open.Subject = s.exporter.ID
	for _, e := range from.Settings.Exports {
		c := *e
		if AccessOf(e) == AccessActivation {
			c.TokenReq = false
		}
		open.Exports = append(open.Exports, &c)
	}
	importer := &jwt.AccountClaims{Account: jwt.Account{Imports: to.Settings.Imports}}
	importer.Subject = s.importer.ID
	known, err := s.others(ctx, w, to)
	if err != nil {
		return err
	}
	known[s.exporter.ID] = open
	problems := claims.CheckSharing(importer, func(id string) *jwt.AccountClaims { return known[id] }, w.Now())
	problems = append(problems, claims.CheckAccount(to)...)
	exporting := claims.CheckAccount(from)
	var found claims.Problems
	for n := range s.links {
		l := &s.links[n]
		at := slices.Index(to.Settings.Imports, &l.after.Body)
		mine := own(problems, claims.Point("/imports", at), "/imports", importFields)
		if l.made {
			mine = append(mine, own(exporting, claims.Point("/exports", slices.Index(from.Settings.Exports, &l.export.Body)), "/exports", exportFields)...)
		}
		for _, p := range mine {
			// A flow that would not work is not made; one that shares subjects with another is.
			p.Blocking = p.Blocking || (p.Code != "overlap" && p.Code != "no_effect")
			if !slices.Contains(found, p) {
				found = append(found, p)
			}
		}
	}
	if s.circular(importer, known) {
		found = append(found, claims.Problem{Code: "import_cycle", Detail: edgeText["import_cycle"].detail, Blocking: true})
	}
	if found.Blocking() {
		return invalid(found)
	}
	s.warnings = found
	return nil
}

// others returns the claims of the accounts that the importer imports from, and of those
// behind them, as far as circles are looked for.
func (s *sharePlan) others(ctx context.Context, w *work, to claims.Account) (map[string]*jwt.AccountClaims, error) {
	g := graph{accounts: map[string]Account{}, claims: map[string]*jwt.AccountClaims{}}
	ids := []string{s.exporter.ID, s.importer.ID}
	for _, m := range to.Settings.Imports {
		ids = append(ids, m.Account)
	}
	if err := g.load(ctx, w.Tx, ids); err != nil {
		return nil, err
	}
	_, err := g.circles(ctx, w.Tx, ids)
	return g.claims, err
}

// circular tells whether an import that is made or renewed leads back to the importer.
func (s *sharePlan) circular(importer *jwt.AccountClaims, known map[string]*jwt.AccountClaims) bool {
	all := []*jwt.AccountClaims{importer}
	for id, c := range known {
		if c != nil && id != importer.Subject {
			if id == s.exporter.ID { // its imports, too
				if own, err := jwt.DecodeAccountClaims(s.exporter.JWT); err == nil {
					c.Imports = own.Imports
				}
			}
			all = append(all, c)
		}
	}
	for _, p := range claims.CheckCycles(all) {
		for n := range s.links {
			if p.Pointer == claims.Point("", 0, "imports", slices.Index(importer.Imports, &s.links[n].after.Body)) {
				return true
			}
		}
	}
	return false
}

// proof holds the two signed JWTs against each other: what was planned is what is
// committed, or nothing is.
func (s *sharePlan) proof(w *work, from, to Account) error {
	exporter, err := jwt.DecodeAccountClaims(from.JWT)
	if err != nil {
		return fmt.Errorf("reading the exporter's new JWT: %w", err)
	}
	importer, err := jwt.DecodeAccountClaims(to.JWT)
	if err != nil {
		return fmt.Errorf("reading the importer's new JWT: %w", err)
	}
	all := claims.CheckSharing(importer, func(id string) *jwt.AccountClaims {
		if id == exporter.Subject {
			return exporter
		}
		return nil
	}, w.Now())
	for n := range s.links {
		at := slices.IndexFunc(importer.Imports, func(m *jwt.Import) bool { return *m == s.links[n].after.Body })
		for _, p := range own(all, claims.Point("/imports", at), "/imports", importFields) {
			if at < 0 || p.Code != "overlap" {
				return fmt.Errorf("the signed JWTs of %s and %s do not fit each other: %s", from.ID, to.ID, p.Code)
			}
		}
	}
	return nil
}
