package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"chancery/claims"
)

// checkDev runs dev in a temporary folder on free ports and drives the loop as a
// person would: with the REST API on one side and a real client on the other.
func checkDev(ctx context.Context, env environment, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "chancery-check-")
	if err != nil {
		return fmt.Errorf("making a temporary folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	l := &loop{out: env.stdout, free: 0}
	var d *dev
	l.step("start control plane and nats-server", func() (err error) {
		d, err = startDev(ctx, devOptions{dir: dir, port: &l.free, natsPort: &l.free, log: log})
		return err
	})
	if d != nil {
		l.ready = d.ready
		l.drive(ctx)
		l.step("stop", d.stop)
	}
	fmt.Fprintf(env.stdout, "loop: %d of %d steps\n", l.passed, loopSteps)
	if l.passed != loopSteps {
		return &exitError{code: exitFailure}
	}
	return nil
}

// loopSteps is how many steps there are, whether or not each is reached.
const loopSteps = 12

// loop is the demonstration: each step is tried once and, after one that failed,
// none.
type loop struct {
	out    io.Writer
	ready  devReady
	free   int
	passed int
	failed bool

	conn    *nats.Conn
	closed  chan struct{}
	denials chan error
}

func (l *loop) step(name string, f func() error) {
	if l.failed && name != "stop" {
		return
	}
	started := time.Now()
	err := f()
	took := time.Since(started).Round(100 * time.Microsecond)
	if err != nil {
		l.failed = true
		fmt.Fprintf(l.out, "FAIL  %-42s %10s  %v\n", name, took, claims.Redact(err.Error()))
		return
	}
	l.passed++
	fmt.Fprintf(l.out, "ok    %-42s %10s\n", name, took)
}

const (
	allowedSubject = "devices.eu." + devUser + ".temp"
	deniedSubject  = "devices.us." + devUser + ".temp"
	userPath       = "/accounts/" + devAccount + "/users/" + devUser
)

func (l *loop) drive(ctx context.Context) {
	l.step("console answers", func() error { return l.console(ctx) })
	l.step("connect with the creds file", func() error { return l.connect(l.ready.CredsFile) })
	defer func() {
		if l.conn != nil {
			l.conn.Close()
		}
	}()
	l.step("publish where the template allows", func() error { return l.publish(allowedSubject, false) })
	l.step("publish elsewhere is denied", func() error { return l.publish(deniedSubject, true) })
	l.step("change a limit, in effect on the server", func() error { return l.changeLimit(ctx) })
	l.step("revoke, in effect on the server", func() error { return l.revoke(ctx) })
	l.step("the live connection was closed", func() error { return l.awaitClosed(ctx) })
	l.step("reconnecting is refused", l.refused)
	path := filepath.Join(l.ready.DataDir, "again.creds")
	l.step("re-issue", func() error { return l.reissue(ctx, path) })
	l.step("connect with the new creds", func() error { return l.connect(path) })
}

func (l *loop) console(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.ready.SignInURL, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the sign-in page answered %d", resp.StatusCode)
	}
	return nil
}

func (l *loop) connect(creds string) error {
	l.closed, l.denials = make(chan struct{}), make(chan error, 16)
	closed, denials := l.closed, l.denials
	nc, err := nats.Connect(l.ready.NATSURL, nats.UserCredentials(creds), nats.NoReconnect(), nats.Name("chancery dev --check"),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			select {
			case denials <- err:
			default:
			}
		}))
	l.conn = nc
	return err
}

// publish publishes one message and tells from the server's answer to a flush
// whether it was denied.
func (l *loop) publish(subject string, wantDenied bool) error {
	if err := l.conn.Publish(subject, []byte("21")); err != nil {
		return err
	}
	if err := l.conn.FlushTimeout(5 * time.Second); err != nil {
		return err
	}
	if !wantDenied {
		select {
		case err := <-l.denials:
			return err
		default:
			return nil
		}
	}
	select {
	case err := <-l.denials:
		if errors.Is(err, nats.ErrPermissionViolation) {
			return nil
		}
		return err
	case <-time.After(5 * time.Second):
		return errors.New("the server let it pass")
	}
}

func (l *loop) changeLimit(ctx context.Context) error {
	return l.change(ctx, http.MethodPatch, "/accounts/"+devAccount, `{"limits":{"connections":5}}`)
}

func (l *loop) revoke(ctx context.Context) error {
	return l.change(ctx, http.MethodPut, "/accounts/"+devAccount+"/revocations/"+devUser, `{"reason":"dev --check"}`)
}

// change makes a change and fails unless the answer says that it is in effect.
func (l *loop) change(ctx context.Context, method, path, body string) error {
	var answer struct {
		Sync struct {
			State string `json:"state"`
		} `json:"sync"`
	}
	if err := l.call(ctx, method, path, body, &answer); err != nil {
		return err
	}
	if answer.Sync.State != "in_effect" {
		return fmt.Errorf("the change is %s", answer.Sync.State)
	}
	return nil
}

func (l *loop) awaitClosed(ctx context.Context) error {
	select {
	case <-l.closed:
		return nil
	case <-time.After(5 * time.Second):
		return errors.New("it is still open")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *loop) refused() error {
	nc, err := nats.Connect(l.ready.NATSURL, nats.UserCredentials(l.ready.CredsFile), nats.NoReconnect())
	if err == nil {
		nc.Close()
		return errors.New("the server let it in")
	}
	if !errors.Is(err, nats.ErrAuthorization) {
		return err
	}
	return nil
}

func (l *loop) reissue(ctx context.Context, path string) error {
	var answer struct {
		Creds string `json:"creds"`
	}
	if err := l.call(ctx, http.MethodPost, userPath+"/credentials", `{"reason":"dev --check"}`, &answer); err != nil {
		return err
	}
	return writeSecret(path, claims.NewSecret(answer.Creds))
}

// call uses the REST API and waits for the change to be in effect.
func (l *loop) call(ctx context.Context, method, path, body string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, l.ready.APIURL+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+l.ready.Token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Prefer", "wait=10")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s answered %d: %s", method, path, resp.StatusCode, raw)
	}
	return json.Unmarshal(raw, answer)
}
