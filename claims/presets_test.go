package claims_test

import (
	"strings"
	"testing"
	"time"

	"chancery/claims"
)

// Every preset is one that an account can have, has a name of its own, and says in a sentence what it is.
func TestAccountPresets(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, p := range claims.AccountPresets() {
		s := claims.NewAccountSettings()
		s.Limits = p.Limits
		if problems := claims.CheckAccount(claims.Account{Name: "X", Settings: s}); len(problems) > 0 {
			t.Errorf("%s: %+v", p.Name, problems)
		}
		if names[p.Name] || p.Title == "" || !strings.HasSuffix(p.Description, ".") {
			t.Errorf("%+v", p)
		}
		names[p.Name] = true
		if streams := strings.Contains(p.Name, "streams") || p.Name == "dev"; streams != p.Limits.IsJSEnabled() {
			t.Errorf("%s: JetStream is %v", p.Name, !streams)
		}
		again, ok := claims.AccountPreset(p.Name)
		if !ok || again.Title != p.Title {
			t.Errorf("%s is not found", p.Name)
		}
		if len(p.Limits.JetStreamTieredLimits) > 0 { // nobody changes it for the others
			delete(p.Limits.JetStreamTieredLimits, "R1")
			if again, _ = claims.AccountPreset(p.Name); len(again.Limits.JetStreamTieredLimits) != 2 {
				t.Error("the tiers of a preset are shared")
			}
		}
	}
	if _, ok := claims.AccountPreset("nothing"); ok {
		t.Error("a preset nobody made")
	}
}

func TestCheckAccountExpiry(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 5)
	for _, c := range []struct {
		expires  int64
		lifetime time.Duration
		code     string
	}{
		{0, 0, ""},
		{now.Unix() + 1, 0, ""},
		{now.Unix(), 0, "/expires_at in_the_past"},
		{0, time.Hour, ""},
		{0, time.Hour - time.Second, "/lifetime_seconds out_of_range"},
		{0, -time.Hour, "/lifetime_seconds out_of_range"},
		{0, time.Hour + 1, "/lifetime_seconds out_of_range"},
		{0, claims.MaxAccountLifetime + time.Second, "/lifetime_seconds out_of_range"},
		{now.Unix() + 1, time.Hour, "/lifetime_seconds exclusive"},
	} {
		got := ""
		for _, p := range claims.CheckAccountExpiry(c.expires, c.lifetime, now) {
			got += p.Pointer + " " + p.Code
		}
		if got != c.code {
			t.Errorf("%d, %v: %q, want %q", c.expires, c.lifetime, got, c.code)
		}
	}
	for d, want := range map[time.Duration]string{24 * time.Hour: "1 day", 36 * time.Hour: "36 hours", 90 * time.Minute: "90 minutes", 61 * time.Second: "61 seconds", 0: "no end"} {
		changes := claims.DiffLifetime(time.Hour, d)
		if len(changes) != 1 || changes[0].Sentence() != "Lifetime of each JWT: 1 hour → "+want {
			t.Errorf("%v: %+v", d, changes)
		}
	}
	if changes := claims.DiffLifetime(time.Hour, time.Hour); changes != nil {
		t.Errorf("%+v", changes)
	}
}
