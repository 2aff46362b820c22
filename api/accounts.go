package api

import (
	"context"
	"net/url"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// Account is a tenant.
type Account struct {
	ID          string    `json:"id" doc:"The identity key A…"`
	Name        string    `json:"name" example:"ORDERS"`
	Operator    string    `json:"operator" doc:"The operator's identity key."`
	State       string    `json:"state" enum:"active,suspended,deleted"`
	System      bool      `json:"system" doc:"Whether it is the operator's system account."`
	Description string    `json:"description"`
	Tags        []string  `json:"tags"`
	Limits      Limits    `json:"limits"`
	JetStream   JetStream `json:"jetstream"`
	Revision    int64     `json:"revision" doc:"Counts signed JWTs."`
	JTI         string    `json:"jti"`
	IssuedAt    time.Time `json:"issued_at"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	Size        *JWTSize  `json:"size,omitempty" doc:"How large the JWT is; in the answer to reading one account."`
	Sync        *Sync     `json:"sync,omitempty"`
	Plan        *Plan     `json:"plan,omitempty"`
}

// JWTSize is how much of what a nats-server takes an account's JWT uses.
type JWTSize struct {
	Bytes           int          `json:"bytes"`
	LimitBytes      int          `json:"limit_bytes"`
	Revocations     int          `json:"revocations" doc:"Entries in it."`
	RevocationBytes int          `json:"revocation_bytes" doc:"What they take at most."`
	Compactable     int          `json:"compactable" doc:"Entries that can be compacted now."`
	Warnings        []FieldError `json:"warnings,omitempty" doc:"From half of the limit on."`
}

// Limits of an account; -1 is unlimited.
type Limits struct {
	Connections     int64 `json:"connections"`
	LeafConnections int64 `json:"leaf_connections"`
	Subscriptions   int64 `json:"subscriptions"`
	DataBytes       int64 `json:"data_bytes"`
	PayloadBytes    int64 `json:"payload_bytes"`
	Imports         int64 `json:"imports"`
	Exports         int64 `json:"exports"`
	WildcardExports bool  `json:"wildcard_exports"`
	DisallowBearer  bool  `json:"disallow_bearer"`
}

// JetStream limits of an account; -1 is unlimited.
type JetStream struct {
	Enabled     bool  `json:"enabled"`
	MemoryBytes int64 `json:"memory_bytes"`
	DiskBytes   int64 `json:"disk_bytes"`
	Streams     int64 `json:"streams"`
	Consumers   int64 `json:"consumers"`
}

func viewAccount(x issuer.Account) Account {
	l := x.Settings.Limits
	return Account{
		ID: x.ID, Name: x.Name, Operator: x.OperatorID, State: x.State, System: x.System, Description: x.Settings.Description, Tags: filled(x.Settings.Tags),
		Limits: Limits{
			Connections: l.Conn, LeafConnections: l.LeafNodeConn, Subscriptions: l.Subs, DataBytes: l.Data, PayloadBytes: l.Payload,
			Imports: l.Imports, Exports: l.Exports, WildcardExports: l.WildcardExports, DisallowBearer: l.DisallowBearer,
		},
		JetStream: JetStream{Enabled: l.IsJSEnabled(), MemoryBytes: l.MemoryStorage, DiskBytes: l.DiskStorage, Streams: l.Streams, Consumers: l.Consumer},
		Revision:  x.JWTVersion, JTI: x.JTI, IssuedAt: time.Unix(x.IssuedAt, 0).UTC(), CreatedAt: x.Created, UpdatedAt: x.Updated,
	}
}

// LimitsInput sets limits; null puts one back to unlimited.
type LimitsInput struct {
	Connections     Omit[int64] `json:"connections,omitempty"`
	LeafConnections Omit[int64] `json:"leaf_connections,omitempty"`
	Subscriptions   Omit[int64] `json:"subscriptions,omitempty"`
	DataBytes       Omit[int64] `json:"data_bytes,omitempty"`
	PayloadBytes    Omit[int64] `json:"payload_bytes,omitempty"`
	Imports         Omit[int64] `json:"imports,omitempty"`
	Exports         Omit[int64] `json:"exports,omitempty"`
	WildcardExports Omit[bool]  `json:"wildcard_exports,omitempty"`
	DisallowBearer  Omit[bool]  `json:"disallow_bearer,omitempty"`
}

func (in *LimitsInput) onto(l *jwt.OperatorLimits) {
	if in == nil {
		return
	}
	in.Connections.onto(&l.Conn, jwt.NoLimit)
	in.LeafConnections.onto(&l.LeafNodeConn, jwt.NoLimit)
	in.Subscriptions.onto(&l.Subs, jwt.NoLimit)
	in.DataBytes.onto(&l.Data, jwt.NoLimit)
	in.PayloadBytes.onto(&l.Payload, jwt.NoLimit)
	in.Imports.onto(&l.Imports, jwt.NoLimit)
	in.Exports.onto(&l.Exports, jwt.NoLimit)
	in.WildcardExports.onto(&l.WildcardExports, true)
	in.DisallowBearer.onto(&l.DisallowBearer, false)
}

// JetStreamInput switches JetStream and sets its limits.
type JetStreamInput struct {
	Enabled     Omit[bool]  `json:"enabled,omitempty" doc:"A nats-server has no such switch: there, zero storage means off."`
	MemoryBytes Omit[int64] `json:"memory_bytes,omitempty"`
	DiskBytes   Omit[int64] `json:"disk_bytes,omitempty"`
	Streams     Omit[int64] `json:"streams,omitempty"`
	Consumers   Omit[int64] `json:"consumers,omitempty"`
}

func (in *JetStreamInput) onto(l *jwt.OperatorLimits) {
	if in == nil {
		return
	}
	on := l.IsJSEnabled()
	in.Enabled.onto(&on, false)
	if !on {
		l.JetStreamLimits = jwt.JetStreamLimits{}
		if in.Enabled.Set {
			return
		}
	} else if !l.IsJSEnabled() {
		l.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit}
	}
	in.MemoryBytes.onto(&l.MemoryStorage, jwt.NoLimit)
	in.DiskBytes.onto(&l.DiskStorage, jwt.NoLimit)
	in.Streams.onto(&l.Streams, jwt.NoLimit)
	in.Consumers.onto(&l.Consumer, jwt.NoLimit)
}

// AccountPatch changes an account.
type AccountPatch struct {
	Description Omit[string]    `json:"description,omitempty" maxLength:"8192"`
	Tags        Omit[[]string]  `json:"tags,omitempty" maxItems:"64" example:"[\"team:orders\"]"`
	Limits      *LimitsInput    `json:"limits,omitempty"`
	JetStream   *JetStreamInput `json:"jetstream,omitempty"`
}

func (p *AccountPatch) onto(s *jwt.Account) {
	p.Description.onto(&s.Description, "")
	tags := []string(s.Tags)
	p.Tags.onto(&tags, nil)
	s.Tags = tags
	p.Limits.onto(&s.Limits)
	p.JetStream.onto(&s.Limits)
}

// AccountInput asks for a new account.
type AccountInput struct {
	Name     string `json:"name" maxLength:"64" example:"ORDERS"`
	Operator string `json:"operator,omitempty" maxLength:"64" doc:"Name or public key; needed when there are several."`
	AccountPatch
}

type listAccountsInput struct {
	Search
	Operator string `query:"operator" maxLength:"64" doc:"Only this operator's, by name or public key."`
}

func (a *API) listAccounts(ctx context.Context, by call, in *listAccountsInput) (*paged[Account], error) {
	name := "accounts/" + in.Operator
	page, err := in.pageOf(name)
	if err != nil {
		return nil, err
	}
	rows, err := a.issuer.ListAccounts(ctx, by.caller, in.Operator, page)
	if err != nil {
		return nil, err
	}
	return turn(rows, page.Limit-1, in.link(url.Values{"q": {in.Q}, "operator": {in.Operator}}, "accounts"), viewAccount, func(x issuer.Account) cursor {
		return cursor{List: name + "?q=" + in.Q, Name: x.Name, ID: x.ID}
	}), nil
}

type createAccountInput struct {
	Change
	Body AccountInput
}

func (a *API) createAccount(ctx context.Context, by call, in *createAccountInput) (*created[Account], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	settings := claims.NewAccountSettings()
	in.Body.onto(&settings)
	out, err := a.issuer.CreateAccount(ctx, op, issuer.AccountInput{Operator: in.Body.Operator, Name: in.Body.Name, Settings: settings})
	if err != nil {
		return nil, err
	}
	body := viewAccount(out.Value)
	body.Plan = in.plan(out.Plan)
	body.Sync = a.syncAfter(ctx, in.Change, out.Value.ID, out.Value.JWTVersion)
	return &created[Account]{Status: in.status(), ETag: etag(out.Value.Version), Location: Base + "/accounts/" + out.Value.ID, Body: body}, nil
}

func (a *API) getAccount(ctx context.Context, by call, in *AccountPath) (*saved[Account], error) {
	x, err := a.issuer.GetAccount(ctx, by.caller, in.Account)
	if err != nil {
		return nil, err
	}
	size, err := a.issuer.AccountSize(ctx, by.caller, x.ID)
	if err != nil {
		return nil, err
	}
	body := viewAccount(x)
	body.Size = &JWTSize{Bytes: size.Bytes, LimitBytes: size.Limit, Revocations: size.Revocations, RevocationBytes: size.RevocationBytes, Compactable: size.Moot}
	for _, w := range size.Warnings {
		body.Size.Warnings = append(body.Size.Warnings, FieldError{Pointer: w.Pointer, Code: w.Code, Detail: w.Detail})
	}
	return &saved[Account]{ETag: etag(x.Version), Body: body}, nil
}

type updateAccountInput struct {
	AccountPath
	Change
	Body AccountPatch `contentType:"application/merge-patch+json"`
}

func (a *API) updateAccount(ctx context.Context, by call, in *updateAccountInput) (*saved[Account], error) {
	op, err := in.op(by, "")
	if err != nil {
		return nil, err
	}
	out, err := a.issuer.UpdateAccount(ctx, op, in.Account, in.Body.onto)
	if err != nil {
		return nil, err
	}
	body := viewAccount(out.Value)
	body.Plan = in.plan(out.Plan)
	body.Sync = a.syncAfter(ctx, in.Change, out.Value.ID, out.Value.JWTVersion)
	return &saved[Account]{ETag: etag(out.Value.Version), Body: body}, nil
}

func (a *API) getAccountJWT(ctx context.Context, by call, in *AccountPath) (*text, error) {
	x, err := a.issuer.GetAccount(ctx, by.caller, in.Account)
	if err != nil {
		return nil, err
	}
	return &text{ContentType: "application/jwt", Body: []byte(x.JWT)}, nil
}
