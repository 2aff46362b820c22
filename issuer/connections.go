package issuer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"chancery/claims"
)

// Sight is what a caller may see of the live picture: connections, denials and events.
type Sight struct {
	claims.Sight
	// OperatorID and AccountID are what the caller named; empty for all.
	OperatorID, AccountID string
}

// Sight returns what the caller may see of the live picture: with ReadConnections what
// concerns an account, and with ReadServers on a whole operator what concerns no
// account of it. An operator or account that is named narrows it. It speaks of the
// caller's grants as they are now: whoever keeps looking asks again.
func (i *Issuer) Sight(ctx context.Context, caller Caller, operator, account string) (Sight, error) {
	return read(ctx, i, caller, use{permission: ReadConnections, action: "list", kind: "connection", target: account}, func(ctx context.Context, d *desk) (Sight, error) {
		var s Sight
		if operator != "" {
			o, err := findOperator(ctx, d, operator)
			if err != nil {
				return s, err
			}
			s.OperatorID = o.ID
		}
		if account != "" {
			a, err := findAccountOf(ctx, d, s.OperatorID, account)
			if err != nil {
				return s, err
			}
			s.OperatorID, s.AccountID = a.OperatorID, a.ID
		}
		d.some()
		s.Sight = s.of(caller)
		return s, nil
	})
}

func (s Sight) of(caller Caller) claims.Sight {
	return claims.Sight{
		Of: func(operatorID, accountID string) bool {
			switch {
			case s.OperatorID != "" && s.OperatorID != operatorID, s.AccountID != "" && s.AccountID != accountID:
				return false
			case accountID == "":
				return caller.Allows(ReadServers, Scope{Operator: operatorID})
			}
			return caller.Allows(ReadConnections, Scope{Operator: operatorID, Account: accountID})
		},
		Part: func(operatorID string) bool {
			return (s.OperatorID == "" || s.OperatorID == operatorID) && caller.MayWithin(ReadConnections, Scope{Operator: operatorID})
		},
	}
}

// ConnectionRef names a connection: its server, by key or name, and its number there.
type ConnectionRef struct {
	Server string
	CID    uint64
}

func (r ConnectionRef) String() string { return r.Server + "/" + strconv.FormatUint(r.CID, 10) }

// GetConnection returns a live connection.
func (i *Issuer) GetConnection(ctx context.Context, caller Caller, ref ConnectionRef) (claims.LiveConnection, error) {
	return read(ctx, i, caller, use{permission: ReadConnections, action: "read", kind: "connection", target: ref.String()}, func(ctx context.Context, d *desk) (claims.LiveConnection, error) {
		return i.findConnection(ctx, d, ref)
	})
}

// findConnection finds a live connection and enters its account. One without an account
// of ours, such as of an account that was made elsewhere, is of the operator.
func (i *Issuer) findConnection(_ context.Context, d *desk, ref ConnectionRef) (claims.LiveConnection, error) {
	if i.connection == nil {
		return claims.LiveConnection{}, d.missing("connection")
	}
	c, ok := i.connection(ref.Server, ref.CID)
	if !ok {
		return c, d.missing("connection")
	}
	return c, d.enter(Scope{Operator: c.OperatorID, Account: c.AccountID}, "connection")
}

// Kick closes a live connection. It keeps nobody out: the client may come back at once
// with the same credentials, which only a revocation ends. It needs a reason. What the
// server did not answer to is on record all the same.
func (i *Issuer) Kick(ctx context.Context, op Op, ref ConnectionRef) (Outcome[claims.LiveConnection], error) {
	out, err := change(ctx, i, op, use{permission: KickConnections, action: "kick", kind: "connection", target: ref.String(), protective: true}, func(ctx context.Context, w *work) (planned[claims.LiveConnection], error) {
		c, err := i.findConnection(ctx, &w.desk, ref)
		if err != nil {
			return planned[claims.LiveConnection]{}, err
		}
		if blank(op.Reason) {
			return planned[claims.LiveConnection]{}, invalidField("/reason", "required", "Closing a connection needs a reason: it goes on record.")
		}
		plan := Plan{
			Connections: 1,
			Changes:     []Change{{Path: "/state", From: "connected", To: "closed", Text: "The server closes the connection"}},
			Summary:     []claims.FieldChange{{Pointer: "/state", Field: "Connection", Before: "connected", After: "closed"}},
			Warnings:    claims.Problems{{Code: "may_reconnect", Detail: "The client may come back at once with the same credentials. Revoke them to keep it out."}},
		}
		return planned[claims.LiveConnection]{
			preview: c, target: ConnectionRef{c.ServerID, c.CID}.String(), plan: plan, apply: func(context.Context) (claims.LiveConnection, error) { return c, nil },
		}, nil
	})
	if err != nil || op.DryRun || out.Replayed {
		return out, err
	}
	return out, i.closeConnection(ctx, out.Value)
}

