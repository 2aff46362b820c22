package store_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"chancery/store"
)

// verified is what a verification without checkpoints finds.
func (d *db) verified(t testing.TB, checkpoints ...store.Checkpoint) store.ChainReport {
	t.Helper()
	r, err := d.VerifyAudit(t.Context(), checkpoints)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// places are the faults in short: their kinds and numbers.
func places(r store.ChainReport) string {
	var out []string
	for _, f := range r.Faults {
		out = append(out, fmt.Sprintf("%s %d", f.Kind, f.Seq))
	}
	return strings.Join(out, ", ")
}

// chainedLog writes n entries, has them numbered and keeps a copy in the table kept.
func (d *db) chainedLog(t *testing.T, n int) {
	t.Helper()
	for n := range n {
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			return tx.AppendAudit(ctx, store.AuditEntry{
				Actor: "per_1", ActorKind: "person", Action: "create", TargetKind: "account", Target: fmt.Sprint("A", n), Outcome: "done", RequestID: "req", Reason: "r", Detail: "{}",
				OperatorID: "O1", AccountID: fmt.Sprint("A", n),
			})
		})
		d.advance(time.Millisecond)
	}
	d.sequence(t)
	d.raw.Run(t, `CREATE TABLE kept AS SELECT * FROM audit`)
	d.raw.Run(t, `CREATE TABLE kept_sequencer AS SELECT * FROM sequencer`)
}

// restore undoes what was done to the log since chainedLog.
func (d *db) restore(t *testing.T) {
	t.Helper()
	d.raw.Run(t, `DELETE FROM audit`)
	d.raw.Run(t, `INSERT INTO audit SELECT * FROM kept`)
	d.raw.Run(t, `DELETE FROM sequencer`)
	d.raw.Run(t, `INSERT INTO sequencer SELECT * FROM kept_sequencer`)
}

// entries are the numbered ones.
func (d *db) entries(t testing.TB) []store.AuditEntry {
	t.Helper()
	return get(t, d, func(ctx context.Context, tx *store.Tx) ([]store.AuditEntry, error) { return tx.ListAudit(ctx, 0, 1000) })
}

// checkpoints are those of the entries with these numbers.
func (d *db) checkpoints(t *testing.T, numbers ...int64) []store.Checkpoint {
	t.Helper()
	var out []store.Checkpoint
	for _, e := range d.entries(t) {
		if slices.Contains(numbers, e.Seq) {
			out = append(out, store.Checkpoint{Seq: e.Seq, Hash: e.Hash, At: e.Time()})
		}
	}
	return out
}

// rechain makes the hashes anew from a number on, as who can write to the table could; with all, also what the
// sequencer remembers.
func rechain(from int64, all bool) func(t *testing.T, d *db) {
	return func(t *testing.T, d *db) {
		t.Helper()
		prev, last := []byte{}, int64(0)
		for _, e := range d.entries(t) {
			if e.Seq >= from {
				var err error
				if e.Hash, err = store.Chain(e, prev); err != nil {
					t.Fatal(err)
				}
				d.raw.Run(t, `UPDATE audit SET hash = $1 WHERE seq = $2`, e.Hash, e.Seq)
			}
			prev, last = e.Hash, e.Seq
		}
		if all {
			d.raw.Run(t, `UPDATE sequencer SET audit_seq = $1, audit_hash = $2`, last, prev)
		}
	}
}

func statement(queries ...string) func(t *testing.T, d *db) {
	return func(t *testing.T, d *db) {
		t.Helper()
		for _, q := range queries {
			if d.raw.Run(t, q) == 0 {
				t.Fatalf("%s changed nothing", q)
			}
		}
	}
}

// insert forges an entry with the hash of another one.
func insert(seq int) func(t *testing.T, d *db) {
	return func(t *testing.T, d *db) {
		t.Helper()
		d.raw.Run(t, `INSERT INTO audit (id, seq, hash, at_us, actor, actor_kind, action, target_kind, target, outcome, request_id)
			SELECT 'aud_forged', $1, hash, at_us, actor, actor_kind, action, target_kind, target, outcome, request_id FROM audit WHERE seq = 2`, seq)
	}
}

