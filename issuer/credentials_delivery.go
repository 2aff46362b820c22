package issuer

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nkeys"

	"chancery/claims"
	"chancery/store"
)

// Delivery is how a credential gets to its holder.
type Delivery string

// The deliveries.
const (
	// DeliverInline answers with the credential, once.
	DeliverInline Delivery = "inline"
	// DeliverLink answers with a link that makes the credential when it is used.
	DeliverLink Delivery = "one_time_link"
	// DeliverSealed answers with a text that only the holder of an X-key opens.
	DeliverSealed Delivery = "sealed"
)

// The lifetimes of a link to a credential.
const (
	DefaultLinkTTL = time.Hour
	MaxLinkTTL     = 7 * 24 * time.Hour
)

const (
	// credentialLinkPrefix starts the secret of a link to a credential.
	credentialLinkPrefix = "chy_cred_"
	// linkCredential is the purpose of its row.
	linkCredential = "credential"
)

func (in IssueInput) checkDelivery() claims.Problems {
	wrong := func(pointer, code, detail string) claims.Problems {
		return claims.Problems{{Pointer: pointer, Code: code, Detail: detail, Blocking: true}}
	}
	switch in.Delivery {
	case "", DeliverInline:
	case DeliverLink:
		if in.PublicKey != "" {
			return wrong("/delivery", "contradiction", "A link makes a key; for a key of the holder the answer is no secret, so deliver it inline.")
		}
		if in.LinkTTL < 0 || in.LinkTTL > MaxLinkTTL || in.LinkTTL%time.Second != 0 {
			return wrong("/link_ttl_seconds", "out_of_range", "A link lives at most 604,800 whole seconds, 7 days; without a number, an hour.")
		}
		return nil
	case DeliverSealed:
		if claims.LooksLikeSeed(in.SealTo) || len(in.SealTo) != 56 || !nkeys.IsValidPublicCurveKey(in.SealTo) {
			return wrong("/sealed_to", "invalid_key", "This must be the public X-key of whoever is to open it: 56 characters, starting with X.")
		}
		return nil
	default:
		return wrong("/delivery", "unknown_value", "The deliveries are inline, one_time_link and sealed.")
	}
	if in.SealTo != "" || in.LinkTTL != 0 {
		return wrong("/delivery", "contradiction", "An X-key and a lifetime of the link belong to other deliveries.")
	}
	return nil
}

// seal puts the secrets of a credential into a text that only the holder of the
// request's X-key opens, where that is the delivery. The key that seals is thrown
// away.
func (i *Issuer) seal(out *Issued, in IssueInput) error {
	if in.Delivery != DeliverSealed {
		return nil
	}
	pair, err := nkeys.CreateCurveKeysWithRand(i.rand)
	if err != nil {
		return fmt.Errorf("making a sealing key: %w", err)
	}
	defer pair.Wipe()
	if out.SealedBy, err = pair.PublicKey(); err != nil {
		return fmt.Errorf("making a sealing key: %w", err)
	}
	text := out.Creds
	if text.Empty() {
		text = out.JWT
	}
	sealed, err := pair.SealWithRand([]byte(text.Reveal()), in.SealTo, i.rand)
	if err != nil {
		return fmt.Errorf("sealing a credential: %w", err)
	}
	out.Sealed = base64.StdEncoding.EncodeToString(sealed)
	out.JWT, out.Creds = claims.Secret{}, claims.Secret{}
	return nil
}

// linkBody is what a link keeps: all that the credential is made from, and no secret.
type linkBody struct {
	AccountID   string `json:"account_id"`
	TTL         int64  `json:"ttl_seconds,omitempty"`
	NoExpiry    bool   `json:"no_expiry,omitempty"`
	Occasion    string `json:"occasion,omitempty"`
	DeliveredTo string `json:"delivered_to,omitempty"`
	Reason      string `json:"reason,omitempty"`
}

// putCredentialLink makes the link for a credential of the user.
func (i *Issuer) putCredentialLink(ctx context.Context, w *work, s *issuance, u User, in IssueInput) (Issued, error) {
	out := Issued{Credential: Credential{UserID: u.ID, AccountID: u.AccountID, TemplateID: u.TemplateID, Delivery: string(DeliverLink), DeliveredTo: in.DeliveredTo, Actor: w.op.Caller.ID, RequestID: w.op.RequestID, Created: w.Now()}}
	// What would refuse the credential refuses the link.
	c, err := i.prepare(ctx, w, s, u, in)
	if err != nil {
		return out, err
	}
	if err := w.maySign(ctx, s.account.OperatorID); err != nil {
		return out, err
	}
	if _, err := encode(c.signer, c.checked, c.issuedAt); err != nil {
		return out, err
	}
	raw, err := json.Marshal(linkBody{AccountID: u.AccountID, TTL: int64(in.TTL / time.Second), NoExpiry: in.NoExpiry, Occasion: in.occasion, DeliveredTo: in.DeliveredTo, Reason: w.op.Reason})
	if err != nil {
		return out, fmt.Errorf("encoding a link: %w", err)
	}
	if out.Link, err = i.newSecret(credentialLinkPrefix); err != nil {
		return out, err
	}
	ttl := in.LinkTTL
	if ttl == 0 {
		ttl = DefaultLinkTTL
	}
	l := store.Link{Hash: hashSecret(out.Link.Reveal()), Purpose: linkCredential, PersonID: u.ID, Body: string(raw), CreatedBy: w.op.Caller.ID, Expires: w.Now().Add(ttl)}
	if l.ID, err = w.NewID("lnk_"); err != nil {
		return out, err
	}
	out.LinkExpires = l.Expires
	return out, w.CreateLink(ctx, l)
}

