package resolver

import (
	"encoding/json"
	"strings"
	"time"
	"unicode"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// Subjects of the system account (nats-server, server/events.go). Requests fan out:
// every server answers once, and nobody adds the answers up.
const (
	pingSubject     = "$SYS.REQ.SERVER.PING"
	statsSubject    = "$SYS.SERVER.*.STATSZ"
	shutdownSubject = "$SYS.SERVER.*.SHUTDOWN"
	// lameDuckSubject is where a server says that it sends its clients away.
	lameDuckSubject = "$SYS.SERVER.*.LAMEDUCK"

	// anyUpdateSubject is a push without the account in its subject, which only full and
	// cache resolvers hear; nsc sends it.
	anyUpdateSubject = "$SYS.REQ.CLAIMS.UPDATE"
	// deleteSubject takes accounts off full and cache resolvers. It is heard, never sent.
	deleteSubject = "$SYS.REQ.CLAIMS.DELETE"
	// listSubject asks full and cache resolvers which accounts are on their disks.
	listSubject = "$SYS.REQ.CLAIMS.LIST"
	// packSubject is how full resolvers compare their stores, by a hash, and exchange
	// them.
	packSubject = "$SYS.REQ.CLAIMS.PACK"

	// Events about connections. They carry user JWTs; that of a bearer user is a
	// credential, to be decoded and dropped.
	connectSubject    = "$SYS.ACCOUNT.*.CONNECT"
	disconnectSubject = "$SYS.ACCOUNT.*.DISCONNECT"
	refusedSubject    = "$SYS.SERVER.*.CLIENT.AUTH.ERR"
	// usageSubject is how many connections of an account a server has, when that changes
	// and every 30 s.
	usageSubject = "$SYS.ACCOUNT.*.SERVER.CONNS"

	// answersSubject is where servers expect the answers to their own questions.
	answersSubject = "$SYS._INBOX.>"
)

// lookupSubject asks the full resolvers for an account's JWT as it is on their disks; a
// server that misses an account asks there too. Answers do not say whose they are.
func lookupSubject(account string) string { return "$SYS.REQ.ACCOUNT." + account + ".CLAIMS.LOOKUP" }

// loadedSubject is asked by a server that has just loaded an account, with a reply
// subject that ends in its key (events.go: enableAccountTracking).
func loadedSubject(account string) string { return "$SYS.REQ.ACCOUNT." + account + ".CONNS" }

// kickSubject closes a connection of a server.
func kickSubject(server string) string { return "$SYS.REQ.SERVER." + server + ".KICK" }

// updateSubject is the one push that every kind of resolver hears. A message with
// headers is refused by full and cache resolvers.
func updateSubject(account string) string { return "$SYS.REQ.ACCOUNT." + account + ".CLAIMS.UPDATE" }

// announceSubject is where servers and tools older than the request listen. A
// server takes the repeat of the same bytes for no change.
func announceSubject(account string) string { return "$SYS.ACCOUNT." + account + ".CLAIMS.UPDATE" }

// infoSubject reads an account back from a server's memory. It never loads one.
func infoSubject(account string) string { return "$SYS.REQ.ACCOUNT." + account + ".INFO" }

// connectionsSubject lists an account's connections. It loads the account on each
// server that answers.
func connectionsSubject(account string) string { return "$SYS.REQ.ACCOUNT." + account + ".CONNZ" }

// accountsSubject lists the accounts that a server holds in memory.
func accountsSubject(server string) string { return "$SYS.REQ.SERVER." + server + ".ACCOUNTZ" }

// variablesSubject asks a server for its state and configuration, of which only the
// trusted operators are read.
func variablesSubject(server string) string { return "$SYS.REQ.SERVER." + server + ".VARZ" }

// serverInfo is how a server introduces itself in every message.
type serverInfo struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Cluster string `json:"cluster"`
	Version string `json:"ver"`
	// JetStream tells that the server has it.
	JetStream bool `json:"jetstream"`
}

// serverStats is what is needed of a server's statistics.
type serverStats struct {
	Start time.Time `json:"start"`
}

// serverError is a server's refusal.
type serverError struct {
	Code        int    `json:"code"`
	Description string `json:"description"`
}

