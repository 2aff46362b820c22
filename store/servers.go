package store

import (
	"context"
	"time"
)

// Server is a nats-server that was seen on an operator's system account.
type Server struct {
	// ID is the server key N….
	ID                     string
	OperatorID             string
	Name, Cluster, Version string
	// State is up or gone.
	State               string
	FirstSeen, LastSeen time.Time
}

// PutServer records that s was seen now.
func (t *Tx) PutServer(ctx context.Context, s Server) error {
	_, err := t.exec(ctx, `INSERT INTO servers (id, operator_id, name, cluster, version, state, first_seen_us, last_seen_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
		ON CONFLICT (operator_id, id) DO UPDATE SET name = excluded.name, cluster = excluded.cluster, version = excluded.version,
			state = excluded.state, last_seen_us = excluded.last_seen_us`,
		s.ID, s.OperatorID, s.Name, s.Cluster, s.Version, s.State, micros(t.now))
	return err
}

const serverColumns = `id, operator_id, name, cluster, version, state, first_seen_us, last_seen_us`

func scanServer(r row) (Server, error) {
	var s Server
	var first, last int64
	err := r.Scan(&s.ID, &s.OperatorID, &s.Name, &s.Cluster, &s.Version, &s.State, &first, &last)
	s.FirstSeen, s.LastSeen = fromMicros(first), fromMicros(last)
	return s, err
}

// ListServers returns the servers that were up when last heard of.
func (t *Tx) ListServers(ctx context.Context, operatorID string) ([]Server, error) {
	return many(ctx, t, scanServer, `SELECT `+serverColumns+` FROM servers WHERE operator_id = $1 AND state = 'up' ORDER BY name, id`, operatorID)
}

// ListServersSince returns up to limit servers that came, or went, since then, the last
// first. A server's key is new at each start: one name may be there more than once.
func (t *Tx) ListServersSince(ctx context.Context, operatorID string, since time.Time, limit int) ([]Server, error) {
	return many(ctx, t, scanServer, `SELECT `+serverColumns+` FROM servers WHERE operator_id = $1 AND last_seen_us >= $2
		ORDER BY last_seen_us DESC, name, id LIMIT $3`, operatorID, micros(since), limit)
}
