package claims

import "strings"

// ServerConfigInput is what a nats-server needs to know of an operator.
type ServerConfigInput struct {
	OperatorName, OperatorJWT, SystemAccount string
	// ResolverURL ends in /accounts/; the server appends the account's key.
	ResolverURL string
}

// ServerConfig returns the part of a nats-server's configuration file that puts it
// in operator mode with the URL resolver.
func ServerConfig(in ServerConfigInput) string {
	var b strings.Builder
	b.WriteString("# Operator ")
	b.WriteString(in.OperatorName)
	b.WriteString(": put this into the configuration of every nats-server of the deployment.\n")
	b.WriteString("# The server asks the resolver once when it starts and refuses to start without an answer.\n")
	b.WriteString("operator: ")
	b.WriteString(in.OperatorJWT)
	b.WriteString("\nsystem_account: ")
	b.WriteString(in.SystemAccount)
	b.WriteString("\nresolver: URL(")
	b.WriteString(in.ResolverURL)
	b.WriteString(")\n")
	return b.String()
}