var errCredentialLink = &Error{
	Kind: KindUnauthenticated, Code: "invalid_link", Message: "This link was used, has expired or was withdrawn.",
	Hint: "If you did not use it yourself, tell whoever sent it: somebody else may have. Ask them for a new one.",
}

// LinkedCredential is what a link to a credential is for.
type LinkedCredential struct {
	AccountID, Account, User string
	OperatorID               string
	Expires                  time.Time
}

// PeekCredentialLink tells what a link to a credential is for, and leaves it unused.
// Holding the link is the permission.
func (i *Issuer) PeekCredentialLink(ctx context.Context, link claims.Secret) (LinkedCredential, error) {
	var out LinkedCredential
	if !validSecret(credentialLinkPrefix, link.Reveal()) {
		return out, errCredentialLink
	}
	err := i.store.Read(ctx, func(ctx context.Context, t *store.Tx) error {
		l, err := t.PeekLink(ctx, hashSecret(link.Reveal()))
		if err != nil {
			return err
		}
		a, u, _, err := linked(ctx, t, l)
		out = LinkedCredential{AccountID: a.ID, Account: a.Name, OperatorID: a.OperatorID, User: u.Name, Expires: l.Expires}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = errCredentialLink
	}
	return out, err
}

// linked reads what a link is for; ErrNotFound tells that it is gone.
func linked(ctx context.Context, t *store.Tx, l store.Link) (a Account, u User, body linkBody, err error) {
	if l.Purpose != linkCredential {
		return a, u, body, store.ErrNotFound
	}
	if err := json.Unmarshal([]byte(l.Body), &body); err != nil {
		return a, u, body, fmt.Errorf("reading a link: %w", err)
	}
	if a, err = t.GetAccount(ctx, body.AccountID); err != nil {
		return a, u, body, err
	}
	u, err = t.GetUser(ctx, a.ID, l.PersonID)
	return a, u, body, err
}

// UseCredentialLink uses a link up: the key is made and the credential signed now.
// The ledger names who made the link, the audit log that it was used. Should the
// answer get lost, so is the credential: it is on record and can be revoked.
func (i *Issuer) UseCredentialLink(ctx context.Context, op Op, link claims.Secret) (Issued, LinkedCredential, error) {
	var out Issued
	var what LinkedCredential
	if !validSecret(credentialLinkPrefix, link.Reveal()) {
		return out, what, errCredentialLink
	}
	err := i.store.Write(ctx, func(ctx context.Context, t *store.Tx) error {
		hash := hashSecret(link.Reveal())
		l, err := t.PeekLink(ctx, hash)
		if err != nil {
			return err
		}
		a, _, _, err := linked(ctx, t, l)
		if err != nil {
			return err
		}
		// The lock of the account comes first, as everywhere: what is read after it
		// stays. Whoever withdraws links holds it too.
		if a, err = t.LockAccountForIssue(ctx, a.ID); err != nil {
			return err
		}
		if l, err = t.UseLink(ctx, hash); err != nil {
			return err
		}
		_, u, body, err := linked(ctx, t, l)
		if err != nil {
			return err
		}
		w := &work{desk: desk{Tx: t, use: use{permission: IssueCredentials, action: "issue", kind: "credential", target: u.ID}, at: scopeOf(a)}}
		w.op = Op{Caller: Caller{ID: l.CreatedBy}, RequestID: op.RequestID, Reason: body.Reason}
		what = LinkedCredential{AccountID: a.ID, Account: a.Name, OperatorID: a.OperatorID, User: u.Name, Expires: l.Expires}
		in := IssueInput{TTL: time.Duration(body.TTL) * time.Second, NoExpiry: body.NoExpiry, Delivery: DeliverLink, DeliveredTo: body.DeliveredTo, occasion: body.Occasion}
		s, err := newIssuance(ctx, w, a)
		if err != nil {
			return err
		}
		if _, err := i.planIssueBy(ctx, w, s, u, in); err != nil {
			return err
		}
		if out, err = i.issueNow(ctx, w, s, u, in); err != nil {
			return err
		}
		w.op.Caller = Caller{ID: "link/" + l.ID, Kind: CallerLink}
		return w.audit(ctx, w.use, Plan{})
	})
	if errors.Is(err, store.ErrNotFound) {
		err = errCredentialLink
	}
	if err != nil {
		return Issued{}, LinkedCredential{}, err
	}
	i.wake()
	return out, what, nil
}
