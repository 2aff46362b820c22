package issuer

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// EdgeState tells whether messages cross from one account to another.
type EdgeState string

// The states of an edge. A pending one is right and not yet proven on every server.
const (
	EdgeInEffect EdgeState = "in_effect"
	EdgePending  EdgeState = "pending"
	EdgeBroken   EdgeState = "broken"
)

// Access is who may import what is exported.
type Access string

// Everybody, who has an activation token, or each account under its own public key.
const (
	AccessPublic        Access = "public"
	AccessActivation    Access = "activation"
	AccessTokenPosition Access = "token_position"
)

// AccessOf returns who may import an export.
func AccessOf(e *jwt.Export) Access {
	switch {
	case e.AccountTokenPosition > 0:
		return AccessTokenPosition
	case e.TokenReq:
		return AccessActivation
	}
	return AccessPublic
}

// EdgeNode is an account at one end of an edge.
type EdgeNode struct {
	// ID is the public key A…; Name and State are empty of an account that is not known
	// here, or not the caller's.
	ID, Name, State string
}

// EdgeProblem is what is wrong with an edge.
type EdgeProblem struct {
	// Code is stable, for programs; Detail and Fix are sentences.
	Code, Detail, Fix string
}

// Edge is one import, seen from both sides.
type Edge struct {
	Import
	Exporter, Importer EdgeNode
	// ExportID is the export that it is held against, empty for none. Access is that
	// export's.
	ExportID string
	Access   Access
	// Expires is when the activation token does, in Unix seconds; 0 for never, or for
	// no token.
	Expires int64
	State   EdgeState
	// Problem says why a broken edge is, and what else is to be known of one in effect;
	// nil for nothing.
	Problem *EdgeProblem
}

// Graph is who imports what from whom.
type Graph struct {
	// Nodes are the accounts at the ends of Edges, by name.
	Nodes []EdgeNode
	Edges []Edge
	// Total is how many edges there are on all pages.
	Total int64
	// CirclesUnknown tells that the accounts behind the edges are too many to look for
	// circles of imports among all of them.
	CirclesUnknown bool
}

// GraphQuery asks for one page of edges.
type GraphQuery struct {
	// After is the identity of the last edge of the page before; empty at first.
	After string
	// Limit is how many edges there are on a page, 500 at most.
	Limit int
}

// maxEdges is how many edges are worked out at once.
const maxEdges = 500

// SharingGraph returns a page of the edges of an operator's accounts, the oldest first.
func (i *Issuer) SharingGraph(ctx context.Context, caller Caller, operator string, q GraphQuery) (Graph, error) {
	return i.graph(ctx, caller, use{permission: ReadSharing, action: "read", kind: "sharing", target: operator}, q, func(ctx context.Context, d *desk) (string, store.ImportFilter, error) {
		o, err := findOperator(ctx, d, operator)
		return o.ID, store.ImportFilter{Bounds: d.some().In(Scope{Operator: o.ID})}, err
	})
}

// AccountSharing returns a page of the edges that begin or end at an account.
func (i *Issuer) AccountSharing(ctx context.Context, caller Caller, account string, q GraphQuery) (Graph, error) {
	return i.graph(ctx, caller, use{permission: ReadSharing, action: "read", kind: "sharing", target: account}, q, func(ctx context.Context, d *desk) (string, store.ImportFilter, error) {
		a, err := findAccount(ctx, d, account)
		return a.OperatorID, store.ImportFilter{Account: a.ID}, err
	})
}

func (i *Issuer) graph(ctx context.Context, caller Caller, u use, q GraphQuery, of func(context.Context, *desk) (operator string, f store.ImportFilter, err error)) (Graph, error) {
	var out Graph
	g, err := read(ctx, i, caller, u, func(ctx context.Context, d *desk) (*graph, error) {
		operator, f, err := of(ctx, d)
		if err != nil {
			return nil, err
		}
		f.AfterID, f.Limit = q.After, max(1, min(q.Limit, maxEdges+1))
		if out.Total, err = d.CountImportsOf(ctx, operator, f); err != nil {
			return nil, err
		}
		list, err := d.ListImportsOf(ctx, operator, f)
		if err != nil {
			return nil, err
		}
		return newGraph(ctx, d, list)
	})
	if err != nil {
		return out, err
	}
	out.Edges, out.CirclesUnknown = i.settle(ctx, g), g.circlesUnknown
	for _, e := range out.Edges {
		for _, n := range []EdgeNode{e.Exporter, e.Importer} {
			if !slices.Contains(out.Nodes, n) {
				out.Nodes = append(out.Nodes, n)
			}
		}
	}
	slices.SortFunc(out.Nodes, func(a, b EdgeNode) int { return strings.Compare(a.Name+"\x00"+a.ID, b.Name+"\x00"+b.ID) })
	return out, nil
}

