package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// dev is what `chancery dev --json` says when it is ready.
type dev struct {
	SignInURL string `json:"sign_in_url"`
	NATSURL   string `json:"nats_url"`
	CredsFile string `json:"creds_file"`
}

// binary is the path of chancery: the one in CHANCERY_BINARY, else one that is built for all tests of the run.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("CHANCERY_BINARY"); path != "" {
		return path, nil
	}
	dir, err := os.MkdirTemp("", "chancery-e2e-")
	if err != nil {
		return "", err
	}
	built = dir
	path := filepath.Join(dir, "chancery")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", path, "./cmd/chancery")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the binary: %w\n%s", err, out)
	}
	return path, nil
})

// built is the directory of what binary built.
var built string

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

// startDev starts everything in one process on free ports.
func startDev(t *testing.T) dev {
	t.Helper()
	path, err := binary()
	must(t, err)
	cmd := exec.Command(path, "dev", "--dir", t.TempDir(), "--json", "--port", "0", "--nats-port", "0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		kill := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		_ = cmd.Process.Signal(syscall.SIGINT)
		if err := cmd.Wait(); err != nil {
			t.Errorf("chancery dev did not end well: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("chancery dev did not become ready: %v", err)
	}
	var d dev
	must(t, json.Unmarshal(line, &d))
	return d
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
