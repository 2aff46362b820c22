package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"chancery/api"
)

// startJetStream starts a server with JetStream, alone.
func (p *plant) startJetStream() {
	p.t.Helper()
	s, err := startNATS(natsServerConfig{
		name: "js", operatorJWT: p.operator.JWT, resolverURL: p.app.cfg.publicURL + "/jwt/v1/accounts/", storeDir: p.t.TempDir(), log: slog.New(slog.DiscardHandler),
	})
	must(p.t, err)
	p.mu.Lock()
	p.servers = append(p.servers, s)
	p.mu.Unlock()
	p.app.resolver.Wake()
	p.awaitRoster(1)
}

// recipe is an exporter with JetStream, an importer without, and a client in each.
type recipe struct {
	*pair
	owner, guest jetstream.JetStream
	setup        api.ClientSetup
	granted      int
	denied       int
}

// cook makes a stream ORDERS and a bucket settings, beside others of which nothing is shared, and shares one of them.
func (p *plant) cook(t *testing.T, name, text string) *recipe {
	t.Helper()
	x := &recipe{pair: p.newPair(t, name, "service", "nothing", "nothing")}
	x.do("PATCH", "/accounts/"+x.exporter, `{"jetstream":{"enabled":true,"disk_bytes":-1,"memory_bytes":-1}}`, nil)
	var err error
	x.owner, err = jetstream.New(x.from.Conn)
	must(t, err)
	ctx := t.Context()
	for _, s := range []string{"ORDERS", "SECRET"} {
		_, err := x.owner.CreateStream(ctx, jetstream.StreamConfig{Name: s, Subjects: []string{s + ".>"}, Storage: jetstream.MemoryStorage})
		must(t, err)
		_, err = x.owner.CreateConsumer(ctx, s, jetstream.ConsumerConfig{Durable: "billing", AckPolicy: jetstream.AckExplicitPolicy})
		must(t, err)
		for n := range 3 {
			_, err := x.owner.Publish(ctx, fmt.Sprintf("%s.%d", s, n), []byte(s))
			must(t, err)
		}
	}
	for _, b := range []string{"settings", "secrets"} {
		kv, err := x.owner.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: b, History: 3, Storage: jetstream.MemoryStorage})
		must(t, err)
		_, err = kv.PutString(ctx, "colour", "red")
		must(t, err)
	}
	var out api.Shared
	x.do("POST", "/shares", fmt.Sprintf(`{"exporter":%q,"importer":%q,"recipe":%s}`, x.exporter, x.importer, text), &out)
	x.setup = *out.Client
	for _, s := range out.Shares {
		if s.Import.State != "in_effect" {
			t.Errorf("%s %s: %s %+v", s.Import.Kind, s.Import.Subject, s.Import.State, s.Import.Problem)
		}
	}
	t.Logf("%d exports and imports", len(out.Shares))
	// The importer's client sets what the answer says, and nothing else.
	opts := x.to.Opts
	opts.ClosedCB = nil
	if x.setup.InboxPrefix != "" {
		opts.InboxPrefix = x.setup.InboxPrefix
	}
	nc, err := opts.Connect()
	must(t, err)
	t.Cleanup(nc.Close)
	x.to = &session{Conn: nc}
	x.guest, err = jetstream.NewWithDomain(nc, x.setup.Domain)
	must(t, err)
	return x
}

// may wants f to do what is granted, mayNot that nobody answers what is not.
func (x *recipe) may(what string, f func(ctx context.Context) error) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), 30*time.Second)
	defer cancel()
	x.granted++
	if err := f(ctx); err != nil {
		x.t.Errorf("%s: %v", what, err)
	}
}

func (x *recipe) mayNot(what string, f func(ctx context.Context) error) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), 500*time.Millisecond)
	defer cancel()
	x.denied++
	err := f(ctx)
	for _, want := range []error{jetstream.ErrNoStreamResponse, jetstream.ErrJetStreamNotEnabled, nats.ErrNoResponders, jetstream.ErrStreamNotFound, jetstream.ErrBucketNotFound, context.DeadlineExceeded} {
		if errors.Is(err, want) {
			return
		}
	}
	x.t.Errorf("%s: %v, want nobody to answer", what, err)
}

