package issuer_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"chancery/claims"
	"chancery/issuer"
)

// strayUser is a user's JWT of an account that nobody here knows.
const strayUser = "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.eyJqdGkiOiI1RkJXRlgzRkpDRTRGSUJVVVhTVTVTNVpNUE1NVlJXTlRYV1pOQUVaR1RNM0c1SlRBQkFRIiwiaWF0IjoxNzk1MjI2NjI4LCJpc3MiOiJBQ0NPRjJNVENVMzdCNUVLQjJURE5MNjRURkQ1UzJIQjdSWkROS1pBRkJNWVVMSkRYQVI0V0tVWiIsIm5hbWUiOiJkMSIsInN1YiI6IlVBQkI0VFpZUkJISUFYTkNRWjJFS1VRQ1pZQkJKWDJHMlVSTEpaN00yQUZaVEZZS1ZCTEpHTDRYIiwibmF0cyI6eyJwdWIiOnt9LCJzdWIiOnt9LCJpc3N1ZXJfYWNjb3VudCI6IkFBTzc3S0NLNzJaSlhaTVlMUjY1TUNHWE1QWUJNVkRGUUlETkpCWTJJSkkzWk5YRFVLMllNUU5KIiwidGFncyI6WyJyZWdpb246ZXUiXSwidHlwZSI6InVzZXIiLCJ2ZXJzaW9uIjoyfX0.hFqgChW0w33WUHTg-m7CJiBPWMSMnMP9BZnklrJ0NM0jOkW_b7I9i99a388MVKDUOOIHoJf-ecs3BzxxXQZnCw"

// What the issuer explains is what a server that trusts it does with the same credentials.
func TestExplainAgreesWithServer(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, _ world) {
		h.advance(time.Since(h.time()))
		w := h.furnishAs(t, "live", "LIVE")
		s := h.run(t, w)
		leaver := did(h.Issue(t.Context(), op(), w.account.ID, "ada@example.com", issuer.IssueInput{})).well(t)
		explain := func(creds claims.Secret) claims.Explanation {
			t.Helper()
			token, _, err := claims.ParseCreds(creds)
			if err != nil {
				t.Fatal(err)
			}
			e, err := h.Explain(t.Context(), auditor, issuer.AttemptInput{JWT: claims.NewSecret(token), Host: "127.0.0.1", Type: jwt.ConnectionTypeStandard})
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		// Nobody outside can know that the client holds the seed, nor who is connected.
		if e := explain(w.device.Issued.Creds); e.Failed != nil || e.Verdict != claims.VerdictUnknown || e.AccountName != "LIVE" || e.UserName != "d1" || e.Permissions == nil {
			t.Errorf("the device: %+v", e)
		}
		e, err := h.Explain(t.Context(), auditor, issuer.AttemptInput{
			JWT: w.device.Issued.JWT, SignedBy: w.device.Issued.PublicKey, Host: "127.0.0.1", Type: jwt.ConnectionTypeStandard,
		})
		if err != nil || e.Verdict != claims.VerdictAdmitted {
			t.Errorf("the device with its seed: %+v, %v", e, err)
		}
		if _, err := connect(t, s, w.device.Issued.Creds); err != nil {
			t.Error(err)
		}
		did(h.Revoke(t.Context(), op(), w.account.ID, issuer.RevokeInput{Subject: leaver.PublicKey})).well(t)
		if e := explain(leaver.Creds); e.Failed == nil || e.Failed.ID != "not_revoked" || e.Verdict != claims.VerdictRefused {
			t.Errorf("the leaver: %+v", e)
		}
		if _, err := connect(t, h.run(t, w), leaver.Creds); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("the leaver on a server: %v", err)
		}
		e, err = h.Explain(t.Context(), auditor, issuer.AttemptInput{JWT: claims.NewSecret(strayUser)})
		if err != nil || e.Failed == nil || e.Failed.ID != "account_found" {
			t.Errorf("a stranger: %+v, %v", e, err)
		}
		e, err = h.Explain(t.Context(), auditor, issuer.AttemptInput{JWT: w.device.Issued.JWT, At: h.time().Add(2 * time.Hour)})
		if err != nil || e.Failed == nil || e.Failed.ID != "jwt_valid" {
			t.Errorf("in two hours: %+v, %v", e, err)
		}
	})
}

