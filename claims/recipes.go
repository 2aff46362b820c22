package claims

import (
	"strings"

	"github.com/nats-io/jwt/v2"
)

// Flow is one subject that an account shares with another: what is exported, and how the
// importer sees it.
type Flow struct {
	Name string
	// Kind is jwt.Stream or jwt.Service.
	Kind jwt.ExportType
	// Subject is the exporter's, LocalSubject the importer's; empty for the same.
	Subject, LocalSubject string
	// TokenPosition is where in Subject the importer's public key stands, counted from 1;
	// 0 for nowhere. There Subject has a *.
	TokenPosition uint
	// Response is how often a service answers; empty for once.
	Response jwt.ResponseType
}

// ImportSubject is the subject as the importer imports it: with its own key where the
// export asks for one.
func (f Flow) ImportSubject(importer string) string {
	tokens := strings.Split(f.Subject, ".")
	if f.TokenPosition == 0 || f.TokenPosition > uint(len(tokens)) {
		return f.Subject
	}
	tokens[f.TokenPosition-1] = importer
	return strings.Join(tokens, ".")
}
