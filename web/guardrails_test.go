package web_test

import (
	"strings"
	"testing"
)

// TestGuardrailsInConsole sets guardrails of an operator and of an account: form, plan, and what the pages and forms say
// afterwards.
func TestGuardrailsInConsole(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		h.user("d1")
		b.get("/operators/acme").want(200).has("Nothing is bounded.", `href="/operators/acme/guardrails"`)
		b.submit(b.get("/operators/acme/guardrails").want(200), "max_ttl", "soon", "users_per_account", "many").want(422).has("Write a number and days")
		b.submit(b.get("/operators/acme/guardrails"), "subjects", "orders", "required_user_tags", "x").want(422).has("ends in a dot")
		b.submit(b.get("/operators/acme/guardrails")).want(200).has("Nothing would change")
		plan := b.submit(b.get("/operators/acme/guardrails"), "max_ttl", "7 days", "user_tags", "team", "subjects", "devices. cmd. inboxes", "users_per_account", "10", "total_jetstream_disk_bytes", "1 GiB", "reason", "a policy").want(200).
			has("Longest lifetime of credentials", "no bound", "7 days", "lacks a tag: ORDERS/d1", "JetStream disk of all accounts", "It is in what is issued from now on")
		b.follow(b.submit(plan)).want(200).has("The guardrails of acme were set", "Credentials live for at most 7 days.", "Users need a tag team:…", "At most 10 users of an account.")
		// Its forms say what holds, and offer no more.
		p := b.get("/accounts/ORDERS/users/d1/issue").want(200).has("Guardrails hold here", "Credentials live for at most 7 days.", "Users need a tag team:…")
		if strings.Contains(p.body, `value="2592000"`) || strings.Contains(p.body, `value="never"`) {
			t.Error("a longer lifetime is offered")
		}
		b.submit(p).want(422).has("guardrails want a tag team:… on every user", "Whoever administers the operator can change them")
		b.get("/accounts/ORDERS/users/new").want(200).has("Guardrails hold here", "Users need a tag")
		b.get("/accounts/ORDERS/templates/new").want(200).has("Guardrails hold here", "cmd.>, devices.>, inboxes").hasNot("Users need a tag")
		b.get("/operators/acme/templates/new").want(200).has("Guardrails hold here")

		page := b.get("/accounts/ORDERS/guardrails").want(200).has("The operator's guardrails hold as well", "Credentials live for at most 7 days.").hasNot("total_connections", "account_tags")
		plan = b.submit(page, "max_ttl", "30 days", "subjects", "devices.eu.").want(200).has("allow a shorter lifetime, which holds")
		b.follow(b.submit(plan)).want(200).has("The guardrails of ORDERS were set", "at most 7 days", "devices.eu.>")
		// A plan that somebody overtook is shown again.
		plan = b.submit(b.get("/accounts/ORDERS/guardrails"), "max_ttl", "2 days")
		a, err := h.issuer.AccountGuardrails(t.Context(), op.Caller, "ORDERS")
		must(t, err)
		overtaking := op
		overtaking.ExpectedVersion = a.Version
		a.Own.NoBearer = true
		_, err = h.issuer.SetAccountGuardrails(t.Context(), overtaking, "ORDERS", a.Own)
		must(t, err)
		b.submit(plan).want(200).has("Something changed meanwhile")

		auditor := h.auditor()
		auditor.get("/accounts/ORDERS").want(200).has("at most 7 days").hasNot(`href="/accounts/ORDERS/guardrails"`)
		auditor.get("/operators/acme/guardrails").want(403)
	})
}
