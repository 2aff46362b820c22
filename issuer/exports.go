package issuer

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// ExportWithUse is an export and who uses it.
type ExportWithUse struct {
	Export
	// Imports is how many imports of accounts here are held against it, Activations how
	// many activation tokens of it have not expired.
	Imports, Activations int64
}

// ExportChange is what a change of an export came to.
type ExportChange struct {
	ExportWithUse
	// JWTVersion is the account's JWT that carries it.
	JWTVersion int64
}

// CreateExport offers a subject to other accounts: to all, to those with an activation
// token (TokenReq), or to each under its own key (AccountTokenPosition). What was
// revoked in an export of the same subjects that was deleted stays revoked.
func (i *Issuer) CreateExport(ctx context.Context, op Op, account string, body jwt.Export) (Outcome[ExportChange], error) {
	live := i.liveConnections(ctx, op, WriteSharing, account)
	return change(ctx, i, op, use{permission: WriteSharing, action: "create", kind: "export", target: account}, func(ctx context.Context, w *work) (planned[ExportChange], error) {
		var none planned[ExportChange]
		a, err := lockAccount(ctx, w, account)
		if err != nil {
			return none, err
		}
		if err := slowDown(w, a); err != nil {
			return none, err
		}
		x := exportEdit{account: a, after: &Export{AccountID: a.ID, Body: body, Version: 1, Created: w.Now(), Updated: w.Now()}}
		if x.after.ID, err = w.NewID("exp_"); err != nil {
			return none, err
		}
		if err := x.inherit(ctx, w); err != nil {
			return none, err
		}
		return x.plan(ctx, i, w, live)
	})
}

// UpdateExport changes an export as edit says. Its revocations are not for edit: see
// RevokeActivation.
func (i *Issuer) UpdateExport(ctx context.Context, op Op, account, export string, edit func(*jwt.Export)) (Outcome[ExportChange], error) {
	live := i.liveConnections(ctx, op, WriteSharing, account)
	return change(ctx, i, op, use{permission: WriteSharing, action: "update", kind: "export", target: account + "/" + export}, func(ctx context.Context, w *work) (planned[ExportChange], error) {
		var none planned[ExportChange]
		a, before, err := w.lockExport(ctx, account, export)
		if err != nil {
			return none, err
		}
		if err := w.expect(before.Version); err != nil {
			return none, err
		}
		if err := slowDown(w, a); err != nil {
			return none, err
		}
		after := before
		after.Body = cloneExport(before.Body)
		edit(&after.Body)
		after.Body.Revocations = maps.Clone(before.Body.Revocations)
		x := exportEdit{account: a, before: &before, after: &after}
		if x.moves() {
			if err := x.inherit(ctx, w); err != nil {
				return none, err
			}
		}
		return x.plan(ctx, i, w, live)
	})
}

// DeleteExport takes an offer back, and revokes what was issued for it. It is never held
// back by the signing switch.
func (i *Issuer) DeleteExport(ctx context.Context, op Op, account, export string) (Outcome[ExportChange], error) {
	live := i.liveConnections(ctx, op, WriteSharing, account)
	return change(ctx, i, op, use{permission: WriteSharing, action: "delete", kind: "export", target: account + "/" + export, protective: true}, func(ctx context.Context, w *work) (planned[ExportChange], error) {
		var none planned[ExportChange]
		a, before, err := w.lockExport(ctx, account, export)
		if err != nil {
			return none, err
		}
		if err := w.expect(before.Version); err != nil {
			return none, err
		}
		x := exportEdit{account: a, before: &before}
		return x.plan(ctx, i, w, live)
	})
}

// lockExport locks the account and returns it with its export.
func (w *work) lockExport(ctx context.Context, account, export string) (Account, Export, error) {
	a, err := lockAccount(ctx, w, account)
	if err != nil {
		return a, Export{}, err
	}
	e, err := w.GetExport(ctx, a.ID, export)
	return a, e, w.orMissing(err, "export")
}

func cloneExport(e jwt.Export) jwt.Export {
	e.Revocations = maps.Clone(e.Revocations)
	if e.Latency != nil {
		latency := *e.Latency
		e.Latency = &latency
	}
	return e
}

// exportEdit is a change of one export: before is nil for a new one, after for one that
// goes.
type exportEdit struct {
	account       Account
	before, after *Export
}

// inherit revokes in the export what was revoked in deleted ones of the same subjects.
func (x *exportEdit) inherit(ctx context.Context, w *work) error {
	deleted, err := w.DeletedExports(ctx, x.account.ID, x.after.Body.Type)
	if err != nil {
		return err
	}
	for _, d := range deleted {
		if !claims.SubjectsMeet(string(d.Body.Subject), string(x.after.Body.Subject)) {
			continue
		}
		for target, at := range d.Body.Revocations {
			revokeIn(&x.after.Body, target, at)
		}
	}
	return nil
}

// moves tells whether an export that is kept is of other subjects afterwards.
func (x *exportEdit) moves() bool {
	return x.after.Body.Subject != x.before.Body.Subject || x.after.Body.Type != x.before.Body.Type
}

