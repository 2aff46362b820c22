package web

import (
	"context"
	"strings"

	"chancery/claims"
	"chancery/issuer"
)

// secretView is the one secret component: credentials that are shown once, with
// what to do with them. They lie in the page alone: a data: link would put them
// into the browser's list of downloads, so the script makes the file.
type secretView struct {
	User, Account, UserURL string
	Key                    string
	// Expires is Unix seconds, 0 for never.
	Expires  int64
	FileName string
	Creds    claims.Secret
	// Verify connects once with the file.
	Verify   string
	Snippets []snippet
}

// snippet is how one client library uses the file.
type snippet struct{ Name, Code string }

func (c *Console) secretPage(ctx context.Context, v *visit, p place, x issuer.Issued) answer {
	operator := "nats"
	if o, err := c.issuer.GetOperator(ctx, v.caller, p.account.OperatorID); err == nil {
		operator = o.Name
	}
	server := c.natsURL(p.account.OperatorID)
	if server == "" {
		server = "nats://YOUR-SERVER:4222"
	}
	file := fileName(operator, p.account.Name, p.user.Name)
	return answer{
		page: "secret", title: "Credentials of " + p.user.Name, crumbs: p.userCrumbs(),
		body: secretView{
			User: p.user.Name, Account: p.account.Name, UserURL: p.userURL(), Key: x.PublicKey, Expires: x.Expires, FileName: file, Creds: x.Creds,
			Verify:   "nats --server " + shellWord(server) + " --creds " + file + " account info",
			Snippets: snippets(server, file, strings.TrimSuffix(file, ".creds")),
		},
	}
}

func snippets(server, file, context string) []snippet {
	return []snippet{
		{"nats CLI", "nats context add " + context + " --server " + shellWord(server) + " --creds \"$PWD/" + file + "\" --select\nnats account info"},
		{"Go", "nc, err := nats.Connect(\"" + server + "\",\n\tnats.UserCredentials(\"" + file + "\"))"},
		{"Python", "nc = await nats.connect(\"" + server + "\",\n                        user_credentials=\"" + file + "\")"},
		{"JavaScript", "import { readFile } from \"node:fs/promises\";\nimport { connect, credsAuthenticator } from \"@nats-io/transport-node\";\n\n" +
			"const nc = await connect({\n  servers: \"" + server + "\",\n  authenticator: credsAuthenticator(await readFile(\"" + file + "\")),\n});"},
	}
}

// fileName builds operator-account-user.creds of what every file system and shell
// takes as it is.
func fileName(parts ...string) string {
	const most = 120
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '.', r == '-':
			return r
		}
		return '_'
	}, strings.Join(parts, "-"))
	clean = strings.TrimLeft(clean, ".-_")
	if clean == "" {
		clean = "user"
	}
	return clean[:min(len(clean), most)] + ".creds"
}

// shellWord quotes s only where a shell would not take it as one word.
func shellWord(s string) string {
	plain := strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(":/._-[]", r)
	}) < 0
	if plain && !strings.ContainsAny(s, "[]") {
		return s
	}
	return shellQuote(s)
}
