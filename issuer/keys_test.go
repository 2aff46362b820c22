package issuer_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/issuer"
	"chancery/store"
)

var (
	ofTemplate = issuer.KeyOwner{Account: "ORDERS", Template: "device"}
	ofAccount  = issuer.KeyOwner{Account: "ORDERS"}
	ofOperator = issuer.KeyOwner{Operator: "acme"}
)

// keys returns the owner's signing keys, oldest first.
func (h *house) keys(t testing.TB, of issuer.KeyOwner) []issuer.KeyWithUse {
	t.Helper()
	list, err := h.ListKeys(t.Context(), owner, of)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// templateKey returns the template's current key.
func (h *house) templateKey(t testing.TB) string {
	t.Helper()
	list := h.keys(t, ofTemplate)
	for _, k := range slices.Backward(list) {
		if k.State == issuer.KeyCurrent {
			return k.ID
		}
	}
	return ""
}

// plainKey returns the account's current plain key.
func (h *house) plainKey(t testing.TB, account string) string {
	t.Helper()
	for _, k := range h.keys(t, issuer.KeyOwner{Account: account}) {
		if k.State == issuer.KeyCurrent {
			return k.ID
		}
	}
	return ""
}

// states is the states of the owner's keys, oldest first.
func (h *house) states(t testing.TB, owner issuer.KeyOwner) string {
	t.Helper()
	var out []string
	for _, k := range h.keys(t, owner) {
		out = append(out, k.State)
	}
	return fmt.Sprint(out)
}

// settle does what the resolver does once all servers have everything.
func (h *house) settle(t testing.TB) { t.Helper(); h.raw.Run(t, `DELETE FROM outbox`) }

// upkeep runs one pass and wants it to go well.
func (h *house) upkeep(t testing.TB) {
	t.Helper()
	if err := h.Upkeep(t.Context()); err != nil {
		t.Error(err)
	}
}

func overriding(guards ...issuer.Guard) issuer.Op {
	o := op()
	o.Override = guards
	return o
}

// signingKeys is what the JWT of ORDERS says of its keys.
func (h *house) signingKeys(t testing.TB) []string {
	t.Helper()
	keys := decode[*jwt.AccountClaims](t, h.account(t, "ORDERS").JWT).SigningKeys.Keys()
	slices.Sort(keys)
	return keys
}

// A rotation of a template's or an account's key: both keys are trusted, new
// credentials come from the new one, the old one cannot go while something hangs on
// it, and goes by itself when nothing does.
func TestRotation(t *testing.T) {
	for name, owner := range map[string]issuer.KeyOwner{"template": ofTemplate, "plain": ofAccount} {
		t.Run(name, func(t *testing.T) {
			eachWorld(t, func(t *testing.T, h *house, w world) {
				user := map[string]string{"template": "d1", "plain": "ada@example.com"}[name]
				did(h.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: "ada@example.com"})).well(t)
				h.advance(2 * time.Second)
				did(h.Issue(t.Context(), op(), "ORDERS", user, issuer.IssueInput{TTL: time.Hour})).well(t)
				old := h.keys(t, owner)[0]
				version := h.account(t, "ORDERS").JWTVersion
				dry := did(h.AddKey(t.Context(), dryRun(), owner, issuer.KeyInput{MakeCurrent: true}))
				h.unchanged(t, func() { did(h.AddKey(t.Context(), dryRun(), owner, issuer.KeyInput{MakeCurrent: true})).well(t) })
				if dry.well(t); len(dry.Plan.Summary) != 2 || dry.Plan.Credentials != 0 {
					t.Errorf("the plan is %+v", dry.Plan)
				}
				out := did(h.AddKey(t.Context(), op(), owner, issuer.KeyInput{MakeCurrent: true})).well(t)
				if len(out.Previous) != 1 || out.Previous[0].ID != old.ID || out.Previous[0].State != issuer.KeyRetiring || out.Previous[0].InUse.UnexpiredCredentials == 0 || out.JWTVersion != version+1 || out.Sealed != nil {
					t.Errorf("the rotation came to %+v", out)
				}
				if got := h.signingKeys(t); !slices.Contains(got, old.ID) || !slices.Contains(got, out.ID) {
					t.Errorf("the JWT carries %v", got)
				}
				issued := did(h.Issue(t.Context(), op(), "ORDERS", user, issuer.IssueInput{TTL: time.Hour})).well(t)
				if issued.Signer != out.ID {
					t.Errorf("issued by %s", issued.Signer)
				}
				_, err := h.SetKeyState(t.Context(), op(), owner, old.ID, issuer.KeyStateInput{State: issuer.KeyRetired})
				e := wants(t, err, issuer.KindConflict)
				if e.Guard != issuer.GuardKeyInUse || !slices.Contains([]string{"1 unexpired credential was signed by this key: its holder would be refused.", "2 unexpired credentials were signed by this key: their holders would be refused."}, e.Message) {
					t.Errorf("the refusal is %+v", e)
				}
				h.upkeep(t)
				if got := h.states(t, owner); got != "[retiring current]" {
					t.Errorf("before the credentials expire the keys are %s", got)
				}
				h.advance(2 * time.Hour)
				h.upkeep(t)
				if got := h.states(t, owner); got != "[retired current]" {
					t.Errorf("after the credentials expired the keys are %s", got)
				}
				if got := h.signingKeys(t); slices.Contains(got, old.ID) {
					t.Error("the JWT still carries the retired key")
				}
				_ = w
			})
		})
	}
}

