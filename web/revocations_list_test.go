package web_test

import (
	"strings"
	"testing"

	"chancery/issuer"
)

// Everything that can be done with the revocations of an account, page by page.
func TestRevocationsOfAnAccount(t *testing.T) {
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		h.user("d1")
		const list = "/accounts/ORDERS/revocations"
		b.get(list).want(200).has("Nothing is revoked in this account", "of what a server takes").hasNot("/compact\"")
		b.get("/accounts/ORDERS").want(200).has(list, "0 entries in force")
		b.get(list + "/lift?subject=d1").want(404)
		b.get(list + "/lift?subject=*").want(404)
		b.follow(b.submit(b.submit(b.get("/accounts/ORDERS/users/d1/revoke"), "reason", "laptop lost").want(200)))
		p := b.get(list).want(200).has("laptop lost", ">d1</a>", "1 not expired", "Take back")
		if strings.Contains(p.body, "Everybody</th>") {
			t.Error("everybody is listed")
		}

		// Revoking everybody asks for the name, and for a time that is one.
		form := b.get(list+"/everybody").want(200).has("Name of the account", "2026-11-21T10:12:31Z")
		b.submit(form, "typed", "orders").want(422).has("This is not the name.")
		b.submit(form, "typed", "ORDERS", "before", "yesterday").want(422).has("Write a time such as")
		b.submit(form, "typed", "ORDERS", "before", "2999-01-01T00:00:00Z").want(422).has("cannot reach into the future")
		plan := b.submit(form, "typed", "ORDERS", "reason", "leaked backup").want(200).has("Nothing has happened yet", "Refused if issued up to now", "live connections")
		b.follow(b.submit(plan)).want(200).has("is revoked.", "Everybody</th>", "leaked backup", `href="`+list+`/compact"`)

		// What everybody's covers can be compacted, and is on record after.
		b.follow(b.submit(b.submit(b.get(list+"/compact").want(200)).want(200).has("Revocations", "now 2 after 1"))).want(200).has("were compacted").hasNot("laptop lost")
		b.get(list+"?show=removed").want(200).has("laptop lost", "compacted")

		// Taking back says what lives again, and wants a reason and the name.
		lift := b.get(list + "/lift?subject=*").want(200).has("Old credentials live again")
		b.submit(lift, "typed", "ORDERS").want(422).has("needs a reason")
		plan = b.submit(lift, "typed", "ORDERS", "reason", "a false alarm").want(200).has("accepted again", "come back into force", "Take it back")
		b.follow(b.submit(plan)).want(200).has("was taken back", "laptop lost").hasNot("leaked backup")
		rows, err := h.issuer.ListRevocations(t.Context(), issuer.System("test"), h.account, issuer.RevocationQuery{LedgerPage: issuer.LedgerPage{Limit: 10}})
		must(t, err)
		if len(rows) != 1 || rows[0].Reason != "laptop lost" {
			t.Errorf("%+v", rows)
		}
	})
}