// Whether there is room depends on who is connected: clients and leaf nodes have limits of their own.
func TestExplainCountsConnections(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		var live []claims.Connection
		var silent error
		config := h.config(h.store, h.kek)
		config.Connections = func(context.Context, string) ([]claims.Connection, error) { return live, silent }
		i, err := issuer.Open(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		did(h.UpdateAccount(t.Context(), op(), "ORDERS", func(s *issuer.AccountEdit) { s.Limits.Conn, s.Limits.LeafNodeConn = 2, 1 })).well(t)
		client, leaf := claims.Connection{Type: "nats"}, claims.Connection{Type: claims.TypeLeaf}
		for name, c := range map[string]struct {
			live   []claims.Connection
			silent error
			kind   string
			want   claims.Result
		}{
			"room":                  {[]claims.Connection{client}, nil, jwt.ConnectionTypeStandard, claims.ResultPass},
			"nobody":                {nil, nil, jwt.ConnectionTypeStandard, claims.ResultPass},
			"full":                  {[]claims.Connection{client, client}, nil, jwt.ConnectionTypeStandard, claims.ResultFail},
			"full of leaf nodes":    {[]claims.Connection{client, leaf}, nil, jwt.ConnectionTypeLeafnode, claims.ResultFail},
			"nobody could be asked": {nil, errors.New("no answer"), jwt.ConnectionTypeStandard, claims.ResultUnknown},
			"a leaf where none is":  {[]claims.Connection{client}, nil, jwt.ConnectionTypeLeafnode, claims.ResultPass},
			"a leaf, nobody to ask": {nil, errors.New("no answer"), jwt.ConnectionTypeLeafnode, claims.ResultUnknown},
		} {
			live, silent = c.live, c.silent
			e, err := i.Explain(t.Context(), auditor, issuer.AttemptInput{JWT: w.device.Issued.JWT, Type: c.kind})
			if err != nil {
				t.Fatal(err)
			}
			n := slices.IndexFunc(e.Checks, func(x claims.Check) bool { return x.ID == "connection_limit" })
			if got := e.Checks[n].Result; got != c.want {
				t.Errorf("%s: %s, want %s", name, got, c.want)
			}
		}
	})
}

func TestInspect(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		states := func(links []claims.Link) (out []claims.LinkState) {
			for _, l := range links {
				out = append(out, l.State)
			}
			return out
		}
		const trusted = claims.LinkTrusted
		for name, c := range map[string]struct {
			document claims.Secret
			kind     jwt.ClaimType
			chain    []claims.LinkState
			rules    bool
		}{
			"operator": {claims.NewSecret(w.operator.JWT), jwt.OperatorClaim, []claims.LinkState{trusted}, false},
			"account":  {claims.NewSecret(w.account.JWT), jwt.AccountClaim, []claims.LinkState{trusted}, false},
			"user":     {w.device.Issued.JWT, jwt.UserClaim, []claims.LinkState{trusted, trusted}, true},
			"stranger": {claims.NewSecret("\n" + strayUser + "\n"), jwt.UserClaim, []claims.LinkState{claims.LinkUnknown}, false},
		} {
			x, err := h.Inspect(t.Context(), auditor, c.document)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if x.Claims.ClaimType() != c.kind || !slices.Equal(states(x.Chain), c.chain) || (x.Permissions != nil) != c.rules {
				t.Errorf("%s: %s, %+v, %+v", name, x.Claims.ClaimType(), x.Chain, x.Permissions)
			}
		}
		for name, c := range map[string]struct{ document, code string }{
			"nothing":     {"", "invalid_jwt"},
			"a word":      {"nonsense", "invalid_jwt"},
			"another key": {strayUser[:len(strayUser)-4] + "AAAA", "invalid_jwt"},
			"a seed":      {w.ada.Issued.Creds.Reveal(), "seed_not_accepted"},
		} {
			_, err := h.Inspect(t.Context(), auditor, claims.NewSecret(c.document))
			e := wants(t, err, issuer.KindInvalid)
			if len(e.Problems) != 1 || e.Problems[0].Code != c.code || e.Problems[0].Pointer != "/jwt" {
				t.Errorf("%s: %+v", name, e.Problems)
			}
			if c.document != "" && strings.Contains(fmt.Sprintf("%+v %v", e.Problems, err), c.document) {
				t.Errorf("%s comes back in the error", name)
			}
		}
		for pointer, in := range map[string]issuer.AttemptInput{
			"/host":      {JWT: w.ada.Issued.JWT, Host: "localhost"},
			"/type":      {JWT: w.ada.Issued.JWT, Type: "PIGEON"},
			"/signed_by": {JWT: w.ada.Issued.JWT, SignedBy: w.account.ID},
			"/jwt":       {JWT: claims.NewSecret(w.account.JWT)},
		} {
			_, err := h.Explain(t.Context(), auditor, in)
			if e := wants(t, err, issuer.KindInvalid); len(e.Problems) != 1 || e.Problems[0].Pointer != pointer {
				t.Errorf("%s: %+v", pointer, e.Problems)
			}
		}
	})
}

