package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/store/storetest"
)

// attempt is a request about somebody else's object, and the same about one that does not exist.
type attempt struct {
	what            string
	foreign, absent request
}

// attempts are all that a tenant can try on the other's objects: by names, by identities, and by identities of the
// other's at an own parent.
func (w *tenants) attempts(t *testing.T, mine, theirs, theirIDs place, token string) []attempt {
	t.Helper()
	doc, _ := contract(t)
	var out []attempt
	none := w.places[absent]
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			o := operation{op, method, path}
			if !strings.Contains(path, "{") || open(op) {
				continue
			}
			add := func(what string, foreign, absent place) {
				a := attempt{op.OperationID + " by " + what, w.about(o, foreign, mine, token), w.about(o, absent, mine, token)}
				if a.foreign.path != a.absent.path {
					out = append(out, a)
				}
			}
			add("name", theirs, none)
			add("identity", theirIDs, none)
			astray, nowhere := theirIDs, none
			astray.operator, astray.account, nowhere.operator, nowhere.account = mine.operator, mine.account, mine.operator, mine.account
			add("identity in an own place", astray, nowhere)
			astray.template, nowhere.template = mine.template, mine.template
			add("identity at an own template", astray, nowhere)
		}
	}
	slices.SortFunc(out, func(a, b attempt) int { return strings.Compare(a.what, b.what) })
	return out
}

// TestTenants has two tenants try each operation with the other's names and identities: it is answered like what does
// not exist, goes on record as often, and takes as long.
func TestTenants(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		w := newTenants(h)
		for who, grant := range strangers {
			w.call(who, grant)
		}
		raw := storetest.OpenRaw(h.t, h.url)
		denials := func() (n int) {
			must(h.t, raw.QueryRowContext(h.t.Context(), `SELECT count(*) FROM audit WHERE outcome = 'denied'`).Scan(&n))
			return n
		}
		before := storedObjects(h)
		tried, alike := 0, 0
		var ofForeign, ofAbsent []time.Duration
		for _, c := range []struct {
			who          string
			mine, theirs string
		}{
			{"account_admin", own, foreign},
			{"operator_admin", own, foreign},
			{"account_admin_of_parts", foreign, own},
			{"operator_admin_of_globex", foreign, own},
		} {
			for _, a := range w.attempts(h.t, w.places[c.mine], w.places[c.theirs], w.ids[c.theirs], w.callers[c.who]) {
				tried++
				recorded := denials()
				other := h.send(a.foreign)
				first := denials()
				none := h.send(a.absent)
				switch second := denials(); {
				case other.status < 400:
					h.t.Errorf("%s as %s: %d: %s", a.what, c.who, other.status, other.body)
				case said(h.t, other) != said(h.t, none):
					h.t.Errorf("%s as %s: what is foreign was answered with %s, what is missing with %s", a.what, c.who, other.body, none.body)
				case first-recorded != second-first:
					h.t.Errorf("%s as %s: %d denials on record of what is foreign, %d of what is missing", a.what, c.who, first-recorded, second-first)
				default:
					alike++
				}
				if a.foreign.method == http.MethodGet && other.status == http.StatusNotFound {
					if first, second := a.foreign, a.absent; tried%2 == 0 { // none is always the second
						ofForeign, ofAbsent = append(ofForeign, h.took(first)), append(ofAbsent, h.took(second))
					} else {
						ofAbsent, ofForeign = append(ofAbsent, h.took(second)), append(ofForeign, h.took(first))
					}
				}
			}
		}
		h.t.Logf("%d of %d attempts on another tenant's objects are answered like what does not exist", alike, tried)
		if storedObjects(h) != before {
			h.t.Error("a tenant changed something of the other's")
		}
		if alike != tried || tried == 0 {
			h.t.Fail()
		}
		f, a := median(ofForeign), median(ofAbsent)
		ratio := float64(f) / float64(a)
		h.t.Logf("time to say that nothing is there: %v where it is foreign, %v where it is missing, ratio %.2f in %d pairs", f, a, ratio, len(ofForeign))
		if ratio < 0.5 || ratio > 2 {
			h.t.Errorf("the time tells what is foreign: ratio %.2f", ratio)
		}
		w.listsShowOwnOnly(h.t)
	})
}

// took is how long an answer takes.
func (h *house) took(r request) time.Duration {
	h.t.Helper()
	started := time.Now()
	h.send(r)
	return time.Since(started)
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// listsShowOwnOnly wants nothing of the other tenant in any list.
func (w *tenants) listsShowOwnOnly(t *testing.T) {
	t.Helper()
	doc, _ := contract(t)
	lists := 0
	theirs := w.ids[foreign]
	for path, item := range doc.Paths.Map() {
		if item.Get == nil || strings.Contains(path, "{") {
			continue
		}
		for _, who := range []string{"account_admin", "operator_admin", "issuer", "account_auditor"} {
			a := w.send(w.about(operation{item.Get, http.MethodGet, path}, w.places[own], w.places[own], w.callers[who]))
			lists++
			for _, s := range []string{theirs.operator, theirs.account, theirs.template, theirs.user, theirs.token, theirs.person, "globex", "PARTS", "widget", "fred"} {
				if strings.Contains(string(a.body), s) {
					t.Errorf("%s shows %s to %s", path, s, who)
				}
			}
		}
	}
	t.Logf("%d of %d lists show nothing of the other tenant", lists, lists)
}
