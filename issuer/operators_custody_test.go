package issuer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
)

// offline makes the operator acme, whose identity key only this test has.
func (h *house) offline(t testing.TB) (issuer.Operator, nkeys.KeyPair) {
	t.Helper()
	pair := newPair(t, nkeys.PrefixByteOperator)
	o := did(h.CreateOperator(t.Context(), op(), issuer.OperatorInput{Name: "acme", Custody: issuer.CustodyOffline, PublicKey: public(t, pair)})).well(t)
	return o, pair
}

// request exports what is to be signed.
func (h *house) request(t testing.TB, operator string) issuer.OperatorRequest {
	t.Helper()
	r, err := h.OperatorRequest(t.Context(), owner, operator)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// signedBy signs what is exported of acme now.
func (h *house) signedBy(t testing.TB, pair nkeys.KeyPair) string {
	t.Helper()
	token, err := h.request(t, "acme").Sign(pair)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// The identity key of an offline operator is nowhere in the database; its changes wait for it, one after the other,
// and the JWT in force stays until then.
func TestOfflineOperator(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		o, pair := h.offline(t)
		if o.State != "awaiting_signature" || o.JWT != "" || o.Custody != "offline" {
			t.Errorf("made %+v", o)
		}
		if seed, _ := pair.Seed(); strings.Contains(h.raw.Dump(t), string(seed)) {
			t.Error("the seed is in the database")
		}
		if e := wants(t, second(h.ServerConfig(t.Context(), owner, "acme", "https://x")), issuer.KindConflict); e.Code != "awaiting_signature" {
			t.Errorf("%+v", e)
		}
		first := h.request(t, "acme")
		if !first.Pending || first.CurrentJWT != "" || len(first.Changes) == 0 {
			t.Errorf("to be signed first: %+v", first)
		}
		o = did(h.UploadOperatorJWT(t.Context(), op(), "acme", h.signedBy(t, pair))).well(t)
		if o.State != "active" || o.JWT == "" {
			t.Errorf("uploaded %+v", o)
		}
		if r := h.request(t, "acme"); r.Pending || len(r.Changes) > 0 {
			t.Errorf("still waits: %+v", r)
		}
		config, err := h.ServerConfig(t.Context(), owner, "acme", "https://x")
		if err != nil || config.Fingerprint != first.Fingerprint || !strings.Contains(config.Text, first.Fingerprint) || !strings.Contains(config.Text, o.JWT) {
			t.Errorf("%+v, %v", config, err)
		}

		in := o.JWT
		h.advance(time.Second)
		o = did(h.UpdateOperator(t.Context(), op(), "acme", func(e *issuer.OperatorEdit) { e.Strict, e.Tags = false, []string{"lax"} })).well(t)
		if o.JWT != in {
			t.Error("the JWT in force changed without its key")
		}
		r := h.request(t, "acme")
		if got := len(r.Changes); !r.Pending || got != 2 || r.CurrentJWT != in {
			t.Errorf("waits: %+v", r)
		}
		did(h.UploadOperatorJWT(t.Context(), op(), "acme", h.signedBy(t, pair))).well(t)
		if c := decode[*jwt.OperatorClaims](t, h.operator(t, "acme").JWT); c.StrictSigningKeyUsage || !c.Tags.Contains("lax") {
			t.Errorf("in force: %+v", c.Operator)
		}

		// A policy is no part of the JWT: nothing waits.
		did(h.UpdateOperator(t.Context(), op(), "acme", func(e *issuer.OperatorEdit) { e.Policy.MaxTTL = 3600 })).well(t)
		if h.request(t, "acme").Pending {
			t.Error("a policy waits for a signature")
		}
	})
}

// A key that the offline identity has not signed into the operator's JWT does not come to sign accounts, not even
// where no server runs that could say so.
func TestOfflineOperatorKeys(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		_, pair := h.offline(t)
		did(h.UploadOperatorJWT(t.Context(), op(), "acme", h.signedBy(t, pair))).well(t)
		owner := issuer.KeyOwner{Operator: "acme"}
		e := wants(t, second(h.AddKey(t.Context(), op(), owner, issuer.KeyInput{MakeCurrent: true})), issuer.KindConflict)
		if e.Guard != issuer.GuardOperatorKeyUntrusted {
			t.Errorf("current at once: %+v", e)
		}
		h.advance(time.Second)
		key := did(h.AddKey(t.Context(), op(), owner, issuer.KeyInput{})).well(t).Key.ID
		if r := h.request(t, "acme"); !r.Pending || len(r.Changes) != 1 {
			t.Errorf("waits: %+v", r)
		}
		current := func() error {
			return second(h.SetKeyState(t.Context(), op(), owner, key, issuer.KeyStateInput{State: issuer.KeyCurrent}))
		}
		if e := wants(t, current(), issuer.KindConflict); e.Guard != issuer.GuardOperatorKeyUntrusted {
			t.Errorf("before the signature: %+v", e)
		}
		h.advance(time.Second)
		did(h.UploadOperatorJWT(t.Context(), op(), "acme", h.signedBy(t, pair))).well(t)
		if err := current(); err != nil {
			t.Errorf("after the signature: %v", err)
		}
	})
}

