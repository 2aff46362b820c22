// Command chancery is the control plane for NATS decentralized auth in one binary.
//
// It owns the wiring: flags and configuration, which part is handed to which, the
// order of start and stop, and the subcommands. It refuses to hold rules: those are
// in issuer, and commands that talk to a running control plane use its REST API.
// Called by people, scripts and service managers.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"chancery/issuer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, environment{args: os.Args[1:], getenv: os.Getenv, now: time.Now, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr})
	stop()
	os.Exit(code)
}

// environment is what a run takes from its process; tests bring their own.
type environment struct {
	args           []string
	getenv         func(string) string
	now            func() time.Time
	stdin          io.Reader
	stdout, stderr io.Writer
}

// Exit codes, as the documentation of the command line names them.
const (
	exitOK          = 0
	exitFailure     = 1
	exitNo          = 2 // the answer is no: denied, refused, not valid
	exitPartial     = 3 // done, but for some of it
	exitConflict    = 4
	exitUnreachable = 5
	exitUsage       = 64
	exitForbidden   = 77
	exitInterrupted = 130
)

// exitError carries an exit code with an error.
type exitError struct {
	error
	code int
}

func run(ctx context.Context, env environment) int {
	err := dispatch(ctx, env)
	if err == nil {
		return exitOK
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		if e.error != nil {
			fmt.Fprintln(env.stderr, "chancery: "+e.Error())
		}
		return e.code
	}
	fmt.Fprintln(env.stderr, "chancery: "+inWords(err))
	return exitFailure
}

// inWords is what a person is told of an error: of a use case's error the sentences
// made for them, of any other the whole chain.
func inWords(err error) string {
	e, ok := errors.AsType[*issuer.Error](err)
	if !ok {
		return err.Error()
	}
	words := []string{e.Message}
	for _, p := range e.Problems {
		words = append(words, strings.TrimPrefix(p.Pointer, "/")+": "+p.Detail)
	}
	return strings.TrimSpace(strings.Join(append(words, e.Hint), " "))
}

func usage(err error) error { return &exitError{err, exitUsage} }
