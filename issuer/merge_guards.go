package issuer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// mostPosted is how many exports, imports, mappings or signing keys a JWT from elsewhere
// may bring, unless the account has more already: checking them against each other takes
// the square of the number, while the account is locked.
const mostPosted = 500

// checkNumbers refuses JWTs that would take too long to check.
func (m *merging) checkNumbers() error {
	c := m.posted
	had := jwt.AccountClaims{}
	if m.before != nil {
		had = *m.before
	}
	var problems claims.Problems
	for _, x := range []struct {
		pointer  string
		now, had int
	}{
		{"/exports", len(c.Exports), len(had.Exports)},
		{"/imports", len(c.Imports), len(had.Imports)},
		{"/mappings", len(c.Mappings), len(had.Mappings)},
		{"/signing_keys", len(c.SigningKeys), len(had.SigningKeys)},
	} {
		if most := max(mostPosted, x.had); x.now > most {
			problems = append(problems, claims.Problem{Pointer: x.pointer, Code: "too_many", Detail: fmt.Sprintf("A JWT from elsewhere may hold %d of these at most.", most), Blocking: true})
		}
	}
	return refusal(problems)
}

// check builds the claims and holds the guardrails against what is new in them.
func (m *merging) check(ctx context.Context) (claims.Checked, error) {
	checked, problems := claims.BuildAccount(m.parts)
	if problems.Blocking() {
		return checked, invalid(problems)
	}
	if err := m.guardRevoked(ctx); err != nil || m.replay {
		return checked, err
	}
	before := m.account
	if m.fresh {
		before = Account{}
	}
	if err := m.guardAccount(ctx, m.operator, before, m.after); err != nil {
		return checked, err
	}
	if err := m.guardAuthorization(ctx); err != nil {
		return checked, err
	}
	if err := m.guardParts(ctx); err != nil {
		return checked, err
	}
	return checked, m.checkImports(ctx)
}

// guardAuthorization is guardSettings for a holder, who may have issued to the callout's
// users elsewhere, and can take the callout back as it came.
func (m *merging) guardAuthorization(ctx context.Context) error {
	err := m.guardSettings(ctx, m.account, m.after)
	if e, ok := errors.AsType[*Error](err); ok && e.Guard == GuardCalloutUnanswered && m.by != SignedByOperator {
		m.note("Nothing was issued in Chancery to a user of the auth callout. Unless its service has credentials, nobody else is admitted.")
		return nil
	}
	return err
}

// guardRevoked refuses new revocations that nobody of the auth callout would survive: a
// copy without them would not lift them again.
func (m *merging) guardRevoked(ctx context.Context) error {
	auth := m.after.Settings.Authorization.AuthUsers
	if len(auth) == 0 || len(m.revoked) == 0 || m.source == MergeFound {
		return nil // what servers hold is in force already
	}
	r := revoking{accountID: m.account.ID}
	for subject, before := range m.revoked {
		r.rows = append(r.rows, Revocation{Subject: subject, Before: before})
	}
	err := guardCallout(ctx, m.work, m.account, auth, r)
	if e, ok := errors.AsType[*Error](err); ok {
		e.Hint += " Whoever runs the operator may revoke it all the same in Chancery."
	}
	return err
}

// guardParts holds the guardrails against new keys, roles, exports and imports.
func (m *merging) guardParts(ctx context.Context) error {
	was := m.was
	levels := levelsOf(m.operator, m.account)
	var problems claims.Problems
	for n, e := range m.parts.Settings.Exports {
		if !slices.ContainsFunc(was.Settings.Exports, func(x *jwt.Export) bool { return x.Subject == e.Subject }) {
			problems = append(problems, levels.CheckExport(claims.Point("/exports", n, "subject"), string(e.Subject))...)
		}
	}
	roles := map[string]*claims.Template{}
	scoped := func(keys []claims.SigningKey) (n int64) {
		for _, k := range keys {
			if k.Template != nil {
				n++
			}
		}
		return n
	}
	for _, k := range was.Keys {
		roles[k.ID] = k.Template
	}
	for _, k := range m.parts.Keys {
		if t := roles[k.ID]; k.Template != nil && (t == nil || !sameRole(*t, *k.Template)) {
			problems = append(problems, levels.CheckPermissions(k.Template.Permissions, m.after.Settings.DefaultPermissions).At("/signing_keys")...)
		}
	}
	if problems.Blocking() {
		return invalid(problems)
	}
	for _, x := range []struct {
		quota claims.Quota
		more  int64
	}{
		{claims.QuotaExports, int64(len(m.parts.Settings.Exports) - len(was.Settings.Exports))},
		{claims.QuotaImports, int64(len(m.parts.Settings.Imports) - len(was.Settings.Imports))},
		{claims.QuotaSigningKeys, int64(len(m.parts.Keys) - len(was.Keys))},
		{claims.QuotaTemplates, scoped(m.parts.Keys) - scoped(was.Keys)},
	} {
		if x.more <= 0 {
			continue
		}
		if err := m.guardCount(ctx, m.account, x.quota, x.more); err != nil {
			return err
		}
	}
	return nil
}

// checkImports refuses new imports for which a nats-server would refuse the account.
func (m *merging) checkImports(ctx context.Context) error {
	var exporters []string
	for _, x := range m.parts.Settings.Imports {
		exporters = append(exporters, x.Account)
	}
	if len(exporters) == 0 {
		return nil
	}
	known, err := m.AccountsByID(ctx, exporters)
	if err != nil {
		return err
	}
	decoded := map[string]*jwt.AccountClaims{}
	for id, a := range known {
		if a.OperatorID != m.account.OperatorID || a.JWT == "" {
			continue
		}
		if decoded[id], err = jwt.DecodeAccountClaims(a.JWT); err != nil {
			return err
		}
	}
	importer := &jwt.AccountClaims{Account: jwt.Account{Imports: m.parts.Settings.Imports}}
	importer.Subject = m.account.ID
	var problems claims.Problems
	for _, p := range claims.CheckSharing(importer, func(id string) *jwt.AccountClaims { return decoded[id] }, m.Now()) {
		if p.Blocking && p.Server {
			problems = append(problems, p)
		}
	}
	return refusal(problems)
}
