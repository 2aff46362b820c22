package api_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"

	"chancery/issuer"
	"chancery/store/storetest"
)

var update = flag.Bool("update", false, "write testdata/matrix.txt as it is")

const matrixFile = "testdata/matrix.txt"

// TestMatrix sends every operation of the contract as every role, about what is the caller's own, beside it, somebody
// else's and nobody's, and holds the status against testdata/matrix.txt, which people review. An operation without
// its lines fails, and so does a line without an operation. What the lines must be like whatever they say is checked
// besides.
func TestMatrix(t *testing.T) {
	t.Parallel()
	doc, _ := contract(t)
	var ops []operation
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			ops = append(ops, operation{op, method, path})
		}
	}
	slices.SortFunc(ops, func(a, b operation) int { return cmp.Compare(a.OperationID, b.OperationID) })
	expected, header := readMatrix(t)
	dialects := storetest.Dialects()
	if *update {
		dialects = dialects[:1]
	}
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			w := newTenants(newHouse(t, storetest.URL(t, dialect)))
			if !*update && !slices.Equal(header, w.who) {
				t.Fatalf("the columns of %s are %v, want %v: run the test with -update and look at the diff", matrixFile, header, w.who)
			}
			before := storedObjects(w.house)
			m := &matrix{w: w, expected: expected, actual: map[string][]int{}, said: map[string][]string{}}
			for _, o := range ops {
				m.operation(t, o)
			}
			if storedObjects(w.house) != before {
				t.Error("refused and dry requests changed something beside the audit log")
			}
			for key := range expected {
				if _, sent := m.actual[key]; !sent {
					t.Errorf("%s: no such line is asked for any more", key)
				}
			}
			if *update {
				writeMatrix(t, w.who, m)
			}
			t.Logf("%d of %d cells as expected: %d operations, %d roles", m.good, m.cells, len(ops), len(w.who))
		})
	}
}

// matrix is one run over all cells.
type matrix struct {
	w           *tenants
	expected    map[string][]int
	actual      map[string][]int
	said        map[string][]string
	lines       []string
	cells, good int
}

// operation sends one operation in all ways that differ.
func (m *matrix) operation(t *testing.T, o operation) {
	t.Helper()
	var sent []string
	for _, object := range []string{own, sibling, foreign, absent} {
		r := m.w.about(o, m.w.places[object], m.w.places[object], "")
		if open(o.Operation) && object != own {
			break // it proves by itself what it may do
		}
		if request := r.path + r.body; !slices.Contains(sent, request) {
			sent = append(sent, request)
			m.line(t, o, object)
		}
	}
	for n, who := range m.w.who {
		m.holds(t, o, who, n)
	}
}

func lineOf(o operation, object string) string { return o.OperationID + " " + object }

func (m *matrix) line(t *testing.T, o operation, object string) {
	t.Helper()
	key := lineOf(o, object)
	m.lines = append(m.lines, key)
	want := m.expected[key]
	for n, who := range m.w.who {
		a := m.w.send(m.w.about(o, m.w.places[object], m.w.places[object], m.w.callers[who]))
		m.actual[key], m.said[key] = append(m.actual[key], a.status), append(m.said[key], said(t, a))
		m.cells++
		switch {
		case *update:
		case n >= len(want):
			t.Errorf("%s as %s: no expectation; it answered %d: %s", key, who, a.status, a.body)
		case want[n] != a.status:
			t.Errorf("%s as %s answered %d, want %d: %s", key, who, a.status, want[n], a.body)
		default:
			m.good++
		}
	}
}

// holds checks what is true of every operation: who has the permission on the own object is let through, and nobody
// else; what is foreign is refused.
func (m *matrix) holds(t *testing.T, o operation, who string, n int) {
	t.Helper()
	status, asked := m.actual[lineOf(o, own)]
	if !asked || open(o.Operation) || o.permission() == "token" {
		return
	}
	role, at := issuer.Role(who), issuer.Scope{}
	switch who {
	case "operator_admin":
		at.Operator = "acme"
	case "account_admin":
		at.Operator, at.Account = "acme", "ORDERS"
	case "issuer":
		at.Operator, at.Account, at.Template = "acme", "ORDERS", "device"
	case "account_auditor":
		role, at.Operator, at.Account = issuer.RoleAuditor, "acme", "ORDERS"
	}
	if refused := status[n] == 403; !refused && !role.Allows(o.permission()) {
		t.Errorf("%s as %s answered %d without %s", o.OperationID, who, status[n], o.permission())
	} else if refused && role.Allows(o.permission()) && at == (issuer.Scope{}) {
		t.Errorf("%s as %s is refused with %s on everything", o.OperationID, who, o.permission())
	}
	other, asked := m.said[lineOf(o, foreign)]
	if !asked || slices.Contains(global, who) {
		return
	}
	if none := m.said[lineOf(o, absent)]; other[n] != none[n] || other[n][:3] != "403" && other[n][:3] != "404" {
		t.Errorf("%s as %s: what is foreign was answered with %s, what is missing with %s", o.OperationID, who, other[n], none[n])
	}
}

func readMatrix(t *testing.T) (lines map[string][]int, header []string) {
	t.Helper()
	lines = map[string][]int{}
	raw, err := os.ReadFile(matrixFile)
	if *update {
		return lines, nil
	}
	must(t, err)
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) < 2 || fields[0] == "#":
		case fields[0] == "operation":
			header = fields[2:]
		default:
			key := fields[0] + " " + fields[1]
			for _, f := range fields[2:] {
				status, err := strconv.Atoi(f)
				must(t, err)
				lines[key] = append(lines[key], status)
			}
		}
	}
	return lines, header
}

func writeMatrix(t *testing.T, who []string, m *matrix) {
	t.Helper()
	var b bytes.Buffer
	b.WriteString(`# What every operation answers to every role, as a dry run where it changes something. The owner and the auditor have
# their role on everything, the operator_admin on the operator acme, the account_admin and the account_auditor on its
# account ORDERS, the issuer on the template device of that account; no_grant is a token that has lost its grants.
# Objects: own is below acme, ORDERS and device; sibling lies beside device in ORDERS, or belongs to all of acme; foreign
# is another operator's with all below it; missing does not exist.
#
# go test ./api -run TestMatrix -update writes this file: read the diff before it is committed.
`)
	tab := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "operation\tobject\t"+strings.Join(who, "\t"))
	for _, key := range m.lines {
		operation, object, _ := strings.Cut(key, " ")
		row := []string{operation, object}
		for _, status := range m.actual[key] {
			row = append(row, strconv.Itoa(status))
		}
		fmt.Fprintln(tab, strings.Join(row, "\t"))
	}
	must(t, tab.Flush())
	must(t, os.WriteFile(matrixFile, b.Bytes(), 0o600))
}

// said is what an answer says, but for the request it belongs to.
func said(t *testing.T, a answer) string {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal(a.body, &body); err != nil {
		return string(a.body)
	}
	delete(body, "request_id")
	raw, err := json.Marshal(body)
	must(t, err)
	return fmt.Sprint(a.status, " ", a.header.Get("Content-Type"), " ", string(raw))
}
