package claims_test

import (
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// using returns a template with these lists.
func using(allow, deny string) claims.Template {
	p := claims.NewPermissionLimits()
	if allow != "" {
		p.Pub.Allow = strings.Fields(allow)
	}
	if deny != "" {
		p.Sub.Deny = strings.Fields(deny)
	}
	return claims.Template{Name: "t", Permissions: p}
}

func TestTemplateUse(t *testing.T) {
	t.Parallel()
	tenant := claims.Account{Name: "tenant", Settings: jwt.Account{GenericFields: jwt.GenericFields{Tags: jwt.TagList{"env:prod"}}}}
	dotted := claims.Account{Name: "tenant.x"}
	for name, c := range map[string]struct {
		template claims.Template
		account  claims.Account
		user     string
		tags     []string
		code     string
		blocking bool
	}{
		"no functions":                 {using("a.>", "b"), dotted, ">", nil, "", false},
		"a name that is a token":       {using("a.{{name()}}", ""), tenant, "d-1", nil, "", false},
		"a name with a dot":            {using("a.{{name()}}", ""), tenant, "ada@example.com", nil, "not_a_token", true},
		"everything":                   {using("a.{{name()}}", ""), tenant, ">", nil, "not_a_token", true},
		"a wildcard, denied":           {using("", "a.{{name()}}"), tenant, "*", nil, "not_a_token", true},
		"the account's name":           {using("{{account-name()}}.a", ""), tenant, ">", nil, "", false},
		"the account's name with a .":  {using("{{account-name()}}.a", ""), dotted, "a", nil, "not_a_token", true},
		"keys are always tokens":       {using("{{subject()}}.{{account-subject()}}", ""), dotted, ">", nil, "", false},
		"a tag that is there":          {using("{{tag(region)}}", ""), tenant, "a", []string{"region:eu"}, "", false},
		"a tag in capitals":            {using("{{tag(Region)}}", ""), tenant, "a", []string{"region:eu"}, "", false},
		"a tag without a value":        {using("{{tag(region)}}", ""), tenant, "a", []string{"region"}, "missing_tag", false},
		"a tag that is missing":        {using("{{tag(region)}}", ""), tenant, "a", nil, "missing_tag", false},
		"missing from a deny":          {using("", "{{tag(region)}}"), tenant, "a", nil, "missing_tag", true},
		"missing from allow and deny":  {using("{{tag(region)}}", "{{tag(region)}}"), tenant, "a", nil, "missing_tag", true},
		"an account's tag":             {using("{{account-tag(env)}}", ""), tenant, "a", nil, "", false},
		"a missing account's tag":      {using("{{account-tag(zone)}}", ""), tenant, "a", []string{"zone:x"}, "missing_tag", false},
		"a missing account's tag deny": {using("", "{{account-tag(zone)}}"), tenant, "a", []string{"zone:x"}, "missing_tag", true},
	} {
		problems := claims.CheckTemplateUse(c.template, c.account, c.user, c.tags)
		if c.code == "" && len(problems) == 0 || len(problems) == 1 && problems[0].Code == c.code && problems[0].Blocking == c.blocking {
			continue
		}
		t.Errorf("%s: %+v, want %q, blocking %v", name, problems, c.code, c.blocking)
	}
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	good := aTemplate()
	if problems := claims.CheckTemplate(good); len(problems) > 0 {
		t.Errorf("%+v", problems)
	}
	for pointer, edit := range map[string]func(*claims.Template){
		"/name":                       func(x *claims.Template) { x.Name = "a/b" },
		"/description":                func(x *claims.Template) { x.Description = strings.Repeat("a", 8193) },
		"/permissions/publish/deny/0": func(x *claims.Template) { x.Permissions.Pub.Deny = jwt.StringList{"{{nope()}}"} },
		"/limits/subscriptions":       func(x *claims.Template) { x.Permissions.Subs = -2 },
	} {
		x := good
		edit(&x)
		if problems := claims.CheckTemplate(x); len(problems) != 1 || problems[0].Pointer != pointer || !problems.Blocking() {
			t.Errorf("%+v, want one at %s", problems, pointer)
		}
	}
	for fn, want := range map[string]bool{"name": true, "tag": true, "subject": false, "account-name": false, "account-tag": false} {
		if good.Uses(fn) != want {
			t.Errorf("Uses(%s) is not %v", fn, want)
		}
	}
}