// An import is held against the exporter's exports, and says which of them it lacks.
func TestInspectFindsDeadImports(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		did(h.CreateExport(t.Context(), op(), w.account.ID, jwt.Export{Name: "orders", Subject: "orders.>", Type: jwt.Stream})).well(t)
		stray, err := claims.Read(strayUser)
		if err != nil {
			t.Fatal(err)
		}
		other := did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Name: "BILLING", Settings: claims.NewAccountSettings()})).well(t)
		for _, m := range []jwt.Import{
			{Name: "a", Subject: "orders.new", Account: w.account.ID, Type: jwt.Stream},
			{Name: "b", Subject: "refunds.new", Account: w.account.ID, Type: jwt.Stream},
			{Name: "c", Subject: "zz", Account: claims.Above(stray.Claims), Type: jwt.Stream},
		} {
			did(h.CreateImport(t.Context(), op(), other.ID, m)).well(t)
			h.advance(time.Second) // imports are in the order in which they were made
		}
		x, err := h.Inspect(t.Context(), auditor, claims.NewSecret(h.account(t, other.ID).JWT))
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, p := range x.Problems(h.time()) {
			got[p.Pointer] = p.Code
		}
		if want := map[string]string{"/imports/1/subject": "no_export", "/imports/2/account": "exporter_unknown"}; !maps.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

// Who may what, over two accounts and in pages of every size.
func TestPermitted(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		other := did(h.CreateAccount(t.Context(), op(), issuer.AccountInput{Name: "BILLING", Settings: claims.NewAccountSettings()})).well(t)
		for _, name := range []string{"b1", "b2"} {
			did(h.CreateUser(t.Context(), op(), other.ID, issuer.UserInput{Name: name, Permissions: ownPermissions()})).well(t)
		}
		did(h.CreateUser(t.Context(), op(), w.account.ID, issuer.UserInput{Name: "d2", Template: "device", Tags: []string{"region:us"}})).well(t)
		ask := func(q issuer.PermissionQuery) (out []string) {
			t.Helper()
			list, err := h.Permitted(t.Context(), auditor, q)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range list {
				out = append(out, s.Account+"/"+s.User+" "+string(s.Access))
			}
			return out
		}
		const device = "devices.us.d2.temp"
		all := []string{"BILLING/b1 denied", "BILLING/b2 denied", "ORDERS/ada@example.com denied", "ORDERS/d1 denied", "ORDERS/d2 allowed"}
		if got := ask(issuer.PermissionQuery{Action: claims.Publish, Subject: device, Limit: 10}); !slices.Equal(got, all) {
			t.Errorf("everybody: %q", got)
		}
		for size := 1; size <= len(all); size++ {
			var paged []string
			q := issuer.PermissionQuery{Action: claims.Publish, Subject: device, Limit: size}
			for range len(all) + 1 {
				list, err := h.Permitted(t.Context(), auditor, q)
				if err != nil {
					t.Fatal(err)
				}
				if len(list) == 0 {
					break
				}
				for _, s := range list {
					paged = append(paged, s.Account+"/"+s.User+" "+string(s.Access))
				}
				q.After = list[len(list)-1].Place
			}
			if !slices.Equal(paged, all) {
				t.Errorf("in pages of %d: %q", size, paged)
			}
		}
		if got := ask(issuer.PermissionQuery{Action: claims.Publish, Subject: device, Account: "ORDERS", Limit: 10}); !slices.Equal(got, all[2:]) {
			t.Errorf("one account: %q", got)
		}
		if got := ask(issuer.PermissionQuery{Action: claims.Subscribe, Subject: "cmd.d1", Account: "ORDERS", User: "d1", Limit: 10}); !slices.Equal(got, []string{"ORDERS/d1 allowed"}) {
			t.Errorf("one user: %q", got)
		}
		_, err := h.Permitted(t.Context(), auditor, issuer.PermissionQuery{Action: claims.Publish, Subject: "orders.>", Limit: 10})
		wants(t, err, issuer.KindInvalid)
		_, err = h.Permitted(t.Context(), auditor, issuer.PermissionQuery{Action: claims.Publish, Subject: device, Account: "ORDERS", User: "nobody", Limit: 10})
		wants(t, err, issuer.KindNotFound)
	})
}

// A template that uses subject() sees the key that was issued last.
func TestPermittedUsesTheNewestKey(t *testing.T) {
	eachWorld(t, func(t *testing.T, h *house, w world) {
		p := claims.NewPermissionLimits()
		p.Pub.Allow = jwt.StringList{"own.{{subject()}}"}
		did(h.CreateTemplate(t.Context(), op(), w.account.ID, issuer.TemplateInput{Body: claims.Template{Name: "keyed", Permissions: p}})).well(t)
		u := did(h.CreateUser(t.Context(), op(), w.account.ID, issuer.UserInput{Name: "k", Template: "keyed", Issue: &issuer.IssueInput{}})).well(t)
		h.advance(time.Second)
		again := did(h.Issue(t.Context(), op(), w.account.ID, "k", issuer.IssueInput{})).well(t)
		for key, want := range map[string]claims.Access{u.Issued.PublicKey: claims.AccessDenied, again.PublicKey: claims.AccessAllowed} {
			list, err := h.Permitted(t.Context(), auditor, issuer.PermissionQuery{Action: claims.Publish, Subject: "own." + key, Account: "ORDERS", User: "k", Limit: 1})
			if err != nil || len(list) != 1 || list[0].Access != want {
				t.Errorf("%+v, %v, want %s", list, err, want)
			}
		}
	})
}
