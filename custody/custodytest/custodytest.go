// Package custodytest is the conformance suite of custody.Signer.
//
// It owns what every implementation must do, whether its keys are in this process, in
// another one or in a device, as tests against a signer that its caller sets up with
// keys of its own; and Remote, a signer elsewhere to try external custody with. It
// never opens a sealed seed. Called by tests only.
package custodytest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"chancery/custody"
)

// prompt is how long a signer may take to notice that its context has ended.
const prompt = 2 * time.Second

// Test runs the suite. open returns a signer and the public keys that it holds, one at
// least; it is called once for each test, and what it starts ends with that.
func Test(t *testing.T, open func(t *testing.T) (signer custody.Signer, keys []string)) {
	t.Helper()
	for name, test := range map[string]func(t *testing.T, s custody.Signer, keys []string){
		"signs exactly the message": signs, "does not know other keys": unknownKeys, "heeds the context": heeds,
		"serves many at once": concurrent, "keeps nothing of the message": keepsNothing, "gives no key away": secretive,
	} {
		t.Run(name, func(t *testing.T) {
			s, keys := open(t)
			if len(keys) == 0 {
				t.Fatal("the suite needs a key")
			}
			test(t, s, keys)
		})
	}
}

// Verify fails unless signature is the one of message by the private key of public, and
// of nothing else.
func Verify(t testing.TB, public string, message, signature []byte) {
	t.Helper()
	kp, err := nkeys.FromPublicKey(public)
	if err != nil {
		t.Fatalf("%s is no public key: %v", public, err)
	}
	// Again and again with the same result.
	for range 2 {
		if err := kp.Verify(message, signature); err != nil {
			t.Fatalf("%s: the signature of %d bytes does not verify: %v", public, len(message), err)
		}
	}
	if err := kp.Verify(append([]byte("x"), message...), signature); err == nil {
		t.Fatalf("%s: the signature also verifies for another message", public)
	}
}

func signs(t *testing.T, s custody.Signer, keys []string) {
	for _, message := range [][]byte{[]byte("header.payload"), {}, nil, {0}, {0xff, 0, '\n', '\r', 0x80}, bytes.Repeat([]byte("chancery"), 1<<17)} {
		for _, public := range keys {
			for range 2 {
				signature, err := s.Sign(t.Context(), public, message)
				if err != nil {
					t.Fatalf("%s, %d bytes: %v", public, len(message), err)
				}
				Verify(t, public, message, signature)
			}
		}
	}
}

func unknownKeys(t *testing.T, s custody.Signer, keys []string) {
	kp, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := kp.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, public := range []string{stranger, "", "A", keys[0] + "A", keys[0][1:], strings.ToLower(keys[0]), keys[0] + "/../" + keys[0], "\x00", strings.Repeat("A", 1<<16)} {
		if signature, err := s.Sign(t.Context(), public, []byte("x")); !errors.Is(err, custody.ErrNoKey) || len(signature) > 0 {
			t.Errorf("%.80q: a signature of %d bytes and %v, want %v", public, len(signature), err, custody.ErrNoKey)
		}
	}
}

func heeds(t *testing.T, s custody.Signer, keys []string) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	for want, ctx := range map[error]context.Context{context.Canceled: cancelled, context.DeadlineExceeded: expired} {
		within(t, prompt, func() {
			if signature, err := s.Sign(ctx, keys[0], []byte("x")); !errors.Is(err, want) || len(signature) > 0 {
				t.Errorf("a context that has ended: a signature of %d bytes and %v, want %v", len(signature), err, want)
			}
		})
	}
	// One that ends while the signer is at work: it signs or gives up, and does so in time.
	for _, limit := range []time.Duration{time.Microsecond, 100 * time.Microsecond, time.Millisecond, 10 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		within(t, limit+prompt, func() {
			message := bytes.Repeat([]byte("x"), 1<<20)
			signature, err := s.Sign(ctx, keys[0], message)
			if err == nil {
				Verify(t, keys[0], message, signature)
			} else if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("after %v: %v", limit, err)
			}
		})
		cancel()
	}
	// It is none the worse for it.
	signature, err := s.Sign(t.Context(), keys[0], []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	Verify(t, keys[0], []byte("x"), signature)
}

// within fails if f takes longer.
func within(t *testing.T, limit time.Duration, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(limit):
		t.Errorf("it did not return within %v", limit)
		<-done
	}
}

func concurrent(t *testing.T, s custody.Signer, keys []string) {
	type signed struct {
		public             string
		message, signature []byte
	}
	results := make(chan signed, 8*16)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for n := range 16 {
				public, message := keys[(worker+n)%len(keys)], fmt.Appendf(nil, "message %d of %d", n, worker)
				signature, err := s.Sign(t.Context(), public, message)
				if err != nil {
					t.Errorf("%s: %v", public, err)
					continue
				}
				results <- signed{public, message, signature}
			}
		})
	}
	all.Wait()
	close(results)
	for r := range results {
		Verify(t, r.public, r.message, r.signature)
	}
}

func keepsNothing(t *testing.T, s custody.Signer, keys []string) {
	message := []byte("the first message")
	first, err := s.Sign(t.Context(), keys[0], message)
	if err != nil {
		t.Fatal(err)
	}
	kept := bytes.Clone(first)
	copy(message, "another")
	second, err := s.Sign(t.Context(), keys[0], message)
	if err != nil {
		t.Fatal(err)
	}
	Verify(t, keys[0], []byte("the first message"), first)
	Verify(t, keys[0], message, second)
	if !bytes.Equal(first, kept) {
		t.Error("a signature changed after it was returned")
	}
}

// What looks like key material: a seed, 32 bytes in hex, or as numbers.
var secretRE = regexp.MustCompile(`(?i)S[OAUNCX][A-Z2-7]{56}|[0-9a-f]{64}|(\b(0x[0-9a-f]{1,2}|\d{1,3})[, ]+){31}`)

func secretive(t *testing.T, s custody.Signer, keys []string) {
	kp, err := nkeys.CreateOperator()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := kp.Seed()
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	// A seed in the place of a public key is not repeated.
	if _, err := s.Sign(t.Context(), string(seed), []byte("x")); !errors.Is(err, custody.ErrNoKey) {
		t.Errorf("a seed as the key: %v", err)
	} else {
		said = append(said, fmt.Sprintf("%v %+v %#v", err, err, err))
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Sign(cancelled, keys[0], []byte("x")); err != nil {
		said = append(said, fmt.Sprintf("%v %+v %#v", err, err, err))
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		said = append(said, fmt.Sprintf(verb, s))
	}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).InfoContext(t.Context(), "signer", slog.Any("signer", s))
	}
	said = append(said, log.String())
	if raw, err := json.Marshal(s); err == nil {
		said = append(said, string(raw))
	}
	for _, text := range said {
		if found := secretRE.FindString(text); found != "" {
			t.Errorf("key material in what it says: %s", found)
		}
	}
}
