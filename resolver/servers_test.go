package resolver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// serve starts n servers as one cluster, and waits until the resolver knows them.
func (w *world) serve(n int) []*server.Server {
	w.t.Helper()
	var all []*server.Server
	for i := range n {
		all = append(all, w.server(fmt.Sprintf("n%d", i+1), all...))
	}
	w.await(n)
	return all
}

// await returns when n servers are on the roster and were asked what they hold.
func (w *world) await(n int) { w.t.Helper(); w.awaitRoster(n, n) }

func (w *world) awaitRoster(n, examined int) {
	w.t.Helper()
	r := w.r.Load()
	r.Wake() // the URLs are new
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	if !r.AwaitServers(ctx, w.operator, n, examined) {
		w.t.Fatalf("the roster is %v, want %d servers", r.Servers(w.operator), n)
	}
}

// server starts a nats-server in a cluster with others.
func (w *world) server(name string, others ...*server.Server) *server.Server {
	w.t.Helper()
	return w.serverWith(name, func(o *server.Options) {
		o.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: -1}
		if len(others) > 0 {
			o.Routes = server.RoutesFromStr("nats://" + others[0].ClusterAddr().String())
		}
	})
}

func (w *world) serverWith(name string, more func(*server.Options)) *server.Server {
	w.t.Helper()
	accounts, err := server.NewURLAccResolver(w.front.URL + w.base + "/accounts/")
	if err != nil {
		w.t.Fatal(err)
	}
	opts := &server.Options{
		ServerName: name, Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, AuthTimeout: patience.Seconds(),
		TrustedOperators: []*jwt.OperatorClaims{w.claims}, SystemAccount: w.system.id, AccountResolver: accounts,
	}
	if more != nil {
		more(opts)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		w.t.Fatal(err)
	}
	s.Start()
	w.t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		w.t.Fatal("the nats-server is not ready")
	}
	w.setURLs(append(w.urls, s.ClientURL())...)
	return s
}

// setURLs says where the operator's servers are.
func (w *world) setURLs(urls ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.urls = slices.Clone(urls)
}

// stop stops a server and takes it off the URLs, in this order: who looks at the URLs between would leave the servers just
// when this one says goodbye.
func (w *world) stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
	w.setURLs(slices.DeleteFunc(slices.Clone(w.urls), func(u string) bool { return u == s.ClientURL() })...)
}

// client is a connection that says when it was closed.
type client struct {
	*nats.Conn
	closed chan struct{}
}

// connect connects a user to a server.
func (w *world) connect(s *server.Server, u user, more ...nats.Option) *client {
	w.t.Helper()
	c, err := w.dial(s, u, more...)
	if err != nil {
		w.t.Fatalf("connecting to %s: %v", s.Name(), err)
	}
	return c
}

func (w *world) dial(s *server.Server, u user, more ...nats.Option) (*client, error) {
	c := &client{closed: make(chan struct{})}
	opts := append([]nats.Option{
		u.option(), nats.NoReconnect(), nats.Timeout(patience), nats.ClosedHandler(func(*nats.Conn) { close(c.closed) }),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, more...)
	var err error
	if c.Conn, err = nats.Connect(s.ClientURL(), opts...); err != nil {
		return nil, err
	}
	w.t.Cleanup(c.Close)
	return c, nil
}

// tool connects a user of the system account that may do everything.
func (w *world) tool(s *server.Server) *client {
	w.t.Helper()
	return w.connect(s, w.user(w.system, "tool"))
}

// held returns the JWT of an account that a server has in memory, "" if none.
func (w *world) held(s *server.Server, a *account) string {
	w.t.Helper()
	c := w.tool(s)
	defer c.Close()
	// Filtered, so that the one answer is the one of this server.
	m, err := c.Request("$SYS.REQ.ACCOUNT."+a.id+".INFO", []byte(`{"server_name":"`+s.Name()+`","exact_match":true}`), patience)
	if err != nil {
		w.t.Fatal(err)
	}
	var reply struct {
		Data  *struct{ JWT string }
		Error *struct{ Description string }
	}
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		w.t.Fatal(err)
	}
	if reply.Data == nil {
		if reply.Error == nil || !strings.HasSuffix(reply.Error.Description, "does not exist") {
			w.t.Fatalf("answer %s", m.Data)
		}
		return ""
	}
	return reply.Data.JWT
}

// hear records every push and announcement that reaches a server; the function it
// returns gives them back in the order of their arrival.
func (w *world) hear(s *server.Server) func() []string {
	w.t.Helper()
	c := w.tool(s)
	// One channel for both: each subscription with a function has its own goroutine.
	heard := make(chan *nats.Msg, 10_000)
	for _, subject := range []string{"$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE", "$SYS.ACCOUNT.*.CLAIMS.UPDATE"} {
		if _, err := c.ChanSubscribe(subject, heard); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := c.FlushTimeout(patience); err != nil {
		w.t.Fatal(err)
	}
	return func() (tokens []string) {
		if err := c.FlushTimeout(patience); err != nil {
			w.t.Error(err)
		}
		for range len(heard) {
			tokens = append(tokens, string((<-heard).Data))
		}
		return tokens
	}
}
