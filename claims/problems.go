package claims

import (
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing wrong with what somebody asked for.
type Problem struct {
	// Pointer is the JSON pointer (RFC 6901) of the field, "" for the whole.
	Pointer string
	// Code is stable, snake_case and meant for programs.
	Code string
	// Detail is a sentence a person can act on. It never repeats the value.
	Detail string
	// Blocking tells whether Chancery refuses because of it.
	Blocking bool
	// Server tells whether a nats-server refuses too, by itself: the JWT, or every
	// connection that it is for. What a server takes and then ignores is not Server.
	Server bool
}

// Problems is every problem found, not only the first.
type Problems []Problem

// Blocking tells whether any of them stops the request.
func (p Problems) Blocking() bool {
	for _, x := range p {
		if x.Blocking {
			return true
		}
	}
	return false
}

// At returns the problems with pointer put in front of each one's own.
func (p Problems) At(pointer string) Problems {
	for i := range p {
		p[i].Pointer = pointer + p[i].Pointer
	}
	return p
}

// Point joins a JSON pointer and further reference tokens, escaping them.
func Point(base string, tokens ...any) string {
	var b strings.Builder
	b.WriteString(base)
	for _, t := range tokens {
		b.WriteByte('/')
		switch v := t.(type) {
		case int:
			b.WriteString(strconv.Itoa(v))
		case string:
			b.WriteString(strings.ReplaceAll(strings.ReplaceAll(v, "~", "~0"), "/", "~1"))
		}
	}
	return b.String()
}

// Sentence returns the text of an error of this package as a sentence for people.
func Sentence(err error) string {
	s := err.Error()
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// blocking is a problem that Chancery refuses and a nats-server does not.
func blocking(pointer, code, detail string) Problem {
	return Problem{Pointer: pointer, Code: code, Detail: detail, Blocking: true}
}

// refused is a problem that a nats-server refuses too.
func refused(pointer, code, detail string) Problem {
	return Problem{Pointer: pointer, Code: code, Detail: detail, Blocking: true, Server: true}
}

// warning is a problem that nobody refuses.
func warning(pointer, code, detail string) Problem {
	return Problem{Pointer: pointer, Code: code, Detail: detail}
}

// refusedAt returns the problems with Server set for those at one of the pointers.
func (p Problems) refusedAt(pointers ...string) Problems {
	for i := range p {
		p[i].Server = p[i].Server || slices.Contains(pointers, p[i].Pointer)
	}
	return p
}

// server returns the problems with Server set to whether a nats-server refuses.
func (p Problems) server(refuses bool) Problems {
	for i := range p {
		p[i].Server = refuses
	}
	return p
}
