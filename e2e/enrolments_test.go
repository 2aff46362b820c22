package e2e

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// An account asks to be let in as nsc has it ask, is approved in the console, and is what servers read then.
func TestEnrolment(t *testing.T) {
	b := openTab(t, chromium(t))
	d := startDev(t)
	b.open(d.SignInURL)
	b.press("form button")
	base := origin(d.SignInURL)
	b.press(`nav a[href="/operators"]`)
	b.press("tbody a")
	b.press(`main a[href$="/enrolment"]`)
	b.says("Connect nsc", "nsc add operator -u", "Nobody asks")
	b.press(`.actions a[href$="/enrolment/policy"]`)
	b.fill(`select[name="mode"]`, "approval")
	b.fill(`[name="reason"]`, "a ticket")
	b.press("form.form button")
	b.says("Nothing has happened yet")
	b.press("form.plan-end button")
	b.says("Approval: whoever asks waits")

	id, token := selfSigned(t, "NEWCOMER")
	if status, said := exchange(t, http.MethodPost, base+"/jwt/v1/accounts/"+id, token); status != http.StatusAccepted || !strings.Contains(said, "nsc pull") {
		t.Fatalf("%d %s", status, said)
	}
	b.open(base + b.ask("location.pathname"))
	b.says("NEWCOMER", "Let in", "Keep out")
	b.examine("enrolment")
	b.press(`a[href$="/approve"]`)
	b.fill(`[name="reason"]`, "known to us")
	b.press("form.form button")
	b.examine("enrolment-plan")
	b.press("form.plan-end button")
	b.says("The account is let in", "Nobody asks")
	if status, body := exchange(t, http.MethodGet, base+"/jwt/v1/accounts/"+id, ""); status != http.StatusOK || body == token {
		t.Errorf("%d %s", status, body)
	}
}

func exchange(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	must(t, err)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	must(t, err)
	return res.StatusCode, string(raw)
}

// selfSigned is the JWT of a new account, signed by its own identity key (nkeys: prefix A, CRC-16; jwt: ed25519-nkey).
func selfSigned(t *testing.T, name string) (id, token string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	raw := append([]byte{0}, public...)
	id = base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(append(raw, byte(crc16(raw)), byte(crc16(raw)>>8)))
	unlimited := map[string]any{"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1}
	payload := map[string]any{
		"iat": time.Now().Unix(), "iss": id, "sub": id, "name": name,
		"nats": map[string]any{"limits": unlimited, "default_permissions": map[string]any{"pub": map[string]any{}, "sub": map[string]any{}}, "authorization": map[string]any{}, "type": "account", "version": 2},
	}
	hashed, err := json.Marshal(payload)
	must(t, err)
	sum := sha512.Sum512_256(hashed)
	payload["jti"] = base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])
	whole, err := json.Marshal(payload)
	must(t, err)
	input := base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"JWT","alg":"ed25519-nkey"}`)) + "." + base64.RawURLEncoding.EncodeToString(whole)
	return id, input + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(private, []byte(input)))
}

// crc16 is CRC-16/XMODEM.
func crc16(data []byte) (crc uint16) {
	for _, c := range data {
		crc ^= uint16(c) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}
