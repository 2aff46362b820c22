package issuer

import (
	"context"
	"slices"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// MergeSource is where the JWT that is merged comes from.
type MergeSource string

const (
	// MergePosted is a JWT that the account's holder sent: of the account's identity key,
	// of a plain signing key that the stored account lists, or of the operator.
	MergePosted MergeSource = "posted"
	// MergeFound is a JWT that a nats-server was found to hold: only the operator's count.
	MergeFound MergeSource = "found"
)

// MergeInput asks for the claims of a JWT that was made elsewhere to be taken over.
type MergeInput struct {
	// Account is a public key A… or a name.
	Account string
	// Token is a bare account JWT. White space around it is tolerated.
	Token  string
	Source MergeSource
}

// MergeResult tells what became of the JWT.
type MergeResult string

const (
	// MergeTaken is a JWT whose claims are in the account now.
	MergeTaken MergeResult = "taken"
	// MergeUnchanged is a JWT that says what the account says already.
	MergeUnchanged MergeResult = "unchanged"
	// MergeReplay is a JWT that was signed here, the newest one or an earlier version, or
	// one of the holder's that was taken over before. Nothing is rolled back to it.
	MergeReplay MergeResult = "replay"
)

// SignedBy tells whose key signed a JWT from elsewhere.
type SignedBy string

const (
	// SignedByAccount is the account's identity key.
	SignedByAccount SignedBy = "account"
	// SignedByKey is one of its unscoped signing keys.
	SignedByKey SignedBy = "signing_key"
	// SignedByOperator is a key that the operator's JWT lists, or its identity.
	SignedByOperator SignedBy = "operator"
)

// Merged is what a merge came to.
type Merged struct {
	// Account is as it is after the merge; its JWT is the one that is served.
	Account  Account
	Result   MergeResult
	SignedBy SignedBy
	// Signer is the public key.
	Signer string
	// Revoked is how many revocations were new, Kept how many the JWT lacked and the
	// account keeps.
	Revoked, Kept int
	// Notes say, in sentences, what of the JWT was not taken over, and why.
	Notes []string
}

// MergeAccount takes the claims of an account JWT from elsewhere over into the stored
// account, and signs it anew, later than either was. What belongs to its holder is
// replaced by what the JWT says: description, exports, imports, mappings, default
// permissions, tracing, auth callout, tags, and signing keys whose seeds are not here.
// What belongs to the operator stays: name, limits, JetStream, expiry, tags that the
// guardrails ask for; a JWT of the operator's own that is newer than the account's
// brings these too. Keys that are held here stay as they are. Revocations are united:
// one that the JWT lacks stays, and one that was lifted or compacted here does not come
// back with a copy that still has it. Unknown fields are refused by name.
//
// It needs WriteAccounts on the account, and for a JWT that brings limits WriteLimits.
// Who signed the JWT is held against the stored account, not against the JWT.
func (i *Issuer) MergeAccount(ctx context.Context, op Op, in MergeInput) (Outcome[Merged], error) {
	token, err := readMerge(in.Token)
	if err != nil {
		return Outcome[Merged]{}, err
	}
	return i.mergeToken(ctx, op, in.Account, token, in.Source)
}

// mergeToken is MergeAccount of a JWT that readMerge read.
func (i *Issuer) mergeToken(ctx context.Context, op Op, account string, token claims.Token, source MergeSource) (Outcome[Merged], error) {
	op.ExpectedVersion = 0
	live := i.liveConnections(ctx, op, WriteAccounts, account)
	u := use{permission: WriteAccounts, action: "merge", kind: "account", target: account}
	return change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[Merged], error) {
		var none planned[Merged]
		m := &merging{work: w, issuer: i, token: token, posted: token.Claims.(*jwt.AccountClaims), source: source}
		if err := m.hold(ctx, account); err != nil {
			return none, err
		}
		if err := m.admit(ctx); err != nil {
			return none, err
		}
		return m.plan(ctx, live)
	})
}

