package claims

import (
	"slices"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// checkCallout returns every problem of an account's auth callout.
func checkCallout(a jwt.ExternalAuthorization) Problems {
	const at = "/authorization"
	var out Problems
	if len(a.AllowedAccounts) > 0 && len(a.AuthUsers) == 0 {
		out = append(out, refused(at+"/auth_users", "required", "Accounts can only be allowed with the users that answer the callout."))
	}
	if a.XKey != "" && len(a.AuthUsers) == 0 {
		out = append(out, warning(at+"/xkey", "no_effect", "Without users that answer the callout there is none, and nothing is encrypted."))
	}
	for i, u := range a.AuthUsers {
		out = append(out, CheckPublicKey(Point(at+"/auth_users", i), KindUser, u)...)
	}
	for i, id := range a.AllowedAccounts {
		if id != jwt.AnyAccount {
			out = append(out, CheckPublicKey(Point(at+"/allowed_accounts", i), KindAccount, id)...)
		}
	}
	if len(a.AllowedAccounts) > 1 && slices.Contains(a.AllowedAccounts, jwt.AnyAccount) {
		out = append(out, refused(at+"/allowed_accounts", "exclusive", "Allow every account with *, or list them; not both."))
	}
	if a.XKey != "" && !(nkeyRE.MatchString(a.XKey) && nkeys.IsValidPublicCurveKey(a.XKey)) {
		if LooksLikeSeed(a.XKey) {
			return append(out, seedIn(at+"/xkey").server(true)...)
		}
		out = append(out, Problems{
			blocking(at+"/xkey", "invalid_key", "This must be a public curve key: 56 characters, starting with X."),
		}.server(!nkeys.IsValidPublicCurveKey(a.XKey))...)
	}
	return out
}
