package resolver

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/prometheus/client_golang/prometheus"

	"chancery/claims"
	"chancery/store"
)

// How often the servers of all operators are surveyed for the metrics, and how often
// what changes slowly.
const (
	surveyEvery = 2 * time.Second
	slowEvery   = time.Minute
)

// mostNamed is how many accounts the metrics name, of all operators together. Each has
// up to nine series.
const mostNamed = 1000

// survey is what the metrics tell of the operators. The names, each with the label
// operator:
//
//	chancery_servers_expected                          how many servers there are to be; absent where no number is set
//	chancery_servers_reachable                         how many answer
//	chancery_servers_confirmed                         how many of those have the newest JWT of every account, read back
//	chancery_oldest_unconfirmed_change_seconds         age of the oldest change not proven on every server, 0 for none
//	chancery_oldest_unconfirmed_revocation_seconds     likewise of revocations
//	chancery_next_expiry_timestamp_seconds{kind}       the next end of an operator's JWT, an account's, a credential
//	chancery_account_info{account,name,state}          1 for each of the first 1,000 accounts
//	chancery_account_users{account}                    how many users it has
//	chancery_account_limit{account,limit}              limits that are set, in connections, subscriptions or bytes
//	chancery_accounts_unnamed                          how many accounts the three above leave out, of all operators
//
// One process tells what it sees: a change is confirmed for it when it has read it back,
// or another replica has.
type survey struct {
	now    func() time.Time
	latest atomic.Pointer[surveyed]

	expected, reachable, confirmed, change, revocation, expiry, info, users, limit, unnamed *prometheus.Desc
}

// surveyed is one survey.
type surveyed struct {
	operators []surveyedOperator
	slow      surveyedSlowly
}

type surveyedOperator struct {
	name      string
	fleet     claims.Fleet
	confirmed int
}

// surveyedSlowly is what is read once a minute.
type surveyedSlowly struct {
	at       time.Time
	expiries []nearestExpiry
	accounts []accountOf
	unnamed  int
}

type nearestExpiry struct {
	operator, kind string
	at             time.Time
}

type accountOf struct {
	operator string
	store.ListedAccount
}

func newSurvey(now func() time.Time) *survey {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"operator"}, labels...), nil)
	}
	s := &survey{
		now:        now,
		expected:   desc("chancery_servers_expected", "How many nats-servers there are to be."),
		reachable:  desc("chancery_servers_reachable", "How many nats-servers answer."),
		confirmed:  desc("chancery_servers_confirmed", "How many nats-servers have the newest JWT of every account, read back."),
		change:     desc("chancery_oldest_unconfirmed_change_seconds", "Age of the oldest change that is not proven on every server, 0 for none."),
		revocation: desc("chancery_oldest_unconfirmed_revocation_seconds", "Age of the oldest revocation that is not proven on every server, 0 for none."),
		expiry:     desc("chancery_next_expiry_timestamp_seconds", "When the next JWT of a kind ends, in Unix seconds.", "kind"),
		info:       desc("chancery_account_info", "Names and states of accounts.", "account", "name", "state"),
		users:      desc("chancery_account_users", "How many users an account has.", "account"),
		limit:      desc("chancery_account_limit", "Limits of accounts that are set.", "account", "limit"),
		unnamed:    prometheus.NewDesc("chancery_accounts_unnamed", "How many accounts are left out of chancery_account_info.", nil, nil),
	}
	s.latest.Store(&surveyed{})
	return s
}

