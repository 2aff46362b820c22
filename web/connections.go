package web

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"chancery/claims"
)

// connectionsView is who is connected now.
type connectionsView struct {
	Rows []connectionRow
	// Unknown says that no server could be asked.
	Unknown bool
	// More counts what the table leaves out.
	More int
}

type connectionRow struct {
	Client, Host, Server, Key string
	// Software is the client library.
	Software string
	Since    time.Time
}

// mostConnections is how many connections a page shows.
const mostConnections = 100

// connections asks the servers for the account's connections that match, oldest
// first. A silent server does not hold the page up for long.
func (c *Console) connections(ctx context.Context, v *visit, accountID string, match func(claims.Connection) bool) connectionsView {
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	list, err := c.live.Connections(ctx, accountID)
	if err != nil {
		c.log.WarnContext(ctx, "reading live connections", slog.String("request_id", v.requestID), slog.Any("error", err))
		return connectionsView{Unknown: true}
	}
	list = slices.DeleteFunc(slices.Clone(list), func(x claims.Connection) bool { return !match(x) })
	slices.SortFunc(list, func(a, b claims.Connection) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.CID, b.CID)) })
	var view connectionsView
	if len(list) > mostConnections {
		view.More = len(list) - mostConnections
		list = list[:mostConnections]
	}
	for _, x := range list {
		row := connectionRow{Client: x.Client, Host: x.Host, Server: x.ServerName, Key: x.UserKey, Since: x.Since}
		if x.Lang != "" {
			row.Software = x.Lang + " " + x.Version
		}
		view.Rows = append(view.Rows, row)
	}
	return view
}

// Count is how many there are.
func (v connectionsView) Count() int { return len(v.Rows) + v.More }

// lastSeen returns when one of a user's keys was connected last; nil when that is not
// known.
func (c *Console) lastSeen(accountID string, keys map[string]bool) *claims.Seen {
	var last *claims.Seen
	for _, s := range c.live.LastSeen(accountID, slices.Collect(maps.Keys(keys))) {
		if last == nil || s.At.After(last.At) {
			last = &s
		}
	}
	return last
}
