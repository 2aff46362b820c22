package issuer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"chancery/store"
)

// FileLog is a CheckpointLog in a file that is only appended to, by one process. It is
// opened when it is first written to. It is safe for concurrent use.
type FileLog struct {
	path string

	mu      sync.Mutex
	file    *os.File
	release func() error
	// torn tells that the last line may not have been written to its end.
	torn bool
}

// NewFileLog returns the log in the file called path. The file is held by a lock beside
// it, called like it with .lock at the end.
func NewFileLog(path string) *FileLog { return &FileLog{path: path} }

// Append implements CheckpointLog.
func (l *FileLog) Append(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.open(); err != nil {
		return err
	}
	if l.torn {
		line = append([]byte("\n"), line...)
	}
	l.torn = true
	if _, err := l.file.Write(line); err != nil {
		return err
	}
	l.torn = false
	return l.file.Sync()
}

// open opens the file and looks whether the last line in it, of a process that was
// killed, has its end.
func (l *FileLog) open() (err error) {
	if l.file != nil {
		return nil
	}
	if l.release, err = store.HoldFile(l.path + ".lock"); err != nil {
		return err
	}
	l.file, err = os.OpenFile(l.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err == nil {
		l.torn, err = endsTorn(l.file)
	}
	if err != nil {
		return errors.Join(err, l.shut())
	}
	return nil
}

func endsTorn(f *os.File) (bool, error) {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false, err
	}
	last := make([]byte, 1)
	_, err = f.ReadAt(last, info.Size()-1)
	return last[0] != '\n', err
}

// Close closes the file; a later Append opens it again.
func (l *FileLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shut()
}

func (l *FileLog) shut() error {
	var errs []error
	if l.file != nil {
		errs = append(errs, l.file.Close())
	}
	if l.release != nil {
		errs = append(errs, l.release())
	}
	l.file, l.release = nil, nil
	return errors.Join(errs...)
}

// maxCheckpointLine is longer than any line that is written, in bytes.
const maxCheckpointLine = 4 << 10

// Lines implements CheckpointLog.
func (l *FileLog) Lines(each func(line []byte) error) error {
	f, err := os.Open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	return CheckpointLines(f, each)
}

// CheckpointLines calls each for every line of a checkpoint log, without its line feed.
func CheckpointLines(r io.Reader, each func(line []byte) error) error {
	in := bufio.NewReaderSize(r, maxCheckpointLine)
	for {
		line, err := in.ReadSlice('\n')
		for errors.Is(err, bufio.ErrBufferFull) {
			line = []byte("?") // nothing of ours is so long
			_, err = in.ReadSlice('\n')
		}
		if len(line) > 0 {
			if err := each(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading checkpoints: %w", err)
		}
	}
}