// survey keeps the survey up to date until ctx ends. What cannot be read stays as it was
// and goes on ageing.
func (r *Resolver) survey(ctx context.Context) {
	log := trouble{log: r.log, task: "surveying the servers"}
	tick := time.NewTicker(surveyEvery)
	defer tick.Stop()
	for {
		log.note(ctx, r.surveyOnce(ctx))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (r *Resolver) surveyOnce(ctx context.Context) error {
	r.mu.RLock()
	operators := make([]*operator, 0, len(r.operators))
	for _, o := range r.operators {
		operators = append(operators, o)
	}
	r.mu.RUnlock()
	out := &surveyed{slow: r.surveyed.latest.Load().slow}
	slow := len(operators) > 0 && r.now().Sub(out.slow.at) >= slowEvery
	if slow {
		skew, err := r.store.ClockSkew(ctx)
		if err != nil {
			return err
		}
		r.metrics.skew.Set(skew.Seconds())
		out.slow = surveyedSlowly{at: r.now()}
	}
	for _, o := range operators {
		v := o.view()
		err := r.store.Read(ctx, func(ctx context.Context, t *store.Tx) error {
			if err := v.read(ctx, t, store.MarksQuery{Owed: true}); err != nil || !slow {
				return err
			}
			return out.slow.read(ctx, t, o)
		})
		if err != nil {
			return err
		}
		confirmed := 0
		for n, m := range v.members {
			// Before it was asked what it holds nobody knows what it has.
			if m.joined > 0 && v.fleet.Servers[n].Behind == 0 {
				confirmed++
			}
		}
		out.operators = append(out.operators, surveyedOperator{o.current.Load().Name, v.fleet, confirmed})
	}
	r.surveyed.latest.Store(out)
	return nil
}

// read takes in what changes slowly.
func (s *surveyedSlowly) read(ctx context.Context, t *store.Tx, o *operator) error {
	row := o.current.Load()
	next, err := t.NextExpiries(ctx, o.id)
	if err != nil {
		return err
	}
	list := []nearestExpiry{{row.Name, "account", next.Account}, {row.Name, "credential", next.Credential}}
	if c, err := jwt.DecodeOperatorClaims(row.JWT); err == nil && c.Expires > 0 {
		list = append(list, nearestExpiry{row.Name, "operator", time.Unix(c.Expires, 0)})
	}
	for _, e := range list {
		if !e.at.IsZero() {
			s.expiries = append(s.expiries, e)
		}
	}
	n, err := t.CountOpenAccounts(ctx, o.id)
	if err != nil {
		return err
	}
	accounts, err := t.SearchAccounts(ctx, store.AccountFilter{OperatorID: o.id}, store.Page{Limit: mostNamed - len(s.accounts)})
	for _, a := range accounts {
		s.accounts = append(s.accounts, accountOf{row.Name, a})
		if !a.System {
			n--
		}
	}
	s.unnamed += int(max(n, 0))
	return err
}

// Describe implements prometheus.Collector.
func (s *survey) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.expected, s.reachable, s.confirmed, s.change, s.revocation, s.expiry, s.info, s.users, s.limit, s.unnamed} {
		to <- d
	}
}

// Collect implements prometheus.Collector. Ages are those of the moment.
func (s *survey) Collect(to chan<- prometheus.Metric) {
	tell := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	latest, now := s.latest.Load(), s.now()
	age := func(since time.Time) float64 {
		if since.IsZero() {
			return 0
		}
		return max(now.Sub(since).Seconds(), 0)
	}
	for _, o := range latest.operators {
		if o.fleet.Expected > 0 {
			tell(s.expected, float64(o.fleet.Expected), o.name)
		}
		tell(s.reachable, float64(len(o.fleet.Servers)), o.name)
		tell(s.confirmed, float64(o.confirmed), o.name)
		tell(s.change, age(o.fleet.OldestChange), o.name)
		tell(s.revocation, age(o.fleet.OldestRevocation), o.name)
	}
	for _, e := range latest.slow.expiries {
		tell(s.expiry, float64(e.at.Unix()), e.operator, e.kind)
	}
	for _, a := range latest.slow.accounts {
		tell(s.info, 1, a.operator, a.ID, a.Name, a.State)
		tell(s.users, float64(a.Users), a.operator, a.ID)
		for name, n := range accountLimits(a.Settings.Limits) {
			if n != jwt.NoLimit {
				tell(s.limit, float64(n), a.operator, a.ID, name)
			}
		}
	}
	tell(s.unnamed, float64(latest.slow.unnamed))
}

// accountLimits are the limits that the metrics tell, by name.
func accountLimits(l jwt.OperatorLimits) map[string]int64 {
	out := map[string]int64{
		"connections": l.Conn, "leaf_nodes": l.LeafNodeConn, "subscriptions": l.Subs, "payload_bytes": l.Payload, "data_bytes": l.Data,
	}
	if l.IsJSEnabled() {
		out["jetstream_disk_bytes"], out["jetstream_memory_bytes"] = l.DiskStorage, l.MemoryStorage
	}
	return out
}

// Short tells of how many servers are expected and do not answer, of all operators, and
// how many are expected; both are 0 where no number is set.
func (r *Resolver) Short() (missing, expected int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, o := range r.operators {
		if n := o.expected(); n > 0 {
			members, _, _ := o.roster.snapshot()
			expected += n
			missing += max(n-len(members), 0)
		}
	}
	return missing, expected
}