// graph is edges as the rows and JWTs tell them.
type graph struct {
	// sees tells whether the caller may know of an account.
	sees func(Scope) bool
	// all tells that the caller may know of everything.
	all      bool
	edges    []Edge
	accounts map[string]Account
	claims   map[string]*jwt.AccountClaims
	// exports are the identities of exports, by exporter, kind and subject.
	exports        map[string]string
	circlesUnknown bool
}

// newGraph works out the edges of the imports. The JWTs are what is checked: that is
// what servers have, or are about to have.
func newGraph(ctx context.Context, d *desk, imports []Import) (*graph, error) {
	g := &graph{sees: d.caller.sees, all: d.caller.Allows(d.use.permission, Scope{}), accounts: map[string]Account{}, claims: map[string]*jwt.AccountClaims{}, exports: map[string]string{}}
	var ids []string
	for _, m := range imports {
		ids = append(ids, m.AccountID, m.Body.Account)
	}
	if err := g.load(ctx, d.Tx, ids); err != nil {
		return nil, err
	}
	circles, err := g.circles(ctx, d.Tx, ids)
	if err != nil {
		return nil, err
	}
	for _, m := range imports {
		if err := g.loadExports(ctx, d.Tx, m.Body.Account); err != nil {
			return nil, err
		}
	}
	problems := map[string]claims.Problems{}
	for _, m := range imports {
		c := g.claims[m.AccountID]
		if c == nil {
			continue // its first JWT waits for a signature
		}
		if _, done := problems[m.AccountID]; !done {
			problems[m.AccountID] = claims.CheckSharing(c, func(id string) *jwt.AccountClaims { return g.claims[id] }, d.Now())
		}
		g.edges = append(g.edges, g.edge(m, problems[m.AccountID], circles))
	}
	return g, nil
}

// load reads accounts and their claims.
func (g *graph) load(ctx context.Context, t *store.Tx, ids []string) error {
	list, err := t.AccountsByID(ctx, ids)
	if err != nil {
		return err
	}
	for id, a := range list {
		g.accounts[id] = a
		if a.JWT == "" {
			continue
		}
		if g.claims[id], err = jwt.DecodeAccountClaims(a.JWT); err != nil {
			return fmt.Errorf("decoding the JWT of account %s: %w", id, err)
		}
	}
	return nil
}

func (g *graph) loadExports(ctx context.Context, t *store.Tx, account string) error {
	if _, done := g.exports[account]; done || g.claims[account] == nil {
		return nil
	}
	g.exports[account] = ""
	list, err := t.ListExports(ctx, account)
	for _, e := range list {
		g.exports[exportKey(account, &e.Body)] = e.ID
	}
	return err
}

func exportKey(account string, e *jwt.Export) string {
	return account + " " + e.Type.String() + " " + string(e.Subject)
}

// maxCircle is how many accounts are looked at in the search for circles.
const maxCircle = 1000

// circles returns the imports that lead back to their own account, as importer and
// index: those of the accounts, found among all that they import from, directly or not.
func (g *graph) circles(ctx context.Context, t *store.Tx, ids []string) (map[string]bool, error) {
	for todo := ids; len(todo) > 0; {
		var next []string
		for _, id := range todo {
			if c := g.claims[id]; c != nil {
				for _, m := range c.Imports {
					if _, known := g.claims[m.Account]; !known && !slices.Contains(next, m.Account) {
						next = append(next, m.Account)
					}
				}
			}
		}
		for _, id := range next {
			g.claims[id] = nil // asked for once, also if it is nobody here
		}
		if g.circlesUnknown = len(g.claims) > maxCircle; g.circlesUnknown {
			break
		}
		if err := g.load(ctx, t, next); err != nil {
			return nil, err
		}
		todo = next
	}
	var all []*jwt.AccountClaims
	for _, c := range g.claims {
		if c != nil && len(c.Imports) > 0 {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b *jwt.AccountClaims) int { return strings.Compare(a.Subject, b.Subject) })
	out := map[string]bool{}
	for _, p := range claims.CheckCycles(all) {
		var account, index int
		if _, err := fmt.Sscanf(p.Pointer, "/%d/imports/%d", &account, &index); err == nil && account < len(all) {
			out[all[account].Subject+" "+strconv.Itoa(index)] = true
		}
	}
	return out, nil
}

