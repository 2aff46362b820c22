package resolver

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"chancery/claims"
)

// way is how a push came. Messages of one subscription arrive in the order in which
// they were sent, those of two need not.
type way int

const (
	byRequest way = iota
	byAnnouncement
	byAnyRequest
	ways
)

// driftSubscriptions hear what others push, and how full resolvers compare their stores.
func (o *operator) driftSubscriptions() []subscription {
	d := o.drifting
	if o.r.quiet {
		return nil // another process heals
	}
	return []subscription{
		{subject: updateSubject("*"), handle: func(_ context.Context, m *nats.Msg) { d.hear(byRequest, m) }},
		{subject: announceSubject("*"), handle: func(_ context.Context, m *nats.Msg) { d.hear(byAnnouncement, m) }},
		{subject: anyUpdateSubject, handle: func(_ context.Context, m *nats.Msg) { d.hear(byAnyRequest, m) }},
		{subject: deleteSubject, handle: func(_ context.Context, m *nats.Msg) { d.hearDelete(m) }},
		{subject: packSubject, handle: func(_ context.Context, m *nats.Msg) { d.hearPack(m) }},
	}
}

// hear takes a push. nats.go has taken headers off the body, and white space around a
// JWT means nothing to a server.
func (d *drifter) hear(w way, m *nats.Msg) {
	id := ""
	switch tokens := strings.Split(m.Subject, "."); w {
	case byRequest: // $SYS.REQ.ACCOUNT.<id>.CLAIMS.UPDATE
		id = tokens[3]
	case byAnnouncement: // $SYS.ACCOUNT.<id>.CLAIMS.UPDATE
		id = tokens[2]
	default:
		id = payloadOf(m.Data).Subject
	}
	if !claims.IsPublicKey(claims.KindAccount, id) {
		return
	}
	e, token := d.o.r.memory.get(id), string(bytes.TrimSpace(m.Data))
	switch {
	case e != nil && e.operator.Value() != d.o.id:
		return
	case e != nil && e.token == token:
		d.onWire(id, w, e.version)
		return
	}
	d.add(hint{account: id, token: token, seen: claims.SeenPushed, at: d.o.r.now(), after: d.highest(id, w)})
}

// hearDelete takes a request to delete accounts. Full and cache resolvers take one that
// is signed by a key of the operator, expired or not, as often as it is sent (accounts.go:
// handleDeleteRequest).
func (d *drifter) hearDelete(m *nats.Msg) {
	c, err := jwt.DecodeGeneric(string(m.Data))
	if err != nil || !slices.Contains(d.signers(), c.Issuer) {
		return
	}
	list, _ := c.Data["accounts"].([]any)
	for _, x := range list[:min(len(list), maxHints)] {
		id, _ := x.(string)
		if d.o.r.memory.operatorOf(id) == d.o.id {
			d.add(hint{account: id, seen: claims.SeenPushed, at: d.o.r.now(), deleted: true})
		}
	}
}

// onWire remembers that a version of ours was pushed.
func (d *drifter) onWire(id string, w way, version int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.wire) >= maxWire {
		clear(d.wire) // what is older than that is told apart by what is owed
	}
	v := d.wire[id]
	v[w] = max(v[w], version)
	d.wire[id] = v
}

func (d *drifter) highest(id string, w way) int64 {
	if w == byAnyRequest {
		return math.MaxInt64 // we never push that way
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.wire[id][w]
}

// signers are the keys that servers trust to sign accounts of the operator.
func (d *drifter) signers() []string {
	c, err := jwt.DecodeOperatorClaims(d.o.current.Load().JWT)
	if err != nil {
		return nil
	}
	return claims.AccountSigners(c)
}

// payload is what is read of a JWT whose signature was not looked at.
type payload struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
}

// payloadOf reads the payload of a JWT; zero if it is none.
func payloadOf(token []byte) (p payload) {
	parts := strings.Split(string(token), ".")
	if len(parts) != 3 {
		return p
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(raw, &p) != nil {
		return payload{}
	}
	return p
}
