package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"chancery/claims"
	"chancery/claims/nsc"
)

// held collects what running servers have of the accounts of a store.
type held struct {
	store *nsc.Store
	tell  func(done, total int64)

	mu sync.Mutex
	// jwts maps public keys of accounts to the newest JWT that was seen.
	jwts map[string]claims.Token
	// asked names what answered, notes say what did not and why.
	asked, notes []string
}

// The bounds of asking servers: how long one answer may take, and how many questions
// are under way at once.
const (
	askTimeout = 3 * time.Second
	askWidth   = 8
)

// fromServers asks the account server and the nats-servers that the operator's JWT
// names for the JWTs of the store's accounts. What cannot be reached is noted and is no
// error: the store can be imported without.
func fromServers(ctx context.Context, store *nsc.Store, tell func(done, total int64)) *held {
	h := &held{store: store, tell: tell, jwts: map[string]claims.Token{}}
	o := store.Operator.Claims()
	if o == nil {
		h.notes = append(h.notes, "The operator's JWT cannot be read, so no server was asked.")
		return h
	}
	switch base, err := url.Parse(o.AccountServerURL); {
	case o.AccountServerURL == "":
	case err != nil || base.Host == "":
		h.notes = append(h.notes, "The account server's URL in the operator's JWT is none.")
	case base.Scheme == "http" || base.Scheme == "https":
		h.askHTTP(ctx, base)
	}
	if urls := natsURLsOf(o); len(urls) > 0 {
		h.askNATS(ctx, urls)
	}
	if len(h.asked) == 0 && len(h.notes) == 0 {
		h.notes = append(h.notes, "The operator's JWT names no server to ask: neither account_server_url nor operator_service_urls.")
	}
	return h
}

// natsURLsOf returns where the operator's nats-servers are.
func natsURLsOf(o *jwt.OperatorClaims) []string {
	urls := slices.Clone([]string(o.OperatorServiceURLs))
	if u, err := url.Parse(o.AccountServerURL); err == nil && slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) && !slices.Contains(urls, o.AccountServerURL) {
		urls = append(urls, o.AccountServerURL)
	}
	return urls
}

// texts are the JWTs as they are packed.
func (h *held) texts() map[string]string {
	out := map[string]string{}
	for key, t := range h.jwts {
		out[key] = t.Text
	}
	return out
}

// take keeps a JWT if it is one of the account, and newer than what was seen of it.
func (h *held) take(account, text string) bool {
	t, err := claims.Read(strings.TrimSpace(text))
	if err != nil {
		return false
	}
	c, ok := t.Claims.(*jwt.AccountClaims)
	if !ok || c.Subject != account {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if before, known := h.jwts[account]; !known || before.Claims.Claims().IssuedAt < c.IssuedAt {
		h.jwts[account] = t
	}
	return true
}

func (h *held) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notes = append(h.notes, fmt.Sprintf(format, args...))
}

// each asks for every account, a few at a time, until the first error.
func (h *held) each(ctx context.Context, ask func(ctx context.Context, account string) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next := make(chan string)
	var workers sync.WaitGroup
	var mu sync.Mutex
	var done int64
	for range askWidth {
		workers.Go(func() {
			for account := range next {
				if err := ask(ctx, account); err != nil {
					stop(err)
				}
				mu.Lock()
				done++
				h.tell(done, int64(len(h.store.Accounts)))
				mu.Unlock()
			}
		})
	}
	for _, a := range h.store.Accounts {
		if ctx.Err() != nil {
			break
		}
		next <- a.Claims().Subject
	}
	close(next)
	workers.Wait()
	return context.Cause(ctx)
}

// askHTTP asks an account server as nsc pull does: GET …/accounts/A….
func (h *held) askHTTP(ctx context.Context, base *url.URL) {
	found := 0
	client := &http.Client{Timeout: askTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	err := h.each(ctx, func(ctx context.Context, account string) error {
		at := *base
		at.Path = path.Join(base.Path, "accounts", account)
		text, err := getJWT(ctx, client, at.String())
		if err == nil && text != "" && h.take(account, text) {
			h.mu.Lock()
			found++
			h.mu.Unlock()
		}
		return err
	})
	if err != nil {
		h.note("The account server at %s did not answer: %v.", base.Host, cause(err))
		return
	}
	h.asked = append(h.asked, fmt.Sprintf("the account server at %s has %d of %d accounts", base.Host, found, len(h.store.Accounts)))
}

// getJWT returns "" where the server has none.
func getJWT(ctx context.Context, client *http.Client, at string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return "", errors.New("its URL is none")
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusNotFound {
		return "", nil
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("it answers %s", resp.Status)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, nsc.MaxJWTFile+1))
	if err != nil || len(text) > nsc.MaxJWTFile {
		return "", errors.New("its answer is too long, or was cut off")
	}
	return string(text), nil
}

