package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// bareFleet is what the benchmarks compare with: a cluster of the same make beside the other one, an operator and accounts
// made with nats-io/jwt alone, served from a map, and a connection on its system account. A cluster of its own, since on the
// same one Chancery would hear the pushes and heal them.
type bareFleet struct {
	b       *testing.B
	key     nkeys.KeyPair
	servers []*server.Server
	nc      *nats.Conn

	mu     sync.Mutex
	tokens map[string]string
}

func newBareFleet(b *testing.B) *bareFleet {
	b.Helper()
	f := &bareFleet{b: b, tokens: map[string]string{}}
	var err error
	f.key, err = nkeys.CreateOperator()
	benchMust(b, err)
	system, err := nkeys.CreateAccount()
	benchMust(b, err)
	o := jwt.NewOperatorClaims(publicOf(b, f.key))
	o.SystemAccount = publicOf(b, system)
	operator, err := o.Encode(f.key)
	benchMust(b, err)
	f.tokens[o.SystemAccount], err = jwt.NewAccountClaims(o.SystemAccount).Encode(f.key)
	benchMust(b, err)
	resolver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		id := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		if token, ok := f.tokens[id]; ok || id == "" {
			_, _ = w.Write([]byte(token))
			return
		}
		http.NotFound(w, r)
	}))
	b.Cleanup(resolver.Close)
	f.servers = benchCluster(b, operator, resolver.URL+"/")
	b.Cleanup(func() {
		for _, s := range f.servers {
			stopNATS(s)
		}
	})
	user, err := nkeys.CreateUser()
	benchMust(b, err)
	u, err := jwt.NewUserClaims(publicOf(b, user)).Encode(system)
	benchMust(b, err)
	f.nc, err = nats.Connect(f.servers[0].ClientURL(), nats.UserJWT(func() (string, error) { return u, nil }, user.Sign))
	benchMust(b, err)
	b.Cleanup(f.nc.Close)
	for _, s := range f.servers {
		for limit := time.Now().Add(10 * time.Second); s.NumRoutes() == 0 && time.Now().Before(limit); {
			time.Sleep(5 * time.Millisecond)
		}
	}
	return f
}

func publicOf(b *testing.B, kp nkeys.KeyPair) string {
	b.Helper()
	k, err := kp.PublicKey()
	benchMust(b, err)
	return k
}

// barePushes are JWTs of one account that were signed beforehand, each other than the one before.
type barePushes struct {
	account string
	tokens  []string
}

// account makes an account and so many JWTs of it; loaded makes every server hold it.
func (f *bareFleet) account(versions int, loaded bool) barePushes {
	f.b.Helper()
	kp, err := nkeys.CreateAccount()
	benchMust(f.b, err)
	p := barePushes{account: publicOf(f.b, kp)}
	c := jwt.NewAccountClaims(p.account)
	for n := range versions + 1 {
		c.Name, c.Limits.Subs = "bare", int64(1000+n)
		token, err := c.Encode(f.key)
		benchMust(f.b, err)
		p.tokens = append(p.tokens, token)
	}
	f.mu.Lock()
	f.tokens[p.account], p.tokens = p.tokens[0], p.tokens[1:]
	f.mu.Unlock()
	if loaded {
		for _, s := range f.servers {
			_, err := s.LookupAccount(p.account)
			benchMust(f.b, err)
		}
	}
	return p
}

// push publishes the next JWT on the system account and waits until every server has answered: what a program does that
// knows how many servers there are, and believes them.
func (f *bareFleet) push(p *barePushes) error {
	reply := nats.NewInbox()
	sub, err := f.nc.SubscribeSync(reply)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := f.nc.PublishRequest("$SYS.REQ.ACCOUNT."+p.account+".CLAIMS.UPDATE", reply, []byte(p.tokens[0])); err != nil {
		return err
	}
	p.tokens = p.tokens[1:]
	for n := range f.servers {
		if _, err := sub.NextMsg(2 * time.Second); err != nil {
			return fmt.Errorf("%d servers answered: %w", n, err)
		}
	}
	return nil
}
