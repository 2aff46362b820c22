package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"chancery/api"
	"chancery/store"
)

// watch connects a user of the system account who may do nothing but look: what servers have is asked of them, not of
// Chancery.
func (y *yard) watch() {
	y.t.Helper()
	y.call("POST", "/accounts/SYS/users", `{"name":"witness","permissions":{
		"publish":{"allow":["$SYS.REQ.ACCOUNT.*.INFO","$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP"]},
		"subscribe":{"allow":["_INBOX.>","$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE"]}}}`, nil)
	c, err := connect(y.servers[0], y.credential("SYS", "witness"))
	must(y.t, err)
	y.t.Cleanup(c.Close)
	y.witness = c.Conn
}

// gather asks all servers and returns what the three of them answer.
func (y *yard) gather(subject string) ([][]byte, error) {
	reply := nats.NewInbox()
	sub, err := y.witness.SubscribeSync(reply)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := y.witness.PublishRequest(subject, reply, nil); err != nil {
		return nil, err
	}
	var out [][]byte
	for range y.servers {
		m, err := sub.NextMsg(5 * time.Second)
		if err != nil {
			return nil, fmt.Errorf("%s: %d of %d servers answer: %w", subject, len(out), len(y.servers), err)
		}
		out = append(out, m.Data)
	}
	return out, nil
}

// served returns every account's JWT as the database has it.
func (y *yard) served() ([]store.Served, error) {
	var all []store.Served
	err := y.db.Read(context.WithoutCancel(y.t.Context()), func(ctx context.Context, t *store.Tx) (err error) {
		all, err = t.ListServed(ctx, "", 1000)
		return err
	})
	return all, err
}

// equal tells whether every server's memory, and with a full resolver its disk, has the database's bytes of every account,
// and both replicas serve them.
func (y *yard) equal() error {
	all, err := y.served()
	if err != nil {
		return err
	}
	if len(all) != len(y.accounts)+1 {
		return fmt.Errorf("the database has %d accounts", len(all))
	}
	for _, s := range all {
		for n := range y.replicas {
			ctx, cancel := context.WithTimeout(y.t.Context(), fetchLimit)
			a := y.get(ctx, n, "/jwt/v1/accounts/"+s.AccountID)
			cancel()
			if a.err != nil || a.status != http.StatusOK || string(a.body) != s.Token {
				return fmt.Errorf("replica %d serves %s as of %d, with %d, %w", n, s.AccountID, tokenTime(a.body), a.status, a.err)
			}
		}
		if err := y.equalOnServers(s); err != nil {
			return err
		}
	}
	return nil
}

func (y *yard) equalOnServers(s store.Served) error {
	infos, err := y.gather("$SYS.REQ.ACCOUNT." + s.AccountID + ".INFO")
	if err != nil {
		return err
	}
	for _, raw := range infos {
		var info struct {
			Server struct{ Name string }
			Data   struct{ JWT string }
		}
		if err := json.Unmarshal(raw, &info); err != nil {
			return err
		}
		if info.Data.JWT != s.Token {
			return fmt.Errorf("%s has %s as of %d, the database as of %d", info.Server.Name, s.AccountID, tokenTime([]byte(info.Data.JWT)), s.IssuedAt)
		}
	}
	if y.kind != resolverFull {
		return nil
	}
	disks, err := y.gather("$SYS.REQ.ACCOUNT." + s.AccountID + ".CLAIMS.LOOKUP")
	if err != nil {
		return err
	}
	for _, disk := range disks {
		if string(disk) != s.Token {
			return fmt.Errorf("a disk has %s as of %d, the database as of %d", s.AccountID, tokenTime(disk), s.IssuedAt)
		}
	}
	return nil
}

