package resolver

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"chancery/store"
)

// chunkSize is how much of the base file is read, checked and kept in one piece. A
// piece is given back when all its accounts have newer JWTs.
const chunkSize = 4 << 20

const (
	baseName = "base"
	// newSuffix marks what is being written; it is never read.
	newSuffix = ".new"
)

// chunk is a piece of the base file: whole lines, sorted by account.
type chunk struct {
	first string
	text  string
	// bad tells that the checksum is not right: some line is damaged.
	bad bool
}

// line returns the line of an account, "" if there is none. A line is found by halving
// the text: there is nothing to build when a process starts.
func (c *chunk) line(account string) string {
	text := c.text
	for len(text) > 0 {
		middle := strings.LastIndexByte(text[:len(text)/2], '\n') + 1
		end := strings.IndexByte(text[middle:], '\n')
		if end < 0 || end < restStart {
			return ""
		}
		line := text[middle : middle+end]
		switch id := line[accountStart : accountStart+keyLength]; {
		case id == account:
			return line
		case id < account:
			text = text[middle+end+1:]
		default:
			text = text[:middle]
		}
	}
	return ""
}

// base is the base file in memory.
type base struct {
	chunks    []chunk
	operators []savedOperator
	// journal is the number of the first journal that goes on from here.
	journal int64
	// saved is when it was written, in microseconds since 1970.
	saved int64
	// followed is the number of the last change that is in it, 0 when it is not known.
	followed int64
	size     int64
	// bad tells that the file was not read by its index: one chunk holds all of it.
	bad bool
}

