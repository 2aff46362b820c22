package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// Names of what dev makes on an empty database.
const (
	devOperator = "dev"
	devAccount  = "DEMO"
	devTemplate = "device"
	devUser     = "sensor-1"
	devOwner    = "you"
	devToken    = "dev"
)

// devTokenTTL is the lifetime of the API token that dev writes to its folder.
const devTokenTTL = 30 * 24 * time.Hour

// devObjects makes the first operator, account, template, user, token and sign-in
// link, each only if it is not there yet.
type devObjects struct {
	app *app
	dir string
}

func (o *devObjects) op() issuer.Op {
	return issuer.Op{Caller: issuer.System("dev"), RequestID: "dev", Reason: "chancery dev"}
}

// operator returns the operator, making it on an empty database.
func (o *devObjects) operator(ctx context.Context) (issuer.Operator, error) {
	op := o.op()
	found, err := o.app.issuer.GetOperator(ctx, op.Caller, devOperator)
	if err == nil || issuer.AsError(err).Kind != issuer.KindNotFound {
		return found, err
	}
	out, err := o.app.issuer.CreateOperator(ctx, op, issuer.OperatorInput{Name: devOperator, Tags: []string{"env:dev"}})
	return out.Value, err
}

// rest makes everything below the operator and fills in what is ready. A sealed
// process makes nothing.
func (o *devObjects) rest(ctx context.Context, d *dev) error {
	if d.sealed != "" {
		return nil
	}
	for _, step := range []func(context.Context) error{o.account, o.template, o.user} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	var err error
	if d.ready.CredsFile, err = o.creds(ctx); err != nil {
		return err
	}
	if d.credsStatus, err = o.credsStatus(ctx); err != nil {
		return err
	}
	if d.ready.Token, err = o.token(ctx); err != nil {
		return err
	}
	link, err := o.app.issuer.SignInLink(ctx, o.op(), devOwner)
	if err != nil {
		return err
	}
	d.ready.SignInURL = d.ready.ConsoleURL + "login/" + link.Reveal()
	return o.context(d.ready)
}

// unlessTaken drops the error of what exists already.
func unlessTaken(err error) error {
	if err != nil && issuer.AsError(err).Kind == issuer.KindConflict {
		return nil
	}
	return err
}

func (o *devObjects) account(ctx context.Context) error {
	settings := claims.NewAccountSettings()
	settings.Description = "Made by chancery dev, to try things out."
	settings.Tags = jwt.TagList{"env:dev"}
	settings.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: 64 << 20, DiskStorage: 1 << 30, Streams: jwt.NoLimit, Consumer: jwt.NoLimit}
	_, err := o.app.issuer.CreateAccount(ctx, o.op(), issuer.AccountInput{Operator: devOperator, Name: devAccount, Settings: settings})
	return unlessTaken(err)
}

func (o *devObjects) template(ctx context.Context) error {
	body := claims.Template{Name: devTemplate, Description: "A device publishes its readings and gets its commands.", Permissions: claims.NewPermissionLimits()}
	body.Permissions.Pub.Allow.Add("devices.{{tag(region)}}.{{name()}}.>")
	body.Permissions.Sub.Allow.Add("commands.{{name()}}.>", "_INBOX.>")
	_, err := o.app.issuer.CreateTemplate(ctx, o.op(), devAccount, issuer.TemplateInput{Body: body})
	return unlessTaken(err)
}

func (o *devObjects) user(ctx context.Context) error {
	_, err := o.app.issuer.CreateUser(ctx, o.op(), devAccount, issuer.UserInput{Name: devUser, Template: devTemplate, Tags: []string{"region:eu"}})
	return unlessTaken(err)
}

func (o *devObjects) credsPath() string {
	return filepath.Join(o.dir, strings.Join([]string{devOperator, devAccount, devUser}, "-")+".creds")
}

// credsStatus is what has become of the credential in the user's creds file, which
// somebody may have revoked before the last stop.
func (o *devObjects) credsStatus(ctx context.Context) (issuer.Status, error) {
	text, err := os.ReadFile(o.credsPath())
	if err != nil {
		return "", fmt.Errorf("reading the creds file: %w", err)
	}
	token, _, err := claims.ParseCreds(claims.NewSecret(string(text)))
	if err != nil {
		return "", err
	}
	held, err := jwt.DecodeUserClaims(token)
	if err != nil {
		return "", fmt.Errorf("reading the creds file: %w", err)
	}
	ledger, err := o.app.issuer.ListCredentials(ctx, o.op().Caller, devAccount, devUser, issuer.LedgerPage{Limit: 500})
	for _, c := range ledger {
		if c.JTI == held.ID {
			return c.Status, nil
		}
	}
	return issuer.StatusActive, err
}

// expired tells whether a creds file has an expiry that has passed. What is no creds
// file is left as it is.
func expired(creds claims.Secret, now time.Time) bool {
	token, _, err := claims.ParseCreds(creds)
	if err != nil {
		return false
	}
	c, err := jwt.DecodeUserClaims(token)
	return err == nil && c.Expires > 0 && c.Expires < now.Unix()
}

// creds returns the path of the user's creds file; it is written when it is not
// there, since Chancery does not keep the seed, and anew when it has expired.
func (o *devObjects) creds(ctx context.Context) (string, error) {
	path := o.credsPath()
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	if err == nil && !expired(claims.NewSecret(string(text)), o.app.cfg.now()) {
		return path, nil
	}
	issued, err := o.app.issuer.Issue(ctx, o.op(), devAccount, devUser, issuer.IssueInput{DeliveredTo: filepath.Base(path)})
	if err != nil {
		return path, err
	}
	return path, writeSecret(path, issued.Value.Creds)
}

// token returns the API token of the folder, or a new one in its place when it is
// not valid any more.
func (o *devObjects) token(ctx context.Context) (string, error) {
	path := filepath.Join(o.dir, "token")
	if text, err := os.ReadFile(path); err == nil {
		old := claims.NewSecret(strings.TrimSpace(string(text)))
		if _, err := o.app.issuer.Authenticate(ctx, old, issuer.Origin{}); err == nil {
			return old.Reveal(), nil
		}
	}
	if err := o.app.issuer.RevokeTokens(ctx, o.op(), devToken); err != nil {
		return "", err
	}
	made, err := o.app.issuer.CreateToken(ctx, o.op(), issuer.TokenInput{Name: devToken, Grants: issuer.Everything(issuer.RoleOwner), TTL: devTokenTTL})
	if err != nil {
		return "", err
	}
	text := made.Value.Text
	return text.Reveal(), writeSecret(path, claims.NewSecret(text.Reveal()+"\n"))
}

// clientContext is how commands find a control plane: its address, and the file
// that holds a token.
type clientContext struct {
	URL       string `json:"url"`
	TokenFile string `json:"token_file"`
}

func (o *devObjects) context(r devReady) error {
	text, err := json.Marshal(clientContext{URL: strings.TrimSuffix(r.ConsoleURL, "/"), TokenFile: filepath.Join(o.dir, "token")})
	if err != nil {
		return fmt.Errorf("writing the context: %w", err)
	}
	return writeSecret(filepath.Join(o.dir, "context.json"), claims.NewSecret(string(text)+"\n"))
}
