package api_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// What is inspected is neither logged nor stored, and secrets within it do not come back.
func TestInspectionsKeepSecrets(t *testing.T) {
	t.Parallel()
	const password = "correct-horse-battery"
	server, err := nkeys.CreateServer()
	must(t, err)
	user, err := nkeys.CreateUser()
	must(t, err)
	key, err := user.PublicKey()
	must(t, err)
	request := jwt.NewAuthorizationRequestClaims(key)
	request.UserNkey, request.ConnectOptions.Password, request.ConnectOptions.Token = key, password, password
	request.ConnectOptions.Name, request.ConnectOptions.JWT = strayedSeed, someJWT
	request.Audience, request.Expires = "nats-authorization-request", time.Now().Add(time.Minute).Unix()
	token, err := request.Encode(server)
	must(t, err)
	eachHouse(t, func(h *house) {
		before := storedObjects(h)
		body, err := json.Marshal(map[string]string{"jwt": token})
		must(h.t, err)
		a := h.send(asking(h.owner, "/inspections", string(body)))
		if a.status != 200 || !strings.Contains(string(a.body), `"authorization_request"`) {
			h.t.Fatalf("%d %s", a.status, a.body)
		}
		for _, path := range []string{"/inspections", "/explanations"} {
			b := h.send(asking(h.owner, path, `{"jwt":"`+strayedSeed+`"}`))
			if b.status != 422 || !strings.Contains(string(b.body), "seed_not_accepted") {
				h.t.Errorf("a seed to %s: %d %s", path, b.status, b.body)
			}
			a.body = append(a.body, b.body...)
		}
		h.send(asking(h.owner, "/explanations", `{"jwt":"`+someJWT+`"}`))
		for what, secret := range map[string]string{"password": password, "seed": strayedSeed, "JWT": someJWT, "request": token} {
			if strings.Contains(string(a.body), secret) {
				h.t.Errorf("the %s comes back", what)
			}
			if strings.Contains(h.log.String(), secret) {
				h.t.Errorf("the %s is in the log", what)
			}
		}
		if storedObjects(h) != before {
			h.t.Error("asking changed something")
		}
	})
}

func asking(token, path, body string) request {
	return request{method: post, path: path, body: body, token: token}
}

// Everybody is asked about page by page, also when a page ends within an account.
func TestPermissionChecksInPages(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		h.want(post, accounts, `{"name":"BILLING","operator":"acme"}`, 201)
		for _, name := range []string{"b1", "b2"} {
			h.want(post, "/accounts/BILLING/users", `{"name":"`+name+`","permissions":{"publish":{"allow":["billing.>"]}}}`, 201)
		}
		var got []string
		cursor := ""
		for range 5 {
			body, err := json.Marshal(map[string]any{"op": "publish", "subject": "billing.x", "limit": 1, "cursor": cursor})
			must(h.t, err)
			a := h.send(asking(h.auditor, "/permission-checks", string(body)))
			var page struct {
				Items      []struct{ User, Access string }
				NextCursor string `json:"next_cursor"`
			}
			must(h.t, json.Unmarshal(a.body, &page))
			for _, x := range page.Items {
				got = append(got, x.User+" "+x.Access)
			}
			if cursor = page.NextCursor; cursor == "" {
				break
			}
		}
		if strings.Join(got, ", ") != "BILLING/b1 allowed, BILLING/b2 allowed, ORDERS/d1 denied" {
			h.t.Errorf("%q", got)
		}
		for body, pointer := range map[string]string{
			`{"op":"publish","subject":"a","user":"d1"}`:                       "/user",
			`{"op":"publish","subject":"a.>"}`:                                 "/subject",
			`{"op":"publish","subject":"a","queue":"q"}`:                       "/queue",
			`{"op":"sing","subject":"a"}`:                                      "/op",
			`{"op":"publish","subject":"a","limit":0}`:                         "/limit",
			`{"op":"publish","subject":"a","user":"ORDERS/d1","cursor":"eyJ"}`: "",
		} {
			a := h.send(asking(h.auditor, "/permission-checks", body))
			p := a.problem(h.t)
			if a.status != 422 || len(p.Errors) != 1 || p.Errors[0].Pointer != pointer {
				h.t.Errorf("%s: %d %s", body, a.status, a.body)
			}
		}
	})
}
