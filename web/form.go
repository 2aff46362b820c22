package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"chancery/issuer"
)

// The kinds of field.
const (
	kindText     = "text"
	kindTextarea = "textarea"
	kindSelect   = "select"
	kindCheckbox = "checkbox"
	kindFile     = "file"
)

// maxField bounds one field, in characters; issuer has the bounds that matter.
const maxField = 9000

// form is the one form component: fields with what is wrong with them, a summary
// that leads to them, and the way on and back.
type form struct {
	// Action is where it is sent.
	Action string
	Submit string
	// Cancel leads back; empty shows no such link.
	Cancel string
	// Danger colours the button.
	Danger bool
	// Multipart sends files; the handler reads the parts.
	Multipart bool
	Groups    []group
	Hidden    []hidden
	// Warnings do not hinder: sending the form again accepts them.
	Warnings []string
	// Rules are the guardrails that hold for what is asked, under RulesTitle.
	Rules      []string
	RulesTitle string
	// Message and Hint say what is wrong with the whole.
	Message, Hint string
	// general are problems that no field has.
	general []string
	code    int
}

// group is fields that belong together.
type group struct {
	Legend, Note string
	// Fold puts the fields behind the legend; Open shows them at first.
	Fold, Open bool
	Fields     []*field
}

// Shown tells whether a folded group is open: one with a problem always is.
func (g group) Shown() bool {
	return g.Open || slices.ContainsFunc(g.Fields, func(f *field) bool { return len(f.Errors) > 0 })
}

// field is one input.
type field struct {
	Name, Label, Hint string
	Kind              string
	// Pointer is the JSON pointer by which issuer names the field in problems.
	Pointer string
	// Value is what is shown, and what was sent.
	Value    string
	Checked  bool
	Required bool
	// Code shows the value in the face of keys and subjects.
	Code         bool
	Options      []option
	Placeholder  string
	Autocomplete string
	// Accept lists the kinds of file that a browser offers.
	Accept string
	// Numeric brings up the digits on a phone.
	Numeric bool
	// JWT says that a JWT is what is asked for; elsewhere it is a secret gone astray.
	JWT bool
	// Max is the most characters, 0 for the bound of every field.
	Max    int
	Errors []string
}

// option is one choice of a select.
type option struct{ Value, Text string }

// hidden is a value that travels with a form.
type hidden struct{ Name, Value string }

// fault is a line of the summary; Field is empty when it concerns the whole.
type fault struct{ Field, Text string }

// ID is the id of the field's input.
func (f *field) ID() string { return "f-" + strings.NewReplacer(".", "-", " ", "-").Replace(f.Name) }

// Describes lists the ids of what describes the input.
func (f *field) Describes() string {
	var ids []string
	if f.Hint != "" {
		ids = append(ids, f.ID()+"-hint")
	}
	if len(f.Errors) > 0 {
		ids = append(ids, f.ID()+"-error")
	}
	return strings.Join(ids, " ")
}

func (f *form) field(name string) *field {
	for _, g := range f.Groups {
		for _, x := range g.Fields {
			if x.Name == name {
				return x
			}
		}
	}
	return nil
}

// value returns what was sent, without spaces around it; "" for a field that the
// form does not have.
func (f *form) value(name string) string {
	if x := f.field(name); x != nil {
		return strings.TrimSpace(x.Value)
	}
	return ""
}

func (f *form) checked(name string) bool {
	x := f.field(name)
	return x != nil && x.Checked
}

// ok tells whether nothing is wrong so far.
func (f *form) ok() bool { return f.code == 0 }

// status is that of the page that shows the form again.
func (f *form) status() int {
	if f.code == 0 {
		return http.StatusOK
	}
	return f.code
}

// read takes the values that were sent. What could be a private key, and what no
// database takes, is refused here and not kept, so that no page repeats it.
func (f *form) read(sent url.Values) {
	for _, g := range f.Groups {
		for _, x := range g.Fields {
			if x.Kind == kindCheckbox {
				x.Checked = sent.Get(x.Name) != ""
				continue
			}
			if x.Kind == kindFile {
				continue // browsers do not take one back
			}
			x.Value = sent.Get(x.Name)
			if why := x.unacceptable(); why != "" {
				x.Value = ""
				f.fail(x.Name, why)
			}
			if x.Kind == kindSelect && (!x.offers(x.Value) || (x.Required && x.Value == "")) {
				x.Value = ""
				f.fail(x.Name, "Choose one of the entries.")
			}
		}
	}
}