// Every pair of states: the legal moves are made, the others are told apart by a
// conflict, and what the JWT carries follows the state.
func TestKeyStates(t *testing.T) {
	legal := map[string][]string{
		"prepared": {"current", "retired", "disabled"}, "current": {"retiring", "retired", "disabled"},
		"retiring": {"current", "retired", "disabled"}, "disabled": {"current", "retiring", "retired"}, "retired": {},
	}
	way := map[string][]string{"prepared": nil, "current": {"current"}, "retiring": {"current", "retiring"}, "disabled": {"disabled"}, "retired": {"retired"}}
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		n := 0
		for from := range legal {
			for to := range legal {
				h.advance(time.Minute)
				k := did(h.AddKey(t.Context(), op(), ofAccount, issuer.KeyInput{})).well(t)
				all := overriding(issuer.GuardKeyInUse)
				for _, s := range way[from] {
					did(h.SetKeyState(t.Context(), all, ofAccount, k.ID, issuer.KeyStateInput{State: s})).well(t)
				}
				_, err := h.SetKeyState(t.Context(), all, ofAccount, k.ID, issuer.KeyStateInput{State: to})
				n++
				switch {
				case to == from || slices.Contains(legal[from], to):
					if err != nil {
						t.Errorf("%s to %s: %v", from, to, err)
						continue
					}
					got, err := h.GetKey(t.Context(), owner, ofAccount, k.ID)
					if err != nil || got.State != to {
						t.Errorf("%s to %s came to %s, %v", from, to, got.State, err)
					}
					carried := slices.Contains(h.signingKeys(t), k.ID)
					if want := to == "prepared" || to == "current" || to == "retiring"; carried != want {
						t.Errorf("%s to %s: carried is %v", from, to, carried)
					}
				case to == "prepared":
					wants(t, err, issuer.KindInvalid)
				default:
					if e := wants(t, err, issuer.KindConflict); e.Code != "illegal_state" || e.Hint == "" {
						t.Errorf("%s to %s: %+v", from, to, e)
					}
				}
			}
		}
		t.Logf("%d of 25 moves as the table says", n)
		_, err := h.SetKeyState(t.Context(), op(), ofAccount, h.keys(t, ofAccount)[0].ID, issuer.KeyStateInput{State: "gone"})
		wants(t, err, issuer.KindInvalid)
		_, err = h.SetKeyState(t.Context(), op(), ofAccount, h.templateKey(t), issuer.KeyStateInput{State: "retiring"})
		wants(t, err, issuer.KindNotFound) // it belongs to the template
		stale := op()
		stale.ExpectedVersion = 99
		_, err = h.SetKeyState(t.Context(), stale, ofAccount, h.keys(t, ofAccount)[0].ID, issuer.KeyStateInput{State: "retiring"})
		wants(t, err, issuer.KindStale)
	})
}

