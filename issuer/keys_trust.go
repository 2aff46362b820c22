package issuer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// trustReport is which running servers do not trust an operator's key.
type trustReport struct {
	untrusting []string
	// known tells that the servers said so; seen that there are servers at all, as far
	// as the rows know: right now they may be out of reach.
	known, seen bool
	// unsigned tells that the operator's JWT in force does not list the key, since its
	// identity key is offline and has not signed that yet: no server can trust it.
	unsigned bool
}

// refuses tells whether some server may refuse what the key signs.
func (r trustReport) refuses() bool {
	return r.unsigned || len(r.untrusting) > 0 || (!r.known && r.seen)
}

func (r trustReport) text() string {
	const most = 5
	if r.unsigned {
		return "The operator's JWT that lists this key waits for the signature of the identity key, which is offline: no server can trust the key before."
	}
	if len(r.untrusting) == 0 {
		return "It is not known whether every running nats-server trusts this key: accounts that it signs would be refused by those that do not."
	}
	names := strings.Join(r.untrusting[:min(len(r.untrusting), most)], ", ")
	if more := len(r.untrusting) - most; more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	return "These nats-servers do not trust this key yet, and would refuse the accounts that it signs: " + names + "."
}

// whoTrusts asks which running servers trust the operator's key that is to become
// current; a key that is yet to be made nobody trusts. It asks before the transaction,
// which must not wait for a silent server.
func (i *Issuer) whoTrusts(ctx context.Context, op Op, owner KeyOwner, key string, current bool) trustReport {
	if !current || owner.Operator == "" || !op.Caller.May(WriteOperators) {
		return trustReport{}
	}
	var o Operator
	var servers []store.Server
	err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		d := desk{Tx: t, caller: op.Caller, use: use{permission: WriteOperators}}
		if o, err = findOperator(ctx, &d, owner.Operator); err == nil {
			servers, err = t.ListServers(ctx, o.ID)
		}
		return err
	})
	r := trustReport{seen: len(servers) > 0}
	if err != nil {
		return r // what went wrong, the plan says itself
	}
	if !claims.IsPublicKey(claims.KindOperator, key) {
		key = ""
	}
	r.unsigned = o.Custody == CustodyOffline && !lists(o.JWT, key)
	if i.trusts == nil {
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	r.untrusting, r.known = i.trusts(ctx, o.ID, key)
	return r
}

// lists tells whether an operator's JWT lists the key; one that is not signed yet
// lists none.
func lists(token, key string) bool {
	c, err := jwt.DecodeOperatorClaims(token)
	return err == nil && slices.Contains(c.SigningKeys, key)
}
