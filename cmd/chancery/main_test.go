package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/store/storetest"
)

// runMain makes the test binary be chancery itself: tests that kill the process
// start it as their child.
const runMain = "CHANCERY_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		main()
		return
	}
	storetest.Main(m)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lockedBuffer takes what a process or a logger writes.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// inProcess runs a command line in this process and returns its exit code and
// what it printed.
func inProcess(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return inProcessWith(t, environment{args: args, now: time.Now, getenv: func(string) string { return "" }})
}

// inProcessWith is inProcess in an environment of which only the outputs are given.
func inProcessWith(t *testing.T, env environment) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs lockedBuffer
	env.stdout, env.stderr = &out, &errs
	code = run(t.Context(), env)
	return code, out.String(), errs.String()
}

// child starts chancery as a process of its own; it is killed when the test ends.
func child(t *testing.T, args ...string) (cmd *exec.Cmd, stdout, stderr *lockedBuffer) {
	t.Helper()
	cmd = exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], args...)
	cmd.Env = append(os.Environ(), runMain+"=1")
	stdout, stderr = &lockedBuffer{}, &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("child's standard error:\n%s", lastLines(stderr.String(), 40))
		}
	})
	return cmd, stdout, stderr
}

func lastLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
