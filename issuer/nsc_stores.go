package issuer

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/claims/nsc"
	"chancery/store"
)

// NSCStore is an operator as files of nsc.
type NSCStore struct {
	// Files are those of nsc's data directory. They hold seeds only where
	// ExportNSCWithSeeds made them.
	Files []nsc.File
	// Accounts, Users and Seeds are how many there are of each.
	Accounts, Users, Seeds int
	// Missing is what could not be written, and why.
	Missing []NSCMissing
}

// NSCMissing is what a store of nsc lacks.
type NSCMissing struct {
	// Account and User name what is missing, both empty for the operator.
	Account, User string
	// Code is stable, Detail a sentence.
	Code, Detail string
}

// ExportNSC returns an operator as a store that nsc reads: its JWT, those of its
// accounts as they are served, and those of users that were kept when they were
// imported; of other users only the holder has the JWT. It holds no seeds, and a JWT that
// alone admits its holder only for a caller who may issue credentials of the operator.
func (i *Issuer) ExportNSC(ctx context.Context, caller Caller, operator string) (NSCStore, error) {
	u := use{permission: ReadAdoption, action: "export", kind: "operator", target: operator}
	return read(ctx, i, caller, u, func(ctx context.Context, d *desk) (NSCStore, error) {
		o, err := findOperator(ctx, d, operator)
		if err != nil {
			return NSCStore{}, err
		}
		x := exporting{work: &work{desk: *d}, issuer: i, operator: o, used: map[string]bool{}}
		x.bearers = caller.Allows(IssueCredentials, Scope{Operator: o.ID})
		return x.all(ctx)
	})
}

// ExportNSCWithSeeds is ExportNSC with the seeds that are sealed here: of the operator,
// its accounts and its templates' keys. It is for a command on the server itself, never
// for the API; it needs a reason, and goes on record.
func (i *Issuer) ExportNSCWithSeeds(ctx context.Context, op Op, operator string) (NSCStore, error) {
	u := use{permission: WriteKeysets, action: "export_seeds", kind: "operator", target: operator}
	out, err := change(ctx, i, op, u, func(ctx context.Context, w *work) (planned[NSCStore], error) {
		var none planned[NSCStore]
		if blank(op.Reason) {
			return none, invalidField("/reason", "required", "Say why the seeds leave: it goes on record.")
		}
		o, err := findOperator(ctx, &w.desk, operator)
		if err != nil {
			return none, err
		}
		if _, err := i.sealer(); err != nil {
			return none, err
		}
		return planned[NSCStore]{target: o.ID, apply: func(ctx context.Context) (NSCStore, error) {
			x := exporting{work: w, issuer: i, operator: o, seeds: true, bearers: true, used: map[string]bool{}}
			return x.all(ctx)
		}}, nil
	})
	return out.Value, err
}

// exporting writes one operator.
type exporting struct {
	*work
	issuer   *Issuer
	operator Operator
	seeds    bool
	// bearers tells that the JWTs are written too that admit whoever has them.
	bearers bool
	out     NSCStore
	into    nsc.Store
	// used are the names of accounts in lower case.
	used map[string]bool
}

func (x *exporting) missing(account, user, code, detail string) {
	x.out.Missing = append(x.out.Missing, NSCMissing{Account: account, User: user, Code: code, Detail: detail})
}

func (x *exporting) all(ctx context.Context) (NSCStore, error) {
	o := x.operator
	token, err := claims.Read(o.JWT)
	if err != nil {
		return x.out, &Error{Kind: KindConflict, Code: "no_jwt", Message: "The operator has no JWT yet.", Hint: "Have it signed first."}
	}
	name := fileName(o.Name, o.ID)
	x.into = nsc.Store{Name: name, Operator: nsc.Operator{Name: name, Token: token}, Keys: map[string]claims.Secret{}}
	if err := x.keysOf(ctx, "", ""); err != nil {
		return x.out, err
	}
	for page := (Page{Limit: verifyPage}); ; {
		list, err := x.ListAccounts(ctx, o.ID, page)
		if err != nil {
			return x.out, err
		}
		for _, a := range list {
			if err := x.account(ctx, a); err != nil {
				return x.out, err
			}
		}
		if len(list) < verifyPage {
			break
		}
		page.AfterName, page.AfterID = list[len(list)-1].Name, list[len(list)-1].ID
	}
	x.out.Seeds = len(x.into.Keys)
	if x.out.Files, err = x.into.Files(); err != nil {
		return x.out, err
	}
	return x.out, nil
}