// leave keeps what is revoked in an export for the subjects that it leaves: whoever
// exports them again must not let the revoked back in.
func (x *exportEdit) leave(ctx context.Context, w *work) error {
	if len(x.before.Body.Revocations) == 0 {
		return nil
	}
	left := *x.before
	var err error
	if left.ID, err = w.NewID("exp_"); err != nil {
		return err
	}
	return w.KeepLeftExport(ctx, left)
}

// revokeIn refuses the activations of an export to target that were issued up to at.
func revokeIn(e *jwt.Export, target string, at int64) {
	if e.Revocations == nil {
		e.Revocations = jwt.RevocationList{}
	}
	e.Revocations[target] = max(e.Revocations[target], at)
}

// edit makes the parts of the account's JWT what they will be.
func (x *exportEdit) edit(parts *claims.Account) {
	parts.Settings.Exports = replaced(parts.Settings.Exports, func(e *jwt.Export) bool {
		return x.before != nil && e.Type == x.before.Body.Type && e.Subject == x.before.Body.Subject
	}, x.body())
}

func (x *exportEdit) body() *jwt.Export {
	if x.after == nil {
		return nil
	}
	return &x.after.Body
}

// replaced puts with in the place of the entry that is meant, or at the end; nil takes
// the entry out.
func replaced[T any](list []*T, meant func(*T) bool, with *T) []*T {
	out := slices.Clone(list)
	n := slices.IndexFunc(out, meant)
	switch {
	case n < 0 && with != nil:
		return append(out, with)
	case n < 0:
		return out
	case with == nil:
		return slices.Delete(out, n, n+1)
	}
	out[n] = with
	return out
}

func (x *exportEdit) plan(ctx context.Context, i *Issuer, w *work, live []claims.Connection) (planned[ExportChange], error) {
	var none planned[ExportChange]
	parts, err := accountParts(ctx, w.Tx, x.account)
	if err != nil {
		return none, err
	}
	x.edit(&parts)
	problems := claims.CheckAccount(parts)
	if x.after != nil {
		n := slices.Index(parts.Settings.Exports, &x.after.Body)
		problems = own(problems, claims.Point("/exports", n), "/exports", exportFields)
	}
	if x.after != nil && problems.Blocking() {
		return none, invalid(problems)
	}
	if x.after != nil {
		if err := w.guardExport(ctx, x.account, string(x.after.Body.Subject), x.before == nil); err != nil {
			return none, err
		}
	}
	out := ExportChange{ExportWithUse: x.result()}
	plan, err := x.say(problems)
	if err != nil {
		return none, err
	}
	if out.ExportWithUse.Activations, err = countActivated(ctx, w.Tx, out.ID); err != nil {
		return none, err
	}
	if err := w.warnImporters(ctx, x.account, &plan, func(c *jwt.AccountClaims) { c.Exports = parts.Settings.Exports }); err != nil {
		return none, err
	}
	if err := foresee(ctx, w, x.account, x.edit, live, &plan); err != nil {
		return none, err
	}
	return planned[ExportChange]{preview: out, target: x.account.ID + "/" + out.ID, plan: plan, apply: func(ctx context.Context) (ExportChange, error) {
		return x.apply(ctx, i, w, out, len(plan.Changes) > 0)
	}}, nil
}

// result is the export after the change, or as it was if it goes.
func (x *exportEdit) result() ExportWithUse {
	if x.after == nil {
		return ExportWithUse{Export: *x.before}
	}
	out := *x.after
	if x.before != nil {
		out.Version = x.before.Version + 1
	}
	return ExportWithUse{Export: out}
}

// say puts the change into words.
func (x *exportEdit) say(problems claims.Problems) (Plan, error) {
	plan := Plan{Warnings: problems}
	var was, is jwt.Account
	var before, after any
	if x.before != nil {
		before, was.Exports = &x.before.Body, jwt.Exports{&x.before.Body}
	}
	if x.after != nil {
		after, is.Exports = &x.after.Body, jwt.Exports{&x.after.Body}
	}
	changes, err := diff(before, after)
	if err != nil {
		return plan, err
	}
	body := x.result().Body
	plan.Changes = below(claims.Point("/exports", body.Type.String()+" "+string(body.Subject)), changes)
	plan.Summary = claims.DiffAccounts(settingsOf(was), settingsOf(is))
	if x.before != nil && x.after != nil && x.moves() {
		// It is another export to a server; what else changes is said of that one.
		moved := x.before.Body
		moved.Type, moved.Subject = body.Type, body.Subject
		plan.Summary = append(plan.Summary, claims.DiffAccounts(settingsOf(jwt.Account{Exports: jwt.Exports{&moved}}), settingsOf(is))...)
	}
	narrate(plan.Changes, plan.Summary)
	return plan, nil
}

// below puts the changes below a pointer.
func below(pointer string, changes []Change) []Change {
	for n := range changes {
		changes[n].Path = pointer + changes[n].Path
	}
	return changes
}