// answer is the envelope of every answer and event.
type answer[T any] struct {
	Server serverInfo   `json:"server"`
	Data   *T           `json:"data"`
	Error  *serverError `json:"error"`
	// Stats is in the place of Data where statistics are told.
	Stats *serverStats `json:"statsz"`
}

// missing tells whether the answer says that the server does not hold the account
// (monitor.go: accountInfo; the code is 500 for whatever goes wrong).
func (a answer[T]) missing() bool {
	return a.Error != nil && strings.HasSuffix(a.Error.Description, "does not exist")
}

// updated answers a push. The code is 200 both for "jwt updated" and for "jwt
// update skipped", which a server says of an account it does not hold.
type updated struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// accountInfo is what is needed of an account as a server holds it. The JWT is set
// after its claims are in force, so its bytes are the proof; it is empty where the
// server only knows that others have the account. The claims are sent decoded as
// well; they are not read.
type accountInfo struct {
	JWT     string `json:"jwt"`
	Clients int    `json:"client_connections"`
	Leafs   int    `json:"leafnode_connections"`
}

// loadedAccounts answers the question which accounts a server holds.
type loadedAccounts struct {
	Accounts []string `json:"accounts"`
}

// serverVariables is what is needed of a server's state: the claims of the operators
// that it trusts. The tokens are sent only where a file names them.
type serverVariables struct {
	Operators []*jwt.OperatorClaims `json:"trusted_operators_claim"`
}

// trust returns whom the server trusts by the operator's claims, nil when it does not
// know the operator.
func (v *serverVariables) trust(operatorID string) *claims.ServerTrust {
	for _, c := range v.Operators {
		if c != nil && c.Subject == operatorID {
			return &claims.ServerTrust{Fingerprint: claims.OperatorFingerprint(c), Signers: claims.AccountSigners(c)}
		}
	}
	return nil
}

// connectionsQuery asks one server for one page of connections.
type connectionsQuery struct {
	Auth       bool   `json:"auth"`
	Limit      int    `json:"limit"`
	Offset     int    `json:"offset"`
	ServerName string `json:"server_name"`
	ExactMatch bool   `json:"exact_match"`
}

// connectionsPage is one page of connections. Of a connection's JWT only what it says
// is kept: that of a bearer user, which older servers list too, is a credential.
type connectionsPage struct {
	Total       int `json:"total"`
	Connections []struct {
		CID       uint64    `json:"cid"`
		Kind      string    `json:"kind"`
		Type      string    `json:"type"`
		IP        string    `json:"ip"`
		Start     time.Time `json:"start"`
		InMsgs    int64     `json:"in_msgs"`
		OutMsgs   int64     `json:"out_msgs"`
		Name      string    `json:"name"`
		Lang      string    `json:"lang"`
		Version   string    `json:"version"`
		User      string    `json:"authorized_user"`
		IssuerKey string    `json:"issuer_key"`
		Subs      int64     `json:"subscriptions"`
		JWT       userFacts `json:"jwt"`
	} `json:"connections"`
}

// userFacts reads a user JWT and drops it.
type userFacts struct{ *claims.ConnectedUser }

// UnmarshalJSON implements json.Unmarshaler; what is no user JWT is nil.
func (u *userFacts) UnmarshalJSON(data []byte) error {
	var token string
	if err := json.Unmarshal(data, &token); err != nil {
		return err
	}
	u.ConnectedUser = claims.NewConnectedUser(token)
	return nil
}

// decode reads an answer; what is no JSON object of a server is not ok.
func decode[T any](data []byte) (a answer[T], ok bool) {
	err := json.Unmarshal(data, &a)
	return a, err == nil && claims.IsPublicKey(claims.KindServer, a.Server.ID)
}

// maxErrorText bounds a server's own words, which are stored.
const maxErrorText = 256

// errorText returns a server's words as they may be stored and shown: without
// secrets and control characters, and not too many of them.
func errorText(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, claims.Redact(s))
	if len(s) > maxErrorText {
		s = s[:maxErrorText]
	}
	return strings.ToValidUTF8(s, "")
}
