package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chancery/migrations"
	"chancery/store"
	"chancery/store/storetest"
)

// Each filter keeps what it says, the newest first, and pages meet without a gap or a repetition.
func TestFindAudit(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		for n := range 12 {
			d.write(t, func(ctx context.Context, tx *store.Tx) error {
				return tx.AppendAudit(ctx, store.AuditEntry{
					Actor: fmt.Sprint("per_", n%2), ActorKind: []string{"person", "token"}[n%2], Action: []string{"create", "update", "delete"}[n%3], TargetKind: []string{"account", "user"}[n/6],
					Target: fmt.Sprint("A", n), Outcome: []string{"done", "denied"}[n/11], RequestID: fmt.Sprint("req_", n/4), Reason: fmt.Sprint("Ticket_", n, " 100%"), Detail: "{}",
					OperatorID: fmt.Sprint("O", n/6), AccountID: fmt.Sprint("A", n/3),
				})
			})
			d.advance(time.Minute)
		}
		find := func(f store.AuditFilter, p store.AuditPage) (out []int64) {
			if p.Limit == 0 {
				p.Limit = 100
			}
			for _, e := range get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.AuditEntry, error) { return tx.FindAudit(ctx, f, p) }) {
				out = append(out, e.Seq)
			}
			return out
		}
		if got := find(store.AuditFilter{}, store.AuditPage{}); got != nil {
			t.Errorf("unnumbered entries are listed: %v", got)
		}
		d.sequence(t)
		start := epoch.UTC().Truncate(time.Microsecond)
		for name, c := range map[string]struct {
			f    store.AuditFilter
			want []int64
		}{
			"all":         {store.AuditFilter{}, []int64{12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}},
			"actor":       {store.AuditFilter{Actor: "per_0"}, []int64{11, 9, 7, 5, 3, 1}},
			"actor kind":  {store.AuditFilter{ActorKind: "token"}, []int64{12, 10, 8, 6, 4, 2}},
			"action":      {store.AuditFilter{Action: "delete"}, []int64{12, 9, 6, 3}},
			"target kind": {store.AuditFilter{TargetKind: "user"}, []int64{12, 11, 10, 9, 8, 7}},
			"target":      {store.AuditFilter{Target: "A3"}, []int64{4}},
			"outcome":     {store.AuditFilter{Outcome: "denied"}, []int64{12}},
			"operator":    {store.AuditFilter{OperatorID: "O0"}, []int64{6, 5, 4, 3, 2, 1}},
			"account":     {store.AuditFilter{AccountID: "A1"}, []int64{6, 5, 4}},
			"request":     {store.AuditFilter{RequestID: "req_2"}, []int64{12, 11, 10, 9}},
			"from":        {store.AuditFilter{From: start.Add(10 * time.Minute)}, []int64{12, 11}},
			"to":          {store.AuditFilter{To: start.Add(2 * time.Minute)}, []int64{2, 1}},
			"search":      {store.AuditFilter{Search: "ticket_1"}, []int64{12, 11, 2}},
			"a wildcard":  {store.AuditFilter{Search: "0%"}, []int64{12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}},
			"in a target": {store.AuditFilter{Search: "a11"}, []int64{12}},
			"several":     {store.AuditFilter{Actor: "per_0", Action: "create", TargetKind: "user", OperatorID: "O1"}, []int64{7}},
			"no text":     {store.AuditFilter{Actor: "\xff"}, nil},
		} {
			if got := find(c.f, store.AuditPage{}); !slices.Equal(got, c.want) {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
			var paged []int64
			for p := (store.AuditPage{Limit: 2}); ; {
				page := find(c.f, p)
				if len(page) == 0 {
					break
				}
				paged = append(paged, page...)
				p.Before = page[len(page)-1]
			}
			if !slices.Equal(paged, c.want) {
				t.Errorf("%s by pages: %v, want %v", name, paged, c.want)
			}
			var followed []int64
			for after := int64(0); ; {
				page := get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.AuditEntry, error) {
					return tx.FollowAudit(ctx, c.f, after, 100, 2)
				})
				if len(page) == 0 {
					break
				}
				for _, e := range page {
					followed, after = append(followed, e.Seq), e.Seq
				}
			}
			slices.Reverse(followed)
			if !slices.Equal(followed, c.want) {
				t.Errorf("%s followed: %v, want %v", name, followed, c.want)
			}
		}
		one := get(t, d, func(ctx context.Context, tx *store.Tx) (store.AuditEntry, error) { return tx.GetAudit(ctx, "4") })
		same := get(t, d, func(ctx context.Context, tx *store.Tx) (store.AuditEntry, error) { return tx.GetAudit(ctx, one.ID) })
		if diff := cmp.Diff(one, same); diff != "" || one.Seq != 4 {
			t.Errorf("by number and by identity: %s", diff)
		}
		for _, ref := range []string{"", "0", "-1", "13", "aud_none", "99999999999999999999"} {
			if _, err := try(t, d, func(ctx context.Context, tx *store.Tx) (store.AuditEntry, error) { return tx.GetAudit(ctx, ref) }); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%q: %v", ref, err)
			}
		}
	})
}