// converge waits until everything is equal and returns how long after the fault that was.
func (y *yard) converge(fault time.Time) time.Duration {
	y.t.Helper()
	for {
		err := y.equal()
		took := time.Since(fault)
		if err == nil {
			return took
		}
		if took > convergence {
			y.t.Errorf("not equal %v after the fault: %v", took.Round(time.Millisecond), err)
			return took
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// settled waits until nothing is owed any more: from here on nobody pushes an account for an edit of before.
func (y *yard) settled() {
	y.t.Helper()
	eventually(y.t, "nothing is owed any more", func() bool {
		var owed int64
		must(y.t, y.db.Read(y.t.Context(), func(ctx context.Context, t *store.Tx) (err error) {
			owed, _, err = t.CountOwed(ctx, "")
			return err
		}))
		return owed == 0
	})
}

// count is how many of how many.
type count struct{ good, of int }

func (c *count) add(good bool) {
	c.of++
	if good {
		c.good++
	}
}

// String implements fmt.Stringer.
func (c count) String() string { return fmt.Sprintf("%d of %d", c.good, c.of) }

// verdict is what a round left behind.
type verdict struct {
	// edits are in the final state, once are done once and no more, refused are revoked users on each server, admitted those
	// who stay.
	edits, once, refused, admitted count
	// closed is how long after the acknowledgement a revoked user's connection was closed.
	closed spread
	whole  bool
}

// judge looks at the final state.
func (y *yard) judge(work []accountWork) verdict {
	y.t.Helper()
	var v verdict
	for _, w := range work {
		y.judgeAccount(w, &v)
	}
	y.judgeAudit(work, &v)
	return v
}

func (y *yard) judgeAccount(w accountWork, v *verdict) {
	y.t.Helper()
	c, err := jwt.DecodeAccountClaims(y.mustRead("/jwt/v1/accounts/" + w.id))
	must(y.t, err)
	last := 0
	for _, e := range w.edits {
		if e.subscriptions > 0 {
			last = e.subscriptions
		}
	}
	for _, e := range w.edits {
		switch {
		case e.acknowledged.IsZero():
			v.edits.add(false)
		case e.leaver < 0:
			v.edits.add(c.Limits.Subs == int64(last)) // the later one stands
		default:
			_, revoked := c.Revocations[keyOf(y, w.leaves[e.leaver])]
			v.edits.add(revoked)
			for _, s := range y.servers {
				again, err := connect(s, w.leaves[e.leaver])
				if err == nil {
					again.Close()
				}
				v.refused.add(errors.Is(err, nats.ErrAuthorization))
			}
			select {
			case <-w.leaving[e.leaver].closed:
				v.closed = append(v.closed, w.leaving[e.leaver].ended.Sub(e.acknowledged))
			case <-time.After(10 * time.Second):
				y.t.Errorf("the connection of leaver %d of %s is still open", e.leaver, w.name)
			}
		}
	}
	for n, s := range y.servers {
		again, err := connect(s, w.stays)
		if err == nil {
			again.Close()
		}
		v.admitted.add(err == nil && w.staying[n].IsConnected())
	}
}

// judgeAudit holds the edits against the audit log, which has each once.
func (y *yard) judgeAudit(work []accountWork, v *verdict) {
	y.t.Helper()
	var verification api.AuditVerification
	must(y.t, callAPI(y.t.Context(), y.replicas[1].base, y.token, request{"POST", "/audit/verification", "{}", ""}, &verification))
	v.whole = verification.Whole
	for _, w := range work {
		done := map[string]int{}
		for cursor := ""; ; {
			var page api.Page[api.AuditEntry]
			must(y.t, callAPI(y.t.Context(), y.replicas[0].base, y.token, request{"GET", "/audit?limit=100&outcome=done&account=" + w.name + "&cursor=" + cursor, "", ""}, &page))
			for _, e := range page.Items {
				done[e.IdempotencyKey]++
			}
			if cursor = page.NextCursor; cursor == "" {
				break
			}
		}
		for _, e := range w.edits {
			v.once.add(done[e.key] == 1)
		}
	}
}

// keyOf returns the public key in a creds file.
func keyOf(y *yard, creds string) string {
	y.t.Helper()
	text, err := os.ReadFile(creds)
	must(y.t, err)
	token, err := jwt.ParseDecoratedJWT(text)
	must(y.t, err)
	c, err := jwt.DecodeUserClaims(token)
	must(y.t, err)
	return c.Subject
}
