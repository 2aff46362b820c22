package claims

import (
	"strconv"
	"strings"

	"github.com/nats-io/jwt/v2"
)

// checkImports returns every problem of the imports of account. Whether the other
// side exports what is imported is CheckSharing's.
func checkImports(account string, imports jwt.Imports, limits jwt.AccountLimits) Problems {
	var out Problems
	if limits.Imports != jwt.NoLimit && int64(len(imports)) > max(limits.Imports, 0) {
		out = append(out, refused("/imports", "too_many", "The account has more imports than its limits allow."))
	}
	for i, m := range imports {
		at := Point("/imports", i)
		if m == nil {
			out = append(out, refused(at, "required", "An import must not be empty."))
			continue
		}
		out = append(out, checkImport(account, m).At(at)...)
		for _, other := range imports[:i] {
			if other != nil && other.Type == m.Type {
				out = append(out, checkBeside(m, other).At(at)...)
			}
		}
	}
	return out
}

// checkImport returns every problem of one import.
func checkImport(account string, m *jwt.Import) Problems {
	out := checkShareName(m.Name)
	out = append(out, checkKind("/type", m.Type)...)
	if m.Account == account && account != "" {
		out = append(out, blocking("/account", "not_allowed", "An account does not import from itself; use a mapping."))
	}
	// The library asks for the presence of an account only.
	out = append(out, CheckPublicKey("/account", KindAccount, m.Account).server(m.Account == "")...)
	subject := checkSharedSubject("/subject", m.Subject)
	out = append(out, subject...)
	if m.Type == jwt.Service && m.AllowTrace {
		out = append(out, refused("/allow_trace", "not_allowed", "Only a stream import can allow traces; a service allows them where it is exported."))
	}
	if m.Type != jwt.Service && m.Share {
		out = append(out, refused("/share", "not_allowed", "Only a service import can share information about its requests."))
	}
	if m.GetTo() != "" {
		out = append(out, warning("/to", "deprecated", "The field to is deprecated; use the local subject."))
		if m.LocalSubject != "" {
			out = append(out, refused("/to", "exclusive", "The local subject replaces the field to; use one of the two."))
		}
	}
	if len(subject) == 0 {
		out = append(out, checkLocal(m)...)
	}
	return append(out, checkToken(account, m)...)
}

// checkLocal checks the subject under which the importer sees what it imports.
func checkLocal(m *jwt.Import) Problems {
	local, pointer := string(m.LocalSubject), "/local_subject"
	refuses := local != "" && libraryRefuses(func(vr *jwt.ValidationResults) { m.LocalSubject.Validate(m.Subject, vr) })
	if local == "" {
		local, pointer = m.GetTo(), "/to"
	}
	switch {
	case local == "":
		return nil
	case LooksLikeSeed(local):
		return seedIn(pointer).server(refuses)
	case len(local) > MaxSubjectLength:
		return Problems{blocking(pointer, "too_long", "A subject may have at most 1,024 bytes.")}.server(refuses)
	}
	if why := localFault(m, local); refuses || why != "" {
		if why == "" {
			why = "The local subject needs the wildcards of the subject, each once as * or $1, $2 and so on, and ends in > if the subject does."
		}
		return Problems{blocking(pointer, "invalid_subject", why)}.server(refuses)
	}
	return nil
}

func localFault(m *jwt.Import, local string) string {
	if why := subjectFault(strings.ReplaceAll(starred(local), "$", "x")); why != "" {
		return why
	}
	if m.LocalSubject == "" && m.Type == jwt.Stream {
		if m.GetTo() != starred(m.GetTo()) || jwt.Subject(m.GetTo()).HasWildCards() {
			return "The field to of a stream is put before its subject and must not hold wildcards."
		}
		return ""
	}
	if !m.Subject.HasWildCards() || local == string(m.Subject) {
		return ""
	}
	if m.LocalSubject == "" { // of a service, to is the exporter's subject and the subject the local one
		return transformFault(local, numbered(string(m.Subject)), true)
	}
	return transformFault(string(m.Subject), numbered(local), true)
}

// starred writes the references $1, $2 of a local subject as *, as nats-server's
// transformUntokenize does.
func starred(s string) string {
	tokens := tokensOf(s)
	for i, t := range tokens {
		if len(t) > 1 && t[0] == '$' && t[1] >= '1' && t[1] <= '9' {
			tokens[i] = "*"
		}
	}
	return strings.Join(tokens, ".")
}

// numbered writes the wildcards * of a local subject as $1, $2 in their order:
// nats-server's transformTokenize.
func numbered(s string) string {
	tokens, n := tokensOf(s), 0
	for i, t := range tokens {
		if t == "*" {
			n++
			tokens[i] = "$" + strconv.Itoa(n)
		}
	}
	return strings.Join(tokens, ".")
}

// localOf is the subject that the library compares service imports by.
func localOf(m *jwt.Import) jwt.Subject {
	switch {
	case m.GetTo() != "":
		return jwt.Subject(m.GetTo())
	case m.LocalSubject != "":
		return m.LocalSubject.ToSubject()
	}
	return m.Subject
}

// checkBeside checks an import against an earlier one of the same kind.
func checkBeside(m, earlier *jwt.Import) Problems {
	same := m.Account == earlier.Account
	a, b := localOf(m), localOf(earlier)
	switch {
	case m.Type == jwt.Stream && same && m.Subject == earlier.Subject:
		return Problems{blocking("/subject", "duplicate", "This stream is imported already; a server drops the second import.")}
	case m.Type != jwt.Service:
		return nil
	case same && (a.IsContainedIn(b) || b.IsContainedIn(a)):
		return Problems{refused("/local_subject", "overlap", "Another service imported from this account has an overlapping local subject.")}
	case collide(string(a), string(b)):
		return Problems{warning("/local_subject", "overlap", "Another imported service has an overlapping local subject: a request to both is sent to both.")}
	}
	return nil
}

// checkToken checks an activation token against the import that carries it. A
// nats-server refuses the whole importing account for each of these.
func checkToken(account string, m *jwt.Import) Problems {
	const at = "/token"
	if m.Token == "" {
		return nil
	}
	act, err := jwt.DecodeActivationClaims(m.Token)
	if err != nil {
		if LooksLikeSeed(m.Token) {
			return seedIn(at).server(true)
		}
		return Problems{refused(at, "invalid_token", "This is not an activation token, or its signature is wrong.")}
	}
	var out Problems
	if act.Issuer != m.Account && act.IssuerAccount != m.Account {
		out = append(out, refused(at, "token_wrong_issuer", "The activation token was issued by another account than the one that is imported from."))
	}
	if act.Subject != account && account != "" {
		out = append(out, refused(at, "token_wrong_account", "The activation token is for another account."))
	}
	if act.ImportType != m.Type {
		out = append(out, refused(at, "token_wrong_kind", "The activation token is for a stream and the import is a service, or the other way round."))
	}
	wanted := m.Subject
	if m.Type == jwt.Service && m.GetTo() != "" {
		wanted = jwt.Subject(m.GetTo())
	}
	if !wanted.IsContainedIn(act.ImportSubject) {
		out = append(out, refused(at, "token_wrong_subject", "The activation token is for another subject, or for less than what is imported."))
	}
	for _, p := range CheckActivation(ActivationOf(act)) {
		if p.Server {
			out = append(out, refused(at, "invalid_token", "The activation token holds claims that a nats-server refuses."))
			break
		}
	}
	return out
}
