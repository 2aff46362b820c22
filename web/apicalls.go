package web

import (
	"net/http"
	"strings"
)

// apiCall is the request to the API that does what a page does, as a command.
type apiCall struct{ What, Command string }

// call writes a request as curl. The token is left to the shell: a page must not
// hold one. body is JSON, or empty.
func (c *Console) call(what, method, path, body string) apiCall {
	var b strings.Builder
	b.WriteString("curl -sS ")
	if method != http.MethodGet {
		b.WriteString("-X " + method + " ")
	}
	if c.publicURL == "" {
		b.WriteString(`"$CHANCERY_URL"` + shellQuote("/api/v1"+path))
	} else {
		b.WriteString(shellQuote(c.publicURL + "/api/v1" + path))
	}
	b.WriteString(" \\\n  -H \"Authorization: Bearer $CHANCERY_TOKEN\"")
	if body != "" {
		kind := "application/json"
		if method == http.MethodPatch {
			kind = "application/merge-patch+json"
		}
		b.WriteString(" \\\n  -H 'Content-Type: " + kind + "' \\\n  -d " + shellQuote(body))
	}
	return apiCall{what, b.String()}
}

// shellQuote makes one word of s for a POSIX shell.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
