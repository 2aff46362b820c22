package issuer

import (
	"context"
	"runtime"
	"sync"

	"chancery/claims"
	"chancery/custody"
	"chancery/store"
)

// BulkBatch is how many users one call of CreateUsers takes: one transaction makes
// them, with one entry in the audit log.
const BulkBatch = 500

// BulkResult is what became of one user of a batch.
type BulkResult struct {
	// UserWithCredential is the user, and what was issued if it was asked for.
	UserWithCredential
	// Err is why there is neither; the other users of the batch do not mind.
	Err error
}

// CreateUsers makes up to BulkBatch users of one account, and their credentials where
// they are asked for, and returns a result for each in order. A user that cannot be
// made is left out: its result says why, with code already_issued if this very key
// was issued to a user of that name before, so that a batch whose answer got lost can
// be sent again. An idempotency key only goes on record.
func (i *Issuer) CreateUsers(ctx context.Context, op Op, account string, users []UserInput) ([]BulkResult, error) {
	op.Fingerprint, op.ExpectedVersion = nil, 0
	if len(users) > BulkBatch {
		return nil, invalidField("", "too_many", "One batch has at most 500 users.")
	}
	for n := range users {
		if err := i.withProof(ctx, op.Caller, users[n].Issue); err != nil {
			return nil, err
		}
	}
	u := use{permission: WriteUsers, action: "create", kind: "users", target: account}
	out, err := change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[[]BulkResult], error) {
		var none planned[[]BulkResult]
		if err := w.alsoNeeds(IssueCredentials); err != nil {
			return none, err
		}
		b, err := i.newBulk(ctx, w, account, users)
		if err != nil {
			return none, err
		}
		for n := range users {
			b.results[n].Err = b.plan(ctx, n)
		}
		b.sign(ctx, w.op.DryRun)
		made, err := b.made()
		if err != nil {
			return none, err
		}
		plan := Plan{Changes: []Change{{Path: "/users", To: made}}}
		return planned[[]BulkResult]{preview: b.results, target: b.account.ID, plan: plan, apply: func(ctx context.Context) ([]BulkResult, error) {
			return b.results, b.store(ctx)
		}}, nil
	})
	return out.Value, err
}

// bulk is a batch in progress.
type bulk struct {
	*issuance
	i       *Issuer
	w       *work
	users   []UserInput
	results []BulkResult
	// credentials has one for each user that gets one now, by its place.
	credentials []*credential
	existing    map[string]User
	histories   map[string]store.KeyHistory
	// byRef has the templates by what the request calls them.
	byRef       map[string]*Template
	names, held map[string]bool
	signers     map[string]custody.Signer
	// there is how many users the account had before, if a quota asks.
	there int64
	// added tells that the account got a key of a shared template.
	added bool
}

func (i *Issuer) newBulk(ctx context.Context, w *work, account string, users []UserInput) (*bulk, error) {
	a, err := lockAccount(ctx, w, account)
	if err != nil {
		return nil, err
	}
	s, err := newIssuance(ctx, w, a)
	if err != nil {
		return nil, err
	}
	b := &bulk{
		issuance: s, i: i, w: w, users: users, results: make([]BulkResult, len(users)), credentials: make([]*credential, len(users)),
		existing: map[string]User{}, byRef: map[string]*Template{}, names: map[string]bool{}, held: map[string]bool{}, signers: map[string]custody.Signer{},
	}
	if s.levels.Most(claims.QuotaUsers) >= 0 {
		if b.there, err = w.CountForQuota(ctx, claims.QuotaUsers, a.ID); err != nil {
			return nil, err
		}
	}
	var names, keys []string
	for _, in := range users {
		names = append(names, in.Name)
		if in.Issue != nil && in.Issue.PublicKey != "" {
			keys = append(keys, in.Issue.PublicKey)
		}
	}
	known, err := w.UsersNamed(ctx, a.ID, names)
	if err != nil {
		return nil, err
	}
	for _, u := range known {
		b.existing[u.Name] = u
	}
	b.histories, err = w.KeyHistories(ctx, a.ID, keys)
	return b, err
}

