package resolver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"chancery/claims"
	"chancery/store"
)

// Peer is another Chancery that feeds a resolver without a database.
type Peer struct {
	// URL is its address, without a path.
	URL string
	// Token returns what opens its pack. It is called at each round.
	Token func() (string, error)
	// Client makes the requests; it must not follow redirects, for the token's sake.
	Client *http.Client
}

// Bounds of what a peer is asked and believed to answer.
const (
	// feedShare is how much longer the pause between two rounds is at least than a round,
	// so that a large peer is not busy with this alone.
	feedShare = 5
	// peerPage is how many accounts are asked for at once, peerBytes what an answer may
	// have, peerLine an account: its key and a JWT of at most a mebibyte.
	peerPage  = 1000
	peerBytes = packBytes + 2<<20
	peerLine  = 1<<20 + 1<<10
)

// feeder takes in what a peer has.
type feeder struct {
	r       *Resolver
	peer    Peer
	failing trouble
	// operators are those that were verified, of this peer or of the snapshot.
	operators []savedOperator
	// seen is when the last round was complete, in microseconds since 1970; refused is
	// how many JWTs of that round are older than ours, or others of the same second.
	seen, refused atomic.Int64
}

// Feed begins to take in what the peer of the configuration has, of the operators that
// are trusted, until Stop. Everything is verified as if it came from the disk, and no
// account or operator goes back: of two JWTs the later one counts, and of two of the same
// second the one that was here first.
func (r *Resolver) Feed(ctx context.Context) {
	r.mu.Lock()
	running := r.begin(ctx)
	r.mu.Unlock()
	f := r.feeder
	if f == nil {
		return
	}
	if r.snapshot != nil {
		if list := r.snapshot.operators.Load(); list != nil {
			f.operators = slices.Clone(*list)
		}
	}
	r.running.Go(func() { f.run(running) })
}

func (f *feeder) run(ctx context.Context) {
	for {
		begun, late := f.r.now(), f.r.pulse.begin(f.r.pace.catchUp)
		f.failing.note(ctx, f.round(ctx))
		f.r.pulse.release(late) // also when the peer is away: memory is served all the same
		f.r.tidy(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(f.r.pace.feed, feedShare*f.r.now().Sub(begun))):
		}
	}
}

