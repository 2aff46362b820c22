package issuer_test

import (
	"slices"
	"testing"
	"time"

	"chancery/issuer"
	"chancery/store/storetest"
)

// Whatever is done to what is stored, the rule that it breaks is found.
func TestVerifyFinds(t *testing.T) {
	t.Parallel()
	const orders = ` WHERE name = 'ORDERS' AND operator_id = (SELECT id FROM operators WHERE name = 'acme')`
	const ofOrders = ` WHERE subject = (SELECT id FROM accounts` + orders + `)`
	tampers := map[string]struct {
		statement string
		rule      issuer.Rule
	}{
		"another name":              {`UPDATE accounts SET name = 'OTHER'` + orders, issuer.RuleJWT},
		"another account's JWT":     {`UPDATE accounts SET jwt = (SELECT jwt FROM accounts WHERE name = 'IDLE')` + orders, issuer.RuleJWT},
		"another signer":            {`UPDATE accounts SET signer = 'x'` + orders, issuer.RuleJWT},
		"a JWT cut short":           {`UPDATE accounts SET jwt = substr(jwt, 1, 100)` + orders, issuer.RuleJWT},
		"another operator's JWT":    {`UPDATE operators SET jwt = (SELECT jwt FROM operators WHERE name = 'spare') WHERE name = 'acme'`, issuer.RuleJWT},
		"a key that was retired":    {`UPDATE keys SET state = 'retired' WHERE role = 'signing' AND account_id = (SELECT id FROM accounts` + orders + `)`, issuer.RuleJWT},
		"a version gone":            {`DELETE FROM jwts` + ofOrders + ` AND jwt_version = 2`, issuer.RuleHistory},
		"the first version gone":    {`DELETE FROM jwts` + ofOrders + ` AND jwt_version = 1`, issuer.RuleHistory},
		"a version issued earlier":  {`UPDATE jwts SET iat = iat - 1000` + ofOrders + ` AND jwt_version = 2`, issuer.RuleHistory},
		"a jti twice":               {`UPDATE jwts SET jti = (SELECT min(jti) FROM jwts)`, issuer.RuleHistory},
		"a body that is another":    {`UPDATE jwts SET jwt = 'x'` + ofOrders + ` AND jwt_version = 2`, issuer.RuleHistory},
		"a revocation that is not":  {`UPDATE revocations SET before_s = before_s + 1 WHERE subject = '*'`, issuer.RuleRevocation},
		"a revocation not in force": {`UPDATE revocations SET removed_us = 1, removal = 'compacted' WHERE subject = '*'`, issuer.RuleJWT},
		"one entry of two":          {`DELETE FROM audit WHERE id = (SELECT max(id) FROM audit)`, issuer.RuleAudit},
		"all entries":               {`DELETE FROM audit`, issuer.RuleAudit},
		"an entry of a denial":      {`UPDATE audit SET outcome = 'denied'`, issuer.RuleAudit},
	}
	for _, dialect := range storetest.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			ready := newHouse(t, dialect)
			prepared(t, ready)
			ready.advance(time.Second)
			for range 2 { // by one request in one microsecond
				did(ready.UpdateAccount(t.Context(), op(), "OURS", func(s *issuer.AccountEdit) { s.Limits.Conn++ })).well(t)
			}
			ready.holds(t, "before")
			ready.leave(t)
			for name, tamper := range tampers {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					h := ready.copied(t)
					if n := h.raw.Run(t, tamper.statement); n == 0 {
						t.Fatal("nothing was tampered with")
					}
					report, err := h.Verify(t.Context(), auditor)
					if err != nil || !slices.ContainsFunc(report.Findings, func(f issuer.Finding) bool { return f.Rule == tamper.rule }) {
						t.Errorf("found is %+v, %v", report.Findings, err)
					}
				})
			}
		})
	}
}