// both does one after the other.
func both(steps ...func(t *testing.T, d *db)) func(t *testing.T, d *db) {
	return func(t *testing.T, d *db) {
		t.Helper()
		for _, f := range steps {
			f(t, d)
		}
	}
}

// up moves the numbers from one on, by n, past all others.
func up(from, n int) func(t *testing.T, d *db) {
	return statement(fmt.Sprint(`UPDATE audit SET seq = seq + 1000 WHERE seq >= `, from), fmt.Sprint(`UPDATE audit SET seq = seq - 1000 + `, n, ` WHERE seq >= `, 1000))
}

// tampering is what somebody does to the log of twelve entries who can write to the database.
type tampering struct {
	name   string
	tamper func(t *testing.T, d *db)
	// alone is what is found by the database itself, held what with checkpoints of the entries 4, 8 and 12.
	alone, held string
}

// twelve are the kinds of tampering that are told apart by name in what the project promises.
var twelve = []tampering{
	{"edit a field", statement(`UPDATE audit SET reason = 'x' WHERE seq = 7`), "altered 7", "altered 7"},
	{"edit a field and its hash", both(statement(`UPDATE audit SET actor = 'x' WHERE seq = 8`), func(t *testing.T, d *db) {
		list := d.entries(t)
		hash, err := store.Chain(list[7], list[6].Hash)
		if err != nil {
			t.Fatal(err)
		}
		d.raw.Run(t, `UPDATE audit SET hash = $1 WHERE seq = 8`, hash)
	}), "altered 9", "rewritten 8, altered 9"},
	{"edit a hash", statement(`UPDATE audit SET hash = (SELECT hash FROM audit WHERE seq = 1) WHERE seq = 7`), "altered 7", "altered 7"},
	{"delete one", statement(`DELETE FROM audit WHERE seq = 5`), "missing 5", "missing 5"},
	{"delete the first", statement(`DELETE FROM audit WHERE seq = 1`), "missing 1", "missing 1"},
	{"delete and renumber", both(statement(`DELETE FROM audit WHERE seq IN (5, 6)`), up(7, -2)), "missing 5", "missing 5"},
	{"insert and renumber", both(up(5, 1), insert(5)), "inserted 5", "inserted 5"},
	{"append", insert(13), "inserted 13", "inserted 13"},
	{"swap two", statement(`UPDATE audit SET seq = -3 WHERE seq = 3`, `UPDATE audit SET seq = 3 WHERE seq = 4`, `UPDATE audit SET seq = 4 WHERE seq = -3`), "swapped 3", "swapped 3"},
	{"truncate the tail", statement(`DELETE FROM audit WHERE seq > 10`), "truncated 11", "truncated 11"},
	{"truncate the tail and the sequencer", both(statement(`DELETE FROM audit WHERE seq > 10`), rechain(11, true)), "", "truncated 11"},
	{"rewrite the chain", both(statement(`UPDATE audit SET actor = 'x' WHERE seq = 6`), rechain(6, true)), "", "rewritten 8"},
}

// Each of the twelve kinds is located by its number: by the log itself, or where nothing in the database can tell, by a
// checkpoint outside of it.
func TestTwelveTamperings(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		d.chainedLog(t, 12)
		checkpoints := d.checkpoints(t, 4, 8, 12)
		if r := d.verified(t, checkpoints...); !r.Whole() || r.Entries != 12 || r.Checkpoints != 3 || r.Head.Seq != 12 {
			t.Fatalf("untouched: %+v", r)
		}
		located := 0
		for _, x := range twelve {
			x.tamper(t, d)
			alone, held := d.verified(t), d.verified(t, checkpoints...)
			if places(alone) != x.alone || places(held) != x.held {
				t.Errorf("%s: found %q, with checkpoints %q; want %q and %q", x.name, places(alone), places(held), x.alone, x.held)
			} else {
				located++
			}
			for _, f := range held.Faults {
				t.Logf("%s: %s", x.name, f.Detail)
			}
			d.restore(t)
		}
		t.Logf("%d of %d located", located, len(twelve))
	})
}

