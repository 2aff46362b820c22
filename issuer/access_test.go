package issuer_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
	"chancery/store"
)

// useCase is one exported method with input that is good in the furnished house.
type useCase struct {
	run func(t *testing.T, h *house, op issuer.Op) error
	// reads tells that it changes nothing and an auditor may do it.
	reads bool
	// signs tells that it needs the key-encryption key.
	signs bool
}

// useCases is every exported method but those that say who somebody is.
func useCases() map[string]useCase {
	page := issuer.Page{Limit: 10}
	ledger := issuer.LedgerPage{Limit: 10}
	read := func(f func(t *testing.T, h *house, c issuer.Caller) error) useCase {
		return useCase{run: func(t *testing.T, h *house, op issuer.Op) error { return f(t, h, op.Caller) }, reads: true}
	}
	writes := func(f func(t *testing.T, h *house, op issuer.Op) error) useCase { return useCase{run: f} }
	signs := func(f func(t *testing.T, h *house, op issuer.Op) error) useCase { return useCase{run: f, signs: true} }
	return map[string]useCase{
		"GetOperator": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.GetOperator(t.Context(), c, "acme")
			return err
		}),
		"ListOperators": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ListOperators(t.Context(), c, page)
			return err
		}),
		"OperatorKeys": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.OperatorKeys(t.Context(), c, "acme")
			return err
		}),
		"ServerConfig": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ServerConfig(t.Context(), c, "acme", "https://x")
			return err
		}),
		"ServerConfigWith": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ServerConfigWith(t.Context(), c, "acme", issuer.ServerConfigInput{BaseURL: "https://x", Resolver: claims.ResolverFull})
			return err
		}),
		"Servers": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.Servers(t.Context(), c, "acme")
			return err
		}),
		"PushAgain": writes(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.PushAgain(t.Context(), op, "acme", issuer.PushInput{Accounts: []string{"ORDERS"}})
			return err
		}),
		"GetAccount": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.GetAccount(t.Context(), c, "ORDERS")
			return err
		}),
		"ListAccounts": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ListAccounts(t.Context(), c, "acme", page)
			return err
		}),
		"GetTemplate": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.GetTemplate(t.Context(), c, "ORDERS", "device")
			return err
		}),
		"ListTemplates": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ListTemplates(t.Context(), c, "ORDERS", page)
			return err
		}),
		"GetUser": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.GetUser(t.Context(), c, "ORDERS", "d1")
			return err
		}),
		"ListUsers": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ListUsers(t.Context(), c, "ORDERS", page)
			return err
		}),
		"ListCredentials": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ListCredentials(t.Context(), c, "ORDERS", "d1", ledger)
			return err
		}),
		"ListRevocations": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ListRevocations(t.Context(), c, "ORDERS", issuer.RevocationQuery{LedgerPage: ledger})
			return err
		}),
		"GetRevocation": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.GetRevocation(t.Context(), c, "ORDERS", issuer.Everybody)
			return err
		}),
		"Inspect": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.Inspect(t.Context(), c, claims.NewSecret(h.account(t, "ORDERS").JWT))
			return err
		}),
		"Sight": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.Sight(t.Context(), c, "acme", "ORDERS")
			return err
		}),
		"GetConnection": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.GetConnection(t.Context(), c, issuer.ConnectionRef{Server: "n1", CID: 7})
			return err
		}),
		"Parties": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.Parties(t.Context(), c, []issuer.PartyKey{{AccountID: h.account(t, "ORDERS").ID, IssuerKey: h.templateKey(t)}})
			return err
		}),
		"Kick": writes(func(t *testing.T, h *house, op issuer.Op) error {
			op.Reason = "because"
			_, err := h.Kick(t.Context(), op, issuer.ConnectionRef{Server: "n1", CID: 7})
			return err
		}),
		"Explain": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.Explain(t.Context(), c, issuer.AttemptInput{JWT: claims.NewSecret(strayUser)})
			return err
		}),
		"Permitted": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.Permitted(t.Context(), c, issuer.PermissionQuery{Action: claims.Publish, Subject: "orders.new", Limit: 10})
			return err
		}),
		"Agenda": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.Agenda(t.Context(), c, "acme")
			return err
		}),
		"ListOwnedKeys": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ListOwnedKeys(t.Context(), c, "acme", store.KeyFilter{Limit: 10})
			return err
		}),
		"ListKeys": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ListKeys(t.Context(), c, issuer.KeyOwner{Account: "ORDERS"})
			return err
		}),
		"GetKey": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.GetKey(t.Context(), c, issuer.KeyOwner{Account: "ORDERS", Template: "device"}, h.templateKey(t))
			return err
		}),
		"AddKey": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.AddKey(t.Context(), op, issuer.KeyOwner{Account: "ORDERS", Template: "device"}, issuer.KeyInput{MakeCurrent: true})
			return err
		}),
		"SetKeyState": writes(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.SetKeyState(t.Context(), op, issuer.KeyOwner{Account: "ORDERS", Template: "device"}, h.templateKey(t), issuer.KeyStateInput{State: issuer.KeyRetiring})
			return err
		}),
		"CompromiseKey": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.CompromiseKey(t.Context(), op, issuer.KeyOwner{Account: "IDLE"}, h.plainKey(t, "IDLE"))
			return err
		}),
		"KeysetStatus": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.KeysetStatus(t.Context(), c)
			return err
		}),
		"RewrapKeyset": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.RewrapKeyset(t.Context(), op, anotherKEK(t))
			return err
		}),
		"RotateDataKey": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.RotateDataKey(t.Context(), op, nil)
			return err
		}),
		"FindUsers": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.FindUsers(t.Context(), c, issuer.UserFilter{Account: "ORDERS"}, page)
			return err
		}),
		"FindCredentials": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.FindCredentials(t.Context(), c, "ORDERS", issuer.LedgerFilter{}, ledger)
			return err
		}),
		"CreateUsers": signs(func(t *testing.T, h *house, op issuer.Op) error {
			list, err := h.CreateUsers(t.Context(), op, "ORDERS", []issuer.UserInput{{Name: "one of many", Permissions: ownPermissions(), Issue: &issuer.IssueInput{}}})
			for _, r := range list {
				err = errors.Join(err, r.Err)
			}
			return err
		}),
		"UpdateUser": writes(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.UpdateUser(t.Context(), op, "OURS", "to update", func(e *issuer.UserEdit) { e.Tags = []string{"region:us"} })
			return err
		}),
		"DisableUser": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.DisableUser(t.Context(), op, "OURS", "to disable")
			return err
		}),
		"EnableUser": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.EnableUser(t.Context(), op, "OURS", "to enable")
			return err
		}),
		"DeleteUser": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.DeleteUser(t.Context(), op, "OURS", "to delete")
			return err
		}),
		"Renew": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.Renew(t.Context(), op, "OURS", "to renew", issuer.RenewInput{})
			return err
		}),
		"Roll": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.Roll(t.Context(), op, "OURS", "to roll", issuer.RollInput{Grace: time.Hour})
			return err
		}),
		"Reissue": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.Reissue(t.Context(), op, "OURS", "to reissue", issuer.IssueInput{})
			return err
		}),
		"CreateOperator": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.CreateOperator(t.Context(), op, issuer.OperatorInput{Name: "another"})
			return err
		}),
		"UpdateOperator": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.UpdateOperator(t.Context(), op, "acme", setURLs([]string{"tls://elsewhere"}))
			return err
		}),
		"OperatorRequest": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.OperatorRequest(t.Context(), c, "acme")
			return err
		}),
		"SigningSwitch": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.SigningSwitch(t.Context(), c, "acme")
			return err
		}),
		"OperatorGuardrails": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.OperatorGuardrails(t.Context(), c, "acme")
			return err
		}),
		"AccountGuardrails": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.AccountGuardrails(t.Context(), c, "ORDERS")
			return err
		}),
		"SetOperatorGuardrails": writes(func(t *testing.T, h *house, op issuer.Op) error {
			op.ExpectedVersion = h.operator(t, "acme").Version
			_, err := h.SetOperatorGuardrails(t.Context(), op, "acme", claims.Guardrails{Quotas: map[claims.Quota]int64{claims.QuotaUsers: 1000}})
			return err
		}),
		"SetAccountGuardrails": writes(func(t *testing.T, h *house, op issuer.Op) error {
			op.ExpectedVersion = h.account(t, "ORDERS").Version
			_, err := h.SetAccountGuardrails(t.Context(), op, "ORDERS", claims.Guardrails{Quotas: map[claims.Quota]int64{claims.QuotaUsers: 900}})
			return err
		}),
		"SetSigning": writes(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.SetSigning(t.Context(), op, "acme", true)
			return err
		}),
		"UploadOperatorJWT": writes(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.UploadOperatorJWT(t.Context(), op, "away", newAway(t, h))
			return err
		}),
		"DeleteOperator": writes(func(t *testing.T, h *house, op issuer.Op) error {
			op.ExpectedVersion = h.operator(t, "spare").Version
			_, err := h.DeleteOperator(t.Context(), op, "spare")
			return err
		}),
		"SuspendAccount": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.SuspendAccount(t.Context(), op, "IDLE")
			return err
		}),
		"ResumeAccount": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.ResumeAccount(t.Context(), op, "HELD")
			return err
		}),
		"DeleteAccount": signs(func(t *testing.T, h *house, op issuer.Op) error {
			op.ExpectedVersion = h.account(t, "GONE").Version
			_, err := h.DeleteAccount(t.Context(), op, "GONE")
			return err
		}),
		"CreateAccount": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.CreateAccount(t.Context(), op, issuer.AccountInput{Operator: "acme", Name: "another", Settings: claims.NewAccountSettings()})
			return err
		}),
		"FindAccounts": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.FindAccounts(t.Context(), c, issuer.AccountFilter{Operator: "acme", State: "active", Tag: "a:b"}, page)
			return err
		}),
		"CloneAccount": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.CloneAccount(t.Context(), op, "ORDERS", issuer.AccountCloneInput{Name: "a copy"})
			return err
		}),
		"AccountPresets": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.AccountPresets(t.Context(), c)
			return err
		}),
		"RenewalsHeld": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.RenewalsHeld(t.Context(), c, "acme")
			return err
		}),
		"GetEnrolmentPolicy": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.GetEnrolmentPolicy(t.Context(), c, "acme")
			return err
		}),
		"ListEnrolments": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ListEnrolments(t.Context(), c, "acme", "", page)
			return err
		}),
		"SetEnrolmentPolicy": writes(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.SetEnrolmentPolicy(t.Context(), op, "acme", issuer.EnrolmentInput{Mode: issuer.EnrolToken, Limits: "team"})
			return err
		}),
		"ApproveEnrolment": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.ApproveEnrolment(t.Context(), op, "acme", h.asking(t, "LET IN"))
			return err
		}),
		"RefuseEnrolment": writes(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.RefuseEnrolment(t.Context(), op, "acme", h.asking(t, "KEPT OUT"))
			return err
		}),
		"MergeAccount": signs(func(t *testing.T, h *house, op issuer.Op) error {
			x := &tenant{h: h, account: h.account(t, "ORDERS").ID, pair: nomad(t)}
			c := x.copy(t)
			c.Description = "from elsewhere"
			return x.merge(t, op, c).err
		}),
		"UpdateAccount": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.UpdateAccount(t.Context(), op, "ORDERS", func(s *issuer.AccountEdit) { s.Limits.Conn = 3 })
			return err
		}),
		"CreateTemplate": signs(func(t *testing.T, h *house, op issuer.Op) error {
			in := deviceTemplate()
			in.Body.Name = "another"
			_, err := h.CreateTemplate(t.Context(), op, "ORDERS", in)
			return err
		}),
		"UpdateTemplate": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.UpdateTemplate(t.Context(), op, "ORDERS", "device", func(in *issuer.TemplateInput) { in.Body.Description = "x" })
			return err
		}),
		"GetSharedTemplate": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.GetSharedTemplate(t.Context(), c, "acme", "service")
			return err
		}),
		"ListSharedTemplates": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ListSharedTemplates(t.Context(), c, "acme", page)
			return err
		}),
		"ListAllTemplates": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ListAllTemplates(t.Context(), c, page)
			return err
		}),
		"PreviewTemplate": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.PreviewTemplate(t.Context(), c, issuer.PreviewInput{Ref: issuer.TemplateRef{TemplateHome: issuer.TemplateHome{Account: "ORDERS"}, Template: "device"}, User: "d1"})
			return err
		}),
		"CompareTemplates": read(func(t *testing.T, h *house, c issuer.Caller) error {
			orders := issuer.TemplateHome{Account: "ORDERS"}
			_, err := h.CompareTemplates(t.Context(), c, issuer.TemplateRef{TemplateHome: orders, Template: "device"}, issuer.TemplateRef{TemplateHome: orders, Template: "service"})
			return err
		}),
		"CreateSharedTemplate": writes(func(t *testing.T, h *house, op issuer.Op) error {
			in := deviceTemplate()
			in.Body.Name = "shared by all"
			_, err := h.CreateSharedTemplate(t.Context(), op, "acme", in)
			return err
		}),
		"UpdateSharedTemplate": writes(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.UpdateSharedTemplate(t.Context(), op, "acme", "service", func(in *issuer.TemplateInput) { in.Body.Description = "x" })
			return err
		}),
		"DeleteSharedTemplate": writes(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.DeleteSharedTemplate(t.Context(), op, "acme", "unused")
			return err
		}),
		"DeleteTemplate": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.DeleteTemplate(t.Context(), op, "ORDERS", "idle")
			return err
		}),
		"CloneTemplate": signs(func(t *testing.T, h *house, op issuer.Op) error {
			orders := issuer.TemplateHome{Account: "ORDERS"}
			_, err := h.CloneTemplate(t.Context(), op, issuer.CloneInput{From: issuer.TemplateRef{TemplateHome: orders, Template: "device"}, To: orders, Name: "copy"})
			return err
		}),
		"UseTemplate": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.UseTemplate(t.Context(), op, "ORDERS", "service")
			return err
		}),
		"CreateUser": writes(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.CreateUser(t.Context(), op, "ORDERS", issuer.UserInput{Name: "another", Permissions: ownPermissions()})
			return err
		}),
		"CreateUser with a credential": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.CreateUser(t.Context(), op, "ORDERS", issuer.UserInput{Name: "one more", Permissions: ownPermissions(), Issue: &issuer.IssueInput{}})
			return err
		}),
		"Issue": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.Issue(t.Context(), op, "ORDERS", "d1", issuer.IssueInput{})
			return err
		}),
		"SystemCredential": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.SystemCredential(t.Context(), op, "acme", "a file")
			return err
		}),
		"Verify": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.Verify(t.Context(), c)
			return err
		}),
		"AccountSize": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.AccountSize(t.Context(), c, "ORDERS")
			return err
		}),
		"Unrevoke": signs(func(t *testing.T, h *house, op issuer.Op) error {
			if op.Reason == "" {
				op.Reason = "by mistake"
			}
			_, err := h.Unrevoke(t.Context(), op, "ORDERS", issuer.Everybody)
			return err
		}),
		"Compact": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.Compact(t.Context(), op, "ORDERS")
			return err
		}),
		"ListExports": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ListExports(t.Context(), c, "ORDERS", page)
			return err
		}),
		"GetExport": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.GetExport(t.Context(), c, "ORDERS", h.export(t, "shared"))
			return err
		}),
		"ListImports": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ListImports(t.Context(), c, "OURS", page)
			return err
		}),
		"GetImport": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.GetImport(t.Context(), c, "OURS", h.imported(t, "shared"))
			return err
		}),
		"ListActivations": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ListActivations(t.Context(), c, "ORDERS", h.export(t, "shared"), ledger)
			return err
		}),
		"GetActivation": read(func(t *testing.T, h *house, c issuer.Caller) error {
			list, err := h.ListActivations(t.Context(), owner, "ORDERS", h.export(t, "shared"), ledger)
			if err != nil || len(list) == 0 {
				t.Fatal(list, err)
			}
			_, err = h.GetActivation(t.Context(), c, "ORDERS", h.export(t, "shared"), list[0].ID)
			return err
		}),
		"SharingGraph": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.SharingGraph(t.Context(), c, "acme", issuer.GraphQuery{Limit: 10})
			return err
		}),
		"AccountSharing": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.AccountSharing(t.Context(), c, "ORDERS", issuer.GraphQuery{Limit: 10})
			return err
		}),
		"CreateExport": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.CreateExport(t.Context(), op, "ORDERS", jwt.Export{Subject: "new.>", Type: jwt.Service})
			return err
		}),
		"UpdateExport": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.UpdateExport(t.Context(), op, "ORDERS", h.export(t, "to_update"), func(e *jwt.Export) { e.Description = "changed" })
			return err
		}),
		"DeleteExport": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.DeleteExport(t.Context(), op, "ORDERS", h.export(t, "to_delete"))
			return err
		}),
		"CreateImport": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.CreateImport(t.Context(), op, "IDLE", jwt.Import{Subject: "shared.x", Account: "ORDERS", Type: jwt.Stream})
			return err
		}),
		"UpdateImport": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.UpdateImport(t.Context(), op, "OURS", h.imported(t, "to_update"), func(m *jwt.Import) { m.Name = "changed" })
			return err
		}),
		"DeleteImport": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.DeleteImport(t.Context(), op, "OURS", h.imported(t, "to_delete"))
			return err
		}),
		"RenewImport": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.RenewImport(t.Context(), op, "OURS", h.imported(t, "shared"), time.Hour)
			return err
		}),
		"Share": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.Share(t.Context(), op, issuer.ShareInput{Exporter: "ORDERS", Importer: "OURS", Flows: []claims.Flow{{Kind: jwt.Service, Subject: "ask.>"}}})
			return err
		}),
		"IssueActivation": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.IssueActivation(t.Context(), op, "ORDERS", h.export(t, "shared"), issuer.ActivationInput{Importer: someAccount, TTL: time.Hour})
			return err
		}),
		"RevokeActivation": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.RevokeActivation(t.Context(), op, "ORDERS", h.export(t, "shared"), someAccount)
			return err
		}),
		"Revoke": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.Revoke(t.Context(), op, "ORDERS", issuer.RevokeInput{Subject: "d1"})
			return err
		}),
		"CreateToken": writes(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.CreateToken(t.Context(), op, issuer.TokenInput{Name: "ci", Grants: issuer.Everything(issuer.RoleOwner), TTL: time.Hour})
			return err
		}),
		"RevokeTokens": writes(func(t *testing.T, h *house, op issuer.Op) error {
			return h.RevokeTokens(t.Context(), op, "setup token")
		}),
		"ListTokens": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ListTokens(t.Context(), c, issuer.TokenFilter{}, ledger)
			return err
		}),
		"GetToken": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.GetToken(t.Context(), c, h.tokenCalled(t, "to read"))
			return err
		}),
		"RevokeToken": writes(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.RevokeToken(t.Context(), op, h.tokenCalled(t, "to revoke"))
			return err
		}),
		"ListPeople": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ListPeople(t.Context(), c, page)
			return err
		}),
		"GetPerson": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.GetPerson(t.Context(), c, "dora")
			return err
		}),
		"CreatePerson": writes(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.CreatePerson(t.Context(), op, issuer.PersonInput{Name: "eli", Grants: issuer.Everything(issuer.RoleAuditor)})
			return err
		}),
		"UpdatePerson": writes(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.UpdatePerson(t.Context(), op, "dora", func(e *issuer.PersonEdit) { e.Grants = issuer.Everything(issuer.RoleOperatorAdmin) })
			return err
		}),
		"InvitePerson": writes(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.InvitePerson(t.Context(), op, "dora")
			return err
		}),
		"GetWholeAccount": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.GetWholeAccount(t.Context(), c, "ORDERS")
			return err
		}),
		"SignInLink": writes(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.SignInLink(t.Context(), op, "cy")
			return err
		}),
		"GetImportJob": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.GetImportJob(t.Context(), c, h.job(t, "to run").ID)
			return err
		}),
		"ListImportJobs": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ListImportJobs(t.Context(), c, ledger)
			return err
		}),
		"ExportNSC": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ExportNSC(t.Context(), c, "acme")
			return err
		}),
		"UploadStore": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.UploadStore(t.Context(), op, archiveOf(t, vaultStore))
			return err
		}),
		"RunImport": signs(func(t *testing.T, h *house, op issuer.Op) error {
			j := h.job(t, "to run")
			_, err := h.RunImport(t.Context(), op, j.ID, issuer.RunImportInput{Mode: issuer.ImportAdopt, PlanHash: j.Report.PlanHash})
			return err
		}),
		"DropImportJob": writes(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.DropImportJob(t.Context(), op, h.job(t, "to drop").ID)
			return err
		}),
		"ExportNSCWithSeeds": signs(func(t *testing.T, h *house, op issuer.Op) error {
			op.Reason = "because"
			_, err := h.ExportNSCWithSeeds(t.Context(), op, "acme")
			return err
		}),
		"SetupLink": writes(func(t *testing.T, h *house, op issuer.Op) error { _, err := h.SetupLink(t.Context(), op); return err }),
		"ListAudit": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ListAudit(t.Context(), c, issuer.AuditQuery{Account: "ORDERS"}, issuer.AuditPage{Limit: 10})
			return err
		}),
		"GetAuditEntry": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.GetAuditEntry(t.Context(), c, "1")
			return err
		}),
		"ExportAudit": read(func(t *testing.T, h *house, c issuer.Caller) error {
			return h.ExportAudit(t.Context(), c, issuer.AuditQuery{Operator: "acme"}, func([]issuer.AuditEntry) error { return nil })
		}),
		"VerifyAudit": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.VerifyAudit(t.Context(), c, nil)
			return err
		}),
		"AuditVerifier": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.AuditVerifier(t.Context(), c)
			return err
		}),
		"ListDrifts": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.ListDrifts(t.Context(), c, issuer.DriftQuery{Operator: "acme", Limit: 10})
			return err
		}),
		"GetDrift": read(func(t *testing.T, h *house, c issuer.Caller) error {
			_, err := h.GetDrift(t.Context(), c, h.drift(t))
			return err
		}),
		"DecideDrift": signs(func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.DecideDrift(t.Context(), op, h.drift(t), claims.DriftKeep)
			return err
		}),
		"Checkpoint": {run: func(t *testing.T, h *house, op issuer.Op) error {
			_, err := h.Checkpoint(t.Context(), op.Caller)
			return err
		}, reads: true, signs: true},
	}
}

