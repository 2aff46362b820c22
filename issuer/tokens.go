package issuer

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"chancery/claims"
	"chancery/store"
)

// TokenInput asks for an API token.
type TokenInput struct {
	Name string
	// Grants are what it may do: no more than its maker may. Each part of a scope is a
	// name or an identity.
	Grants []Grant
	// TTL is the lifetime; it must be given, up to MaxTokenTTL.
	TTL time.Duration
	// Networks are where it may be used from, as CIDRs or addresses; none is everywhere.
	Networks []string
}

// MaxTokenTTL is the longest lifetime of an API token.
const MaxTokenTTL = 366 * 24 * time.Hour

// maxNetworks is how many networks a token may be bound to.
const maxNetworks = 32

// Token is an API token without its text.
type Token struct {
	store.Token
	// Held are its grants with the names of their places.
	Held []Held
}

// State returns active, expired or revoked, as of now.
func (k Token) State(now time.Time) string {
	switch {
	case !k.Revoked.IsZero():
		return "revoked"
	case !k.Expires.After(now):
		return "expired"
	}
	return "active"
}

// NewToken is a token that was made.
type NewToken struct {
	Token
	// Text is shown once; the hash is kept. It is empty in a plan.
	Text claims.Secret
}

// CreateToken makes an API token. Nobody gives more than they have: for every
// permission of a role the caller needs it on all of the place. What the token may do
// does not follow its maker: it ends with its lifetime, or when it is revoked.
func (i *Issuer) CreateToken(ctx context.Context, op Op, in TokenInput) (Outcome[NewToken], error) {
	return change(ctx, i, op, use{permission: WriteTokens, action: "create", kind: "token", target: in.Name}, func(ctx context.Context, w *work) (planned[NewToken], error) {
		var none planned[NewToken]
		networks, problems := parseNetworks(in.Networks)
		problems = append(append(claims.CheckName("/name", in.Name), checkGrants(in.Grants)...), problems...)
		if in.TTL < time.Second || in.TTL > MaxTokenTTL || in.TTL%time.Second != 0 {
			problems = append(problems, claims.Problem{Pointer: "/ttl_seconds", Code: "out_of_range", Detail: "A token needs a lifetime of 1 to 31,622,400 whole seconds, which is 366 days.", Blocking: true})
		}
		if problems.Blocking() {
			return none, invalid(problems)
		}
		grants, err := w.give(ctx, in.Grants)
		if err != nil {
			return none, err
		}
		held, err := w.held(ctx, grants)
		if err != nil {
			return none, err
		}
		out := NewToken{Token: Token{Token: store.Token{
			Name: in.Name, Grants: grants, Networks: networks, CreatedBy: op.Caller.ID, Created: w.Now(), Expires: w.Now().Add(in.TTL),
		}, Held: held}}
		if out.ID, err = w.NewID("tok_"); err != nil {
			return none, err
		}
		return planned[NewToken]{preview: out, target: out.ID, plan: out.plan(), apply: func(ctx context.Context) (NewToken, error) {
			if out.Text, err = i.newSecret(TokenPrefix); err != nil {
				return out, err
			}
			out.Hash = hashSecret(out.Text.Reveal())
			return out, w.CreateToken(ctx, out.Token.Token)
		}}, nil
	})
}

// plan says what a new token is.
func (k NewToken) plan() Plan {
	p := Plan{Connections: unknown}
	add := func(pointer, field string, to any, after string) {
		p.Changes = append(p.Changes, Change{Path: pointer, To: to, Text: field + ": " + after})
		p.Summary = append(p.Summary, claims.FieldChange{Pointer: pointer, Field: field, After: after})
	}
	add("/name", "Name", k.Name, k.Name)
	for n, h := range k.Held {
		add(claims.Point("/grants", n), "May act as", h.Words(), h.Words())
	}
	until := k.Expires.Format(time.RFC3339)
	add("/expires_at", "Until", until, until)
	for n, network := range k.Networks {
		add(claims.Point("/networks", n), "From", network.String(), network.String())
	}
	if len(k.Networks) == 0 {
		p.Warnings = claims.Problems{{Pointer: "/networks", Code: "from_everywhere", Detail: "It can be used from everywhere: whoever finds it may use it."}}
	}
	return p
}