// askNATS asks nats-servers on the system account, with the creds of one of its users.
func (h *held) askNATS(ctx context.Context, urls []string) {
	users := h.systemCreds()
	if len(users) == 0 {
		h.note("The nats-servers were not asked: the store holds no creds of a user of the system account.")
		return
	}
	var nc *nats.Conn
	var err error
	for _, creds := range users[:min(len(users), 3)] {
		if nc, err = connectAs(urls, creds); err == nil {
			break
		}
	}
	if err != nil {
		h.note("The nats-servers at %s were not asked: %v.", strings.Join(urls, ", "), err)
		return
	}
	defer nc.Close()
	q := &natsQuestion{nc: nc, servers: 1 << 20}
	// Every server answers this one, so that no other answer has to be waited for in vain.
	q.servers = max(1, len(q.gather(ctx, "$SYS.REQ.SERVER.PING")))
	found := 0
	_ = h.each(ctx, func(ctx context.Context, account string) error {
		taken := false
		for _, text := range q.account(ctx, account) {
			taken = h.take(account, text) || taken
		}
		if taken {
			h.mu.Lock()
			found++
			h.mu.Unlock()
		}
		return ctx.Err()
	})
	h.asked = append(h.asked, fmt.Sprintf("%s at %s: %d of %d accounts", counted(q.servers, "nats-server"), nc.ConnectedUrlRedacted(), found, len(h.store.Accounts)))
}

// systemCreds returns the creds of the users of the system account.
func (h *held) systemCreds() []claims.Secret {
	var out []claims.Secret
	for _, a := range h.store.Accounts {
		if a.Claims().Subject != h.store.Operator.Claims().SystemAccount {
			continue
		}
		for _, u := range a.Users {
			if !u.Creds.Empty() {
				out = append(out, u.Creds)
			}
		}
	}
	return out
}

func connectAs(urls []string, creds claims.Secret) (*nats.Conn, error) {
	token, seed, err := claims.ParseCreds(creds)
	if err != nil {
		return nil, errors.New("the creds cannot be read")
	}
	return nats.Connect(strings.Join(urls, ","), nats.UserJWTAndSeed(token, seed.Reveal()), nats.Name("chancery import nsc"),
		nats.Timeout(askTimeout), nats.NoReconnect())
}

// natsQuestion asks all servers of a system at once.
type natsQuestion struct {
	nc      *nats.Conn
	servers int
}

// account returns the JWTs that the servers have of an account. Those with a full or
// cache resolver look it up in what they store, the others tell of accounts in use.
func (q *natsQuestion) account(ctx context.Context, key string) []string {
	var out []string
	for _, m := range q.gather(ctx, "$SYS.REQ.ACCOUNT."+key+".CLAIMS.LOOKUP") {
		if len(m) > 0 {
			out = append(out, string(m))
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, m := range q.gather(ctx, "$SYS.REQ.ACCOUNT."+key+".INFO") {
		var answer struct {
			Data struct {
				JWT string `json:"jwt"`
			} `json:"data"`
		}
		if json.Unmarshal(m, &answer) == nil && answer.Data.JWT != "" {
			out = append(out, answer.Data.JWT)
		}
	}
	return out
}

// straggling is how much later than the answer before another one may come.
const straggling = 300 * time.Millisecond

// gather returns the answers of as many servers as there are, or those that came in
// time.
func (q *natsQuestion) gather(ctx context.Context, subject string) [][]byte {
	inbox := q.nc.NewInbox()
	sub, err := q.nc.SubscribeSync(inbox)
	if err != nil {
		return nil
	}
	defer func() { _ = sub.Unsubscribe() }()
	if q.nc.PublishRequest(subject, inbox, nil) != nil {
		return nil
	}
	var out [][]byte
	wait := askTimeout
	for len(out) < q.servers && ctx.Err() == nil {
		m, err := sub.NextMsg(wait)
		if err != nil || m.Header.Get("Status") == "503" {
			break
		}
		out = append(out, m.Data)
		wait = straggling
	}
	return out
}
