package claims

import (
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"
)

// DriftKind says in which way a server has, or was sent, something else than Chancery
// gave it. A nats-server takes any account JWT with a valid signature on the claims
// subjects: an older one over a newer, and a full resolver even one of a stranger.
type DriftKind string

// The kinds of drift.
const (
	// DriftNewer is an account JWT by a trusted key that is not older than ours: somebody
	// else signs for the operator too.
	DriftNewer DriftKind = "foreign_newer"
	// DriftOlder is one that is older than ours, which may be one of ours: what was
	// revoked since is not revoked in it.
	DriftOlder DriftKind = "foreign_older"
	// DriftUntrusted is what servers refuse to load: signed by a key that is not the
	// operator's, broken, or about another account. A full resolver stores it all the
	// same, and the account is dead once that server restarts.
	DriftUntrusted DriftKind = "untrusted"
	// DriftUnknown is an account of the operator that is not known here.
	DriftUnknown DriftKind = "unknown_account"
	// DriftMissing is an account that is not on the disk of a full resolver.
	DriftMissing DriftKind = "missing"
	// DriftDeleted is a request to delete an account, or what it leaves: the server holds
	// the right JWT and admits nobody.
	DriftDeleted DriftKind = "deleted"
)

// DriftState says how far a drift is dealt with.
type DriftState string

// The states. Healed and adopted are proven by reading back.
const (
	DriftOpen    DriftState = "open"
	DriftHealed  DriftState = "healed"
	DriftAdopted DriftState = "adopted"
	DriftIgnored DriftState = "ignored"
)

// DriftDecision is what becomes of a drift.
type DriftDecision string

// The decisions.
const (
	// DriftKeep makes ours the newest again; what theirs revokes is revoked all the same.
	DriftKeep DriftDecision = "keep"
	// DriftAdopt takes over what theirs says.
	DriftAdopt DriftDecision = "adopt"
	// DriftIgnore leaves it as it is, for as long as it stays the same.
	DriftIgnore DriftDecision = "ignore"
)

// DriftSeen says where a drift was noticed.
type DriftSeen string

// The places.
const (
	SeenPushed DriftSeen = "pushed"
	SeenMemory DriftSeen = "memory"
	SeenDisk   DriftSeen = "disk"
)

// maxDriftChanges bounds the differences that are told of one drift.
const maxDriftChanges = 100

// maxAhead is how far ahead of the clock, in seconds, the issue time of a JWT may be
// that somebody else signed: what is further ahead is no newer version but an error, and
// answering it with one that is newer still would keep the account from being edited.
const maxAhead = 600

// Found is an account's JWT that somebody else signed or sent, and what it is compared
// with.
type Found struct {
	// AccountID is the account that it was found under, Token what was found.
	AccountID, Token string
	// Ours is what servers should have, with its issue time; empty where the account is
	// not known.
	Ours         string
	OursIssuedAt int64
	// Signers are the keys that servers trust to sign accounts of the operator.
	Signers []string
}

// Judged is what a found JWT turned out to be.
type Judged struct {
	Kind DriftKind
	// Name, Signer and IssuedAt are those of the JWT; empty where it cannot be read.
	Name, Signer string
	IssuedAt     int64
	// Detail is a sentence on why servers would not load it; empty where they would.
	Detail string
	// Changes are the differences from ours to theirs.
	Changes []FieldChange
}

// Judge says what a found JWT is at a time. It is not for the JWT that is ours.
func Judge(f Found, at time.Time) Judged {
	j := Judged{Kind: DriftUntrusted}
	t, err := Read(f.Token)
	if err != nil {
		j.Detail = "It cannot be read: " + err.Error() + "."
		return j
	}
	theirs, ok := t.Claims.(*jwt.AccountClaims)
	if !ok {
		j.Detail = "It is no account's JWT."
		return j
	}
	j.Name, j.Signer, j.IssuedAt = theirs.Name, theirs.Issuer, theirs.IssuedAt
	if ours, err := jwt.DecodeAccountClaims(f.Ours); err == nil {
		j.Changes = DiffAccounts(ours, theirs)
		j.Changes = j.Changes[:min(len(j.Changes), maxDriftChanges)]
	}
	switch {
	case theirs.Subject != f.AccountID:
		j.Detail = "It belongs to another account."
	case !slices.Contains(f.Signers, theirs.Issuer):
		j.Detail = "Its signer is no key that servers of this operator trust."
	case theirs.IssuedAt > at.Unix()+maxAhead:
		j.Detail = "It claims to be signed in the future."
	case theirs.Expires > 0 && theirs.Expires < at.Unix():
		j.Detail = "It has expired."
	case f.Ours == "":
		j.Kind = DriftUnknown
	case theirs.IssuedAt >= f.OursIssuedAt:
		j.Kind = DriftNewer
	default:
		j.Kind = DriftOlder
	}
	return j
}