// fileName returns a name that can be that of a file: the name itself wherever nsc
// could have given it.
func fileName(name, key string) string {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, `/\`) || claims.CheckName("", name).Blocking() && !plainText(name) {
		return tamed(name, key)
	}
	return name
}

func (x *exporting) account(ctx context.Context, a Account) error {
	token, err := claims.Read(a.JWT)
	if err != nil {
		x.missing(a.Name, "", "no_jwt", "The account has no JWT yet.")
		return nil
	}
	c, _ := token.Claims.(*jwt.AccountClaims)
	name := fileName(c.Name, a.ID)
	if x.used[strings.ToLower(name)] { // nsc takes names that differ in case only for one
		name = distinct(name, a.ID)
	}
	x.used[strings.ToLower(name)] = true
	to := nsc.Account{Name: name, Token: token}
	if err := x.keysOf(ctx, a.ID, a.Name); err != nil {
		return err
	}
	if to.Users, err = x.users(ctx, a); err != nil {
		return err
	}
	x.out.Accounts, x.out.Users = x.out.Accounts+1, x.out.Users+len(to.Users)
	x.into.Accounts = append(x.into.Accounts, to)
	return nil
}

// users returns the newest kept JWT of each user, and notes who has none, or a newer
// one that was not kept.
func (x *exporting) users(ctx context.Context, a Account) ([]nsc.User, error) {
	newest := map[string]store.KeptJWT{}
	for after := ""; ; {
		list, err := x.KeptJWTs(ctx, a.ID, after, verifyPage)
		if err != nil {
			return nil, err
		}
		for _, k := range list {
			if known, ok := newest[k.UserID]; !ok || k.IssuedAt >= known.IssuedAt {
				newest[k.UserID] = k
			}
			after = k.ID
		}
		if len(list) < verifyPage {
			break
		}
	}
	var out []nsc.User
	used := map[string]bool{}
	for page := (Page{Limit: verifyPage}); ; {
		list, err := x.ListUsers(ctx, a.ID, page)
		if err != nil {
			return nil, err
		}
		for _, u := range list {
			if user, ok, err := x.user(ctx, a, u, newest[u.ID]); err != nil {
				return nil, err
			} else if ok && !used[user.Name] {
				used[user.Name] = true
				out = append(out, user)
			}
		}
		if len(list) < verifyPage {
			slices.SortFunc(out, func(a, b nsc.User) int { return strings.Compare(a.Name, b.Name) })
			return out, nil
		}
		page.AfterName, page.AfterID = list[len(list)-1].Name, list[len(list)-1].ID
	}
}

func (x *exporting) user(ctx context.Context, a Account, u User, k store.KeptJWT) (nsc.User, bool, error) {
	switch {
	case k.ID == "":
		x.missing(a.Name, u.Name, "no_credentials", "Nothing was issued to the user yet.")
		return nsc.User{}, false, nil
	case k.JWT == "" && len(k.Sealed) == 0 && a.ID == x.operator.Settings.SystemAccount && u.Name == SystemUserName:
		return nsc.User{}, false, nil // of no use to whoever keeps the operator with nsc
	case k.JWT == "" && len(k.Sealed) == 0:
		x.missing(a.Name, u.Name, "held_elsewhere", "Only the holder has the user's JWT: it was not kept here.")
		return nsc.User{}, false, nil
	case len(k.Sealed) > 0 && !x.bearers:
		x.missing(a.Name, u.Name, "bearer", "The user's JWT admits whoever has it: it is written out only for those who may issue credentials.")
		return nsc.User{}, false, nil
	}
	text, err := x.issuer.importedJWT(ctx, x.work, k)
	if err != nil {
		if AsError(err).Kind == KindSealed {
			x.missing(a.Name, u.Name, "sealed", "The user's JWT admits whoever has it and is sealed, and this server cannot open it.")
			return nsc.User{}, false, nil
		}
		return nsc.User{}, false, err
	}
	token, err := claims.Read(text)
	if err != nil {
		return nsc.User{}, false, errors.Join(errors.New("reading a JWT that was kept"), err)
	}
	return nsc.User{Name: fileName(token.Claims.Claims().Name, k.ID), Token: token}, true, nil
}

// keysOf adds the seeds that are sealed here.
func (x *exporting) keysOf(ctx context.Context, accountID, account string) error {
	if !x.seeds {
		return nil
	}
	keys, err := x.ListKeys(ctx, x.operator.ID, accountID)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.State == KeyRetired {
			continue
		}
		if !held(k) {
			x.missing(account, "", "no_seed", "The seed of the key "+k.ID+" is not held here.")
			continue
		}
		open, err := x.issuer.open(ctx, x.work, k)
		if err != nil {
			return err
		}
		seed, err := open.Seed()
		open.Wipe()
		if err != nil {
			return err
		}
		x.into.Keys[k.ID] = claims.NewSecret(string(seed))
		clear(seed)
	}
	return nil
}
