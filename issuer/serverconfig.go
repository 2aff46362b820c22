package issuer

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// ServerConfig is what a nats-server needs to know of an operator.
type ServerConfig struct {
	// Text is the part of the configuration file.
	Text string
	// Fingerprint is claims.OperatorFingerprint of the JWT in force.
	Fingerprint string
	// ResolverURL ends in /accounts/.
	ResolverURL string
}

// ServerConfigInput says which configuration is wanted.
type ServerConfigInput struct {
	// BaseURL is the public address of the resolver without a path.
	BaseURL string
	// Resolver is one of claims.ServerResolvers; empty is the URL resolver.
	Resolver claims.ResolverKind
}

// Bounds of a configuration that holds all accounts.
const (
	mostPreloaded  = 10_000
	preloadedBytes = 32 << 20
	preloadBatch   = 500
)

// ServerConfig is ServerConfigWith for the URL resolver at baseURL.
func (i *Issuer) ServerConfig(ctx context.Context, caller Caller, operator, baseURL string) (ServerConfig, error) {
	return i.ServerConfigWith(ctx, caller, operator, ServerConfigInput{BaseURL: baseURL})
}

// ServerConfigWith returns the part of a nats-server's configuration that makes it
// trust the operator and get its accounts the way that is wanted. There is none before
// the operator's first JWT is signed, and none of an observed operator whose accounts
// were not imported: they are not served here. The memory resolver's holds all accounts
// and needs ReadAccounts on the operator too; it is refused with too many of them.
func (i *Issuer) ServerConfigWith(ctx context.Context, caller Caller, operator string, in ServerConfigInput) (ServerConfig, error) {
	return read(ctx, i, caller, use{permission: ReadOperators, action: "read", kind: "server_config", target: operator}, func(ctx context.Context, d *desk) (ServerConfig, error) {
		var out ServerConfig
		if in.Resolver != "" && !slices.Contains(claims.ServerResolvers(), in.Resolver) {
			return out, invalidField("/resolver", "unknown_value", "The resolvers are url, full, cache and memory.")
		}
		o, err := findOperator(ctx, d, operator)
		if err != nil {
			return out, err
		}
		system, err := d.GetServed(ctx, o.Settings.SystemAccount)
		if errors.Is(err, store.ErrNotFound) {
			return out, cmp.Or(writable(o), orMissing(err, "account"))
		} else if err != nil {
			return out, err
		}
		if o.JWT == "" {
			return out, &Error{
				Kind: KindConflict, Code: "awaiting_signature", Message: "The operator's JWT is not signed yet: no server could trust it.",
				Hint: "Export the unsigned claims, sign them where the identity key is, and upload the JWT.",
			}
		}
		c, err := jwt.DecodeOperatorClaims(o.JWT)
		if err != nil {
			return out, err
		}
		var preload []claims.PreloadedAccount
		switch in.Resolver {
		case claims.ResolverFull, claims.ResolverCache:
			preload = []claims.PreloadedAccount{{ID: system.AccountID, JWT: system.Token}}
		case claims.ResolverMemory:
			if preload, err = preloaded(ctx, d, o.ID); err != nil {
				return out, err
			}
		}
		path := "/jwt/v1"
		if !o.Default {
			path = "/o/" + o.ID + "/jwt/v1"
		}
		out.ResolverURL, out.Fingerprint = in.BaseURL+path+"/accounts/", claims.OperatorFingerprint(c)
		out.Text = claims.ServerConfig(claims.ServerConfigInput{
			OperatorName: o.Name, OperatorJWT: o.JWT, SystemAccount: c.SystemAccount, Fingerprint: out.Fingerprint,
			Resolver: in.Resolver, ResolverURL: out.ResolverURL, Preload: preload,
		})
		return out, nil
	})
}

// preloaded are all accounts of the operator.
func preloaded(ctx context.Context, d *desk, operatorID string) ([]claims.PreloadedAccount, error) {
	if err := d.alsoNeeds(ReadAccounts); err != nil {
		return nil, err
	}
	var out []claims.PreloadedAccount
	for after, size := "", 0; ; {
		page, err := d.ListServedOf(ctx, operatorID, after, preloadBatch)
		if err != nil {
			return nil, err
		}
		for _, a := range page {
			after, size = a.AccountID, size+len(a.Token)
			out = append(out, claims.PreloadedAccount{ID: a.AccountID, JWT: a.Token})
		}
		if len(out) > mostPreloaded || size > preloadedBytes {
			return nil, &Error{
				Kind: KindConflict, Code: "too_many_accounts", Message: "The operator has more accounts than a configuration file should hold: 10,000, or 32 MiB of JWTs.",
				Hint: "Use the full, cache or URL resolver.",
			}
		}
		if len(page) < preloadBatch {
			return out, nil
		}
	}
}
