package resolver

import (
	"context"
	"fmt"

	"chancery/claims"
	"chancery/store"
)

// newerVersion is what is said of a server that has a newer JWT than ours.
const newerVersion = "The server has a newer version."

// overtaken tells whether a JWT that a server has is newer than ours and signed by a key
// that servers trust. Such a one is not pushed away: it is handed to those who record it
// and ask for a decision. It may be a version of ours as well, which memory does not have
// yet; then it is pushed by whoever made it.
func (o *operator) overtaken(account string, s serverInfo, token string) bool {
	e := o.r.memory.get(account)
	if e == nil || token == "" || token == e.token {
		return false
	}
	now := o.r.now()
	j := claims.Judge(claims.Found{
		AccountID: account, Token: token, Ours: e.token, OursIssuedAt: e.issuedAt, Signers: o.drifting.signers(),
	}, now)
	if j.Kind != claims.DriftNewer {
		return false
	}
	o.drifting.add(hint{account: account, token: token, seen: claims.SeenMemory, serverID: s.ID, server: s.Name, at: now})
	return true
}

// leave reports a server that has a newer JWT than ours, which is not pushed away.
func (o *operator) leave(ctx context.Context, account string, s serverInfo) error {
	e := o.r.memory.get(account)
	if e == nil {
		return nil
	}
	d := claims.Delivery{ServerID: s.ID, ServerName: s.Name, State: claims.DeliveryFailed, Version: e.version, Error: newerVersion}
	o.r.ledger.report(account, d)
	return o.r.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
		return t.PutDelivery(ctx, store.Delivery{
			AccountID: account, ServerID: d.ServerID, ServerName: d.ServerName, Version: d.Version, State: string(d.State), Error: d.Error,
		})
	})
}

// blame takes back the proof of the servers that were seen with something else than s in
// memory. While that is left to a person, nothing is pushed that would show it.
func (o *operator) blame(ctx context.Context, s store.Served, kind claims.DriftKind, found []hint) error {
	why := "The server has another version."
	switch kind {
	case claims.DriftNewer:
		why = newerVersion
	case claims.DriftDeleted:
		why = "The server admits nobody to the account."
	}
	var rows []store.Delivery
	for _, h := range found {
		d := claims.Delivery{ServerID: h.serverID, ServerName: h.server, State: claims.DeliveryFailed, Version: s.Version, Error: why}
		if s.Token == "" || h.serverID == "" || !o.r.ledger.report(s.AccountID, d) {
			continue
		}
		rows = append(rows, store.Delivery{
			AccountID: s.AccountID, ServerID: d.ServerID, ServerName: d.ServerName, Version: d.Version, State: string(d.State), Error: d.Error,
		})
	}
	if len(rows) == 0 {
		return nil
	}
	err := o.r.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
		for _, row := range rows {
			if err := t.PutDelivery(ctx, row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("recording that servers have other JWTs of account %s: %w", s.AccountID, err)
	}
	return nil
}
