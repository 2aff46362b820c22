package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Server is a PostgreSQL server that one test has for itself, to stop and start it.
type Server struct {
	t    testing.TB
	c    *cluster
	bin  string
	port string
}

// OwnPostgres starts a server with an empty database, which ends with the test. It is
// always a private one: without the binaries of a server the test ends here, skipped or
// failed as with Postgres.
func OwnPostgres(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t}
	var err error
	s.bin, err = serverBinaries()
	if errors.Is(err, errNoPostgres) && (os.Getenv("CI") != "true" || os.Getenv("CHANCERY_TEST_POSTGRES_URL") != "") {
		shared.skipped.Add(1)
		t.Skip(err)
	}
	for range 3 {
		if err != nil {
			break
		}
		s.port = steadyPort()
		if s.c, err = launch(s.bin, s.port); err != nil {
			break
		}
		t.Cleanup(s.c.stop)
		if err = s.c.await(time.Minute); err == nil {
			return s
		}
	}
	t.Fatal(err)
	return nil
}

// URL is the address of its database.
func (s *Server) URL() string { return s.c.url.String() }

// Stop ends the server and all connections to it, as an administrator does.
func (s *Server) Stop() {
	s.t.Helper()
	s.control("stop", "--mode=fast")
}

// Start starts it again with what it had, at the same address, and returns when it
// answers.
func (s *Server) Start() {
	s.t.Helper()
	s.control("start", "--log="+filepath.Join(s.c.dir, "log"), "--options="+
		fmt.Sprintf("-p %s -c listen_addresses=127.0.0.1 -c unix_socket_directories=%s -c fsync=off -c full_page_writes=off", s.port, s.c.dir))
}

// control runs pg_ctl. What it starts is ended with the rest by cluster.sh.
func (s *Server) control(args ...string) {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(s.bin, "pg_ctl"), append(args, "--pgdata="+filepath.Join(s.c.dir, "data"), "--silent", "--wait")...)
	cmd.Dir, cmd.Env = "/", []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := dropRoot(cmd.SysProcAttr); err != nil {
		s.t.Fatal(err)
	}
	// No pipe: the server would inherit it, and whoever waits for its end would wait for the server.
	if err := cmd.Run(); err != nil {
		log, _ := os.ReadFile(filepath.Join(s.c.dir, "log"))
		s.t.Fatalf("pg_ctl %s: %v\n%s", args[0], err, log)
	}
}

// steadyPort returns a free port that the system gives to nobody who asks for any, since
// the server is to come back to it.
func steadyPort() string {
	for {
		port := strconv.Itoa(20_000 + rand.IntN(12_000)) //nolint:gosec // it is no secret
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port)); err == nil {
			_ = l.Close()
			return port
		}
	}
}