// Beyond the twelve: what the walk does after a fault, and at both ends.
func TestTampering(t *testing.T) {
	kinds := []tampering{
		{"nothing", func(*testing.T, *db) {}, "", ""},
		{"delete all", statement(`DELETE FROM audit`), "truncated 1", "truncated 1"},
		{"delete all, and the sequencer's memory", both(statement(`DELETE FROM audit`), rechain(1, true)), "", "truncated 1"},
		{"delete the last", statement(`DELETE FROM audit WHERE seq = 12`), "truncated 12", "truncated 12"},
		{"delete the last but one and renumber", both(statement(`DELETE FROM audit WHERE seq = 11`), up(12, -1)), "missing 11", "missing 11"},
		{"number one again", statement(`UPDATE audit SET seq = NULL WHERE seq = 12`), "truncated 12", "truncated 12"},
		{"number one in between again", both(statement(`UPDATE audit SET seq = NULL WHERE seq = 6`), func(t *testing.T, d *db) { d.sequence(t) }), "missing 6", "missing 6"},
		{"forget a hash", statement(`UPDATE audit SET hash = NULL WHERE seq = 6`), "altered 6", "altered 6"},
		{"insert before the first", insert(0), "inserted 0", "inserted 0"},
		{"insert three and renumber", both(up(5, 3), insert(5), statement(`UPDATE audit SET id = 'aud_f5' WHERE seq = 5`), insert(6), statement(`UPDATE audit SET id = 'aud_f6' WHERE seq = 6`), insert(7)), "inserted 5", "inserted 5"},
		{"renumber", up(5, 100), "renumbered 105", "renumbered 105"},
		{"swap two far apart", statement(`UPDATE audit SET seq = -3 WHERE seq = 3`, `UPDATE audit SET seq = 3 WHERE seq = 9`, `UPDATE audit SET seq = 9 WHERE seq = -3`), "swapped 3", "swapped 3"},
		{"move one", both(statement(`UPDATE audit SET seq = -3 WHERE seq = 3`), statement(`UPDATE audit SET seq = seq + 1000 WHERE seq BETWEEN 4 AND 9`, `UPDATE audit SET seq = seq - 1001 WHERE seq > 1000`, `UPDATE audit SET seq = 9 WHERE seq = -3`)), "swapped 3", "swapped 3"},
		{"forge the last and its hash", statement(`UPDATE audit SET hash = (SELECT hash FROM audit WHERE seq = 1), actor = 'x' WHERE seq = 12`), "altered 12", "altered 12"},
		{"forge one and its hash badly", statement(`UPDATE audit SET hash = (SELECT hash FROM audit WHERE seq = 1), actor = 'x' WHERE seq = 6`), "altered 6", "altered 6"},
		{"append one that is well chained", both(insert(13), rechain(13, false)), "inserted 13", "inserted 13"},
		{"rewrite the chain and forget the sequencer", both(statement(`UPDATE audit SET actor = 'x' WHERE seq = 6`), rechain(6, false)), "rewritten 12", "rewritten 8"},
		{"rewrite all", both(statement(`UPDATE audit SET actor = 'x'`), rechain(1, true)), "", "rewritten 4"},
		{"truncate, then go on", both(statement(`DELETE FROM audit WHERE seq > 6`), rechain(7, true), statement(`INSERT INTO audit (id, at_us, actor, actor_kind, action, target_kind, target, outcome, request_id)
			SELECT 'aud_z' || id, at_us, actor, actor_kind, action, target_kind, target, outcome, request_id FROM kept`), func(t *testing.T, d *db) { d.sequence(t) }), "", "rewritten 8"},
		{"several", both(statement(`UPDATE audit SET actor = 'x' WHERE seq = 2`, `DELETE FROM audit WHERE seq = 5`, `UPDATE audit SET target = 'x' WHERE seq = 8`)), "altered 2, missing 5, altered 8", "altered 2, missing 5, altered 8"},
	}
	for column, value := range map[string]string{
		"id": "'aud_x'", "at_us": "at_us + 1", "actor": "'mallory'", "actor_kind": "'token'", "action": "'read'", "target_kind": "'x'", "target": "'x'", "outcome": "'denied'",
		"request_id": "'x'", "reason": "'x'", "detail": "'{ }'", "operator_id": "''", "account_id": "'A0'",
	} {
		kinds = append(kinds, tampering{"edit " + column, statement(`UPDATE audit SET ` + column + ` = ` + value + ` WHERE seq = 7`), "altered 7", "altered 7"})
	}
	each(t, func(t *testing.T, d *db) {
		d.chainedLog(t, 12)
		checkpoints := d.checkpoints(t, 4, 8, 12)
		for _, x := range kinds {
			x.tamper(t, d)
			if alone, held := places(d.verified(t)), places(d.verified(t, checkpoints...)); alone != x.alone || held != x.held {
				t.Errorf("%s: found %q, with checkpoints %q; want %q and %q", x.name, alone, held, x.alone, x.held)
			}
			d.restore(t)
		}
	})
}

