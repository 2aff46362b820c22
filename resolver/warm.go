package resolver

import (
	"context"
	"encoding/json"

	"github.com/nats-io/nats.go"

	"chancery/claims"
)

// A cache resolver takes a push only of an account that it has loaded. One that comes
// back has files of accounts on its disk that it has not: an older JWT in such a file
// lets a client in, and no push can replace it.

// asleep tells whether a cache has a file of the account that it has not loaded.
func (d *delivery) asleep(serverID string) bool {
	for _, s := range d.o.roster.unloaded(d.served.AccountID) {
		if s.ID == serverID {
			return true
		}
	}
	return false
}

// warm makes such caches load the account, which a question about its connections does,
// so that the push that follows replaces both file and memory. An account that cannot be
// loaded lets nobody in either.
func (d *delivery) warm(ctx context.Context, l *link) {
	for _, s := range d.o.roster.unloaded(d.served.AccountID) {
		if d.wake(ctx, l, s) {
			d.o.roster.loaded(s.ID, d.served.AccountID)
		}
	}
}

// wake asks one server for the account's connections and tells whether it answered.
func (d *delivery) wake(ctx context.Context, l *link, s claims.Server) (answered bool) {
	body, err := json.Marshal(connectionsQuery{Limit: 1, ServerName: s.Name, ExactMatch: true})
	if err != nil {
		return false
	}
	x := l.inbox.exchange([]string{s.ID}, 1)
	defer x.close()
	if _, err := x.ask(connectionsSubject(d.served.AccountID), body); err != nil {
		return false
	}
	x.gather(ctx, d.o.r.pace.answer, 0, func(m *nats.Msg) string {
		a, ok := hear[struct{}](ctx, d.o, m)
		answered = answered || ok && a.Server.ID == s.ID
		return a.Server.ID
	})
	return answered
}
