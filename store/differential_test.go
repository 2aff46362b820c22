package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"pgregory.net/rapid"

	"chancery/claims"
	"chancery/store"
	"chancery/store/storetest"
)

// an operation on a store, and what a reader of its answer would see.
type operation func(ctx context.Context, tx *store.Tx) (any, error)

// draw picks an operation on a small set of names, so that rows are taken, missing and met again.
func draw(r *rapid.T) operation {
	small := func(kind string) string { return fmt.Sprint(kind, rapid.IntRange(0, 2).Draw(r, kind)) }
	name := rapid.SampledFrom([]string{"a", "B", "ada@x", "100%", "_", `\`, "'", "ä"}).Draw(r, "name")
	o, a, u, x, k := small("O"), small("A"), small("usr_"), small("tpl_"), small("U")
	n := rapid.Int64Range(0, 30).Draw(r, "n")
	page := store.Page{Limit: 50, Search: rapid.SampledFrom([]string{"", "a", "%", "_", `\`, "B"}).Draw(r, "search")}
	none := func(err error) (any, error) { return nil, err }
	// What was claimed some seconds ago, or some claims ago.
	owed := store.Owed{AccountID: a, Owner: "me", Epoch: epoch.Add(time.Duration(n/5)*time.Second).UnixMicro() + n%2, Version: n % 5}
	all := map[string]operation{
		"create operator": func(ctx context.Context, tx *store.Tx) (any, error) {
			return none(tx.CreateOperator(ctx, store.Operator{ID: o, Name: name, State: "active", Custody: "sealed", Settings: jwt.Operator{SystemAccount: a}}))
		},
		"update operator": func(ctx context.Context, tx *store.Tx) (any, error) {
			return none(tx.UpdateOperator(ctx, store.Operator{ID: o}))
		},
		"lock operator":  func(ctx context.Context, tx *store.Tx) (any, error) { return tx.LockOperator(ctx, o) },
		"get operator":   func(ctx context.Context, tx *store.Tx) (any, error) { return tx.GetOperator(ctx, name) },
		"list operators": func(ctx context.Context, tx *store.Tx) (any, error) { return tx.ListOperators(ctx, page) },
		"create account": func(ctx context.Context, tx *store.Tx) (any, error) {
			return none(tx.CreateAccount(ctx, anAccount(o, a, name)))
		},
		"update account": func(ctx context.Context, tx *store.Tx) (any, error) {
			v := anAccount(o, a, name)
			v.Settings.Limits.Conn, v.Expires = n, n
			return none(tx.UpdateAccount(ctx, v))
		},
		"get account":   func(ctx context.Context, tx *store.Tx) (any, error) { return tx.GetAccount(ctx, a) },
		"find accounts": func(ctx context.Context, tx *store.Tx) (any, error) { return tx.FindAccounts(ctx, "", name) },
		"list accounts": func(ctx context.Context, tx *store.Tx) (any, error) { return tx.ListAccounts(ctx, o, page) },
		"sign":          func(ctx context.Context, tx *store.Tx) (any, error) { return none(sign(ctx, tx, a, n)) },
		"served":        func(ctx context.Context, tx *store.Tx) (any, error) { return tx.ListServed(ctx, "", page.Limit) },
		"create template": func(ctx context.Context, tx *store.Tx) (any, error) {
			return none(tx.CreateTemplate(ctx, store.Template{ID: x, OperatorID: o, AccountID: a, Body: claims.Template{Name: name}, MaxTTL: time.Duration(n) * time.Second}))
		},
		"update template": func(ctx context.Context, tx *store.Tx) (any, error) {
			return tx.UpdateTemplate(ctx, store.Template{ID: x})
		},
		"list templates": func(ctx context.Context, tx *store.Tx) (any, error) { return tx.ListTemplates(ctx, a, page) },
		"create user": func(ctx context.Context, tx *store.Tx) (any, error) {
			return none(tx.CreateUser(ctx, store.User{ID: u, AccountID: a, Name: name, Tags: []string{name}, State: "active"}))
		},
		"get user":   func(ctx context.Context, tx *store.Tx) (any, error) { return tx.GetUser(ctx, a, name) },
		"list users": func(ctx context.Context, tx *store.Tx) (any, error) { return tx.ListUsers(ctx, a, page) },
		"issue": func(ctx context.Context, tx *store.Tx) (any, error) {
			id, err := tx.NewID("iss_")
			if err != nil {
				return id, err
			}
			return id, errors.Join(tx.SetLastUserIAT(ctx, a, n), tx.CreateCredential(ctx, store.Credential{ID: id, UserID: u, AccountID: a, PublicKey: k, IssuedAt: n, Expires: n % 3 * 1e9, SHA256: []byte{1}}))
		},
		"ledger": func(ctx context.Context, tx *store.Tx) (any, error) {
			return tx.ListCredentials(ctx, u, "", page.Limit)
		},
		"highest iat": func(ctx context.Context, tx *store.Tx) (any, error) { return tx.HighestIssuedAt(ctx, a, k) },
		"user keys":   func(ctx context.Context, tx *store.Tx) (any, error) { return tx.UserKeys(ctx, u) },
		"count":       func(ctx context.Context, tx *store.Tx) (any, error) { return tx.CountIssued(ctx, a, "*", n) },
		"owner":       func(ctx context.Context, tx *store.Tx) (any, error) { return tx.OwnerOfKey(ctx, a, k) },
		"revoke": func(ctx context.Context, tx *store.Tx) (any, error) {
			id, err := tx.NewID("rev_")
			if err != nil {
				return id, err
			}
			return id, tx.CreateRevocations(ctx, []store.Revocation{{ID: id, AccountID: a, Subject: k, Before: n}})
		},
		"revoked": func(ctx context.Context, tx *store.Tx) (any, error) { return tx.EffectiveRevocations(ctx, a) },
		"revocations": func(ctx context.Context, tx *store.Tx) (any, error) {
			return tx.ListRevocations(ctx, a, store.RevocationFilter{}, "", page.Limit)
		},
		"claim":  func(ctx context.Context, tx *store.Tx) (any, error) { return tx.ClaimOwed(ctx, o, "me", lease, 1) },
		"settle": func(ctx context.Context, tx *store.Tx) (any, error) { return none(tx.SettleOwed(ctx, owed)) },
		"postpone": func(ctx context.Context, tx *store.Tx) (any, error) {
			return none(tx.PostponeOwed(ctx, owed, time.Second))
		},
		"owe again": func(ctx context.Context, tx *store.Tx) (any, error) { return none(tx.OweAgain(ctx, []string{a})) },
		"deliver": func(ctx context.Context, tx *store.Tx) (any, error) {
			return none(tx.PutDelivery(ctx, store.Delivery{AccountID: a, ServerID: k, Version: n, State: "sent", Sent: tx.Now()}))
		},
		"audit": func(ctx context.Context, tx *store.Tx) (any, error) {
			return none(tx.AppendAudit(ctx, store.AuditEntry{Actor: name, Detail: "{}"}))
		},
	}
	return all[rapid.SampledFrom(slices.Sorted(maps.Keys(all))).Draw(r, "operation")]
}

// someRows are there from the beginning, so that more of what is drawn goes through.
func someRows(ctx context.Context, tx *store.Tx) error {
	return errors.Join(
		tx.CreateOperator(ctx, store.Operator{ID: "O0", Name: "first"}),
		tx.CreateAccount(ctx, anAccount("O0", "A0", "first")), tx.CreateAccount(ctx, anAccount("O0", "A1", "second")),
		tx.CreateUser(ctx, store.User{ID: "usr_0", AccountID: "A0", Name: "first"}),
		sign(ctx, tx, "A0", 1),
	)
}

// Q10: whatever is done, both databases answer the same and end with the same rows.
func TestDialectsAgree(t *testing.T) {
	t.Parallel()
	random := map[string]*randomness{}
	dbs := map[string]*db{}
	for _, dialect := range storetest.Dialects() {
		c, url := &clock{now: epoch}, storetest.URL(t, dialect)
		random[dialect] = new(randomness)
		s, err := store.Open(t.Context(), store.Config{URL: url, Now: c.time, Logger: slog.New(slog.DiscardHandler), Rand: random[dialect]})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		dbs[dialect] = &db{Store: s, clock: c, raw: storetest.OpenRaw(t, url)}
	}
	rapid.Check(t, func(r *rapid.T) {
		seed := rapid.Uint64().Draw(r, "seed")
		transactions := rapid.SliceOfN(rapid.SliceOfN(rapid.Custom(draw), 1, 5), 2, 6).Draw(r, "transactions")
		answers, dumps := map[string][]string{}, map[string]string{}
		for dialect, d := range dbs {
			d.clear(t)
			d.now, random[dialect].PCG = epoch, rand.NewPCG(seed, 1)
			d.write(t, someRows)
			for _, operations := range transactions {
				err := d.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
					for _, op := range operations {
						answer, err := op(ctx, tx)
						answers[dialect] = append(answers[dialect], show(answer)+kindOf(err))
						if err != nil {
							return err
						}
					}
					return nil
				})
				answers[dialect] = append(answers[dialect], kindOf(err))
				d.advance(time.Second)
			}
			if _, err := d.Sequence(t.Context()); err != nil {
				r.Fatal(err)
			}
			dumps[dialect] = d.raw.Dump(t)
		}
		if diff := cmp.Diff(answers["sqlite"], answers["postgres"]); diff != "" {
			r.Fatalf("answers (-SQLite +PostgreSQL):\n%s", diff)
		}
		if diff := cmp.Diff(dumps["sqlite"], dumps["postgres"]); diff != "" {
			r.Fatalf("rows (-SQLite +PostgreSQL):\n%s", diff)
		}
	})
}

// randomness makes identities repeat.
type randomness struct{ *rand.PCG }

func (r *randomness) Read(p []byte) (int, error) {
	for n := range p {
		p[n] = byte(r.Uint64())
	}
	return len(p), nil
}

// show writes an answer out; a list in an order of its own, since that by name is the database's.
func show(answer any) string {
	v := reflect.ValueOf(answer)
	if v.Kind() != reflect.Slice {
		return fmt.Sprintf("%+v ", answer)
	}
	var out []string
	for n := range v.Len() {
		out = append(out, fmt.Sprintf("%+v", v.Index(n)))
	}
	slices.Sort(out)
	return strings.Join(out, "\n") + " "
}

// kindOf names the sentinel of an error; other errors are told by each database in its own words.
func kindOf(err error) string {
	for _, sentinel := range []error{store.ErrNotFound, store.ErrExists, store.ErrBusy} {
		if errors.Is(err, sentinel) {
			return sentinel.Error()
		}
	}
	if err != nil {
		return "refused"
	}
	return ""
}

// clear empties all tables, which is faster than a new database.
func (d *db) clear(t testing.TB) {
	t.Helper()
	tx, err := d.raw.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it has nothing to do
	for _, table := range []string{
		"deliveries", "outbox", "jwts", "revocations", "credentials", "users", "keys", "templates", "servers", "accounts", "operators", "changes", "audit", "links", "tokens", "sessions", "people", "keysets",
	} {
		if _, err := tx.ExecContext(t.Context(), `DELETE FROM `+table); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tx.ExecContext(t.Context(), `UPDATE sequencer SET epoch = 0, change_seq = 0, audit_seq = 0, audit_hash = $1`, []byte{}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// fillEverything puts a row into every table.
func fillEverything(t *testing.T, d *db) {
	t.Helper()
	operator, account := d.tenant(t, "x")
	d.user(t, account, "usr_1")
	d.issue(t, account, "usr_1", "U1", 1, 0)
	d.revoke(t, account, "U1", 1)
	d.signed(t, account, 5)
	d.write(t, func(ctx context.Context, tx *store.Tx) error {
		return errors.Join(
			tx.CreateTemplate(ctx, store.Template{ID: "tpl_1", OperatorID: operator, AccountID: account}),
			tx.CreateKey(ctx, store.Key{ID: "K", OperatorID: operator}),
			tx.CreateKeyset(ctx, store.Keyset{ID: "seeds", Wrapped: []byte{1}}),
			tx.PutServer(ctx, store.Server{ID: "N1", OperatorID: operator}),
			tx.PutDelivery(ctx, store.Delivery{AccountID: account, ServerID: "N1"}),
			tx.AppendAudit(ctx, store.AuditEntry{Detail: "{}"}),
			tx.CreatePerson(ctx, store.Person{ID: "per_1", Name: "p"}, "test"),
			tx.CreateToken(ctx, store.Token{ID: "tok_1", Hash: []byte{1}}),
			tx.CreateLink(ctx, store.Link{ID: "lnk_1", Hash: []byte{1}}),
			tx.PutEnrolment(ctx, store.Enrolment{AccountID: "AE", OperatorID: operator}),
			tx.KeepPosting(ctx, store.Posting{AccountID: account, SHA256: []byte{1}, IssuedAt: 1}, 0),
			tx.PutPostedActivation(ctx, store.PostedActivation{Hash: "H", OperatorID: operator, AccountID: account}),
		)
	})
	if err := d.Sessions().Commit("s", []byte{1}, d.time().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
}
