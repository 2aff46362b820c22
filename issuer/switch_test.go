package issuer_test

import (
	"testing"

	"chancery/issuer"
)

// whileOff is every use case that the signing switch does not hold up, and why. All others are refused.
var whileOff = map[string]string{
	"Revoke": "takes rights away", "DisableUser": "takes rights away", "DeleteUser": "takes rights away", "CompromiseKey": "takes rights away",
	"SuspendAccount": "takes rights away", "DeleteAccount": "takes rights away", "DeleteOperator": "takes rights away",
	"DeleteTemplate": "takes rights away", "DeleteSharedTemplate": "takes rights away", "SetKeyState": "takes rights away: the key signs no more",
	"DeleteExport": "takes rights away", "DeleteImport": "takes rights away", "RevokeActivation": "takes rights away",
	"CreateUser": "signs nothing: a user has no rights before a credential", "UpdateUser": "signs nothing: what is issued next says it",
	"SystemCredential": "Chancery's own connection, without which nothing taken away gets to the servers",
	"SetSigning":       "the switch itself",
	"CreateOperator":   "another operator: its own switch", "UploadOperatorJWT": "another operator, whose identity key signed elsewhere",
	"RewrapKeyset": "seals, and signs nothing", "RotateDataKey": "seals, and signs nothing",
	"SetAccountGuardrails": "they only refuse, and nothing is signed", "SetOperatorGuardrails": "they only refuse, and nothing is signed",
	"UploadStore": "signs nothing", "RunImport": "signs nothing: what it takes in is signed", "DropImportJob": "signs nothing",
	"ExportNSCWithSeeds": "signs nothing", "PushAgain": "signs nothing", "Kick": "takes a connection away",
	"RefuseEnrolment": "signs nothing", "SetEnrolmentPolicy": "signs nothing: who is let in by it is signed",
	"DecideDrift": "keeps what is ours, and unites revocations",
	"CreateToken": "about this program's own callers", "RevokeTokens": "about this program's own callers",
	"RevokeToken": "about this program's own callers", "CreatePerson": "about this program's own callers", "UpdatePerson": "about this program's own callers",
	"InvitePerson": "about this program's own callers", "SignInLink": "about this program's own callers", "SetupLink": "about this program's own callers",
}

// With the switch off every use case that gives rights is refused, planned or done, and leaves nothing behind;
// the others are done.
func TestSwitchHoldsUp(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		prepared(t, h)
		next := did(h.AddKey(t.Context(), op(), ofOperator, issuer.KeyInput{})).well(t)
		shown := did(h.AddKey(t.Context(), op(), ofAccount, issuer.KeyInput{})).well(t)
		cases := useCases()
		more := func(name string, run func(op issuer.Op) error) {
			cases[name] = useCase{run: func(_ *testing.T, _ *house, op issuer.Op) error { return run(op) }}
		}
		more("SetKeyState of an operator's key to current", func(op issuer.Op) error {
			op.Override = []issuer.Guard{issuer.GuardOperatorKeyUntrusted}
			return second(h.SetKeyState(t.Context(), op, ofOperator, next.ID, issuer.KeyStateInput{State: issuer.KeyCurrent}))
		})
		more("SetKeyState of an account's key to current", func(op issuer.Op) error {
			return second(h.SetKeyState(t.Context(), op, ofAccount, shown.ID, issuer.KeyStateInput{State: issuer.KeyCurrent}))
		})
		more("AddKey to an operator", func(op issuer.Op) error {
			return second(h.AddKey(t.Context(), op, ofOperator, issuer.KeyInput{}))
		})
		more("CloneTemplate to an operator", func(op issuer.Op) error {
			return second(h.CloneTemplate(t.Context(), op, issuer.CloneInput{
				From: issuer.TemplateRef{TemplateHome: issuer.TemplateHome{Account: "ORDERS"}, Template: "device"}, To: issuer.TemplateHome{Operator: "acme"}, Name: "copy",
			}))
		})
		h.settle(t)
		did(h.SetSigning(t.Context(), op(), "acme", false)).well(t)
		held, let, unheld := 0, 0, 0
		for _, name := range order(cases) {
			if cases[name].reads || whileOff[name] != "" {
				continue
			}
			unheld++
			beside := []string{"sequencer"}
			if name == "CreateUsers" { // a batch is on record, whatever became of its lines
				beside = append(beside, "audit")
			}
			h.unchanged(t, func() {
				for _, op := range []issuer.Op{because(), {Caller: owner, Reason: "a ticket", DryRun: true}} {
					if e := wants(t, cases[name].run(t, h, op), issuer.KindConflict); e.Code != "signing_off" || e.Hint == "" {
						t.Errorf("%s (dry run %v): %+v", name, op.DryRun, e)
						continue
					}
					held++
				}
			}, beside...)
		}
		for _, name := range order(cases) {
			if whileOff[name] == "" {
				continue
			}
			if err := cases[name].run(t, h, because()); err != nil {
				t.Errorf("%s, which %s: %v", name, whileOff[name], err)
				continue
			}
			if name == "SetSigning" {
				did(h.SetSigning(t.Context(), op(), "acme", false)).well(t)
			}
			let++
		}
		if let != len(whileOff) {
			t.Errorf("%d of %d use cases are let through", let, len(whileOff))
		}
		t.Logf("signing off: %d of %d plans and changes that give rights refused, %d of %d others done", held, 2*unheld, let, len(whileOff))
	})
}
