package web_test

import (
	"testing"

	"chancery/issuer"
)

// What would lock somebody out is stopped until its guard is typed; what was asked travels along, and it is asked
// once, for the plan and for applying it.
func TestGuard(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		_, err := h.issuer.SystemCredential(t.Context(), op, h.operator, "a test")
		must(t, err)
		b := h.signedIn()
		form := b.get("/accounts/" + issuer.SystemAccountName + "/users/" + issuer.SystemUserName + "/revoke").want(200)
		stopped := b.submit(form, "reason", "a drill").want(409).has("This would lock somebody out", "Refusing Chancery's own user", "system_user", "a drill")
		stopped = b.submit(stopped, "guard_typed", "yes").want(409).has("That is not the name.", "a drill")
		revoked := func() int {
			list, err := h.issuer.ListRevocations(t.Context(), op.Caller, issuer.SystemAccountName, issuer.RevocationQuery{LedgerPage: issuer.LedgerPage{Limit: 10}})
			must(t, err)
			return len(list)
		}
		plan := b.submit(stopped, "guard_typed", "system_user").want(200).has("Nothing has happened yet", "Revoke now")
		if n := revoked(); n != 0 {
			t.Fatalf("%d revocations before the plan was applied", n)
		}
		b.follow(b.submit(plan)).want(200).has("a drill")
		if n := revoked(); n != 1 {
			t.Errorf("%d revocations, want 1", n)
		}
	})
}
