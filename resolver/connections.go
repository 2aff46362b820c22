package resolver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"chancery/claims"
)

// The most a nats-server lists at once (monitor.go: DefaultConnListSize), and how
// many pages of one server are read.
const (
	connectionsLimit = 1024
	connectionsPages = 20
)

// Connections asks every server for the connections of the account's clients and
// leaf nodes and returns them by server and number. A server that does not answer within 2 s is left out.
// The error is ErrNotConnected, or store.ErrNotFound for an unknown account. No
// server is made to load the account: listing connections does that, so only those
// are asked which have connections of it.
func (r *Resolver) Connections(ctx context.Context, accountID string) ([]claims.Connection, error) {
	operatorID := r.memory.operatorOf(accountID)
	if operatorID == "" { // it may be as new as that
		s, err := r.getServed(ctx, accountID)
		if err != nil {
			return nil, fmt.Errorf("listing connections: %w", err)
		}
		operatorID = s.OperatorID
	}
	o, l := r.operator(operatorID), (*link)(nil)
	if o != nil {
		l = o.link.Load()
	}
	if l == nil {
		return nil, fmt.Errorf("listing connections: %w", ErrNotConnected)
	}
	ctx, cancel := context.WithTimeout(ctx, r.pace.answer)
	defer cancel()
	lists, err := o.connections(ctx, l, accountID)
	if err != nil {
		return nil, fmt.Errorf("listing connections: %w", errors.Join(ErrNotConnected, err))
	}
	var out []claims.Connection
	for _, list := range lists {
		out = append(out, list.conns...)
	}
	slices.SortFunc(out, func(a, b claims.Connection) int {
		return cmp.Or(cmp.Compare(a.ServerName, b.ServerName), cmp.Compare(a.ServerID, b.ServerID), cmp.Compare(a.CID, b.CID))
	})
	return out, nil
}

// listing is what one server told of an account's connections, which may not be the whole.
type listing struct {
	conns []claims.Connection
	whole bool
}

// connections returns what each server told that is known to have the account or not.
func (o *operator) connections(ctx context.Context, l *link, accountID string) (map[string]listing, error) {
	members, _, _ := o.roster.snapshot()
	ids := make([]string, 0, len(members))
	for _, m := range members {
		ids = append(ids, m.ID)
	}
	holders, err := ask[accountInfo](ctx, o, l, question{subject: infoSubject(accountID), expect: ids, limit: o.r.pace.answer})
	if err != nil {
		return nil, err
	}
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	all := make(map[string]listing, len(holders))
	for _, h := range holders {
		if h.Data == nil || h.Data.Clients+h.Data.Leafs == 0 {
			mu.Lock()
			all[h.Server.ID] = listing{whole: true}
			mu.Unlock()
			continue
		}
		wg.Go(func() {
			list, err := o.connectionsOn(ctx, l, accountID, h.Server)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
			if err == nil {
				all[h.Server.ID] = list
			}
		})
	}
	wg.Wait()
	return all, errors.Join(errs...)
}

// connectionsOn reads the pages of one server. The request goes to all servers and
// is filtered by name, since the list of one server's connections in all accounts
// is not for Chancery to read. It is not the whole when an answer did not come in time,
// or there are more than are read.
func (o *operator) connectionsOn(ctx context.Context, l *link, accountID string, s serverInfo) (listing, error) {
	var out listing
	q := connectionsQuery{Auth: true, Limit: o.r.pageSize, ServerName: s.Name, ExactMatch: true}
	for range connectionsPages {
		body, err := json.Marshal(q)
		if err != nil {
			return out, fmt.Errorf("encoding the question: %w", err)
		}
		answers, err := ask[connectionsPage](ctx, o, l, question{
			subject: connectionsSubject(accountID), body: body, expect: []string{s.ID}, limit: o.r.pace.answer,
		})
		if err != nil {
			return out, err
		}
		page := answers[s.ID].Data
		if page == nil {
			return out, nil
		}
		out.conns = append(out.conns, page.clients(s)...)
		if q.Offset += q.Limit; q.Offset >= page.Total {
			out.whole = true
			return out, nil
		}
	}
	return out, nil
}

// clients returns the page's connections, those of leaf nodes too: they are closed
// for the same reasons.
func (p *connectionsPage) clients(s serverInfo) []claims.Connection {
	out := make([]claims.Connection, 0, len(p.Connections))
	for _, c := range p.Connections {
		switch c.Kind {
		case "Client":
		case "Leafnode":
			c.Type = claims.TypeLeaf
		default:
			continue
		}
		out = append(out, claims.Connection{
			CID: c.CID, ServerID: s.ID, ServerName: cmp.Or(errorText(s.Name), s.ID), UserKey: errorText(c.User), IssuerKey: c.IssuerKey,
			Client: errorText(c.Name), Host: c.IP, Type: errorText(c.Type), Lang: errorText(c.Lang), Version: errorText(c.Version),
			Since: c.Start, InMsgs: c.InMsgs, OutMsg: c.OutMsgs, Subscriptions: c.Subs, User: shownUser(c.JWT.ConnectedUser),
		})
	}
	return out
}
