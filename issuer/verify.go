package issuer

import (
	"bytes"
	"context"
	"fmt"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/store"
)

// Report is what Verify looked at and found.
type Report struct {
	// Operators and Accounts are those whose JWT was read, Versions the rows of what
	// was ever signed, Revocations the entries in force.
	Operators, Accounts, Versions, Revocations int
	// AuditEntries is how many numbered entries the chain of the audit log has.
	AuditEntries int64
	// Findings are the rules that do not hold; none is good.
	Findings []Finding
}

// Rule is what Verify holds stored rows against.
type Rule string

// The rules.
const (
	// RuleJWT: each current JWT decodes, is accepted by nats-io/jwt, chains to its
	// operator, and is byte for byte what the rows say; one that was signed elsewhere
	// says the same.
	RuleJWT Rule = "jwt"
	// RuleHistory: versions have no gaps, their issue time rises, no jti comes twice,
	// and what is kept is what was signed.
	RuleHistory Rule = "history"
	// RuleRevocation: every revocation is in the account's JWT, or was lifted, or is
	// moot.
	RuleRevocation Rule = "revocation"
	// RuleAudit: each JWT was put on record by the transaction that signed it, and the
	// chain of the audit log is whole. A subject signed n times by one request in one
	// microsecond needs n entries. That there may be more is no finding: a change that
	// signs an account is on record under what it changed, a template or a key, and a
	// user comes with the entry of its credential.
	RuleAudit Rule = "audit"
)

// Finding is a rule that does not hold for a subject, a public key.
type Finding struct {
	Rule    Rule
	Subject string
	// Detail is a sentence.
	Detail string
}

// Verify holds everything that is signed against its rows, and the audit log against
// its chain. It changes nothing and opens no seed.
func (i *Issuer) Verify(ctx context.Context, caller Caller) (Report, error) {
	out, err := read(ctx, i, caller, use{permission: ReadOperators, action: "verify", kind: "database"}, func(ctx context.Context, d *desk) (Report, error) {
		v := verification{Tx: d.Tx, operators: map[string]*jwt.OperatorClaims{}}
		for _, step := range []func(context.Context) error{v.allOperators, v.allAccounts, v.history} {
			if err := step(ctx); err != nil {
				return v.Report, err
			}
		}
		return v.Report, nil
	})
	if err != nil {
		return out, err
	}
	chain, err := i.store.VerifyAudit(ctx, nil)
	out.AuditEntries = chain.Entries
	for _, f := range chain.Faults {
		out.Findings = append(out.Findings, Finding{RuleAudit, f.EntryID, f.Detail})
	}
	return out, err
}

// verification is a report in the making.
type verification struct {
	*store.Tx
	Report
	operators map[string]*jwt.OperatorClaims
}

func (v *verification) found(rule Rule, subject, format string, args ...any) {
	v.Findings = append(v.Findings, Finding{rule, subject, fmt.Sprintf(format, args...)})
}

// verifyPage is how many rows are read at once.
const verifyPage = 500

func (v *verification) allOperators(ctx context.Context) error {
	for page := (Page{Limit: verifyPage}); ; {
		list, err := v.ListOperators(ctx, page)
		if err != nil {
			return err
		}
		for _, o := range list {
			if o.JWT == "" {
				continue // its first one waits for the holder of the identity key
			}
			v.Operators++
			c, err := jwt.DecodeOperatorClaims(o.JWT)
			if err != nil || c.Subject != o.ID || c.Issuer != o.ID || c.ID != o.JTI || c.IssuedAt != o.IssuedAt {
				v.found(RuleJWT, o.ID, "The operator's JWT is not what its row says.")
				continue
			}
			v.operators[o.ID] = c
			if o.Custody != CustodySealed {
				continue // the rows are ahead of the JWT until somebody signs elsewhere
			}
			checked, err := operatorIntent(ctx, v.Tx, o)
			if err != nil {
				return err
			}
			if !v.same(checked, c.Issuer, c.IssuedAt, o.JWT, o.Verbatim) {
				v.found(RuleJWT, o.ID, "The operator's JWT is not what its rows make.")
			}
		}
		if len(list) < verifyPage {
			return nil
		}
		last := list[len(list)-1]
		page.AfterName, page.AfterID = last.Name, last.ID
	}
}

// same tells whether the claims, stamped as the JWT is, are the JWT; or say the same as
// one that was signed elsewhere.
func (v *verification) same(checked claims.Checked, by string, issuedAt int64, token string, verbatim bool) bool {
	if verbatim {
		return checked.SameClaims(token)
	}
	u, err := claims.Encode(checked, claims.Stamp{Issuer: by, IssuedAt: issuedAt})
	return err == nil && bytes.HasPrefix([]byte(token), append(u.SigningInput(), '.'))
}

