package issuer

import (
	"context"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// AccountInput asks for a new account.
type AccountInput struct {
	// Operator is a name or public key; empty means the only operator there is.
	Operator string
	Name     string
	// Settings is the body of the JWT; start from claims.NewAccountSettings.
	Settings jwt.Account
	AccountExpiry
	// Problems are what is wrong with the request and not to be seen in Settings.
	Problems claims.Problems
	// guardrails are those of the account that this one is a copy of.
	guardrails claims.Guardrails
}

// accountIdentity describes the identity key of a new account. Its seed is not
// kept: accounts are signed by the operator and users by signing keys.
func accountIdentity(operatorID string) store.Key {
	return store.Key{Kind: "account", Role: "identity", OperatorID: operatorID, State: "current", Custody: "public_only"}
}

func accountSigning(operatorID, accountID, templateID string) store.Key {
	return store.Key{Kind: "account", Role: "signing", OperatorID: operatorID, AccountID: accountID, TemplateID: templateID, State: "current", Custody: "sealed"}
}

// CreateAccount makes an account with a signing key for users of their own
// permissions.
func (i *Issuer) CreateAccount(ctx context.Context, op Op, in AccountInput) (Outcome[Account], error) {
	return change(ctx, i, op, use{permission: WriteLimits, action: "create", kind: "account", target: in.Name}, func(ctx context.Context, w *work) (planned[Account], error) {
		var none planned[Account]
		o, err := w.operatorForAccount(ctx, in.Operator)
		if err != nil {
			return none, err
		}
		n, err := i.newAccount(ctx, w, o, in)
		if err != nil {
			return none, err
		}
		if _, err := rehearse(ctx, w, n.account, nil); err != nil {
			return none, err
		}
		return planned[Account]{preview: n.account, target: n.account.ID, plan: n.plan, apply: func(ctx context.Context) (Account, error) {
			if err := n.create(ctx, w); err != nil {
				return n.account, err
			}
			return i.resign(ctx, w, n.account.ID)
		}}, nil
	})
}

// operatorForAccount finds the operator of an account that is to be made: an account
// more is a matter of all of the operator.
func (w *work) operatorForAccount(ctx context.Context, ref string) (Operator, error) {
	o, err := onlyOperator(ctx, &w.desk, ref)
	if err != nil {
		return o, err
	}
	return o, w.whole(Scope{Operator: o.ID})
}

// newcomer is an account that is to be created, with its keys.
type newcomer struct {
	account Account
	keys    []store.Key
	plan    Plan
}

// newAccount plans an account of the operator, which it holds until the transaction
// ends: a key of it that is dropped meanwhile must not have signed the account.
func (i *Issuer) newAccount(ctx context.Context, w *work, o Operator, in AccountInput) (n newcomer, err error) {
	in.Settings.Tags = claims.NormalizeTags(in.Settings.Tags)
	problems := append(in.Problems, claims.CheckAccount(claims.Account{Name: in.Name, Settings: in.Settings})...)
	problems = append(problems, claims.CheckAccountExpiry(in.Expires, in.Lifetime, w.Now())...)
	if problems.Blocking() {
		return n, invalid(problems)
	}
	if o, err = w.holdForAccount(ctx, o); err != nil {
		return n, orMissing(err, "operator")
	}
	if err := writable(o); err != nil {
		return n, err
	}
	taken, err := w.FindAccounts(ctx, o.ID, in.Name)
	if err != nil {
		return n, err
	}
	if len(taken) > 0 {
		return n, orTaken(store.ErrExists, "account")
	}
	if err := w.guardAccount(ctx, o, Account{}, Account{OperatorID: o.ID, Settings: in.Settings, Guardrails: in.guardrails}); err != nil {
		return n, err
	}
	identity, err := i.newKey(ctx, w, accountIdentity(o.ID))
	if err != nil {
		return n, err
	}
	signing, err := i.newKey(ctx, w, accountSigning(o.ID, identity.ID, ""))
	if err != nil {
		return n, err
	}
	n.keys = []store.Key{identity, signing}
	n.account = Account{ID: identity.ID, OperatorID: o.ID, Name: in.Name, State: accountActive, Settings: in.Settings, Guardrails: in.guardrails, Version: 1, Created: w.Now(), Updated: w.Now()}
	in.onto(w, &n.account)
	n.plan.Warnings = problems
	if n.plan.Changes, err = diff(nil, n.account.Settings); err != nil {
		return n, err
	}
	n.plan.Changes = append(n.plan.Changes, diffExpiry(Account{}, n.account)...)
	n.plan.Summary = append(claims.DiffAccounts(nil, intentOf(n.account)), claims.DiffLifetime(0, n.account.Lifetime)...)
	n.plan.Changes = narrate(n.plan.Changes, n.plan.Summary)
	return n, nil
}

func (n newcomer) create(ctx context.Context, w *work) error {
	if err := w.CreateAccount(ctx, n.account); err != nil {
		return orTaken(err, "account")
	}
	for _, k := range n.keys {
		if err := w.CreateKey(ctx, k); err != nil {
			return err
		}
	}
	if n.account.Guardrails.IsZero() {
		return nil
	}
	return w.SetGuardrails(ctx, n.account.ID, n.account.Guardrails)
}
