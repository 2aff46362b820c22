package claims

import (
	"time"

	"github.com/nats-io/jwt/v2"
)

// CheckSharing holds the imports of an account against the exports of the others,
// as a nats-server does while it loads the importer; exporter returns the claims
// of an account, nil when it is unknown. A problem that is Server makes a server
// refuse the whole importing account. The others leave that one import dead: the
// account works without it, and a later change on either side can revive it.
// (nats-server: checkAuth, checkActivation.)
//
// An activation that names its issuer account and is signed by that account's own
// identity is taken as trusted, which under a strict operator it is not.
func CheckSharing(importer *jwt.AccountClaims, exporter func(id string) *jwt.AccountClaims, now time.Time) Problems {
	var out Problems
	for i, m := range importer.Imports {
		at := Point("/imports", i)
		if m == nil {
			out = append(out, refused(at, "required", "An import must not be empty."))
			continue
		}
		found := checkToken(importer.Subject, m)
		for _, other := range importer.Imports[:i] {
			if other != nil && other.Type == m.Type {
				found = append(found, checkBeside(m, other)...)
			}
		}
		found = append(found, checkAgainst(importer.Subject, m, exporter(m.Account), now)...)
		out = append(out, found.At(at)...)
	}
	return out
}

// checkAgainst checks one import against the account it imports from.
func checkAgainst(importer string, m *jwt.Import, from *jwt.AccountClaims, now time.Time) Problems {
	if from == nil {
		return Problems{warning("/account", "exporter_unknown", "The account to import from is not known, so nothing is imported until it is.")}
	}
	wanted := exportedSubject(m)
	e, exact := matchingExport(from, m.Type, wanted)
	if e == nil {
		return Problems{unmatched(from, m.Type, wanted)}
	}
	if p := e.AccountTokenPosition; p > 0 {
		tokens := tokensOf(wanted)
		// A server does not look into a subject that is the export's own.
		if exact || p > uint(len(tokens)) || tokens[p-1] != importer {
			return Problems{warning("/subject", "account_token", "The export gives each importer its own subject: the importer's public key must stand at the account token position.")}
		}
		return nil
	}
	if !e.TokenReq {
		return nil
	}
	if m.Token == "" {
		return Problems{warning("/token", "token_required", "The export is private: the import needs an activation token of the exporter.")}
	}
	act, err := jwt.DecodeActivationClaims(m.Token)
	if err != nil {
		return nil // checkToken says so
	}
	return checkActivated(act, m.Account, from, e, now)
}

// checkActivated checks what of an activation token only the exporter and the
// clock can tell.
func checkActivated(act *jwt.ActivationClaims, exporter string, from *jwt.AccountClaims, e *jwt.Export, now time.Time) Problems {
	const at = "/token"
	var out Problems
	if act.IssuerAccount != "" && (act.IssuerAccount != exporter || act.Issuer != exporter && !from.SigningKeys.Contains(act.Issuer)) {
		out = append(out, warning(at, "token_untrusted_key", "The activation token is signed by a key that is not, or no longer, a signing key of the exporter."))
	}
	if act.Expires != 0 && act.Expires <= now.Unix() {
		out = append(out, warning(at, "token_expired", "The activation token has expired."))
	}
	if act.NotBefore > now.Unix() {
		out = append(out, warning(at, "token_not_yet_valid", "The activation token is not valid yet. A server looks again only when one of the two accounts changes."))
	}
	if e.Revocations.IsRevoked(act.Subject, time.Unix(act.IssuedAt, 0)) {
		out = append(out, warning(at, "token_revoked", "The exporter has revoked the activation token."))
	}
	return out
}

// exportedSubject is the subject of an import as the exporter sees it.
func exportedSubject(m *jwt.Import) string {
	if m.Type == jwt.Service && m.LocalSubject == "" && m.GetTo() != "" {
		return m.GetTo()
	}
	return string(m.Subject)
}

// ExportOf returns the export of an account that an import from it is held against; nil
// when there is none.
func ExportOf(from *jwt.AccountClaims, m *jwt.Import) *jwt.Export {
	e, _ := matchingExport(from, m.Type, exportedSubject(m))
	return e
}

// ImportedSubject is the subject of an import as the exporter sees it.
func ImportedSubject(m *jwt.Import) string { return exportedSubject(m) }

// matchingExport returns the export that an import of the subject is held against,
// nil when there is none; exact tells that it is the export's own subject.
func matchingExport(from *jwt.AccountClaims, kind jwt.ExportType, subject string) (e *jwt.Export, exact bool) {
	if !validSubject(subject) {
		return nil, false
	}
	for _, e := range from.Exports {
		if e != nil && e.Type == kind && string(e.Subject) == subject {
			return e, true
		}
	}
	for _, e := range from.Exports {
		if e != nil && e.Type == kind && subset(subject, string(e.Subject)) {
			return e, false
		}
	}
	return nil, false
}

// unmatched says why no export matches.
func unmatched(from *jwt.AccountClaims, kind jwt.ExportType, subject string) Problem {
	other := jwt.ExportType(jwt.Stream)
	if kind == jwt.Stream {
		other = jwt.Service
	}
	if e, _ := matchingExport(from, other, subject); e != nil {
		return warning("/type", "wrong_kind", "The other account exports this subject as a stream and not as a service, or the other way round.")
	}
	for _, e := range from.Exports {
		if e != nil && e.Type == kind && collide(subject, string(e.Subject)) {
			return warning("/subject", "not_subset", "The other account exports only a part of this subject; import no more than it exports.")
		}
	}
	return warning("/subject", "no_export", "The other account does not export this subject.")
}
