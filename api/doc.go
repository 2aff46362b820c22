// Package api is Chancery's HTTP/JSON surface under /api/v1; openapi.yaml at the
// project's root is its contract and is generated from here.
//
// It owns what HTTP adds to a use case: the route table, who the caller is, strict
// reading of JSON, ETags, pages, waiting for delivery, and the mapping of errors to
// problem documents.
//
// It refuses to hold rules: whether something may be done, and what it does, is
// decided in issuer. A handler is a decoded request and a caller in, an answer or
// an error out. Nothing a caller sent is repeated in an error.
//
// Called by HTTP clients; mounted by cmd/chancery, which hands it the issuer and
// the live picture of the servers.
package api