// Keys whose seed is elsewhere, and what is refused of a new key.
func TestKeyCustody(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		shown := did(h.AddKey(t.Context(), op(), ofAccount, issuer.KeyInput{Custody: issuer.CustodyShownOnce})).well(t)
		if shown.Seed.Empty() || shown.Custody != issuer.CustodyShownOnce {
			t.Errorf("shown once is %+v", shown)
		}
		stored, err := h.GetKey(t.Context(), owner, ofAccount, shown.ID)
		if err != nil || stored.State != issuer.KeyPrepared {
			t.Errorf("stored is %+v, %v", stored, err)
		}
		h.in(t, func(ctx context.Context, tx *store.Tx) error {
			k, err := tx.GetKey(ctx, shown.ID)
			if k.Sealed != nil {
				t.Error("the seed is stored")
			}
			return err
		})
		public := newAccountKey(t)
		given := did(h.AddKey(t.Context(), op(), ofAccount, issuer.KeyInput{PublicKey: public})).well(t)
		if given.ID != public || given.Custody != issuer.CustodyPublicOnly || !slices.Contains(h.signingKeys(t), public) {
			t.Errorf("given is %+v", given)
		}
		_, err = h.AddKey(t.Context(), op(), ofAccount, issuer.KeyInput{PublicKey: public})
		wants(t, err, issuer.KindConflict)
		for name, in := range map[string]issuer.KeyInput{
			"a user's key": {PublicKey: newUserKey(t)}, "sealed elsewhere": {PublicKey: newAccountKey(t), Custody: issuer.CustodySealed},
			"nobody's": {Custody: issuer.CustodyPublicOnly}, "unknown": {Custody: "x"},
			"a strange succession": {MakeCurrent: true, Previous: issuer.Succession{State: "prepared"}},
			"a negative overlap":   {MakeCurrent: true, Previous: issuer.Succession{RetireAfter: pointer(-time.Second)}},
		} {
			t.Log(name)
			_, err := h.AddKey(t.Context(), op(), ofAccount, in)
			wants(t, err, issuer.KindInvalid)
		}
		for _, o := range []issuer.KeyOwner{{Account: "NONE"}, {Operator: "none"}, {Account: "ORDERS", Template: "none"}} {
			_, err := h.AddKey(t.Context(), op(), o, issuer.KeyInput{})
			wants(t, err, issuer.KindNotFound)
			_, err = h.ListKeys(t.Context(), owner, o)
			wants(t, err, issuer.KindNotFound)
		}
		out := did(h.AddKey(t.Context(), dryRun(), ofAccount, issuer.KeyInput{PublicKey: newAccountKey(t), MakeCurrent: true}))
		if out.well(t); len(out.Plan.Warnings) == 0 {
			t.Error("nothing warns of a key that cannot sign here")
		}
	})
}