// notUseCases say who somebody is, or tell of the process: they need no permission.
var notUseCases = []string{"Authenticate", "UseLink", "PeekLink", "NeedsSetup", "Person", "Me", "Sealed", "Keep", "Upkeep", "Challenge", "RenewByHolder", "PeekCredentialLink", "UseCredentialLink", "Anchor", "AnchorState", "AuditBroken", "SubmitAccount", "SubmitActivation", "SettleDrift"}

// prepared is a furnished house in which every use case would do something.
func prepared(t *testing.T, h *house) world {
	t.Helper()
	w := h.furnish(t)
	for _, name := range []string{"service", "unused"} {
		in := deviceTemplate()
		in.Body.Name = name
		did(h.CreateSharedTemplate(t.Context(), op(), "acme", in)).well(t)
	}
	idle := deviceTemplate()
	idle.Body.Name = "idle"
	did(h.CreateTemplate(t.Context(), op(), "ORDERS", idle)).well(t)
	for _, name := range []string{"setup token", "to read", "to revoke"} {
		h.token(t, name, issuer.RoleAuditor, time.Hour)
	}
	did(h.CreatePerson(t.Context(), op(), issuer.PersonInput{Name: "dora", Grants: issuer.Everything(issuer.RoleAuditor)})).well(t)
	for _, subject := range []string{"d1", issuer.Everybody} { // the second makes the first moot
		did(h.Revoke(t.Context(), op(), "ORDERS", issuer.RevokeInput{Subject: subject})).well(t)
	}
	for _, name := range []string{"IDLE", "HELD", "GONE", "OURS"} {
		did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Operator: "acme", Name: name, Settings: claims.NewAccountSettings()})).well(t)
	}
	did(h.SuspendAccount(t.Context(), op(), "HELD")).well(t)
	did(h.CreateOperator(t.Context(), op(), issuer.OperatorInput{Name: "spare"})).well(t)
	did(h.CreateOperator(t.Context(), op(), issuer.OperatorInput{Custody: issuer.CustodyObserved, JWT: away(t, h.unix()-60)})).well(t)
	h.advance(time.Minute)
	for _, name := range []string{"to update", "to disable", "to enable", "to delete", "to renew", "to roll", "to reissue"} {
		did(h.CreateUser(t.Context(), op(), "OURS", issuer.UserInput{Name: name, Permissions: ownPermissions(), Issue: &issuer.IssueInput{}})).well(t)
	}
	did(h.DisableUser(t.Context(), op(), "OURS", "to enable")).well(t)
	for _, reason := range []string{"to run", "to drop"} {
		upload := op()
		upload.Reason = reason
		did(h.UploadStore(t.Context(), upload, archiveOf(t, vaultStore))).well(t)
	}
	for _, subject := range []string{"shared.>", "to_update.>", "to_delete.>"} {
		did(h.Share(t.Context(), op(), issuer.ShareInput{Exporter: "ORDERS", Importer: "OURS", Flows: []claims.Flow{{Kind: jwt.Stream, Subject: subject}}})).well(t)
	}
	h.outsider(t, h.account(t, "ORDERS"), nomad(t))
	did(h.SetEnrolmentPolicy(t.Context(), op(), "acme", issuer.EnrolmentInput{Mode: issuer.EnrolApproval})).well(t)
	for _, name := range []string{"LET IN", "KEPT OUT"} {
		if out, err := h.submit(t, newPair(t, nkeys.PrefixByteAccount), name, nil); err != nil || !out.Pending {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	h.connected.Store(&claims.LiveConnection{
		OperatorID: w.operator.ID, AccountID: w.account.ID, Connection: claims.Connection{ServerID: "N1", ServerName: "n1", CID: 7},
	})
	h.found(t, claims.DriftNewer, h.account(t, "ORDERS").JWT)
	h.anchor(t)
	return w
}

// someAccount is an account of somebody else.
const someAccount = "AD7YRUYKEZ2YJPSKF5ARJ6H4T2Q6NB4AAF2D5SHNXBRRMA6ODNX32YKT"

// job returns the import that was uploaded for the reason.
func (h *house) job(t testing.TB, reason string) issuer.ImportJob {
	t.Helper()
	list, err := h.ListImportJobs(t.Context(), owner, issuer.LedgerPage{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range list {
		if j.Reason == reason || reason == "to run" && j.State == issuer.ImportRunning {
			return j
		}
	}
	return issuer.ImportJob{ID: "dropped"}
}

// export and imported return the identity of an export of ORDERS, and of its import by OURS.
func (h *house) export(t testing.TB, subject string) string {
	t.Helper()
	list, err := h.ListExports(t.Context(), owner, "ORDERS", issuer.Page{Limit: 10, Search: subject})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		return "deleted"
	}
	return list[0].ID
}

func (h *house) imported(t testing.TB, subject string) string {
	t.Helper()
	list, err := h.ListImports(t.Context(), owner, "OURS", issuer.Page{Limit: 10, Search: subject})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		return "deleted"
	}
	return list[0].ID
}

func TestEveryMethodIsAUseCase(t *testing.T) {
	t.Parallel()
	known := useCases()
	kind := reflect.TypeFor[*issuer.Issuer]()
	for n := range kind.NumMethod() {
		name := kind.Method(n).Name
		if _, ok := known[name]; !ok && !slices.Contains(notUseCases, name) {
			t.Errorf("%s is in no table: say whether it reads and whether it signs", name)
		}
	}
}

// Who may not is told so; that is on record once, with who and what, and nothing else happened.
func TestWhoMayNot(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		prepared(t, h)
		h.sequence(t)
		for who, caller := range map[string]issuer.Caller{
			"nobody":              {},
			"a role that is none": {ID: "per_x", Name: "eve", Kind: issuer.CallerPerson, Grants: issuer.Everything("Owner")},
			"a kind without role": {ID: "tok_x", Name: "eve", Kind: issuer.CallerSystem},
			"an auditor":          auditor,
		} {
			entries, woken, want := len(h.audited(t)), h.woken.Load(), map[string]int{}
			h.unchanged(t, func() {
				for name, c := range useCases() {
					if who == "an auditor" && c.reads {
						continue
					}
					for _, dry := range []bool{false, true} {
						if dry && c.reads {
							continue
						}
						e := wants(t, c.run(t, h, issuer.Op{Caller: caller, RequestID: name, DryRun: dry}), issuer.KindForbidden)
						if e.Code != "forbidden" || e.Hint == "" {
							t.Errorf("%s by %s: %+v", name, who, e)
						}
						if c.reads {
							name = "" // reading has no request of its own
						}
						want[name]++
					}
				}
			}, "audit", "sequencer")
			for _, e := range h.audited(t)[entries:] {
				want[e.RequestID]--
				if e.Outcome != "denied" || e.Actor != caller.ID || e.ActorKind != string(caller.Kind) || e.Action == "" || e.TargetKind == "" || e.Detail != "{}" {
					t.Errorf("%s: on record is %+v", who, e)
				}
			}
			for name, n := range want {
				if n != 0 {
					t.Errorf("%q by %s: %d denials are missing on record", name, who, n)
				}
			}
			if h.woken.Load() != woken {
				t.Errorf("%s woke the resolver", who)
			}
		}
	})
}