// edge is an import of the account with those problems.
func (g *graph) edge(m Import, problems claims.Problems, circles map[string]bool) Edge {
	importer, exporter := g.accounts[m.AccountID], g.accounts[m.Body.Account]
	e := Edge{Import: m, Exporter: g.node(m.Body.Account), Importer: g.node(m.AccountID), State: EdgePending}
	if from := g.claims[m.Body.Account]; from != nil {
		if x := claims.ExportOf(from, &m.Body); x != nil {
			e.ExportID, e.Access = g.exports[exportKey(m.Body.Account, x)], AccessOf(x)
		}
	}
	seen := g.all || exporter.ID != "" && g.sees(scopeOf(exporter))
	invited := seen
	if act, err := jwt.DecodeActivationClaims(m.Body.Token); err == nil {
		e.Expires = act.Expires
		invited = invited || g.signed(act, m)
	}
	if !seen {
		e.ExportID = ""
	}
	if e.Importer.Name == "" { // what it makes of the messages is its own
		e.Body.Name, e.Body.LocalSubject = "", ""
	}
	n := slices.IndexFunc(g.claims[m.AccountID].Imports, func(x *jwt.Import) bool { return *x == m.Body })
	if n < 0 {
		return e // it is in the next JWT
	}
	found := own(problems, claims.Point("/imports", n), "/imports", importFields)
	code, detail := "", ""
	switch {
	case exporter.ID == "":
		code = "exporter_unknown"
	case exporter.OperatorID != importer.OperatorID:
		code = "other_operator"
	case exporter.State == accountDeleted:
		code = "exporter_deleted"
	case circles[m.AccountID+" "+strconv.Itoa(n)]:
		code = "import_cycle"
	case len(found) > 0:
		code, detail = found[0].Code, found[0].Detail
	case exporter.State == accountSuspended:
		code = "exporter_suspended"
	case importer.State == accountSuspended:
		code = "importer_suspended"
	default:
		return e
	}
	if !invited && ofExporter[code] {
		code, detail, e.Access = "not_offered", "", ""
	}
	e.Problem = edgeProblem(code, detail)
	if code != "overlap" {
		e.State = EdgeBroken
	}
	return e
}

// signed tells whether the exporter of an import signed the token in it for the importer,
// who may know then why it is worth nothing.
func (g *graph) signed(act *jwt.ActivationClaims, m Import) bool {
	from := g.claims[m.Body.Account]
	return from != nil && act.Subject == m.AccountID && (act.Issuer == from.Subject || from.SigningKeys.Contains(act.Issuer))
}

func (g *graph) node(id string) EdgeNode {
	a := g.accounts[id]
	if a.ID == "" || !g.sees(scopeOf(a)) {
		return EdgeNode{ID: id}
	}
	return EdgeNode{a.ID, a.Name, a.State}
}

// settle asks for the deliveries of the accounts of edges that nothing speaks against.
func (i *Issuer) settle(ctx context.Context, g *graph) []Edge {
	asked := map[string]claims.Sync{}
	ask := func(id string) claims.Sync {
		s, done := asked[id]
		if !done && i.sync != nil {
			s, _ = i.sync(ctx, id) // what is not known is not proven
			asked[id] = s
		}
		return s
	}
	for n := range g.edges {
		e := &g.edges[n]
		if e.State == EdgeBroken {
			continue
		}
		from, to := ask(e.Exporter.ID), ask(e.Importer.ID)
		switch {
		case failed(from) || failed(to):
			e.State, e.Problem = EdgeBroken, edgeProblem("delivery_failed", "")
		case i.sync != nil && from.Done() && to.Done():
			e.State = EdgeInEffect
		}
	}
	return g.edges
}

func failed(s claims.Sync) bool {
	return slices.ContainsFunc(s.Servers, func(d claims.Delivery) bool { return d.State == claims.DeliveryFailed })
}
