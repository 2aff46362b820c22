package issuer

import (
	"context"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// ServersOf is whose servers a caller asked for, and of which accounts they may see what
// is on them.
type ServersOf struct {
	Operator Operator
	// Fingerprint is claims.OperatorFingerprint of the operator's JWT in force; empty
	// before there is one, and of an observed operator.
	Fingerprint string
	// Within are the accounts by identity that the caller may see; nil is all.
	Within []string
}

// Servers returns whose servers are asked for. Servers themselves are seen by everybody
// who may see them for any account of the operator.
func (i *Issuer) Servers(ctx context.Context, caller Caller, operator string) (ServersOf, error) {
	return read(ctx, i, caller, use{permission: ReadServers, action: "list", kind: "server", target: operator}, func(ctx context.Context, d *desk) (ServersOf, error) {
		var out ServersOf
		o, err := findOperator(ctx, d, operator)
		if err != nil {
			return out, err
		}
		out.Operator = o
		if bounds := d.some().In(Scope{Operator: o.ID}); bounds != nil {
			out.Within = []string{}
			for _, s := range bounds.Scopes {
				out.Within = append(out.Within, s.Account)
			}
		}
		if o.Custody == CustodyObserved || o.JWT == "" {
			return out, nil
		}
		c, err := jwt.DecodeOperatorClaims(o.JWT)
		if err != nil {
			return out, err
		}
		out.Fingerprint = claims.OperatorFingerprint(c)
		return out, nil
	})
}