// round takes everything in once. What one operator lacks does not hold the others up.
func (f *feeder) round(ctx context.Context) error {
	token, err := f.peer.Token()
	if err != nil {
		return fmt.Errorf("reading the peer's token: %w", err)
	}
	refused, err := f.takeOperators(ctx, token)
	errs := []error{err}
	trusted, _ := newTrust(f.operators, f.r.anchors)
	for _, o := range f.operators {
		n, err := f.takeAccounts(ctx, token, trusted, o.ID)
		refused += n
		errs = append(errs, err)
	}
	if before := f.refused.Swap(int64(refused)); before == 0 && refused > 0 {
		f.r.log.ErrorContext(ctx, "the peer has JWTs that are older than what is served here, or others of the same second: it was probably restored from a backup. What was served stays in force",
			slog.Int("jwts", refused))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	f.r.ready.Store(len(f.operators) > 0)
	f.r.snapshot.complete()
	f.r.snapshot.current()
	f.seen.Store(f.r.now().UnixMicro())
	return nil
}

// takeOperators takes in the JWTs of the trusted operators.
func (f *feeder) takeOperators(ctx context.Context, token string) (refused int, err error) {
	standard, err := f.text(ctx, token, "/jwt/v1/operator")
	errs := []error{err}
	list := slices.Clone(f.operators)
	for _, id := range f.r.anchors {
		text, err := f.text(ctx, token, "/o/"+id+"/jwt/v1/operator")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		o := savedOperator{ID: id, JWT: text, Version: 1, IssuedAt: payloadOf([]byte(text)).IssuedAt, Default: text == standard}
		if _, ok := newTrust([]savedOperator{o}, f.r.anchors); len(ok) == 0 {
			errs = append(errs, fmt.Errorf("operator %s: %w", id, errUntrusted))
			continue
		}
		if read, err := claims.Read(text); err == nil {
			o.Name = read.Claims.Claims().Name
		}
		i := slices.IndexFunc(list, func(s savedOperator) bool { return s.ID == id })
		switch {
		case i < 0:
			list = append(list, o)
		case list[i].JWT == o.JWT:
			list[i].Default = o.Default
		case list[i].IssuedAt >= o.IssuedAt:
			refused++
		default:
			o.Version = list[i].Version + 1
			list[i] = o
		}
	}
	f.operators = list
	f.r.setOperators(asStored(list))
	return refused, errors.Join(errs...)
}

// takeAccounts takes in an operator's accounts, page by page.
func (f *feeder) takeAccounts(ctx context.Context, token string, trusted trust, operatorID string) (refused int, err error) {
	untrusted := 0
	for after, more := "", true; more; {
		p, err := f.takePage(ctx, token, trusted, operatorID, after)
		refused, untrusted = refused+p.refused, untrusted+p.untrusted
		if err == nil && p.more && p.last <= after {
			err = errors.New("the peer's pages do not go on")
		}
		if err != nil {
			return refused, fmt.Errorf("operator %s: %w", operatorID, err)
		}
		after, more = p.last, p.more
	}
	if untrusted > 0 {
		return refused, fmt.Errorf("operator %s: %d JWTs of the peer: %w", operatorID, untrusted, errUntrusted)
	}
	return refused, nil
}

// fedPage is what became of one page.
type fedPage struct {
	// last is the key of its last account, more that there is another page.
	last               string
	refused, untrusted int
	more               bool
}

func (f *feeder) takePage(ctx context.Context, token string, trusted trust, operatorID, after string) (p fedPage, err error) {
	q := url.Values{"max": {strconv.Itoa(peerPage)}}
	if after != "" {
		q.Set("after", after)
	}
	resp, err := f.get(ctx, token, "/o/"+operatorID+"/jwt/v1/pack?"+q.Encode())
	if err != nil {
		return p, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(io.LimitReader(resp.Body, peerBytes))
	lines.Buffer(nil, peerLine)
	var news []store.Served
	for lines.Scan() {
		id, text, ok := strings.Cut(lines.Text(), "|")
		if !ok {
			return p, errors.New("the peer's pack cannot be read")
		}
		p.last = id
		s := store.Served{AccountID: id, OperatorID: operatorID, Version: 1, IssuedAt: payloadOf([]byte(text)).IssuedAt, Token: text}
		old := f.r.memory.get(id)
		switch {
		case old != nil && old.token == text:
			continue
		case trusted.verify(s) != nil:
			p.untrusted++
			continue
		case old != nil && old.issuedAt >= s.IssuedAt:
			p.refused++
			continue
		case old != nil:
			// The peer does not tell its versions. Counted like this they are never higher
			// than those of its database.
			s.Version = old.version + 1
		}
		news = append(news, s)
	}
	if err := lines.Err(); err != nil {
		return p, fmt.Errorf("reading the peer's pack: %w", err)
	}
	f.r.memory.put(news...)
	p.more = strings.Contains(resp.Header.Get(headerLink), `rel="next"`)
	return p, nil
}

// text returns a JWT at a path.
func (f *feeder) text(ctx context.Context, token, path string) (string, error) {
	resp, err := f.get(ctx, token, path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, peerLine))
	if err != nil {
		return "", fmt.Errorf("reading %s of the peer: %w", path, err)
	}
	return string(text), nil
}

// get asks the peer. What is returned has status 200 and a body to be closed.
func (f *feeder) get(ctx context.Context, token, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.peer.URL+path, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("asking the peer: %w", err)
	}
	req.Header.Set(headerAuthorization, "Bearer "+token)
	resp, err := f.peer.Client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the peer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("the peer answers %s with status %d", req.URL.Path, resp.StatusCode)
	}
	return resp, nil
}
