package resolver

import (
	"strings"
	"time"

	"chancery/claims"
)

// A server does not say how it resolves accounts. It is known by what it answers: full
// and cache resolvers list what is on their disks, which others do not hear, and a
// cache answers pushes in words of its own.

// listed records whether a server answered what is on its disk.
func (r *roster) listed(id string, answered bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[id]
	if m == nil || m.disk != nil && *m.disk {
		return
	}
	m.disk = &answered
	if !answered {
		r.setResolver(m, claims.ResolverOther)
	}
}

// pushed takes the words with which a server answered a push (accounts.go:
// CacheDirAccResolver.Start; events.go: accountClaimUpdate).
func (r *roster) pushed(id, words string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[id]
	switch {
	case m == nil:
	case strings.HasPrefix(words, "jwt update cache"), strings.HasPrefix(words, "jwt updated cache"):
		r.setResolver(m, claims.ResolverCache)
	case strings.HasPrefix(words, "jwt update skipped"):
		r.setResolver(m, claims.ResolverOther)
	case m.disk != nil && *m.disk:
		r.setResolver(m, claims.ResolverFull)
	}
}

func (r *roster) setResolver(m *member, kind claims.ResolverKind) {
	if m.Resolver != kind {
		m.Resolver = kind
		r.changed.tell()
	}
}

// resolverOf returns how a server gets accounts.
func (r *roster) resolverOf(id string) claims.ResolverKind {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.members[id]; m != nil {
		return m.Resolver
	}
	return claims.ResolverUnknown
}

// kinds counts the servers with full resolvers, and those of which it is not known yet
// how they get accounts.
func (r *roster) kinds() (full, unknown int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.members {
		switch m.Resolver {
		case claims.ResolverFull:
			full++
		case claims.ResolverUnknown:
			unknown++
		}
	}
	return full, unknown
}

// started records when a server started, by its own clock.
func (r *roster) started(id string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.members[id]; m != nil {
		m.Started = at
	}
}

// leaving records that a server sends its clients away.
func (r *roster) leaving(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.members[id]; m != nil && !m.LameDuck {
		m.LameDuck = true
		r.changed.tell()
	}
}
