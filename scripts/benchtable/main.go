// Command benchtable writes the tables of docs/benchmarks.md from what `go test -bench` printed, which it reads from its
// input: with the argument "goals" what was to be reached and whether it was, with "all" every measure.
//
// It owns the goals and what counts as reaching one. It refuses to measure: a goal whose benchmark did not run is
// called that.
//
// Called by scripts/bench.
package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "benchtable:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	list, err := parse(in)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(out)
	switch strings.Join(args, " ") {
	case "goals":
		writeGoals(w, list)
	case "all":
		writeAll(w, list)
	default:
		return fmt.Errorf("say goals or all")
	}
	return w.Flush()
}

// measure is a figure of a benchmark. low and high are empty where it was measured once.
type measure struct{ bench, unit, median, low, high string }

// processors is what the name of a benchmark ends in when there are several.
var processors = regexp.MustCompile(`-[0-9]+$`)

// parse reads the lines of results; what else a run prints is passed over.
func parse(in io.Reader) (list []measure, err error) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		if _, err := strconv.Atoi(fields[1]); err != nil {
			continue
		}
		bench := processors.ReplaceAllString(strings.TrimPrefix(fields[0], "Benchmark"), "")
		values := map[string]string{}
		for i := 3; i < len(fields); i += 2 {
			values[fields[i]] = fields[i-1]
		}
		for i := 3; i < len(fields); i += 2 {
			if unit := fields[i]; !strings.HasSuffix(unit, "_min") && !strings.HasSuffix(unit, "_max") {
				list = append(list, measure{bench, unit, values[unit], values[unit+"_min"], values[unit+"_max"]})
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the run: %w", err)
	}
	return list, nil
}

func writeAll(w io.Writer, list []measure) {
	fmt.Fprint(w, "| benchmark | measure | median | lowest | highest |\n|---|---|---:|---:|---:|\n")
	for _, m := range list {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", m.bench, m.unit, m.median, m.low, m.high)
	}
}

// writeGoals writes a line for each goal, also for one that the run has no figure of.
func writeGoals(w io.Writer, list []measure) {
	rows := goals()
	slices.SortStableFunc(rows, func(a, b goal) int { return cmp.Compare(a.id, b.id) })
	fmt.Fprint(w, "| | measure | against | goal | median | lowest | highest | |\n|---|---|---|---|---:|---:|---:|---|\n")
	measured, met := 0, 0
	for _, g := range rows {
		sign := "≤"
		if g.least {
			sign = "≥"
		}
		f, ok := g.find(list)
		verdict := "not run"
		if ok {
			measured++
			verdict = "**not met**"
			if g.reached(f.median) {
				met++
				verdict = "met"
			}
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s %s %s | %s | %s | %s | %s |\n", g.id, g.measure, g.against, sign, short(g.limit), g.of,
			f.show(f.median), f.show(f.low), f.show(f.high), verdict)
	}
	fmt.Fprintf(w, "\n%d of %d goals met, %d not run. The median decides; without a lowest and a highest it is the only one, or a percentile of all. "+
		"As fast as known ids is taken for 0.95, linear for 1.3.\n", met, len(rows), len(rows)-measured)
	for _, r := range references() {
		state := "is not on the PATH, so nothing of it was run"
		if _, err := exec.LookPath(r.program); err == nil {
			state = "is on the PATH, but no benchmark here runs it"
		}
		fmt.Fprintf(w, "\n%s %s. Its reference: %s\n", r.program, state, r.figures)
	}
}

// figure is what was measured of a goal; what was not is 0.
type figure struct{ median, low, high float64 }

// show writes one number of it.
func (figure) show(v float64) string {
	if v == 0 {
		return ""
	}
	return short(v)
}

// find returns what the run has of a goal.
func (g goal) find(list []measure) (f figure, ok bool) {
	m, ok := find(list, g.bench, g.unit)
	if !ok {
		return f, false
	}
	by := cmp.Or(g.times, 1)
	if g.over != "" {
		o, ok := find(list, g.over, g.unit)
		if !ok {
			return f, false
		}
		by /= number(o.median)
	}
	return figure{number(m.median) * by, number(m.low) * by, number(m.high) * by}, true
}

func find(list []measure, bench, unit string) (measure, bool) {
	i := slices.IndexFunc(list, func(m measure) bool { return m.bench == bench && m.unit == unit })
	if i < 0 {
		return measure{}, false
	}
	return list[i], true
}

func (g goal) reached(v float64) bool {
	if g.least {
		return v >= g.limit
	}
	return v <= g.limit
}

// number reads a figure; an absent one is 0, since what go test prints is a number.
func number(s string) float64 {
	v, _ := strconv.ParseFloat(s, 64)
	return v
}

// short writes a number with about three digits.
func short(v float64) string {
	digits := 3
	for limit := 1.0; digits > 0 && v >= limit; limit *= 10 {
		digits--
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}
