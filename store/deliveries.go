package store

import (
	"context"
	"time"
)

// Delivery is how far an account's JWT got on one server.
type Delivery struct {
	AccountID  string
	ServerID   string
	ServerName string
	// Version is the JWT version the rest speaks of.
	Version int64
	// State is sent, acknowledged, stored, in_effect, not_loaded or error.
	State string
	// Error is the server's own words, bounded.
	Error string
	// Sent, Acknowledged and Proven are when each step was seen; zero if not.
	Sent, Acknowledged, Proven, Updated time.Time
}

const deliveryColumns = `account_id, server_id, server_name, jwt_version, state, error, sent_us, acknowledged_us, proven_us, updated_us`

func scanDelivery(r row) (Delivery, error) {
	var d Delivery
	var sent, acked, proven, updated int64
	err := r.Scan(&d.AccountID, &d.ServerID, &d.ServerName, &d.Version, &d.State, &d.Error, &sent, &acked, &proven, &updated)
	d.Sent, d.Acknowledged, d.Proven, d.Updated = fromMicros(sent), fromMicros(acked), fromMicros(proven), fromMicros(updated)
	return d, err
}

// PutDelivery stores d unless a later version is already known.
func (t *Tx) PutDelivery(ctx context.Context, d Delivery) error {
	_, err := t.exec(ctx, `INSERT INTO deliveries (`+deliveryColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (account_id, server_id) DO UPDATE SET server_name = excluded.server_name, jwt_version = excluded.jwt_version, state = excluded.state,
			error = excluded.error, sent_us = excluded.sent_us, acknowledged_us = excluded.acknowledged_us, proven_us = excluded.proven_us, updated_us = excluded.updated_us
		WHERE deliveries.jwt_version <= excluded.jwt_version`,
		d.AccountID, d.ServerID, d.ServerName, d.Version, d.State, d.Error, micros(d.Sent), micros(d.Acknowledged), micros(d.Proven), micros(t.now))
	return err
}

// ListDeliveries returns the deliveries of an account by server name.
func (t *Tx) ListDeliveries(ctx context.Context, accountID string) ([]Delivery, error) {
	return many(ctx, t, scanDelivery, `SELECT `+deliveryColumns+` FROM deliveries WHERE account_id = $1 ORDER BY server_name, server_id`, accountID)
}