// The rotation of an operator's key: prepared, current, all accounts signed anew,
// retired; and no way to skip a step by mistake.
func TestOperatorRotation(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		old := h.keys(t, ofOperator)[0]
		if old.InUse.Accounts != 2 {
			t.Errorf("%d accounts are signed by the key", old.InUse.Accounts)
		}
		h.advance(time.Minute) // keys are listed by age
		next := did(h.AddKey(t.Context(), op(), ofOperator, issuer.KeyInput{})).well(t)
		if next.State != issuer.KeyPrepared {
			t.Errorf("the new key is %s", next.State)
		}
		o, err := h.GetOperator(t.Context(), owner, "acme")
		if err != nil {
			t.Fatal(err)
		}
		if got := decode[*jwt.OperatorClaims](t, o.JWT).SigningKeys; len(got) != 2 {
			t.Errorf("the operator's JWT trusts %v", got)
		}
		for _, state := range []string{issuer.KeyRetired, issuer.KeyDisabled, issuer.KeyRetiring} {
			_, err := h.SetKeyState(t.Context(), op(), ofOperator, old.ID, issuer.KeyStateInput{State: state})
			if e := wants(t, err, issuer.KindConflict); e.Guard != issuer.GuardLastOperatorKey {
				t.Errorf("%s: %+v", state, e)
			}
		}
		out := did(h.SetKeyState(t.Context(), op(), ofOperator, next.ID, issuer.KeyStateInput{State: issuer.KeyCurrent})).well(t)
		if out.Owing != 2 || len(out.Previous) != 1 || out.Previous[0].State != issuer.KeyRetiring {
			t.Errorf("the switch came to %+v", out)
		}
		_, err = h.SetKeyState(t.Context(), op(), ofOperator, old.ID, issuer.KeyStateInput{State: issuer.KeyRetired})
		if e := wants(t, err, issuer.KindConflict); e.Guard != issuer.GuardOperatorKeyInUse || e.Message != "2 accounts are still signed by this key: servers would refuse them at their next start." {
			t.Errorf("%+v", e)
		}
		version := h.account(t, "ORDERS").JWTVersion
		h.upkeep(t)
		if a := h.account(t, "ORDERS"); a.Signer != next.ID || a.JWTVersion != version+1 {
			t.Errorf("after the upkeep ORDERS is at version %d, signed by %s", a.JWTVersion, a.Signer)
		}
		if got := h.states(t, ofOperator); got != "[retiring current]" {
			t.Errorf("while servers do not have the new signatures the keys are %s", got)
		}
		h.settle(t)
		h.upkeep(t)
		if got := h.states(t, ofOperator); got != "[retired current]" {
			t.Errorf("in the end the keys are %s", got)
		}
		if o, err = h.GetOperator(t.Context(), owner, "acme"); err != nil || len(decode[*jwt.OperatorClaims](t, o.JWT).SigningKeys) != 1 {
			t.Errorf("the operator's JWT still trusts the old key: %v", err)
		}
		if a := h.account(t, "ORDERS"); a.JWTVersion != version+1 {
			t.Errorf("version %d", a.JWTVersion)
		}
		_ = w
	})
}

// While a server runs that does not trust the new key, the switch waits, unless
// somebody says it shall not.
func TestUntrustedOperatorKey(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		var lagging []string
		known := true
		cfg := h.config(h.store, h.kek)
		if err := h.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			return tx.PutServer(ctx, store.Server{ID: "N1", OperatorID: w.operator.ID, Name: "n1", State: "up"})
		}); err != nil {
			t.Fatal(err)
		}
		cfg.Trusts = func(context.Context, string, string) ([]string, bool) { return lagging, known }
		i, err := issuer.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		next := did(i.AddKey(t.Context(), op(), ofOperator, issuer.KeyInput{})).well(t)
		toCurrent := issuer.KeyStateInput{State: issuer.KeyCurrent}
		for name, c := range map[string]struct {
			lagging []string
			known   bool
			message string
		}{
			"two lag":  {[]string{"n1", "n2"}, true, "These nats-servers do not trust this key yet, and would refuse the accounts that it signs: n1, n2."},
			"unknown":  {nil, false, "It is not known whether every running nats-server trusts this key: accounts that it signs would be refused by those that do not."},
			"many lag": {[]string{"1", "2", "3", "4", "5", "6", "7"}, true, "These nats-servers do not trust this key yet, and would refuse the accounts that it signs: 1, 2, 3, 4, 5 and 2 more."},
		} {
			lagging, known = c.lagging, c.known
			_, err := i.SetKeyState(t.Context(), op(), ofOperator, next.ID, toCurrent)
			if e := wants(t, err, issuer.KindConflict); e.Guard != issuer.GuardOperatorKeyUntrusted || e.Message != c.message {
				t.Errorf("%s: %+v", name, e)
			}
			_, err = i.AddKey(t.Context(), op(), ofOperator, issuer.KeyInput{MakeCurrent: true})
			if e := wants(t, err, issuer.KindConflict); e.Guard != issuer.GuardOperatorKeyUntrusted {
				t.Errorf("%s: a new key: %+v", name, e)
			}
		}
		lagging, known = []string{"n1"}, true
		did(i.SetKeyState(t.Context(), dryOf(overriding(issuer.GuardOperatorKeyUntrusted)), ofOperator, next.ID, toCurrent)).well(t)
		lagging = nil
		did(i.SetKeyState(t.Context(), op(), ofOperator, next.ID, toCurrent)).well(t)
		// The one before is known to all: going back is no risk.
		lagging = []string{"n1"}
		did(i.SetKeyState(t.Context(), op(), ofOperator, h.keys(t, ofOperator)[0].ID, toCurrent)).well(t)
	})
}

