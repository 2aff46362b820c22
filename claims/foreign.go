package claims

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/jwt/v2"
)

// Foreign is what a JWT from elsewhere holds beside what claims are built from here, so
// that the ones built in its place mean the same. It is stored as JSON.
type Foreign struct {
	// Name is what the JWT calls the object where that cannot be its name here.
	Name *string `json:"name,omitempty"`
	// Audience and NotBefore are those of the JWT; so is Expires of an operator's.
	Audience  string `json:"audience,omitempty"`
	NotBefore int64  `json:"not_before,omitempty"`
	Expires   int64  `json:"expires,omitempty"`
	// Tolerated is what only Chancery refuses and the JWT came with, as a code and a
	// pointer without places in lists: it does not hold up a new signature.
	Tolerated []string `json:"tolerated,omitempty"`
	Fields    Carried  `json:"fields,omitempty"`
	// MayLose lets unknown fields go that have no place any more, for changes that take
	// rights away: those are never held up.
	MayLose bool `json:"-"`
}

// ParseForeign reads what Text wrote; nil for "".
func ParseForeign(text string) (*Foreign, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // most objects have nothing from elsewhere
	}
	f := new(Foreign)
	if err := json.Unmarshal([]byte(text), f); err != nil {
		return nil, fmt.Errorf("reading what a JWT from elsewhere holds: %w", err)
	}
	return f, nil
}

// Text writes what ParseForeign reads, "" for nil.
func (f *Foreign) Text() (string, error) {
	if f == nil {
		return "", nil
	}
	raw, err := json.Marshal(f)
	if err != nil {
		return "", fmt.Errorf("writing what a JWT from elsewhere holds: %w", err)
	}
	return string(raw), nil
}

// ForeignAccount returns what an account's JWT holds that the account called name here
// has no other place for.
func ForeignAccount(t Token, name string) (*Foreign, error) {
	c, ok := t.Claims.(*jwt.AccountClaims)
	if !ok {
		return nil, fmt.Errorf("reading an account: the JWT is of the type %s", t.Claims.ClaimType())
	}
	f := &Foreign{Audience: c.Audience, NotBefore: c.NotBefore}
	parts := AccountOf(c)
	parts.Name = name
	if c.Name != name {
		f.Name = &c.Name
	}
	return f.complete(t, append(CheckAccount(parts), nameFaults(f.Name)...))
}

// ForeignOperator is ForeignAccount of an operator's JWT.
func ForeignOperator(t Token, name string) (*Foreign, error) {
	c, ok := t.Claims.(*jwt.OperatorClaims)
	if !ok {
		return nil, fmt.Errorf("reading an operator: the JWT is of the type %s", t.Claims.ClaimType())
	}
	f := &Foreign{Audience: c.Audience, NotBefore: c.NotBefore, Expires: c.Expires}
	parts := OperatorOf(c)
	parts.Name = name
	if c.Name != name {
		f.Name = &c.Name
	}
	return f.complete(t, append(CheckOperator(parts), nameFaults(f.Name)...))
}

func nameFaults(name *string) Problems {
	if name == nil {
		return nil
	}
	return CheckName("/name", *name)
}

// called returns the name in the JWT of what has that name here.
func (f *Foreign) called(name string) string {
	if f.Name != nil {
		return *f.Name
	}
	return name
}

func (f *Foreign) complete(t Token, problems Problems) (*Foreign, error) {
	for _, p := range problems {
		if mark := p.mark(); p.Blocking && !p.Server && !slices.Contains(f.Tolerated, mark) {
			f.Tolerated = append(f.Tolerated, mark)
		}
	}
	var err error
	f.Fields, err = t.Carried()
	return f, err
}

// mark names the problem and its place, whatever the order of lists.
func (p Problem) mark() string {
	tokens := strings.Split(p.Pointer, "/")
	for i, t := range tokens {
		if _, err := strconv.Atoi(t); err == nil {
			tokens[i] = "*"
		}
	}
	return p.Code + " " + strings.Join(tokens, "/")
}

// Tolerate returns the problems; what the JWT came with does not block.
func (f *Foreign) Tolerate(problems Problems) Problems {
	if f == nil {
		return problems
	}
	for n, p := range problems {
		if p.Blocking && !p.Server && slices.Contains(f.Tolerated, p.mark()) {
			problems[n].Blocking = false
		}
	}
	return problems
}

// carry puts the unknown fields into claims that were checked.
func (f *Foreign) carry(c Checked, problems Problems) (Checked, Problems) {
	if f == nil || problems.Blocking() {
		return c, problems
	}
	out, lost, err := c.Carrying(f.Fields)
	if err != nil {
		return Checked{}, append(problems, blocking("", "invalid_jwt", "What the JWT came with cannot be written again."))
	}
	for _, pointer := range lost {
		problems = append(problems, Problem{
			Pointer: pointer, Code: "unknown_fields_lost", Blocking: !f.MayLose,
			Detail: "The JWT came with a field that this version does not know, and this change would lose it. Leave what holds the field as it is, or update Chancery.",
		})
	}
	if problems.Blocking() {
		return Checked{}, problems
	}
	return out, problems
}

// SameClaims tells whether a JWT holds what was checked, beside who issued it and when:
// the claims as nats-io/jwt reads them, and what it does not know.
func (c Checked) SameClaims(token string) bool {
	t, err := Read(token)
	if err != nil || c.claims == nil {
		return false
	}
	carried, err := t.Carried()
	if err != nil {
		return false
	}
	mine, _ := stamped(c.claims, Stamp{})
	theirs, _ := stamped(t.Claims, Stamp{})
	a, errA := marshal(mine)
	b, errB := marshal(theirs)
	if errA != nil || errB != nil || string(a) != string(b) {
		return false
	}
	x, errX := carried.text()
	y, errY := c.carried.text()
	return errX == nil && errY == nil && x == y
}
