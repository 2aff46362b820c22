package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/issuer"
	"chancery/store"
)

// postAnswer is a whole answer.
type postAnswer struct {
	status int
	header http.Header
	body   string
}

// postHouse is an outpost whose operator keys the test holds, as the operator of an account server does.
type postHouse struct {
	*outpost
	identity, signing, retired nkeys.KeyPair
}

// newPostHouse is open to everybody; its operator is strict.
func newPostHouse(t *testing.T) *postHouse {
	t.Helper()
	x := &postHouse{}
	operatorPair := func() (nkeys.KeyPair, string) {
		kp, err := nkeys.CreateOperator()
		must(t, err)
		id, err := kp.PublicKey()
		must(t, err)
		return kp, id
	}
	var id string
	x.identity, id = operatorPair()
	p := newPlantOf(t, "sqlite", func(*appConfig) {}, func(p *plant, op issuer.Op) {
		_, err := p.app.issuer.CreateOperator(t.Context(), op, issuer.OperatorInput{Name: "acme", Custody: issuer.CustodyOffline, PublicKey: id})
		must(t, err)
		p.operator = signOffline(t, p, x.identity)
	})
	x.outpost = &outpost{t: t, p: p, asu: p.app.cfg.publicURL + "/jwt/v1"}
	// Two more signing keys of the operator, whose seeds are not in Chancery.
	var signing, retired string
	x.signing, signing = operatorPair()
	x.retired, retired = operatorPair()
	must(t, p.app.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		k := store.Key{ID: signing, Kind: "operator", Role: "signing", OperatorID: id, State: "retiring", Custody: "public_only"}
		if err := tx.CreateKey(ctx, k); err != nil {
			return err
		}
		k.ID, k.State = retired, "retired"
		return tx.CreateKey(ctx, k)
	}))
	x.enrol(issuer.EnrolOpen)
	return x
}

// signOffline signs what waits for the identity key of acme.
func signOffline(t *testing.T, p *plant, identity nkeys.KeyPair) issuer.Operator {
	t.Helper()
	op := issuer.Op{Caller: issuer.System("test"), RequestID: "test"}
	r, err := p.app.issuer.OperatorRequest(t.Context(), op.Caller, "acme")
	must(t, err)
	token, err := r.Sign(identity)
	must(t, err)
	out, err := p.app.issuer.UploadOperatorJWT(t.Context(), op, "acme", token)
	must(t, err)
	return out.Value
}

// sends is a request of the path; body is asked for when it is sent.
func (x *postHouse) sends(method, path string, body func() string, header ...string) func() postAnswer {
	return func() postAnswer { return x.request(x.p.app.cfg.publicURL+path, method, body(), header...) }
}

// request sends from an address of its own: refusals are counted by address.
func (x *postHouse) request(url, method, body string, header ...string) postAnswer {
	x.t.Helper()
	x.requests++
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(x.requests%250+1))}}
	client := &http.Client{
		Transport:     &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(x.t.Context(), method, url, strings.NewReader(body))
	must(x.t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := client.Do(req)
	must(x.t, err)
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		x.t.Error(err)
	}
	return postAnswer{res.StatusCode, res.Header, string(raw)}
}

// cutShort sends less than it announces.
func (x *postHouse) cutShort(path string) postAnswer {
	x.t.Helper()
	host := strings.TrimPrefix(x.p.app.cfg.publicURL, "http://")
	c, err := net.Dial("tcp", host) //nolint:noctx // to a listener of this process
	must(x.t, err)
	defer func() { _ = c.Close() }()
	_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 1000\r\n\r\neyJ0", path, host)
	must(x.t, err)
	must(x.t, c.(*net.TCPConn).CloseWrite())
	raw, err := io.ReadAll(c)
	must(x.t, err)
	head, body, _ := strings.Cut(string(raw), "\r\n\r\n")
	out := postAnswer{header: http.Header{}, body: body}
	for n, line := range strings.Split(head, "\r\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			out.header.Add(name, value)
		} else if n == 0 {
			_, err = fmt.Sscanf(line, "HTTP/1.1 %d", &out.status)
			must(x.t, err)
		}
	}
	return out
}

// withoutOperator posts to a control plane that has none.
func (x *postHouse) withoutOperator() postAnswer {
	p := newPlantOf(x.t, "sqlite", func(*appConfig) {}, func(*plant, issuer.Op) {})
	pair, id := accountPair(x.t)
	return x.request(p.app.cfg.publicURL+"/jwt/v1/accounts/"+id, http.MethodPost, x.newcomer(id, pair, "NEW")())
}

// switchSigning stops and starts the operator's signing.
func (x *postHouse) switchSigning(on bool) {
	x.t.Helper()
	_, err := x.p.app.issuer.SetSigning(x.t.Context(), x.because(), "acme", on)
	must(x.t, err)
}

// newcomer is the first JWT of an account.
func (x *postHouse) newcomer(id string, by nkeys.KeyPair, name string) func() string {
	return func() string {
		c := jwt.NewAccountClaims(id)
		c.Name = name
		token, err := c.Encode(by)
		must(x.t, err)
		return token
	}
}

// activation is a token of the account for somebody.
func (x *postHouse) activation(a *managedStore) func() string {
	return func() string {
		_, to := accountPair(x.t)
		c := jwt.NewActivationClaims(to)
		c.ImportSubject, c.ImportType = "events.>", jwt.Stream
		token, err := c.Encode(a.pair)
		must(x.t, err)
		return token
	}
}

// after is an edit that is issued later than what is served.
func (x *postHouse) after(a *managedStore, by nkeys.KeyPair, edit func(*jwt.AccountClaims)) string {
	x.t.Helper()
	c, err := jwt.DecodeAccountClaims(x.served(a.id))
	must(x.t, err)
	return x.edited(a, by, time.Until(time.Unix(c.IssuedAt+2, 0)), edit)
}

// stays is an account whose JWT is as it was.
func stays(before, now string) bool { return before != "" && before == now }

// becomes holds of an account's claims as they are served now.
func becomes(f func(*jwt.AccountClaims) bool) func(string, string) bool {
	return func(_, now string) bool {
		c, err := jwt.DecodeAccountClaims(now)
		return err == nil && f(c)
	}
}

// describes is an account with this description.
func describes(text string) func(string, string) bool {
	return becomes(func(c *jwt.AccountClaims) bool { return c.Description == text })
}
