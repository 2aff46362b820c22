//go:build !unix

package store

import (
	"fmt"
	"os"
)

// HoldFile relies on the database's own locks where flock is missing.
func HoldFile(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock file: %w", err)
	}
	return f.Close, nil
}
