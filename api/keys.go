package api

import (
	"context"
	"math"
	"net/http"
	"time"

	"chancery/issuer"
)

// KeyUse is what hangs on a signing key.
type KeyUse struct {
	UnexpiredCredentials int64      `json:"unexpired_credentials" doc:"Credentials it signed that are neither expired nor revoked."`
	LiveConnections      *int       `json:"live_connections" nullable:"true" doc:"Connections that are open with them; null when the servers were not asked or did not answer."`
	LastIssuedAt         *time.Time `json:"last_issued_at,omitempty" doc:"When it signed the last credential."`
	Accounts             int64      `json:"accounts" doc:"Accounts that an operator's key has signed, tombstones included."`
	AccountsOwing        int64      `json:"accounts_owing" doc:"Accounts of the operator that wait to be signed anew."`
}

// SigningKey is a signing key and what hangs on it.
type SigningKey struct {
	ID        string     `json:"id" doc:"The public key, O… or A…"`
	State     string     `json:"state" enum:"prepared,current,retiring,retired,disabled" doc:"Servers accept what a prepared, current or retiring key signed; only a current one signs."`
	Since     time.Time  `json:"since" doc:"When it came into the state."`
	RetireAt  *time.Time `json:"retire_at,omitempty" doc:"When a retiring key retires; absent where it does when nothing hangs on it any more."`
	Custody   string     `json:"custody" enum:"sealed,external,shown_once,public_only" doc:"Where the seed is."`
	InUse     KeyUse     `json:"in_use"`
	CreatedAt time.Time  `json:"created_at"`
}

// ChangedKey is a signing key after a change, and what came with it.
type ChangedKey struct {
	SigningKey
	Seed            string       `json:"seed,omitempty" doc:"Of a key with custody shown_once: the seed, this once."`
	SecretAvailable bool         `json:"secret_available" doc:"False where a seed was shown before, or there is none to show."`
	Previous        []SigningKey `json:"previous,omitempty" doc:"Other keys that the change moved: those that were current before, or the one that takes over."`
	Sync            *Sync        `json:"sync,omitempty"`
	Plan            *Plan        `json:"plan,omitempty"`
}

func viewSigningKey(k issuer.KeyWithUse) SigningKey {
	v := SigningKey{
		ID: k.ID, State: k.State, Since: k.Since, RetireAt: given(k.RetireAt), Custody: k.Custody, CreatedAt: k.Created,
		InUse: KeyUse{
			UnexpiredCredentials: k.InUse.UnexpiredCredentials, LastIssuedAt: given(k.InUse.LastIssued),
			Accounts: k.InUse.Accounts, AccountsOwing: k.InUse.AccountsOwing,
		},
	}
	if n := k.InUse.LiveConnections; n >= 0 {
		v.InUse.LiveConnections = &n
	}
	return v
}

