package main

import "strconv"

// goal is what a measure of the benchmarks has to reach.
type goal struct {
	// id groups the measures: P1 is lookups, P2 starting, P3 issuing, P4 one change, P5 many, P8 revocations, P9 posts.
	id string
	// measure and against say in words what is divided by what.
	measure, against string
	// bench and unit are where the run has it; over is the benchmark whose figure it is divided by, if any.
	bench, unit, over string
	// times is what the figure is multiplied by, 0 for nothing: a ratio that was measured elsewhere.
	times float64
	// least tells that limit is the lowest that is good enough; else it is the highest.
	least bool
	limit float64
	// of is what limit is in, "×" for a ratio.
	of string
}

// Requests a second on a machine of two processors that made them as well, with 10,000 accounts in both.
const (
	bareHandlerRate   = 89_600
	accountServerRate = 17_400
)

// goals are in the order of the table.
func goals() (list []goal) {
	ratio := func(g goal, least bool, limit float64) { list = append(list, with(g, least, limit, "×")) }
	milliseconds := func(g goal, limit float64) { list = append(list, with(g, false, limit, "ms")) }
	for _, n := range []int{1, 10_000, 1_000_000} {
		bench, accounts := "Lookups/"+strconv.Itoa(n), ", "+accountsOf(n)
		ratio(goal{id: "P1", measure: "lookups a second" + accounts, against: "bare Go handler", bench: bench, unit: "x_bare"}, true, 0.95)
		ratio(goal{id: "P1", measure: "processor time a lookup" + accounts, against: "bare Go handler", bench: bench, unit: "x_bare_cpu"}, false, 1.05)
		ratio(goal{id: "P1", measure: "lookups a second of unknown ids" + accounts, against: "of known ids", bench: bench, unit: "x_unknown"}, true, 0.95)
	}
	ratio(goal{id: "P1", measure: "lookups a second, 10,000 accounts", against: "nats-account-server, by its reference", bench: "Lookups/10000", unit: "x_bare", times: float64(bareHandlerRate) / accountServerRate}, true, 5)
	ratio(goal{id: "P1", measure: "lookups a second, 1,000,000 accounts", against: "1 account", bench: "Lookups/1000000", unit: "x_one"}, true, 0.9)
	for _, n := range []int{100_000, 1_000_000} {
		bench, accounts := "Start/"+strconv.Itoa(n), ", "+accountsOf(n)
		ratio(goal{id: "P2", measure: "start to first answer from the snapshot" + accounts, against: "bare Go map", bench: bench, unit: "x_snapshot"}, false, 1.5)
		ratio(goal{id: "P2", measure: "start to first answer from PostgreSQL" + accounts, against: "bare Go map", bench: bench, unit: "x_postgres"}, false, 3)
		ratio(goal{id: "P2", measure: "memory, from the snapshot" + accounts, against: "bare Go map", bench: bench, unit: "x_memory_snapshot"}, false, 1.3)
		ratio(goal{id: "P2", measure: "memory, from PostgreSQL" + accounts, against: "bare Go map", bench: bench, unit: "x_memory_postgres"}, false, 1.3)
	}
	for _, dialect := range []string{"sqlite", "postgres"} {
		on := " on " + map[string]string{"sqlite": "SQLite", "postgres": "PostgreSQL"}[dialect]
		ratio(goal{id: "P3", measure: "credentials a second in batches" + on, against: "bare mint loop", bench: "BulkIssue/" + dialect, unit: "x_bare"}, true, 0.5)
		ratio(goal{id: "P3", measure: "credentials a second in batches" + on, against: "nsc, by its reference", bench: "BulkIssue/" + dialect, unit: "x_nsc"}, true, 20)
		ratio(goal{id: "P3", measure: "credentials a second, one request each" + on, against: "bare mint loop", bench: "Issue/" + dialect, unit: "x_bare"}, true, 0.5)
		ratio(goal{id: "P3", measure: "10,000 accounts signed anew" + on, against: "bare encode and decode", bench: "Resign/" + dialect, unit: "x_bare"}, true, 0.5)
		ratio(goal{id: "P4", measure: "edit to in effect on 3 of 3 servers, p50" + on, against: "3 bare pushes and a commit", bench: "Edit/" + dialect, unit: "x_goal"}, false, 1)
		milliseconds(goal{id: "P4", measure: "the same, p99, idle" + on, against: "–", bench: "Edit/" + dialect, unit: "p99_ms"}, 100)
		milliseconds(goal{id: "P4", measure: "the same, p99, at 50 edits a second" + on, against: "–", bench: "Edit/" + dialect, unit: "steady_p99_ms"}, 1000)
		milliseconds(goal{id: "P4", measure: "revocation to connections closed, p99, idle" + on, against: "–", bench: "Edit/" + dialect, unit: "revoke_p99_ms"}, 100)
		milliseconds(goal{id: "P4", measure: "revocation to connections closed, p99, at 50 edits a second" + on, against: "–", bench: "Edit/" + dialect, unit: "steady_revoke_p99_ms"}, 1000)
		ratio(goal{id: "P5", measure: "10,000 changed accounts proven on 3 servers" + on, against: "`nsc push -A`, by its reference", bench: "PushAll/" + dialect, unit: "x_nsc"}, true, 300)
		for _, clients := range []string{"1", "16"} {
			ratio(goal{id: "P9", measure: "posts a second, durable, " + clients + " at a time" + on, against: "verify and one commit", bench: "Post/" + dialect + "/clients=" + clients, unit: "x_bare"}, true, 0.7)
		}
	}
	for _, n := range []int{10, 1_000, 10_000} {
		ratio(goal{id: "P8", measure: "edit and encode, " + count(n) + " revocations", against: "nats-io/jwt", bench: "Account/revocations=" + strconv.Itoa(n), unit: "edit_x_bare"}, false, 1.3)
	}
	ratio(goal{id: "P8", measure: "time a revocation, 10,000 of them", against: "1,000 of them", bench: "Account/revocations=10000", unit: "ns/entry", over: "Account/revocations=1000"}, false, 1.3)
	return list
}

func with(g goal, least bool, limit float64, of string) goal {
	g.least, g.limit, g.of = least, limit, of
	return g
}

func accountsOf(n int) string {
	if n == 1 {
		return "1 account"
	}
	return count(n) + " accounts"
}

// count writes a number with commas.
func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// references are measures of programs that no package registry has, made on one machine of two processors.
func references() []reference {
	return []reference{
		{"nats-account-server", "with 10,000 accounts it answered 17,400 lookups a second at 90 µs of processor time each, where a bare Go handler answered 89,600 at 11 µs and nginx, with the same files, 76,200 at 14 µs. " +
			"It started with 100,000 accounts in 6.0 s and 77 MiB, reading them when they are asked for, where a bare Go map took 1.0 s and 193 MiB. It took 3,555 posts a second from 1 client and 7,110 from 16, none of them flushed to the disk."},
		{"nsc", "it took 8 ms to make a user, about 1 s to push an account, and 12.0 s for `nsc push -A` of 12 accounts, which proves nothing."},
	}
}

// reference is what is quoted of a program.
type reference struct{ program, figures string }
