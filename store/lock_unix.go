//go:build unix

package store

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// HoldFile takes an exclusive lock on path until release is called or the process
// ends, however it ends. It returns ErrHeld when another process holds it.
func HoldFile(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock file: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(ErrHeld, f.Close())
	}
	return f.Close, nil
}