// A caller who hangs up is denied on record all the same; an answer is no reason to wait for it.
func TestDenialOfWhoHungUp(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		entries := len(h.audited(t))
		ctx, cancel := contextWithCancel(t)
		cancel()
		_, err := h.CreateOperator(ctx, issuer.Op{Caller: auditor}, issuer.OperatorInput{Name: "x"})
		wants(t, err, issuer.KindForbidden)
		if news := h.audited(t)[entries:]; len(news) != 1 {
			t.Errorf("on record is %+v", news)
		}
	})
}

// What an auditor may: read everything, without a trace in the database and without a seed.
func TestAuditorReads(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		prepared(t, h)
		h.unchanged(t, func() {
			for name, c := range useCases() {
				if c.reads {
					if err := c.run(t, h, issuer.Op{Caller: auditor}); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
			}
		})
		keys, err := h.OperatorKeys(t.Context(), auditor, "acme")
		if err != nil || len(keys) != 2 {
			t.Errorf("%d keys, %v", len(keys), err)
		}
		template, err := h.GetTemplate(t.Context(), auditor, "ORDERS", "device")
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range append(keys, template.Keys...) {
			if k.Sealed != nil {
				t.Errorf("key %s comes with its sealed seed", k.ID)
			}
		}
	})
}

// An owner may do all of it, each on record once, and the resolver is woken.
func TestOwnerMay(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		prepared(t, h)
		for _, name := range order(useCases()) {
			c := useCases()[name]
			if c.reads {
				continue
			}
			h.advance(time.Second)
			h.sequence(t)
			entries, woken := len(h.audited(t)), h.woken.Load()
			op := issuer.Op{Caller: owner, RequestID: "req_" + name, Reason: "because", IdempotencyKey: "key-1"}
			if err := c.run(t, h, op); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			news := h.audited(t)[entries:]
			if len(news) != entriesOf(name) || h.woken.Load() != woken+1 {
				t.Errorf("%s: %d entries, woken %d times", name, len(news), h.woken.Load()-woken)
			}
			for _, e := range news {
				if e.Outcome != "done" || e.Actor != owner.ID || e.ActorKind != "person" || e.RequestID != op.RequestID || e.Reason != "because" || !strings.Contains(e.Detail, `"idempotency_key":"key-1"`) {
					t.Errorf("%s: on record is %+v", name, e)
				}
			}
		}
	})
}

// entriesOf is how many entries of the audit log the use case writes.
func entriesOf(name string) int {
	if strings.HasSuffix(name, "credential") {
		return 2 // the user and the credential
	}
	switch name {
	case "RotateDataKey":
		return 2 // the new data key, and the end of the old one
	case "Share", "RenewImport":
		return 2 // one for each of the two accounts
	}
	return 1
}

// order puts the setup link first: there must be no owner yet.
func order(cases map[string]useCase) []string {
	var out []string
	for name := range cases {
		out = append(out, name)
	}
	slices.SortFunc(out, func(a, b string) int {
		if first := "SetupLink"; a == first || b == first {
			return map[bool]int{true: -1, false: 1}[a == first]
		}
		return strings.Compare(a, b)
	})
	return out
}
