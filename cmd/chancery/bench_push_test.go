package main

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"chancery/api"
	"chancery/store/storetest"
)

const (
	// editRounds is how often Chancery and the bare program take turns.
	editRounds = 5
	// editsPerRound and editsSteady are how many edits are timed one after the other in a round, and at editRate a second.
	editsPerRound, editsSteady, editRate = 40, 500, 50
	// editAccounts share the edits: an account's JWTs have a second of their own each.
	editAccounts = 100
	// leaverAccounts of leaversEach are revoked, half of them one after the other and half while edits go on.
	leaverAccounts, leaversEach = 10, 10
)

// BenchmarkEdit edits accounts that three servers have loaded, through the REST API, and waits for the answer that the edit
// is in effect on all of them: request, transaction with audit entry, signature and commit, push, reading back. ms and
// p99_ms are one edit after the other, steady_ms and steady_p99_ms 50 a second whoever waits, counted from when each was
// due. revoke_ms is from the request to the end of the last of a user's three connections, one on each server. bare_ms is a
// publish of a JWT, signed beforehand, on the system account of a cluster of the same make with a subscriber waiting for the
// three answers, commit_ms one row changed durably in the same database. x_goal is ms divided by 3 x bare_ms + commit_ms: the
// goal is 1 or less. Servers, clients and Chancery share the processors.
func BenchmarkEdit(b *testing.B) {
	for _, dialect := range storetest.Dialects() {
		b.Run(dialect, func(b *testing.B) {
			m, f := newMill(b, dialect), newBareFleet(b)
			var ids []string
			for n := range editAccounts {
				ids = append(ids, m.account(fmt.Sprintf("E%03d", n)).ID)
			}
			leavers := m.leavers()
			bare := f.account(editRounds*editsPerRound, true)
			edits := 0
			edit := func(int) error {
				edits++
				return m.edit(ids[edits%len(ids)], edits)
			}
			var all []time.Duration
			var ms, bareMS, commitMS, goals benchFigures
			for range editRounds {
				ours := m.times(editsPerRound, edit)
				all = append(all, ours...)
				theirs := m.times(editsPerRound, func(int) error { return f.push(&bare) })
				commits := m.times(editsPerRound, func(int) error { return m.commit() })
				o, t, c := percentile(ours, 50), percentile(theirs, 50), percentile(commits, 50)
				ms, bareMS, commitMS, goals = append(ms, o), append(bareMS, t), append(commitMS, c), append(goals, o/(3*t+c))
			}
			ms.report(b, "ms")
			bareMS.report(b, "bare_ms")
			commitMS.report(b, "commit_ms")
			goals.report(b, "x_goal")
			b.ReportMetric(percentile(all, 99), "p99_ms")

			half := len(leavers) / 2
			gone := m.times(half, func(n int) error { return leavers[n].leave(m) })
			b.ReportMetric(percentile(gone, 50), "revoke_ms")
			b.ReportMetric(percentile(gone, 99), "revoke_p99_ms")

			steady := make(chan []time.Duration)
			go func() {
				steady <- m.steadily(editsSteady, editRate, func(n int) error { return m.edit(ids[n%len(ids)], editRounds*editsPerRound+n+1) })
			}()
			gone = m.steadily(half, half*editRate/editsSteady, func(n int) error { return leavers[half+n].leave(m) })
			all = <-steady
			b.ReportMetric(percentile(all, 50), "steady_ms")
			b.ReportMetric(percentile(all, 99), "steady_p99_ms")
			b.ReportMetric(percentile(gone, 50), "steady_revoke_ms")
			b.ReportMetric(percentile(gone, 99), "steady_revoke_p99_ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// edit sets a limit and returns when every server has it in effect.
func (m *mill) edit(account string, n int) error {
	var a api.Account
	err := callAPI(m.b.Context(), m.app.cfg.publicURL, m.token, request{"PATCH", "/accounts/" + account, fmt.Sprintf(`{"limits":{"subscriptions":%d}}`, 1000+n), "wait=20"}, &a)
	if err == nil && (a.Sync == nil || a.Sync.State != "in_effect" || a.Sync.InEffect != len(m.servers)) {
		err = fmt.Errorf("the edit is not in effect: %+v", a.Sync)
	}
	return err
}

// benchLeaver is a user with a connection on each server.
type benchLeaver struct {
	path  string
	conns []*session
}

func (m *mill) leavers() (out []benchLeaver) {
	m.b.Helper()
	for n := range leaverAccounts {
		name := fmt.Sprintf("L%02d", n)
		m.account(name)
		for u := range leaversEach {
			user := fmt.Sprintf("u%d", u)
			m.call("POST", "/accounts/"+name+"/users", `{"name":"`+user+`","permissions":{}}`, "", nil)
			creds, x := m.credential(name, user), benchLeaver{path: "/accounts/" + name + "/revocations/" + user}
			for _, s := range m.servers {
				c, err := connect(s, creds)
				benchMust(m.b, err)
				m.b.Cleanup(c.Close)
				x.conns = append(x.conns, c)
			}
			out = append(out, x)
		}
	}
	// One account's revocations do not follow each other.
	slices.SortStableFunc(out, func(a, b benchLeaver) int { return int(a.path[len(a.path)-1]) - int(b.path[len(b.path)-1]) })
	return out
}

// leave revokes the user and returns when the last connection is closed.
func (x benchLeaver) leave(m *mill) error {
	if err := callAPI(m.b.Context(), m.app.cfg.publicURL, m.token, request{"PUT", x.path, `{"reason":"left"}`, ""}, nil); err != nil {
		return err
	}
	for _, c := range x.conns {
		select {
		case <-c.closed:
		case <-time.After(20 * time.Second):
			return errors.New("a connection is still open")
		}
	}
	return nil
}

const (
	// pushed is how many accounts change at once; loaded of them are held by every server, the others by none.
	pushed, loaded = 10_000, 1_000
	// serial is how many of them the bare loop pushes, a tenth of them loaded.
	serial = 1_000
	// nscPushRate is how many accounts a second `nsc push -A` takes: 12 accounts in 12.0 s, unproven.
	nscPushRate = 1.0
)

// BenchmarkPushAll signs 10,000 accounts anew, of which three servers hold 1,000 each, lets Chancery reach the servers, and
// times until every account is proven on every server: each was published, announced and read back from all three. per_s is
// accounts a second, x_nsc that divided by what nsc takes, x_serial by a loop on a cluster of the same make that publishes one
// account after the other, signed beforehand, and believes three answers. settled_s is until the second reading is over
// too, which begins 3.5 s after a push. sign_s is the signing before. cpu_s is what Chancery and the three servers, which share
// the processors, compute until the proof: on a machine that does other things too it says more than per_s.
func BenchmarkPushAll(b *testing.B) {
	for _, dialect := range storetest.Dialects() {
		b.Run(dialect, func(b *testing.B) {
			m, f := newMill(b, dialect), newBareFleet(b)
			m.disconnect()
			ids := m.crowd(pushed)
			m.await("every account served", func() bool { return m.metric("chancery_resolver_accounts", "") > pushed })
			for _, id := range ids[:loaded] {
				m.load(id)
			}
			begun := time.Now()
			m.resign()
			b.ReportMetric(time.Since(begun).Seconds(), "sign_s")

			var accounts []barePushes
			for n := range serial {
				accounts = append(accounts, f.account(1, n%(pushed/loaded) == 0))
			}
			bare := m.times(1, func(int) error {
				for n := range accounts {
					if err := f.push(&accounts[n]); err != nil {
						return err
					}
				}
				return nil
			})

			before := m.metric("chancery_pushes_total", "proven")
			begun, computed := time.Now(), m.processorTime()
			m.connect()
			m.await("every account proven", func() bool { return m.metric("chancery_pushes_total", "proven") >= before+pushed })
			took := time.Since(begun).Seconds()
			b.ReportMetric((m.processorTime() - computed).Seconds(), "cpu_s")
			m.await("every account settled", func() bool { return m.owed() == 0 })
			fleet, err := m.app.resolver.Fleet(b.Context(), m.operator.ID, nil)
			if benchMust(b, err); len(fleet.Servers) != len(m.servers) || fleet.Confirmed != fleet.Accounts || fleet.Accounts != pushed+1 {
				b.Fatalf("%d of %d accounts are in effect on %d servers", fleet.Confirmed, fleet.Accounts, len(fleet.Servers))
			}
			b.ReportMetric(time.Since(begun).Seconds(), "settled_s")
			b.ReportMetric(took, "proven_s")
			b.ReportMetric(pushed/took, "per_s")
			b.ReportMetric(pushed/took/nscPushRate, "x_nsc")
			b.ReportMetric(pushed/took/(serial/bare[0].Seconds()), "x_serial")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// resign makes every account a new JWT.
func (m *mill) resign() {
	m.b.Helper()
	m.raw.Run(m.b, `UPDATE accounts SET resign_us = 1 WHERE NOT is_system`)
	benchMust(m.b, m.app.issuer.Upkeep(m.b.Context()))
	m.await("every account signed anew", func() bool {
		var n int
		benchMust(m.b, m.raw.QueryRowContext(m.b.Context(), `SELECT count(*) FROM accounts WHERE resign_us > 0`).Scan(&n))
		return n == 0
	})
}
