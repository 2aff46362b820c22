package claims

type Capability struct {
	Can  bool
	Text string
}

func (e Effective) Capabilities() []Capability { return nil }
