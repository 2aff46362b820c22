package storetest

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/store"
)

func TestMain(m *testing.M) {
	if os.Getenv(holdServer) != "" {
		hold()
	}
	Main(m)
}

// holdServer makes this test binary start a server, tell where it is, and wait to be killed.
const holdServer = "CHANCERY_STORETEST_HOLD"

func hold() {
	c, err := startCluster()
	if err != nil {
		_, _ = os.Stdout.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	_, _ = os.Stdout.WriteString(c.dir + "\n")
	select {}
}

func TestEachIsMigrated(t *testing.T) {
	t.Parallel()
	var ran []string
	Each(t, func(t *testing.T, s *store.Store) {
		ran = append(ran, t.Name()[strings.LastIndex(t.Name(), "/")+1:])
		// A migrated store has nothing left to do, so migrating again is no error and no change.
		if err := s.Migrate(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if want := Dialects(); !t.Failed() && !slices.Equal(ran, want) && shared.skipped.Load() == 0 {
		t.Errorf("ran on %v, want %v", ran, want)
	}
}

func TestURLsAreDistinct(t *testing.T) {
	t.Parallel()
	for _, dialect := range Dialects() {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			urls := []string{URL(t, dialect), URL(t, dialect), EmptyURL(t, dialect), EmptyURL(t, dialect)}
			slices.Sort(urls)
			if n := len(slices.Compact(urls)); n != 4 {
				t.Errorf("%d distinct databases, want 4", n)
			}
		})
	}
}

// An empty database can be migrated by the test, which is what EmptyURL is for.
func TestEmptyURL(t *testing.T) {
	t.Parallel()
	for _, dialect := range Dialects() {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			if err := migrate(t.Context(), EmptyURL(t, dialect)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestKilledProcessLeavesNoServer(t *testing.T) {
	t.Parallel()
	if _, err := serverBinaries(); err != nil {
		if os.Getenv("CHANCERY_TEST_POSTGRES_URL") == "" {
			shared.need(t) // says it once, loudly
		}
		t.Skip("the server is given and no binaries are installed: there is no private server to lose")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), holdServer+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	dir := strings.TrimSpace(line)
	if _, statErr := os.Stat(dir); err != nil || statErr != nil {
		t.Fatalf("the child's server is not at %q: %v, %v", dir, err, statErr)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed

	// The directory goes last, after the server.
	deadline := time.After(30 * time.Second)
	for tick := time.Tick(20 * time.Millisecond); ; {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return
		}
		select {
		case <-tick:
		case <-deadline:
			t.Fatalf("%s is still there", dir)
		}
	}
}
