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

// RecipeKind is what of JetStream is shared.
type RecipeKind string

// The kinds of recipe.
const (
	RecipeStream RecipeKind = "stream"
	RecipeKV     RecipeKind = "kv"
)

// RecipeAccess is what the importer may do with it.
type RecipeAccess string

// Reading makes consumers of the importer's own; writing also publishes to a bucket.
const (
	RecipeRead      RecipeAccess = "read"
	RecipeReadWrite RecipeAccess = "read_write"
)

// Recipe shares a stream or a KV bucket of one account with another: it says which
// subjects of the JetStream API that takes.
type Recipe struct {
	Kind RecipeKind
	// Name is the stream's or bucket's.
	Name string
	// Access is RecipeRead, which is also meant by none, or, of a bucket, RecipeReadWrite.
	Access RecipeAccess
	// Consumer narrows a stream to one durable pull consumer that the exporter made: the
	// importer makes none.
	Consumer string
	// Domain is what the importer's clients call the exporter's JetStream: one token, not
	// that of a JetStream domain which the importer uses already.
	Domain string
}

// RecipeSetup is what clients of the importer have to set.
type RecipeSetup struct {
	// Domain is the JetStream domain, or else APIPrefix the prefix of its API.
	Domain, APIPrefix string
	// InboxPrefix is the prefix of inboxes, without which nothing arrives that is pushed:
	// push consumers, and watching a bucket. Empty where nothing is pushed.
	InboxPrefix string
	// Stream is the stream's name, that of the bucket's too.
	Stream string
}

// Setup returns what clients of the importer, a public key A…, have to set.
func (r Recipe) Setup(importer string) RecipeSetup {
	s := RecipeSetup{Domain: r.Domain, APIPrefix: "$JS." + r.Domain + ".API", Stream: r.stream()}
	if r.Consumer == "" {
		s.InboxPrefix = r.inbox() + "." + importer
	}
	return s
}

func (r Recipe) stream() string {
	if r.Kind == RecipeKV {
		return "KV_" + r.Name
	}
	return r.Name
}

// inbox is what the subjects begin with to which the exporter's JetStream pushes for
// others.
func (r Recipe) inbox() string { return "_INBOX_JS." + r.stream() }

// Check returns what is wrong with the recipe, with the pointers of its fields.
func (r Recipe) Check() Problems {
	var out Problems
	token := func(pointer, s string) {
		if !IsToken(s) {
			out = append(out, blocking(pointer, "invalid_name", "This is letters, digits, - and _, up to 64 of them."))
		}
	}
	if r.Kind != RecipeStream && r.Kind != RecipeKV {
		out = append(out, blocking("/kind", "unknown_value", "What is shared is a stream or a kv bucket."))
	}
	token("/name", r.Name)
	token("/domain", r.Domain)
	if r.Domain == "API" || r.Domain == "ACK" || r.Domain == "FC" {
		out = append(out, blocking("/domain", "not_allowed", "JetStream has another meaning for this word; choose another name."))
	}
	if r.Consumer != "" {
		token("/consumer", r.Consumer)
		if r.Kind == RecipeKV {
			out = append(out, blocking("/consumer", "not_allowed", "A consumer is of a stream; a bucket is shared as a whole."))
		}
	}
	switch {
	case r.Access == "" || r.Access == RecipeRead:
	case r.Access != RecipeReadWrite:
		out = append(out, blocking("/access", "unknown_value", "Access is read or read_write."))
	case r.Kind == RecipeStream:
		out = append(out, blocking("/access", "not_allowed", "A stream is shared for reading; to let others publish, share the subject that it listens on as a service."))
	}
	return out
}

// Flows returns the subjects to share; without any one of them something fails that the
// recipe is for. A client reaches the API under the prefix of the domain;
// acknowledgements and flow control have subjects that no client can change, those of
// nats-server without its feature flag js_ack_fc_v2. Whoever makes consumers says where
// they deliver to, which may be any subject of the exporter's account: with a Consumer
// the importer makes none.
func (r Recipe) Flows() []Flow {
	s, local := r.stream(), "$JS."+r.Domain+".API."
	api := func(subject string, response jwt.ResponseType) Flow {
		return Flow{Name: "JetStream " + s, Kind: jwt.Service, Subject: "$JS.API." + subject, LocalSubject: local + subject, Response: response}
	}
	plain := func(subject string) Flow {
		return Flow{Name: "JetStream " + s, Kind: jwt.Service, Subject: subject}
	}
	if r.Consumer != "" {
		c := s + "." + r.Consumer
		return []Flow{api("CONSUMER.INFO."+c, ""), api("CONSUMER.MSG.NEXT."+c, jwt.ResponseTypeStream), plain("$JS.ACK." + c + ".>")}
	}
	out := []Flow{
		api("STREAM.INFO."+s, ""),
		api("CONSUMER.CREATE."+s+".>", ""),
		api("CONSUMER.DELETE."+s+".*", ""),
		plain("$JS.FC." + s + ".>"),
		{Name: "JetStream " + s, Kind: jwt.Stream, Subject: r.inbox() + ".*.>", TokenPosition: 3},
	}
	if r.Kind == RecipeStream {
		return append(out, api("CONSUMER.INFO."+s+".*", ""), api("CONSUMER.MSG.NEXT."+s+".*", jwt.ResponseTypeStream), plain("$JS.ACK."+s+".>"))
	}
	// A bucket that does not allow direct reading is read by STREAM.MSG.GET. Watching it
	// takes a push consumer, which acknowledges nothing.
	out = append(out, api("STREAM.MSG.GET."+s, ""), api("DIRECT.GET."+s, ""), api("DIRECT.GET."+s+".>", ""))
	if r.Access == RecipeReadWrite {
		put := "$KV." + r.Name + ".>"
		out = append(out, Flow{Name: "JetStream " + s, Kind: jwt.Service, Subject: put, LocalSubject: local + put})
	}
	return out
}
