package api_test

import (
	"strings"
	"testing"
)

// What would lock somebody out is refused with the name of its guard and how to override it; named, it passes, and
// another guard's name does not help.
func TestGuardIsNamed(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(h *house) {
		const system = accounts + "/SYS"
		for _, query := range []string{"", "&override=key_in_use"} {
			a := h.send(request{method: patch, path: system + "?dry_run=true" + query, body: `{"limits":{"connections":0}}`, token: h.owner})
			if p := a.problem(h.t); a.status != 409 || p.Code != "would_lock_out" || p.Guard != "system_account" || !strings.Contains(p.Hint, "?override=system_account") {
				h.t.Errorf("with %q: %d %s", query, a.status, a.body)
			}
		}
		h.want(patch, system+"?dry_run=true&override=key_in_use,system_account", `{"limits":{"connections":0}}`, 200)
		a := h.send(request{method: patch, path: system + "?dry_run=true&override=force", body: `{}`, token: h.owner})
		if a.status != 422 {
			h.t.Errorf("a guard that is none: %d %s", a.status, a.body)
		}
	})
}