func (x *exportEdit) apply(ctx context.Context, i *Issuer, w *work, out ExportChange, changed bool) (ExportChange, error) {
	var err error
	switch {
	case x.before == nil:
		err = orTaken(w.CreateExport(ctx, *x.after), "export")
	case x.after == nil:
		gone := *x.before
		gone.Body = cloneExport(gone.Body)
		if err = revokeAllFor(ctx, w, &gone); err == nil {
			err = w.DeleteExport(ctx, gone)
		}
	case !changed:
		out.Export, out.JWTVersion = *x.before, x.account.JWTVersion
		return out, nil
	default:
		err = orTaken(w.UpdateExport(ctx, *x.after), "export")
		if err == nil && x.moves() {
			err = x.leave(ctx, w)
		}
	}
	if err != nil {
		return out, err
	}
	a, err := i.resign(ctx, w, x.account.ID)
	out.JWTVersion = a.JWTVersion
	return out, err
}

// exportFields and importFields are what the fields of an export and an import are
// called where they are asked for.
var (
	exportFields = map[string]string{
		"/type": "/kind", "/token_required": "/access", "/response_threshold": "/response_threshold_ms",
		"/latency": "/latency_results", "/latency/results": "/latency_results", "/latency/sampling": "/latency_sampling",
	}
	importFields = map[string]string{"/type": "/kind", "/account": "/exporter", "/to": "/local_subject"}
)

// own keeps of the problems of an account those of one entry of a list, under the names
// that a caller knows, and what blocks the list or the account as a whole.
func own(problems claims.Problems, entry, list string, fields map[string]string) claims.Problems {
	var out claims.Problems
	for _, p := range problems {
		rest, of := strings.CutPrefix(p.Pointer, entry)
		switch {
		case of && (rest == "" || rest[0] == '/'):
			p.Pointer = rest
			if name, ok := fields[rest]; ok {
				p.Pointer = name
			}
		case !p.Blocking:
			continue // another entry's, which was there before
		case p.Pointer == list, strings.HasPrefix(p.Pointer, list+"/"):
			p.Pointer = "" // such as one that is held by the one that comes
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// GetExport returns an export of an account, with its use.
func (i *Issuer) GetExport(ctx context.Context, caller Caller, account, export string) (ExportWithUse, error) {
	return read(ctx, i, caller, use{permission: ReadSharing, action: "read", kind: "export", target: account + "/" + export}, func(ctx context.Context, d *desk) (ExportWithUse, error) {
		a, e, err := findExport(ctx, d, account, export)
		if err != nil {
			return ExportWithUse{}, err
		}
		all, err := d.ListExports(ctx, a.ID)
		if err != nil {
			return ExportWithUse{}, err
		}
		used, err := usesOf(ctx, d.Tx, a, all, []Export{e})
		if err != nil {
			return ExportWithUse{}, err
		}
		return used[0], nil
	})
}

// ListExports returns a page of an account's exports, the oldest first, with their use.
// Search keeps those with it in their name or subject.
func (i *Issuer) ListExports(ctx context.Context, caller Caller, account string, page Page) ([]ExportWithUse, error) {
	return read(ctx, i, caller, use{permission: ReadSharing, action: "list", kind: "export", target: account}, func(ctx context.Context, d *desk) ([]ExportWithUse, error) {
		a, err := findAccount(ctx, d, account)
		if err != nil {
			return nil, err
		}
		all, err := d.ListExports(ctx, a.ID)
		if err != nil {
			return nil, err
		}
		listed := pageOf(all, page, func(e Export) (string, string) { return e.ID, e.Body.Name + "\n" + string(e.Body.Subject) })
		return usesOf(ctx, d.Tx, a, all, listed)
	})
}

// pageOf returns the page of a list that is ordered by identity. What an account's JWT
// carries is few enough to be read as a whole.
func pageOf[T any](all []T, page Page, describe func(T) (id, text string)) []T {
	var out []T
	for _, v := range all {
		id, text := describe(v)
		if id > page.AfterID && strings.Contains(strings.ToLower(text), strings.ToLower(page.Search)) && len(out) < page.Limit {
			out = append(out, v)
		}
	}
	return out
}

// usesOf counts who uses some of an account's exports.
func usesOf(ctx context.Context, t *store.Tx, a Account, all, some []Export) ([]ExportWithUse, error) {
	from := &jwt.AccountClaims{}
	from.Subject = a.ID
	for _, e := range all {
		from.Exports = append(from.Exports, &e.Body)
	}
	type key struct {
		kind    jwt.ExportType
		subject jwt.Subject
	}
	imports := map[key]int64{}
	if len(some) > 0 {
		if err := eachImportFrom(ctx, t, a.ID, func(m Import) {
			if e := claims.ExportOf(from, &m.Body); e != nil {
				imports[key{e.Type, e.Subject}]++
			}
		}); err != nil {
			return nil, err
		}
	}
	out := make([]ExportWithUse, len(some))
	for n, e := range some {
		activations, err := countActivated(ctx, t, e.ID)
		if err != nil {
			return nil, err
		}
		out[n] = ExportWithUse{Export: e, Imports: imports[key{e.Body.Type, e.Body.Subject}], Activations: activations}
	}
	return out, nil
}
