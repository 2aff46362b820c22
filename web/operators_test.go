package web_test

import (
	"testing"

	"chancery/issuer"
)

func TestNewOperator(t *testing.T) {
	t.Parallel()
	eachHouse(t, func(t *testing.T, h *house) {
		b := h.signedIn()
		b.submit(b.get("/operators/new").want(200), "name", "a/b", "service_urls", "http://n1").want(422).
			has("must not contain", "A service URL is nats://host:port", `value="http://n1"`)
		b.submit(b.get("/operators/new"), "name", "acme").want(409)
		done := b.submit(b.get("/operators/new"), "name", "second", "service_urls", "nats://n1:4222  tls://n2:4222").want(303)
		b.follow(done).want(200).has("Operator second was created")
		o, err := h.issuer.GetOperator(t.Context(), issuer.System("test"), "second")
		must(t, err)
		if !o.Settings.StrictSigningKeyUsage || len(o.Settings.OperatorServiceURLs) != 2 || o.Settings.SystemAccount == "" {
			t.Errorf("created %+v", o.Settings)
		}
	})
}
