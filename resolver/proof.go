package resolver

import "chancery/claims"

// held is which JWT of the account a server has in memory.
type held int

const (
	heldUnknown held = iota
	heldNone
	heldOurs
	heldOther
)

// read takes what a server has in memory, which is the proof where there is no disk;
// blame reports what is not ours.
func (d *delivery) read(a answer[accountInfo], blame bool) {
	r := d.reading(a.Server.ID, a.Server.Name)
	switch {
	case a.Data != nil && a.Data.JWT == d.served.Token:
		r.memory = heldOurs
	case a.Data == nil && !a.missing():
		return // the server could not say
	case a.Data == nil || a.Data.JWT == "":
		r.memory = heldNone
	default:
		r.memory = heldOther
	}
	switch {
	case r.State == claims.DeliveryFailed && r.memory != heldOurs:
		return // it has said no
	case r.memory == heldOther && d.o.overtaken(d.served.AccountID, a.Server, a.Data.JWT):
		d.overtaken = true
		d.differs(r, newerVersion, true)
	case r.memory == heldOther:
		d.differs(r, "The server has another version.", blame)
	case r.resolver == claims.ResolverFull:
		d.judgeDisks(false, blame)
	case r.resolver == claims.ResolverUnknown:
		return // it may have a disk; it is asked
	default:
		d.judgeMemory(r)
	}
}

// judgeMemory reports a server without a disk that counts.
func (d *delivery) judgeMemory(r *reading) {
	if r.resolver == claims.ResolverCache {
		if r.memory == heldNone && d.asleep(r.ServerID) {
			d.differs(r, "The server has a file of this account, which it has not loaded: what is in it is not known.", true)
			return
		}
		d.o.roster.loaded(r.ServerID, d.served.AccountID)
	}
	state := claims.DeliveryInEffect
	if r.memory == heldNone {
		state = claims.DeliveryNotLoaded
	}
	d.proven(r, state)
}

// judgeDisks reports the servers with full resolvers that answered. Whose disk has what
// is not said, so that they are proven together: when as many disks have these bytes as
// there are full resolvers. At the end of the round those without a proof are told why.
func (d *delivery) judgeDisks(end, blame bool) {
	agree := d.disks.agree(d.full)
	if d.full == 0 || !end && !agree {
		return
	}
	for _, r := range d.servers {
		if r.resolver != claims.ResolverFull || r.memory == heldUnknown || r.memory == heldOther || r.read {
			continue
		}
		switch {
		case r.State == claims.DeliveryFailed && (!agree || r.memory != heldOurs):
			// Its own words say more.
		case !agree:
			d.differs(r, d.disks.complaint(d.full), blame)
		case r.memory == heldNone:
			d.proven(r, claims.DeliveryStored)
		default:
			d.proven(r, claims.DeliveryInEffect)
		}
	}
}

// complaint says what keeps full resolvers from being proven.
func (d *disks) complaint(full int) string {
	switch {
	case d.other > 0 && full > 1:
		return "One of the full resolvers has another version on its disk."
	case d.other > 0:
		return "The server has another version on its disk."
	case d.missing > 0 && full > 1:
		return "One of the full resolvers does not have the account on its disk."
	case d.missing > 0:
		return "The server does not have the account on its disk."
	}
	return "Not every full resolver said what is on its disk."
}

func (d *delivery) proven(r *reading, state claims.DeliveryState) {
	r.State, r.Error, r.Proven, r.read = state, "", d.o.r.now(), true
	d.report(r)
}

// differs notes that a server does not have what it should; blame reports it.
func (d *delivery) differs(r *reading, why string, blame bool) {
	r.State, r.Error, r.read = claims.DeliveryFailed, why, false
	if blame {
		d.report(r)
	}
}

// stubborn tells whether a server with a disk has something else in the last round: it
// may have taken our bytes before, and will not do so again.
func (d *delivery) stubborn() bool {
	if d.full > 0 && d.disks.other+d.disks.missing > 0 {
		return true
	}
	for _, r := range d.servers {
		if r.memory == heldOther && (r.resolver == claims.ResolverFull || r.resolver == claims.ResolverCache) {
			return true
		}
	}
	return false
}
