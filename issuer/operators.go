package issuer

import (
	"context"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// SystemAccountName is the name of the system account of operators made here.
const SystemAccountName = "SYS"

// OperatorInput asks for a new operator.
type OperatorInput struct {
	Name string
	// ServiceURLs are where its nats-servers can be reached.
	ServiceURLs []string
	Tags        []string
	// Lax allows the identity key to sign too. Operators are strict unless asked.
	Lax bool
}

// CreateOperator makes an operator with a signing key, its system account and the
// key that issues the system account's users. Strict operators must have a system
// account that can be served before any nats-server boots: without one the server
// refuses to start.
func (i *Issuer) CreateOperator(ctx context.Context, op Op, in OperatorInput) (Outcome[Operator], error) {
	return change(ctx, i, op, use{permission: WriteOperators, action: "create", kind: "operator", target: in.Name}, func(ctx context.Context, w *work) (planned[Operator], error) {
		o := Operator{Name: in.Name, State: "active", Custody: "sealed", Signing: true, Version: 1, Created: w.Now(), Updated: w.Now()}
		o.Settings.StrictSigningKeyUsage = !in.Lax
		o.Settings.OperatorServiceURLs = in.ServiceURLs
		o.Settings.Tags = claims.NormalizeTags(in.Tags)
		if problems := claims.CheckOperator(claims.Operator{Name: o.Name, Settings: o.Settings}); problems.Blocking() {
			return planned[Operator]{}, invalid(problems)
		}
		if _, err := w.GetOperator(ctx, in.Name); err == nil {
			return planned[Operator]{}, orTaken(store.ErrExists, "operator")
		}
		keys, err := i.operatorKeys()
		if err != nil {
			return planned[Operator]{}, err
		}
		o.ID, o.Settings.SystemAccount = keys.identity.ID, keys.system.ID
		changes, err := diff(nil, o.Settings)
		if err != nil {
			return planned[Operator]{}, err
		}
		summary := claims.DiffOperators(nil, &jwt.OperatorClaims{Operator: o.Settings})
		return planned[Operator]{preview: o, target: o.ID, plan: Plan{Changes: narrate(changes, summary), Summary: summary}, apply: func(ctx context.Context) (Operator, error) {
			return i.createOperator(ctx, w, o, keys)
		}}, nil
	})
}

// operatorKeySet is the keys a new operator starts with.
type operatorKeySet struct {
	identity, signing     store.Key
	system, systemSigning store.Key
}

func (i *Issuer) operatorKeys() (operatorKeySet, error) {
	var s operatorKeySet
	var err error
	if s.identity, err = i.newKey(store.Key{Kind: "operator", Role: "identity", State: "current", Custody: "sealed"}); err != nil {
		return s, err
	}
	if s.signing, err = i.newKey(store.Key{Kind: "operator", Role: "signing", OperatorID: s.identity.ID, State: "current", Custody: "sealed"}); err != nil {
		return s, err
	}
	if s.system, err = i.newKey(accountIdentity(s.identity.ID)); err != nil {
		return s, err
	}
	s.systemSigning, err = i.newKey(accountSigning(s.identity.ID, s.system.ID, ""))
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

// resignOperator signs the operator's claims anew with its identity key. A running
// nats-server takes a new operator JWT only when it is restarted.
func (i *Issuer) resignOperator(ctx context.Context, w *work, id string) error {
	o, err := w.LockOperator(ctx, id)
	if err != nil {
		return orMissing(err, "operator")
	}
	keys, err := w.ListKeys(ctx, id, "")
	if err != nil {
		return err
	}
	identityKey, err := w.GetKey(ctx, id)
	if err != nil {
		return err
	}
	checked, problems := claims.BuildOperator(claims.Operator{ID: o.ID, Name: o.Name, Settings: o.Settings, SigningKeys: trusted(keys)})
	if problems.Blocking() {
		return invalid(problems)
	}
	signed, err := i.sign(ctx, w, identityKey, checked, claims.NextIssuedAt(w.Now(), o.IssuedAt))
	if err != nil {
		return err
	}
	return w.PutJWT(ctx, store.JWT{
		Subject: o.ID, Kind: "operator", OperatorID: o.ID, Version: o.JWTVersion, IssuedAt: signed.IssuedAt, JTI: signed.ID,
		Signer: signed.Issuer, Actor: w.op.Caller.ID, RequestID: w.op.RequestID, Token: signed.Token,
	})
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

// SetServiceURLs replaces the addresses of the operator's nats-servers.
func (i *Issuer) SetServiceURLs(ctx context.Context, op Op, operator string, urls []string) (Outcome[Operator], error) {
	return change(ctx, i, op, use{permission: WriteOperators, action: "update", kind: "operator", target: operator}, func(ctx context.Context, w *work) (planned[Operator], error) {
		var none planned[Operator]
		o, err := w.GetOperator(ctx, operator)
		if err == nil {
			o, err = w.LockOperatorForEdit(ctx, o.ID)
		}
		if err != nil {
			return none, orMissing(err, "operator")
		}
		if err := w.expect(o.Version); err != nil {
			return none, err
		}
		before := o.Settings
		o.Settings.OperatorServiceURLs = urls
		if problems := claims.CheckOperator(claims.Operator{Name: o.Name, Settings: o.Settings}); problems.Blocking() {
			return none, invalid(problems)
		}
		changes, err := diff(before, o.Settings)
		if err != nil {
			return none, err
		}
		summary := claims.DiffOperators(&jwt.OperatorClaims{Operator: before}, &jwt.OperatorClaims{Operator: o.Settings})
		return planned[Operator]{preview: o, target: o.ID, plan: Plan{Changes: narrate(changes, summary), Summary: summary}, apply: func(ctx context.Context) (Operator, error) {
			if len(changes) == 0 {
				return o, nil
			}
			if err := w.UpdateOperator(ctx, o); err != nil {
				return o, err
			}
			if err := i.resignOperator(ctx, w, o.ID); err != nil {
				return o, err
			}
			return w.GetOperator(ctx, o.ID)
		}}, nil
	})
}

// GetOperator returns an operator by name or public key.
func (i *Issuer) GetOperator(ctx context.Context, caller Caller, operator string) (Operator, error) {
	return read(ctx, i, caller, use{permission: ReadOperators, action: "read", kind: "operator", target: operator}, func(ctx context.Context, t *store.Tx) (Operator, error) {
		o, err := t.GetOperator(ctx, operator)
		return o, orMissing(err, "operator")
	})
}

// ListOperators returns a page of operators by name.
func (i *Issuer) ListOperators(ctx context.Context, caller Caller, page Page) ([]Operator, error) {
	return read(ctx, i, caller, use{permission: ReadOperators, action: "list", kind: "operator", target: ""}, func(ctx context.Context, t *store.Tx) ([]Operator, error) {
		return t.ListOperators(ctx, page)
	})
}

// OperatorKeys returns the operator's own keys, without seeds, oldest first.
func (i *Issuer) OperatorKeys(ctx context.Context, caller Caller, operator string) ([]Key, error) {
	return read(ctx, i, caller, use{permission: ReadOperators, action: "list", kind: "key", target: operator}, func(ctx context.Context, t *store.Tx) ([]Key, error) {
		o, err := t.GetOperator(ctx, operator)
		if err != nil {
			return nil, orMissing(err, "operator")
		}
		return keysWithoutSeeds(t.ListKeys(ctx, o.ID, ""))
	})
}

func keysWithoutSeeds(keys []store.Key, err error) ([]Key, error) {
	for n := range keys {
		keys[n].Sealed = nil
	}
	return keys, err
}

// ServerConfig returns the part of a nats-server's configuration that makes it
// trust the operator and fetch accounts from baseURL, the public address of the
// resolver without a path.
func (i *Issuer) ServerConfig(ctx context.Context, caller Caller, operator, baseURL string) (string, error) {
	return read(ctx, i, caller, use{permission: ReadOperators, action: "read", kind: "server_config", target: operator}, func(ctx context.Context, t *store.Tx) (string, error) {
		o, err := t.GetOperator(ctx, operator)
		if err != nil {
			return "", orMissing(err, "operator")
		}
		path := "/jwt/v1"
		if !o.Default {
			path = "/o/" + o.ID + "/jwt/v1"
		}
		return claims.ServerConfig(claims.ServerConfigInput{
			OperatorName: o.Name, OperatorJWT: o.JWT, SystemAccount: o.Settings.SystemAccount, ResolverURL: baseURL + path + "/accounts/",
		}), nil
	})
}
