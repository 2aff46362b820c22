package issuer

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// ShareInput asks for both sides of a flow between two accounts of one operator.
type ShareInput struct {
	// Exporter and Importer are names or public keys.
	Exporter, Importer string
	// Flows are what is shared; with a Recipe it says that.
	Flows  []claims.Flow
	Recipe *claims.Recipe
	// Access is who may import what has to be exported first; empty means activation,
	// or what the export that is there already says.
	Access Access
	// TTL is how long the activation is valid, 0 for ever.
	TTL time.Duration
	// ShareRequester and AllowTrace are of the imports: whether the exporter learns who
	// asks a service, and whether traces of messages cross.
	ShareRequester, AllowTrace bool
}

// SharedLink is one subject that is shared, with both sides.
type SharedLink struct {
	Export Export
	Import Import
	// Activation is the token that the import carries; nil where none is needed.
	Activation *Activation
	// NewExport tells that the export was made for it, NewImport the import. An import
	// that was there is renewed.
	NewExport, NewImport bool
}

// Shared is what sharing came to.
type Shared struct {
	Exporter, Importer EdgeNode
	Links              []SharedLink
	// ExporterJWTVersion and ImporterJWTVersion are the JWTs that carry both sides.
	ExporterJWTVersion, ImporterJWTVersion int64
}

// Share makes what it takes for messages to cross from one account to another: an export
// that covers the subject, unless there is one, an activation token where it asks for
// one, and the import, all in one transaction in which both sides are checked against
// each other. The exporter is pushed first. Of a subject that is imported already the
// activation is renewed. Accounts of different operators have no server in common.
func (i *Issuer) Share(ctx context.Context, op Op, in ShareInput) (Outcome[Shared], error) {
	op.ExpectedVersion = 0
	return change(ctx, i, op, use{permission: WriteSharing, action: "share", kind: "account", target: in.Exporter + " " + in.Importer}, func(ctx context.Context, w *work) (planned[Shared], error) {
		var none planned[Shared]
		if in.Recipe != nil {
			if problems := in.Recipe.Check(); problems.Blocking() {
				return none, invalid(problems.At("/recipe"))
			}
			in.Flows = in.Recipe.Flows()
		}
		s, err := w.lockShare(ctx, in)
		if err != nil {
			return none, err
		}
		if len(in.Flows) == 0 || len(in.Flows) > maxFlows {
			return none, invalidField("/subject", "required", "Say which subject is to be shared.")
		}
		for _, f := range in.Flows {
			if err := s.add(ctx, w, in, f); err != nil {
				return none, err
			}
		}
		return s.planned(ctx, i, w)
	})
}

// maxFlows bounds what is shared at once.
const maxFlows = 64

// RenewImport gives an import whose exporter is an account here a new activation token,
// valid for ttl, 0 for ever: on both sides in one transaction.
func (i *Issuer) RenewImport(ctx context.Context, op Op, account, id string, ttl time.Duration) (Outcome[Shared], error) {
	return change(ctx, i, op, use{permission: WriteSharing, action: "renew", kind: "import", target: account + "/" + id}, func(ctx context.Context, w *work) (planned[Shared], error) {
		var none planned[Shared]
		a, err := findAccount(ctx, &w.desk, account)
		if err != nil {
			return none, err
		}
		m, err := w.GetImport(ctx, a.ID, id)
		if err != nil {
			return none, orMissing(err, "import")
		}
		in := ShareInput{Exporter: m.Body.Account, Importer: a.ID, TTL: ttl}
		s, err := w.lockShare(ctx, in)
		if err != nil {
			return none, err
		}
		n := slices.IndexFunc(s.imports, func(x Import) bool { return x.ID == m.ID })
		if n < 0 {
			return none, missing("import") // it went while we waited
		}
		if m = s.imports[n]; w.expect(m.Version) != nil {
			return none, w.expect(m.Version)
		}
		found := s.covering(&m.Body)
		if found == nil || AccessOf(&found.Body) != AccessActivation {
			return none, &Error{
				Kind: KindConflict, Code: "no_token_needed", Message: "The exporter has no export of this subject that asks for an activation token: there is nothing to renew.",
				Hint: "Look at the import's state for what is wrong with it.",
			}
		}
		l := linkPlan{export: found, before: &s.imports[n], after: m}
		l.after.Version++
		if err := s.activate(ctx, w, in, &l); err != nil {
			return none, err
		}
		return s.planned(ctx, i, w)
	})
}

// sharePlan is both sides of a flow in the making.
type sharePlan struct {
	exporter, importer Account
	exports            []*Export
	imports            []Import
	links              []linkPlan
	warnings           claims.Problems
}

// linkPlan is one subject. made and before tell what of it is new.
type linkPlan struct {
	export  *Export
	made    bool
	before  *Import
	after   Import
	minting *minting
}