// A key that is in wrong hands: what it signed is refused twice over, what another key
// gave the same holder is not, and its users get new credentials at once, even while
// the signing switch is off.
func TestCompromise(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		key := h.templateKey(t)
		// d1's key gets a later credential from the next key, d2 has one of the old key only.
		d2 := did(h.CreateUser(t.Context(), op(), "ORDERS", issuer.UserInput{Name: "d2", Template: "device", Tags: []string{"region:eu"}, Issue: &issuer.IssueInput{TTL: time.Hour}})).well(t)
		h.advance(time.Minute)
		did(h.AddKey(t.Context(), op(), ofTemplate, issuer.KeyInput{MakeCurrent: true})).well(t)
		again := did(h.Issue(t.Context(), op(), "ORDERS", "d1", issuer.IssueInput{PublicKey: w.device.Issued.PublicKey, TTL: time.Hour})).well(t)
		h.raw.Run(t, `UPDATE operators SET signing = FALSE`)
		stale := op()
		stale.ExpectedVersion = 77
		out := did(h.CompromiseKey(t.Context(), stale, ofTemplate, key))
		if out.well(t); out.Value.State != issuer.KeyRetired || out.Plan.Credentials != 2 || len(out.Value.Previous) != 0 {
			t.Errorf("it came to %+v, %+v", out.Value, out.Plan)
		}
		status := map[string]issuer.Status{}
		for _, user := range []string{"d1", "d2"} {
			list, err := h.ListCredentials(t.Context(), owner, "ORDERS", user, issuer.LedgerPage{Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range list {
				status[c.ID] = c.Status
			}
		}
		want := map[string]issuer.Status{w.device.Issued.ID: issuer.StatusRevoked, d2.Issued.ID: issuer.StatusRevoked, again.ID: issuer.StatusActive}
		for id, s := range want {
			if status[id] != s {
				t.Errorf("credential %s is %s, want %s", id, status[id], s)
			}
		}
		h.in(t, func(ctx context.Context, tx *store.Tx) error {
			v, err := tx.GetRevocation(ctx, w.account.ID, d2.Issued.PublicKey)
			if v.Cause != "key:"+key {
				t.Errorf("the revocation belongs to %q", v.Cause)
			}
			return err
		})
		// The current key too: another takes its place.
		now := h.templateKey(t)
		out = did(h.CompromiseKey(t.Context(), op(), ofTemplate, now))
		if out.well(t); len(out.Value.Previous) != 1 || out.Value.Previous[0].State != issuer.KeyCurrent {
			t.Errorf("it came to %+v", out.Value)
		}
		_, err := h.Issue(t.Context(), op(), "ORDERS", "d2", issuer.IssueInput{})
		wants(t, err, issuer.KindConflict) // signing is off
		h.raw.Run(t, `UPDATE operators SET signing = TRUE`)
		if c := did(h.Issue(t.Context(), op(), "ORDERS", "d2", issuer.IssueInput{})).well(t); c.Signer != out.Value.Previous[0].ID {
			t.Errorf("issued by %s", c.Signer)
		}
		_, err = h.SetKeyState(t.Context(), op(), ofTemplate, key, issuer.KeyStateInput{State: issuer.KeyCurrent})
		if e := wants(t, err, issuer.KindConflict); e.Code != "illegal_state" {
			t.Errorf("a retired key came back: %+v", e)
		}
	})
}

