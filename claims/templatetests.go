package claims

import (
	"encoding/json"
	"strings"

	"github.com/nats-io/jwt/v2"
)

// Bounds of the tests that are stored with a template.
const (
	// MaxTemplateTests is how many tests a template may have.
	MaxTemplateTests = 50
	// MaxTestSubjects is how many subjects one test may name, in all its lists.
	MaxTestSubjects = 100
)

// SampleKey and SampleAccountKey stand for subject() and account-subject() where
// nobody is asked about in particular.
var (
	SampleKey        = "U" + strings.Repeat("A", 55)
	SampleAccountKey = "A" + strings.Repeat("A", 55)
)

// TestUser is an imagined user of a template.
type TestUser struct {
	Name string   `json:"name"`
	Tags []string `json:"tags,omitempty"`
	// Key is the public key U… of the user; empty stands for SampleKey.
	Key string `json:"key,omitempty"`
	// Account and AccountTags are the name and the tags of the account that the user
	// is in. Of a template that belongs to an account both are empty: they are the
	// account's own.
	Account     string   `json:"account,omitempty"`
	AccountTags []string `json:"account_tags,omitempty"`
}

// TemplateTest is what is expected of a template. A subject to publish to is
// literal; one to subscribe to may be followed by a space and a queue group.
type TemplateTest struct {
	As              TestUser `json:"as"`
	CanPublish      []string `json:"can_publish,omitempty"`
	CannotPublish   []string `json:"cannot_publish,omitempty"`
	CanSubscribe    []string `json:"can_subscribe,omitempty"`
	CannotSubscribe []string `json:"cannot_subscribe,omitempty"`
}

// expectation is one list of a test.
type expectation struct {
	name   string
	action Action
	can    bool
	list   []string
}

func (t *TemplateTest) expectations() []expectation {
	return []expectation{
		{"can_publish", Publish, true, t.CanPublish},
		{"cannot_publish", Publish, false, t.CannotPublish},
		{"can_subscribe", Subscribe, true, t.CanSubscribe},
		{"cannot_subscribe", Subscribe, false, t.CannotSubscribe},
	}
}

// TestResult is what became of one expectation.
type TestResult struct {
	// Pointer leads to the subject in the list of tests: /3/can_publish/0.
	Pointer        string
	User           string
	Action         Action
	Subject, Queue string
	// Can is what is expected, Access what a nats-server answers.
	Can    bool
	Access Access
	Passed bool
	// Why is a sentence that names the rule which decided.
	Why string
}

// CheckTests returns what is wrong with the tests themselves; pointers start at the
// list. Of a template of an account, whose tests name no account, shared is false.
func CheckTests(tests []TemplateTest, shared bool) Problems {
	if len(tests) > MaxTemplateTests {
		return Problems{blocking("", "too_many", "A template may have at most 50 tests.")}
	}
	var out Problems
	for n := range tests {
		at := Point("", n)
		out = append(out, CheckTestUser(tests[n].As, shared).At(at+"/as")...)
		subjects := 0
		for _, x := range tests[n].expectations() {
			if subjects += len(x.list); subjects > MaxTestSubjects {
				out = append(out, blocking(at, "too_many", "A test may name at most 100 subjects."))
				break
			}
			for i, s := range x.list {
				subject, queue := splitTested(x.action, s)
				for _, p := range checkQuestion(x.action, subject, queue) {
					p.Pointer = Point(at, x.name, i)
					out = append(out, p)
				}
			}
		}
		if subjects == 0 {
			out = append(out, blocking(at, "required", "A test says at least one subject that its user can, or cannot, publish or subscribe to."))
		}
	}
	return out
}

