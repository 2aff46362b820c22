package e2e

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
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

// startDev builds the binary, or takes the one in CHANCERY_BINARY, and starts
// everything in one process on free ports.
func startDev(t *testing.T) dev {
	t.Helper()
	binary := os.Getenv("CHANCERY_BINARY")
	if binary == "" {
		binary = filepath.Join(t.TempDir(), "chancery")
		build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", binary, "./cmd/chancery")
		build.Dir = ".."
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("building the binary: %v\n%s", err, out)
		}
	}
	cmd := exec.Command(binary, "dev", "--dir", t.TempDir(), "--json", "--port", "0", "--nats-port", "0")
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