// An operator's key in wrong hands: all accounts are signed by another one first, then
// it is dropped, with the signing switch off.
func TestOperatorCompromise(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		old := h.keys(t, ofOperator)[0].ID
		h.advance(time.Minute)
		h.raw.Run(t, `UPDATE operators SET signing = FALSE`)
		out := did(h.CompromiseKey(t.Context(), op(), ofOperator, old)).well(t)
		if out.State != issuer.KeyRetiring || out.Owing != 2 || len(out.Previous) != 1 || out.Previous[0].State != issuer.KeyCurrent {
			t.Errorf("it came to %+v", out)
		}
		h.upkeep(t)
		if got := h.states(t, ofOperator); got != "[retired current]" {
			t.Errorf("the keys are %s", got)
		}
		for _, name := range []string{"ORDERS", "SYS"} {
			if a := h.account(t, name); a.Signer != out.Previous[0].ID {
				t.Errorf("%s is signed by %s", name, a.Signer)
			}
		}
	})
}

// By policy: keys of an age are rotated by themselves, an operator's once the servers
// trust the next one, and keys retire on the day that was announced.
func TestRotationByPolicy(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		day := int64(24 * 60 * 60)
		h.raw.Run(t, fmt.Sprintf(`UPDATE operators SET policy = '{"operator_key_age_seconds":%d,"account_key_age_seconds":%d,"template_key_age_seconds":%d,"rotation_overlap_seconds":3600}'`, 30*day, 20*day, 10*day))
		var lagging []string
		cfg := h.config(h.store, h.kek)
		cfg.Trusts = func(context.Context, string, string) ([]string, bool) { return lagging, true }
		i, err := issuer.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		pass := func(want string) {
			t.Helper()
			h.settle(t)
			if err := i.Upkeep(t.Context()); err != nil {
				t.Error(err)
			}
			if got := h.states(t, ofTemplate) + h.states(t, ofAccount) + h.states(t, ofOperator); got != want {
				t.Errorf("on day %d the keys are %s, want %s", (h.unix()-h.start())/day, got, want)
			}
		}
		pass("[current][current][current]")
		h.advance(11 * 24 * time.Hour)
		pass("[retiring current][current][current]")
		h.advance(time.Hour)
		pass("[retired current][current][current]")
		h.advance(9*24*time.Hour + 22*time.Hour)
		pass("[retired current][retiring current][current]")
		lagging = []string{"n1"}
		h.raw.Run(t, `UPDATE operators SET policy = '{"operator_key_age_seconds":2592000}'`)
		h.advance(10 * 24 * time.Hour)
		pass("[retired current][retired current][current prepared]")
		h.advance(time.Hour)
		pass("[retired current][retired current][current prepared]")
		lagging = nil
		h.advance(time.Hour)
		pass("[retired current][retired current][retiring current]")
		pass("[retired current][retired current][retiring current]") // signs the accounts anew
		pass("[retired current][retired current][retired current]")
	})
}

// Two replicas that find the same key due rotate it once.
func TestRotationByPolicyOnce(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		h.raw.Run(t, `UPDATE operators SET policy = '{"template_key_age_seconds":3600,"account_key_age_seconds":3600,"operator_key_age_seconds":3600}'`)
		h.advance(2 * time.Hour)
		replicas := []*issuer.Issuer{h.open(t, h.store, h.kek), h.open(t, h.store, h.kek), h.open(t, h.store, h.kek)}
		errs := make(chan error, len(replicas))
		for _, r := range replicas {
			go func() { errs <- r.Upkeep(t.Context()) }()
		}
		for range replicas {
			if err := <-errs; err != nil && !errors.Is(err, store.ErrBusy) {
				t.Error(err)
			}
		}
		for _, o := range []issuer.KeyOwner{ofTemplate, ofAccount, ofOperator} {
			if n := len(h.keys(t, o)); n != 2 {
				t.Errorf("%+v has %d keys", o, n)
			}
		}
	})
}

