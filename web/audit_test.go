package web_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"chancery/issuer"
	"chancery/store/storetest"
	"chancery/web"
)

func (h *house) number() {
	h.t.Helper()
	_, err := h.store.Sequence(h.t.Context())
	must(h.t, err)
}

// The log is listed with filters in the address; an entry shows before and after, its request and the deliveries.
func TestAuditPages(t *testing.T) {
	t.Parallel()
	for _, dialect := range storetest.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, dialect, web.Config{})
			op := issuer.Op{Caller: issuer.System("test"), RequestID: "req_web", Reason: "a <ticket>"}
			for _, n := range []int64{500, 12} {
				_, err := h.issuer.UpdateAccount(t.Context(), op, "ORDERS", func(e *issuer.AccountEdit) { e.Limits.Conn = n })
				must(t, err)
			}
			h.number()
			b := h.signedIn()
			list := b.do("GET", "/audit?account=ORDERS&action=update", nil)
			list.has("Connections: 500 → 12", "a <ticket>", "Verify the chain", `<option value="update" selected>`, `value="ORDERS"`)
			if strings.Contains(list.body, "create account") {
				t.Error("the filter keeps what it should not")
			}
			newest, err := h.issuer.ListAudit(t.Context(), issuer.System("test"), issuer.AuditQuery{RequestID: "req_web"}, issuer.AuditPage{Limit: 1})
			must(t, err)
			entry := b.do("GET", "/audit/"+newest[0].ID, nil)
			entry.has("<del>", "500</del>", "12</ins>", "/audit?request=req_web", "Deliveries that followed", "ORDERS", "Hash in the chain")
			b.do("GET", "/audit?request=req_web", nil).has("Of the request", "req_web", "Change")
			b.do("GET", "/audit?q=nothing+has+this", nil).has("No entry matches", "Clear the filters")
			if p := b.do("GET", "/audit/999999", nil); p.status != 404 {
				t.Errorf("no entry answers %d", p.status)
			}
			b.do("GET", "/audit?before=2", nil).has("Back to the start")
			account, err := h.issuer.GetAccount(t.Context(), issuer.System("test"), "ORDERS")
			must(t, err)
			b.do("GET", "/accounts/ORDERS", nil).has("/audit?account=" + account.ID)
			if p := b.do("GET", "/audit/export", nil); p.status != 404 {
				t.Errorf("an export that is not offered answers %d", p.status)
			}
		})
	}
}

// A verification shows its result, and a broken log is told of on every visit afterwards.
func TestAuditVerification(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "sqlite", web.Config{})
	b := h.signedIn()
	h.number()
	b.do("POST", "/audit/verify", nil).has("The chain is whole.")
	h.number()
	storetest.OpenRaw(t, h.url).Run(t, `UPDATE audit SET actor = 'mallory' WHERE seq = 2`)
	b.do("POST", "/audit/verify", nil).has("The audit log was tampered with", `role="alert"`, "Number 2", "altered")
	b.do("GET", "/audit", nil).has("The audit log was tampered with")
}

// A download is what the export writes; one that fails before its first byte is a page.
func TestAuditDownload(t *testing.T) {
	t.Parallel()
	var asked issuer.AuditQuery
	export := func(_ context.Context, _ issuer.Caller, q issuer.AuditQuery, format string, begin func(string), w io.Writer) error {
		if asked = q; q.Account == "NONE" {
			return &issuer.Error{Kind: issuer.KindNotFound, Code: "account_not_found", Message: "There is no such account."}
		}
		begin("text/csv; charset=utf-8")
		_, err := io.WriteString(w, "seq "+format+"\n")
		return err
	}
	h := newHouse(t, "sqlite", web.Config{AuditExport: export})
	b := h.signedIn()
	b.do("GET", "/audit?action=create", nil).has("/audit/export?action=create&format=csv")
	p := b.do("GET", "/audit/export?action=create&format=csv", nil)
	if p.body != "seq csv\n" || asked.Action != "create" || !strings.Contains(p.header.Get("Content-Disposition"), "audit.csv") || !strings.HasPrefix(p.header.Get("Content-Type"), "text/csv") {
		t.Errorf("%q %v %+v", p.body, p.header, asked)
	}
	if p := b.do("GET", "/audit/export?account=NONE", nil); p.status != 404 || !strings.Contains(p.body, "no such account") {
		t.Errorf("%d %s", p.status, p.body)
	}
}