// untouchable is what no recipe grants.
func (x *recipe) untouchable(stream string) {
	x.t.Helper()
	api := x.setup.APIPrefix + "."
	for _, request := range []string{
		"STREAM.PURGE." + stream, "STREAM.DELETE." + stream, "STREAM.UPDATE." + stream, "STREAM.MSG.DELETE." + stream, "STREAM.CREATE.NEW", "STREAM.NAMES", "STREAM.LIST", "INFO",
		"STREAM.INFO.SECRET", "CONSUMER.CREATE.SECRET.x", "CONSUMER.MSG.NEXT.SECRET.billing", "STREAM.INFO.KV_secrets", "STREAM.MSG.GET.KV_secrets", "DIRECT.GET.KV_secrets.$KV.secrets.colour",
		"STREAM.MSG.GET.SECRET", "STREAM.SNAPSHOT." + stream,
	} {
		x.mayNot(request, func(ctx context.Context) error {
			m, err := x.to.RequestWithContext(ctx, api+request, []byte(`{}`))
			if err == nil {
				return fmt.Errorf("answered %s", m.Data)
			}
			return err
		})
	}
	for _, subject := range []string{"ORDERS.9", "SECRET.9", "$KV.secrets.colour", "$JS.ACK.SECRET.billing.1.1.1.1.0"} {
		x.mayNot("publishing to "+subject, func(ctx context.Context) error {
			_, err := x.to.RequestWithContext(ctx, subject, []byte("x"))
			return err
		})
	}
}

// consume takes n messages and acknowledges each with proof.
func consume(ctx context.Context, c jetstream.Consumer, n int) error {
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(20*time.Second))
	if err != nil {
		return err
	}
	got := 0
	for m := range batch.Messages() {
		if err := m.DoubleAck(ctx); err != nil {
			return fmt.Errorf("acknowledging: %w", err)
		}
		got++
	}
	if got != n || batch.Error() != nil {
		return fmt.Errorf("%d messages, %w", got, batch.Error())
	}
	return nil
}

// acknowledged wants the consumer to have none left.
func (x *recipe) acknowledged(stream, consumer string) {
	x.t.Helper()
	c, err := x.owner.Consumer(x.t.Context(), stream, consumer)
	must(x.t, err)
	if i := c.CachedInfo(); i.NumAckPending != 0 || i.AckFloor.Stream != 3 {
		x.t.Errorf("%d are not acknowledged, up to %d is", i.NumAckPending, i.AckFloor.Stream)
	}
}

func (x *recipe) readStream(stream string) {
	x.may("reading the stream's state", func(ctx context.Context) error {
		_, err := x.guest.Stream(ctx, stream)
		return err
	})
	x.may("a pull consumer of its own", func(ctx context.Context) error {
		c, err := x.guest.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{Durable: "mine", AckPolicy: jetstream.AckExplicitPolicy})
		if err != nil {
			return err
		}
		return consume(ctx, c, 3)
	})
	x.acknowledged(stream, "mine")
	x.may("an ordered consumer", func(ctx context.Context) error {
		c, err := x.guest.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{})
		if err != nil {
			return err
		}
		for n := range 3 {
			m, err := c.Next(jetstream.FetchMaxWait(20 * time.Second))
			if err != nil {
				return fmt.Errorf("message %d: %w", n, err)
			}
			_ = m
		}
		return nil
	})
	x.may("a push consumer with flow control", func(ctx context.Context) error {
		js, err := x.to.JetStream(nats.Domain(x.setup.Domain))
		if err != nil {
			return err
		}
		sub, err := js.SubscribeSync("ORDERS.>", nats.BindStream(stream), nats.OrderedConsumer(), nats.DeliverAll())
		if err != nil {
			return err
		}
		defer func() { _ = sub.Unsubscribe() }()
		for n := range 3 {
			if _, err := sub.NextMsgWithContext(ctx); err != nil {
				return fmt.Errorf("message %d: %w", n, err)
			}
		}
		return nil
	})
	x.may("deleting its consumer", func(ctx context.Context) error { return x.guest.DeleteConsumer(ctx, stream, "mine") })
	x.may("many messages under flow control", func(ctx context.Context) error { return x.flood(ctx, stream) })
}

// flood pushes more than one window of flow control.
func (x *recipe) flood(ctx context.Context, stream string) error {
	js, err := x.to.JetStream(nats.Domain(x.setup.Domain))
	if err != nil {
		return err
	}
	const n = 3000
	body := make([]byte, 1024)
	for i := range n {
		if _, err := x.owner.PublishAsync(fmt.Sprint("ORDERS.f", i), body); err != nil {
			return err
		}
	}
	select {
	case <-x.owner.PublishAsyncComplete():
	case <-ctx.Done():
		return ctx.Err()
	}
	sub, err := js.SubscribeSync("ORDERS.>", nats.BindStream(stream), nats.OrderedConsumer(), nats.DeliverAll())
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	for i := range n + 3 {
		if _, err := sub.NextMsgWithContext(ctx); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
	}
	return nil
}

