package issuer

import (
	"context"
	"errors"

	"chancery/claims"
	"chancery/store"
)

// SystemAccountName is the name of the system account of operators made here.
const SystemAccountName = "SYS"

// The custodies of an operator's identity key besides CustodySealed, with which
// operator changes are signed at once, and an operator's states.
const (
	// CustodyOffline has the identity key elsewhere: operator changes wait until its
	// holder has signed them. Signing keys are here.
	CustodyOffline = "offline"
	// CustodyObserved knows an operator's public JWT only: nothing is signed here.
	CustodyObserved = "observed"

	operatorActive   = "active"
	operatorAwaiting = "awaiting_signature"
)

// Policy is what an operator asks of all that is signed under it.
type Policy = store.Policy

// OperatorInput asks for a new operator.
type OperatorInput struct {
	// Name may be empty for an observed operator, whose JWT has it.
	Name string
	// Custody is where the identity key is; empty means sealed.
	Custody string
	// PublicKey is the identity key O… of an offline operator.
	PublicKey string
	// JWT is that of an observed operator.
	JWT string
	// ServiceURLs are where its nats-servers can be reached.
	ServiceURLs []string
	Tags        []string
	Policy      Policy
	// Lax allows the identity key to sign too. Operators are strict unless asked.
	Lax bool
}

// CreateOperator makes an operator with a signing key, its system account and the
// key that issues the system account's users, or takes in the JWT of an observed
// one. Strict operators must have a system account that can be served before any
// nats-server boots: without one the server refuses to start. The JWT of an offline
// operator waits for its signature, see OperatorRequest.
func (i *Issuer) CreateOperator(ctx context.Context, op Op, in OperatorInput) (Outcome[Operator], error) {
	return change(ctx, i, op, use{permission: WriteOperators, action: "create", kind: "operator", target: in.Name}, func(ctx context.Context, w *work) (planned[Operator], error) {
		if in.Custody == CustodyObserved {
			return observe(ctx, w, in)
		}
		return i.planOperator(ctx, w, in)
	})
}

func (i *Issuer) planOperator(ctx context.Context, w *work, in OperatorInput) (planned[Operator], error) {
	var none planned[Operator]
	o := Operator{Name: in.Name, State: operatorActive, Custody: in.Custody, Signing: true, Policy: in.Policy, Version: 1, Created: w.Now(), Updated: w.Now()}
	problems := checkPolicy(in.Policy)
	switch in.Custody {
	case "", CustodySealed:
		o.Custody = CustodySealed
		if in.PublicKey != "" {
			problems = append(problems, claims.Problem{Pointer: "/public_key", Code: "not_applicable", Blocking: true, Detail: "A public key is given for an identity key that is kept offline: choose that custody."})
		}
	case CustodyOffline:
		o.State, o.ID = operatorAwaiting, in.PublicKey
		problems = append(problems, claims.CheckPublicKey("/public_key", claims.KindOperator, in.PublicKey)...)
	default:
		problems = append(problems, claims.Problem{Pointer: "/custody", Code: "unknown", Blocking: true, Detail: "The custody of the identity key is sealed, offline or observed."})
	}
	if in.JWT != "" {
		problems = append(problems, claims.Problem{Pointer: "/jwt", Code: "not_applicable", Blocking: true, Detail: "A JWT is given for an operator that is only observed: choose that custody."})
	}
	o.Settings.StrictSigningKeyUsage = !in.Lax
	o.Settings.OperatorServiceURLs = in.ServiceURLs
	o.Settings.Tags = claims.NormalizeTags(in.Tags)
	problems = append(problems, claims.CheckOperator(claims.Operator{Name: o.Name, Settings: o.Settings})...)
	if problems.Blocking() {
		return none, invalid(problems)
	}
	if err := free(ctx, w, in.Name, in.PublicKey); err != nil {
		return none, err
	}
	keys, err := i.operatorKeys(ctx, w, o)
	if err != nil {
		return none, err
	}
	o.ID, o.Settings.SystemAccount = keys.identity.ID, keys.system.ID
	plan, err := operatorPlan(Operator{}, o)
	if err != nil {
		return none, err
	}
	return planned[Operator]{preview: o, target: o.ID, plan: plan, apply: func(ctx context.Context) (Operator, error) {
		return i.createOperator(ctx, w, o, keys)
	}}, nil
}

