package issuer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/tink-crypto/tink-go/v2/tink"

	"chancery/claims"
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
	KEK KEK
	// SystemPermissions are what Chancery's own user on the system account may do.
	SystemPermissions jwt.Permissions
	// Connections asks for an account's live connections; nil when there is
	// nobody to ask.
	Connections func(ctx context.Context, accountID string) ([]claims.Connection, error)
	// Wake is called after each committed change and must return at once.
	Wake func()
}

// Issuer runs the use cases. It is safe for concurrent use.
type Issuer struct {
	store       *store.Store
	now         func() time.Time
	rand        io.Reader
	log         *slog.Logger
	seeds       tink.AEAD
	sealed      string
	systemPerms jwt.Permissions
	connections func(ctx context.Context, accountID string) ([]claims.Connection, error)
	// tell wakes the resolver.
	tell func()
	// changed tells Keep that something was committed.
	changed    chan struct{}
	challenges challengeKey
	renewals   pace
}

// Open returns an issuer on a migrated store. A missing or wrong KEK is no error:
// the issuer is then sealed, see Sealed.
func Open(ctx context.Context, cfg Config) (*Issuer, error) {
	if cfg.Store == nil || cfg.Now == nil || cfg.Logger == nil {
		return nil, errors.New("opening issuer: store, clock and logger are required")
	}
	i := &Issuer{store: cfg.Store, now: cfg.Now, rand: cfg.Rand, log: cfg.Logger, systemPerms: cfg.SystemPermissions, connections: cfg.Connections, changed: make(chan struct{}, 1)}
	if i.rand == nil {
		i.rand = rand.Reader
	}
	if i.tell = cfg.Wake; i.tell == nil {
		i.tell = func() {}
	}
	var err error
	if i.seeds, i.sealed, err = unseal(ctx, cfg.Store, cfg.KEK); err != nil {
		return nil, fmt.Errorf("unsealing: %w", err)
	}
	return i, nil
}

// Sealed returns why the issuer cannot sign, or "" when it can.
func (i *Issuer) Sealed() string { return i.sealed }
