package issuer

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// unknown is a number that nobody could be asked for.
const unknown = -1

// liveConnections asks for the account's live connections, nil when they are not
// known. It asks only for dry runs, and before the transaction: a change must never
// wait for a silent server.
func (i *Issuer) liveConnections(ctx context.Context, op Op, need Permission, account string) []claims.Connection {
	if !op.DryRun || !op.Caller.May(need) {
		return nil
	}
	var a Account
	err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) (err error) {
		a, err = findAccount(ctx, &desk{Tx: t, caller: op.Caller, use: use{permission: need}}, account)
		return err
	})
	if err != nil {
		return nil // the plan says so itself
	}
	return i.askConnections(ctx, a.ID)
}

// askConnections asks the servers for an account's live connections, nil when they
// are not known. A silent server does not hold the answer up for long.
func (i *Issuer) askConnections(ctx context.Context, accountID string) []claims.Connection {
	if i.connections == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	all, err := i.connections(ctx, accountID)
	if err != nil {
		i.log.WarnContext(ctx, "asking for live connections", slog.Any("error", err))
		return nil
	}
	if all == nil {
		all = []claims.Connection{}
	}
	return all
}

// foresee completes the plan of a change that makes a what it will be, and its rows
// what edit, which may be nil, makes of them: for a dry run it rehearses the signing
// and works out what becomes of the live connections.
func foresee(ctx context.Context, w *work, a Account, edit func(*claims.Account), live []claims.Connection, plan *Plan) error {
	plan.Connections = unknown
	if !w.op.DryRun {
		return nil
	}
	checked, err := rehearse(ctx, w, a, edit)
	if err != nil || live == nil {
		return err
	}
	before, err := jwt.DecodeAccountClaims(a.JWT)
	if err != nil {
		return fmt.Errorf("decoding the current account JWT: %w", err)
	}
	after, ok := checked.AccountClaims()
	if !ok {
		return fmt.Errorf("reading the new claims of account %s", a.ID)
	}
	blast := claims.BlastRadius(before, after, live)
	plan.Blast, plan.Connections = &blast, blast.AtLeast
	return nil
}

// settingsOf is account claims of nothing but settings, to compare them.
func settingsOf(s jwt.Account) *jwt.AccountClaims { return &jwt.AccountClaims{Account: s} }

// intentOf is settingsOf what servers are to hold in the account's state, with its
// fixed end. That of a lifetime moves with every signing and is no intent.
func intentOf(a Account) *jwt.AccountClaims {
	c := settingsOf(inForce(a))
	c.Expires = a.FixedEnd()
	return c
}