// lockShare locks both accounts, always in the order of their keys, so that two that
// share with each other do not wait for each other.
func (w *work) lockShare(ctx context.Context, in ShareInput) (*sharePlan, error) {
	var s sharePlan
	var err error
	if s.exporter, err = findAccount(ctx, &w.desk, in.Exporter); err != nil {
		return nil, sideMissing("/exporter", err)
	}
	if s.importer, err = findAccount(ctx, &w.desk, in.Importer); err != nil {
		return nil, sideMissing("/importer", err)
	}
	if s.exporter.ID == s.importer.ID {
		return nil, invalidField("/importer", "not_allowed", "An account does not import from itself; use a mapping.")
	}
	if s.exporter.OperatorID != s.importer.OperatorID {
		return nil, &Error{
			Kind: KindConflict, Code: "other_operator", Message: "The two accounts belong to different operators: no nats-server knows both.",
			Hint: "Where the two are bridged by other means, the importer can still import by the exporter's public key, with an activation token if it is asked for.",
		}
	}
	order := []*Account{&s.exporter, &s.importer}
	slices.SortFunc(order, func(a, b *Account) int { return cmp.Compare(a.ID, b.ID) })
	for _, a := range order {
		if *a, err = lockAccount(ctx, w, a.ID); err != nil {
			return nil, err
		}
		if err := slowDown(w, *a); err != nil {
			return nil, err
		}
	}
	exports, err := w.ListExports(ctx, s.exporter.ID)
	if err != nil {
		return nil, err
	}
	for _, e := range exports {
		s.exports = append(s.exports, &e)
	}
	s.imports, err = w.ListImports(ctx, s.importer.ID)
	return &s, err
}

// sideMissing says which of two accounts was not found.
func sideMissing(pointer string, err error) error {
	e := *AsError(err)
	if e.Kind != KindNotFound {
		return err
	}
	e.Problems = claims.Problems{{Pointer: pointer, Code: e.Code, Detail: e.Message, Blocking: true}}
	return &e
}

// add works one subject out.
func (s *sharePlan) add(ctx context.Context, w *work, in ShareInput, f claims.Flow) error {
	l := linkPlan{after: Import{AccountID: s.importer.ID, Version: 1, Created: w.Now(), Updated: w.Now(), Body: jwt.Import{
		Name: f.Name, Subject: jwt.Subject(f.ImportSubject(s.importer.ID)), Account: s.exporter.ID, LocalSubject: jwt.RenamingSubject(f.LocalSubject), Type: f.Kind,
		Share: in.ShareRequester && f.Kind == jwt.Service, AllowTrace: in.AllowTrace && f.Kind == jwt.Stream,
	}}}
	body := &l.after.Body
	var err error
	if l.export = s.covering(body); l.export == nil {
		l.made = true
		if l.export, err = s.offer(ctx, w, in, f); err != nil {
			return err
		}
	} else if asked, has := in.accessOf(f), AccessOf(&l.export.Body); asked != "" && asked != has {
		return &Error{
			Kind: KindConflict, Code: "exported_otherwise", Message: "The exporter exports this subject already, with other access than was asked for.",
			Hint: "Its access is " + string(has) + ": share it as it is, or change the export.",
		}
	}
	if t := l.export.Body.AccountTokenPosition; t > 0 {
		if body.Subject, err = underKey(body.Subject, t, s.importer.ID); err != nil {
			return err
		}
	}
	for n, m := range s.imports {
		if m.Body.Account == body.Account && m.Body.Type == body.Type && m.Body.Subject == body.Subject {
			l.before, l.after.ID, l.after.Version, l.after.Created = &s.imports[n], m.ID, m.Version+1, m.Created
			body.LocalSubject = cmp.Or(body.LocalSubject, m.Body.LocalSubject)
			body.Name = cmp.Or(body.Name, m.Body.Name)
		}
	}
	if l.before == nil {
		if l.after.ID, err = w.NewID("imp_"); err != nil {
			return err
		}
	}
	return s.activate(ctx, w, in, &l)
}

// activate prepares the token of a subject that needs one, and takes the subject into
// the plan.
func (s *sharePlan) activate(ctx context.Context, w *work, in ShareInput, l *linkPlan) error {
	l.after.Body.Token, l.after.ActivationID = "", ""
	if AccessOf(&l.export.Body) == AccessActivation {
		l.minting = &minting{account: s.exporter, export: *l.export, activation: Activation{
			AccountID: s.exporter.ID, ExportID: l.export.ID, Importer: s.importer.ID, Kind: l.after.Body.Type,
			Subject: claims.ImportedSubject(&l.after.Body), Reason: w.op.Reason,
		}}
		var err error
		if l.minting.activation.Expires, err = expiryOf(w, in.TTL, time.Time{}); err != nil {
			return err
		}
		if err := l.minting.prepare(ctx, w); err != nil {
			return err
		}
		// Several tokens of one transaction follow each other.
		l.minting.activation.IssuedAt += int64(len(s.links))
	}
	s.links = append(s.links, *l)
	return nil
}

