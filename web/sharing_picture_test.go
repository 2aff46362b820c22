package web

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"pgregory.net/rapid"

	"chancery/issuer"
)

func someFlows(t *rapid.T) []flow {
	ends := rapid.IntRange(1, 12).Draw(t, "accounts")
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) flow {
		end := func(label string) sharingEnd {
			n := rapid.IntRange(0, ends-1).Draw(t, label)
			return sharingEnd{id: fmt.Sprint(n), name: fmt.Sprintf("ACCOUNT-WITH-A-LONG-NAME-%d", n%5)} // some share a name
		}
		return flow{exporter: end("from"), importer: end("to"), service: rapid.Bool().Draw(t, "service"), broken: rapid.Bool().Draw(t, "broken"), text: rapid.StringN(1, 60, -1).Draw(t, "text")}
	}), 1, mostFlows).Draw(t, "flows")
}

// Whatever is shared: no box covers another, no label another, no line crosses a label,
// all is within the picture, and every flow is drawn once, between its two accounts.
func TestSharingPictureIsReadable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		flows := someFlows(t)
		p := drawSharing(flows)
		drawn := 0
		var heights, ends []int
		for _, column := range [][]sharingBox{p.Exporters, p.Importers} {
			bottom := 0
			for _, b := range column {
				if b.Y <= bottom && bottom > 0 || b.Y < 0 || b.Y+b.Height > p.Height || b.X+b.Width > p.Width {
					t.Fatalf("box %+v begins above %d, or leaves %d×%d", b, bottom, p.Width, p.Height)
				}
				if len([]rune(b.Text)) > endLetters {
					t.Fatalf("%q does not fit", b.Text)
				}
				bottom = b.Y + b.Height
				for _, l := range b.Lines {
					drawn++
					heights, ends = append(heights, l.from), append(ends, l.to)
					if l.from < b.Y || l.from > b.Y+b.Height || l.TextY >= l.from || l.TextY < l.from-flowHeight/2 {
						t.Fatalf("line %+v does not begin at its box %+v, or its label is elsewhere", l, b)
					}
					if most := (labelWidth - (l.TextX - b.X - b.Width)) * 10 / 72; len([]rune(l.Text)) > most {
						t.Fatalf("%q is longer than the %d letters that fit", l.Text, most)
					}
				}
			}
		}
		for _, column := range [][]int{heights, ends} {
			for i, y := range column {
				for _, other := range column[:i] {
					// A label is 12 px high over its line, which is straight there: it meets
					// no other line at this distance.
					if d := y - other; d < flowHeight && d > -flowHeight {
						t.Fatalf("lines at %d and %d are too close", y, other)
					}
				}
			}
		}
		if drawn != len(flows) {
			t.Fatalf("%d of %d flows are drawn", drawn, len(flows))
		}
	})
}

// The picture does not depend on the order in which edges were read.
func TestSharingPictureIsTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		flows := someFlows(t)
		for n := range flows {
			flows[n].url = fmt.Sprint(n) // as no two lines lead to the same place
		}
		want := drawSharing(flows)
		seed := rapid.Uint64().Draw(t, "seed")
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(flows), func(i, j int) { flows[i], flows[j] = flows[j], flows[i] })
		if d := cmp.Diff(want, drawSharing(flows), cmp.AllowUnexported(sharingLine{})); d != "" {
			t.Fatal(d)
		}
	})
}

// More lines than anybody sees through are not drawn; the table has them all.
func TestSharingPictureHasItsBound(t *testing.T) {
	t.Parallel()
	for lines := mostFlows; lines <= mostFlows+1; lines++ {
		var g issuer.Graph
		for n := range lines {
			e := issuer.Edge{Exporter: issuer.EdgeNode{ID: "A", Name: "ORDERS"}, Importer: issuer.EdgeNode{ID: fmt.Sprint(n), Name: fmt.Sprint(n)}}
			e.Body = jwt.Import{Subject: "orders.>", Type: jwt.Stream}
			g.Edges = append(g.Edges, e)
		}
		view := sharingView{Path: sharingPath}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, sharingPath, nil)
		if err := view.fill(r, naming{operators: 1}, func(issuer.GraphQuery) (issuer.Graph, error) { return g, nil }); err != nil {
			t.Fatal(err)
		}
		if drawn := view.Picture != nil; drawn != (lines <= mostFlows) || len(view.Rows) != lines || (view.Flows == 0) != drawn {
			t.Errorf("%d lines: drawn %v, %d rows, %d too many", lines, drawn, len(view.Rows), view.Flows)
		}
	}
}
