package issuer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
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
	if len(summary) == 0 && (m.replay || m.posted.IssuedAt <= m.account.IssuedAt) && !m.fresh && m.source != MergeFound {
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
	if m.was, err = partsOf(m.account, m.rows); err != nil {
		return err
	}
	if m.account.JWT != "" {
		if m.before, err = jwt.DecodeAccountClaims(m.account.JWT); err != nil {
			return fmt.Errorf("decoding the current account JWT: %w", err)
		}
	}
	m.parts, m.after = m.was, m.account
	if err := m.checkNumbers(); err != nil && !m.replay {
		return err
	}
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

// diff says what the claims become.
func (m *merging) diff(checked claims.Checked) ([]claims.FieldChange, error) {
	after, ok := checked.AccountClaims()
	if !ok {
		return nil, fmt.Errorf("reading the new claims of account %s", m.account.ID)
	}
	if m.before != nil && m.account.Lifetime != 0 {
		after.Expires = m.before.Expires // it moves with every signing
	}
	return claims.DiffAccounts(m.before, after), nil
}