// free refuses a name or an identity that an operator has, or ever had.
func free(ctx context.Context, w *work, name, identity string) error {
	if _, err := w.GetOperator(ctx, name); err == nil {
		return orTaken(store.ErrExists, "operator")
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if identity == "" {
		return nil
	}
	_, err := w.GetKey(ctx, identity)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = &Error{Kind: KindConflict, Code: "key_known", Message: "An operator with this identity key is or was here already.", Hint: "Make another identity key."}
	}
	return err
}

// operatorKeySet is the keys a new operator starts with.
type operatorKeySet struct {
	identity, signing     store.Key
	system, systemSigning store.Key
}

func (i *Issuer) operatorKeys(ctx context.Context, w *work, o Operator) (operatorKeySet, error) {
	s := operatorKeySet{identity: store.Key{Kind: "operator", Role: "identity", State: "current", Custody: "sealed"}}
	var err error
	if o.Custody == CustodyOffline {
		s.identity.ID, s.identity.OperatorID, s.identity.Custody = o.ID, o.ID, "public_only"
	} else if s.identity, err = i.newKey(ctx, w, s.identity); err != nil {
		return s, err
	}
	if s.signing, err = i.newKey(ctx, w, store.Key{Kind: "operator", Role: "signing", OperatorID: s.identity.ID, State: "current", Custody: "sealed"}); err != nil {
		return s, err
	}
	if s.system, err = i.newKey(ctx, w, accountIdentity(s.identity.ID)); err != nil {
		return s, err
	}
	s.systemSigning, err = i.newKey(ctx, w, accountSigning(s.identity.ID, s.system.ID, ""))
	return s, err
}

func (i *Issuer) createOperator(ctx context.Context, w *work, o Operator, keys operatorKeySet) (Operator, error) {
	if err := w.CreateOperator(ctx, o); err != nil {
		return o, orTaken(err, "operator")
	}
	for _, k := range []store.Key{keys.identity, keys.signing, keys.system, keys.systemSigning} {
		if err := w.CreateKey(ctx, k); err != nil {
			return o, err
		}
	}
	system := Account{ID: keys.system.ID, OperatorID: o.ID, Name: SystemAccountName, State: "active", System: true, Settings: claims.NewAccountSettings()}
	if err := w.CreateAccount(ctx, system); err != nil {
		return o, err
	}
	if _, err := i.resign(ctx, w, system.ID); err != nil {
		return o, err
	}
	if err := i.resignOperator(ctx, w, o.ID); err != nil {
		return o, err
	}
	return w.GetOperator(ctx, o.ID)
}

// resignOperator signs the operator's claims anew with its identity key. Where that
// key is kept offline, it leaves the new claims to its holder: what rows and JWT
// differ in is what waits for a signature. A running nats-server takes a new operator
// JWT only when it is restarted.
func (i *Issuer) resignOperator(ctx context.Context, w *work, id string) error {
	o, err := w.LockOperatorForEdit(ctx, id)
	if err != nil {
		return orMissing(err, "operator")
	}
	if err := writable(o); err != nil {
		return err
	}
	checked, err := operatorIntent(ctx, w.Tx, o)
	if err != nil || o.Custody == CustodyOffline {
		return err
	}
	identityKey, err := w.GetKey(ctx, id)
	if err != nil {
		return err
	}
	signed, err := i.sign(ctx, w, identityKey, checked, claims.NextIssuedAt(w.Now(), o.IssuedAt))
	if err != nil {
		return err
	}
	return putOperatorJWT(ctx, w, signed)
}

