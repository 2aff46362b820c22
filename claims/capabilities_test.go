package claims_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"chancery/claims"
)

// deed is something that a client does, and how the capability for it begins: the first that is told counts.
type deed struct {
	name  string
	tells []string
	// old is done with a bucket without direct get, and tried where a rule names it.
	old bool
	do  func(ctx context.Context, nc *nats.Conn) error
}

func stream(act func(context.Context, jetstream.JetStream) error) func(context.Context, *nats.Conn) error {
	return func(ctx context.Context, nc *nats.Conn) error {
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		return act(ctx, js)
	}
}

func bucket(name string, act func(context.Context, jetstream.KeyValue) error) func(context.Context, *nats.Conn) error {
	return stream(func(ctx context.Context, js jetstream.JetStream) error {
		kv, err := js.KeyValue(ctx, name)
		if err != nil {
			return err
		}
		return act(ctx, kv)
	})
}

func objects(act func(context.Context, jetstream.ObjectStore) error) func(context.Context, *nats.Conn) error {
	return stream(func(ctx context.Context, js jetstream.JetStream) error {
		o, err := js.ObjectStore(ctx, "pics")
		if err != nil {
			return err
		}
		return act(ctx, o)
	})
}

var deeds = []deed{
	{"request", []string{"use request/reply"}, false, func(ctx context.Context, nc *nats.Conn) error {
		_, err := nc.RequestWithContext(ctx, "echo", nil)
		return err
	}},
	{"account info", []string{"see account info"}, false, stream(func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.AccountInfo(ctx)
		return err
	})},
	{"create", []string{"create streams"}, false, stream(func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "NEW", Subjects: []string{"new"}, Storage: jetstream.MemoryStorage})
		return err
	})},
	{"consume", []string{"consume from stream ORDERS", "consume from every stream"}, false, stream(func(ctx context.Context, js jetstream.JetStream) error {
		consumer, err := js.Consumer(ctx, "ORDERS", "worker")
		if err != nil {
			return err
		}
		_, err = consumer.Next(jetstream.FetchContext(ctx))
		return err
	})},
	{"read", []string{"read KV bucket cfg", "read every KV bucket"}, false, bucket("cfg", func(ctx context.Context, kv jetstream.KeyValue) error {
		_, err := kv.Get(ctx, "k")
		return err
	})},
	{"read an old bucket", []string{"read KV bucket old"}, true, bucket("old", func(ctx context.Context, kv jetstream.KeyValue) error {
		_, err := kv.Get(ctx, "k")
		return err
	})},
	{"watch", []string{"watch KV bucket cfg", "watch every KV bucket"}, false, bucket("cfg", func(ctx context.Context, kv jetstream.KeyValue) error {
		watcher, err := kv.Watch(ctx, "k")
		if err != nil {
			return err
		}
		select { // It ends with the connection: to stop it takes one permission more.
		case <-watcher.Updates():
		case <-ctx.Done():
		}
		return nil
	})},
	{"write", []string{"write to KV bucket cfg", "write to every KV bucket"}, false, bucket("cfg", func(ctx context.Context, kv jetstream.KeyValue) error {
		_, err := kv.PutString(ctx, "k", "v")
		return err
	})},
	{"get an object", []string{"read object store pics", "read every object store"}, false, objects(func(ctx context.Context, o jetstream.ObjectStore) error {
		_, err := o.GetBytes(ctx, "cat")
		return err
	})},
	{"put an object", []string{"write to object store pics", "write to every object store"}, false, objects(func(ctx context.Context, o jetstream.ObjectStore) error {
		_, err := o.PutBytes(ctx, "dog", bytes.Repeat([]byte("x"), 1000))
		return err
	})},
}

// told is what the capabilities say about a deed; what is not mentioned cannot be done.
func told(list []claims.Capability, deed deed) (claims.Capability, bool) {
	for _, start := range deed.tells {
		for _, c := range list {
			rest, found := strings.CutPrefix(c.Text, "can "+start)
			if old := rest == " if made without direct get"; found && (rest == "" || strings.HasPrefix(rest, ",") || old) {
				c.Can = old == deed.old
				return c, true
			}
			if strings.HasPrefix(c.Text, "cannot "+start+": ") {
				return c, true
			}
		}
	}
	return claims.Capability{}, false
}

