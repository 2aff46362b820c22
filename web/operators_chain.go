package web

import "chancery/claims"

// chainView is who stands behind which account: the operator, its signing keys, and
// the accounts that each of them signed. The nested list is the canonical form; the
// picture shows the same.
type chainView struct {
	Operator string
	Keys     []chainKey
	// More says that there are more accounts than were looked at.
	More bool
	SVG  chainPicture
}

// chainKey is a key and what it signed. Broken keys are not trusted any more.
type chainKey struct {
	Key      string
	State    chip
	Broken   bool
	Accounts []chainAccount
	// Collapsed says that the accounts are too many to be shown at once.
	Collapsed bool
}

type chainAccount struct {
	Name, URL string
	System    bool
}

// mostDrawn is how many accounts of a key are drawn one by one.
const mostDrawn = 30

func (v *chainView) add(k chainKey) {
	k.Collapsed = len(k.Accounts) > mostDrawn
	v.Keys = append(v.Keys, k)
}

// chainPicture is the drawing: boxes in three columns and the lines between them.
type chainPicture struct {
	Height int
	Boxes  []chainBox
	Lines  []chainLine
}

type chainBox struct {
	X, Y, TextY, Width int
	Text, URL          string
	Class              string
}

type chainLine struct {
	X1, Y1, X2, Y2 int
	Broken         bool
}

// The measures of the drawing.
const (
	boxHeight = 26
	rowHeight = 34
	boxWidth  = 190
	keyX      = 265
	accountX  = 530
)

// draw lays the picture out.
func (v *chainView) draw() {
	row := 0
	middle := func(from, rows int) int { return from*rowHeight + max(rows-1, 0)*rowHeight/2 + rowHeight/2 }
	var keys []chainBox
	for _, k := range v.Keys {
		start := row
		class := "chain-key"
		if k.Broken {
			class += " broken"
		}
		lines := 1
		if !k.Collapsed && len(k.Accounts) > 0 {
			lines = len(k.Accounts)
		}
		y := middle(start, lines)
		keys = append(keys, box(keyX, y, claims.ShortKey(k.Key), "", class))
		switch {
		case k.Collapsed:
			v.SVG.Boxes = append(v.SVG.Boxes, box(accountX, y, plural(len(k.Accounts), "account", "accounts"), "/accounts", "chain-account"))
			v.SVG.Lines = append(v.SVG.Lines, chainLine{keyX + boxWidth, y, accountX, y, k.Broken})
		default:
			for n, a := range k.Accounts {
				at := middle(start+n, 1)
				v.SVG.Boxes = append(v.SVG.Boxes, box(accountX, at, a.Name, a.URL, "chain-account"))
				v.SVG.Lines = append(v.SVG.Lines, chainLine{keyX + boxWidth, y, accountX, at, k.Broken})
			}
		}
		row += lines
	}
	root := middle(0, max(row, 1))
	v.SVG.Boxes = append(v.SVG.Boxes, box(1, root, v.Operator, "", "chain-operator"))
	for n, k := range keys {
		v.SVG.Lines = append(v.SVG.Lines, chainLine{1 + boxWidth, root, keyX, k.Y + boxHeight/2, v.Keys[n].Broken})
	}
	v.SVG.Boxes = append(v.SVG.Boxes, keys...)
	v.SVG.Height = max(row, 1) * rowHeight
}

// box is one whose middle is at y; a long name is cut to fit.
func box(x, y int, text, url, class string) chainBox {
	const most = 24
	if r := []rune(text); len(r) > most {
		text = string(r[:most-1]) + "…"
	}
	return chainBox{X: x, Y: y - boxHeight/2, TextY: y + 4, Width: boxWidth, Text: text, URL: url, Class: class}
}