func (x *recipe) readBucket(write bool) {
	var kv jetstream.KeyValue
	x.may("opening the bucket", func(ctx context.Context) (err error) {
		kv, err = x.guest.KeyValue(ctx, "settings")
		return err
	})
	if kv == nil {
		return
	}
	x.may("reading a key", func(ctx context.Context) error {
		e, err := kv.Get(ctx, "colour")
		if err == nil && string(e.Value()) != "red" {
			err = fmt.Errorf("it is %s", e.Value())
		}
		return err
	})
	x.may("reading a revision", func(ctx context.Context) error {
		_, err := kv.GetRevision(ctx, "colour", 1)
		return err
	})
	x.may("listing keys", func(ctx context.Context) error {
		keys, err := kv.Keys(ctx)
		if err == nil && len(keys) != 1 {
			err = fmt.Errorf("%v", keys)
		}
		return err
	})
	x.may("watching", func(ctx context.Context) error {
		w, err := kv.WatchAll(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = w.Stop() }()
		own, err := x.owner.KeyValue(ctx, "settings")
		if err != nil {
			return err
		}
		for _, want := range []string{"red", "", "blue"} {
			select {
			case e := <-w.Updates():
				if got := valueOf(e); got != want {
					return fmt.Errorf("%q, want %q", got, want)
				}
				if want == "" {
					if _, err := own.PutString(ctx, "colour", "blue"); err != nil {
						return err
					}
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	x.may("reading a bucket without direct reading", func(ctx context.Context) error {
		s, err := x.owner.Stream(ctx, "KV_settings")
		if err != nil {
			return err
		}
		config := s.CachedInfo().Config
		config.AllowDirect = false
		if _, err := x.owner.UpdateStream(ctx, config); err != nil {
			return err
		}
		slow, err := x.guest.KeyValue(ctx, "settings")
		if err != nil {
			return err
		}
		_, err = slow.Get(ctx, "colour")
		return err
	})
	x.writeBucket(kv, write)
}

func valueOf(e jetstream.KeyValueEntry) string {
	if e == nil {
		return ""
	}
	return string(e.Value())
}

func (x *recipe) writeBucket(kv jetstream.KeyValue, write bool) {
	if !write {
		x.mayNot("putting", func(ctx context.Context) error {
			_, err := kv.PutString(ctx, "colour", "green")
			return err
		})
		x.mayNot("deleting a key", func(ctx context.Context) error { return kv.Delete(ctx, "colour") })
		return
	}
	x.may("putting", func(ctx context.Context) error {
		rev, err := kv.PutString(ctx, "colour", "green")
		if err != nil {
			return err
		}
		_, err = kv.Update(ctx, "colour", []byte("grey"), rev)
		return err
	})
	x.may("creating a key", func(ctx context.Context) error {
		_, err := kv.Create(ctx, "size", []byte("big"))
		return err
	})
	x.may("deleting and purging a key", func(ctx context.Context) error {
		return errors.Join(kv.Delete(ctx, "size"), kv.Purge(ctx, "colour"))
	})
}

// TestRecipes has real clients of the importing account use what a recipe shares, and be refused the rest.
func TestRecipes(t *testing.T) {
	t.Parallel()
	eachPlant(t, func(p *plant) {
		p.startJetStream()
		good := 0
		cases := []struct {
			name, recipe, stream string
			use                  func(x *recipe)
		}{
			{"stream", `{"kind":"stream","name":"ORDERS","domain":"orders"}`, "ORDERS", func(x *recipe) { x.readStream("ORDERS") }},
			{"consumer", `{"kind":"stream","name":"ORDERS","consumer":"billing","domain":"orders"}`, "ORDERS", func(x *recipe) {
				x.may("consuming", func(ctx context.Context) error {
					c, err := x.guest.Consumer(ctx, "ORDERS", "billing")
					if err != nil {
						return err
					}
					return consume(ctx, c, 3)
				})
				x.acknowledged("ORDERS", "billing")
				for _, request := range []string{"STREAM.INFO.ORDERS", "CONSUMER.CREATE.ORDERS.x", "CONSUMER.DELETE.ORDERS.billing", "STREAM.MSG.GET.ORDERS"} {
					x.mayNot(request, func(ctx context.Context) error {
						_, err := x.to.RequestWithContext(ctx, x.setup.APIPrefix+"."+request, []byte(`{}`))
						return err
					})
				}
			}},
			{"bucket-read", `{"kind":"kv","name":"settings","access":"read","domain":"orders"}`, "KV_settings", func(x *recipe) { x.readBucket(false) }},
			{"bucket-write", `{"kind":"kv","name":"settings","access":"read_write","domain":"orders"}`, "KV_settings", func(x *recipe) { x.readBucket(true) }},
		}
		for _, c := range cases {
			p.t.Run(c.name, func(t *testing.T) {
				x := p.cook(t, c.name, c.recipe)
				c.use(x)
				x.untouchable(c.stream)
				t.Logf("%d uses granted, %d refused", x.granted, x.denied)
				if !t.Failed() {
					good++
				}
			})
		}
		p.t.Logf("%d of %d recipes", good, len(cases))
	})
}
