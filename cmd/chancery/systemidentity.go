package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/issuer"
	"chancery/resolver"
)

// systemIdentities keeps Chancery's own credentials on the system accounts: one
// creds file for each operator, readable by this user only. They are kept outside
// the database so that a sealed process still pushes what is signed.
type systemIdentities struct {
	issuer *issuer.Issuer
	dir    string
	now    func() time.Time
	log    *slog.Logger
	mu     sync.Mutex
	// replaced is when credentials were last replaced that were refused though the system
	// account admits them, by operator.
	replaced map[string]time.Time
}

// get returns the identity for the operator's system account. It issues a new
// credential when there is none, when half of its life is over, and when a server
// refused it.
func (s *systemIdentities) get(ctx context.Context, operatorID string, refused bool) (resolver.Identity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := filepath.Join(s.dir, "system-"+operatorID+".creds")
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return resolver.Identity{}, fmt.Errorf("reading the system user's credentials: %w", err)
	}
	creds := claims.NewSecret(string(text))
	replace := refused && len(text) > 0 && s.replaceable(ctx, operatorID, creds)
	if !s.fresh(creds) || replace {
		issued, err := s.issue(ctx, operatorID, path)
		switch {
		case err == nil:
			creds = issued
			if replace {
				s.log.InfoContext(ctx, "the servers refused the system user's credentials, so it got new ones", slog.String("operator", operatorID))
			}
		case len(text) == 0:
			return resolver.Identity{}, err
		default:
			s.log.WarnContext(ctx, "the system user's credentials could not be renewed; the old ones are used", slog.Any("error", err))
		}
	}
	token, seed, err := claims.ParseCreds(creds)
	if err != nil {
		return resolver.Identity{}, fmt.Errorf("reading the system user's credentials: %w", err)
	}
	return resolver.Identity{
		JWT: func() (string, error) { return token, nil },
		Sign: func(nonce []byte) ([]byte, error) {
			pair, err := nkeys.FromSeed([]byte(seed.Reveal()))
			if err != nil {
				return nil, errors.New("the system user's seed cannot be read")
			}
			defer pair.Wipe()
			return pair.Sign(nonce)
		},
	}, nil
}

// fresh tells whether the credentials have more than half of their life ahead and
// allow what this version needs.
func (s *systemIdentities) fresh(creds claims.Secret) bool {
	token, _, err := claims.ParseCreds(creds)
	if err != nil {
		return false
	}
	c, err := jwt.DecodeUserClaims(token)
	if err != nil || time.Unix(c.Expires, 0).Sub(s.now()) <= time.Duration(c.Expires-c.IssuedAt)*time.Second/2 {
		return false
	}
	for _, subject := range resolver.SystemPermissions().Pub.Allow {
		if !c.Pub.Allow.Contains(subject) {
			return false
		}
	}
	return true
}

// again is how often credentials are replaced at most that are refused though the
// system account admits them.
const again = 10 * time.Minute

// replaceable tells whether credentials that a server refused are to be replaced. Those
// that the system account does not admit any more always are; others now and then, as
// a server may hold an older JWT of the account, which refuses just these.
func (s *systemIdentities) replaceable(ctx context.Context, operatorID string, creds claims.Secret) bool {
	if !s.stands(ctx, operatorID, creds) {
		return true
	}
	if last, ok := s.replaced[operatorID]; ok && s.now().Sub(last) < again {
		return false
	}
	if s.replaced == nil {
		s.replaced = map[string]time.Time{}
	}
	s.replaced[operatorID] = s.now()
	return true
}

// stands tells whether the system account admits the credentials; also if that cannot
// be read.
func (s *systemIdentities) stands(ctx context.Context, operatorID string, creds claims.Secret) bool {
	token, _, err := claims.ParseCreds(creds)
	if err != nil {
		return false
	}
	c, err := jwt.DecodeUserClaims(token)
	if err != nil {
		return false
	}
	caller := issuer.System("resolver")
	o, err := s.issuer.GetOperator(ctx, caller, operatorID)
	if err != nil {
		return true
	}
	a, err := s.issuer.GetAccount(ctx, caller, o.Settings.SystemAccount)
	if err != nil {
		return true
	}
	account, err := jwt.DecodeAccountClaims(a.JWT)
	return err != nil || (account.DidSign(c) && !account.IsClaimRevoked(c))
}

func (s *systemIdentities) issue(ctx context.Context, operatorID, path string) (claims.Secret, error) {
	op := issuer.Op{Caller: issuer.System("resolver"), RequestID: "system", Reason: "Chancery's own connection"}
	issued, err := s.issuer.SystemCredential(ctx, op, operatorID, filepath.Base(path))
	if err != nil {
		return claims.Secret{}, err
	}
	return issued.Creds, writeSecret(path, issued.Creds)
}

// writeSecret replaces the file at path with text that only this user can read;
// a crash leaves the old file or the new one.
func writeSecret(path string, text claims.Secret) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Base(path), err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // once renamed it is gone
	_, err = f.WriteString(text.Reveal())
	err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Base(path), err)
	}
	return nil
}
