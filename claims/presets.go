package claims

import "github.com/nats-io/jwt/v2"

// Preset is limits for a kind of account that a platform team hands out often.
type Preset struct {
	Name, Title string
	// Description is a sentence.
	Description string
	// Limits are all of an account's.
	Limits jwt.OperatorLimits
}

// AccountPresets returns the presets, the smallest first. The caller owns them.
func AccountPresets() []Preset {
	return []Preset{
		{
			Name: "dev", Title: "Trying things out",
			Description: "A sandbox that cannot hurt its neighbours: 20 connections, messages up to 256 KiB and 1 GiB of streams on disk.",
			Limits:      limited(20, 0, 2_000, 256<<10).streams(jetStream(64<<20, 1<<30, 10, 50)),
		},
		{
			Name: "team", Title: "One team, messages only",
			Description: "The services of one team without JetStream: 250 connections, 2 leaf nodes and messages up to 1 MiB.",
			Limits:      limited(250, 2, 50_000, 1<<20).OperatorLimits,
		},
		{
			Name: "team-streams", Title: "One team, with streams",
			Description: "The services of one team with JetStream: as team, with 20 GiB on disk and 1 GiB in memory for up to 50 streams.",
			Limits:      limited(250, 2, 50_000, 1<<20).streams(jetStream(1<<30, 20<<30, 50, 500)),
		},
		{
			Name: "prod", Title: "Production, messages only",
			Description: "A busy system without JetStream: 5,000 connections, 20 leaf nodes, messages up to 1 MiB, and no bearer tokens.",
			Limits:      limited(5_000, 20, 1_000_000, 1<<20).strict().OperatorLimits,
		},
		{
			Name: "prod-streams", Title: "Production, with streams",
			Description: "As prod with JetStream by replicas: 100 GiB of streams with one replica and 100 GiB with three, each with a bound of its own.",
			Limits: limited(5_000, 20, 1_000_000, 1<<20).strict().tiers(map[string]jwt.JetStreamLimits{
				"R1": bounded(jetStream(4<<30, 100<<30, 100, 2_000)),
				"R3": bounded(jetStream(4<<30, 100<<30, 100, 2_000)),
			}),
		},
	}
}

// AccountPreset returns the preset of that name.
func AccountPreset(name string) (Preset, bool) {
	for _, p := range AccountPresets() {
		if p.Name == name {
			return p, true
		}
	}
	return Preset{}, false
}

// limits are those of a preset in the making.
type limits struct{ jwt.OperatorLimits }

func limited(connections, leafs, subscriptions, payload int64) limits {
	l := NewAccountSettings().Limits
	l.Conn, l.LeafNodeConn, l.Subs, l.Payload = connections, leafs, subscriptions, payload
	return limits{l}
}

func (l limits) streams(js jwt.JetStreamLimits) jwt.OperatorLimits {
	l.JetStreamLimits = js
	return l.OperatorLimits
}

func (l limits) tiers(t map[string]jwt.JetStreamLimits) jwt.OperatorLimits {
	l.JetStreamTieredLimits = t
	return l.OperatorLimits
}

func (l limits) strict() limits {
	l.DisallowBearer = true
	return l
}

func jetStream(memory, disk, streams, consumers int64) jwt.JetStreamLimits {
	l := UnlimitedJetStream()
	l.MemoryStorage, l.DiskStorage, l.Streams, l.Consumer = memory, disk, streams, consumers
	return l
}

func bounded(l jwt.JetStreamLimits) jwt.JetStreamLimits {
	l.MaxBytesRequired = true
	return l
}

// UnlimitedJetStream returns JetStream limits that bound nothing.
func UnlimitedJetStream() jwt.JetStreamLimits {
	return jwt.JetStreamLimits{MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit}
}
