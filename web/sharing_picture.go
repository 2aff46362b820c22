package web

import (
	"cmp"
	"fmt"
	"slices"
)

// sharingPicture is who imports from whom, drawn: exporters on the left, importers on the
// right, an account that is both on both sides. Everything that it says is in the table
// below it too. What is drawn is listed in reading order: each exporter with its lines,
// then the importers.
type sharingPicture struct {
	Width, Height int
	Exporters     []sharingBox
	Importers     []sharingBox
}

// sharingBox is an account at one side, with the lines that begin at it.
type sharingBox struct {
	X, Y, Width, Height int
	TextX, TextY        int
	Text, Says, URL     string
	Lines               []sharingLine
}

// sharingLine is what one account shares with another, of one kind. It runs straight
// under its label, so that no other crosses that.
type sharingLine struct {
	Path, Head      string
	MarkX, MarkY    int
	TextX, TextY    int
	Text, Says, URL string
	Service, Broken bool
	from, to        int
}

// flow is what is to be drawn as one line. Accounts are told apart by ID and are put in
// the order of their names.
type flow struct {
	exporter, importer sharingEnd
	service, broken    bool
	// text is the label, says what it means, url where the line leads.
	text, says, url string
}

// sharingEnd is an account at one end of a flow; url is empty of one without a page.
type sharingEnd struct{ id, name, url string }

// mostFlows is how many lines a picture has; with more of them nobody sees through it.
const mostFlows = 40

// The measures of the picture: what fits into a box or over a line is counted in letters.
const (
	endWidth, endLetters     = 200, 25
	labelWidth, labelLetters = 212, 26
	curveWidth               = 216
	flowHeight, endGap       = 34, 12
	markWidth                = 18
)

// side is one column: its ends in order, and for each the flows there.
type side struct {
	ends  []sharingEnd
	flows map[string][]int
}

func newSide(flows []flow, end func(flow) sharingEnd) side {
	s := side{flows: map[string][]int{}}
	for n, f := range flows {
		e := end(f)
		if s.flows[e.id] == nil {
			s.ends = append(s.ends, e)
		}
		s.flows[e.id] = append(s.flows[e.id], n)
	}
	slices.SortFunc(s.ends, func(a, b sharingEnd) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.id, b.id)) })
	return s
}

func (s side) height() int {
	h := -endGap
	for _, e := range s.ends {
		h += len(s.flows[e.id])*flowHeight + endGap
	}
	return max(h, 0)
}

// place gives each flow of the side its height, from top on.
func (s side) place(top int, at []int) {
	for _, e := range s.ends {
		for _, n := range s.flows[e.id] {
			at[n] = top + flowHeight/2
			top += flowHeight
		}
		top += endGap
	}
}

// box is the end whose flows lie at these heights.
func (s side) box(x int, e sharingEnd, at []int) sharingBox {
	first, last := at[s.flows[e.id][0]], at[s.flows[e.id][len(s.flows[e.id])-1]]
	b := sharingBox{X: x, Y: first - flowHeight/2 + 3, Width: endWidth, Height: last - first + flowHeight - 6, TextX: x + 10, Text: shorten(e.name, endLetters), URL: e.url}
	b.TextY = b.Y + b.Height/2 + 4
	return b
}

// drawSharing lays the flows out. It depends on nothing but them, in whatever order.
func drawSharing(flows []flow) sharingPicture {
	flows = slices.Clone(flows)
	slices.SortFunc(flows, func(a, b flow) int {
		return cmp.Or(cmp.Compare(a.exporter.name, b.exporter.name), cmp.Compare(a.exporter.id, b.exporter.id),
			cmp.Compare(a.importer.name, b.importer.name), cmp.Compare(a.importer.id, b.importer.id), cmp.Compare(a.text, b.text), cmp.Compare(a.url, b.url))
	})
	left, right := newSide(flows, func(f flow) sharingEnd { return f.exporter }), newSide(flows, func(f flow) sharingEnd { return f.importer })
	height := max(left.height(), right.height())
	from, to := make([]int, len(flows)), make([]int, len(flows))
	left.place((height-left.height())/2, from)
	// An importer stands where its exporters do on average: so fewer lines cross.
	mean := func(e sharingEnd) int {
		sum := 0
		for _, n := range right.flows[e.id] {
			sum += from[n]
		}
		return sum / len(right.flows[e.id])
	}
	slices.SortStableFunc(right.ends, func(a, b sharingEnd) int { return cmp.Compare(mean(a), mean(b)) })
	right.place((height-right.height())/2, to)

	p := sharingPicture{Width: 2*endWidth + labelWidth + curveWidth + 2, Height: height + 2}
	const startX = 1 + endWidth
	for _, e := range left.ends {
		b := left.box(1, e, from)
		b.Says = e.name + ", exports"
		for _, n := range left.flows[e.id] {
			b.Lines = append(b.Lines, lineOf(flows[n], startX, from[n], to[n]))
		}
		p.Exporters = append(p.Exporters, b)
	}
	for _, e := range right.ends {
		b := right.box(startX+labelWidth+curveWidth, e, to)
		b.Says = e.name + ", imports"
		p.Importers = append(p.Importers, b)
	}
	return p
}

func lineOf(f flow, x, from, to int) sharingLine {
	bend, end := x+labelWidth, x+labelWidth+curveWidth
	l := sharingLine{
		Path: fmt.Sprintf("M%d %dH%dC%d %d %d %d %d %d", x, from, bend, bend+curveWidth/2, from, end-curveWidth/2, to, end-8, to),
		Head: fmt.Sprintf("M%d %dL%d %dL%d %dz", end-8, to-4, end, to, end-8, to+4),
		Says: f.says, URL: f.url, Service: f.service, Broken: f.broken,
		MarkX: x + 8, MarkY: from - 16, TextX: x + 8, TextY: from - 6, from: from, to: to,
	}
	letters := labelLetters
	if f.broken {
		l.TextX, letters = l.TextX+markWidth, labelLetters-3
	}
	l.Text = shorten(f.text, letters)
	return l
}

// shorten cuts text to so many letters.
func shorten(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}
