package issuer

import (
	"context"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// ActivationInput asks for an activation token.
type ActivationInput struct {
	// Importer is a public key A…, of an account that need not be known here.
	Importer string
	// Subject is what may be imported: the export's, with nothing said, or a part of it.
	Subject string
	// TTL is how long the token is valid, Expires until when; neither is for ever.
	TTL     time.Duration
	Expires time.Time
}

// ActivationStatus is what an activation token is worth.
type ActivationStatus string

// The statuses. A superseded token was followed by another one for the same importer and
// subject, and is valid still; a server takes none whose key is retired.
const (
	ActivationActive     ActivationStatus = "active"
	ActivationSuperseded ActivationStatus = "superseded"
	ActivationExpired    ActivationStatus = "expired"
	ActivationRevoked    ActivationStatus = "revoked"
	ActivationKeyRetired ActivationStatus = "key_retired"
)

// ActivationEntry is an activation, what it is worth, and whose it is.
type ActivationEntry struct {
	Activation
	Status ActivationStatus
	// ImporterName is empty of an account that is not known here, or not the caller's.
	ImporterName string
}

// IssueActivation makes a token with which the importer may import what is exported,
// signed by the account's current plain signing key. The token is of no use to anybody
// else. It is issued later than whatever is revoked of the importer.
func (i *Issuer) IssueActivation(ctx context.Context, op Op, account, export string, in ActivationInput) (Outcome[ActivationEntry], error) {
	return change(ctx, i, op, use{permission: WriteSharing, action: "activate", kind: "export", target: account + "/" + export}, func(ctx context.Context, w *work) (planned[ActivationEntry], error) {
		var none planned[ActivationEntry]
		a, e, err := w.lockExport(ctx, account, export)
		if err != nil {
			return none, err
		}
		if !e.Body.TokenReq || e.Body.AccountTokenPosition > 0 {
			return none, &Error{
				Kind: KindConflict, Code: "no_token_needed", Message: "This export asks for no activation token.",
				Hint: "Whoever imports it needs none. To give it to chosen accounts only, change its access to activation.",
			}
		}
		if in.Subject == "" {
			in.Subject = string(e.Body.Subject)
		}
		m := minting{account: a, export: e, activation: Activation{AccountID: a.ID, ExportID: e.ID, Importer: in.Importer, Kind: e.Body.Type, Subject: in.Subject, Reason: op.Reason}}
		if m.activation.Expires, err = expiryOf(w, in.TTL, in.Expires); err != nil {
			return none, err
		}
		if err := m.prepare(ctx, w); err != nil {
			return none, err
		}
		preview := ActivationEntry{Activation: m.activation, Status: ActivationActive}
		plan := Plan{Connections: unknown, Changes: []Change{{Path: claims.Point("/activations", in.Importer), To: in.Subject, Text: "The account " + claims.ShortKey(in.Importer) + " may import " + in.Subject}}}
		return planned[ActivationEntry]{preview: preview, target: a.ID + "/" + e.ID, plan: plan, apply: func(ctx context.Context) (ActivationEntry, error) {
			made, err := m.mint(ctx, i, w)
			return ActivationEntry{Activation: made, Status: ActivationActive}, err
		}}, nil
	})
}

// expiryOf returns when what is to live for ttl, or until a time, ends, in Unix seconds.
func expiryOf(w *work, ttl time.Duration, until time.Time) (int64, error) {
	switch {
	case ttl != 0 && !until.IsZero():
		return 0, invalidField("/expires_at", "exclusive", "Say how long the token is valid or until when, not both.")
	case ttl < 0 || ttl > maxActivation || (ttl > 0 && ttl < time.Second):
		return 0, invalidField("/ttl_seconds", "out_of_range", "An activation token is valid for 1 second to 100 years, or for ever.")
	case ttl > 0:
		return w.Now().Add(ttl).Unix(), nil
	case until.IsZero():
		return 0, nil
	case !until.After(w.Now()) || until.After(w.Now().Add(maxActivation)):
		return 0, invalidField("/expires_at", "out_of_range", "An activation token is valid until a time to come, within 100 years.")
	}
	return until.Unix(), nil
}

// maxActivation is the longest lifetime of an activation token.
const maxActivation = 100 * 365 * 24 * time.Hour

// minting is an activation token in the making.
type minting struct {
	account    Account
	export     Export
	activation Activation
	checked    claims.Checked
	key        store.Key
}

// prepare checks what is to be signed and finds the key to sign it, as far as a dry run
// comes. The account is locked.
func (m *minting) prepare(ctx context.Context, w *work) error {
	x := &m.activation
	var problems claims.Problems
	m.checked, problems = claims.BuildActivation(claims.Activation{
		Account: x.Importer, Exporter: m.account.ID, Subject: jwt.Subject(x.Subject), Kind: x.Kind, Expires: x.Expires,
	})
	for n, p := range problems {
		if p.Pointer == "/account" {
			problems[n].Pointer = "/target_account"
		}
	}
	if problems.Blocking() {
		return invalid(problems)
	}
	if x.Importer == m.account.ID {
		return invalidField("/target_account", "not_allowed", "An account does not import from itself; use a mapping.")
	}
	if !jwt.Subject(x.Subject).IsContainedIn(m.export.Body.Subject) {
		return invalidField("/subject", "not_subset", "The export does not hold this subject; ask for no more than it exports.")
	}
	keys, err := w.ListKeys(ctx, m.account.OperatorID, m.account.ID)
	if err != nil {
		return err
	}
	if m.key, err = current(keys, ""); err != nil {
		return &Error{
			Kind: KindConflict, Code: "no_signing_key", Message: "The exporting account has no current plain signing key: nothing could sign the activation token.",
			Hint: "Add a signing key to the account and make it current.",
		}
	}
	last, err := w.LastActivationIAT(ctx, m.account.ID, x.Importer)
	if err != nil {
		return err
	}
	revoked := m.export.Body.Revocations
	x.IssuedAt = claims.NextIssuedAt(w.Now(), max(last, revoked[x.Importer], revoked[Everybody]))
	x.Signer, x.Actor, x.RequestID, x.Created = m.key.ID, w.op.Caller.ID, w.op.RequestID, w.Now()
	if x.Expires != 0 && x.Expires <= x.IssuedAt {
		return invalidField("/ttl_seconds", "out_of_range", "The token would have expired when it begins to be valid, which is after what was revoked last.")
	}
	if err := w.maySign(ctx, m.account.OperatorID); err != nil {
		return err
	}
	_, err = encode(m.key, m.checked, x.IssuedAt)
	return err
}

// mint signs the token and puts it on record.
func (m *minting) mint(ctx context.Context, i *Issuer, w *work) (Activation, error) {
	x := m.activation
	signed, err := i.sign(ctx, w, m.key, m.checked, x.IssuedAt)
	if err != nil {
		return x, err
	}
	x.JTI, x.Token = signed.ID, signed.Token
	if x.ID, err = w.NewID("act_"); err != nil {
		return x, err
	}
	return x, w.CreateActivation(ctx, x)
}

// RevokedActivations is what revoking activations came to.
type RevokedActivations struct {
	AccountID, ExportID string
	// Importer is a public key A…, or Everybody; Before the second up to which what was
	// issued to it is refused.
	Importer string
	Before   int64
	// Activations is how many unexpired tokens are refused.
	Activations int64
	JWTVersion  int64
}

// RevokeActivation refuses what was issued to an importer for an export: it is named by
// its public key A…, by the identity of any activation that it got, or is Everybody. It
// is never held back: no version is expected, no rate applies. Servers stop the messages
// as soon as they have the exporter's new JWT.
func (i *Issuer) RevokeActivation(ctx context.Context, op Op, account, export, of string) (Outcome[RevokedActivations], error) {
	op.ExpectedVersion = 0
	live := i.liveConnections(ctx, op, WriteSharing, account)
	return change(ctx, i, op, use{permission: WriteSharing, action: "revoke", kind: "activation", target: account + "/" + export + "/" + of, protective: true}, func(ctx context.Context, w *work) (planned[RevokedActivations], error) {
		var none planned[RevokedActivations]
		a, before, err := w.lockExport(ctx, account, export)
		if err != nil {
			return none, err
		}
		out := RevokedActivations{AccountID: a.ID, ExportID: before.ID, Importer: of}
		if of != Everybody && !claims.IsPublicKey(claims.KindAccount, of) {
			x, err := w.GetActivation(ctx, a.ID, before.ID, of)
			if err != nil {
				return none, orMissing(err, "activation")
			}
			out.Importer = x.Importer
		}
		all := out.Importer
		if all == Everybody {
			all = ""
		}
		highest, err := w.LastActivationIAT(ctx, a.ID, all)
		if err != nil {
			return none, err
		}
		hit, err := w.ListActivated(ctx, before.ID, all)
		if err != nil {
			return none, err
		}
		for _, x := range hit {
			out.Activations += x.Count
		}
		out.Before = claims.RevokedBefore(w.Now(), highest)
		after := before
		after.Body = cloneExport(before.Body)
		revokeIn(&after.Body, out.Importer, out.Before)
		return planRevokedActivations(ctx, i, w, &exportEdit{account: a, before: &before, after: &after}, out, live)
	})
}

func planRevokedActivations(ctx context.Context, i *Issuer, w *work, x *exportEdit, out RevokedActivations, live []claims.Connection) (planned[RevokedActivations], error) {
	var none planned[RevokedActivations]
	plan, err := x.say(nil)
	if err != nil {
		return none, err
	}
	err = w.warnImporters(ctx, x.account, &plan, func(c *jwt.AccountClaims) {
		parts := claims.Account{Settings: jwt.Account{Exports: c.Exports}}
		x.edit(&parts)
		c.Exports = parts.Settings.Exports
	})
	if err != nil {
		return none, err
	}
	if err := foresee(ctx, w, x.account, x.edit, live, &plan); err != nil {
		return none, orNoRoom(err)
	}
	return planned[RevokedActivations]{preview: out, target: x.account.ID + "/" + out.ExportID + "/" + out.Importer, plan: plan, apply: func(ctx context.Context) (RevokedActivations, error) {
		if err := w.UpdateExport(ctx, *x.after); err != nil {
			return out, err
		}
		signed, err := i.resign(ctx, w, x.account.ID)
		out.JWTVersion = signed.JWTVersion
		return out, orNoRoom(err)
	}}, nil
}

// ListActivations returns a page of what was issued for an export, the newest first.
func (i *Issuer) ListActivations(ctx context.Context, caller Caller, account, export string, page LedgerPage) ([]ActivationEntry, error) {
	return read(ctx, i, caller, use{permission: ReadSharing, action: "list", kind: "activation", target: account + "/" + export}, func(ctx context.Context, d *desk) ([]ActivationEntry, error) {
		a, e, err := findExport(ctx, d, account, export)
		if err != nil {
			return nil, err
		}
		list, err := d.ListActivations(ctx, e.ID, page.Before, page.Limit)
		if err != nil {
			return nil, err
		}
		return activationEntries(ctx, d, a, e, list)
	})
}

// GetActivation returns an activation that was issued for an export.
func (i *Issuer) GetActivation(ctx context.Context, caller Caller, account, export, id string) (ActivationEntry, error) {
	return read(ctx, i, caller, use{permission: ReadSharing, action: "read", kind: "activation", target: account + "/" + export + "/" + id}, func(ctx context.Context, d *desk) (ActivationEntry, error) {
		a, e, err := findExport(ctx, d, account, export)
		if err != nil {
			return ActivationEntry{}, err
		}
		x, err := d.GetActivation(ctx, a.ID, e.ID, id)
		if err != nil {
			return ActivationEntry{}, d.orMissing(err, "activation")
		}
		list, err := activationEntries(ctx, d, a, e, []Activation{x})
		if err != nil {
			return ActivationEntry{}, err
		}
		return list[0], nil
	})
}

func findExport(ctx context.Context, d *desk, account, export string) (Account, Export, error) {
	a, err := findAccount(ctx, d, account)
	if err != nil {
		return a, Export{}, err
	}
	e, err := d.GetExport(ctx, a.ID, export)
	return a, e, d.orMissing(err, "export")
}

// activationEntries adds what the activations of an export are worth now.
func activationEntries(ctx context.Context, d *desk, a Account, e Export, list []Activation) ([]ActivationEntry, error) {
	var importers []string
	for _, x := range list {
		importers = append(importers, x.Importer)
	}
	newest, err := d.NewestActivations(ctx, e.ID, importers)
	if err != nil {
		return nil, err
	}
	known, err := d.AccountsByID(ctx, importers)
	if err != nil {
		return nil, err
	}
	keys, err := d.ListKeys(ctx, a.OperatorID, a.ID)
	if err != nil {
		return nil, err
	}
	trusted := map[string]bool{a.ID: true} // a server takes what the identity key signed
	for _, k := range keys {
		trusted[k.ID] = isTrusted(k)
	}
	out := make([]ActivationEntry, len(list))
	for n, x := range list {
		out[n] = ActivationEntry{Activation: x, Status: ActivationActive}
		if b := known[x.Importer]; b.ID != "" && d.caller.sees(scopeOf(b)) {
			out[n].ImporterName = b.Name
		}
		switch {
		case e.Body.Revocations.IsRevoked(x.Importer, time.Unix(x.IssuedAt, 0)):
			out[n].Status = ActivationRevoked
		case x.Expires != 0 && x.Expires <= d.Now().Unix():
			out[n].Status = ActivationExpired
		case !trusted[x.Signer]:
			out[n].Status = ActivationKeyRetired
		case !newest[x.ID]:
			out[n].Status = ActivationSuperseded
		}
	}
	return out, nil
}
