package main

import (
	"context"
	"errors"
	"fmt"

	"chancery/claims"
	"chancery/issuer"
)

// keyCommand is what is done to the keys under which seeds are stored.
type keyCommand struct {
	Status        keyStatusCommand     `cmd:"" help:"Say which key-encryption key the database needs, and how many seeds each data key has sealed. Exit code 2: the key given does not open it, or seeds are lost."`
	Rewrap        keyRewrapCommand     `cmd:"" help:"Change the key-encryption key: the data keys are wrapped with the new one, seeds stay as they are. Can be repeated."`
	RotateDataKey rotateDataKeyCommand `cmd:"" help:"Change the data key: every seed is sealed anew with a new one, then the old one is dropped. One that was stopped is finished by the next."`
}

// opWith is the circumstances of a command that works on the database itself.
func opWith(command string, dryRun bool) issuer.Op {
	return issuer.Op{Caller: issuer.System(command), RequestID: command, DryRun: dryRun}
}

// unopened says why a sealed issuer is: a command has no server to speak of.
func unopened(i *issuer.Issuer, err error) error {
	if e, ok := errors.AsType[*issuer.Error](err); ok && e.Kind == issuer.KindSealed && i.Sealed() != "" {
		return errors.New("the keyset cannot be opened: " + i.Sealed())
	}
	return err
}

type keyStatusCommand struct {
	hostCommand
	JSON bool `help:"Print one JSON object." name:"json"`
}

func (c *keyStatusCommand) run(ctx context.Context, env environment) error {
	return c.withKEK(ctx, env, func(i *issuer.Issuer, cfg config) error {
		status, err := i.KeysetStatus(ctx, issuer.System("key-status"))
		if err != nil {
			return err
		}
		answer := keysetAnswer{KeysetStatus: status}
		if !status.Open {
			answer.Sealed = i.Sealed()
		}
		if err := printAnswer(env, c.JSON, answer); err != nil {
			return err
		}
		return no(status.Damaged || answer.lost() || !cfg.kek.Empty() && !status.Open)
	})
}

// keysetAnswer is a keyset's status as it is printed.
type keysetAnswer struct {
	issuer.KeysetStatus
	// Sealed is why the key given does not open it.
	Sealed string `json:"sealed,omitempty"`
}

func (a keysetAnswer) lost() bool {
	for _, k := range a.DataKeys {
		if k.Missing {
			return true
		}
	}
	return false
}

func (a keysetAnswer) print(p page) {
	note := "the key given opens it"
	if a.Sealed != "" {
		note = a.Sealed
	}
	lines := []claims.Line{{Label: "Key-encryption key", Value: a.KEKID, Note: note}}
	for _, k := range a.DataKeys {
		line := claims.Line{Label: "Data key", Value: fmt.Sprintf("%d: %d seeds", k.ID, k.Seeds)}
		switch {
		case k.Primary:
			line.Note = "seals from now on"
		case k.Missing:
			line.Note = "LOST: nothing opens these seeds"
		case !a.Damaged:
			line.Note = "old; chancery key rotate-data-key finishes its rotation"
		}
		lines = append(lines, line)
	}
	p.rows(lines)
}

type keyRewrapCommand struct {
	hostCommand
	NewKEKFile           string `help:"File that holds the new key-encryption key: 32 bytes in base64. Or CHANCERY_NEW_KEK." name:"new-kek-file" placeholder:"FILE"`
	NewKEKPassphraseFile string `help:"File that holds the new passphrase; - asks, or reads standard input. Or CHANCERY_NEW_KEK_PASSPHRASE." name:"new-kek-passphrase-file" placeholder:"FILE"`
	DryRun               bool   `help:"Check everything and change nothing."`
}

func (c *keyRewrapCommand) run(ctx context.Context, env environment) error {
	if c.NewKEKPassphraseFile == "-" && c.KEKPassphraseFile == "-" {
		return usage(errors.New("standard input can be one of the two passphrases; put the other in a file"))
	}
	kek, err := kekSources{"new_", c.NewKEKFile, c.NewKEKPassphraseFile}.read(env)
	if err != nil {
		return usage(err)
	}
	if kek.Empty() {
		return usage(errors.New("the new key-encryption key is missing: --new-kek-file or --new-kek-passphrase-file"))
	}
	return c.withKEK(ctx, env, func(i *issuer.Issuer, _ config) error {
		out, err := i.RewrapKeyset(ctx, opWith("key-rewrap", c.DryRun), kek)
		if err != nil {
			return unopened(i, err)
		}
		switch {
		case len(out.Plan.Changes) == 0:
			_, err = fmt.Fprintf(env.stdout, "The keyset is wrapped with this key-encryption key already, %s. Nothing was done.\n", out.Value.KEKID)
		case c.DryRun:
			_, err = fmt.Fprintln(env.stdout, "The keyset opens, and can be wrapped with the new key-encryption key. Nothing was changed.")
		default:
			_, err = fmt.Fprintf(env.stdout, "The keyset is wrapped with the key-encryption key %s, which every server needs at its next start.\n"+
				"Keep the old one, %v, for as long as you keep backups from before.\n", out.Value.KEKID, out.Plan.Changes[0].From)
		}
		return err
	})
}

type rotateDataKeyCommand struct {
	hostCommand
	DryRun bool `help:"Check everything and change nothing."`
	JSON   bool `help:"Print the outcome as one JSON object." name:"json"`
}

func (c *rotateDataKeyCommand) run(ctx context.Context, env environment) error {
	return c.withKEK(ctx, env, func(i *issuer.Issuer, _ config) error {
		progress := newProgress(env, "seeds")
		out, err := i.RotateDataKey(ctx, opWith("key-rotate-data-key", c.DryRun), progress.show)
		progress.end()
		if ctx.Err() != nil {
			return &exitError{errors.New("stopped: every seed stays readable, and the next rotation finishes this one"), exitInterrupted}
		}
		if err != nil {
			return unopened(i, err)
		}
		if c.JSON {
			return printJSON(env, out.Value)
		}
		if c.DryRun {
			_, err = fmt.Fprintf(env.stdout, "%d seeds would be sealed anew. Nothing was changed.\n", out.Value.Behind())
			return err
		}
		_, err = fmt.Fprintf(env.stdout, "%d seeds were sealed anew. All seeds are sealed with the data key %d, the only one.\n", progress.done, out.Value.DataKeys[0].ID)
		return err
	})
}
