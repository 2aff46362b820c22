package issuer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// Inspection is a NATS JWT as it was read, with what is known of it here.
type Inspection struct {
	claims.Token
	// Chain leads from what signed the JWT to the operator.
	Chain []claims.Link
	// Permissions are what the user may do, nil for other JWTs and as long as its
	// account is not known here.
	Permissions *claims.Effective
	// Sharing is what an account imports and does not get, by the accounts known here.
	Sharing claims.Problems
}

// Problems returns everything that is wrong with the JWT at a time.
func (x Inspection) Problems(at time.Time) claims.Problems {
	out := x.Token.Problems(at)
	for _, p := range x.Sharing {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// Inspect reads a NATS JWT of any type, bare or in a creds file without its seed,
// and follows its signatures. Nothing of it is stored or logged: a bearer user's JWT
// is a credential.
func (i *Issuer) Inspect(ctx context.Context, caller Caller, document claims.Secret) (Inspection, error) {
	return read(ctx, i, caller, use{permission: ReadAccounts, action: "inspect", kind: "jwt", target: ""}, func(ctx context.Context, d *desk) (Inspection, error) {
		token, err := readToken("/jwt", document)
		if err != nil {
			return Inspection{}, err
		}
		k, err := knownTo(ctx, d, token.Claims)
		if err != nil {
			return Inspection{}, err
		}
		accounts := map[string]*jwt.AccountClaims{}
		if a, ok := token.Claims.(*jwt.AccountClaims); ok {
			if accounts, err = exportersOf(ctx, d, a); err != nil {
				return Inspection{}, err
			}
		} else if k.account != nil {
			accounts[k.account.Subject] = k.account
		}
		return Inspected(token, func(id string) *jwt.AccountClaims { return accounts[id] }, k.operators, i.now()), nil
	})
}

// Inspected returns a token with what is known of it among accounts, which find
// knows by their keys, and operators.
func Inspected(token claims.Token, find func(id string) *jwt.AccountClaims, operators []*jwt.OperatorClaims, at time.Time) Inspection {
	out := Inspection{Token: token, Chain: claims.Chain(token.Claims, find, operators)}
	switch c := token.Claims.(type) {
	case *jwt.UserClaims:
		if a := find(claims.Above(c)); a != nil {
			p := claims.EffectivePermissions(c, a)
			out.Permissions = &p
		}
	case *jwt.AccountClaims:
		out.Sharing = claims.CheckSharing(c, find, at)
	}
	return out
}

// exportersOf returns the accounts that a imports from, as far as they are here.
func exportersOf(ctx context.Context, d *desk, a *jwt.AccountClaims) (map[string]*jwt.AccountClaims, error) {
	out := map[string]*jwt.AccountClaims{}
	for _, m := range a.Imports {
		if m == nil || out[m.Account] != nil || len(out) == mostExporters {
			continue
		}
		x, err := d.GetAccount(ctx, m.Account)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !d.caller.sees(scopeOf(x)) {
			continue
		}
		if out[m.Account], err = jwt.DecodeAccountClaims(x.JWT); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// mostExporters bounds the accounts that are read to check one account's imports.
const mostExporters = 1000

// readToken reads the one JWT of a document. A seed that came along is refused: it
// was never to leave its holder.
func readToken(pointer string, document claims.Secret) (claims.Token, error) {
	text, hasSeed, err := claims.FindJWT(document.Reveal())
	if hasSeed {
		return claims.Token{}, invalidField(pointer, "seed_not_accepted",
			"This holds a private key (seed). Send the JWT only, and treat the seed as exposed if it travelled over an untrusted path.")
	}
	var token claims.Token
	if err == nil {
		token, err = claims.Read(text)
	}
	if err != nil {
		return claims.Token{}, invalidField(pointer, "invalid_jwt", claims.Sentence(err))
	}
	return token, nil
}

// known is what the store knows of the issuers of a JWT.
type known struct {
	operators []*jwt.OperatorClaims
	// account is the account that signed it, nil when it is not known here; token is
	// its JWT.
	account *jwt.AccountClaims
	token   string
}

// knownTo finds the account of a user or activation and the operator above, as far as
// the caller sees them; an account that is not here may be of any operator.
func knownTo(ctx context.Context, d *desk, c jwt.Claims) (known, error) {
	var k known
	bounds := d.some()
	id, operatorID := claims.Above(c), ""
	if id != "" {
		a, err := d.GetAccount(ctx, id)
		switch {
		case err == nil && !d.caller.sees(scopeOf(a)):
		case err == nil:
			k.token, operatorID = a.JWT, a.OperatorID
			if k.account, err = jwt.DecodeAccountClaims(a.JWT); err != nil {
				return k, err
			}
		case !errors.Is(err, store.ErrNotFound):
			return k, err
		}
	}
	if operatorID != "" {
		o, err := d.GetOperator(ctx, operatorID)
		if err != nil {
			return k, err
		}
		return k, k.trust(o)
	}
	list, err := d.ListOperators(ctx, Page{Limit: mostOperators, Bounds: bounds})
	if err != nil {
		return k, err
	}
	for _, o := range list {
		if err := k.trust(o); err != nil {
			return k, err
		}
	}
	return k, nil
}

// mostOperators bounds the operators whose keys are compared.
const mostOperators = 1000

func (k *known) trust(o Operator) error {
	c, err := jwt.DecodeOperatorClaims(o.JWT)
	if err != nil {
		return err
	}
	k.operators = append(k.operators, c)
	return nil
}

// AttemptInput is a connection to explain.
type AttemptInput struct {
	// JWT is the user's, or a creds file without its seed.
	JWT claims.Secret
	// Host is the client's IP address, Type its connection type, such as STANDARD, and
	// SignedBy the public key of the seed that it holds; empty for not known.
	Host, Type, SignedBy string
	// At is when; zero means now.
	At time.Time
}

// Explain replays a nats-server's checks for a connection, against the account and
// operator as they are here now.
func (i *Issuer) Explain(ctx context.Context, caller Caller, in AttemptInput) (claims.Explanation, error) {
	var accountID string
	view, err := read(ctx, i, caller, use{permission: ReadAccounts, action: "explain", kind: "connection", target: ""}, func(ctx context.Context, d *desk) (claims.ServerView, error) {
		view := claims.ServerView{Connections: -1, LeafNodes: -1}
		problems := claims.CheckAttempt(in.Host, in.Type)
		if in.SignedBy != "" {
			problems = append(problems, claims.CheckPublicKey("/signed_by", claims.KindUser, in.SignedBy)...)
		}
		if problems.Blocking() {
			return view, invalid(problems)
		}
		token, err := readToken("/jwt", in.JWT)
		if err != nil {
			return view, err
		}
		u, ok := token.Claims.(*jwt.UserClaims)
		if !ok {
			return view, invalidField("/jwt", "not_a_user", "Clients connect with a user's JWT; this one is of another type. Inspect it instead.")
		}
		in.JWT = claims.NewSecret(token.Text)
		k, err := knownTo(ctx, d, u)
		view.Operators, view.Account, accountID = k.operators, k.token, claims.Above(u)
		return view, err
	})
	if err != nil {
		return claims.Explanation{}, err
	}
	if view.Account != "" {
		if live := i.askConnections(ctx, accountID); live != nil {
			view.Connections, view.LeafNodes = 0, 0
			for _, c := range live {
				if c.Type == claims.TypeLeaf {
					view.LeafNodes++
				} else {
					view.Connections++
				}
			}
		}
	}
	if in.At.IsZero() {
		in.At = i.now()
	}
	return claims.Explain(claims.Attempt{Token: in.JWT.Reveal(), SignedBy: in.SignedBy, Host: in.Host, Type: in.Type, At: in.At}, view), nil
}