// readMerge decodes what is to be merged, as far as no account is needed for that.
func readMerge(text string) (claims.Token, error) {
	token, err := claims.Read(text)
	if err != nil {
		return token, invalidField("/jwt", "invalid_jwt", "This cannot be read as a JWT: "+err.Error()+".")
	}
	if _, is := token.Claims.(*jwt.AccountClaims); !is {
		return token, invalidField("/jwt", "wrong_type", "This JWT is not an account's.")
	}
	return token, nil
}

// merging is one JWT on its way into a stored account, which is locked.
type merging struct {
	*work
	issuer   *Issuer
	token    claims.Token
	posted   *jwt.AccountClaims
	source   MergeSource
	operator Operator
	account  Account
	// fresh tells that the account is about to be made.
	fresh bool

	by SignedBy
	// replay tells that the JWT was signed here, or was taken over before.
	replay bool
	// whole tells that the operator's part is taken over too.
	whole bool

	// rows are what the account's JWT is made of; none for one that is about to be made.
	rows store.AccountRows
	// known is what of the account was signed here in the second of the JWT.
	known store.Candidate
	// before is the account's JWT as it is now, nil where there is none; was is what the
	// rows make of it.
	before *jwt.AccountClaims
	was    claims.Account
	// after and parts are the account as it will be.
	after Account
	parts claims.Account
	// revoked are the new revocations; revives are keys that come back.
	revoked map[string]int64
	out     Merged
}

// hold finds the account and locks it.
func (m *merging) hold(ctx context.Context, ref string) (err error) {
	if m.operator, m.account, err = findGuardedAccount(ctx, m.work, ref); err != nil {
		return err
	}
	// What is signed after this cannot be the JWT that is here already.
	if err := m.LookUpSigned(ctx, m.account.ID, m.posted.IssuedAt, &m.known); err != nil {
		return err
	}
	m.account, m.rows, err = holdGuardedAccount(ctx, m.work, m.operator, m.account)
	return err
}

// admit tells who signed the JWT, and refuses what must not be merged at all.
func (m *merging) admit(ctx context.Context) error {
	c, a := m.posted, m.account
	if c.Subject != a.ID {
		return invalidField("/jwt", "differs", "The JWT is of another account.")
	}
	if a.System {
		return &Error{
			Kind: KindForbidden, Code: "system_account", Message: "The system account is not changed by JWTs from elsewhere.",
			Hint: "Change it in Chancery.",
		}
	}
	var err error
	if m.by, err = m.signedBy(); err != nil {
		return err
	}
	if m.source == MergeFound && m.by != SignedByOperator {
		return untrustedIssuer()
	}
	m.out = Merged{Account: a, Signer: c.Issuer, SignedBy: m.by}
	if m.fresh {
		return m.checkStamps()
	}
	if m.by == SignedByOperator {
		err = m.admitOperator()
	} else {
		err = m.admitPosted(ctx)
	}
	if err != nil || m.replay {
		return err
	}
	if c.Name != calledIn(a) {
		return &Error{
			Kind: KindConflict, Code: "other_name", Message: "The account has another name here, and a JWT does not rename it.",
			Hint: "Give the account its name back and send it again.",
		}
	}
	return m.checkStamps()
}

// admitOperator tells whether a JWT of the operator's is newer than the account's, or was
// signed here.
func (m *merging) admitOperator() error {
	if m.replay = m.isReplay(); m.replay {
		return nil
	}
	// What servers were found to hold may have been signed within the same second as ours.
	if at := m.account.IssuedAt; m.posted.IssuedAt < at || m.posted.IssuedAt == at && m.source != MergeFound {
		return older()
	}
	m.whole = true
	return m.alsoNeeds(WriteLimits)
}

// postingSlack is how far, in seconds, the clocks of an account's holders may be apart:
// a JWT that is older by more than the newest one that was posted is a forgotten one.
const postingSlack = 10 * minute