// permissions allows what is named, anything where nothing is, and always to ask the echo.
func permissions(publish, subscribe string, edits ...func(*jwt.Permissions)) jwt.Permissions {
	var p jwt.Permissions
	if publish != "" {
		p.Pub.Allow = append(strings.Fields(publish), "echo")
	}
	if subscribe != "" {
		p.Sub.Allow = strings.Fields(subscribe)
	}
	for _, edit := range edits {
		edit(&p)
	}
	return p
}

// What we say that a user can do with JetStream and requests is what nats.go does against a real server.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *server.Options) { o.JetStream, o.StoreDir, o.NoLog = true, t.TempDir(), true })
	denyPublish := func(subjects string) func(*jwt.Permissions) {
		return func(p *jwt.Permissions) { p.Pub.Deny = strings.Fields(subjects) }
	}
	denySubscribe := func(subjects string) func(*jwt.Permissions) {
		return func(p *jwt.Permissions) { p.Sub.Deny = strings.Fields(subjects) }
	}
	for name, p := range map[string]jwt.Permissions{
		"everything":             {},
		"application only":       permissions("app.>", "app.>"),
		"nothing to publish":     permissions("none", "_INBOX.>", denyPublish(">")),
		"an inbox":               permissions("app", "_INBOX.>"),
		"no inbox":               permissions("", "", denySubscribe("_INBOX.>")),
		"a narrow inbox":         permissions("", "_INBOX.x.>"),
		"the whole API":          permissions("$JS.API.>", "_INBOX.>"),
		"API and data":           permissions("$JS.> $KV.> $O.>", "_INBOX.*.*"),
		"account info":           permissions("$JS.API.INFO", "_INBOX.>"),
		"streams":                permissions("$JS.API.STREAM.*.>", "_INBOX.>"),
		"a worker":               permissions("$JS.API.CONSUMER.INFO.ORDERS.worker $JS.API.CONSUMER.MSG.NEXT.ORDERS.worker $JS.ACK.ORDERS.>", "_INBOX.>"),
		"another's worker":       permissions("$JS.API.CONSUMER.INFO.ORDERS.worker $JS.API.CONSUMER.MSG.NEXT.SALES.worker", "_INBOX.>"),
		"a reader":               permissions("$JS.API.STREAM.INFO.KV_cfg $JS.API.DIRECT.GET.KV_cfg.$KV.cfg.>", "_INBOX.>"),
		"a reader of one key":    permissions("$JS.API.STREAM.INFO.KV_cfg $JS.API.DIRECT.GET.KV_cfg.$KV.cfg.k", "_INBOX.>"),
		"cannot open":            permissions("$JS.API.DIRECT.GET.KV_cfg.$KV.cfg.k $KV.cfg.>", "_INBOX.>"),
		"a reader of old":        permissions("$JS.API.STREAM.INFO.KV_old $JS.API.STREAM.MSG.GET.KV_old", "_INBOX.>"),
		"a watcher":              permissions("$JS.API.STREAM.INFO.KV_cfg $JS.API.CONSUMER.CREATE.KV_cfg.>", "_INBOX.>"),
		"a watcher of one key":   permissions("$JS.API.STREAM.INFO.KV_cfg $JS.API.CONSUMER.CREATE.KV_cfg.*.$KV.cfg.k", "_INBOX.>"),
		"a writer":               permissions("$JS.API.STREAM.INFO.KV_cfg $KV.cfg.>", "_INBOX.>"),
		"a writer of one key":    permissions("$JS.API.STREAM.INFO.KV_* $JS.API.STREAM.INFO.KV_cfg $KV.*.k", "_INBOX.>"),
		"all but writing":        permissions("", "", denyPublish("$KV.cfg.>")),
		"all but reading":        permissions("", "", denyPublish("$JS.API.DIRECT.GET.KV_cfg.>")),
		"all but ORDERS":         permissions("", "", denyPublish("$JS.API.CONSUMER.MSG.NEXT.ORDERS.>")),
		"all but creating":       permissions("", "", denyPublish("$JS.API.STREAM.CREATE.>")),
		"gets pictures":          permissions("$JS.API.STREAM.INFO.OBJ_pics $JS.API.DIRECT.GET.OBJ_pics.> $JS.API.CONSUMER.CREATE.OBJ_pics.>", "_INBOX.>"),
		"cannot get the picture": permissions("$JS.API.STREAM.INFO.OBJ_pics $JS.API.DIRECT.GET.OBJ_pics.>", "_INBOX.>"),
		"puts pictures":          permissions("$JS.API.STREAM.INFO.OBJ_pics $JS.API.DIRECT.GET.OBJ_pics.> $O.pics.>", "_INBOX.>"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// An account of its own, so that what one does is not in another's way.
			a, signer := furnished(t, w)
			u := jwt.NewUserClaims(newPair(t, claims.KindUser).id)
			u.IssuerAccount, u.Permissions = a.Subject, p
			list := claims.EffectivePermissions(u, a).Capabilities()
			_, prefix, own := strings.Cut(allOf(list), "with the inbox prefix ")
			if prefix, _, _ = strings.Cut(prefix, "\n"); !own {
				prefix = "_INBOX"
			}
			for _, d := range deeds {
				c, found := told(list, d)
				if !found && d.old {
					continue
				}
				err := w.attempt(t, u, signer, d, prefix)
				if (err == nil) != c.Can {
					t.Errorf("%s: %v, but we say %q, of\n%s", d.name, err, c.Text, allOf(list))
				}
			}
		})
	}
}

