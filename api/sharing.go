package api

import (
	"context"
	"net/url"

	"chancery/issuer"
)

// SharingGraph is who imports what from whom, a page of it.
type SharingGraph struct {
	Nodes          []SharingNode `json:"nodes" doc:"The accounts at the ends of the edges."`
	Edges          []Import      `json:"edges"`
	Total          int64         `json:"total" doc:"How many edges there are on all pages."`
	CirclesUnknown bool          `json:"circles_unknown" doc:"Whether there are too many accounts behind the edges to look for circles of imports among all of them."`
	NextCursor     string        `json:"next_cursor" doc:"Empty on the last page."`
}

type sharingGraph struct {
	Link string `header:"Link" doc:"rel=next, as in RFC 8288."`
	Body SharingGraph
}

type operatorSharingInput struct {
	OperatorPath
	List
}

func (a *API) getOperatorSharing(ctx context.Context, by call, in *operatorSharingInput) (*sharingGraph, error) {
	return sharingPage(in.List, []string{"operators", in.Operator, "sharing-graph"}, func(q issuer.GraphQuery) (issuer.Graph, error) {
		return a.issuer.SharingGraph(ctx, by.caller, in.Operator, q)
	})
}

type accountSharingInput struct {
	AccountPath
	List
}

func (a *API) getAccountSharing(ctx context.Context, by call, in *accountSharingInput) (*sharingGraph, error) {
	return sharingPage(in.List, []string{"accounts", in.Account, "sharing-graph"}, func(q issuer.GraphQuery) (issuer.Graph, error) {
		return a.issuer.AccountSharing(ctx, by.caller, in.Account, q)
	})
}

func sharingPage(l List, path []string, ask func(issuer.GraphQuery) (issuer.Graph, error)) (*sharingGraph, error) {
	name := path[0] + "/" + path[1] + "/sharing"
	c, limit, err := l.position(name)
	if err != nil {
		return nil, err
	}
	g, err := ask(issuer.GraphQuery{After: c.ID, Limit: limit + 1})
	if err != nil {
		return nil, err
	}
	edges := turn(g.Edges, limit, l.link(url.Values{}, path...), viewEdge, func(e issuer.Edge) cursor { return cursor{List: name, ID: e.ID} })
	out := &sharingGraph{Link: edges.Link, Body: SharingGraph{
		Nodes: []SharingNode{}, Edges: edges.Body.Items, Total: g.Total, CirclesUnknown: g.CirclesUnknown, NextCursor: edges.Body.NextCursor,
	}}
	for _, n := range g.Nodes {
		out.Body.Nodes = append(out.Body.Nodes, SharingNode(n))
	}
	return out, nil
}

func sharingRoutes() []route {
	const acct, export = "/accounts/{account}", "/accounts/{account}/exports/{export}"
	return []route{
		{"GET", acct + "/exports", "listExports", "List what an account exports", issuer.ReadSharing, 200, 0, fast, handle((*API).listExports)},
		{"POST", acct + "/exports", "createExport", "Export a subject", issuer.WriteSharing, 201, small, waiting, handle((*API).createExport)},
		{"GET", export, "getExport", "Read an export", issuer.ReadSharing, 200, 0, fast, handle((*API).getExport)},
		{"PATCH", export, "updateExport", "Change an export", issuer.WriteSharing, 200, small, waiting, handle((*API).updateExport)},
		{"DELETE", export, "deleteExport", "Delete an export, and revoke its activations", issuer.WriteSharing, 200, 0, waiting, handle((*API).deleteExport)},
		{"GET", export + "/activations", "listActivations", "List the activation tokens of an export", issuer.ReadSharing, 200, 0, fast, handle((*API).listActivations)},
		{"POST", export + "/activations", "issueActivation", "Issue an activation token to any account", issuer.WriteSharing, 201, small, fast, handle((*API).issueActivation)},
		{"GET", export + "/activations/{activation}", "getActivation", "Read an activation, with its token", issuer.ReadSharing, 200, 0, fast, handle((*API).getActivation)},
		{"DELETE", export + "/activations/{activation}", "revokeActivation", "Revoke the activations of an account", issuer.WriteSharing, 200, 0, waiting, handle((*API).revokeActivation)},
		{"GET", acct + "/imports", "listImports", "List what an account imports, with its state", issuer.ReadSharing, 200, 0, fast, handle((*API).listImports)},
		{"POST", acct + "/imports", "createImport", "Import a subject", issuer.WriteSharing, 201, small, waiting, handle((*API).createImport)},
		{"GET", acct + "/imports/{import}", "getImport", "Read an import, with its state", issuer.ReadSharing, 200, 0, fast, handle((*API).getImport)},
		{"PATCH", acct + "/imports/{import}", "updateImport", "Change an import", issuer.WriteSharing, 200, small, waiting, handle((*API).updateImport)},
		{"DELETE", acct + "/imports/{import}", "deleteImport", "Delete an import", issuer.WriteSharing, 200, 0, waiting, handle((*API).deleteImport)},
		{"POST", acct + "/imports/{import}/renewal", "renewImport", "Renew the activation of an import, on both sides", issuer.WriteSharing, 200, small, waiting, handle((*API).renewImport)},
		{"POST", "/shares", "share", "Share between two accounts: export, activation and import in one step", issuer.WriteSharing, 201, small, waiting, handle((*API).share)},
		{"GET", "/operators/{operator}/sharing-graph", "getOperatorSharing", "Who imports what from whom", issuer.ReadSharing, 200, 0, fast, handle((*API).getOperatorSharing)},
		{"GET", acct + "/sharing-graph", "getAccountSharing", "What an account shares with whom", issuer.ReadSharing, 200, 0, fast, handle((*API).getAccountSharing)},
	}
}
