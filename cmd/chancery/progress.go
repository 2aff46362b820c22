package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// progress tells how far a long job is: on a terminal in one line that changes, else
// in a line every five seconds.
type progress struct {
	w        io.Writer
	what     string
	terminal bool
	now      func() time.Time
	last     time.Time
	done     int64
}

// progressEvery is the time between two lines.
const progressEvery = 5 * time.Second

func newProgress(env environment, what string) *progress {
	f, ok := env.stderr.(*os.File)
	p := &progress{w: env.stderr, what: what, terminal: ok && term.IsTerminal(int(f.Fd())), now: time.Now} //nolint:gosec // a file descriptor is small
	p.last = p.now()
	return p
}

func (p *progress) show(done, total int64) {
	p.done = done
	switch {
	case p.terminal:
		fmt.Fprintf(p.w, "\r%s  %d/%d", p.what, done, total)
	case p.now().Sub(p.last) >= progressEvery:
		p.last = p.now()
		fmt.Fprintf(p.w, "%s  %d/%d\n", p.what, done, total)
	}
}

// end ends the line that changes.
func (p *progress) end() {
	if p.terminal && p.done > 0 {
		fmt.Fprintln(p.w)
	}
}