// The system account's key is guarded for the sake of Chancery's own connection.
func TestSystemKey(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		ofSystem := issuer.KeyOwner{Account: "SYS"}
		if _, err := h.SystemCredential(t.Context(), op(), "acme", "a file"); err != nil {
			t.Fatal(err)
		}
		old := h.plainKey(t, "SYS")
		h.advance(time.Minute)
		did(h.AddKey(t.Context(), op(), ofSystem, issuer.KeyInput{MakeCurrent: true})).well(t)
		retire := func(guards ...issuer.Guard) error {
			_, err := h.SetKeyState(t.Context(), overriding(guards...), ofSystem, old, issuer.KeyStateInput{State: issuer.KeyRetired})
			return err
		}
		if e := wants(t, retire(issuer.GuardKeyInUse), issuer.KindConflict); e.Guard != issuer.GuardSystemKey {
			t.Errorf("%+v", e)
		}
		if _, err := h.SystemCredential(t.Context(), op(), "acme", "a file"); err != nil {
			t.Fatal(err)
		}
		if e := wants(t, retire(), issuer.KindConflict); e.Guard != issuer.GuardKeyInUse {
			t.Errorf("%+v", e)
		}
		if err := retire(issuer.GuardKeyInUse); err != nil {
			t.Error(err)
		}
		_, err := h.SetKeyState(t.Context(), overriding(issuer.GuardKeyInUse), ofSystem, h.plainKey(t, "SYS"), issuer.KeyStateInput{State: issuer.KeyDisabled})
		if e := wants(t, err, issuer.KindConflict); e.Guard != issuer.GuardSystemKey {
			t.Errorf("the last key: %+v", e)
		}
		_, err = h.SetKeyState(t.Context(), op(), ofSystem, h.plainKey(t, "SYS"), issuer.KeyStateInput{State: issuer.KeyRetiring})
		if e := wants(t, err, issuer.KindConflict); e.Guard != issuer.GuardSystemKey {
			t.Errorf("the last key that signs: %+v", e)
		}
		elsewhere := issuer.KeyInput{PublicKey: newAccountKey(t), MakeCurrent: true}
		if e := wants(t, second(h.AddKey(t.Context(), op(), ofSystem, elsewhere)), issuer.KindConflict); e.Guard != issuer.GuardSystemKey {
			t.Errorf("a key that is elsewhere: %+v", e)
		}
	})
}

// A key in wrong hands goes also where the account's JWT has no room for revocations.
func TestCompromiseWithoutRoom(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		h.fill(t, w, 1000, time.Hour)
		keys := make([]string, 0, 10600)
		for range cap(keys) {
			raw := make([]byte, 32)
			if _, err := rand.Read(raw); err != nil {
				t.Fatal(err)
			}
			encoded, err := nkeys.Encode(nkeys.PrefixByteUser, raw) // of a key that nobody has
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, fmt.Sprintf("('rev_%s', '%s', '%s', %d, '', 'per_1', 'req_1', 1, 0)", encoded[1:20], w.account.ID, encoded, h.unix()))
		}
		for part := range slices.Chunk(keys, 500) {
			h.raw.Run(t, `INSERT INTO revocations (id, account_id, subject, before_s, reason, actor, request_id, created_us, removed_us) VALUES `+strings.Join(part, ", "))
		}
		h.analyze(t)
		h.revoke(t, w, w.ada.Issued.PublicKey) // signed anew, it holds them
		if size := len(h.account(t, w.account.ID).JWT); size < 900_000 {
			t.Fatalf("%d bytes are no test", size)
		}
		key := h.templateKey(t)
		out := did(h.CompromiseKey(t.Context(), op(), ofTemplate, key))
		if out.well(t); out.Value.State != issuer.KeyRetired {
			t.Errorf("%+v", out.Value)
		}
		if c := decode[*jwt.AccountClaims](t, h.account(t, w.account.ID).JWT); c.SigningKeys.Contains(key) {
			t.Error("the key is still trusted")
		}
	})
}

// count returns the number that a query comes to, text the text.
func (h *house) count(t testing.TB, query string, args ...any) (n int) {
	t.Helper()
	if err := h.raw.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func (h *house) text(t testing.TB, query string, args ...any) (s string) {
	t.Helper()
	if err := h.raw.QueryRowContext(t.Context(), query, args...).Scan(&s); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return s
}
