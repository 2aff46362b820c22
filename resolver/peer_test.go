package resolver_test

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"chancery/claims"
	"chancery/resolver"
	"chancery/store/storetest"
)

const peerToken = "a-token-of-the-peers-pack"

// packing is what a peer answers.
func packing(t *testing.T, r *resolver.Resolver) http.Handler {
	t.Helper()
	tokens, err := resolver.ParseTokens([]byte(peerToken + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return r.HandlerWith(resolver.Paths{Tokens: func() *resolver.Credentials { return tokens }})
}

// fed is a resolver that has nothing but a folder and a peer, the world's front.
func (w *world) fed(dir, token string) *resolver.Resolver {
	w.t.Helper()
	cfg := w.config()
	cfg.Store, cfg.Snapshot, cfg.Anchors, cfg.Follow, cfg.Awaits = nil, dir, []string{w.operator}, true, true
	cfg.Peer = &resolver.Peer{URL: w.front.URL, Token: func() (string, error) { return token, nil }, Client: w.front.Client()}
	r, err := resolver.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(r.Stop)
	r.Hurry(resolver.Hurry{Feed: 20 * time.Millisecond})
	if _, err := r.OpenSnapshot(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	r.Feed(w.t.Context())
	return r
}

// TestPeer feeds a resolver, takes the peer away, restarts, and comes back with a peer
// that was restored from before a revocation.
func TestPeer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	a, b := w.account("a"), w.account("b")
	origin, older, dir := t.TempDir(), t.TempDir(), t.TempDir()
	first := w.startWith(w.saving(origin), resolver.Hurry{})
	w.saved(origin)
	first.Stop()
	if err := os.CopyFS(older, os.DirFS(origin)); err != nil {
		t.Fatal(err)
	}
	peer := w.startWith(w.saving(origin), resolver.Hurry{})
	w.use(packing(t, peer))

	r := w.fed(dir, peerToken)
	serves := func(r *resolver.Resolver, accounts ...*account) bool {
		for _, x := range accounts {
			if get(r.Handler(), http.MethodGet, "/o/"+w.operator+"/jwt/v1/accounts/"+x.id).Body.String() != w.token(x) {
				return false
			}
		}
		return true
	}
	eventually(t, "what the peer has is served", func() bool { return r.Ready() == nil && serves(r, a, b, w.system) })
	late := w.account("late")
	w.revoke(a, w.user(a, "gone"))
	eventually(t, "what is new at the peer is served", func() bool { return serves(r, a, b, late) })
	for _, path := range []string{"/jwt/v1/operator", "/jwt/v1/accounts/", "/jwt/v1/accounts/" + a.id} {
		if got := get(r.Handler(), http.MethodGet, path); got.Code != http.StatusOK {
			t.Errorf("%s of the default operator is answered with %d", path, got.Code)
		}
	}
	w.saved(dir)
	r.Stop()

	w.use(http.NotFoundHandler())
	again := w.fed(dir, peerToken)
	eventually(t, "all is served without the peer", func() bool { return serves(again, a, b, late, w.system) })
	if s := again.Snapshot(); !s.PeerSeen.IsZero() {
		t.Errorf("a peer that answers nothing was seen: %+v", s)
	}

	restored, found := w.alone(older, w.operator)
	if !found {
		t.Fatal("the older copy has nothing")
	}
	eventually(t, "the older copy is verified", func() bool { return !restored.Snapshot().Unverified })
	w.use(packing(t, restored))
	eventually(t, "the older peer is noticed", func() bool { s := again.Snapshot(); return !s.PeerSeen.IsZero() && s.PeerRefused == 1 })
	if !serves(again, a, b, late, w.system) {
		t.Error("a restored peer takes back what was served")
	}
	w.use(packing(t, peer))
	w.edit(a, func(c *claims.Account) { c.Settings.Limits.Conn++ })
	eventually(t, "the alarm ends", func() bool { return again.Snapshot().PeerRefused == 0 && serves(again, a, b, late) })
}

// TestPeerIsNotBelieved has peers with other tokens and of other operators, and one whose
// pack holds what the operator never signed.
func TestPeerIsNotBelieved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	a := w.account("a")
	peer := w.start(resolver.Hurry{})
	honest := packing(t, peer)
	asked := make(chan int, 1000)
	forged := w.account("forged")
	w.use(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, "/pack") && req.Header.Get("Authorization") == "Bearer "+peerToken {
			// What is signed for one account, under the name of another.
			_, _ = rw.Write([]byte(forged.id + "|" + w.token(a) + "\n" + a.id + "|" + w.token(a)))
			asked <- http.StatusOK
			return
		}
		honest.ServeHTTP(rw, req)
		asked <- 0
	}))
	r := w.fed(t.TempDir(), peerToken)
	for range 6 {
		<-asked
	}
	eventually(t, "what is signed right is served", func() bool { return r.Version(a.id) > 0 })
	if r.Version(forged.id) != 0 || r.Ready() == nil {
		t.Error("a peer is believed what the operator did not sign, or a round that failed counts")
	}
	r.Stop()
	r = w.fed(t.TempDir(), "a-token-of-somebody-else")
	for range 6 {
		<-asked
	}
	if r.Version(a.id) != 0 || r.Ready() == nil {
		t.Error("without its token a peer tells something")
	}
}
