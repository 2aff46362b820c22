package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/nats-io/nkeys"

	"chancery/claims"
)

// operatorCommand is what is done on the machine that keeps an operator's identity
// key: neither a database nor a network is touched.
type operatorCommand struct {
	Init operatorInitCommand `cmd:"" help:"Make an operator's identity key on a machine that is offline. Its seed goes into a file that only you can read; the public key goes to Chancery."`
	Sign operatorSignCommand `cmd:"" help:"Sign an operator's exported claims with its identity key, after showing what changes. Prints the JWT to upload. Exit code 2: not signed, as you said no."`
}

// offlineFlag has people say that they mean to work without a control plane.
type offlineFlag struct {
	Offline bool `help:"Work on this machine alone, with the identity key in a file." required:""`
}

type operatorInitCommand struct {
	offlineFlag
	SeedFile string `arg:"" help:"File to write the seed to; it must not exist." type:"path"`
}

func (c *operatorInitCommand) run(_ context.Context, env environment) error {
	pair, err := nkeys.CreateOperator()
	if err != nil {
		return fmt.Errorf("making the identity key: %w", err)
	}
	defer pair.Wipe()
	public, err := pair.PublicKey()
	if err != nil {
		return fmt.Errorf("making the identity key: %w", err)
	}
	seed, err := pair.Seed()
	if err != nil {
		return fmt.Errorf("making the identity key: %w", err)
	}
	defer clear(seed)
	if err := writeNewSecret(c.SeedFile, seed); err != nil {
		return err
	}
	p := newPage(env)
	p.rows([]claims.Line{{Label: "identity key", Value: public}, {Label: "fingerprint", Value: claims.KeyFingerprint(public)}})
	p.line("")
	p.line("The seed is in ", c.SeedFile, ". Whoever has it is the operator: keep it off every network, with a copy elsewhere.")
	p.line("Next, where Chancery runs: create an operator of custody “offline” with this public key, and compare the fingerprint.")
	return nil
}

// writeNewSecret writes a file that only this user can read, and none that exists.
func writeNewSecret(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing the seed: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("writing the seed: %w", err), os.Remove(path))
	}
	return nil
}

type operatorSignCommand struct {
	offlineFlag
	SeedFile string `help:"File that holds the identity seed." type:"path" required:"" placeholder:"FILE"`
	Yes      bool   `help:"Sign without asking."`
	Claims   string `arg:"" help:"What Chancery exported: GET /api/v1/operators/{operator}/unsigned-claims." type:"path"`
}

// maxRequest bounds what is read of an export.
const maxRequest = 1 << 20

func (c *operatorSignCommand) run(_ context.Context, env environment) error {
	raw, err := readAtMost(c.Claims, maxRequest)
	if err != nil {
		return fmt.Errorf("reading the exported claims: %w", err)
	}
	request, err := claims.ParseSigningRequest(raw)
	if err != nil {
		return err
	}
	pair, err := readIdentity(c.SeedFile)
	if err != nil {
		return err
	}
	defer pair.Wipe()
	p := page{w: env.stderr}
	if err := showRequest(p, request); err != nil {
		return err
	}
	if !c.Yes && !agreesTo(env, "Sign this?") {
		return &exitError{errors.New("nothing was signed"), exitNo}
	}
	token, err := request.Sign(pair)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.stdout, token)
	return err
}

// showRequest says in words what is signed. Nothing is taken from the export but the
// claims themselves, and the JWT before if the same identity signed it.
func showRequest(p page, r claims.SigningRequest) error {
	after, before, err := r.Claims()
	if err != nil {
		return err
	}
	p.rows([]claims.Line{
		{Label: "operator", Value: after.Name},
		{Label: "identity key", Value: after.Subject},
		{Label: "key fingerprint", Value: claims.KeyFingerprint(after.Subject)},
		{Label: "fingerprint", Value: claims.OperatorFingerprint(after), Note: "of what servers will trust; compare it with the console's"},
	})
	p.line("")
	changes := claims.DiffOperators(before, after)
	switch {
	case before == nil:
		p.line("This is its first JWT, with:")
	case len(changes) == 0:
		p.line("Nothing changes: the same claims are signed again.")
	default:
		p.line("Against the JWT in force it changes:")
	}
	for _, x := range changes {
		p.line("  ", x.Sentence())
	}
	return nil
}

// readIdentity reads an operator's seed.
func readIdentity(path string) (nkeys.KeyPair, error) {
	text, err := readAtMost(path, 1024)
	if err != nil {
		return nil, fmt.Errorf("reading the identity seed: %w", err)
	}
	defer clear(text)
	seed := []byte(strings.TrimSpace(string(text)))
	defer clear(seed)
	pair, err := nkeys.FromSeed(seed)
	if err != nil {
		return nil, errors.New("the seed file holds no nkey seed")
	}
	public, err := pair.PublicKey()
	if err != nil || !claims.IsPublicKey(claims.KindOperator, public) {
		return nil, errors.New("the seed in the file is not that of an operator")
	}
	return pair, nil
}

func readAtMost(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	raw, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(raw)) > most {
		err = errors.New("the file is too long")
	}
	return raw, err
}
