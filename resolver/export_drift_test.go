package resolver

import (
	"context"

	"github.com/nats-io/nats.go"
)

// Way is how a push came.
type Way = way

// The ways.
const (
	ByRequest      = byRequest
	ByAnnouncement = byAnnouncement
	ByAnyRequest   = byAnyRequest
)

// Heard takes in a push as if servers had it, and tells whether it is taken for one of
// ours. The operator must have no servers.
func (r *Resolver) Heard(ctx context.Context, operatorID string, w Way, accountID, token string) (own bool, err error) {
	d := r.operator(operatorID).drifting
	subject := map[way]string{byRequest: updateSubject(accountID), byAnnouncement: announceSubject(accountID), byAnyRequest: anyUpdateSubject}[w]
	d.hear(w, &nats.Msg{Subject: subject, Data: []byte(token)})
	for _, h := range d.take() {
		s, err := d.surroundings(ctx, h)
		return err == nil && d.innocent(h, s), err
	}
	return true, nil
}