// What is not exactly what the identity key was asked to sign now is refused, and nothing changes.
func TestUploadsRefused(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		o, pair := h.offline(t)
		did(h.UploadOperatorJWT(t.Context(), op(), "acme", h.signedBy(t, pair))).well(t)
		inForce := h.operator(t, "acme").JWT
		h.advance(time.Minute)
		stale := h.signedBy(t, pair)
		h.advance(time.Second)
		did(h.UpdateOperator(t.Context(), op(), "acme", setURLs([]string{"nats://n1:4222"}))).well(t)
		good := h.request(t, "acme")
		meant, _, err := good.Claims()
		if err != nil {
			t.Fatal(err)
		}
		altered := func(edit func(c *claims.Operator), signer nkeys.KeyPair, issuedAt int64) string {
			c := claims.OperatorOf(meant)
			if edit != nil {
				edit(&c)
			}
			return signOperator(t, c, signer, issuedAt)
		}
		stranger, now := newPair(t, nkeys.PrefixByteOperator), h.unix()
		foreign := public(t, stranger)
		another := altered(func(c *claims.Operator) { c.ID = foreign }, stranger, now)
		cases := map[string]struct {
			token, code string
			kind        issuer.Kind
		}{
			"nothing":               {"", "invalid", issuer.KindInvalid},
			"nonsense":              {"x.y.z", "invalid", issuer.KindInvalid},
			"an account's JWT":      {h.account(t, o.Settings.SystemAccount).JWT, "invalid", issuer.KindInvalid},
			"another operator":      {another, "invalid", issuer.KindInvalid},
			"another key":           {altered(nil, stranger, now), "invalid", issuer.KindInvalid},
			"a broken signature":    {altered(nil, pair, now)[:40] + "A" + altered(nil, pair, now)[41:], "invalid", issuer.KindInvalid},
			"the unsigned claims":   {good.SigningInput, "invalid", issuer.KindInvalid},
			"the claims before":     {stale, "stale_claims", issuer.KindConflict},
			"in force already":      {inForce, "not_newer", issuer.KindConflict},
			"not newer":             {altered(nil, pair, decode[*jwt.OperatorClaims](t, inForce).IssuedAt), "not_newer", issuer.KindConflict},
			"from the future":       {altered(nil, pair, now+claims.MaxClockLead+5), "invalid", issuer.KindInvalid},
			"one more signing key":  {altered(func(c *claims.Operator) { c.SigningKeys = append(c.SigningKeys, foreign) }, pair, now), "stale_claims", issuer.KindConflict},
			"no signing key":        {altered(func(c *claims.Operator) { c.SigningKeys = nil }, pair, now), "stale_claims", issuer.KindConflict},
			"not strict":            {altered(func(c *claims.Operator) { c.Settings.StrictSigningKeyUsage = false }, pair, now), "stale_claims", issuer.KindConflict},
			"another system":        {altered(func(c *claims.Operator) { c.Settings.SystemAccount = h.other(t) }, pair, now), "stale_claims", issuer.KindConflict},
			"another name":          {altered(func(c *claims.Operator) { c.Name = "evil" }, pair, now), "stale_claims", issuer.KindConflict},
			"another URL":           {altered(func(c *claims.Operator) { c.Settings.OperatorServiceURLs = []string{"nats://evil:4222"} }, pair, now), "stale_claims", issuer.KindConflict},
			"another tag":           {altered(func(c *claims.Operator) { c.Settings.Tags = jwt.TagList{"evil"} }, pair, now), "stale_claims", issuer.KindConflict},
			"an expiry":             {altered(func(c *claims.Operator) { c.Expires = now + 1000 }, pair, now), "stale_claims", issuer.KindConflict},
			"an account server URL": {altered(func(c *claims.Operator) { c.Settings.AccountServerURL = "https://evil/jwt" }, pair, now), "stale_claims", issuer.KindConflict},
		}
		refused := 0
		h.unchanged(t, func() {
			for name, c := range cases {
				e := wants(t, second(h.UploadOperatorJWT(t.Context(), op(), "acme", c.token)), c.kind)
				if e.Code != c.code || (c.code == "stale_claims") != (len(e.Problems) > 0 && e.Problems[0].Code == "differs") {
					t.Errorf("%s: %+v", name, e)
					continue
				}
				for _, p := range e.Problems {
					if strings.Contains(p.Detail, "evil") {
						t.Errorf("%s: what was sent comes back: %s", name, p.Detail)
					}
				}
				refused++
			}
		}, "sequencer")
		t.Logf("%d of %d uploads refused", refused, len(cases))
		// The right one is taken, also when it was signed by other hands than ours.
		did(h.UploadOperatorJWT(t.Context(), op(), "acme", altered(nil, pair, now))).well(t)
		if h.request(t, "acme").Pending {
			t.Error("still waits")
		}
		e := wants(t, second(h.UploadOperatorJWT(t.Context(), op(), h.sealedOperator(t), inForce)), issuer.KindInvalid)
		if e.Problems[0].Code != "other_operator" {
			t.Errorf("%+v", e)
		}
	})
}

