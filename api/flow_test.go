package api_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"

	"chancery/api"
	"chancery/store/storetest"
)

// storedObjects is the database without what reading leaves behind: the audit of
// denials.
func storedObjects(h *house) string {
	h.t.Helper()
	return storetest.OpenRaw(h.t, h.url).Dump(h.t, "audit")
}

func TestEditingWithETags(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		first := h.want(get, orders, "", 200).header.Get("ETag")
		send := func(etag string) answer {
			return h.send(request{method: patch, path: orders, body: `{"limits":{"connections":9}}`, token: h.owner, header: map[string]string{"If-Match": etag}})
		}
		a := send(first)
		if a.status != 200 || a.header.Get("ETag") == first {
			h.t.Fatalf("answered %d with ETag %s", a.status, a.header.Get("ETag"))
		}
		if again := send(first); again.status != 412 || again.problem(h.t).Code != "stale" {
			h.t.Errorf("the second edit of the same ETag answered %d", again.status)
		}
		// Signing again is no intent: a template changes the account's JWT, not its ETag.
		current := a.header.Get("ETag")
		h.want(post, templates, `{"name":"t"}`, 201)
		if got := h.want(get, orders, "", 200).header.Get("ETag"); got != current {
			h.t.Errorf("a re-sign changed the ETag from %s to %s", current, got)
		}
	})
}

func TestTwoEditsWithinOneSecond(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		var iat int64
		jtis := map[string]bool{}
		for n := range 5 {
			h.want(patch, orders, fmt.Sprintf(`{"limits":{"connections":%d}}`, n+1), 200)
			token := string(h.want(get, orders+"/jwt", "", 200).body)
			c, err := jwt.DecodeAccountClaims(token)
			must(h.t, err)
			if c.IssuedAt <= iat || jtis[c.ID] {
				h.t.Errorf("edit %d: iat %d after %d, jti seen before: %v", n, c.IssuedAt, iat, jtis[c.ID])
			}
			iat, jtis[c.ID] = c.IssuedAt, true
			if c.Limits.Conn != int64(n+1) {
				h.t.Errorf("edit %d: the JWT says %d connections", n, c.Limits.Conn)
			}
		}
	})
}

func TestDryRunAnswersWithThePlan(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		before := h.dump()
		a := h.want(patch, orders+"?dry_run=true", `{"limits":{"connections":3}}`, 200)
		var got api.Account
		a.into(h.t, &got)
		if got.Plan == nil || len(got.Plan.Changes) != 1 || got.Plan.Changes[0].Path != "/limits/conn" || got.Limits.Connections != 3 {
			h.t.Errorf("the plan is %s", a.body)
		}
		if got.Plan.Changes[0].Text != "Connections: unlimited → 3" || got.Plan.Effect != nil || got.Plan.Affected.LiveConnections != nil {
			h.t.Errorf("the plan is %s", a.body)
		}
		h.want(post, accounts+"?dry_run=true", `{"name":"NEW"}`, 200)
		h.want(post, credentials+"?dry_run=true", `{}`, 200)
		if after := h.dump(); after != before {
			h.t.Error("a dry run changed the database")
		}
	})
}

func TestMergePatch(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		h.want(patch, orders, `{"limits":{"connections":3,"payload_bytes":1024},"description":"d","jetstream":{"enabled":true,"disk_bytes":5}}`, 200)
		h.want(patch, orders, `{"limits":{"connections":null},"description":null}`, 200)
		var a api.Account
		h.want(get, orders, "", 200).into(h.t, &a)
		if a.Limits.Connections != -1 || a.Limits.PayloadBytes != 1024 || a.Description != "" || !a.JetStream.Enabled || a.JetStream.DiskBytes != 5 || a.JetStream.MemoryBytes != -1 {
			h.t.Errorf("got %+v", a)
		}
		h.want(patch, orders, `{"jetstream":{"enabled":false}}`, 200)
		h.want(get, orders, "", 200).into(h.t, &a)
		if a.JetStream.Enabled || a.JetStream.DiskBytes != 0 {
			h.t.Errorf("got %+v", a.JetStream)
		}
	})
}

func TestPagesHoldEverythingOnce(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		for n := range 7 {
			h.want(post, users, fmt.Sprintf(`{"name":"u%d","permissions":{}}`, n), 201)
		}
		seen := map[string]int{}
		path := users + "?limit=3&q=U"
		for pages := 0; path != ""; pages++ {
			a := h.want(get, path, "", 200)
			var p api.Page[api.User]
			a.into(h.t, &p)
			for _, u := range p.Items {
				seen[u.Name]++
			}
			if (p.NextCursor == "") != (a.header.Get("Link") == "") {
				h.t.Errorf("Link %q does not fit next_cursor %q", a.header.Get("Link"), p.NextCursor)
			}
			path = ""
			if p.NextCursor != "" {
				link := a.header.Get("Link")
				path = strings.TrimSuffix(strings.TrimPrefix(link, "</api/v1"), ">; rel=\"next\"")
				if !strings.Contains(path, "limit=3") || !strings.Contains(path, "q=U") {
					h.t.Errorf("Link %s lost the filters", link)
				}
				other := h.send(request{method: get, path: users + "?limit=3&cursor=" + p.NextCursor, token: h.owner})
				if other.status != 422 {
					h.t.Errorf("the cursor of another filter answered %d", other.status)
				}
			}
			if pages > 10 {
				h.t.Fatal("the pages do not end")
			}
		}
		if len(seen) != 7 {
			h.t.Errorf("saw %v", seen)
		}
		for name, n := range seen {
			if n != 1 {
				h.t.Errorf("%s was there %d times", name, n)
			}
		}
	})
}

func TestIssueRevokeReissue(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		var first, second api.IssuedCredential
		h.want(post, credentials, `{"ttl_seconds":3600,"delivered_to":"ann"}`, 201).into(h.t, &first)
		if !first.SecretAvailable || !strings.Contains(first.Creds, "-----BEGIN USER NKEY SEED-----") {
			h.t.Fatalf("no creds in the answer")
		}
		var revoked api.Revoked
		h.want(put, revocations+"/d1", `{"reason":"lost"}`, 200).into(h.t, &revoked)
		if revoked.Affected.Credentials != 1 || len(revoked.Revocations) != 1 || revoked.Revocations[0].Subject != first.PublicKey {
			h.t.Errorf("revoked %+v", revoked)
		}
		// The same key again, in the same second: it has to outlive the revocation.
		h.want(post, credentials, `{"public_key":"`+first.PublicKey+`"}`, 201).into(h.t, &second)
		if second.IssuedAt.Before(revoked.ReissueNotBefore) || second.SecretAvailable || second.Creds != "" {
			h.t.Errorf("re-issued at %v, not before %v", second.IssuedAt, revoked.ReissueNotBefore)
		}
		var ledger api.Page[api.Credential]
		h.want(get, credentials, "", 200).into(h.t, &ledger)
		if len(ledger.Items) != 2 || ledger.Items[0].Status != "active" || ledger.Items[1].Status != "revoked" || ledger.Items[1].DeliveredTo != "ann" {
			h.t.Errorf("the ledger says %+v", ledger.Items)
		}
		if strings.Contains(h.log.String(), "BEGIN USER NKEY SEED") {
			h.t.Error("the log holds a seed")
		}
	})
}
