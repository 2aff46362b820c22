package resolver

import "github.com/nats-io/jwt/v2"

// SystemPermissions returns all that Chancery's own user on the system account may
// do: push and announce accounts, read them back, list connections, count servers
// and ask which accounts they hold and whom they trust. It cannot reload or stop a server, disconnect
// a client, or delete an account. Whoever signs the user takes the list from here,
// so that it cannot fall behind the code.
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
	)
	p.Sub.Allow.Add("_INBOX.>", statsSubject, shutdownSubject)
	return p
}