// other returns the public key of an account that nobody has.
func (h *house) other(t testing.TB) string {
	t.Helper()
	return public(t, newPair(t, nkeys.PrefixByteAccount))
}

func (h *house) sealedOperator(t testing.TB) string {
	t.Helper()
	return did(h.CreateOperator(t.Context(), op(), issuer.OperatorInput{Name: "sealed"})).well(t).ID
}

// Of an observed operator everything can be read, and nothing signed.
func TestObservedOperator(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		h.sealedOperator(t)
		token := away(t, h.unix()-10)
		o := did(h.CreateOperator(t.Context(), op(), issuer.OperatorInput{Custody: issuer.CustodyObserved, JWT: token})).well(t)
		c := decode[*jwt.OperatorClaims](t, token)
		if o.Name != "away" || o.ID != c.Subject || o.JWT != token || o.Settings.SystemAccount != c.SystemAccount || !o.Settings.StrictSigningKeyUsage {
			t.Errorf("%+v", o)
		}
		keys, err := h.OperatorKeys(t.Context(), owner, "away")
		if err != nil || len(keys) != 2 {
			t.Errorf("%d keys, %v", len(keys), err)
		}
		for name, err := range map[string]error{
			"an account":    second(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: "away", Name: "A", Settings: claims.NewAccountSettings()})),
			"an edit":       second(h.UpdateOperator(t.Context(), op(), "away", setURLs(nil))),
			"a user":        second(h.SystemCredential(t.Context(), op(), "away", "x")),
			"server config": second(h.ServerConfig(t.Context(), owner, "away", "https://x")),
		} {
			if e := wants(t, err, issuer.KindConflict); e.Code != "read_only_operator" {
				t.Errorf("%s: %+v", name, e)
			}
		}
		if r := h.request(t, "away"); r.Pending || r.SigningInput != "" {
			t.Errorf("waits: %+v", r)
		}
		later := away(t, h.unix()) // with other signing keys and another system account
		o = did(h.UploadOperatorJWT(t.Context(), op(), "away", later)).well(t)
		keys, err = h.OperatorKeys(t.Context(), owner, "away")
		states := map[string]int{}
		for _, k := range keys {
			states[k.Role+" "+k.State]++
		}
		if diff := cmp.Diff(map[string]int{"identity current": 1, "signing current": 1, "signing retired": 1}, states); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
		if o.Settings.SystemAccount != decode[*jwt.OperatorClaims](t, later).SystemAccount {
			t.Error("the system account is the old one")
		}
		e := wants(t, second(h.CreateOperator(t.Context(), op(), issuer.OperatorInput{Custody: issuer.CustodyObserved, JWT: token})), issuer.KindConflict)
		if e.Code != "name_taken" {
			t.Errorf("%+v", e)
		}
	})
}

