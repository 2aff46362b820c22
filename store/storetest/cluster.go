package storetest

import (
	"context"
	"crypto/rand"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// errNoPostgres says that this machine has no server to test against, which is the one reason to skip.
var errNoPostgres = errors.New("no PostgreSQL: set CHANCERY_TEST_POSTGRES_URL or install the server (Debian: apt-get install postgresql)")

//go:embed cluster.sh
var clusterScript string

// cluster is a private PostgreSQL server that lives no longer than this process.
type cluster struct {
	url    *url.URL      // its maintenance database, as superuser
	dir    string        // data, log and password; removed by cluster.sh
	pipe   *os.File      // closing it ends the server
	exited chan struct{} // closed when the server is gone
}

// startCluster starts a private server and returns when it answers. Another process may take the free port
// before the server does, hence the attempts.
func startCluster() (*cluster, error) {
	bin, err := serverBinaries()
	if err != nil {
		return nil, err
	}
	var errs []error
	for range 3 {
		c, err := tryCluster(bin)
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("starting a private PostgreSQL from %s: %w", bin, errors.Join(errs...))
}

// serverBinaries returns the directory of the newest installed server.
func serverBinaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", fmt.Errorf("looking for PostgreSQL: %w", err)
	}
	if len(found) > 0 {
		return filepath.Dir(slices.MaxFunc(found, byMajor)), nil
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		return filepath.Dir(path), nil
	}
	out, err := exec.Command("pg_config", "--bindir").Output()
	if dir := strings.TrimSpace(string(out)); err == nil {
		if _, err := os.Stat(filepath.Join(dir, "postgres")); err == nil {
			return dir, nil
		}
	}
	return "", errNoPostgres
}

// byMajor orders Debian's …/9.6/bin/postgres before …/15/bin/postgres.
func byMajor(a, b string) int {
	major := func(path string) float64 {
		v, _ := strconv.ParseFloat(filepath.Base(filepath.Dir(filepath.Dir(path))), 64)
		return v
	}
	return int(major(a)*10 - major(b)*10)
}

func tryCluster(bin string) (*cluster, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	c, err := launch(bin, port)
	if err != nil {
		return nil, err
	}
	if err := c.await(time.Minute); err != nil {
		log, _ := os.ReadFile(filepath.Join(c.dir, "log"))
		c.stop()
		return nil, fmt.Errorf("%w\n%s", err, log)
	}
	return c, nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// launch runs cluster.sh and returns before the server answers.
func launch(bin, port string) (*cluster, error) {
	dir := filepath.Join(clusterHome(), "chancery-postgres-"+rand.Text())
	password := rand.Text()
	cmd := exec.Command("/bin/sh", "-c", clusterScript, "cluster.sh", bin, dir, port)
	cmd.Dir = "/" // ours may be closed to the user postgres
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "PGPASSWORD=" + password}
	cmd.Stderr = os.Stderr // until the script has a log of its own
	// A process group of its own keeps a Ctrl-C in the terminal from ending the watcher before the server.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := dropRoot(cmd.SysProcAttr); err != nil {
		return nil, err
	}
	stdin, pipe, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("opening the cluster's pipe: %w", err)
	}
	cmd.Stdin = stdin
	if err := errors.Join(cmd.Start(), stdin.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the cluster's shell: %w", err), pipe.Close())
	}
	c := &cluster{dir: dir, pipe: pipe, exited: make(chan struct{}), url: &url.URL{
		Scheme: "postgres", User: url.UserPassword("postgres", password), Host: net.JoinHostPort("127.0.0.1", port),
		Path: "/postgres", RawQuery: "sslmode=disable",
	}}
	go func() {
		defer close(c.exited)
		_ = cmd.Wait() // stopped in immediate mode, the server always reports an error
	}()
	return c, nil
}

// clusterRoom is the free memory in bytes from which on a server is kept there. One of our largest packages needs a
// quarter of it, and two run side by side.
const clusterRoom = 2 << 30

// clusterHome returns where a server is kept: in memory where the system has a place and room for it, since every test
// copies and removes some hundreds of files, which cost a disk with a journal ten times as much.
func clusterHome() string {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(memory, &fs); err != nil || fs.Bavail*uint64(max(fs.Bsize, 0)) < clusterRoom {
		return os.TempDir()
	}
	return memory
}

// dropRoot makes the command run as the user postgres, for root may not run a server.
func dropRoot(attr *syscall.SysProcAttr) error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return fmt.Errorf("finding the user to run PostgreSQL as, since root may not: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return fmt.Errorf("reading the uid of postgres: %w", err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return fmt.Errorf("reading the gid of postgres: %w", err)
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return nil
}

// await returns when the server answers. The random password makes sure that it is ours: a stranger on the
// same port would refuse it.
func (c *cluster) await(limit time.Duration) error {
	db, err := sql.Open("pgx", c.url.String())
	if err != nil {
		return fmt.Errorf("opening the cluster: %w", err)
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for {
		if err = db.PingContext(ctx); err == nil {
			return nil
		}
		select {
		case <-c.exited:
			return errors.New("the server ended while starting")
		case <-ctx.Done():
			return fmt.Errorf("waiting for the server: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop ends the server and waits for it; its directory goes a moment later.
func (c *cluster) stop() {
	_ = c.pipe.Close()
	<-c.exited
}
