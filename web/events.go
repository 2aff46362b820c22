package web

import (
	"context"
	"net/http"

	"chancery/claims"
)

// EventStream writes events to w as they happen, until the reader goes or ctx ends. An
// error means that nothing was written.
type EventStream func(ctx context.Context, w http.ResponseWriter, s claims.EventStream) error
