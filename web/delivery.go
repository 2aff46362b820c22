package web

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"chancery/claims"
)

// How long a page waits for servers: to read what is known, and for a change to
// be in effect.
const (
	liveTimeout  = 2 * time.Second
	waitChange   = 2 * time.Second
	waitRevoking = 5 * time.Second
)

// deliveryView is the one delivery component: how far an account's JWT got on each
// server.
type deliveryView struct {
	Chip chip
	// Note says what the chip cannot.
	Note string
	Rows []deliveryRow
	// Connected says that there are servers which can be asked, Done that each
	// of them is satisfied.
	Connected, Done bool
}

type deliveryRow struct {
	Server, ServerID string
	Chip             chip
	// Note explains the state, Error is the server's own words.
	Note, Error string
	Since       time.Time
}

// sync reads how far the account's JWT got; a page is shown without it rather than
// not at all.
func (c *Console) sync(ctx context.Context, v *visit, accountID string) claims.Sync {
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	s, err := c.live.Sync(ctx, accountID)
	if err != nil {
		c.log.WarnContext(ctx, "reading deliveries", slog.String("request_id", v.requestID), slog.Any("error", err))
		return claims.Sync{AccountID: accountID}
	}
	return s
}

// await gives a change that was just made a moment to be in effect everywhere. With
// nobody to wait for it returns at once.
func (c *Console) await(ctx context.Context, v *visit, accountID string, version int64, limit time.Duration) {
	if s := c.sync(ctx, v, accountID); !s.Connected || len(s.Servers) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if _, err := c.live.Wait(ctx, accountID, version); err != nil && ctx.Err() == nil {
		c.log.WarnContext(ctx, "waiting for servers", slog.String("request_id", v.requestID), slog.Any("error", err))
	}
}

// syncChip sums a sync up in a few words.
func syncChip(s claims.Sync) chip {
	n, of := s.InEffect(), len(s.Servers)
	switch s.State() {
	case "in_effect":
		return chip{toneGood, fmt.Sprintf("In effect on %d/%d", n, of)}
	case "servers_missing":
		return chip{toneBad, fmt.Sprintf("In effect on %d of %d expected", n, s.Expected)}
	case "partial":
		return chip{tonePart, fmt.Sprintf("In effect on %d/%d", n, of)}
	case "error":
		return chip{toneBad, fmt.Sprintf("Refused, in effect on %d/%d", n, of)}
	case "pending":
		return chip{toneWait, fmt.Sprintf("Pending on %d", of)}
	}
	if of > 0 {
		return chip{toneOff, "Not connected"}
	}
	return chip{toneOff, "No servers"}
}

func newDelivery(s claims.Sync) deliveryView {
	d := deliveryView{Chip: syncChip(s), Done: s.Done(), Connected: s.Connected && len(s.Servers) > 0}
	var missing []string
	for _, x := range s.Servers {
		row := deliveryRow{Server: x.ServerName, ServerID: x.ServerID, Error: x.Error, Since: sinceOf(x)}
		row.Chip, row.Note = deliveryChip(x, s.Version)
		if x.Version < s.Version || !x.State.Satisfied() {
			missing = append(missing, x.ServerName)
		}
		d.Rows = append(d.Rows, row)
	}
	switch {
	case len(s.Servers) > 0 && !s.Connected:
		d.Note = "The servers cannot be reached just now. What is signed is stored, is served to servers that ask, and is pushed as soon as they can be."
	case len(s.Servers) == 0:
		d.Note = "No nats-server of this operator is connected. What is signed is stored, is served to servers that ask, and is pushed as soon as one connects."
	case len(missing) > 0:
		d.Note = "Still to come: " + strings.Join(missing, ", ") + "."
	}
	if n := s.Missing(); n > 0 && d.Connected {
		d.Note = strings.TrimSpace(d.Note + " " + plural(n, "expected server does", "expected servers do") + " not answer: nobody knows what is in force there.")
	}
	return d
}

// sinceOf is when the server was last heard of the version, or when it was sent.
func sinceOf(d claims.Delivery) time.Time {
	for _, at := range []time.Time{d.Proven, d.Acknowledged, d.Sent} {
		if !at.IsZero() {
			return at
		}
	}
	return time.Time{}
}

func deliveryChip(d claims.Delivery, version int64) (label chip, note string) {
	if d.Version < version {
		return chip{toneWait, "Pending"}, "Not told yet"
	}
	switch d.State {
	case claims.DeliveryInEffect:
		return chip{toneGood, "In effect"}, ""
	case claims.DeliveryNotLoaded:
		return chip{toneGood, "Not loaded"}, "Fetched when a client comes"
	case claims.DeliveryStored:
		return chip{toneGood, "Stored"}, "On the server's disk, loaded when a client comes"
	case claims.DeliveryAcknowledged:
		return chip{tonePart, "Acknowledged"}, "Received, not proven yet"
	case claims.DeliverySent:
		return chip{toneWait, "Sent"}, "No answer yet"
	case claims.DeliveryFailed:
		return chip{toneBad, "Refused"}, ""
	}
	return chip{toneWait, "Pending"}, "Not told yet"
}