func TestNewOperatorsThatAreWrong(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		known, pair := h.offline(t)
		id := public(t, newPair(t, nkeys.PrefixByteOperator))
		seed, _ := pair.Seed()
		for name, c := range map[string]struct {
			in      issuer.OperatorInput
			pointer string
		}{
			"offline without a key":      {issuer.OperatorInput{Name: "x", Custody: "offline"}, "/public_key"},
			"offline with a seed":        {issuer.OperatorInput{Name: "x", Custody: "offline", PublicKey: string(seed)}, "/public_key"},
			"offline with an account":    {issuer.OperatorInput{Name: "x", Custody: "offline", PublicKey: h.other(t)}, "/public_key"},
			"sealed with a key":          {issuer.OperatorInput{Name: "x", PublicKey: id}, "/public_key"},
			"sealed with a JWT":          {issuer.OperatorInput{Name: "x", JWT: "x"}, "/jwt"},
			"a custody that is none":     {issuer.OperatorInput{Name: "x", Custody: "cloud"}, "/custody"},
			"observed without a JWT":     {issuer.OperatorInput{Custody: "observed"}, "/jwt"},
			"observed by another name":   {issuer.OperatorInput{Name: "x", Custody: "observed", JWT: away(t, h.unix())}, "/name"},
			"observed with more":         {issuer.OperatorInput{Custody: "observed", JWT: away(t, h.unix()), Lax: true}, "/custody"},
			"a policy out of range":      {issuer.OperatorInput{Name: "x", Policy: issuer.Policy{Guardrails: claims.Guardrails{MaxTTL: 1}}}, "/policy/credential_max_ttl_seconds"},
			"a default above the most":   {issuer.OperatorInput{Name: "x", Policy: issuer.Policy{Guardrails: claims.Guardrails{MaxTTL: 60}, DefaultTTL: 61}}, "/policy/credential_ttl_seconds"},
			"an overlap above the age":   {issuer.OperatorInput{Name: "x", Policy: issuer.Policy{AccountKeyAge: 3600, Overlap: 3600}}, "/policy/rotation_overlap_seconds"},
			"renewal of more than it is": {issuer.OperatorInput{Name: "x", Policy: issuer.Policy{Renewal: 91}}, "/policy/renewal_percent"},
			"an age below zero":          {issuer.OperatorInput{Name: "x", Policy: issuer.Policy{OperatorKeyAge: -1}}, "/policy/operator_key_age_seconds"},
		} {
			e := wants(t, second(h.CreateOperator(t.Context(), op(), c.in)), issuer.KindInvalid)
			found := false
			for _, p := range e.Problems {
				found = found || p.Pointer == c.pointer
				if strings.Contains(p.Detail, string(seed)) {
					t.Errorf("%s: the seed comes back", name)
				}
			}
			if !found {
				t.Errorf("%s: %+v", name, e)
			}
		}
		e := wants(t, second(h.CreateOperator(t.Context(), op(), issuer.OperatorInput{Name: "twin", Custody: "offline", PublicKey: known.ID})), issuer.KindConflict)
		if e.Code != "key_known" {
			t.Errorf("%+v", e)
		}
	})
}

// Strictness waits until nothing is left that an identity key signed, unless somebody insists.
func TestStrictGuard(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		did(h.CreateOperator(t.Context(), op(), issuer.OperatorInput{Name: "lax", Lax: true})).well(t)
		a := did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Name: "A", Settings: claims.NewAccountSettings()})).well(t)
		strict := func(e *issuer.OperatorEdit) { e.Strict = true }
		out, err := h.UpdateOperator(t.Context(), dryRun(), "lax", strict)
		if err != nil || len(out.Plan.Changes) != 1 || len(out.Plan.Warnings) != 1 {
			t.Errorf("%+v, %v", out.Plan, err)
		}
		h.raw.Run(t, `UPDATE accounts SET signer = operator_id WHERE id = '`+a.ID+`'`) // as an import brings it
		if e := wants(t, second(h.UpdateOperator(t.Context(), op(), "lax", strict)), issuer.KindConflict); e.Guard != issuer.GuardStrict {
			t.Errorf("%+v", e)
		}
		insists := op()
		insists.Override = []issuer.Guard{issuer.GuardStrict}
		did(h.UpdateOperator(t.Context(), insists, "lax", strict)).well(t)
		if !decode[*jwt.OperatorClaims](t, h.operator(t, "lax").JWT).StrictSigningKeyUsage {
			t.Error("not strict")
		}
	})
}

func TestDeleteOperator(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		if e := wants(t, second(h.DeleteOperator(t.Context(), op(), "acme")), issuer.KindUnconditional); e.Code != "version_required" {
			t.Errorf("%+v", e)
		}
		named := func() issuer.Op {
			o := op()
			o.ExpectedVersion = h.operator(t, "acme").Version
			return o
		}
		if e := wants(t, second(h.DeleteOperator(t.Context(), named(), "acme")), issuer.KindConflict); e.Code != "operator_in_use" {
			t.Errorf("%+v", e)
		}
		gone := op()
		gone.ExpectedVersion = h.account(t, "ORDERS").Version
		did(h.DeleteAccount(t.Context(), gone, "ORDERS")).well(t)
		stale := named()
		stale.ExpectedVersion += 7
		wants(t, second(h.DeleteOperator(t.Context(), stale, "acme")), issuer.KindStale)
		did(h.DeleteOperator(t.Context(), named(), "acme")).well(t)
		for _, ref := range []string{"acme", w.operator.ID} {
			wants(t, second(h.GetOperator(t.Context(), owner, ref)), issuer.KindNotFound)
		}
		accounts, err := h.ListAccounts(t.Context(), owner, "", issuer.Page{Limit: 10})
		if err != nil || len(accounts) != 0 {
			t.Errorf("%d accounts are left, %v", len(accounts), err)
		}
		again := did(h.CreateOperator(t.Context(), op(), issuer.OperatorInput{Name: "acme"})).well(t)
		if !again.Default || again.ID == w.operator.ID {
			t.Errorf("made again: %+v", again)
		}
	})
}
