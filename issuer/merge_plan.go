package issuer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// plan works out what the account will be, and what that changes.
func (m *merging) plan(ctx context.Context, live []claims.Connection) (planned[Merged], error) {
	var none planned[Merged]
	if err := m.checkUnknown(); err != nil {
		return none, err
	}
	if err := m.unite(ctx); err != nil {
		return none, err
	}
	checked, err := m.check(ctx)
	if err != nil {
		return none, err
	}
	summary, err := m.diff(checked)
	if err != nil {
		return none, err
	}
	plan := Plan{Summary: summary, Connections: unknown}
	for _, f := range summary {
		plan.Changes = append(plan.Changes, Change{Path: f.Pointer, From: shown(f.Before), To: shown(f.After), Text: f.Sentence()})
	}
	for _, n := range m.out.Notes {
		plan.Warnings = append(plan.Warnings, claims.Problem{Code: "not_taken", Detail: n})
	}
	m.out.Result = MergeTaken
	switch {
	case m.replay:
		m.out.Result = MergeReplay
	case len(summary) == 0:
		m.out.Result = MergeUnchanged
	}
	if len(summary) == 0 && (m.replay || m.posted.IssuedAt <= m.account.IssuedAt) && !m.fresh {
		return planned[Merged]{preview: m.out, target: m.account.ID, plan: plan, apply: func(ctx context.Context) (Merged, error) { return m.out, m.remember(ctx) }}, nil
	}
	if err := slowDown(m.work, m.account); err != nil {
		return none, err
	}
	if !m.fresh {
		if err := foresee(ctx, m.work, m.after, func(parts *claims.Account) { *parts = m.parts }, live, &plan); err != nil {
			return none, orNoRoom(err)
		}
	}
	preview := m.out
	preview.Account = m.after
	return planned[Merged]{preview: preview, target: m.account.ID, plan: plan, apply: m.apply}, nil
}