func (v *verification) allAccounts(ctx context.Context) error {
	for last := ""; ; {
		list, err := v.ListServed(ctx, last, verifyPage)
		if err != nil {
			return err
		}
		for _, s := range list {
			a, err := v.GetAccount(ctx, s.AccountID)
			if err == nil {
				err = v.account(ctx, a)
			}
			if err != nil {
				return err
			}
			last = s.AccountID
		}
		if len(list) < verifyPage {
			return nil
		}
	}
}

func (v *verification) account(ctx context.Context, a Account) error {
	v.Accounts++
	c, err := jwt.DecodeAccountClaims(a.JWT)
	if err != nil || c.Subject != a.ID || c.ID != a.JTI || c.IssuedAt != a.IssuedAt || c.Issuer != a.Signer {
		v.found(RuleJWT, a.ID, "The account's JWT is not what its row says.")
		return nil
	}
	vr := jwt.CreateValidationResults()
	if c.Validate(vr); vr.IsBlocking(false) && !a.Verbatim {
		v.found(RuleJWT, a.ID, "A nats-server would refuse the account's JWT.")
	}
	o := v.operators[a.OperatorID]
	if o == nil {
		return nil // its operator is deleted, or waits for its first signature
	}
	// While a new signature is owed, the operator may trust the old signer no more.
	if a.ResignOwed.IsZero() && (!o.DidSign(c) || o.StrictSigningKeyUsage && c.Issuer == o.Subject) {
		v.found(RuleJWT, a.ID, "The account's JWT does not chain to its operator.")
	}
	parts, err := accountParts(ctx, v.Tx, a)
	if err != nil {
		return err
	}
	checked, problems := claims.BuildAccount(parts)
	if a.ResignOwed.IsZero() && (problems.Blocking() || !v.same(checked, c.Issuer, c.IssuedAt, a.JWT, a.Verbatim)) {
		v.found(RuleJWT, a.ID, "The account's JWT is not what its rows make.")
	}
	if !a.ResignOwed.IsZero() && a.Verbatim {
		return nil // what an import revokes beside its JWT comes with the signature that is owed
	}
	return v.revocations(ctx, a, parts.Revocations, c.Revocations)
}

// revocations wants each one that was not lifted in the JWT, or moot.
func (v *verification) revocations(ctx context.Context, a Account, force map[string]int64, signed jwt.RevocationList) error {
	v.Revocations += len(force)
	for subject, before := range force {
		if signed[subject] != before {
			v.found(RuleRevocation, a.ID, "The revocation of %s is not in the account's JWT.", subject)
		}
	}
	compacted, err := v.CompactedRevocations(ctx, a.ID)
	if err != nil || len(compacted) == 0 {
		return err
	}
	whole, err := v.RevokedIssuances(ctx, a.ID, true)
	if err != nil {
		return err
	}
	expired := map[string]bool{}
	for _, x := range whole {
		expired[x.Subject] = x.LastExpiry != 0 && v.Now().Unix() > x.LastExpiry
	}
	for subject, before := range compacted {
		if before > signed[Everybody] && before > signed[subject] && !expired[subject] {
			v.found(RuleRevocation, a.ID, "The revocation of %s was compacted and is not moot.", subject)
		}
	}
	return nil
}

func (v *verification) history(ctx context.Context) error {
	jtis := map[string]bool{}
	var before store.History
	signed := int64(0) // by the change, of the subject
	for {
		list, err := v.ListHistory(ctx, before.Subject, before.Version, verifyPage)
		if err != nil {
			return err
		}
		for _, h := range list {
			v.Versions++
			if h.Subject != before.Subject || !h.SameChange(before) {
				signed = 0
			}
			signed++
			switch {
			case h.Subject != before.Subject && h.Version != 1, h.Subject == before.Subject && h.Version != before.Version+1:
				v.found(RuleHistory, h.Subject, "Version %d does not follow the one before.", h.Version)
			case h.Subject == before.Subject && h.IssuedAt <= before.IssuedAt:
				v.found(RuleHistory, h.Subject, "Version %d is issued no later than the one before.", h.Version)
			case jtis[h.JTI]:
				v.found(RuleHistory, h.Subject, "The jti of version %d comes twice.", h.Version)
			case !h.Intact():
				v.found(RuleHistory, h.Subject, "Version %d is not what was signed.", h.Version)
			case h.Audited < signed:
				v.found(RuleAudit, h.Subject, "Version %d is not on record.", h.Version)
			}
			jtis[h.JTI], before = true, h
		}
		if len(list) < verifyPage {
			return nil
		}
	}
}