func allOf(list []claims.Capability) string {
	var out []string
	for _, c := range list {
		out = append(out, c.Text)
	}
	return strings.Join(out, "\n")
}

// attempt does the deed on a connection of its own; the first refusal ends it.
func (w *world) attempt(t *testing.T, u *jwt.UserClaims, signer pair, d deed, inbox string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	key := newPair(t, claims.KindUser)
	own := *u
	own.Subject = key.id
	token := encode(t, &own, signer)
	nc, err := nats.Connect(w.server.ClientURL(), nats.UserJWT(func() (string, error) { return token, nil }, key.Sign), nats.NoReconnect(), nats.Timeout(patience), nats.CustomInboxPrefix(inbox),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if !strings.Contains(err.Error(), "CONSUMER.DELETE") { // cleaning up, which it can do without
				cancel()
			}
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	err = d.do(ctx, nc)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Fatalf("%s: the server does not answer", d.name)
	}
	return errors.Join(err, ctx.Err())
}

// furnished is an account with JetStream, a stream with a consumer, two buckets and an object store.
func furnished(t *testing.T, w *world) (*jwt.AccountClaims, pair) {
	t.Helper()
	signer := newPair(t, claims.KindAccount)
	a := jwt.NewAccountClaims(newPair(t, claims.KindAccount).id)
	a.Name = "furnished"
	a.Limits.MemoryStorage, a.Limits.DiskStorage = jwt.NoLimit, jwt.NoLimit
	a.Limits.Streams, a.Limits.Consumer = jwt.NoLimit, jwt.NoLimit
	a.SigningKeys.Add(signer.id)
	w.store(t, a.Subject, encode(t, a, w.signing))
	key := newPair(t, claims.KindUser)
	u := jwt.NewUserClaims(key.id)
	u.IssuerAccount = a.Subject
	nc, err := w.dial(t, encode(t, u, signer), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Subscribe("echo", func(m *nats.Msg) { _ = m.Respond(nil) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	orders, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders"}, Storage: jetstream.MemoryStorage})
	must(t, err)
	_, err = orders.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy})
	must(t, err)
	_, err = js.Publish(ctx, "orders", nil)
	must(t, err)
	cfg, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "cfg", Storage: jetstream.MemoryStorage})
	must(t, err)
	_, err = cfg.PutString(ctx, "k", "v")
	must(t, err)
	// This is what nats.go made before there was a direct get.
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "KV_old", Subjects: []string{"$KV.old.>"}, Storage: jetstream.MemoryStorage, MaxMsgsPerSubject: 1, AllowRollup: true, DenyDelete: true,
	})
	must(t, err)
	_, err = js.Publish(ctx, "$KV.old.k", nil)
	must(t, err)
	pics, err := js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: "pics", Storage: jetstream.MemoryStorage})
	must(t, err)
	_, err = pics.PutBytes(ctx, "cat", []byte("meow"))
	must(t, err)
	return a, signer
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// How the sentences read, and which rule is named.
func TestCapabilitySentences(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		permissions jwt.Permissions
		text        string
		because     string
	}{
		"open":                     {jwt.Permissions{}, "can publish to anything", ""},
		"open to subscribe":        {jwt.Permissions{}, "can subscribe to anything", ""},
		"one":                      {publish("a.>", ""), "can publish to 1 subject", "a.>"},
		"two":                      {publish("a.>\na.>\nb", ""), "can publish to 2 subjects", "a.>"},
		"one is denied again":      {publish("a.b\nb", "a.*"), "can publish to 1 subject", "b"},
		"all are denied again":     {publish("a.b\nb", ">"), "cannot publish to anything", ">"},
		"but for one":              {publish(">", "a\na"), "can publish to anything but 1 subject", ">"},
		"but for two":              {publish("", "a\nb"), "can publish to anything but 2 subjects", ""},
		"a denied group is little": {subscribe("a", "a q"), "can subscribe to 1 subject", "a"},
		"* does not shut >":        {subscribe("a.>", "a.*"), "can subscribe to 1 subject", "a.>"},
		"nothing to publish":       {publish("", ">"), "cannot use request/reply: may not publish", ">"},
		"nothing, and own inbox":   {jwt.Permissions{Pub: publish("", ">").Pub, Sub: subscribe("_INBOX_ada.>", "").Sub}, "cannot use request/reply: may not subscribe to _INBOX.>", ""},
		"an inbox of its own":      {subscribe("_INBOX_ada.>", ""), "can use request/reply, with the inbox prefix _INBOX_ada", "_INBOX_ada.>"},
		"that is denied":           {subscribe("_INBOX_ada.>", "*.>"), "cannot use request/reply: may not subscribe to _INBOX.>", "*.>"},
		"answers":                  {jwt.Permissions{}, "can answer requests", ""},
		"answers to inboxes":       {publish("_INBOX.>", ""), "can answer requests", "_INBOX.>"},
		"answers as replies":       {jwt.Permissions{Resp: &jwt.ResponsePermission{}}, "can answer requests, with 1 reply within 2m0s", ""},
		"any number of answers":    {jwt.Permissions{Resp: &jwt.ResponsePermission{MaxMsgs: -1}}, "can answer requests", ""},
		"no answers":               {publish("", "_INBOX.*.*"), "cannot answer requests: may not publish to _INBOX.>", "_INBOX.*.*"},
		"no requests":              {subscribe("_INBOX.>", ""), "cannot answer requests: may not subscribe to any", ""},
		"no acknowledgement":       {publish("$JS.API.>", ""), "can consume from every stream, but not acknowledge", "$JS.API.>"},
		"acknowledged as a reply":  {jwt.Permissions{Pub: publish("$JS.API.>", "").Pub, Resp: &jwt.ResponsePermission{}}, "can consume from every stream", "$JS.API.>"},
		"a reader of one key":      {publish("$JS.API.STREAM.INFO.KV_cfg\n$JS.API.DIRECT.GET.KV_cfg.*.cfg.k", ""), "can read KV bucket cfg, only $JS.API.DIRECT.GET.KV_cfg.*.cfg.k", "$JS.API.DIRECT.GET.KV_cfg.*.cfg.k"},
		"a bucket that is shut":    {publish("$JS.>\n$KV.>", "$JS.API.STREAM.INFO.KV_cfg"), "cannot read KV bucket cfg: may not publish to $JS.API.STREAM.INFO.KV_cfg", "$JS.API.STREAM.INFO.KV_cfg"},
		"a stream":                 {publish("$JS.API.CONSUMER.INFO.O.*\n$JS.API.CONSUMER.*.*.O.>\n$JS.ACK.O.>", ""), "can consume from stream O", "$JS.API.CONSUMER.*.*.O.>"},
		"an inbox for answers":     {jwt.Permissions{Pub: publish("", "$KV.cfg.x").Pub, Sub: subscribe("_INBOX.*.*", "").Sub}, "cannot watch KV bucket cfg: may not subscribe to _INBOX.>", ""},
	} {
		list := newPairing(own(c.permissions)).effective().Capabilities()
		i := slices.IndexFunc(list, func(x claims.Capability) bool { return x.Text == c.text })
		if i < 0 {
			t.Errorf("%s: %q is not among\n%s", name, c.text, allOf(list))
			continue
		}
		because := ""
		if list[i].Because != nil {
			because = list[i].Because.Subject
		}
		if x := list[i]; x.Can != strings.HasPrefix(x.Text, "can ") || because != c.because {
			t.Errorf("%s: %v because of %q, want %q", name, x.Can, because, c.because)
		}
	}
}
