package store

import (
	"context"
	"time"
)

// Expiries are the next ends of what ends under an operator; zero where nothing does.
type Expiries struct {
	// Account is that of the JWT of an account that is in use, Credential that of an
	// issued user JWT. Those that have ended already are no longer ahead.
	Account, Credential time.Time
}

// NextExpiries returns what ends next under the operator.
func (t *Tx) NextExpiries(ctx context.Context, operatorID string) (Expiries, error) {
	return one(ctx, t, func(r row) (Expiries, error) {
		var account, credential int64
		err := r.Scan(&account, &credential)
		return Expiries{fromMicros(account * 1_000_000), fromMicros(credential * 1_000_000)}, err
	}, `SELECT coalesce(min(CASE WHEN a.expires_s > $2 AND a.deleted_us = 0 THEN a.expires_s END), 0),
			coalesce(min((SELECT min(c.expires_s) FROM credentials c WHERE c.account_id = a.id AND c.expires_s > $2)), 0)
		FROM accounts a WHERE a.operator_id = $1`, operatorID, t.now.Unix())
}

// ClockSkew returns how far the clock of this process is ahead of the database's, to
// half of the time of one question. SQLite has no clock of its own: there it is 0.
func (s *Store) ClockSkew(ctx context.Context) (time.Duration, error) {
	if s.dialect != postgres {
		return 0, nil
	}
	var skew time.Duration
	err := s.Read(ctx, func(ctx context.Context, t *Tx) error {
		asked := s.now()
		us, err := one(ctx, t, scanOne[int64], `SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)`)
		answered := s.now()
		skew = asked.Add(answered.Sub(asked) / 2).Sub(time.UnixMicro(us))
		return err
	})
	return skew, err
}
