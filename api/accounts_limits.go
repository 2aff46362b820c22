package api

import (
	"cmp"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// Limits of an account; -1 is unlimited.
type Limits struct {
	Connections     int64 `json:"connections"`
	LeafConnections int64 `json:"leaf_connections"`
	Subscriptions   int64 `json:"subscriptions"`
	DataBytes       int64 `json:"data_bytes"`
	PayloadBytes    int64 `json:"payload_bytes"`
	Imports         int64 `json:"imports"`
	Exports         int64 `json:"exports"`
	WildcardExports bool  `json:"wildcard_exports"`
	DisallowBearer  bool  `json:"disallow_bearer"`
}

// JetStream of an account. While there are tiers the limits beside them are 0.
type JetStream struct {
	Enabled bool `json:"enabled"`
	JetStreamLimits
	Tiers map[string]JetStreamLimits `json:"tiers" doc:"Limits by replica count: R1, R3, R5."`
}

// JetStreamLimits of an account or of one tier; -1 is unlimited.
type JetStreamLimits struct {
	MemoryBytes          int64 `json:"memory_bytes" doc:"Of all streams together; 0 allows none."`
	DiskBytes            int64 `json:"disk_bytes" doc:"Of all streams together; 0 allows none."`
	Streams              int64 `json:"streams"`
	Consumers            int64 `json:"consumers"`
	MaxAckPending        int64 `json:"max_ack_pending" doc:"Of one consumer."`
	MemoryMaxStreamBytes int64 `json:"memory_max_stream_bytes" doc:"Of one stream in memory."`
	DiskMaxStreamBytes   int64 `json:"disk_max_stream_bytes" doc:"Of one stream on disk."`
	MaxBytesRequired     bool  `json:"max_bytes_required" doc:"Every stream needs a bound of its own."`
}

func viewLimits(l jwt.OperatorLimits) Limits {
	return Limits{
		Connections: l.Conn, LeafConnections: l.LeafNodeConn, Subscriptions: l.Subs, DataBytes: l.Data, PayloadBytes: l.Payload,
		Imports: l.Imports, Exports: l.Exports, WildcardExports: l.WildcardExports, DisallowBearer: l.DisallowBearer,
	}
}

func viewJetStream(l jwt.OperatorLimits) JetStream {
	v := JetStream{Enabled: l.IsJSEnabled(), Tiers: map[string]JetStreamLimits{}}
	if l.JetStreamLimits != (jwt.JetStreamLimits{}) {
		v.JetStreamLimits = viewJetStreamLimits(l.JetStreamLimits)
	}
	for tier, t := range l.JetStreamTieredLimits {
		v.Tiers[tier] = viewJetStreamLimits(t)
	}
	return v
}

// viewJetStreamLimits fills in what has no bound: but for storage a nats-server takes 0
// for that (jetstream.go: selectedLimits and its users).
func viewJetStreamLimits(l jwt.JetStreamLimits) JetStreamLimits {
	filled := func(n int64) int64 { return cmp.Or(n, jwt.NoLimit) }
	return JetStreamLimits{
		MemoryBytes: l.MemoryStorage, DiskBytes: l.DiskStorage, Streams: filled(l.Streams), Consumers: filled(l.Consumer), MaxAckPending: filled(l.MaxAckPending),
		MemoryMaxStreamBytes: filled(l.MemoryMaxStreamBytes), DiskMaxStreamBytes: filled(l.DiskMaxStreamBytes), MaxBytesRequired: l.MaxBytesRequired,
	}
}

// LimitsInput sets limits; null puts one back to unlimited.
type LimitsInput struct {
	Connections     Omit[int64] `json:"connections,omitempty"`
	LeafConnections Omit[int64] `json:"leaf_connections,omitempty"`
	Subscriptions   Omit[int64] `json:"subscriptions,omitempty"`
	DataBytes       Omit[int64] `json:"data_bytes,omitempty" doc:"No nats-server enforces it."`
	PayloadBytes    Omit[int64] `json:"payload_bytes,omitempty" doc:"The longest message."`
	Imports         Omit[int64] `json:"imports,omitempty"`
	Exports         Omit[int64] `json:"exports,omitempty"`
	WildcardExports Omit[bool]  `json:"wildcard_exports,omitempty" doc:"Whether exports may hold wildcards."`
	DisallowBearer  Omit[bool]  `json:"disallow_bearer,omitempty" doc:"Whether bearer tokens are refused."`
}

func (in LimitsInput) onto(l *jwt.OperatorLimits) {
	in.Connections.onto(&l.Conn, jwt.NoLimit)
	in.LeafConnections.onto(&l.LeafNodeConn, jwt.NoLimit)
	in.Subscriptions.onto(&l.Subs, jwt.NoLimit)
	in.DataBytes.onto(&l.Data, jwt.NoLimit)
	in.PayloadBytes.onto(&l.Payload, jwt.NoLimit)
	in.Imports.onto(&l.Imports, jwt.NoLimit)
	in.Exports.onto(&l.Exports, jwt.NoLimit)
	in.WildcardExports.onto(&l.WildcardExports, true)
	in.DisallowBearer.onto(&l.DisallowBearer, false)
}

// JetStreamInput switches JetStream and sets its limits, for the account as a whole or
// by tier.
type JetStreamInput struct {
	Enabled Omit[bool] `json:"enabled,omitempty" doc:"A nats-server has no such switch: there, zero storage means off. Switched on without limits, all are unlimited."`
	JetStreamLimitsInput
	Tiers Omit[map[string]Omit[JetStreamLimitsInput]] `json:"tiers,omitempty" maxProperties:"9" doc:"Limits by replica count, R1 to R9, instead of those beside it, which they replace; null removes a tier, or all."`
}

// JetStreamLimitsInput sets JetStream limits; null puts one back to unlimited. But for
// storage, 0 means unlimited too: a nats-server takes it so.
type JetStreamLimitsInput struct {
	MemoryBytes          Omit[int64] `json:"memory_bytes,omitempty" doc:"0 allows no streams in memory."`
	DiskBytes            Omit[int64] `json:"disk_bytes,omitempty" doc:"0 allows no streams on disk."`
	Streams              Omit[int64] `json:"streams,omitempty"`
	Consumers            Omit[int64] `json:"consumers,omitempty"`
	MaxAckPending        Omit[int64] `json:"max_ack_pending,omitempty"`
	MemoryMaxStreamBytes Omit[int64] `json:"memory_max_stream_bytes,omitempty"`
	DiskMaxStreamBytes   Omit[int64] `json:"disk_max_stream_bytes,omitempty"`
	MaxBytesRequired     Omit[bool]  `json:"max_bytes_required,omitempty"`
}

func (in JetStreamLimitsInput) onto(l *jwt.JetStreamLimits) {
	in.MemoryBytes.onto(&l.MemoryStorage, jwt.NoLimit)
	in.DiskBytes.onto(&l.DiskStorage, jwt.NoLimit)
	for _, x := range []struct {
		from Omit[int64]
		to   *int64
	}{
		{in.Streams, &l.Streams},
		{in.Consumers, &l.Consumer},
		{in.MaxAckPending, &l.MaxAckPending},
		{in.MemoryMaxStreamBytes, &l.MemoryMaxStreamBytes},
		{in.DiskMaxStreamBytes, &l.DiskMaxStreamBytes},
	} {
		was := *x.to
		if x.from.onto(x.to, jwt.NoLimit); cmp.Or(*x.to, jwt.NoLimit) == cmp.Or(was, jwt.NoLimit) {
			*x.to = was // no bound, written either way
		}
	}
	in.MaxBytesRequired.onto(&l.MaxBytesRequired, false)
}

// given tells whether any limit was said.
func (in JetStreamLimitsInput) given() bool { return in != JetStreamLimitsInput{} }

// onto sets what was said, and returns what is wrong with it in itself.
func (in JetStreamInput) onto(l *jwt.OperatorLimits) claims.Problems {
	switched := in.Enabled.Set && !in.Enabled.Null && in.Enabled.Value
	if in.Enabled.Set && !switched && l.IsJSEnabled() {
		l.JetStreamLimits, l.JetStreamTieredLimits = jwt.JetStreamLimits{}, nil
	}
	in.ontoTiers(l)
	if len(in.Tiers.Value) > 0 && len(l.JetStreamTieredLimits) > 0 && !in.JetStreamLimitsInput.given() {
		l.JetStreamLimits = jwt.JetStreamLimits{}
	}
	if switched && !l.IsJSEnabled() && len(l.JetStreamTieredLimits) == 0 {
		l.JetStreamLimits = claims.UnlimitedJetStream()
	}
	in.JetStreamLimitsInput.onto(&l.JetStreamLimits)
	if !in.Enabled.Set || in.Enabled.Null || in.Enabled.Value == l.IsJSEnabled() {
		return nil
	}
	detail := "JetStream is off, and there are limits with storage: leave one of the two out."
	if switched {
		detail = "JetStream is on, and neither memory nor disk is allowed: a nats-server takes that for off."
	}
	return claims.Problems{{Pointer: "/jetstream/enabled", Code: "contradictory", Detail: detail, Blocking: true}}
}

// ontoTiers sets and removes tiers. A new one is unlimited but for what is said.
func (in JetStreamInput) ontoTiers(l *jwt.OperatorLimits) {
	if in.Tiers.Null {
		l.JetStreamTieredLimits = nil
	}
	for tier, t := range in.Tiers.Value {
		if t.Null {
			delete(l.JetStreamTieredLimits, tier)
			continue
		}
		limits, ok := l.JetStreamTieredLimits[tier]
		if !ok {
			limits = claims.UnlimitedJetStream()
		}
		t.Value.onto(&limits)
		if l.JetStreamTieredLimits == nil {
			l.JetStreamTieredLimits = jwt.JetStreamTieredLimits{}
		}
		l.JetStreamTieredLimits[tier] = limits
	}
}
