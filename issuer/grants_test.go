package issuer_test

import (
	"slices"
	"testing"

	"chancery/claims"
	"chancery/issuer"
)

// elsewhere are the use cases that somebody may do who owns another operator: what
// they ask for is not what somebody else has.
var elsewhere = []string{"Inspect", "Explain", "Permitted", "ListOperators", "ListAllTemplates", "FindUsers", "ListTokens", "ListPeople", "AccountPresets", "Checkpoint", "AuditVerifier", "Parties"}

// Who owns one operator can neither see nor change anything of another: it is missing,
// as what does not exist.
func TestForeignIsMissing(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		prepared(t, h)
		other := did(h.CreateOperator(t.Context(), op(), issuer.OperatorInput{Name: "stranger"})).well(t)
		mine := did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: "stranger", Name: "MINE", Settings: claims.NewAccountSettings()})).well(t)
		h.sequence(t)
		for who, scope := range map[string]issuer.Scope{
			"the owner of an operator":              {Operator: other.ID},
			"the owner of an account":               {Operator: other.ID, Account: mine.ID},
			"the owner of a template of an account": {Operator: other.ID, Account: mine.ID, Template: "tpl_x"},
		} {
			c := issuer.Caller{ID: "per_x", Name: "eve", Kind: issuer.CallerPerson, RequestID: "reading", Grants: []issuer.Grant{{Role: string(issuer.RoleOwner), Scope: scope}}}
			before := len(h.audited(t))
			n := 0
			h.unchanged(t, func() {
				for name, u := range useCases() {
					err := u.run(t, h, issuer.Op{Caller: c, RequestID: name})
					if slices.Contains(elsewhere, name) {
						if e := issuer.AsError(err); err != nil && e.Kind != issuer.KindNotFound {
							t.Errorf("%s by %s: %v", name, who, err)
						}
						continue
					}
					if e := issuer.AsError(err); err == nil || e.Kind != issuer.KindNotFound && e.Kind != issuer.KindForbidden {
						t.Errorf("%s by %s: %v", name, who, err)
					}
					n++
				}
			}, "audit", "sequencer")
			entries := h.audited(t)[before:]
			if len(entries) < n {
				t.Errorf("%s: %d of %d denials are on record", who, len(entries), n)
			}
			for _, e := range entries {
				if e.RequestID == "" || e.Outcome != "denied" {
					t.Errorf("%s: on record is %+v", who, e)
				}
			}
		}
	})
}
