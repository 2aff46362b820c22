package resolver_test

import (
	"net/http"
	"testing"

	"chancery/resolver"
	"chancery/store"
	"chancery/store/storetest"
)

// TestNothingOlderTakesItsPlace holds that an operator's JWT does not go back either when
// the store was restored from a backup, and that what is pushed is never older than memory.
func TestNothingOlderTakesItsPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	r, err := resolver.New(w.config())
	if err != nil {
		t.Fatal(err)
	}
	for version, token := range []string{"first", "second", "first"} {
		r.SetOperators(store.Operator{ID: w.operator, Name: "op", Default: true, JWT: token, JWTVersion: []int64{1, 2, 1}[version]})
	}
	if got := get(r.Handler(), http.MethodGet, "/jwt/v1/operator").Body.String(); got != "second" {
		t.Errorf("the operator's JWT is the %s", got)
	}
	older := store.Served{AccountID: w.system.id, OperatorID: w.operator, Version: 1, IssuedAt: 1, Token: "first"}
	newer := store.Served{AccountID: w.system.id, OperatorID: w.operator, Version: 2, IssuedAt: 2, Token: "second"}
	if got := r.Newest(older); got != older {
		t.Errorf("of an account that is not in memory %+v is pushed", got)
	}
	r.Put(newer)
	if got := r.Newest(older); got != newer {
		t.Errorf("with a newer one in memory %+v is pushed", got)
	}
}