// putOperatorJWT makes a signed JWT the operator's current one.
func putOperatorJWT(ctx context.Context, w *work, s claims.Signed) error {
	o, err := w.LockOperator(ctx, s.Subject)
	if err != nil {
		return orMissing(err, "operator")
	}
	return w.PutJWT(ctx, store.JWT{
		Subject: o.ID, Kind: "operator", OperatorID: o.ID, Version: o.JWTVersion, IssuedAt: s.IssuedAt, JTI: s.ID,
		Signer: s.Issuer, Actor: w.op.Caller.ID, RequestID: w.op.RequestID, Token: s.Token,
	})
}

// operatorIntent builds the operator's claims from its rows, whether they are signed
// or not.
func operatorIntent(ctx context.Context, t *store.Tx, o Operator) (claims.Checked, error) {
	keys, err := t.ListKeys(ctx, o.ID, "")
	if err != nil {
		return claims.Checked{}, err
	}
	checked, problems := claims.BuildOperator(claims.Operator{ID: o.ID, Name: o.Name, Settings: o.Settings, SigningKeys: trusted(keys), Foreign: o.Foreign})
	if problems.Blocking() {
		return checked, invalid(problems)
	}
	return checked, nil
}

// writable refuses changes of an operator of which only the public JWT is known.
func writable(o Operator) error {
	if o.Custody != CustodyObserved {
		return nil
	}
	return &Error{
		Kind: KindConflict, Code: "read_only_operator", Message: "This operator is read-only here: only its public JWT is known, and nothing can be signed for it.",
		Hint: "Change it where its keys are, then upload its new JWT.",
	}
}

// trusted returns the signing keys that servers shall accept.
func trusted(keys []store.Key) []string {
	var out []string
	for _, k := range keys {
		if isTrusted(k) {
			out = append(out, k.ID)
		}
	}
	return out
}

// GetOperator returns an operator by name or public key.
func (i *Issuer) GetOperator(ctx context.Context, caller Caller, operator string) (Operator, error) {
	return read(ctx, i, caller, use{permission: ReadOperators, action: "read", kind: "operator", target: operator}, func(ctx context.Context, d *desk) (Operator, error) {
		o, err := findOperator(ctx, d, operator)
		d.some() // whose account is the operator's may read it
		return o, err
	})
}

// ListOperators returns a page of operators by name.
func (i *Issuer) ListOperators(ctx context.Context, caller Caller, page Page) ([]Operator, error) {
	return read(ctx, i, caller, use{permission: ReadOperators, action: "list", kind: "operator", target: ""}, func(ctx context.Context, d *desk) ([]Operator, error) {
		page.Bounds = d.some()
		return d.ListOperators(ctx, page)
	})
}

// OperatorKeys returns the operator's own keys, without seeds, oldest first.
func (i *Issuer) OperatorKeys(ctx context.Context, caller Caller, operator string) ([]Key, error) {
	return read(ctx, i, caller, use{permission: ReadOperators, action: "list", kind: "key", target: operator}, func(ctx context.Context, d *desk) ([]Key, error) {
		o, err := findOperator(ctx, d, operator)
		if err != nil {
			return nil, err
		}
		d.some() // they stand in its JWT, which is public
		return keysWithoutSeeds(d.ListKeys(ctx, o.ID, ""))
	})
}

func keysWithoutSeeds(keys []store.Key, err error) ([]Key, error) {
	for n := range keys {
		keys[n].Sealed = nil
	}
	return keys, err
}

// findOperator finds an operator by name or public key and enters it.
func findOperator(ctx context.Context, d *desk, ref string) (Operator, error) {
	o, err := d.GetOperator(ctx, ref)
	if err != nil {
		return o, d.orMissing(err, "operator")
	}
	return o, d.enter(Scope{Operator: o.ID}, "operator")
}
