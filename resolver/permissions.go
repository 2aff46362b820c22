package resolver

import "github.com/nats-io/jwt/v2"

// SystemPermissions returns all that Chancery's own user on the system account may
// do: push and announce accounts, read them back from memory and disk, answer servers
// that look one up, list and close connections, count servers and ask which accounts
// they hold and whom they trust, and hear what servers tell of themselves and of their
// clients. It cannot reload or stop a server, or delete an account. Whoever signs the
// user takes the list from here, so that it cannot fall behind the code.
func SystemPermissions() jwt.Permissions {
	var p jwt.Permissions
	p.Pub.Allow.Add(
		pingSubject,
		accountsSubject("*"),
		variablesSubject("*"),
		updateSubject("*"),
		announceSubject("*"),
		infoSubject("*"),
		connectionsSubject("*"),
		lookupSubject("*"),
		listSubject,
		packSubject,
		kickSubject("*"),
		answersSubject,
	)
	p.Sub.Allow.Add(
		"_INBOX.>",
		statsSubject, shutdownSubject, lameDuckSubject,
		updateSubject("*"), announceSubject("*"), anyUpdateSubject, deleteSubject,
		lookupSubject("*"), packSubject, loadedSubject("*"),
		connectSubject, disconnectSubject, refusedSubject, usageSubject,
	)
	return p
}
