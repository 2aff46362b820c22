package claims

import (
	"github.com/nats-io/jwt/v2"
)

// checkExports returns every problem of an account's exports.
func checkExports(exports jwt.Exports, limits jwt.AccountLimits) Problems {
	var out Problems
	if limits.Exports != jwt.NoLimit && int64(len(exports)) > max(limits.Exports, 0) {
		out = append(out, refused("/exports", "too_many", "The account has more exports than its limits allow."))
	}
	for i, e := range exports {
		at := Point("/exports", i)
		if e == nil {
			out = append(out, refused(at, "required", "An export must not be empty."))
			continue
		}
		out = append(out, checkExport(e).At(at)...)
		if !limits.WildcardExports && e.Subject.HasWildCards() {
			// The library looks at wildcards only where it counts exports.
			out = append(out, Problems{
				blocking(at+"/subject", "not_allowed", "The account's limits do not allow exports with wildcards."),
			}.server(limits.Exports != jwt.NoLimit)...)
		}
		for j, other := range exports {
			if j == i || other == nil || (e.Type == jwt.Service) != (other.Type == jwt.Service) {
				continue
			}
			if e.Subject.IsContainedIn(other.Subject) && (e.Subject != other.Subject || j < i) {
				out = append(out, refused(at+"/subject", "overlap", "Another export of the same kind holds this subject already."))
				break
			}
			if j < i && !other.Subject.IsContainedIn(e.Subject) && collide(string(e.Subject), string(other.Subject)) {
				out = append(out, warning(at+"/subject", "overlap", "Another export of the same kind shares some of its subjects; which of the two an import of those is held against is left to chance."))
				break
			}
		}
	}
	return out
}

// checkExport returns every problem of one export.
func checkExport(e *jwt.Export) Problems {
	out := checkShareName(e.Name)
	out = append(out, checkSharedSubject("/subject", e.Subject)...)
	out = append(out, checkKind("/type", e.Type)...)
	out = append(out, checkInfo("", e.Info)...)
	out = append(out, checkRevocations("/revocations", KindAccount, e.Revocations)...)
	out = append(out, checkTokenPosition(e)...)
	if e.Type == jwt.Stream {
		return append(out, checkStreamExport(e)...)
	}
	out = append(out, checkResponse(e)...)
	return append(out, checkLatency(e)...)
}

func checkShareName(name string) Problems {
	if name == "" {
		return nil
	}
	return CheckText("/name", name, MaxAccountJWT)
}

// checkStreamExport finds what only services have.
func checkStreamExport(e *jwt.Export) Problems {
	const only = "Only a service has this; leave it out for a stream."
	var out Problems
	if e.ResponseType != "" {
		out = append(out, refused("/response_type", "not_allowed", only))
	}
	if e.ResponseThreshold != 0 {
		out = append(out, refused("/response_threshold", "not_allowed", only))
	}
	if e.AllowTrace {
		out = append(out, refused("/allow_trace", "not_allowed", only))
	}
	if e.Latency != nil {
		out = append(out, refused("/latency", "not_allowed", only))
	}
	return out
}

func checkResponse(e *jwt.Export) Problems {
	var out Problems
	switch e.ResponseType {
	case "", jwt.ResponseTypeSingleton, jwt.ResponseTypeStream, jwt.ResponseTypeChunked:
	default:
		out = append(out, refused("/response_type", "unknown_value", "A service answers with Singleton, Stream or Chunked responses."))
	}
	if e.ResponseThreshold < 0 {
		out = append(out, refused("/response_threshold", "out_of_range", "The response threshold is 0 (the server's own) or a time."))
	}
	return out
}

// checkLatency checks latency sampling, which a server switches on for single
// responses only and never on a subject that is itself exported as a service.
func checkLatency(e *jwt.Export) Problems {
	if e.Latency == nil {
		return nil
	}
	out := checkLiteral("/latency/results", e.Latency.Results)
	if e.Latency.Sampling < 0 || e.Latency.Sampling > 100 {
		out = append(out, refused("/latency/sampling", "out_of_range", "Sampling is a percentage from 1 to 100, or headers for requests that ask for it."))
	}
	if e.ResponseType == jwt.ResponseTypeStream || e.ResponseType == jwt.ResponseTypeChunked {
		out = append(out, warning("/latency", "no_effect", "A server measures the latency of single responses only; with these responses nothing is sampled."))
	}
	return out
}

// checkTokenPosition checks the place of the importer's key in the subject.
func checkTokenPosition(e *jwt.Export) Problems {
	if e.AccountTokenPosition == 0 {
		return nil
	}
	tokens := tokensOf(string(e.Subject))
	if e.AccountTokenPosition > uint(len(tokens)) || tokens[e.AccountTokenPosition-1] != "*" {
		return Problems{refused("/account_token_position", "out_of_range", "The account token position counts from 1 and must point to a * of the subject.")}
	}
	if e.TokenReq {
		return Problems{warning("/token_required", "no_effect", "With an account token position no activation is asked for; the importer's key in the subject decides.")}
	}
	return nil
}
