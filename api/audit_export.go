package api

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"chancery/issuer"
)

type exportAuditInput struct {
	AuditFilters
	Format string `query:"format" enum:"ndjson,csv" default:"ndjson" doc:"One JSON object a line, or a table whose cells no spreadsheet takes for formulas."`
}

// exportPause is how long the reader of an export may stand still.
const exportPause = time.Minute

// exportAudit answers with all entries, part by part.
func (a *API) exportAudit(_ context.Context, by call, in *exportAuditInput) (*huma.StreamResponse, error) {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		_, w := humachi.Unwrap(hc)
		begun := false
		err := a.WriteAudit(hc.Context(), by.caller, in.query(), in.Format, func(media string) {
			begun = true
			hc.SetHeader("Content-Type", media)
			hc.SetHeader("Content-Disposition", `attachment; filename="audit.`+in.Format+`"`)
			hc.SetStatus(http.StatusOK)
		}, w)
		switch {
		case err != nil && !begun:
			a.refuse(hc, err)
		case err != nil:
			// Whoever reads must not take a part for all of it.
			panic(http.ErrAbortHandler)
		}
	}}, nil
}

// WriteAudit writes the entries that a query keeps to w, as ndjson or csv. begin is
// called with the kind of text before the first byte; an error before that is the
// caller's to answer.
func (a *API) WriteAudit(ctx context.Context, caller issuer.Caller, q issuer.AuditQuery, format string, begin func(media string), w io.Writer) error {
	write, flush, media := ndjsonWriter(w)
	if format == "csv" {
		write, flush, media = csvWriter(w)
	}
	var control *http.ResponseController
	if rw, ok := w.(http.ResponseWriter); ok {
		control = http.NewResponseController(rw)
	}
	begun := false
	err := a.issuer.ExportAudit(ctx, caller, q, func(list []issuer.AuditEntry) error {
		if !begun {
			begun = true
			begin(media)
		}
		if control != nil {
			_ = control.SetWriteDeadline(a.now().Add(exportPause)) // else the server's own holds
		}
		for _, e := range list {
			if err := write(viewAudit(e)); err != nil {
				return err
			}
		}
		return flush()
	})
	if err != nil {
		return err
	}
	if !begun {
		begin(media)
	}
	return flush()
}

func ndjsonWriter(w io.Writer) (write func(AuditEntry) error, flush func() error, media string) {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return func(x AuditEntry) error { return e.Encode(x) }, func() error { return nil }, ndjson
}

var auditColumns = []string{
	"seq", "id", "at", "actor", "actor_name", "actor_kind", "action", "target_kind", "target", "target_name", "outcome", "operator_id", "operator", "account_id", "account",
	"request_id", "reason", "changes", "hash",
}

func csvWriter(w io.Writer) (write func(AuditEntry) error, flush func() error, media string) {
	c := csv.NewWriter(w)
	headed := false
	head := func() error {
		if headed {
			return nil
		}
		headed = true
		return c.Write(auditColumns)
	}
	return func(x AuditEntry) error {
			if err := head(); err != nil {
				return err
			}
			var changes []string
			for _, p := range x.Changes {
				text := p.Text
				if text == "" {
					text = p.Path
				}
				changes = append(changes, text)
			}
			cells := []string{
				strconv.FormatInt(x.Seq, 10), x.ID, x.At.Format(time.RFC3339Nano), x.Actor, x.ActorName, x.ActorKind, x.Action, x.TargetKind, x.Target, x.TargetName, x.Outcome,
				x.OperatorID, x.Operator, x.AccountID, x.Account, x.RequestID, x.Reason, strings.Join(changes, "; "), x.Hash,
			}
			for n := range cells {
				cells[n] = noFormula(cells[n])
			}
			return c.Write(cells)
		}, func() error {
			if err := head(); err != nil {
				return err
			}
			c.Flush()
			return c.Error()
		}, "text/csv; charset=utf-8"
}

// noFormula makes a cell text for spreadsheets that take what begins so for a formula.
func noFormula(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n", rune(s[0])) {
		return "'" + s
	}
	return s
}

// describeExport puts the two forms into the contract.
func (a *API) describeExport() {
	op := a.huma.OpenAPI().Paths[Base+"/audit/export"].Get
	op.Description = "All entries that the filters keep and that are numbered when it begins, in the order of their numbers. An answer that ends early is cut off, never complete."
	op.Responses["200"] = &huma.Response{
		Description: "The entries",
		Content: map[string]*huma.MediaType{
			ndjson:     {Schema: huma.SchemaFromType(a.huma.OpenAPI().Components.Schemas, reflect.TypeFor[AuditEntry]())},
			"text/csv": {Schema: &huma.Schema{Type: "string"}},
		},
	}
}
