package api_test

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/api"
)

// number numbers what was put on record.
func (h *house) number() {
	h.t.Helper()
	_, err := h.store.Sequence(h.t.Context())
	must(h.t, err)
}

func read[T any](h *house, path string) (out T) {
	h.t.Helper()
	a := h.send(request{method: get, path: path, token: h.auditor})
	if a.status != 200 {
		h.t.Fatalf("%s answered %d: %s", path, a.status, a.body)
	}
	must(h.t, json.Unmarshal(a.body, &out))
	return out
}

// The log by pages is the log; a cursor belongs to its filters; an entry says what changed in words.
func TestAuditPages(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		h.want(patch, orders, `{"limits":{"connections":500}}`, 200)
		h.want(patch, orders, `{"limits":{"connections":12}}`, 200)
		h.number()
		whole := read[api.Page[api.AuditEntry]](h, "/audit?limit=500")
		var got []int64
		path := "/audit?limit=3"
		for path != "" {
			p := read[api.Page[api.AuditEntry]](h, path)
			for _, e := range p.Items {
				got = append(got, e.Seq)
			}
			if path = ""; p.NextCursor != "" {
				path = "/audit?limit=3&cursor=" + p.NextCursor
			}
		}
		var want []int64
		for _, e := range whole.Items {
			want = append(want, e.Seq)
		}
		if !slices.Equal(got, want) || len(got) < 8 || got[0] != int64(len(got)) {
			h.t.Errorf("by pages %v, at once %v", got, want)
		}
		first := read[api.Page[api.AuditEntry]](h, "/audit?limit=1&account=ORDERS")
		if e := first.Items[0]; e.Action != "update" || e.Account != "ORDERS" || len(e.Changes) != 1 || e.Changes[0].Text != "Connections: 500 → 12" || e.ActorName != "owner" {
			h.t.Errorf("%+v", e)
		}
		for _, q := range []string{"limit=1&cursor=" + first.NextCursor, "limit=1&account=ORDERS&cursor=eyJsIjoiYXVkaXQ_IiwiaSI6IngifQ"} {
			if a := h.send(request{method: get, path: "/audit?" + q, token: h.auditor}); a.status != 422 {
				h.t.Errorf("%s answered %d", q, a.status)
			}
		}
		later := url.QueryEscape(time.Now().Add(time.Hour).Format(time.RFC3339))
		for q, n := range map[string]int{
			"request_id=" + first.Items[0].RequestID: 1, "target=" + first.Items[0].Target + "&action=update": 2, "at_after=" + later: 0, "operator=acme&target_kind=user": 1, "q=nothing+like+it": 0,
		} {
			if p := read[api.Page[api.AuditEntry]](h, "/audit?"+q); len(p.Items) != n {
				h.t.Errorf("%s: %d entries, want %d", q, len(p.Items), n)
			}
		}
		r := read[api.AuditRecord](h, "/audit/"+first.Items[0].ID)
		if r.Seq != first.Items[0].Seq || len(r.Deliveries) != 1 || r.Deliveries[0].Account != "ORDERS" || r.Deliveries[0].Revision < 2 {
			h.t.Errorf("%+v", r)
		}
	})
}

// An export has every entry of the log, in both forms, and no cell that a spreadsheet runs.
func TestAuditExport(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		h.want(post, credentials, `{}`, 201)
		h.want(put, revocations+"/d1", `{"reason":"=cmd|' /C calc'!A1"}`, 200)
		h.want(put, revocations+"/*", `{"reason":"@SUM(1)\u0009x, \"y\""}`, 200)
		h.number()
		newest := read[api.Page[api.AuditEntry]](h, "/audit?limit=1").Items[0]
		a := h.send(request{method: get, path: "/audit/export", token: h.auditor})
		if a.status != 200 || a.header.Get("Content-Type") != "application/x-ndjson" || !strings.Contains(a.header.Get("Content-Disposition"), "audit.ndjson") {
			h.t.Errorf("%d %v", a.status, a.header)
		}
		lines := bufio.NewScanner(bytes.NewReader(a.body))
		n := int64(0)
		for lines.Scan() {
			n++
			var e api.AuditEntry
			must(h.t, json.Unmarshal(lines.Bytes(), &e))
			if e.Seq != n || len(e.Hash) != 64 {
				h.t.Errorf("line %d is %+v", n, e)
			}
		}
		if n != newest.Seq {
			h.t.Errorf("%d lines, want %d", n, newest.Seq)
		}
		a = h.send(request{method: get, path: "/audit/export?format=csv&action=revoke", token: h.auditor})
		rows, err := csv.NewReader(bytes.NewReader(a.body)).ReadAll()
		must(h.t, err)
		if len(rows) != 3 || rows[0][0] != "seq" || !strings.HasPrefix(a.header.Get("Content-Type"), "text/csv") {
			h.t.Fatalf("%q", rows)
		}
		reason := slices.Index(rows[0], "reason")
		if rows[1][reason] != "'=cmd|' /C calc'!A1" || !strings.HasPrefix(rows[2][reason], "'@SUM(1)") {
			h.t.Errorf("%q and %q", rows[1][reason], rows[2][reason])
		}
		for _, row := range rows[1:] {
			for n, cell := range row {
				if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r\n") {
					h.t.Errorf("%s is %q", rows[0][n], cell)
				}
			}
		}
		if a := h.send(request{method: get, path: "/audit/export?format=csv&request_id=none", token: h.auditor}); a.status != 200 || strings.Count(string(a.body), "\n") != 1 {
			h.t.Errorf("an empty table: %d %q", a.status, a.body)
		}
		if a := h.send(request{method: get, path: "/audit/export?account=NONE", token: h.auditor}); a.status != 404 || a.problem(h.t).Code != "account_not_found" {
			h.t.Errorf("%d %s", a.status, a.body)
		}
	})
}

// The verification holds the log against the server's file and what the caller kept, and says where it differs.
func TestAuditVerification(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		verify := func(body string) (v api.AuditVerification) {
			h.t.Helper()
			a := h.send(request{method: post, path: "/audit/verification", body: body, token: h.auditor})
			if a.status != 200 {
				h.t.Fatalf("%d %s", a.status, a.body)
			}
			must(h.t, json.Unmarshal(a.body, &v))
			return v
		}
		c := read[api.AuditCheckpoint](h, "/audit/checkpoint")
		if !strings.HasPrefix(c.Verifier, "chancery/audit/") || !strings.HasPrefix(c.Note, "chancery/audit/") || c.File == nil || c.File.Behind != 1 {
			h.t.Errorf("%+v", c)
		}
		kept := fmt.Sprintf(`{"seq":%d,"hash":"%s","at":"2026-11-21T12:03:00Z"}`, c.Seq, c.Hash)
		if v := verify(`{"checkpoints":[` + kept + `]}`); !v.Whole || v.Checkpoints != 2 || v.Seq != c.Seq || v.Entries != c.Seq {
			h.t.Errorf("%+v", v)
		}
		wrong := strings.Replace(kept, c.Hash, strings.Repeat("a", 64), 1)
		v := verify(`{"checkpoints":[` + wrong + `]}`)
		if v.Whole || len(v.Faults) != 1 || v.Faults[0].Kind != "rewritten" || v.Faults[0].Seq != c.Seq || !strings.Contains(v.Faults[0].Detail, "2026-11-21T12:03:00Z") {
			h.t.Errorf("%+v", v)
		}
	})
}
