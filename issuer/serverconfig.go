package issuer

import (
	"cmp"
	"context"
	"errors"

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

// ServerConfig returns the part of a nats-server's configuration that makes it
// trust the operator and fetch accounts from baseURL, the public address of the
// resolver without a path. There is none before the operator's first JWT is signed, and
// none of an observed operator whose accounts were not imported: they are not served here.
func (i *Issuer) ServerConfig(ctx context.Context, caller Caller, operator, baseURL string) (ServerConfig, error) {
	return read(ctx, i, caller, use{permission: ReadOperators, action: "read", kind: "server_config", target: operator}, func(ctx context.Context, d *desk) (ServerConfig, error) {
		var out ServerConfig
		o, err := findOperator(ctx, d, operator)
		if err != nil {
			return out, err
		}
		if _, err := d.GetAccount(ctx, o.Settings.SystemAccount); errors.Is(err, store.ErrNotFound) {
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
		path := "/jwt/v1"
		if !o.Default {
			path = "/o/" + o.ID + "/jwt/v1"
		}
		out.ResolverURL, out.Fingerprint = baseURL+path+"/accounts/", claims.OperatorFingerprint(c)
		out.Text = claims.ServerConfig(claims.ServerConfigInput{
			OperatorName: o.Name, OperatorJWT: o.JWT, SystemAccount: c.SystemAccount, Fingerprint: out.Fingerprint, ResolverURL: out.ResolverURL,
		})
		return out, nil
	})
}
