package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"chancery/api"
)

// stream sends users as NDJSON and returns the lines of the answer.
func (h *house) stream(token, query, body string) (int, []api.BulkLine, string) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), post, h.server.URL+"/api/v1"+users+query, strings.NewReader(body))
	must(h.t, err)
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultTransport.RoundTrip(req)
	must(h.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(h.t, err)
	if resp.StatusCode != 200 {
		return resp.StatusCode, nil, string(raw)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/x-ndjson" {
		h.t.Errorf("Content-Type is %q", got)
	}
	var out []api.BulkLine
	for _, l := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		var b api.BulkLine
		must(h.t, json.Unmarshal([]byte(l), &b))
		out = append(out, b)
	}
	return 200, out, string(raw)
}

// A stream of users gets a line for each, in order; an error of one stops no other, and nothing sent comes back.
func TestStreamOfUsers(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		lines := []struct{ line, code string }{
			{`{"name":"s1","template":"device","tags":["region:eu"],"key":"generate"}`, ""},
			{`{"name":"s2","template":"device","tags":["region:eu"],"public_key":"` + someUserKey + `","proof":{"waived":true},"reason":"a list by mail"}`, ""},
			{`{"name":"s3","permissions":{}}`, ""},
			{``, "-"},
			{`{"name":"s1","template":"device","key":"generate"}`, "name_taken"},
			{`{"name":"` + marker + `"`, "malformed"},
			{`{"name":"s5","` + marker + `":1}`, "malformed"},
			{`{"name":7}`, "invalid"},
			{`{"name":"s6","template":"` + marker + `","key":"generate"}`, "invalid"},
			{`{"name":"s7","permissions":{},"public_key":"` + strayedSeed + `"}`, "invalid"},
			{`{"name":"` + strings.Repeat("x", 70<<10) + `"}`, "too_large"},
			{`{"name":"s8","permissions":{},"key":"generate","ttl_seconds":60}`, ""},
		}
		var body strings.Builder
		for _, l := range lines {
			body.WriteString(l.line + "\n")
		}
		status, _, raw := h.stream(h.owner, "?dry_run=true", body.String())
		if status != 200 || strings.Contains(raw, "SEED") {
			h.t.Errorf("the dry run answered %d", status)
		}
		_, out, raw := h.stream(h.owner, "", body.String())
		if strings.Contains(raw, marker) || strings.Contains(raw, strayedSeed) {
			h.t.Error("the answer repeats what was sent")
		}
		n := 0
		for _, l := range lines {
			if l.code == "-" {
				continue
			}
			got := ""
			if out[n].Error != nil {
				got = out[n].Error.Code
			}
			if out[n].Line != n+1 || got != l.code || (out[n].User == nil) == (got == "") {
				h.t.Errorf("line %d: %+v, want %q", n+1, out[n], l.code)
			}
			n++
		}
		if n != len(out) || out[0].User.Credential.Creds == "" || out[1].User.Credential.Creds != "" || out[1].User.Credential.JWT == "" || out[2].User.Credential != nil {
			h.t.Errorf("%d lines: %s", len(out), raw)
		}
		if _, again, _ := h.stream(h.owner, "", lines[1].line); again[0].Error == nil || again[0].Error.Code != "already_issued" {
			h.t.Errorf("sent again: %+v", again[0])
		}
		if status, _, raw := h.stream(h.auditor, "", lines[0].line); status != 403 {
			h.t.Errorf("an auditor got %d: %s", status, raw)
		}
		if status, _, _ := h.stream("", "", lines[0].line); status != 401 {
			h.t.Errorf("a stranger got %d", status)
		}
	})
}

// Who sends a line and waits gets its answer before sending the next.
func TestStreamAnswersAsItGoes(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		ctx, cancel := context.WithTimeout(h.t.Context(), 30*time.Second)
		defer cancel()
		pr, pw := io.Pipe()
		req, err := http.NewRequestWithContext(ctx, post, h.server.URL+"/api/v1"+users, pr)
		must(h.t, err)
		req.Header.Set("Content-Type", "application/x-ndjson")
		req.Header.Set("Authorization", "Bearer "+h.owner)
		line := func(n int) string { return fmt.Sprintf(`{"name":"w%d","permissions":{},"key":"generate"}`+"\n", n) }
		go func() { _, _ = io.WriteString(pw, line(0)) }()
		resp, err := http.DefaultTransport.RoundTrip(req)
		must(h.t, err)
		defer resp.Body.Close()
		answers := bufio.NewScanner(resp.Body)
		answers.Buffer(nil, 1<<20)
		for n := range 3 {
			if !answers.Scan() {
				h.t.Fatalf("no answer to line %d: %v", n, answers.Err())
			}
			var b api.BulkLine
			must(h.t, json.Unmarshal(answers.Bytes(), &b))
			if b.Line != n+1 || b.User == nil || b.User.Credential.Creds == "" {
				h.t.Errorf("%s", answers.Bytes())
			}
			_, err := io.WriteString(pw, line(n+1))
			must(h.t, err)
		}
		must(h.t, pw.Close())
	})
}
