package resolver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const journalPrefix = "journal-"

// journal is an append-only file of lines. Those who append at the same time share one
// flush to the disk. It is safe for concurrent use.
type journal struct {
	f   *os.File
	now func() time.Time

	mu sync.Mutex
	// gathered is what the next flush writes, turn its number.
	gathered []byte
	turn     int64
	size     int64

	flushing sync.Mutex
	// flushed is the turn of the last flush; broken is why no later one can be trusted.
	flushed int64
	broken  error
}

// newJournal makes an empty journal. Its name is on the disk when it returns.
func newJournal(dir string, number int64, now func() time.Time) (*journal, error) {
	f, err := os.OpenFile(journalPath(dir, number), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("making the snapshot's journal: %w", err)
	}
	return &journal{f: f, now: now, turn: 1}, nil
}

func journalPath(dir string, number int64) string {
	return filepath.Join(dir, journalPrefix+strconv.FormatInt(number, 10))
}

// append returns when the lines are on the disk. After an error, which may have left
// half a line, the journal takes nothing more.
func (j *journal) append(lines []byte) error {
	j.mu.Lock()
	j.gathered = append(j.gathered, lines...)
	mine := j.turn
	j.mu.Unlock()

	j.flushing.Lock()
	defer j.flushing.Unlock()
	if j.flushed >= mine || j.broken != nil {
		return j.broken
	}
	j.mu.Lock()
	batch := j.gathered
	j.gathered, j.flushed = nil, j.turn
	j.turn++
	j.mu.Unlock()
	_, err := j.f.Write(batch)
	if err == nil {
		err = j.f.Sync()
	}
	if err == nil {
		// The mark itself may be lost with the power. It tells damage to what was
		// flushed, and perhaps served, from a write that was cut short and never was.
		mark := numbersLine(lineMark, j.now().UnixMicro())
		_, err = j.f.Write(mark)
		j.mu.Lock()
		j.size += int64(len(batch) + len(mark))
		j.mu.Unlock()
	}
	if err != nil {
		j.broken = fmt.Errorf("writing the snapshot's journal: %w", err)
	}
	return j.broken
}

// length returns how many bytes were written.
func (j *journal) length() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size
}

// touch notes that the journal is in step with the database now.
func (j *journal) touch(at time.Time) error {
	return j.write(numbersLine(lineMark, at.UnixMicro()))
}

// write appends a line that need not be flushed.
func (j *journal) write(line []byte) error {
	j.flushing.Lock()
	defer j.flushing.Unlock()
	if j.broken != nil {
		return nil
	}
	_, err := j.f.Write(line)
	if err != nil {
		j.broken = fmt.Errorf("writing the snapshot's journal: %w", err)
	}
	return j.broken
}

func (j *journal) close() error {
	j.flushing.Lock()
	defer j.flushing.Unlock()
	if j.broken == nil {
		j.broken = os.ErrClosed
	}
	return j.f.Close()
}

// listJournals returns the numbers of the journals, in order.
func listJournals(dir string) ([]int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("listing the snapshot: %w", err)
	}
	var out []int64
	for _, e := range entries {
		if number, ok := strings.CutPrefix(e.Name(), journalPrefix); ok {
			if n, err := strconv.ParseInt(number, 10, 64); err == nil {
				out = append(out, n)
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// removeJournals removes those before a number: the base file covers them.
func removeJournals(dir string, before int64) error {
	numbers, err := listJournals(dir)
	for _, n := range numbers {
		if n < before {
			err = errors.Join(err, os.Remove(journalPath(dir, n)))
		}
	}
	return err
}
