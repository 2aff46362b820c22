package web

import (
	"context"
	"net/http"
	"strings"
	"time"

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
	// Creds is the creds file, or empty; then JWT is one for a key of the holder, or Link
	// a link that makes the credentials.
	Creds, JWT, Link claims.Secret
	LinkExpires      time.Time
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
		body: c.newSecret(secretView{User: p.user.Name, Account: p.account.Name, UserURL: p.userURL()}, x, server, file),
	}
}

// newSecret completes the view of what was issued.
func (c *Console) newSecret(view secretView, x issuer.Issued, server, file string) secretView {
	view.Key, view.Expires, view.FileName, view.Creds, view.LinkExpires = x.PublicKey, x.Expires, file, x.Creds, x.LinkExpires
	switch {
	case !x.Link.Empty():
		view.Link = claims.NewSecret(strings.TrimSuffix(c.publicURL, "/") + "/c/" + x.Link.Reveal())
	case x.Creds.Empty():
		view.JWT, view.FileName = x.JWT, strings.TrimSuffix(file, ".creds")+".jwt"
	default:
		view.Verify = "nats --server " + shellWord(server) + " --creds " + file + " account info"
		view.Snippets = snippets(server, file, strings.TrimSuffix(file, ".creds"))
	}
	return view
}

// showCredentialLink shows what a link to credentials is for and a button. Opening it
// does not use it up: mail scanners and chat previews open links too.
func (c *Console) showCredentialLink(r *http.Request, _ *visit) (answer, error) {
	what, err := c.issuer.PeekCredentialLink(r.Context(), claims.NewSecret(r.PathValue("link")))
	if err != nil {
		return goneLink(err)
	}
	f := &form{Action: r.URL.EscapedPath(), Submit: "Make and show my credentials"}
	return answer{page: "link", title: "Your credentials", body: linkView{
		Title: "Credentials for " + what.User, Form: f,
		Lead: "Somebody made this link for you: NATS credentials of user " + what.User + " in account " + what.Account +
			". The key is made when you press the button and shown once, here. The link then stops working.",
	}}, nil
}

// useCredentialLink makes the credentials and shows them.
func (c *Console) useCredentialLink(r *http.Request, v *visit) (answer, error) {
	out, what, err := c.issuer.UseCredentialLink(r.Context(), issuer.Op{RequestID: v.requestID}, claims.NewSecret(r.PathValue("link")))
	if err != nil {
		return goneLink(err)
	}
	server := c.natsURL(what.OperatorID)
	if server == "" {
		server = "nats://YOUR-SERVER:4222"
	}
	file := fileName(what.Account, what.User)
	return answer{page: "secret", title: "Credentials of " + what.User, body: c.newSecret(secretView{User: what.User, Account: what.Account}, out, server, file)}, nil
}

// goneLink is the page of a link that was used, or never was one.
func goneLink(err error) (answer, error) {
	e := issuer.AsError(err)
	if e.Kind != issuer.KindUnauthenticated {
		return answer{}, err
	}
	return errorPage(http.StatusGone, e.Message, e.Hint), nil
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
