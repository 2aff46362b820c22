package claims

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
)

// Token is a NATS JWT of any type, as it was read.
type Token struct {
	// Text is the JWT without white space around it.
	Text string
	// Claims is what nats-io/jwt makes of it: one of its Operator-, Account-, User-,
	// Activation-, AuthorizationRequest- and AuthorizationResponseClaims.
	Claims jwt.Claims
	// Unknown holds the JSON pointers, sorted, of what nats-io/jwt does not know
	// and would lose: fields of the payload, and of the header below /header.
	Unknown []string
	// Version is the version of the claims, 1 or 2; nats-io/jwt lifts version 1 to
	// version 2 while it reads.
	Version int
}

// Read decodes a JWT as a nats-server would and verifies its signature, which
// says nothing about whether the issuer is trusted. White space around it is
// tolerated. The error says what is wrong and holds no part of the text, except
// for the word that names an algorithm or a type.
func Read(text string) (Token, error) {
	text = strings.TrimSpace(text)
	chunks, err := split(text)
	if err != nil {
		return Token{}, err
	}
	head, err := encoding.Strict().DecodeString(chunks[0])
	if err != nil {
		return Token{}, errors.New("the header of the JWT is not base64url without padding")
	}
	if err := checkHeader(head); err != nil {
		return Token{}, err
	}
	payload, err := encoding.Strict().DecodeString(chunks[1])
	if err != nil {
		return Token{}, errors.New("the payload of the JWT is not base64url without padding")
	}
	if _, err := encoding.Strict().DecodeString(chunks[2]); err != nil {
		return Token{}, errors.New("the signature of the JWT is not base64url without padding")
	}
	kind, version, err := identify(payload)
	if err != nil {
		return Token{}, err
	}
	c, err := jwt.Decode(text)
	if err != nil {
		return Token{}, undecodable(err)
	}
	unknown, _, err := unknownFields(head, payload, kind, version)
	if err != nil {
		return Token{}, err
	}
	return Token{Text: text, Claims: c, Unknown: unknown, Version: version}, nil
}

// split returns the three parts of a JWT and names what is commonly sent instead.
func split(text string) ([]string, error) {
	chunks := strings.Split(text, ".")
	switch {
	case text == "":
		return nil, errors.New("the JWT is empty")
	case len(text) > jwt.MaxTokenSize:
		return nil, errors.New("the JWT is longer than 1 MiB, which no nats-server reads")
	case strings.Contains(text, "-----BEGIN"):
		return nil, errors.New("this is a creds file or a decorated JWT, not a bare JWT")
	case len(chunks) == 1 && LooksLikeSeed(text):
		return nil, errors.New("this is a private key (seed), not a JWT; treat it as exposed if it travelled over an untrusted path")
	case len(chunks) != 3:
		return nil, errors.New("this is not a JWT: it must have three parts, separated by dots")
	case strings.ContainsAny(text, " \t\r\n"):
		return nil, errors.New("the JWT holds white space")
	}
	return chunks, nil
}

// wordRE is what may be repeated from a JWT: the name of an algorithm or a type.
var wordRE = regexp.MustCompile(`^[A-Za-z0-9_+-]{1,24}$`)

func word(s string) string {
	if wordRE.MatchString(s) {
		return s
	}
	return "unreadable"
}

func checkHeader(head []byte) error {
	var h jwt.Header
	if err := json.Unmarshal(head, &h); err != nil {
		return errors.New("the header of the JWT is not a JSON object")
	}
	if !strings.EqualFold(h.Type, jwt.TokenTypeJwt) {
		return fmt.Errorf("this is not a NATS JWT (typ %s)", word(h.Type))
	}
	if !strings.EqualFold(h.Algorithm, jwt.AlgorithmNkey) && !strings.EqualFold(h.Algorithm, jwt.AlgorithmNkeyOld) {
		return fmt.Errorf("this is not a NATS JWT (alg %s)", word(h.Algorithm))
	}
	return nil
}

// identify returns the type and the version of the claims as nats-io/jwt tells
// them: version 1 has its type at the top.
func identify(payload []byte) (jwt.ClaimType, int, error) {
	var id struct {
		Type jwt.ClaimType `json:"type"`
		Nats struct {
			Type    jwt.ClaimType `json:"type"`
			Version int           `json:"version"`
		} `json:"nats"`
	}
	if err := json.Unmarshal(payload, &id); err != nil {
		return "", 0, undecodable(err)
	}
	kind, v := id.Nats.Type, id.Nats.Version
	if id.Type != "" {
		kind, v = id.Type, 1
	}
	switch {
	case v > version:
		return "", 0, fmt.Errorf("the JWT is of a newer version than %d, the newest that nats-io/jwt reads", version)
	case kind == "":
		return "", 0, errors.New("the JWT does not tell its type, such as account or user")
	case payloadType(kind, 2) == nil:
		return "", 0, fmt.Errorf("the JWT is of the type %s, which is none of operator, account, user and activation", word(string(kind)))
	case v < 1:
		return "", 0, errors.New("the JWT does not tell its version, or one below 1")
	}
	return kind, v, nil
}

