package issuer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/custody"
	"chancery/store"
)

// The nouns as the store keeps them.
type (
	// Operator is a root of trust.
	Operator = store.Operator
	// Account is a tenant.
	Account = store.Account
	// Template is a permission set carried by scoped signing keys.
	Template = store.Template
	// Key is a signing key without its seed.
	Key = store.Key
	// User is who credentials are for.
	User = store.User
	// Credential is one entry of the ledger of issuances.
	Credential = store.Credential
	// Revocation refuses what was issued before a time.
	Revocation = store.Revocation
	// Export is what an account offers to others.
	Export = store.Export
	// Import is what an account takes from another one.
	Import = store.Import
	// Activation is an account's leave for another one to import.
	Activation = store.Activation
	// ServerDelivery is how far an account's JWT got on one server.
	ServerDelivery = store.Delivery
	// AuditAnchor is an entry of the audit log whose hash was kept outside the database.
	AuditAnchor = store.Checkpoint
	// Page asks for one page of a list.
	Page = store.Page
)

// Config is what an Issuer needs.
type Config struct {
	Store *store.Store
	// Now is the clock, for what happens outside transactions.
	Now func() time.Time
	// Rand makes keys and secrets; nil means crypto/rand.
	Rand   io.Reader
	Logger *slog.Logger
	// KEK unseals; the zero value starts sealed.
	KEK custody.KEK
	// External signs with the keys of external custody; nil where there are none.
	External custody.Signer
	// SystemPermissions are what Chancery's own user on the system account may do.
	SystemPermissions jwt.Permissions
	// Connections asks for an account's live connections; nil when there is
	// nobody to ask.
	Connections func(ctx context.Context, accountID string) ([]claims.Connection, error)
	// Trusts returns the names of the operator's running servers that would refuse
	// accounts signed by key; known is false while not all of them have told. Nil when
	// there is nobody to ask. It must not block.
	Trusts func(ctx context.Context, operatorID, key string) (untrusting []string, known bool)
	// Checkpoints is where Anchor writes checkpoints of the audit log; nil for nowhere.
	Checkpoints CheckpointLog
	// Connection returns the live connection of a server, by key or name, with a number; nil
	// when there is nobody to ask. It must not block.
	Connection func(server string, cid uint64) (claims.LiveConnection, bool)
	// Kick closes a connection of an operator's server; the error is
	// claims.ErrNoConnection or claims.ErrNotConnected. Required with Connection.
	Kick func(ctx context.Context, operatorID, serverID string, cid uint64) error
	// Sync returns how far an account's newest JWT got; nil when nobody delivers.
	Sync func(ctx context.Context, accountID string) (claims.Sync, error)
	// Wake is called after each committed change and must return at once.
	Wake func()
}

// Issuer runs the use cases. It is safe for concurrent use.
type Issuer struct {
	store    *store.Store
	now      func() time.Time
	rand     io.Reader
	log      *slog.Logger
	external custody.Signer
	// seeds is the open keyset; nil while sealed.
	seeds       atomic.Pointer[openKeyset]
	sealed      string
	systemPerms jwt.Permissions
	connections func(ctx context.Context, accountID string) ([]claims.Connection, error)
	trusts      func(ctx context.Context, operatorID, key string) (untrusting []string, known bool)
	connection  func(server string, cid uint64) (claims.LiveConnection, bool)
	kick        func(ctx context.Context, operatorID, serverID string, cid uint64) error
	sync        func(ctx context.Context, accountID string) (claims.Sync, error)
	// seldom is when the upkeep did last what it does once a minute.
	seldom seldom
	// tell wakes the resolver.
	tell func()
	// changed tells Keep that something was committed.
	changed chan struct{}
	// compacted is when the upkeep last looked for moot revocations, in microseconds.
	compacted atomic.Int64
	// checkpoints is where they are written; nil for nowhere. anchored is how far they
	// are.
	checkpoints CheckpointLog
	anchored    atomic.Pointer[AnchorState]
	// verified is what the last verification of the audit log found.
	verified   atomic.Pointer[AuditVerification]
	challenges challengeKey
	renewals   pace
	imports    importing
	// uses is what is to be written down of the use of tokens.
	uses tokenUses
}

// Open returns an issuer on a migrated store. A missing or wrong KEK is no error:
// the issuer is then sealed, see Sealed.
func Open(ctx context.Context, cfg Config) (*Issuer, error) {
	if cfg.Store == nil || cfg.Now == nil || cfg.Logger == nil {
		return nil, errors.New("opening issuer: store, clock and logger are required")
	}
	i := &Issuer{
		store: cfg.Store, now: cfg.Now, rand: cfg.Rand, log: cfg.Logger, external: cfg.External,
		systemPerms: cfg.SystemPermissions, connections: cfg.Connections, trusts: cfg.Trusts, sync: cfg.Sync, connection: cfg.Connection, kick: cfg.Kick, changed: make(chan struct{}, 1),
		checkpoints: cfg.Checkpoints,
	}
	if i.rand == nil {
		i.rand = rand.Reader
	}
	if i.tell = cfg.Wake; i.tell == nil {
		i.tell = func() {}
	}
	seeds, why, err := unseal(ctx, cfg.Store, cfg.KEK)
	if err != nil {
		return nil, fmt.Errorf("unsealing: %w", err)
	}
	i.sealed = why
	i.seeds.Store(seeds)
	return i, nil
}

// Sealed returns why the issuer cannot sign, or "" when it can.
func (i *Issuer) Sealed() string { return i.sealed }