// More faults than are told are counted; more entries than are read at once are verified.
func TestManyFaults(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			return tx.AppendAudits(ctx, store.AuditEntry{Action: "a", TargetKind: "account", Detail: "{}"}, slices.Repeat([]string{"A1"}, 2500))
		})
		d.sequence(t)
		if r := d.verified(t); !r.Whole() || r.Entries != 2500 {
			t.Errorf("%+v", r)
		}
		d.raw.Run(t, `UPDATE audit SET actor = 'x' WHERE seq % 10 = 0`)
		if r := d.verified(t); len(r.Faults) != 100 || r.More != 150 || r.Entries != 2500 || r.Faults[99].Seq != 1000 {
			t.Errorf("%d faults and %d more", len(r.Faults), r.More)
		}
	})
}

// Two entries that changed places further apart than the walk looks ahead are found as a pair all the same.
func TestSwapFarApart(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		d.chainedLog(t, 60)
		statement(`UPDATE audit SET seq = -3 WHERE seq = 3`, `UPDATE audit SET seq = 3 WHERE seq = 50`, `UPDATE audit SET seq = 50 WHERE seq = -3`)(t, d)
		if got := places(d.verified(t)); got != "swapped 3" {
			t.Errorf("found %q", got)
		}
	})
}

// What was chained before an entry said where it belongs keeps its hash, and is followed by what does.
func TestChainOfTheOldForm(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		// The hash of this line after nothing, made with sha256sum.
		const line = `{"id":"aud_old","seq":1,"at_us":5,"actor":"per_1","actor_kind":"person","action":"create","target_kind":"account","target":"A1","outcome":"done","request_id":"req","reason":"because \u003c\u0026\u003e","detail":"{}"}`
		e := store.AuditEntry{ID: "aud_old", Seq: 1, At: 5, Actor: "per_1", ActorKind: "person", Action: "create", TargetKind: "account", Target: "A1", Outcome: "done", RequestID: "req", Reason: "because <&>", Detail: "{}"}
		got, err := store.Line(e)
		if err != nil || string(got) != line {
			t.Fatalf("%s, %v", got, err)
		}
		hash, err := hex.DecodeString("adf730b46ff72d7ff11804da5f1b3b55501426af44be79b84968e02f5c7c3d33")
		if err != nil {
			t.Fatal(err)
		}
		d.raw.Run(t, `INSERT INTO audit (id, seq, hash, at_us, actor, actor_kind, action, target_kind, target, outcome, request_id, reason)
			VALUES ('aud_old', 1, $1, 5, 'per_1', 'person', 'create', 'account', 'A1', 'done', 'req', 'because <&>')`, hash)
		d.raw.Run(t, `UPDATE sequencer SET audit_seq = 1, audit_hash = $1`, hash)
		d.write(t, func(ctx context.Context, tx *store.Tx) error {
			return tx.AppendAudit(ctx, store.AuditEntry{Action: "new", OperatorID: "O1", AccountID: "A1", Detail: "{}"})
		})
		d.sequence(t)
		if r := d.verified(t); !r.Whole() || r.Entries != 2 {
			t.Errorf("%+v", r)
		}
		d.raw.Run(t, `UPDATE audit SET account_id = 'A2' WHERE seq = 1`)
		if got := places(d.verified(t)); got != "altered 1" {
			t.Errorf("an old entry that was given a place: %q", got)
		}
	})
}

// chainedColumns are those that a hash covers, and the hash.
var chainedColumns = []string{"id", "seq", "hash", "at_us", "actor", "actor_kind", "action", "target_kind", "target", "outcome", "request_id", "reason", "detail", "operator_id", "account_id"}