// kickTime is how long the server may take to answer. It is asked after the commit: a
// transaction never waits for a server.
const kickTime = 6 * time.Second

func (i *Issuer) closeConnection(ctx context.Context, c claims.LiveConnection) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), kickTime)
	defer cancel()
	switch err := i.kick(ctx, c.OperatorID, c.ServerID, c.CID); {
	case err == nil:
		return nil
	case errors.Is(err, claims.ErrNoConnection):
		return missing("connection")
	case errors.Is(err, claims.ErrNotConnected):
		return &Error{
			Kind: KindBusy, Code: "server_unreachable", Message: "The server of the connection did not answer. The attempt is on record.",
			Hint: "Look whether the connection is still there, then try again.", cause: err,
		}
	default:
		return fmt.Errorf("closing a connection: %w", err)
	}
}

// PartyKey is who connects, as servers tell it.
type PartyKey struct{ AccountID, UserKey, IssuerKey string }

// Party is who connects, as it is on record here; what is not on record is empty.
type Party struct {
	Account, Operator string
	// UserID and User are to whom the key was issued; TemplateID and Template are what the
	// key that signed the JWT carries.
	UserID, User         string
	TemplateID, Template string
}

// mostParties bounds how many are named at once.
const mostParties = 1000

// Parties names those who connect, as far as the caller may see their account and they
// are on record. At most 1,000 are named.
func (i *Issuer) Parties(ctx context.Context, caller Caller, keys []PartyKey) (map[PartyKey]Party, error) {
	return read(ctx, i, caller, use{permission: ReadConnections, action: "list", kind: "connection", target: ""}, func(ctx context.Context, d *desk) (map[PartyKey]Party, error) {
		d.some()
		out := map[PartyKey]Party{}
		byAccount := map[string][]PartyKey{}
		for _, k := range keys[:min(len(keys), mostParties)] {
			byAccount[k.AccountID] = append(byAccount[k.AccountID], k)
		}
		for id, list := range byAccount {
			a, err := d.GetAccount(ctx, id)
			if ignoreMissing(err) != nil {
				return nil, err
			}
			if err != nil || !caller.Allows(ReadConnections, scopeOf(a)) {
				continue
			}
			if err := d.nameParties(ctx, a, list, out); err != nil {
				return nil, err
			}
		}
		return out, nil
	})
}

func (d *desk) nameParties(ctx context.Context, a Account, list []PartyKey, out map[PartyKey]Party) error {
	o, err := d.GetOperator(ctx, a.OperatorID)
	if err != nil {
		return err
	}
	var keys []string
	for _, k := range list {
		if claims.IsPublicKey(claims.KindUser, k.UserKey) {
			keys = append(keys, k.UserKey)
		}
	}
	known, err := d.KeyHistories(ctx, a.ID, keys)
	if err != nil {
		return err
	}
	users, templates := map[string]User{}, map[string]Template{}
	for _, k := range list {
		if _, done := out[k]; done {
			continue
		}
		p := Party{Account: a.Name, Operator: o.Name, UserID: known[k.UserKey].UserID}
		if u, ok := users[p.UserID]; ok || p.UserID == "" {
			p.User = u.Name
		} else if u, err = d.GetUser(ctx, a.ID, p.UserID); ignoreMissing(err) != nil {
			return err
		} else if users[p.UserID], p.User = u, u.Name; err != nil {
			p.UserID = "" // deleted since
		}
		t, ok := templates[k.IssuerKey]
		if !ok {
			if t, err = d.templateOfKey(ctx, a, k.IssuerKey); err != nil {
				return err
			}
			templates[k.IssuerKey] = t
		}
		p.TemplateID, p.Template = t.ID, t.Body.Name
		out[k] = p
	}
	return nil
}

// templateOfKey returns the template that a key of the account carries; the zero value
// when it carries none, or is not the account's.
func (d *desk) templateOfKey(ctx context.Context, a Account, key string) (Template, error) {
	k, err := d.GetKey(ctx, key)
	if err != nil || k.AccountID != a.ID || k.TemplateID == "" {
		return Template{}, ignoreMissing(err)
	}
	t, err := d.TemplateByID(ctx, k.TemplateID)
	return t, ignoreMissing(err)
}