// CheckTestUser returns what is wrong with an imagined user; shared tells whether the
// template is no account's own.
func CheckTestUser(u TestUser, shared bool) Problems {
	out := append(CheckName("/name", u.Name), CheckTags("/tags", u.Tags)...)
	if u.Key != "" {
		out = append(out, CheckPublicKey("/key", KindUser, u.Key)...)
	}
	switch {
	case shared && u.Account != "":
		out = append(out, CheckName("/account", u.Account)...)
	case !shared && u.Account != "":
		out = append(out, blocking("/account", "not_allowed", "The template belongs to an account, so its tests are about users of that account."))
	}
	if shared {
		return append(out, CheckTags("/account_tags", u.AccountTags)...)
	}
	if len(u.AccountTags) > 0 {
		out = append(out, blocking("/account_tags", "not_allowed", "The template belongs to an account, whose own tags are taken."))
	}
	return out
}

// splitTested splits the queue group from a subject to subscribe to.
func splitTested(a Action, s string) (subject, queue string) {
	if a == Subscribe {
		if subject, queue, ok := strings.Cut(s, " "); ok {
			return subject, strings.TrimSpace(queue)
		}
	}
	return s, ""
}

// RunTests asks what each test expects, as a nats-server would answer its user. A
// subscription that is accepted but filtered counts as one that can be made; Why says
// so. Of a user that is refused altogether nothing can be done. account needs its
// name and settings, and its identity where the template puts that into subjects.
// The tests have passed CheckTests.
func RunTests(t Template, account Account, tests []TemplateTest) []TestResult {
	var out []TestResult
	for n := range tests {
		e := EffectiveOf(t, account, tests[n].As)
		for _, x := range tests[n].expectations() {
			for i, s := range x.list {
				r := TestResult{Pointer: Point("", n, x.name, i), User: tests[n].As.Name, Action: x.action, Can: x.can}
				r.Subject, r.Queue = splitTested(x.action, s)
				d := e.decide(x.action, r.Subject, r.Queue)
				r.Access, r.Why = d.Access, d.Why
				r.Passed = (d.Access != AccessDenied) == x.can
				out = append(out, r)
			}
		}
	}
	return out
}

// Failures returns the failed results as problems, with pointers that start at the
// list of tests.
func Failures(results []TestResult) Problems {
	var out Problems
	for _, r := range results {
		if r.Passed {
			continue
		}
		detail := "The test expects that its user can " + string(r.Action) + " here, but a nats-server refuses it. "
		if !r.Can {
			detail = "The test expects that its user cannot " + string(r.Action) + " here, but a nats-server lets it. "
		}
		out = append(out, blocking(r.Pointer, "test_failed", detail+r.Why))
	}
	return out
}

// EffectiveOf returns what a nats-server makes of template t for user u of account.
func EffectiveOf(t Template, account Account, u TestUser) Effective {
	user, ac := imagine(t, account, u)
	return EffectivePermissions(user, ac)
}

// imagine puts the claims together that a server would see.
func imagine(t Template, account Account, u TestUser) (*jwt.UserClaims, *jwt.AccountClaims) {
	const signer = "scoped"
	account = livesIn(account, u)
	user := &jwt.UserClaims{}
	user.Name, user.Issuer, user.IssuerAccount, user.Tags = u.Name, signer, account.ID, NormalizeTags(u.Tags)
	if user.Subject = u.Key; u.Key == "" {
		user.Subject = SampleKey
	}
	ac := &jwt.AccountClaims{Account: account.Settings}
	ac.Name, ac.Subject = account.Name, account.ID
	scope := t.scope(signer)
	scope.Template.Permissions = asDecoded(scope.Template.Permissions)
	ac.SigningKeys = jwt.SigningKeys{signer: scope}
	return user, ac
}

// livesIn is the account that an imagined user is in.
func livesIn(account Account, u TestUser) Account {
	if u.Account != "" {
		account.Name = u.Account
	}
	if len(u.AccountTags) > 0 {
		account.Settings.Tags = NormalizeTags(u.AccountTags)
	}
	if account.ID == "" {
		account.ID = SampleAccountKey
	}
	return account
}

// asDecoded is p as it comes out of a JWT: an empty list has become none.
func asDecoded(p jwt.Permissions) jwt.Permissions {
	raw, err := json.Marshal(p)
	var out jwt.Permissions
	if err != nil || json.Unmarshal(raw, &out) != nil {
		return p
	}
	return out
}
