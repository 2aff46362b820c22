package web_test

import (
	"regexp"
	"testing"

	"github.com/nats-io/nkeys"
)

// A link made in one browser is opened in another that nobody is signed in to: looking does not use it up, pressing
// the button does.
func TestCredentialLink(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		h.user("d1")
		b, stranger := h.signedIn(), h.visitor()
		made := b.submit(b.get("/accounts/ORDERS/users/d1/issue"), "delivery", "one_time_link").want(200).has("A link for d1", "nothing was issued yet").hasNot("USER NKEY SEED")
		link := regexp.MustCompile(`/c/chy_cred_[0-9A-Za-z]+`).FindString(made.body)
		if link == "" {
			t.Fatal("there is no link")
		}
		for range 3 {
			stranger.get(link).want(200).has("Credentials for d1", "account ORDERS", "Make and show my credentials").hasNot("USER NKEY SEED")
		}
		shown := stranger.submit(stranger.get(link)).want(200).has("Shown once.", "BEGIN USER NKEY SEED", "ORDERS-d1.creds").hasNot("/accounts/ORDERS")
		if shown.header.Get("Cache-Control") != "no-store" {
			t.Errorf("the secret may be cached: %q", shown.header.Get("Cache-Control"))
		}
		stranger.get(link).want(410).has("This link was used, has expired or was withdrawn.")
		stranger.do("POST", link, nil).want(410)
		b.get("/accounts/ORDERS/users/d1").want(200).has("one-time link")
	})
}

// What happens to a user's credentials in the console, one page after the other.
func TestUserLife(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		h.user("d1")
		const d1 = "/accounts/ORDERS/users/d1"
		b := h.signedIn()
		pair, err := nkeys.CreateUser()
		must(t, err)
		key, err := pair.PublicKey()
		must(t, err)
		form := b.get(d1 + "/issue")
		b.submit(form, "public_key", key).want(422).has("Reason")
		b.submit(form, "public_key", key, "reason", "from her ticket").want(200).has("For the key its holder has.", ".jwt").hasNot("USER NKEY SEED")
		renew := b.get(d1 + "/renew")
		b.submit(renew).want(200).has("For the key its holder has.")
		b.submit(renew).want(409).has("This form was sent before.")

		plan := b.submit(b.get(d1+"/roll").want(200), "grace", "86400").want(200).has("A new one", "credentials stop working")
		b.submit(plan).want(200).has("Shown once.", "BEGIN USER NKEY SEED")
		b.submit(plan).want(409).has("This form was sent before.")
		b.get(d1).want(200).has("rolls off", "rolled", "renewed", "from her ticket", "not proven", "Revoke and issue again", "Disable")
		b.submit(b.submit(b.get(d1 + "/reissue").want(200)).want(200).has("One new credential")).want(200).has("Shown once.")

		b.follow(b.submit(b.submit(b.get(d1+"/disable").want(200), "reason", "on leave").want(200).has("Disabled"))).want(200).has("User d1 is disabled.", "Enable again").hasNot(`/issue"`)
		b.submit(b.get(d1 + "/issue")).want(409).has("active users")
		b.follow(b.submit(b.submit(b.get(d1 + "/enable").want(200)).want(200).has("comes back to life"))).want(200).has("User d1 is active.")
		b.submit(b.get(d1+"/delete").want(200), "typed", "d2").want(422).has("This is not the name.")
		b.follow(b.submit(b.submit(b.get(d1+"/delete"), "typed", "d1").want(200).has("Deleted"))).want(200).has("User d1 is deleted.")
		b.get(d1).want(404)
	})
}

// What a user may do from the next credentials on is changed after a look at the plan.
func TestUserEdit(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		h.user("d1")
		const d1 = "/accounts/ORDERS/users/d1"
		b := h.signedIn()
		b.get(d1).want(200).has(d1 + "/edit")
		form := b.get(d1 + "/edit").want(200).has("region:eu")
		b.submit(form).want(200).has("Nothing would change")
		b.submit(form, "tags", "two words:x:").want(422)
		plan := b.submit(form, "tags", "region:us").want(200).has("region:us", "keeps what it says now", "It is in what is issued from now on.")
		b.follow(b.submit(plan)).want(200).has("User d1 was changed.", "region:us")
		own := b.submit(b.get(d1+"/edit"), "template", "/none").want(200).has("Template", "device", "none")
		b.follow(b.submit(own)).want(200).has("own permissions")
		b.submit(plan).want(200).has("Something changed meanwhile")
		back := b.submit(b.get(d1+"/edit").want(200).has("permissions of its own, as they are"), "template", "device").want(200)
		b.follow(b.submit(back)).want(200).has("region:us").hasNot("own permissions")
	})
}

// The users of all accounts are found by name and by what is on record of them.
func TestUserList(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		b.get("/users").want(200).has("No users yet")
		h.user("d1")
		h.user("d2")
		b.submit(b.get("/accounts/ORDERS/users/d2/issue")).want(200)
		b.submit(b.get("/accounts/ORDERS/users/new"), "name", "buoy", "template", "/none", "lifetime", "never", "reason", "at sea").want(200)
		b.get("/users").want(200).has("d1", "d2", "ORDERS", "1 credential", "2 credentials")
		b.get("/users?q=D1").want(200).has("d1").hasNot(">d2<")
		b.get("/users?credentials=no_expiry").want(200).has(">buoy<").hasNot(">d1<")
		b.get("/users?credentials=expiring").want(200).has(">d1<", ">d2<")
		b.get("/users?credentials=bearer&state=nonsense").want(200).has("No user matches", "Clear the filters")
		b.get("/users?tag=region:eu&state=active").want(200).has(">d1<", ">d2<")
		b.get("/users?tag=region:us").want(200).has("No user matches")
	})
}