// Any bit of any chained field of any entry that is not what it was is found.
func TestAnyBitIsFound(t *testing.T) {
	each(t, func(t *testing.T, d *db) {
		d.chainedLog(t, 9)
		entries := d.entries(t)
		tried := 0
		rapid.Check(t, func(r *rapid.T) {
			e := rapid.SampledFrom(entries).Draw(r, "entry")
			column := rapid.SampledFrom(chainedColumns).Draw(r, "column")
			if !d.flip(t, r, e, column) {
				return
			}
			tried++
			if d.verified(t).Whole() {
				r.Errorf("a bit of %s of entry %d was flipped, and nothing found", column, e.Seq)
			}
			d.restore(t)
		})
		t.Logf("%d of %d bits found", tried, tried)
	})
}

// flip flips a bit that is drawn, unless the database would not take it.
func (d *db) flip(t *testing.T, r *rapid.T, e store.AuditEntry, column string) bool {
	t.Helper()
	switch column {
	case "seq", "at_us":
		bit := int64(1) << rapid.IntRange(0, 62).Draw(r, "bit")
		if column == "seq" && e.Seq^bit <= 9 {
			return false // another entry has that number, or it is none
		}
		value := map[string]int64{"seq": e.Seq ^ bit, "at_us": e.At ^ bit}[column]
		d.raw.Run(t, `UPDATE audit SET `+column+` = $1 WHERE id = $2`, value, e.ID)
		return true
	}
	value := map[string][]byte{
		"id": []byte(e.ID), "hash": bytes.Clone(e.Hash), "actor": []byte(e.Actor), "actor_kind": []byte(e.ActorKind), "action": []byte(e.Action), "target_kind": []byte(e.TargetKind),
		"target": []byte(e.Target), "outcome": []byte(e.Outcome), "request_id": []byte(e.RequestID), "reason": []byte(e.Reason), "detail": []byte(e.Detail),
		"operator_id": []byte(e.OperatorID), "account_id": []byte(e.AccountID),
	}[column]
	bit := rapid.IntRange(0, len(value)*8-1).Draw(r, "bit")
	value[bit/8] ^= 1 << (bit % 8)
	if column == "hash" {
		d.raw.Run(t, `UPDATE audit SET hash = $1 WHERE id = $2`, value, e.ID)
		return true
	}
	if d.Dialect() == "sqlite" { // it takes any bytes for a text
		d.raw.Run(t, `UPDATE audit SET `+column+` = CAST($1 AS TEXT) WHERE id = $2`, value, e.ID)
		return true
	}
	if !utf8.Valid(value) || bytes.ContainsRune(value, 0) {
		return false
	}
	d.raw.Run(t, `UPDATE audit SET `+column+` = $1 WHERE id = $2`, string(value), e.ID)
	return true
}

// FuzzAuditLine: the line that is hashed says all of an entry and nothing else, so no two entries that can be stored
// have the same.
func FuzzAuditLine(f *testing.F) {
	f.Add("aud_1", int64(1), int64(2), "per_1", `because "x" <&>`, `{"changes":[]}`, "O1", "A1", []byte{1})
	f.Add("", int64(0), int64(-1), "\ufffd", "\u2028", "", "", "", []byte{})
	f.Fuzz(func(t *testing.T, id string, seq, at int64, actor, reason, detail, operator, account string, prev []byte) {
		e := store.AuditEntry{ID: id, Seq: seq, At: at, Actor: actor, ActorKind: actor, Action: reason, TargetKind: detail, Target: operator, Outcome: account, RequestID: id, Reason: reason, Detail: detail, OperatorID: operator, AccountID: account}
		line, err := store.Line(e)
		if err != nil {
			t.Fatal(err)
		}
		var back store.AuditEntry
		if err := json.Unmarshal(line, &back); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if utf8.ValidString(id + actor + reason + detail + operator + account) {
			if diff := cmp.Diff(e, back); diff != "" {
				t.Errorf("the line says something else (-entry +line):\n%s", diff)
			}
		}
		hash, err := store.Chain(e, prev)
		if err != nil || len(hash) != 32 {
			t.Fatalf("%x, %v", hash, err)
		}
		e.Seq++
		if other, err := store.Chain(e, prev); err != nil || bytes.Equal(other, hash) {
			t.Errorf("another number has the same hash, %v", err)
		}
	})
}