// parseNetworks reads CIDRs and addresses, and returns them in one form: without host
// bits, IPv4 as such, each once.
func parseNetworks(texts []string) ([]netip.Prefix, claims.Problems) {
	var out []netip.Prefix
	var problems claims.Problems
	if len(texts) > maxNetworks {
		return nil, claims.Problems{{Pointer: "/networks", Code: "too_many", Detail: fmt.Sprintf("A token takes up to %d networks.", maxNetworks), Blocking: true}}
	}
	for n, text := range texts {
		p, ok := parseNetwork(text)
		if !ok {
			problems = append(problems, claims.Problem{Pointer: claims.Point("/networks", n), Code: "invalid_network", Detail: "This is a network such as 10.0.0.0/8 or 2001:db8::/32, or an address.", Blocking: true})
			continue
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	return out, problems
}

func parseNetwork(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, false
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return p, false
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}

// ListTokens returns a page of the tokens of which all that they may do lies where the
// caller may read tokens, the newest first.
func (i *Issuer) ListTokens(ctx context.Context, caller Caller, f TokenFilter, page LedgerPage) ([]Token, error) {
	return read(ctx, i, caller, use{permission: ReadTokens, action: "list", kind: "token", target: ""}, func(ctx context.Context, d *desk) ([]Token, error) {
		list, err := d.ListTokens(ctx, store.TokenFilter{CreatedBy: f.CreatedBy, InUse: f.InUse, Bounds: d.some()}, page.Before, page.Limit)
		if err != nil {
			return nil, err
		}
		out := make([]Token, len(list))
		for n, k := range list {
			if out[n], err = d.token(ctx, k); err != nil {
				return nil, err
			}
		}
		return out, nil
	})
}

// TokenFilter keeps some of the tokens. The zero value keeps all.
type TokenFilter struct {
	// CreatedBy is the identity of who made it.
	CreatedBy string
	// InUse leaves out those that are expired or revoked.
	InUse bool
}

// token adds the names of places, and leaves the hash out.
func (d *desk) token(ctx context.Context, k store.Token) (out Token, err error) {
	k.Hash = nil
	out.Token = k
	out.Held, err = d.held(ctx, k.Grants)
	return out, err
}

// GetToken returns a token by identity.
func (i *Issuer) GetToken(ctx context.Context, caller Caller, token string) (Token, error) {
	return read(ctx, i, caller, use{permission: ReadTokens, action: "read", kind: "token", target: token}, func(ctx context.Context, d *desk) (Token, error) {
		k, err := findToken(ctx, d, token)
		if err != nil {
			return Token{}, err
		}
		return d.token(ctx, k)
	})
}

// findToken finds a token, of which all that it may do has to lie where the caller has
// the permission.
func findToken(ctx context.Context, d *desk, id string) (store.Token, error) {
	k, err := d.GetToken(ctx, id)
	if err != nil {
		return k, d.orMissing(err, "token")
	}
	return k, d.enterAll(k.Grants, "token")
}

// RevokeToken takes a token back: the next request with it is refused, by every
// replica, since each asks the database. It cannot be undone.
func (i *Issuer) RevokeToken(ctx context.Context, op Op, token string) (Outcome[Token], error) {
	return change(ctx, i, op, use{permission: WriteTokens, action: "revoke", kind: "token", target: token, protective: true}, func(ctx context.Context, w *work) (planned[Token], error) {
		var none planned[Token]
		k, err := findToken(ctx, &w.desk, token)
		if err != nil {
			return none, err
		}
		out, err := w.token(ctx, k)
		if err != nil {
			return none, err
		}
		if out.State(w.Now()) == "revoked" {
			return none, &Error{Kind: KindConflict, Code: "already_revoked", Message: "The token was revoked before."}
		}
		plan := Plan{Connections: unknown, Changes: []Change{{Path: "/state", From: out.State(w.Now()), To: "revoked", Text: "The token is refused from now on"}}}
		plan.Summary = []claims.FieldChange{{Pointer: "/state", Field: "State", Before: out.State(w.Now()), After: "revoked"}}
		out.Revoked, out.RevokedBy = w.Now(), op.Caller.ID
		return planned[Token]{preview: out, target: k.ID, plan: plan, apply: func(ctx context.Context) (Token, error) {
			return out, orMissing(w.RevokeToken(ctx, k.ID, op.Caller.ID), "token")
		}}, nil
	})
}

// RevokeTokens revokes every API token called name; there may be none. It is for who
// may do so everywhere.
func (i *Issuer) RevokeTokens(ctx context.Context, op Op, name string) error {
	_, err := change(ctx, i, op, use{permission: WriteTokens, action: "revoke", kind: "token", target: name}, func(_ context.Context, w *work) (planned[struct{}], error) {
		if problems := claims.CheckName("/name", name); problems.Blocking() {
			return planned[struct{}]{}, invalid(problems)
		}
		return planned[struct{}]{target: name, apply: func(ctx context.Context) (struct{}, error) {
			return struct{}{}, w.RevokeTokens(ctx, name, op.Caller.ID)
		}}, nil
	})
	return err
}
