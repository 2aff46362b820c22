package issuer

import (
	"context"
	"errors"
	"fmt"

	"chancery/claims"
	"chancery/store"
)

// Kind classifies an Error; api has the one table that maps it to HTTP.
type Kind int

// The kinds of error. KindInternal is the zero value: what nobody classified.
const (
	KindInternal Kind = iota
	// KindInvalid is input that cannot be accepted as it is.
	KindInvalid
	// KindUnauthenticated is a caller who is not known.
	KindUnauthenticated
	// KindForbidden is a caller who may not do this.
	KindForbidden
	// KindNotFound is an object that does not exist, or is hidden from the caller.
	KindNotFound
	// KindConflict is a state that excludes the request, such as a taken name.
	KindConflict
	// KindStale is an object that changed since the version the caller expects.
	KindStale
	// KindUnconditional is a change that has to name the version it is meant for.
	KindUnconditional
	// KindTooFast is a caller who has to slow down.
	KindTooFast
	// KindSealed is a process without its key-encryption key.
	KindSealed
	// KindBusy is a database that gave way; trying again may succeed.
	KindBusy
)

// Error is the one error of use cases. Message, Hint and Problems are sentences
// for the caller and hold no internal text and no value the caller sent; the
// cause is for the log.
type Error struct {
	Kind Kind
	// Code is stable, snake_case, for programs.
	Code    string
	Message string
	// Hint tells the next step; may be empty.
	Hint     string
	Problems claims.Problems
	// Guard is what held the change up, and what to override; empty for other errors.
	Guard Guard
	cause error
	// denied tells that it is put on record.
	denied bool
}

// Error implements error, for the log.
func (e *Error) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s: %v", e.Code, e.cause)
	}
	return e.Code + ": " + e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// AsError returns err as an *Error; what is none becomes KindInternal with a
// message that gives nothing away.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &Error{Kind: KindBusy, Code: "timeout", Message: "This took too long and was given up.", Hint: "Look whether the change was made, then try again.", cause: err}
	case errors.Is(err, store.ErrBusy):
		return &Error{Kind: KindBusy, Code: "busy", Message: "The database is busy.", Hint: "Try again.", cause: err}
	case errors.Is(err, store.ErrAway):
		return &Error{Kind: KindBusy, Code: "database_away", Message: "The database cannot be reached.", Hint: "Look whether the change was made, then try again.", cause: err}
	case errors.Is(err, store.ErrNotFound):
		return &Error{Kind: KindNotFound, Code: "not_found", Message: "There is no such object.", cause: err}
	case errors.Is(err, store.ErrExists):
		return &Error{Kind: KindConflict, Code: "already_exists", Message: "An object with this name or key exists.", cause: err}
	}
	return &Error{
		Kind: KindInternal, Code: "internal", Message: "Something went wrong on our side.",
		Hint: "The request id leads to the entry in the server's log.", cause: err,
	}
}

func invalid(problems claims.Problems) error {
	return &Error{Kind: KindInvalid, Code: "invalid", Message: "The request cannot be accepted as it is.", Problems: problems}
}

func invalidField(pointer, code, detail string) error {
	return invalid(claims.Problems{{Pointer: pointer, Code: code, Detail: detail, Blocking: true}})
}

func missing(noun string) error {
	return &Error{Kind: KindNotFound, Code: noun + "_not_found", Message: "There is no such " + noun + "."}
}

// orMissing names the noun of a row that was not found and taken, and leaves other
// errors as they are.
func orMissing(err error, noun string) error {
	if errors.Is(err, store.ErrNotFound) {
		return missing(noun)
	}
	return err
}

// ignoreMissing takes a row that is not there for an empty one.
func ignoreMissing(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// Forbidden is the error of a caller whose role lacks the permission.
func Forbidden(p Permission) *Error {
	return &Error{
		Kind: KindForbidden, Code: "forbidden", Message: "Your role does not allow this.",
		Hint: "It needs the permission " + string(p) + ". Ask an owner.",
	}
}

func orTaken(err error, noun string) error {
	if errors.Is(err, store.ErrExists) {
		return &Error{
			Kind: KindConflict, Code: "name_taken", Message: "Another " + noun + " has this name already.",
			Hint: "Choose another name, or change the existing one.", cause: err,
		}
	}
	return err
}
