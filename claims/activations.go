package claims

import "github.com/nats-io/jwt/v2"

// Activation is what an activation JWT is built from: an exporter's leave for one
// account to import what is not public.
type Activation struct {
	// Account is the importer's public key A….
	Account string
	Name    string
	// Exporter is the public key A… of the account that exports. It is written as
	// the issuer account, since activations are issued by a signing key.
	Exporter string
	// Subject is what may be imported, or a wider one.
	Subject jwt.Subject
	// Kind is jwt.Stream or jwt.Service.
	Kind jwt.ExportType
	Tags []string
	// Audience is the aud of a JWT that was read; ours have none.
	Audience string
	// Expires is Unix seconds, 0 for never; NotBefore likewise, 0 for at once.
	Expires, NotBefore int64
}

// BuildActivation builds and checks activation claims.
func BuildActivation(a Activation) (Checked, Problems) {
	problems := CheckActivation(a)
	c := jwt.NewActivationClaims(a.Account)
	if c == nil {
		return Checked{}, problems
	}
	c.Name, c.Audience, c.Expires, c.NotBefore = a.Name, a.Audience, a.Expires, a.NotBefore
	c.ImportSubject, c.ImportType, c.IssuerAccount = a.Subject, a.Kind, a.Exporter
	c.Activation.Tags = NormalizeTags(a.Tags)
	return finish(c, problems)
}

// CheckActivation returns every problem of what an activation JWT would be built
// from. A nats-server looks at it as a part of the importing account's JWT. The
// name may be empty.
func CheckActivation(a Activation) Problems {
	var problems Problems
	if a.Name != "" {
		problems = append(problems, CheckName("/name", a.Name)...)
	}
	problems = append(problems, CheckTags("/tags", a.Tags)...)
	problems = append(problems, CheckPublicKey("/account", KindAccount, a.Account)...)
	exporter := CheckPublicKey("/exporter", KindAccount, a.Exporter)
	if a.Exporter == "" {
		exporter.server(false) // a server then takes the issuer for the exporter
	}
	problems = append(problems, exporter...)
	problems = append(problems, checkSharedSubject("/subject", a.Subject)...)
	problems = append(problems, checkKind("/kind", a.Kind)...)
	validity := checkValidity(a.Audience, a.Expires, a.NotBefore)
	return append(problems, validity.server(false)...) // its times invalidate the import, not the account
}

func checkKind(pointer string, kind jwt.ExportType) Problems {
	if kind == jwt.Stream || kind == jwt.Service {
		return nil
	}
	return Problems{refused(pointer, "unknown_value", "What is shared is a stream or a service.")}
}

// ActivationOf returns what BuildActivation makes the same claims from, but for an
// exporter that was left out since its identity key issued them.
func ActivationOf(c *jwt.ActivationClaims) Activation {
	return Activation{
		Account: c.Subject, Name: c.Name, Exporter: c.IssuerAccount, Subject: c.ImportSubject, Kind: c.ImportType, Tags: c.Activation.Tags,
		Audience: c.Audience, Expires: c.Expires, NotBefore: c.NotBefore,
	}
}

// ActivationHash is under which an activation token is kept and asked for over HTTP:
// base32, with padding, of the SHA-256 of its issuer, the importer and the subject
// without wildcards (nats-io/jwt, ActivationClaims.HashID). It is empty when one of
// them is.
func ActivationHash(issuer, importer, subject string) string {
	c := jwt.ActivationClaims{ClaimsData: jwt.ClaimsData{Issuer: issuer, Subject: importer}}
	c.ImportSubject = jwt.Subject(subject)
	hash, err := c.HashID()
	if err != nil {
		return ""
	}
	return hash
}
