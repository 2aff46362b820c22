package storetest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver named pgx
)

// namePrefix marks the databases that are ours to drop; the Unix time of their making follows.
const namePrefix = "chancery_test_"

// shared is the PostgreSQL of this test binary. It is a variable because the tests of a binary have no
// common parent that could hold it.
var shared postgres

// postgres is the server that the tests of one binary share: given by address, or a private cluster.
type postgres struct {
	connected, migrated sync.Once
	connectErr          error
	migrateErr          error

	url      *url.URL // the maintenance database
	admin    *sql.DB
	cluster  *cluster // nil when the server was given
	names    string   // what the names of this process's databases begin with
	template string
	strategy string // the fastest way of this server to copy a template

	kept    sync.Map // databases that stay until the end
	made    atomic.Int64
	skipped atomic.Int64
}

// clone returns the address of a new copy of the migrated template.
func (p *postgres) clone(t testing.TB) string {
	t.Helper()
	p.need(t)
	p.migrated.Do(func() { p.migrateErr = p.makeTemplate() })
	if p.migrateErr != nil {
		t.Fatal(p.migrateErr)
	}
	return p.create(t, p.template)
}

// copyOf returns the address of a new copy of the database at the address.
func (p *postgres) copyOf(t testing.TB, address string) string {
	t.Helper()
	return p.create(t, databaseOf(t, address))
}

// keep is copyOf for a copy that stop removes.
func (p *postgres) keep(t testing.TB, address string) string {
	t.Helper()
	name := p.copy(t, databaseOf(t, address))
	p.kept.Store(name, nil)
	return p.address(name)
}

func databaseOf(t testing.TB, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal("the address of the database to copy cannot be read") // it may hold a password
	}
	return strings.TrimPrefix(u.Path, "/")
}

// empty returns the address of a new database without tables.
func (p *postgres) empty(t testing.TB) string {
	t.Helper()
	p.need(t)
	return p.create(t, "template0")
}

// need starts or finds the server, or ends the test.
func (p *postgres) need(t testing.TB) {
	t.Helper()
	p.connected.Do(func() { p.connectErr = p.connect() })
	switch {
	case p.connectErr == nil:
	case errors.Is(p.connectErr, errNoPostgres) && os.Getenv("CI") != "true":
		p.skipped.Add(1)
		t.Skip(p.connectErr)
	default:
		t.Fatal(p.connectErr)
	}
}

func (p *postgres) connect() error {
	if err := p.locate(); err != nil {
		return err
	}
	var err error
	if p.admin, err = sql.Open("pgx", p.url.String()); err != nil {
		return fmt.Errorf("opening PostgreSQL: %w", err)
	}
	var version int
	err = p.admin.QueryRow("SELECT current_setting('server_version_num')::int").Scan(&version)
	if err != nil {
		return fmt.Errorf("asking PostgreSQL for its version: %w", err)
	}
	now := time.Now()
	p.names = fmt.Sprintf("%s%d_%d_%s_", namePrefix, now.Unix(), os.Getpid(), strings.ToLower(rand.Text()[:6]))
	p.template = p.names + "template"
	if p.cluster == nil {
		p.sweep(now.Add(-time.Hour))
	} else if version >= 150000 {
		p.strategy = " STRATEGY file_copy" // its checkpoints are free without fsync, its copy is not logged
	}
	return nil
}

// locate decides which server it is.
func (p *postgres) locate() (err error) {
	given := os.Getenv("CHANCERY_TEST_POSTGRES_URL")
	if given == "" {
		if p.cluster, err = startCluster(); err == nil {
			p.url = p.cluster.url
		}
		return err
	}
	p.url, err = url.Parse(given)
	if err != nil || !strings.HasPrefix(p.url.Scheme, "postgres") {
		// Neither the value nor the parser's error, which quotes it: it may hold a password.
		return errors.New("CHANCERY_TEST_POSTGRES_URL is not an address of the form postgres://user@host:port/database")
	}
	return nil
}

// sweep drops what killed test runs left on a given server before the moment. It is a courtesy: another run
// may be sweeping too, so its errors are nobody's.
func (p *postgres) sweep(before time.Time) {
	rows, err := p.admin.Query("SELECT datname FROM pg_database WHERE starts_with(datname, $1)", namePrefix)
	if err != nil {
		return
	}
	defer rows.Close()
	var old []string
	for rows.Next() {
		var name string
		if rows.Scan(&name) != nil {
			return
		}
		made, _, _ := strings.Cut(strings.TrimPrefix(name, namePrefix), "_")
		if unix, err := strconv.ParseInt(made, 10, 64); err == nil && time.Unix(unix, 0).Before(before) {
			old = append(old, name)
		}
	}
	if rows.Err() != nil {
		return
	}
	for _, name := range old {
		_ = p.drop(name)
	}
}

func (p *postgres) makeTemplate() error {
	if _, err := p.admin.Exec("CREATE DATABASE " + p.template + " TEMPLATE template0"); err != nil {
		return fmt.Errorf("creating the template: %w", err)
	}
	return migrate(context.Background(), p.address(p.template))
}

// create makes a database that is dropped when the test ends, with all connections to it.
func (p *postgres) create(t testing.TB, template string) string {
	t.Helper()
	name := p.copy(t, template)
	t.Cleanup(func() {
		if err := p.drop(name); err != nil {
			t.Errorf("dropping the database: %v", err)
		}
	})
	return p.address(name)
}

// copy makes a database that stays. The server waits five seconds for connections to the template to end, which on a
// busy machine is not enough for ones that were just closed.
func (p *postgres) copy(t testing.TB, template string) string {
	t.Helper()
	name := p.names + strconv.FormatInt(p.made.Add(1), 10)
	var err error
	for range 12 {
		_, err = p.admin.Exec("CREATE DATABASE " + name + " TEMPLATE " + template + p.strategy)
		if e, ok := errors.AsType[*pgconn.PgError](err); !ok || e.Code != "55006" { // object_in_use
			break
		}
	}
	if err != nil {
		t.Fatalf("creating a database: %v", err)
	}
	return name
}

func (p *postgres) drop(name string) error {
	_, err := p.admin.Exec("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)")
	return err
}

func (p *postgres) address(database string) string {
	u := *p.url
	u.Path = "/" + database
	return u.String()
}

// stop removes the template and ends a private server.
func (p *postgres) stop() {
	if p.admin != nil {
		if p.cluster == nil && p.template != "" {
			_ = p.drop(p.template) // at worst the next run's sweep takes it
			p.kept.Range(func(name, _ any) bool { return p.drop(name.(string)) == nil })
		}
		_ = p.admin.Close()
	}
	if p.cluster != nil {
		p.cluster.stop()
	}
}