// plan checks the user at place n and works out its credential, as far as that needs
// the database.
func (b *bulk) plan(ctx context.Context, n int) error {
	in, w := b.users[n], b.w
	u := User{
		AccountID: b.account.ID, Name: in.Name, Permissions: in.Permissions, Tags: claims.NormalizeTags(in.Tags),
		State: "active", Version: 1, Created: w.Now(), Updated: w.Now(),
	}
	if err := checkOwn(u, in.Template); err != nil {
		return err
	}
	if err := b.free(in); err != nil {
		return err
	}
	template, err := b.templateByRef(ctx, in.Template)
	if err != nil {
		return err
	}
	if template != nil {
		u.TemplateID = template.ID
	}
	if _, err := checkUse(b.account, u, template); err != nil {
		return err
	}
	if problems := b.checkUser(b.account, u, template); problems.Blocking() {
		return invalid(problems)
	}
	if problems := b.levels.CheckQuota("", claims.QuotaUsers, b.there+int64(len(b.names))+1); problems.Blocking() {
		return invalid(problems)
	}
	if u.ID, err = w.NewID("usr_"); err != nil {
		return err
	}
	if in.Issue != nil {
		problems := append(in.Issue.check(b.terms, template, w.op.Reason), b.levels.CheckQuota("", claims.QuotaCredentials, 1)...)
		if problems.Blocking() {
			return invalid(problems)
		}
		if b.credentials[n], err = b.begin(ctx, u, *in.Issue); err != nil {
			return err
		}
		b.held[in.Issue.PublicKey] = true
	}
	b.names[in.Name] = true
	b.results[n].User = u
	return nil
}

// made counts the users that can be made. What is wrong with the process and not with
// one user ends the batch.
func (b *bulk) made() (int, error) {
	n := 0
	for _, r := range b.results {
		if r.Err == nil {
			n++
			continue
		}
		if k := AsError(r.Err).Kind; k == KindInternal || k == KindBusy || k == KindSealed {
			return 0, r.Err
		}
	}
	return n, nil
}

// free refuses a name, or a key, that is taken, in the database or in this batch.
func (b *bulk) free(in UserInput) error {
	key := ""
	if in.Issue != nil {
		key = in.Issue.PublicKey
	}
	if u, taken := b.existing[in.Name]; taken {
		if key != "" && b.histories[key].UserID == u.ID {
			return &Error{
				Kind: KindConflict, Code: "already_issued", Message: "The user exists, and credentials were issued to this very key.",
				Hint: "There is nothing to do. To get a JWT again, renew it.",
			}
		}
		return orTaken(store.ErrExists, "user")
	}
	if b.names[in.Name] {
		return orTaken(store.ErrExists, "user")
	}
	if key != "" && b.held[key] {
		return &Error{Kind: KindConflict, Code: "key_in_use", Message: "Another user of this batch has the same public key.", Hint: "Every user needs a key of its own: a revocation names the key."}
	}
	return nil
}

func (b *bulk) templateByRef(ctx context.Context, ref string) (*Template, error) {
	if ref == "" {
		return nil, b.w.whole(scopeOf(b.account))
	}
	if x, ok := b.byRef[ref]; ok {
		return x, nil
	}
	x, err := usableTemplate(ctx, &b.w.desk, b.account, ref)
	if err != nil {
		return nil, orNoTemplate(err)
	}
	added, err := b.i.carry(ctx, b.w, b.account, x)
	if err != nil {
		return nil, err
	}
	if added {
		b.added = true
		if b.keys, err = b.w.ListKeys(ctx, b.account.OperatorID, b.account.ID); err != nil {
			return nil, err
		}
	}
	b.byRef[ref], b.templates[x.ID] = &x, &x
	return &x, nil
}