// given returns the time, nil where there is none.
func given(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// SigningKeyInput asks for a new signing key.
type SigningKeyInput struct {
	PublicKey   string `json:"public_key,omitempty" maxLength:"64" doc:"A key that was made elsewhere; its seed never comes here. Without one, a key is made."`
	Custody     string `json:"custody,omitempty" enum:"sealed,external,shown_once,public_only" doc:"sealed, the default, or shown_once for a key that is made here; public_only, the default, or external for one that is not."`
	MakeCurrent *bool  `json:"make_current,omitempty" doc:"The key signs from now on. True unless said otherwise, but for operator keys: those are prepared first, so that servers trust them when they sign." example:"true"`
	KeyPrevious
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

// KeyPrevious says what becomes of the keys that were current.
type KeyPrevious struct {
	PreviousState              string `json:"previous_state,omitempty" enum:"retiring,retired,disabled" doc:"What becomes of the current keys: retiring, the default, keeps them trusted; retired and disabled are for emergencies."`
	RetirePreviousAfterSeconds *int64 `json:"retire_previous_after_seconds,omitempty" minimum:"0" maximum:"315360000" doc:"For how long they stay trusted; 0 until nothing hangs on them. The operator's policy says it by default." example:"1209600"`
}

func (p KeyPrevious) succession() issuer.Succession {
	return issuer.Succession{State: p.PreviousState, RetireAfter: duration(p.RetirePreviousAfterSeconds)}
}

func duration(n *int64) *time.Duration {
	if n == nil {
		return nil
	}
	d := time.Duration(*n) * time.Second
	return &d
}

// KeyPatch moves a signing key into another state.
type KeyPatch struct {
	State              string `json:"state" enum:"current,retiring,retired,disabled" example:"retiring"`
	RetireAfterSeconds *int64 `json:"retire_after_seconds,omitempty" minimum:"0" maximum:"315360000" doc:"For how long a key that retires stays trusted; 0 until nothing hangs on it."`
	KeyPrevious
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

// KeyReason says why.
type KeyReason struct {
	Reason string `json:"reason,omitempty" maxLength:"500" example:"The seed was in a backup that got lost."`
}

func (a *API) listKeys(ctx context.Context, by call, owner issuer.KeyOwner) (*paged[SigningKey], error) {
	list, err := a.issuer.ListKeys(ctx, by.caller, owner)
	if err != nil {
		return nil, err
	}
	return turn(list, math.MaxInt, nil, viewSigningKey, func(issuer.KeyWithUse) cursor { return cursor{} }), nil
}

func (a *API) getKey(ctx context.Context, by call, owner issuer.KeyOwner, key string) (*saved[SigningKey], error) {
	k, err := a.issuer.GetKey(ctx, by.caller, owner, key)
	if err != nil {
		return nil, err
	}
	return &saved[SigningKey]{ETag: etag(k.Version), Body: viewSigningKey(k)}, nil
}

func (a *API) addKey(ctx context.Context, by call, c Change, owner issuer.KeyOwner, in SigningKeyInput) (*created[ChangedKey], error) {
	op, err := c.op(by, in.Reason)
	if err != nil {
		return nil, err
	}
	current := owner.Operator == ""
	if in.MakeCurrent != nil {
		current = *in.MakeCurrent
	}
	out, err := a.issuer.AddKey(ctx, op, owner, issuer.KeyInput{PublicKey: in.PublicKey, Custody: in.Custody, MakeCurrent: current, Previous: in.succession()})
	if err != nil {
		return nil, err
	}
	k := out.Value
	location := Base + "/operators/" + k.OperatorID + "/signing-keys/" + k.ID
	switch {
	case k.TemplateID != "":
		location = Base + "/accounts/" + k.AccountID + "/templates/" + k.TemplateID + "/keys/" + k.ID
	case k.AccountID != "":
		location = Base + "/accounts/" + k.AccountID + "/signing-keys/" + k.ID
	}
	return &created[ChangedKey]{Status: c.status(), ETag: etag(k.Version), Location: location, Body: a.changedKey(ctx, c, out)}, nil
}

func (a *API) setKey(ctx context.Context, by call, c Change, owner issuer.KeyOwner, key string, in KeyPatch) (*saved[ChangedKey], error) {
	op, err := c.op(by, in.Reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.SetKeyState(ctx, op, owner, key, issuer.KeyStateInput{State: in.State, RetireAfter: duration(in.RetireAfterSeconds), Previous: in.succession()})
	return a.savedKey(ctx, c, out, err)
}

func (a *API) compromise(ctx context.Context, by call, c Change, owner issuer.KeyOwner, key, reason string) (*saved[ChangedKey], error) {
	op, err := c.op(by, reason)
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.CompromiseKey(ctx, op, owner, key)
	return a.savedKey(ctx, c, out, err)
}

func (a *API) savedKey(ctx context.Context, c Change, out issuer.Outcome[issuer.KeyChange], err error) (*saved[ChangedKey], error) {
	if err != nil {
		return nil, err
	}
	return &saved[ChangedKey]{ETag: etag(out.Value.Version), Body: a.changedKey(ctx, c, out)}, nil
}

func (a *API) changedKey(ctx context.Context, c Change, out issuer.Outcome[issuer.KeyChange]) ChangedKey {
	k := out.Value
	body := ChangedKey{SigningKey: viewSigningKey(k.KeyWithUse), Plan: c.plan(out.Plan)}
	if !c.DryRun && !k.Seed.Empty() {
		body.Seed, body.SecretAvailable = k.Seed.Reveal(), true
	}
	for _, p := range k.Previous {
		body.Previous = append(body.Previous, viewSigningKey(p))
	}
	if k.AccountID != "" {
		body.Sync = a.syncAfter(ctx, c, k.AccountID, k.JWTVersion)
	}
	return body
}

// Expirations is what ages under an operator, week by week.
type Expirations struct {
	Weeks []ExpirationWeek `json:"weeks" doc:"13 weeks from now on; what was due before is in the first."`
}

// ExpirationWeek is what is due within seven days.
type ExpirationWeek struct {
	From         time.Time `json:"from"`
	OperatorKeys int64     `json:"operator_keys" doc:"Keys that reach the age at which the operator's policy rotates them."`
	AccountKeys  int64     `json:"account_keys"`
	TemplateKeys int64     `json:"template_keys"`
	Retirements  int64     `json:"retirements" doc:"Keys that retire."`
	Credentials  int64     `json:"credentials" doc:"Credentials that expire."`
}

func (a *API) getExpirations(ctx context.Context, by call, in *OperatorPath) (*saved[Expirations], error) {
	agenda, err := a.issuer.Agenda(ctx, by.caller, in.Operator)
	if err != nil {
		return nil, err
	}
	out := Expirations{Weeks: []ExpirationWeek{}}
	for _, w := range agenda.Weeks {
		out.Weeks = append(out.Weeks, ExpirationWeek{
			From: w.Start, OperatorKeys: w.OperatorKeys, AccountKeys: w.AccountKeys, TemplateKeys: w.TemplateKeys, Retirements: w.Retirements, Credentials: w.Credentials,
		})
	}
	return &saved[Expirations]{Body: out}, nil
}

// keyRoutes is the part of the route table about the signing keys of every owner.
func keyRoutes() []route {
	const (
		get, post, patch, del = http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete
		ofOp, ofAcct, ofTpl   = "/operators/{operator}/signing-keys", "/accounts/{account}/signing-keys", "/accounts/{account}/templates/{template}/keys"
		one, bad              = "/{key}", "/{key}/compromise"
	)
	return []route{
		{get, "/operators/{operator}/expirations", "getExpirations", "What ages: keys and credentials by week", issuer.ReadOperators, 200, 0, fast, handle((*API).getExpirations)},

		{get, ofOp, "listOperatorKeys", "List an operator's signing keys", issuer.ReadOperators, 200, 0, fast, handle((*API).listOperatorKeys)},
		{post, ofOp, "addOperatorKey", "Add a signing key to an operator", issuer.WriteOperators, 201, small, fast, handle((*API).addOperatorKey)},
		{get, ofOp + one, "getOperatorKey", "Read an operator's signing key", issuer.ReadOperators, 200, 0, fast, handle((*API).getOperatorKey)},
		{patch, ofOp + one, "setOperatorKey", "Move an operator's signing key into another state", issuer.WriteOperators, 200, small, fast, handle((*API).setOperatorKey)},
		{del, ofOp + one, "retireOperatorKey", "Retire an operator's signing key", issuer.WriteOperators, 200, 0, fast, handle((*API).retireOperatorKey)},
		{post, ofOp + bad, "compromiseOperatorKey", "Refuse everything that an operator's signing key signed", issuer.WriteOperators, 200, small, fast, handle((*API).compromiseOperatorKey)},

		{get, ofAcct, "listAccountKeys", "List an account's plain signing keys", issuer.ReadAccounts, 200, 0, fast, handle((*API).listAccountKeys)},
		{post, ofAcct, "addAccountKey", "Add a plain signing key to an account, or rotate it", issuer.WriteAccounts, 201, small, waiting, handle((*API).addAccountKey)},
		{get, ofAcct + one, "getAccountKey", "Read an account's plain signing key", issuer.ReadAccounts, 200, 0, fast, handle((*API).getAccountKey)},
		{patch, ofAcct + one, "setAccountKey", "Move an account's plain signing key into another state", issuer.WriteAccounts, 200, small, waiting, handle((*API).setAccountKey)},
		{del, ofAcct + one, "retireAccountKey", "Retire an account's plain signing key", issuer.WriteAccounts, 200, 0, waiting, handle((*API).retireAccountKey)},
		{post, ofAcct + bad, "compromiseAccountKey", "Refuse everything that an account's plain signing key signed", issuer.WriteAccounts, 200, small, waiting, handle((*API).compromiseAccountKey)},

		{get, ofTpl, "listTemplateKeys", "List the signing keys that carry a template", issuer.ReadTemplates, 200, 0, fast, handle((*API).listTemplateKeys)},
		{post, ofTpl, "addTemplateKey", "Rotate the signing key that carries a template", issuer.WriteTemplates, 201, small, waiting, handle((*API).addTemplateKey)},
		{get, ofTpl + one, "getTemplateKey", "Read a signing key that carries a template", issuer.ReadTemplates, 200, 0, fast, handle((*API).getTemplateKey)},
		{patch, ofTpl + one, "setTemplateKey", "Move a signing key that carries a template into another state", issuer.WriteTemplates, 200, small, waiting, handle((*API).setTemplateKey)},
		{del, ofTpl + one, "retireTemplateKey", "Retire a signing key that carries a template", issuer.WriteTemplates, 200, 0, waiting, handle((*API).retireTemplateKey)},
		{post, ofTpl + bad, "compromiseTemplateKey", "Refuse everything that a template's signing key signed", issuer.WriteTemplates, 200, small, waiting, handle((*API).compromiseTemplateKey)},
	}
}