// What a span of time keeps is what was done in it, also where numbers and times are in another order: clocks that
// differ, and a long transaction.
func TestAuditByTime(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		random := rand.New(rand.NewPCG(1, 2))
		for n := range 60 {
			d.write(t, func(ctx context.Context, tx *store.Tx) error {
				return tx.AppendAudit(ctx, store.AuditEntry{Actor: fmt.Sprint("per_", n%3), ActorKind: "person", Action: "update", TargetKind: "account", Target: "A", Outcome: "done", Detail: "{}"})
			})
			d.advance(time.Duration(random.IntN(25)-8) * time.Minute)
			if n%4 == 0 {
				d.sequence(t)
			}
		}
		d.sequence(t)
		find := func(f store.AuditFilter) []store.AuditEntry {
			return get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.AuditEntry, error) {
				return tx.FindAudit(ctx, f, store.AuditPage{Limit: 100})
			})
		}
		follow := func(f store.AuditFilter) []store.AuditEntry {
			return get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.AuditEntry, error) {
				return tx.FollowAudit(ctx, f, 0, 100, 100)
			})
		}
		all := find(store.AuditFilter{})
		behind, bounded := 0, 0
		for n, e := range all {
			if n > 0 && e.At > all[n-1].At {
				behind++
			}
			if n%3 != 0 {
				continue
			}
			for _, to := range []time.Time{{}, e.Time().Add(40 * time.Minute)} {
				f := store.AuditFilter{From: e.Time(), To: to, Actor: []string{"", "per_1"}[n%2]}
				var want []store.AuditEntry
				for _, x := range all {
					if !x.Time().Before(f.From) && (to.IsZero() || x.Time().Before(to)) && (f.Actor == "" || x.Actor == f.Actor) {
						want = append(want, x)
					}
				}
				got, followed := find(f), follow(f)
				slices.Reverse(followed)
				if !cmp.Equal(want, got) || !cmp.Equal(want, followed) {
					t.Fatalf("from %s to %s: %d entries, and %d followed; want %d", f.From, f.To, len(got), len(followed), len(want))
				}
				if query, _ := newest(t, d, f, store.AuditPage{Limit: 51}); strings.Contains(query, "seq < ") {
					bounded++
				}
			}
		}
		if behind < 5 || bounded < 5 {
			t.Errorf("%d entries are numbered behind later ones, %d spans are bounded", behind, bounded)
		}
		// A database of before is brought to the same by the migration.
		lags := func() (high, lag int64) {
			if err := d.raw.QueryRowContext(t.Context(), `SELECT audit_high_us, audit_lag_us FROM sequencer`).Scan(&high, &lag); err != nil {
				t.Fatal(err)
			}
			return high, lag
		}
		high, lag := lags()
		text, err := migrations.Files.ReadFile(d.Dialect() + "/00006_audit_time.sql")
		if err != nil {
			t.Fatal(err)
		}
		_, statement, _ := strings.Cut(string(text), "UPDATE sequencer")
		statement, _, _ = strings.Cut(statement, ";")
		d.raw.Run(t, `UPDATE sequencer SET audit_high_us = 0, audit_lag_us = 0`)
		d.raw.Run(t, `UPDATE sequencer`+statement)
		if h, l := lags(); h != high || l != lag || lag < time.Minute.Microseconds() {
			t.Errorf("the migration finds %d and %d, the sequencer %d and %d", h, l, high, lag)
		}
	})
}

