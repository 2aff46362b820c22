package issuer

import (
	"context"
	"slices"
)

// Guard names one way of locking people, servers or Chancery itself out. A change
// that would do it is refused until the caller names the guard in Op.Override; the
// override goes on record. docs/lockout.md has the way back from each.
type Guard string

// The guards.
const (
	// GuardLastOperatorKey: no key would be left to sign accounts with.
	GuardLastOperatorKey Guard = "last_operator_key"
	// GuardOperatorKeyUntrusted: a key would sign accounts which a running server does
	// not trust yet, as it has not loaded the operator's newest JWT.
	GuardOperatorKeyUntrusted Guard = "operator_key_untrusted"
	// GuardOperatorKeyInUse: accounts would be left that only this key has signed.
	GuardOperatorKeyInUse Guard = "operator_key_in_use"
	// GuardStrict: what the operator's identity key signed would be refused.
	GuardStrict Guard = "strict_signing_keys"
	// GuardSystemEverybody: everybody on the system account, Chancery too, is refused.
	GuardSystemEverybody Guard = "system_everybody"
	// GuardSystemUser: Chancery's own user is refused.
	GuardSystemUser Guard = "system_user"
	// GuardSystemKey: the key that signed Chancery's own credential is refused, or
	// none is left to sign another.
	GuardSystemKey Guard = "system_key"
	// GuardSystemAccount: the system account admits nobody any more.
	GuardSystemAccount Guard = "system_account"
	// GuardKeyInUse: unexpired credentials of an account's key are refused.
	GuardKeyInUse Guard = "key_in_use"
	// GuardCalloutEverybody: the auth-callout service itself is refused, and so is
	// everybody whom it would admit.
	GuardCalloutEverybody Guard = "callout_everybody"
	// GuardCalloutUser: the only users of the auth-callout service are refused.
	GuardCalloutUser Guard = "callout_user"
	// GuardCalloutUnanswered: an auth callout is demanded that nobody can answer.
	GuardCalloutUnanswered Guard = "callout_unanswered"
)

// guardText says what happens and what to do first.
var guardText = map[Guard]struct{ message, hint string }{
	GuardLastOperatorKey:      {"This is the operator's last current signing key: no account could be signed any more.", "Add another key and make it current first."},
	GuardOperatorKeyUntrusted: {"Not every running nats-server trusts this key yet: accounts that it signs would be refused there.", "Give the servers the operator's new JWT and restart them, then make the key current."},
	GuardOperatorKeyInUse:     {"Accounts are still signed by this key: servers would refuse them at their next start.", "Make another key current and wait until all accounts are signed anew."},
	GuardStrict:               {"The operator's identity key has signed what servers would refuse with strict signing key usage.", "Sign it anew with a signing key first."},
	GuardSystemEverybody:      {"Revoking everybody on the system account would cut Chancery off from the servers.", "Revoke single users of the system account instead."},
	GuardSystemUser:           {"Refusing Chancery's own user would cut it off from the servers.", "Revoke its older keys only; it connects with the newest. Or remove its file, restart Chancery, and revoke then."},
	GuardSystemKey:            {"Chancery's own connection to the servers hangs on this key.", "Make another key of the system account current and restart Chancery first; it then gets a new credential."},
	GuardSystemAccount:        {"The system account would admit nobody: Chancery could not tell the servers of any change.", "Leave the system account as it is; limit or revoke its users."},
	GuardKeyInUse:             {"Unexpired credentials are signed by this key, and would be refused.", "Issue to their users anew first; the key's entry counts what is left."},
	GuardCalloutEverybody:     {"The account uses an auth callout: revoking everybody refuses the callout service too, and then whoever it would admit.", "Revoke single users, or issue to the callout service anew at once."},
	GuardCalloutUser:          {"The account's auth callout is answered by this user: nobody else could be admitted.", "Name another user of the callout first."},
	GuardCalloutUnanswered:    {"None of the users that are to answer the auth callout has credentials: everybody else would be refused.", "Issue to one of them and start the callout service first."},
}

// guard refuses the change unless its caller overrides g.
func (w *work) guard(g Guard) error {
	if slices.Contains(w.op.Override, g) {
		return nil
	}
	t := guardText[g]
	return &Error{Kind: KindConflict, Code: "would_lock_out", Message: t.message, Hint: t.hint, Guard: g}
}

// maySign refuses what gives rights while the operator's signing switch is off.
func (w *work) maySign(ctx context.Context, operatorID string) error {
	if w.use.protective {
		return nil
	}
	on, err := w.SigningOn(ctx, operatorID)
	if err != nil || on {
		return err
	}
	return signingOff()
}

func signingOff() error {
	return &Error{
		Kind: KindConflict, Code: "signing_off", Message: "Signing is switched off for this operator: only what takes rights away is signed.",
		Hint: "Switch it on again, or ask whoever switched it off.",
	}
}