func shown(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// checkUnknown refuses fields that would be lost, or signed without being understood:
// some may be limits. Those that the account has already stay as they are here.
func (m *merging) checkUnknown() error {
	var known []string
	if m.account.Foreign != nil {
		known = m.account.Foreign.Fields.Pointers()
	}
	var problems claims.Problems
	for _, pointer := range m.token.Unknown {
		if !m.replay && !slices.Contains(known, pointer) {
			problems = append(problems, claims.Problem{Pointer: pointer, Code: "unknown_field", Detail: "The JWT holds a field that this version of Chancery does not know, and does not sign.", Blocking: true})
		}
	}
	return refusal(problems)
}

// unite makes m.after and m.parts what the account will be.
func (m *merging) unite(ctx context.Context) error {
	var err error
	if m.parts, err = accountParts(ctx, m.Tx, m.account); err != nil {
		return err
	}
	m.after = m.account
	theirs := claims.AccountOf(m.posted)
	if !m.replay {
		if m.after.Settings, err = copyOf(m.account.Settings); err != nil {
			return err
		}
		m.settings(theirs.Settings)
		if err := m.exports(ctx, theirs.Settings.Exports); err != nil {
			return err
		}
		if err := m.signingKeys(ctx, theirs.Keys); err != nil {
			return err
		}
	}
	return m.revocations(ctx, theirs.Revocations)
}

// settings takes over what belongs to the holder, and of a JWT of the operator's what
// belongs to that.
func (m *merging) settings(theirs jwt.Account) {
	s := &m.after.Settings
	s.Info, s.DefaultPermissions, s.Mappings, s.Authorization, s.Trace = theirs.Info, theirs.DefaultPermissions, theirs.Mappings, theirs.Authorization, theirs.Trace
	s.Tags = mergeTags(s.Tags, theirs.Tags, m.operator.Policy.AccountTags)
	if m.whole {
		s.Limits, s.ClusterTraffic, s.Tags = theirs.Limits, theirs.ClusterTraffic, theirs.Tags
		if m.after.Lifetime == 0 {
			m.after.Expires = m.posted.Expires
		}
	} else if m.posted.Expires != 0 && m.posted.Expires != m.account.Expires {
		m.note("The end of the account's validity is set by its operator and stays as it is.")
	}
	exports, imports := m.parts.Settings.Exports, theirs.Imports
	m.parts.Settings = inForce(m.after)
	m.parts.Settings.Exports, m.parts.Settings.Imports = exports, imports
	m.parts.Expires = m.after.Expires
}

// mergeTags returns the tags of the holder, with those of the operator: key:value with
// one of its keys.
func mergeTags(here, theirs, owned []string) jwt.TagList {
	isOwned := func(tag string) bool {
		return slices.ContainsFunc(owned, func(key string) bool { return strings.HasPrefix(tag, key+":") })
	}
	out := slices.DeleteFunc(slices.Clone(theirs), isOwned)
	for _, tag := range here {
		if isOwned(tag) {
			out = append(out, tag)
		}
	}
	if slices.Equal(slices.Sorted(slices.Values(out)), slices.Sorted(slices.Values(here))) {
		return here
	}
	return out
}

func (m *merging) note(text string) { m.out.Notes = append(m.out.Notes, text) }

// exports takes the exports over with all that is revoked in them here, also in ones of
// the same subjects that are not exported any more.
func (m *merging) exports(ctx context.Context, theirs jwt.Exports) error {
	here := m.parts.Settings.Exports
	m.parts.Settings.Exports = nil
	for _, e := range theirs {
		if e == nil {
			continue
		}
		body := cloneExport(*e)
		for _, old := range here {
			if old.Type == body.Type && old.Subject == body.Subject {
				for target, at := range old.Revocations {
					revokeIn(&body, target, at)
				}
			}
		}
		x := exportEdit{account: m.account, after: &Export{Body: body}}
		if err := x.inherit(ctx, m.work); err != nil {
			return err
		}
		// Those that leave carry what was revoked in them to their successors.
		for _, old := range here {
			stays := slices.ContainsFunc(theirs, func(n *jwt.Export) bool { return n != nil && n.Type == old.Type && n.Subject == old.Subject })
			if stays || old.Type != body.Type || !claims.SubjectsMeet(string(old.Subject), string(body.Subject)) {
				continue
			}
			for target, at := range old.Revocations {
				revokeIn(&x.after.Body, target, at)
			}
		}
		m.parts.Settings.Exports = append(m.parts.Settings.Exports, &x.after.Body)
	}
	return nil
}

// signingKeys takes over the keys whose seeds are elsewhere. Those that are held here
// are changed here, and one that was retired or disabled here does not come back; one
// that only left with an earlier JWT may.
func (m *merging) signingKeys(ctx context.Context, theirs []claims.SigningKey) error {
	posted := map[string]claims.SigningKey{}
	for _, k := range theirs {
		posted[k.ID] = k
	}
	here := map[string]claims.SigningKey{}
	for _, k := range m.parts.Keys {
		here[k.ID] = k
	}
	var own, others []claims.SigningKey
	known := map[string]bool{m.account.ID: true}
	for _, k := range m.keys {
		if k.Role != "signing" {
			continue
		}
		known[k.ID] = true
		ours, err := m.isOurs(ctx, k)
		if err != nil {
			return err
		}
		now, stored := here[k.ID]
		is, listed := posted[k.ID]
		switch {
		case ours && stored:
			own = append(own, now)
			m.noteKey(k.ID, now, is, listed)
		case listed && (stored || k.Dropped):
			others = append(others, is)
		case listed:
			m.note("Signing key " + k.ID + " was taken out of the account here and stays out.")
		case stored:
			m.note("Signing key " + k.ID + " is not in this copy: it is out of the account now.")
		}
	}
	var fresh []string
	for _, k := range theirs {
		if !known[k.ID] {
			fresh = append(fresh, k.ID)
			others = append(others, k)
		}
	}
	taken, err := m.KeysByID(ctx, fresh)
	if err != nil {
		return err
	}
	if len(taken) > 0 || slices.ContainsFunc(theirs, func(k claims.SigningKey) bool { return k.ID == m.account.ID }) {
		return invalidField("/signing_keys", "key_in_use", "A signing key is a key of another account, or the account itself. Make a new one.")
	}
	m.parts.Keys = append(own, others...) // a template of both stays that of the own key
	return nil
}

// isOurs tells whether a signing key of the account is changed here alone: its seed is
// here, or its template is the operator's.
func (m *merging) isOurs(ctx context.Context, k store.Key) (bool, error) {
	if k.Custody == CustodySealed || k.Custody == CustodyExternal || k.TemplateID == "" {
		return k.Custody == CustodySealed || k.Custody == CustodyExternal, nil
	}
	t, err := m.TemplateByID(ctx, k.TemplateID)
	return t.Shared(), err
}

func (m *merging) noteKey(id string, now, is claims.SigningKey, listed bool) {
	switch {
	case !listed:
		m.note("Signing key " + id + " is held by Chancery and stays in the account; retire it there.")
	case (now.Template == nil) != (is.Template == nil), now.Template != nil && !sameRole(*now.Template, *is.Template):
		m.note("The role of signing key " + id + ", which Chancery holds, stays as it is; edit its template there.")
	}
}

// revocations unites what is revoked.
func (m *merging) revocations(ctx context.Context, theirs map[string]int64) error {
	here := m.parts.Revocations
	m.revoked = map[string]int64{}
	for subject, before := range theirs {
		if known, is := here[subject]; is && known >= before {
			continue
		}
		if before > m.Now().Unix()+claims.MaxClockLead {
			return invalidField(claims.Point("/revocations", subject), "out_of_range", "A revocation cannot reach into the future.")
		}
		m.revoked[subject] = before
	}
	gone, err := m.RemovedRevocations(ctx, m.account.ID, slices.Sorted(maps.Keys(m.revoked)))
	if err != nil {
		return err
	}
	lifted := 0
	for _, v := range gone {
		if m.revoked[v.Subject] == v.Before { // a copy from before it was lifted
			delete(m.revoked, v.Subject)
			lifted++
		}
	}
	if lifted > 0 {
		m.note(fmt.Sprintf("Revocations that were lifted in Chancery since this copy was made: %d. They stay lifted.", lifted))
	}
	for subject := range here {
		if _, has := theirs[subject]; !has {
			m.out.Kept++
		}
	}
	if m.out.Kept > 0 && !m.replay {
		m.note(fmt.Sprintf("Revocations that are not in this copy: %d. They stay; lift them in Chancery if that is meant.", m.out.Kept))
	}
	m.out.Revoked = len(m.revoked)
	m.parts.Revocations = union(here, m.revoked)
	return nil
}

// check builds the claims and holds the guardrails against what is new in them.
func (m *merging) check(ctx context.Context) (claims.Checked, error) {
	checked, problems := claims.BuildAccount(m.parts)
	if problems.Blocking() {
		return checked, invalid(problems)
	}
	if m.replay {
		return checked, nil
	}
	before := m.account
	if m.fresh {
		before = Account{}
	}
	if err := m.guardAccount(ctx, m.operator, before, m.after); err != nil {
		return checked, err
	}
	if err := m.guardSettings(ctx, m.account, m.after); err != nil {
		return checked, err
	}
	if err := m.guardParts(ctx); err != nil {
		return checked, err
	}
	return checked, m.checkImports(ctx)
}

// guardParts holds the guardrails against new keys, roles, exports and imports.
func (m *merging) guardParts(ctx context.Context) error {
	was, err := accountParts(ctx, m.Tx, m.account)
	if err != nil {
		return err
	}
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

// diff says what the claims become.
func (m *merging) diff(checked claims.Checked) ([]claims.FieldChange, error) {
	after, ok := checked.AccountClaims()
	if !ok {
		return nil, fmt.Errorf("reading the new claims of account %s", m.account.ID)
	}
	if m.account.JWT == "" {
		return claims.DiffAccounts(nil, after), nil
	}
	before, err := jwt.DecodeAccountClaims(m.account.JWT)
	if err != nil {
		return nil, fmt.Errorf("decoding the current account JWT: %w", err)
	}
	if m.account.Lifetime != 0 {
		after.Expires = before.Expires // it moves with every signing
	}
	return claims.DiffAccounts(before, after), nil
}
