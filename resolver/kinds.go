package resolver

import (
	"encoding/json"
	"strings"
	"time"

	"chancery/claims"
)

// A server does not say how it resolves accounts. It is known by what it answers: full
// and cache resolvers list what is on their disks, which others do not hear, and a
// cache answers pushes in words of its own. That full resolvers let others look accounts
// up is no sign of one: other programs answer lookups too, such as nats-account-server.

// listed takes what a server said of its disk, of which ours are this operator's. What a
// cache has is known before it is known to be one: until then nothing is proven on it.
func (r *roster) listed(id string, d diskList, ours []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[id]
	if m == nil {
		return
	}
	if d.has && !m.disk {
		m.disk, m.files = true, make(map[string]struct{}, len(ours))
		for _, account := range ours {
			m.files[account] = struct{}{}
		}
	}
	switch {
	case d.cache:
		r.setResolver(m, claims.ResolverCache)
	case !m.disk && m.Resolver == claims.ResolverUnknown:
		r.setResolver(m, claims.ResolverOther)
	}
}

// loaded records that a cache has loaded an account of its disk.
func (r *roster) loaded(id, account string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.members[id]; m != nil {
		delete(m.files, account)
	}
}

// unloaded returns the caches on whose disks the account was when they joined, and
// which have not loaded it since.
func (r *roster) unloaded(account string) (servers []claims.Server) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.members {
		if _, ok := m.files[account]; ok && m.Resolver == claims.ResolverCache {
			servers = append(servers, m.Server)
		}
	}
	return servers
}

// pushed takes the words with which a server answered a push (accounts.go:
// CacheDirAccResolver.Start; events.go: accountClaimUpdate).
func (r *roster) pushed(id, words string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[id]
	switch {
	case m == nil:
	case m.disk && cacheWords(words): // whatever it was taken for: others answer lookups too
		r.setResolver(m, claims.ResolverCache)
	case m.Resolver != claims.ResolverUnknown:
	case strings.HasPrefix(words, "jwt update skipped"):
		r.setResolver(m, claims.ResolverOther)
	case m.disk:
		r.setResolver(m, claims.ResolverFull)
	}
}

func cacheWords(words string) bool {
	return strings.HasPrefix(words, "jwt update cache") || strings.HasPrefix(words, "jwt updated cache")
}

func (r *roster) setResolver(m *member, kind claims.ResolverKind) {
	if m.Resolver != kind {
		m.Resolver = kind
		r.changed.tell()
	}
}

// only returns the body of a question that one server alone is to answer, by its name;
// nil when it is not on the roster.
func (r *roster) only(id string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[id]
	if m == nil {
		return nil
	}
	body, err := json.Marshal(connectionsQuery{ServerName: m.Name, ExactMatch: true})
	if err != nil {
		return nil
	}
	return body
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
