package web_test

import (
	"regexp"
	"testing"

	"chancery/issuer"
)

// The keys of a template through the console: rotated by plan, the old one drains, and
// retiring it takes the letters of its name and the guard's.
func TestKeysInTheConsole(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		h.user("d1")
		b := h.signedIn()
		b.get("/keys").want(200).has("The next 13 weeks", "No policy rotates keys by itself.", "acme", "ORDERS / device", "1 credential")
		b.get("/accounts/ORDERS").has("Signing keys")
		b.get("/operators/acme").has("Rotate, retire or disable them")
		b.get("/accounts/ORDERS/keys").want(200).has("device").hasNot("The rotation")

		of := issuer.KeyOwner{Account: "ORDERS", Template: "device"}
		const page = "/accounts/ORDERS/templates/device/keys"
		plan := b.submit(b.get(page+"/rotate").want(200).has("Keep the old key trusted"), "overlap", "14d").want(200).has("A new key", "retiring, until the overlap ends", "Rotate")
		b.follow(b.submit(plan)).has("The new key signs.", "The rotation", "1 credential hangs on the old key.", "Retiring", "Current")
		list, err := h.issuer.ListKeys(t.Context(), op.Caller, of)
		must(t, err)
		if len(list) != 2 || list[0].State != issuer.KeyRetiring || list[0].RetireAt.IsZero() || list[1].State != issuer.KeyCurrent {
			t.Fatalf("the keys are %+v", list)
		}
		old := page + "/" + list[0].ID
		b.submit(b.get(old+"/retire").want(200).has("The last four letters"), "typed", "x").want(422).has("These are not the letters.")
		guarded := b.submit(b.get(old+"/retire"), "typed", list[0].ID[52:]).want(409).has("1 unexpired credential was signed by this key", "key_in_use")
		plan = b.submit(guarded, "guard_typed", "key_in_use").want(200).has("credential stops working", "Retire for ever")
		b.follow(b.submit(plan)).has("The key is retired.", "Retired").hasNot("The rotation")
		b.get("/keys?state=retired").want(200).has("ORDERS / device", "Retired")

		now := page + "/" + list[1].ID
		b.follow(b.submit(b.submit(b.get(now + "/disable").want(200)).want(200).has("disabled"))).has("Disabled")
		b.follow(b.submit(b.submit(b.get(now + "/current").want(200)).want(200))).has("The key is current.")
		plan = b.submit(b.get(now+"/compromise"), "typed", list[1].ID[52:]).want(200).has("A new key")
		b.follow(b.submit(plan)).has("Everything that the key signed is refused.")
		b.get(page + "/" + list[1].ID + "/dance").want(404)
		b.get(page + "/AX/retire").want(404)
	})
}

// An operator's key in the console: prepared, then current, and no way to retire the
// last one.
func TestOperatorKeysInTheConsole(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		page := b.follow(b.submit(b.submit(b.get("/operators/acme/keys/rotate").want(200)).want(200).has("restart them one after the other")))
		page.has("The key is prepared.", "Prepared", "Add", "Switch", "Drain")
		link := regexp.MustCompile(`/operators/acme/keys/(O[A-Z2-7]{55})/current`).FindStringSubmatch(page.body)
		if link == nil {
			t.Fatal(page.text())
		}
		b.follow(b.submit(b.submit(b.get(link[0]).want(200)).want(200).has("retiring, until nothing hangs on it"))).has("The key is current.", "2")
		b.submit(b.get("/operators/acme/keys/"+link[1]+"/retire"), "typed", link[1][52:]).want(409).has("last_operator_key")
		h.auditor().get("/operators/acme/keys").want(200).hasNot("Make current")
	})
}