// embeddedRE is the name of an embedded Go type in the path of a field.
var embeddedRE = regexp.MustCompile(`\b[A-Z][A-Za-z]*\.`)

// undecodable says why nats-io/jwt does not decode a JWT, without the value
// that its own error repeats.
func undecodable(err error) error {
	var syntax *json.SyntaxError
	var mistyped *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return errors.New("the payload of the JWT is not JSON")
	case errors.As(err, &mistyped) && mistyped.Field != "": // names of nats-io/jwt's, none of the JWT's own
		return fmt.Errorf("the field %s of the JWT has a value of the wrong kind or out of range", embeddedRE.ReplaceAllString(mistyped.Field, ""))
	case errors.As(err, &mistyped):
		return errors.New("the payload of the JWT holds a value of the wrong kind or out of range")
	case strings.HasSuffix(err.Error(), "signature verification"):
		return errors.New("the signature of the JWT is wrong: it was changed, cut off or signed by another key than its issuer")
	case strings.HasPrefix(err.Error(), "unable to validate expected prefixes"):
		return errors.New("the JWT is issued by a key of a kind that cannot issue this type")
	}
	return errors.New("the payload of the JWT holds a value that nats-io/jwt does not know")
}

// Checked returns the same claims, unedited and ready for Encode. They are refused
// when re-signing would lose what nats-io/jwt does not know (unknown_field, its
// name in the pointer), or when a nats-server would refuse them; what only
// Chancery would refuse in claims of its own making is let through.
func (t Token) Checked() (Checked, Problems) {
	var problems Problems
	for _, pointer := range t.Unknown {
		problems = append(problems, blocking(pointer, "unknown_field", "The JWT holds a field that this version does not know and would lose. Nothing is signed anew before it is removed, or Chancery is updated."))
	}
	// The text is what was signed, whatever became of t.Claims since.
	c, err := jwt.Decode(t.Text)
	if err != nil {
		return Checked{}, append(problems, blocking("", "invalid_jwt", "The JWT cannot be read."))
	}
	problems = append(problems, serverProblems(c)...)
	if problems.Blocking() {
		return Checked{}, problems
	}
	return Checked{claims: c}, problems
}

// Problems returns everything that is wrong with the JWT at a time: what a
// nats-server refuses, what this version would lose, and what Chancery would not
// make itself.
func (t Token) Problems(at time.Time) Problems {
	var out Problems
	for _, pointer := range t.Unknown {
		out = append(out, Problem{Pointer: pointer, Code: "unknown_field", Detail: "This field is not known to this version. A server of the same age ignores it."})
	}
	if r, ok := t.Claims.(*jwt.AuthorizationRequestClaims); ok {
		return append(out, CheckCalloutRequest(r, at, nil)...)
	}
	_, operator := t.Claims.(*jwt.OperatorClaims) // a server logs that it has expired and goes on
	switch d := t.Claims.Claims(); {
	case d.Expires > 0 && at.Unix() > d.Expires:
		out = append(out, Problem{"/expires_at", "expired", "It expired at " + stamp(d.Expires) + ".", true, !operator})
	case d.NotBefore > at.Unix():
		out = append(out, Problem{"/not_before", "not_yet_valid", "It is not valid before " + stamp(d.NotBefore) + ".", true, !operator})
	}
	if _, user := t.Claims.(*jwt.UserClaims); user && len(t.Text) > MaxUserJWT {
		out = append(out, blocking("", "too_large", "It is longer than 3,500 bytes: a nats-server may refuse to read it when its client connects."))
	}
	if a, ok := t.Claims.(*jwt.AccountClaims); ok {
		out = append(out, CheckRevocationTimes("/revocations", a.Revocations, at)...)
	}
	own, ok := ownProblems(t.Claims)
	if ok && !own.Blocking() {
		own = append(own, libraryProblems(t.Claims)...)
	}
	return append(out, own...)
}

// jwtRE is a JWT within a document: the first part starts with {".
var jwtRE = regexp.MustCompile(`eyJ[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*`)

// ErrNoJWT tells that a document holds nothing that looks like a whole JWT.
var ErrNoJWT = errors.New("the document holds no JWT")

// FindJWT returns the one JWT of a document: a bare JWT, a decorated one or a
// creds file, with any line ends and a byte order mark. hasSeed tells that the
// document holds a private key too, which is never returned. The JWT is not
// decoded; see Read. The error, ErrNoJWT or that there are several, holds no part of the document.
func FindJWT(document string) (token string, hasSeed bool, err error) {
	found := ""
	for _, f := range strings.Fields(strings.TrimPrefix(document, "\ufeff")) {
		switch m := jwtRE.FindString(f); {
		case m == "" || m == found:
		case found != "":
			return "", LooksLikeSeed(document), errors.New("the document holds more than one JWT")
		default:
			found = m
		}
	}
	if found == "" {
		return "", LooksLikeSeed(document), ErrNoJWT
	}
	if holdsSeed(found) {
		return "", true, errors.New("the JWT of the document holds a private key")
	}
	return found, LooksLikeSeed(strings.ReplaceAll(document, found, " ")), nil
}
