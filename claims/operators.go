package claims

import (
	"net/url"
	"strings"

	"github.com/nats-io/jwt/v2"
)

// Operator is what an operator JWT is built from.
type Operator struct {
	// ID is the operator's identity, a public key O….
	ID   string
	Name string
	// Settings is the body, without the signing keys.
	Settings jwt.Operator
	// SigningKeys are the public keys O… that servers shall trust.
	SigningKeys []string
	// Audience is the aud of a JWT that was read; ours have none.
	Audience string
	// Expires is Unix seconds, 0 for never; NotBefore likewise, 0 for at once. A
	// nats-server heeds neither in an operator's JWT.
	Expires, NotBefore int64
	// Foreign is what a JWT from elsewhere, which this takes the place of, held besides;
	// nil where there was none.
	Foreign *Foreign
}

// BuildOperator builds and checks operator claims.
func BuildOperator(o Operator) (Checked, Problems) {
	problems := CheckOperator(o)
	c := jwt.NewOperatorClaims(o.ID)
	if c == nil {
		return Checked{}, append(problems, blocking("", "invalid_key", "The operator has no identity."))
	}
	c.Name = o.Name
	c.Audience, c.Expires, c.NotBefore = o.Audience, o.Expires, o.NotBefore
	c.Operator = o.Settings
	if f := o.Foreign; f == nil {
		c.Operator.Tags = NormalizeTags(o.Settings.Tags)
	} else {
		c.Name, c.Audience, c.Expires, c.NotBefore = f.called(o.Name), f.Audience, f.Expires, f.NotBefore
	}
	c.SigningKeys = append(jwt.StringList(nil), o.SigningKeys...)
	return o.Foreign.carry(finish(c, problems))
}

// CheckOperator returns every problem of what an operator JWT would be built from. What
// a JWT from elsewhere came with does not block.
func CheckOperator(o Operator) Problems { return o.Foreign.Tolerate(checkOperator(o)) }

func checkOperator(o Operator) Problems {
	problems := CheckName("/name", o.Name)
	if o.ID != "" { // nobody has one before it is created
		problems = append(problems, CheckPublicKey("/public_key", KindOperator, o.ID)...)
	}
	problems = append(problems, CheckTags("/tags", o.Settings.Tags)...)
	problems = append(problems, checkValidity(o.Audience, o.Expires, o.NotBefore).server(false)...)
	for i, u := range o.Settings.OperatorServiceURLs {
		if err := jwt.ValidateOperatorServiceURL(u); err != nil || u == "" || LooksLikeSeed(u) {
			problems = append(problems, blocking(Point("/service_urls", i), "invalid_url",
				"A service URL is nats://host:port, tls://, ws:// or wss://, without credentials and path."))
		}
	}
	if s := o.Settings.SystemAccount; s != "" {
		problems = append(problems, CheckPublicKey("/system_account", KindAccount, s)...)
	}
	if s := o.Settings.AccountServerURL; s != "" {
		if u, err := url.Parse(s); err != nil || !strings.Contains(s, "://") || u.Scheme == "" || LooksLikeSeed(s) {
			problems = append(problems, blocking("/account_server_url", "invalid_url", "The account server URL needs a scheme, such as https://."))
		}
	}
	if _, _, _, err := jwt.ParseServerVersion(o.Settings.AssertServerVersion); err != nil {
		problems = append(problems, refused("/assert_server_version", "invalid_version", "A server version is written major.minor.patch, such as 2.12.0."))
	}
	for i, k := range o.SigningKeys {
		problems = append(problems, CheckPublicKey(Point("/signing_keys", i), KindOperator, k)...)
	}
	return problems
}

// OperatorOf returns what BuildOperator makes the same claims from. It shares the
// lists of the claims.
func OperatorOf(c *jwt.OperatorClaims) Operator {
	o := Operator{
		ID: c.Subject, Name: c.Name, Settings: c.Operator, SigningKeys: c.SigningKeys,
		Audience: c.Audience, Expires: c.Expires, NotBefore: c.NotBefore,
	}
	o.Settings.SigningKeys = nil
	o.Settings.Type, o.Settings.Version = "", 0
	return o
}

// finish adds the library's verdict where Chancery's own check found nothing that
// blocks; two sentences about one fault help nobody.
func finish(c jwt.Claims, problems Problems) (Checked, Problems) {
	if !problems.Blocking() {
		problems = append(problems, libraryProblems(c)...)
	}
	if problems.Blocking() {
		return Checked{}, problems
	}
	return Checked{claims: c}, problems
}