// editExporter and editImporter make the parts of the two JWTs what they will be.
func (s *sharePlan) editExporter(parts *claims.Account) {
	for _, l := range s.links {
		if l.made {
			parts.Settings.Exports = append(parts.Settings.Exports, &l.export.Body)
		}
	}
}

func (s *sharePlan) editImporter(parts *claims.Account) {
	for n := range s.links {
		l := &s.links[n]
		x := importEdit{before: l.before, after: &l.after}
		x.edit(parts)
	}
}

func (s *sharePlan) planned(ctx context.Context, i *Issuer, w *work) (planned[Shared], error) {
	var none planned[Shared]
	if err := s.check(ctx, w); err != nil {
		return none, err
	}
	if err := s.guard(ctx, w); err != nil {
		return none, err
	}
	plan := Plan{Warnings: s.warnings}
	for n := range s.links {
		if err := s.links[n].say(s, &plan); err != nil {
			return none, err
		}
	}
	if err := foresee(ctx, w, s.exporter, s.editExporter, nil, &plan); err != nil {
		return none, err
	}
	if err := foresee(ctx, w, s.importer, s.editImporter, nil, &plan); err != nil {
		return none, err
	}
	plan.Connections = 0 // exports and imports close none
	return planned[Shared]{preview: s.shared(), target: s.exporter.ID + " " + s.importer.ID, plan: plan, apply: func(ctx context.Context) (Shared, error) {
		return s.apply(ctx, i, w)
	}}, nil
}

// say puts one subject of the plan into words.
func (l *linkPlan) say(s *sharePlan, plan *Plan) error {
	if l.made {
		p, err := (&exportEdit{account: s.exporter, after: l.export}).say(nil)
		if err != nil {
			return err
		}
		plan.Changes, plan.Summary = append(plan.Changes, p.Changes...), append(plan.Summary, p.Summary...)
	}
	after := l.after
	if l.minting != nil {
		after.Body.Token = "the new activation token" // which is yet to be signed
	}
	p, err := (&importEdit{account: s.importer, before: l.before, after: &after}).say(nil)
	if err != nil {
		return err
	}
	plan.Changes, plan.Summary = append(plan.Changes, p.Changes...), append(plan.Summary, p.Summary...)
	if l.minting != nil {
		text := "valid for ever"
		if e := l.minting.activation.Expires; e != 0 {
			text = "valid until " + time.Unix(e, 0).UTC().Format(time.RFC3339)
		}
		line := claims.FieldChange{Field: "Activation of " + l.minting.activation.Subject, Pointer: "/activations", After: text}
		plan.Changes = append(plan.Changes, Change{Path: claims.Point("/activations", s.importer.ID), To: l.minting.activation.Subject, Text: line.Sentence()})
		plan.Summary = append(plan.Summary, line)
	}
	return nil
}

// shared is both sides as they will be.
func (s *sharePlan) shared() Shared {
	out := Shared{
		Exporter: EdgeNode{s.exporter.ID, s.exporter.Name, s.exporter.State}, Importer: EdgeNode{s.importer.ID, s.importer.Name, s.importer.State},
		ExporterJWTVersion: s.exporter.JWTVersion, ImporterJWTVersion: s.importer.JWTVersion,
	}
	for _, l := range s.links {
		x := SharedLink{Export: *l.export, Import: l.after, NewExport: l.made, NewImport: l.before == nil}
		if l.minting != nil {
			activation := l.minting.activation
			x.Activation = &activation
		}
		out.Links = append(out.Links, x)
	}
	return out
}

func (s *sharePlan) apply(ctx context.Context, i *Issuer, w *work) (Shared, error) {
	out := s.shared()
	exported := false
	for n := range s.links {
		l := &s.links[n]
		if l.made {
			exported = true
			if err := orTaken(w.CreateExport(ctx, *l.export), "export"); err != nil {
				return out, err
			}
		}
		if l.minting != nil {
			made, err := l.minting.mint(ctx, i, w)
			if err != nil {
				return out, err
			}
			l.after.Body.Token, l.after.ActivationID = made.Token, made.ID
			l.minting.activation = made
		}
		store := w.CreateImport
		if l.before != nil {
			store = w.UpdateImport
		}
		if err := store(ctx, l.after); err != nil {
			return out, err
		}
	}
	from, err := s.exporter, error(nil)
	if exported {
		if from, err = i.resign(ctx, w, s.exporter.ID); err != nil {
			return out, err
		}
	}
	to, err := i.resignAfter(ctx, w, s.importer.ID, s.exporter.ID)
	if err != nil {
		return out, err
	}
	// Both sides have it on record: the change itself at the exporter.
	w.at = scopeOf(s.importer)
	if err := w.audit(ctx, use{permission: WriteSharing, action: "share", kind: "import", target: s.importer.ID}, Plan{}); err != nil {
		return out, err
	}
	w.at = scopeOf(s.exporter)
	out = s.shared()
	out.ExporterJWTVersion, out.ImporterJWTVersion = from.JWTVersion, to.JWTVersion
	return out, s.proof(w, from, to)
}