// newest is the query that FindAudit asks.
func newest(t *testing.T, d *db, f store.AuditFilter, p store.AuditPage) (query string, args []any) {
	t.Helper()
	err := d.Read(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		query, args, err = tx.NewestAudit(ctx, f, p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return query, args
}

// Names are found for all kinds of identity, deleted ones too.
func TestNamesOf(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		operator, account := d.tenant(t, "one")
		d.user(t, account, "usr_1")
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			if err := tx.CreatePerson(ctx, store.Person{ID: "per_1", Name: "ada", State: "active"}, "test"); err != nil {
				return err
			}
			return tx.DeleteUser(ctx, "usr_1")
		})
		got := get(t, d, func(ctx context.Context, tx *store.Tx) (map[string]string, error) {
			return tx.NamesOf(ctx, []string{operator, account, "usr_1", "per_1", "tok_none", "tpl_none", "system/dev", "", "\xff"})
		})
		if diff := cmp.Diff(map[string]string{operator: "op one", account: "one", "usr_1": "name of usr_1", "per_1": "ada"}, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// In a log of 100,000 entries (a quarter of it on SQLite, which the race detector makes slow to fill) a page deep down costs no more than twice the first one, and each question is answered by
// an index.
func TestAuditPagesByIndex(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		rows := map[string]int64{"sqlite": 25_000, "postgres": 100_000}[d.Dialect()]
		d.raw.Run(t, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < `+fmt.Sprint(rows)+`)
			INSERT INTO audit (id, seq, hash, at_us, actor, actor_kind, action, target_kind, target, outcome, request_id, operator_id, account_id)
			SELECT 'aud_' || i, i, NULL, CAST(i AS BIGINT) * 1000000, 'per_' || (i % 1000), 'person', 'update', 'account', 'A' || (i % 1000), 'done', 'req_' || (i / 3), 'O' || (i % 3), 'A' || (i % 1000) FROM n`)
		d.raw.Run(t, `ANALYZE`)
		moment := func(row int64) time.Time { return time.Unix(row, 0) }
		for name, c := range map[string]struct {
			f     store.AuditFilter
			index string
		}{
			"all":     {store.AuditFilter{}, "seq"},
			"account": {store.AuditFilter{AccountID: "A7"}, "audit_account"},
			"target":  {store.AuditFilter{Target: "A7"}, "audit_target"},
			"actor":   {store.AuditFilter{Actor: "per_7"}, "audit_actor"},
			"request": {store.AuditFilter{RequestID: "req_50"}, "audit_request"},
			// Of a span deep down neither what is before nor what is behind it is looked at.
			"span":               {store.AuditFilter{From: moment(rows / 4), To: moment(rows/4 + 100)}, "seq"},
			"until":              {store.AuditFilter{To: moment(rows / 4)}, "seq"},
			"span of an account": {store.AuditFilter{From: moment(rows / 4), To: moment(rows / 2), AccountID: "A7"}, "audit_account"},
		} {
			query, args := newest(t, d, c.f, store.AuditPage{Before: rows / 2, Limit: 51})
			explain := map[string]string{"sqlite": "EXPLAIN QUERY PLAN ", "postgres": "EXPLAIN "}[d.Dialect()]
			plan := explained(t, d, explain+query, args...)
			if sorts := strings.Contains(plan, "Sort") || strings.Contains(plan, "TEMP B-TREE"); name == "until" && sorts {
				t.Errorf("%s sorts:\n%s", name, plan)
			}
			if !strings.Contains(plan, c.index) || strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "SCAN audit\n") {
				t.Errorf("%s is answered by\n%s", name, plan)
			}
		}
		for name, f := range map[string]store.AuditFilter{"all": {}, "operator": {OperatorID: "O1"}, "actor": {Actor: "per_7"}, "until": {To: moment(13_000)}} {
			cost := func(p store.AuditPage) time.Duration {
				best := time.Hour
				for range 15 {
					began := time.Now()
					got := get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.AuditEntry, error) { return tx.FindAudit(ctx, f, p) })
					best = min(best, time.Since(began))
					if len(got) != 11 {
						t.Fatalf("%s: %d entries", name, len(got))
					}
				}
				return best
			}
			first, deep := cost(store.AuditPage{Limit: 11}), cost(store.AuditPage{Before: 12_000, Limit: 11})
			t.Logf("%s: a deep page takes %.2f of the first one", name, float64(deep)/float64(first))
		}
	})
}

func explained(t *testing.T, d *db, query string, args ...any) string {
	t.Helper()
	rows, err := d.raw.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for rows.Next() {
		values := make([]any, len(columns))
		for n := range values {
			values[n] = new(any)
		}
		if err := rows.Scan(values...); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, *values[len(values)-1].(*any))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// BenchmarkVerifyAudit walks a chain of 100,000 entries.
func BenchmarkVerifyAudit(b *testing.B) {
	for _, dialect := range storetest.Dialects() {
		b.Run(dialect, func(b *testing.B) {
			d := &db{clock: &clock{now: epoch}, url: storetest.URL(b, dialect)}
			d.Store = open(b, d.url, d.clock)
			d.raw = storetest.OpenRaw(b, d.url)
			benchVerify(b, d)
		})
	}
}

func benchVerify(b *testing.B, d *db) {
	const rows, batch = 100_000, 500
	prev := []byte{}
	for first := 0; first < rows; first += batch {
		var values []string
		var args []any
		for n := first + 1; n <= first+batch; n++ {
			e := store.AuditEntry{
				ID: fmt.Sprint("aud_", n), Seq: int64(n), At: int64(n), Actor: "per_1", ActorKind: "person", Action: "update", TargetKind: "account", Target: "A1", Outcome: "done", RequestID: "req_1",
				Detail: `{"changes":[{"path":"/limits/conn","from":500,"to":12,"text":"Connections: from 500 to 12"}]}`,
			}
			hash, err := store.Chain(e, prev)
			if err != nil {
				b.Fatal(err)
			}
			prev = hash
			args = append(args, e.ID, e.Seq, e.At, hash)
			values = append(values, fmt.Sprintf(`($%d, $%d, $%d, $%d, 'per_1', 'person', 'update', 'account', 'A1', 'done', 'req_1', '%s')`, len(args)-3, len(args)-2, len(args)-1, len(args), e.Detail))
		}
		d.raw.Run(b, `INSERT INTO audit (id, seq, at_us, hash, actor, actor_kind, action, target_kind, target, outcome, request_id, detail) VALUES `+strings.Join(values, ", "), args...)
	}
	d.raw.Run(b, `UPDATE sequencer SET audit_seq = $1, audit_hash = $2`, rows, prev)
	b.ResetTimer()
	for b.Loop() {
		if r := d.verified(b); !r.Whole() || r.Entries != rows {
			b.Fatalf("%+v", r)
		}
	}
}