// postingMoment is for how long, in seconds, the same JWT counts as made anew.
const postingMoment = 2

// admitPosted tells whether this very JWT of the holder's was taken over before. It is
// the same JWT whoever sends it, and may be from before a change that was made here.
func (m *merging) admitPosted(ctx context.Context) error {
	known, last, err := m.WasPosted(ctx, m.account.ID, hashOfJWT(m.token.Text))
	if err != nil {
		return err
	}
	// What is signed twice within a second, such as a change and its undoing, may be the
	// same bytes: what was made just now is meant.
	m.replay = known && m.posted.IssuedAt < m.Now().Unix()-postingMoment
	if !known && m.posted.IssuedAt < last-postingSlack {
		return older()
	}
	return nil
}

func older() error {
	return &Error{
		Kind: KindStale, Code: "older_jwt", Message: "A newer version of this account is here: nothing of this JWT was taken over.",
		Hint: "Fetch the current version and make the change in that.",
	}
}

// calledIn is the name of the account in its JWT.
func calledIn(a Account) string {
	if a.Foreign != nil && a.Foreign.Name != nil {
		return *a.Foreign.Name
	}
	return a.Name
}

// deleteWindow is how long, in seconds, the JWT lives with which nsc asks for the
// deletion of an account (nsc: deleteaccount.go).
const deleteWindow = 2 * minute

// checkStamps refuses JWTs by the times that they name.
func (m *merging) checkStamps() error {
	c, now := m.posted, m.Now().Unix()
	switch {
	case c.IssuedAt > now+claims.MaxClockLead:
		return invalidField("/jwt", "issued_in_future", "The JWT was issued in the future. Set the clock of the machine that made it.")
	case m.whole && c.Expires != 0 && c.Expires <= now:
		return invalidField("/jwt", "expired", "The JWT has expired.")
	case m.whole || c.Expires == 0 || c.Expires == m.account.Expires:
		return nil
	case c.Expires <= now:
		return invalidField("/jwt", "expired", "The JWT has expired.")
	case c.Expires <= now+deleteWindow:
		return &Error{
			Kind: KindConflict, Code: "deletes_account", Message: "A JWT that expires at once asks for the account to be deleted, and that is not done by a JWT. Nothing was changed.",
			Hint: "Delete the account in Chancery.",
		}
	}
	return nil
}

func untrustedIssuer() error {
	return &Error{
		Kind: KindForbidden, Code: "untrusted_issuer", Message: "The JWT is signed neither by the account's identity key, nor by one of its plain signing keys, nor by its operator.",
		Hint: "Sign it with a key that the account had before this change.",
	}
}

// signedBy holds the issuer of the JWT against what is stored.
func (m *merging) signedBy() (SignedBy, error) {
	iss := m.posted.Issuer
	if iss == m.account.ID {
		return SignedByAccount, nil
	}
	for _, k := range m.rows.Keys {
		switch {
		case k.ID != iss || !isTrusted(k):
		case k.TemplateID != "":
			return "", &Error{
				Kind: KindForbidden, Code: "scoped_issuer", Message: "The JWT is signed by a scoped signing key, which may sign users of its role only.",
				Hint: "Sign it with the account's identity key, or with a signing key without a role.",
			}
		default:
			return SignedByKey, nil
		}
	}
	keys := m.rows.Operator
	n := slices.IndexFunc(keys, func(k store.Key) bool { return k.ID == iss })
	if n >= 0 && (isTrusted(keys[n]) || keys[n].Role == "identity" && keys[n].State == KeyCurrent && !m.operator.Settings.StrictSigningKeyUsage) {
		return SignedByOperator, nil
	}
	return "", untrustedIssuer()
}

// isReplay tells whether this very JWT is, or was, the account's.
func (m *merging) isReplay() bool {
	return m.account.JWT == m.token.Text || m.known.Signed(hashOfJWT(m.token.Text))
}
