package claims

import (
	"maps"

	"github.com/nats-io/jwt/v2"
)

// maxCycleDepth is how many accounts a nats-server follows imports through.
const maxCycleDepth = 1024

// CheckCycles returns a warning for each import that leads back to its own
// account, at /<index of the account>/imports/<index>. A nats-server adds imports
// one by one and drops the one that closes a circle, so which import of a circle is
// dead depends on what is loaded first; the accounts are not refused. Accounts
// that are not in the list end the search.
// (nats-server: serviceImportFormsCycle, streamImportFormsCycle.)
func CheckCycles(accounts []*jwt.AccountClaims) Problems {
	g := importGraph{services: map[string][]edge{}, streams: map[string][]edge{}, exports: map[string]jwt.Exports{}}
	for _, a := range accounts {
		g.add(a)
	}
	var out Problems
	for n, a := range accounts {
		for i, m := range a.Imports {
			if m == nil {
				continue
			}
			visited := map[string]bool{a.Subject: true}
			cycle := false
			if m.Type == jwt.Service {
				cycle = g.serviceCycle(m.Account, serviceEdge(m).local, visited)
			} else {
				_, local := streamSubjects(m)
				cycle = g.streamCycle(m.Account, local, maps.Clone(visited)) || g.streamCycle(m.Account, string(m.Subject), visited)
			}
			if cycle {
				out = append(out, warning(Point("", n, "imports", i), "import_cycle",
					"This import is part of a circle of imports that leads back to its own account; a server drops the import that closes it."))
			}
		}
	}
	return out
}

// edge is an import as a server keeps it: the account it leads to, the subject
// there and the one here, with wildcards as *.
type edge struct{ account, exported, local string }

type importGraph struct {
	services, streams map[string][]edge
	exports           map[string]jwt.Exports
}

func (g *importGraph) add(a *jwt.AccountClaims) {
	g.exports[a.Subject] = a.Exports
	for _, m := range a.Imports {
		switch {
		case m == nil:
		case m.Type == jwt.Service:
			g.services[a.Subject] = append(g.services[a.Subject], serviceEdge(m))
		case m.Type == jwt.Stream:
			exported, local := streamSubjects(m)
			if jwt.Subject(exported).HasWildCards() {
				local = starred(local)
			}
			g.streams[a.Subject] = append(g.streams[a.Subject], edge{m.Account, exported, local})
		}
	}
}

func serviceEdge(m *jwt.Import) edge {
	e := edge{m.Account, exportedSubject(m), string(m.Subject)}
	if m.LocalSubject != "" {
		e.local = string(m.LocalSubject)
	}
	if jwt.Subject(e.exported).HasWildCards() {
		e.local = starred(e.local)
	}
	return e
}

func streamSubjects(m *jwt.Import) (exported, local string) {
	exported = string(m.Subject)
	switch {
	case m.LocalSubject != "":
		return exported, string(m.LocalSubject)
	case m.GetTo() != "":
		return exported, m.GetTo() + "." + exported
	}
	return exported, exported
}

func (g *importGraph) serviceCycle(account, from string, visited map[string]bool) bool {
	if len(visited) >= maxCycleDepth {
		return true
	}
	for _, e := range g.services[account] {
		if !collide(from, e.exported) {
			continue
		}
		if visited[e.account] {
			return true
		}
		visited[account] = true
		next := from
		if subset(e.local, from) {
			next = e.local
		}
		if g.serviceCycle(e.account, next, visited) {
			return true
		}
	}
	return false
}

func (g *importGraph) streamCycle(account, to string, visited map[string]bool) bool {
	if len(visited) >= maxCycleDepth {
		return true
	}
	exported := false
	for _, e := range g.exports[account] {
		exported = exported || e != nil && e.Type == jwt.Stream && subset(to, string(e.Subject))
	}
	if !exported {
		return false
	}
	for _, e := range g.streams[account] {
		if !collide(to, e.local) {
			continue
		}
		if visited[e.account] {
			return true
		}
		visited[account] = true
		next := to
		if subset(e.local, to) {
			next = e.local
		}
		if g.streamCycle(e.account, next, visited) {
			return true
		}
	}
	return false
}