// begin is the part of preparing a credential that a batch does one by one: whether
// it may be, and opening its signer. The rest needs no database.
func (b *bulk) begin(ctx context.Context, u User, in IssueInput) (*credential, error) {
	c := &credential{user: u, origin: "generated"}
	if err := b.admits(u); err != nil {
		return nil, err
	}
	if in.PublicKey != "" {
		full, err := b.prepareFor(ctx, b.w, u, in, b.histories[in.PublicKey])
		if err != nil {
			return nil, err
		}
		c = &full
	} else if _, err := b.template(ctx, b.w, u); err != nil {
		return nil, err
	}
	key, err := current(b.keys, u.TemplateID)
	if err != nil {
		return nil, err
	}
	if _, open := b.signers[key.ID]; open {
		return c, nil
	}
	if err := b.w.maySign(ctx, key.OperatorID); err != nil {
		return nil, err
	}
	signer, err := b.i.signerFor(ctx, b.w, key)
	if err != nil {
		return nil, err
	}
	b.signers[key.ID] = signer
	return c, nil
}

// sign makes the keys and JWTs of the batch on several processors; a dry run comes as
// far as what would be signed.
func (b *bulk) sign(ctx context.Context, dryRun bool) {
	const most = 4
	places := make(chan int)
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), most) {
		workers.Go(func() {
			for n := range places {
				if err := b.signOne(ctx, n, dryRun); err != nil {
					b.results[n] = BulkResult{Err: err}
				}
			}
		})
	}
	for n, c := range b.credentials {
		if c != nil && b.results[n].Err == nil {
			places <- n
		}
	}
	close(places)
	workers.Wait()
}

// signOne touches nothing but the place n, and the database not at all: templates and
// signers are at hand.
func (b *bulk) signOne(ctx context.Context, n int, dryRun bool) (err error) {
	c, in := b.credentials[n], *b.users[n].Issue
	if c.public == "" {
		if c.public, c.seed, err = b.i.newUserKey(); err != nil {
			return err
		}
		if err := b.complete(ctx, b.w, c, in, 0); err != nil {
			return err
		}
	}
	if dryRun || in.Delivery == DeliverLink {
		_, err := encode(c.signer, c.checked, c.issuedAt)
		return err
	}
	signed, err := signWith(ctx, b.signers[c.signer.ID], c.signer, c.checked, c.issuedAt)
	if err != nil {
		return err
	}
	issued, err := c.issued(b.w, in, signed)
	if err != nil {
		return err
	}
	b.results[n].Issued = &issued
	return nil
}

// store writes users and ledger. The secrets are sealed last.
func (b *bulk) store(ctx context.Context) error {
	var users []User
	var ledger []Credential
	var last int64
	for _, r := range b.results {
		if r.Err != nil {
			continue
		}
		users = append(users, r.User)
		if r.Issued != nil {
			ledger = append(ledger, r.Issued.Credential)
			last = max(last, r.Issued.IssuedAt)
		}
	}
	if b.added {
		if _, err := b.i.resign(ctx, b.w, b.account.ID); err != nil {
			return err
		}
	}
	if err := b.w.CreateUsers(ctx, users); err != nil {
		return orTaken(err, "user")
	}
	if err := b.w.CreateCredentials(ctx, ledger); err != nil {
		return err
	}
	if err := b.w.SetLastUserIAT(ctx, b.account.ID, last); err != nil {
		return err
	}
	for n := range b.results {
		r := &b.results[n]
		if in := b.users[n].Issue; r.Err == nil && in != nil {
			if err := b.deliver(ctx, r, *in); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bulk) deliver(ctx context.Context, r *BulkResult, in IssueInput) error {
	if in.Delivery != DeliverLink {
		return b.i.seal(r.Issued, in)
	}
	issued, err := b.i.putCredentialLink(ctx, b.w, b.issuance, r.User, in)
	r.Issued = &issued
	return err
}