// writeBase writes the base file in one step: it is the old one or the new one,
// whenever the process ends. accounts are in the order of their keys.
func writeBase(dir string, b base, accounts iter.Seq[store.Served]) (size int64, err error) {
	path := filepath.Join(dir, baseName)
	f, err := os.OpenFile(path+newSuffix, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("making the snapshot: %w", err)
	}
	w := baseWriter{f: f}
	for s := range accounts {
		if len(w.text) == 0 {
			w.first = s.AccountID
		}
		if w.text = appendAccount(w.text, s); len(w.text) >= chunkSize {
			w.chunk()
		}
	}
	w.chunk()
	err = w.end(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(path+newSuffix, path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return 0, fmt.Errorf("writing the snapshot: %w", err)
	}
	return w.offset, nil
}

// baseWriter gathers lines into chunks.
type baseWriter struct {
	f      *os.File
	offset int64
	text   []byte
	first  string
	index  []byte
	err    error
}

// chunk writes what was gathered and notes where.
func (w *baseWriter) chunk() {
	if len(w.text) == 0 {
		return
	}
	sum, offset, n := crc32.Checksum(w.text, castagnoli), w.offset, len(w.text)
	w.write(w.text)
	w.text = w.text[:0]
	w.index = appendLine(w.index, lineIndex, func(b []byte) []byte { return fmt.Appendf(b, "%d %d %d %s", offset, n, sum, w.first) })
}

func (w *baseWriter) write(text []byte) {
	if w.err == nil {
		_, w.err = w.f.Write(text)
		w.offset += int64(len(text))
	}
}

func (w *baseWriter) end(b base) error {
	tail, err := appendOperators(nil, b.operators)
	if err != nil {
		return err
	}
	tail = append(tail, w.index...)
	begin := w.offset
	w.write(tail)
	w.write(numbersLine(lineEnd, begin, int64(len(tail)), b.journal, b.saved, b.followed))
	return w.err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("opening the folder: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// endLength is more than the last line takes.
const endLength = 128

// readBase reads the base file. The error is fs.ErrNotExist when there is none. What
// is damaged is no error: chunks are marked, and a file whose index is lost is one bad
// chunk.
func readBase(dir string) (base, error) {
	f, err := os.Open(filepath.Join(dir, baseName))
	if err != nil {
		return base{}, fmt.Errorf("opening the snapshot: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	if err != nil {
		return base{}, fmt.Errorf("opening the snapshot: %w", err)
	}
	b, sums, spans, err := readIndex(f, info.Size())
	if errors.Is(err, errLine) {
		b = base{bad: true, size: info.Size(), saved: info.ModTime().UnixMicro(), chunks: make([]chunk, 1)}
		sums, spans, err = []uint32{0}, []span{{0, info.Size()}}, nil
	}
	if err == nil {
		err = readChunks(f, b.chunks, sums, spans)
	}
	if err != nil {
		return base{}, fmt.Errorf("reading the snapshot: %w", err)
	}
	if b.bad {
		b.chunks[0].bad = true
	}
	return b, nil
}

// span is where a chunk is.
type span struct{ offset, length int64 }

func readIndex(f *os.File, size int64) (b base, sums []uint32, spans []span, err error) {
	last := make([]byte, min(size, endLength))
	if _, err := f.ReadAt(last, size-int64(len(last))); err != nil {
		return b, nil, nil, fmt.Errorf("reading the end: %w", err)
	}
	text, ok := strings.CutSuffix(string(last), "\n")
	if !ok {
		return b, nil, nil, errLine
	}
	kind, body, err := checkLine(text[strings.LastIndexByte(text, '\n')+1:])
	if err != nil || kind != lineEnd {
		return b, nil, nil, errLine
	}
	n, rest, err := parseNumbers(body, 4)
	if err != nil || n[0] < 0 || n[1] < 0 || n[0]+n[1] > size {
		return b, nil, nil, errLine
	}
	b = base{journal: n[2], saved: n[3], size: size}
	if last, _, err := parseNumbers(rest, 1); err == nil { // older ones have none
		b.followed = last[0]
	}
	tail := make([]byte, n[1])
	if _, err := f.ReadAt(tail, n[0]); err != nil {
		return b, nil, nil, fmt.Errorf("reading the index: %w", err)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(tail), "\n"), "\n") {
		kind, body, err := checkLine(line)
		if err != nil {
			return b, nil, nil, err
		}
		switch kind {
		case lineOperators:
			if b.operators, err = parseOperators(body); err != nil {
				return b, nil, nil, err
			}
		case lineIndex:
			x, first, err := parseNumbers(body, 3)
			if err != nil || x[0] < 0 || x[1] < 0 || x[0]+x[1] > n[0] {
				return b, nil, nil, errLine
			}
			b.chunks = append(b.chunks, chunk{first: first})
			sums, spans = append(sums, uint32(x[2])), append(spans, span{x[0], x[1]}) //nolint:gosec // it was written from 32 bits
		default:
			return b, nil, nil, errLine
		}
	}
	return b, sums, spans, nil
}

// readChunks reads all chunks, as many at once as there are processors.
func readChunks(f *os.File, chunks []chunk, sums []uint32, spans []span) error {
	if len(chunks) == 0 {
		return nil
	}
	next := make(chan int)
	var wg sync.WaitGroup
	errs := make([]error, min(runtime.GOMAXPROCS(0), len(chunks)))
	for w := range errs {
		wg.Go(func() {
			var buffer []byte
			for i := range next {
				if n := min(spans[i].length+1, 256<<10); int(n) > len(buffer) {
					buffer = make([]byte, n)
				}
				sum := crc32.New(castagnoli)
				var text strings.Builder
				text.Grow(int(spans[i].length))
				_, err := io.CopyBuffer(io.MultiWriter(&text, sum), io.NewSectionReader(f, spans[i].offset, spans[i].length), buffer)
				errs[w] = errors.Join(errs[w], err)
				chunks[i].text, chunks[i].bad = text.String(), sum.Sum32() != sums[i]
			}
		})
	}
	for i := range chunks {
		next <- i
	}
	close(next)
	wg.Wait()
	return errors.Join(errs...)
}
