package claims

import "github.com/nats-io/jwt/v2"

// MaxUserJWT is the longest user JWT in bytes that is issued: a nats-server's
// default max_control_line of 4,096 must hold it with the rest of CONNECT.
const MaxUserJWT = 3500

// maxControlLine is how long a CONNECT may be at a nats-server with its defaults.
const maxControlLine = 4096

// User is what a user JWT is built from.
type User struct {
	// ID is the user's public key U….
	ID   string
	Name string
	// Account is the public key of the account; it is written as the issuer
	// account, since users are always issued by a signing key.
	Account string
	Tags    []string
	// Permissions are the user's own; nil when a scoped key's template rules,
	// and then the body must be empty.
	Permissions *jwt.UserPermissionLimits
	// Audience is the aud of a JWT that was read; ours have none.
	Audience string
	// Expires is Unix seconds, 0 for never; NotBefore likewise, 0 for at once.
	Expires, NotBefore int64
}

// BuildUser builds and checks user claims.
func BuildUser(u User) (Checked, Problems) {
	problems := CheckUser(u)
	c := jwt.NewUserClaims(u.ID)
	if c == nil {
		return Checked{}, append(problems, blocking("/public_key", "invalid_key", "The user has no public key."))
	}
	c.Name = u.Name
	c.Audience, c.Expires, c.NotBefore = u.Audience, u.Expires, u.NotBefore
	c.IssuerAccount = u.Account
	c.User.Tags = NormalizeTags(u.Tags)
	if u.Permissions == nil {
		c.SetScoped(true)
	} else {
		c.UserPermissionLimits = *u.Permissions
	}
	return finish(c, problems)
}

// CheckUser returns every problem of what a user JWT would be built from.
func CheckUser(u User) Problems {
	problems := CheckName("/name", u.Name)
	problems = append(problems, CheckTags("/tags", u.Tags)...)
	problems = append(problems, CheckPublicKey("/public_key", KindUser, u.ID)...)
	account := CheckPublicKey("/account", KindAccount, u.Account)
	if u.Account == "" {
		account.server(false) // a server then takes the issuer for the account
	}
	problems = append(problems, account...)
	problems = append(problems, checkValidity(u.Audience, u.Expires, u.NotBefore)...)
	if u.Permissions != nil {
		problems = append(problems, CheckPermissionLimits(*u.Permissions, false)...)
	}
	return problems
}

// UserOf returns what BuildUser makes the same claims from. It shares the lists of
// the claims.
func UserOf(c *jwt.UserClaims) User {
	u := User{
		ID: c.Subject, Name: c.Name, Account: c.IssuerAccount, Tags: c.User.Tags,
		Audience: c.Audience, Expires: c.Expires, NotBefore: c.NotBefore,
	}
	if !c.HasEmptyPermissions() {
		p := c.UserPermissionLimits
		u.Permissions = &p
	}
	return u
}

// CheckSize returns the problem of an encoded JWT that is longer than servers
// accept: MaxUserJWT for users, MaxAccountJWT for accounts and operators.
func (u Unsigned) CheckSize() Problems {
	const signature = 1 + 86 // a dot and 64 bytes in base64
	size := len(u.input) + signature
	if IsPublicKey(KindUser, u.subject) {
		if size > MaxUserJWT {
			return Problems{
				blocking("/permissions", "too_large",
					"The user's JWT would exceed 3,500 bytes, which a nats-server refuses to read on connect. Use a template: its permissions travel in the account's JWT instead."),
			}.server(size > maxControlLine)
		}
		return nil
	}
	if size > MaxAccountJWT {
		return Problems{refused("", "too_large", "The JWT would exceed 1 MiB, which no nats-server accepts. Remove revocations that are moot, or split the account.")}
	}
	return nil
}