func (f *field) unacceptable() string {
	s, most := f.Value, maxField
	if f.Max > 0 {
		most = f.Max
	}
	switch {
	case f.JWT && holdsSeed(s):
		return "This holds a private key (seed) and was thrown away. Send the JWT only, and treat the seed as exposed if it travelled over an untrusted path."
	case !f.JWT && carriesSecret(s):
		return "This holds a private key, a token or a JWT, and was thrown away. Treat it as exposed if it travelled over an untrusted path."
	case !utf8.ValidString(s):
		return "The text must be valid UTF-8."
	case utf8.RuneCountInString(s) > most:
		return "At most " + formatCount(int64(most)) + " characters are allowed."
	}
	for _, r := range s {
		if unicode.IsControl(r) && (f.Kind != kindTextarea || !strings.ContainsRune("\r\n\t", r)) {
			return "The text must not hold control characters."
		}
	}
	return ""
}

func (f *field) offers(value string) bool {
	for _, o := range f.Options {
		if o.Value == value {
			return true
		}
	}
	return false
}

// fail says what is wrong with a field: the first thing found, since the next often
// follows from it.
func (f *form) fail(name, sentence string) {
	f.raise(http.StatusUnprocessableEntity)
	if x := f.field(name); x != nil {
		if len(x.Errors) > 0 {
			return
		}
		x.Errors = append(x.Errors, sentence)
		return
	}
	if !slices.Contains(f.general, sentence) {
		f.general = append(f.general, sentence)
	}
}

// Faults is the summary: every problem, in the order of the fields.
func (f *form) Faults() []fault {
	var out []fault
	for _, s := range f.general {
		out = append(out, fault{"", s})
	}
	for _, g := range f.Groups {
		for _, x := range g.Fields {
			for _, e := range x.Errors {
				out = append(out, fault{x.ID(), x.Label + ": " + e})
			}
		}
	}
	return out
}

func (f *form) raise(status int) {
	if f.code == 0 {
		f.code = status
	}
	if f.Message == "" {
		f.Message = "Please look at this again"
	}
}

// accept takes an error of issuer that the person at the form can do something
// about, and tells whether it was one; all else is for the error page.
func (f *form) accept(err error) bool {
	e := issuer.AsError(err)
	if e.Guard != "" {
		return false // it has a page of its own
	}
	switch e.Kind {
	case issuer.KindInvalid:
		for _, p := range e.Problems {
			if p.Blocking {
				f.fail(f.byPointer(p.Pointer), p.Detail)
			}
		}
		if f.ok() {
			f.fail("", e.Message)
		}
		return true
	case issuer.KindConflict, issuer.KindTooFast, issuer.KindSealed, issuer.KindBusy, issuer.KindForbidden:
		f.raise(statuses[e.Kind])
		f.Message, f.Hint = e.Message, e.Hint
		if e.Code == "name_taken" {
			f.fail("name", e.Message)
			f.Message = "Please look at this again"
		}
		return true
	}
	return false
}

// byPointer returns the name of the field that a problem is about: the one with
// the longest pointer that leads there.
func (f *form) byPointer(pointer string) string {
	name, longest := "", 0
	for _, g := range f.Groups {
		for _, x := range g.Fields {
			if n := len(x.Pointer); n > longest && (pointer == x.Pointer || strings.HasPrefix(pointer, x.Pointer+"/")) {
				name, longest = x.Name, n
			}
		}
	}
	return name
}

// count and size read a limit and say what is wrong with it.
func (f *form) count(name string) int64 { return f.limit(name, parseCount) }

func (f *form) size(name string) int64 { return f.limit(name, parseSize) }

func (f *form) limit(name string, parse func(string) (int64, error)) int64 {
	n, err := parse(f.value(name))
	if err != nil {
		f.fail(name, err.Error())
	}
	return n
}

// carried returns every value as hidden fields, for the page after this one.
func (f *form) carried() []hidden {
	var out []hidden
	for _, g := range f.Groups {
		for _, x := range g.Fields {
			switch {
			case x.Kind != kindCheckbox:
				out = append(out, hidden{x.Name, x.Value})
			case x.Checked:
				out = append(out, hidden{x.Name, "on"})
			}
		}
	}
	return out
}

// formView is a page that is mainly a form.
type formView struct {
	Title, Lead string
	Form        *form
}
