package resolver

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

// Where JWTs are served: under standardBase for the default operator, and for each
// under operatorBase, its name and standardBase.
const (
	standardBase = "/jwt/v1/"
	operatorBase = "/o/"
)

// placeKind is what is served at a path.
type placeKind int

const (
	atNothing placeKind = iota
	// atProbe is accounts/ without a key.
	atProbe
	atAccount
	atOperator
	atPack
	atActivation
	// atSubmissions is activations without a hash, where one can only post.
	atSubmissions
	atHelp
	atHealth
)

// healthPath answers as long as the process does.
const healthPath = "/healthz"

// place is a path that was taken apart.
type place struct {
	kind placeKind
	// operator is the name or key that the path has for it, "" under the default base.
	operator string
	// served is that operator; nil when it is unknown, or when there is none yet.
	served *servedOperator
	// id is the account's key or the activation's hash, as the path has it.
	id string
}

// locate takes a path apart.
func (d *directory) locate(path string) place {
	at := place{}
	rest, ok := strings.CutPrefix(path, standardBase)
	if ok {
		at.served = d.standard
	} else {
		if rest, ok = strings.CutPrefix(path, operatorBase); !ok {
			if path == healthPath {
				at.kind = atHealth
			}
			return at
		}
		if at.operator, rest, ok = strings.Cut(rest, standardBase); !ok || at.operator == "" || strings.Contains(at.operator, "/") {
			return place{}
		}
		at.served = d.byName[at.operator]
	}
	at.kind, at.id = kindOf(rest)
	return at
}

// kindOf reads what follows the base.
func kindOf(rest string) (kind placeKind, id string) {
	if id, ok := strings.CutPrefix(rest, "accounts/"); ok && id != "" {
		return item(atAccount, id)
	}
	switch rest {
	case "accounts", "accounts/":
		return atProbe, ""
	case "operator":
		return atOperator, ""
	case "pack":
		return atPack, ""
	case "activations":
		return atSubmissions, ""
	case "help":
		return atHelp, ""
	}
	if id, ok := strings.CutPrefix(rest, "activations/"); ok && id != "" {
		return item(atActivation, id)
	}
	return atNothing, ""
}

// item is a kind with an identity, which is one segment.
func item(kind placeKind, id string) (placeKind, string) {
	if strings.IndexByte(id, '/') >= 0 {
		return atNothing, ""
	}
	return kind, id
}

// astray answers what is no path of ours. A trailing slash too many or the wrong case
// leads to the right one, for reads only.
func (h *handler) astray(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		if right := straighten(r.URL.Path); right != r.URL.Path && h.memory.operators.Load().locate(right).kind != atNothing {
			w.Header()[headerLocation] = []string{(&url.URL{Path: right, RawQuery: r.URL.RawQuery}).String()}
			text(w, r, http.StatusMovedPermanently, "")
			return
		}
	}
	h.count.unknown.Inc()
	text(w, r, http.StatusNotFound, "404 page not found\n")
}

// straighten returns the path without needless slashes, its fixed words in small
// letters. Names, keys and hashes stay as they are.
func straighten(p string) string {
	parts := strings.Split(path.Clean("/"+p), "/") // the first one is empty
	for i := 1; i < len(parts); i++ {
		if i == 2 && parts[1] == "o" {
			continue // the operator's name
		}
		word := strings.ToLower(parts[i])
		switch word {
		case "jwt", "v1", "o", "accounts", "operator", "pack", "activations", "help", "healthz":
			parts[i] = word
		}
	}
	return strings.Join(parts, "/")
}

// submittable tells whether something can be posted at a place.
func (h *handler) submittable(at place) bool {
	return h.paths.Submissions != nil && (at.kind == atAccount || at.kind == atSubmissions)
}

// methods lists what may be done at a place, as an Allow header has it.
func (h *handler) methods(at place) string {
	switch {
	case at.kind == atSubmissions && h.submittable(at):
		return "OPTIONS, POST"
	case at.kind == atSubmissions:
		return "OPTIONS"
	case h.submittable(at):
		return "GET, HEAD, OPTIONS, POST"
	}
	return "GET, HEAD, OPTIONS"
}

// options answers OPTIONS, and a browser that asks whether a page of another origin
// may read. Such pages may do no more than that, and send no credentials.
func (h *handler) options(w http.ResponseWriter, r *http.Request, at place) {
	header := w.Header()
	header[headerAllow] = []string{h.methods(at)}
	if r.Header[headerOrigin] == nil || r.Header[headerAsksFor] == nil {
		text(w, r, http.StatusOK, "")
		return
	}
	header[headerVary] = []string{"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"}
	header[headerAllowMethods] = []string{http.MethodGet}
	w.WriteHeader(http.StatusNoContent)
}
