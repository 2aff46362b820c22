package claims_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"chancery/claims"
)

// agrees fails the test unless Explain says what the client experiences, for the reason that the server logs.
func (s *stage) agrees(t *testing.T, c *trial) {
	t.Helper()
	e, o := s.play(t, c)
	if (o.err == nil) != (e.Verdict == claims.VerdictAdmitted) || (o.err != nil) != (e.Verdict == claims.VerdictRefused) {
		t.Errorf("%v and %s: %s", o.err, e.Verdict, e.Summary)
	}
	if e.Failed != nil {
		pattern := e.Failed.ServerLog
		for _, x := range e.Checks[:slices.IndexFunc(e.Checks, func(x claims.Check) bool { return x.ID == e.Failed.ID })] {
			if x.Result == claims.ResultUnknown {
				pattern += "|" + x.ServerLog
			}
		}
		if s.log.wait(o.from, pattern) == "" {
			t.Errorf("no line %q of %s in\n%s", pattern, e.Failed.ID, strings.Join(s.log.lines[o.from:], "\n"))
		}
	}
	wellFormed(t, e, c)
}

// Of two things that are wrong, the one that the server finds first is the reason.
func TestExplainOrder(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	all := map[string][]provocation{} // by check
	everything := provocations()
	for _, name := range slices.Sorted(maps.Keys(everything)) {
		all[everything[name].check] = append(all[everything[name].check], everything[name])
	}
	pairs, both := 0, 0
	for a, p := range all {
		for b, q := range all {
			if a >= b {
				continue
			}
			pairs++
			t.Run(a+" and "+b, func(t *testing.T) {
				c, fail := s.spoiltTwice(t, p, q)
				if fail {
					both++
				}
				s.agrees(t, c)
			})
		}
	}
	t.Logf("order: %d pairs, %d of them with both failing", pairs, both)
}

// spoiltTwice is a connection of which both checks fail, if provocations of the two go together.
func (s *stage) spoiltTwice(t *testing.T, first, second []provocation) (c *trial, both bool) {
	t.Helper()
	for _, p := range first {
		for _, q := range second {
			c = s.newTrial(t)
			p.prepare(t, c)
			q.prepare(t, c)
			p.spoil(t, c)
			q.spoil(t, c)
			token, account := c.encode(t)
			s.store(t, c.account.Subject, account)
			e := claims.Explain(s.seen(t, c, token))
			if resultOf(e, p.check) == claims.ResultFail && resultOf(e, q.check) == claims.ResultFail {
				return c, true
			}
		}
	}
	return c, false
}

func resultOf(e claims.Explanation, check string) claims.Result {
	return e.Checks[slices.IndexFunc(e.Checks, func(x claims.Check) bool { return x.ID == check })].Result
}
