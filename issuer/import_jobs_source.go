package issuer

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/claims/nsc"
)

// The bounds of one import.
const (
	MaxImportedAccounts = 20_000
	MaxImportedUsers    = 500_000
	// importProblems is how many problems of one account a report lists.
	importProblems = 20
)

// source is an archive as it was read. It holds seeds, in claims.Secret only, and does
// not change.
type source struct {
	sum       [sha256.Size]byte
	operators []*sourceOperator
	problems  []ImportProblem
	// total counts operators, accounts and users.
	total int64
}

// sourceOperator is an operator of the archive.
type sourceOperator struct {
	ImportedOperator
	token  claims.Token
	claims *jwt.OperatorClaims
	// seeds are those of all keys that the operator's JWTs name.
	seeds    map[string]claims.Secret
	accounts []*sourceAccount
}

// sourceAccount is an account of the archive with the JWT that counts.
type sourceAccount struct {
	ImportedAccount
	token  claims.Token
	claims *jwt.AccountClaims
	// revoked is the union of what store and servers revoke.
	revoked map[string]int64
	users   []sourceUser
}

// sourceUser is a user of the archive.
type sourceUser struct {
	name   string
	token  string
	claims *jwt.UserClaims
	// foreign tells that it is not signed by a key of the account as a server wants it.
	foreign bool
	// bearer tells that the JWT alone admits its holder.
	bearer bool
}

// readSource reads an archive and checks all that needs no database.
func readSource(archive []byte, now time.Time) (*source, error) {
	a, err := nsc.Open(archive)
	if refused, ok := errors.AsType[*nsc.ArchiveError](err); ok {
		return nil, invalidField("/archive", refused.Code, refused.Detail)
	}
	if err != nil {
		return nil, invalidField("/archive", "invalid_archive", claims.Sentence(err))
	}
	names, err := nsc.Operators(a.Stores)
	if err != nil || len(names) == 0 {
		return nil, invalidField("/archive", "no_store", "The archive holds no store of nsc: a directory stores with a directory for each operator.")
	}
	r := &sourceReader{source: &source{sum: sha256.Sum256(archive)}, archive: a, now: now, accounts: map[string]bool{}, keys: map[string]string{}, usedServers: map[string]bool{}}
	for _, name := range names {
		s, err := nsc.Read(a.Dirs, name)
		if err != nil {
			return nil, invalidField("/archive", "no_store", claims.Sentence(err))
		}
		if err := r.operator(s); err != nil {
			return nil, err
		}
	}
	for _, p := range a.Problems[:min(len(a.Problems), importProblems)] {
		r.source.problems = append(r.source.problems, ImportProblem{Path: p.Path, Code: p.Code, Detail: p.Detail, LeftOut: p.LeftOut})
	}
	if err := r.onServersOnly(); err != nil {
		return nil, err
	}
	for _, o := range r.source.operators {
		r.source.total += int64(1 + len(o.accounts))
		for _, x := range o.accounts {
			r.source.total += int64(len(x.users))
		}
	}
	return r.source, nil
}

// sourceReader fills a source.
type sourceReader struct {
	source  *source
	archive *nsc.Archive
	now     time.Time
	// accounts are those that were taken, keys the signing keys with whose they are.
	accounts    map[string]bool
	keys        map[string]string
	usedServers map[string]bool
	users       int
}

func (r *sourceReader) operator(s *nsc.Store) error {
	o := &sourceOperator{token: s.Operator.Token, claims: s.Operator.Claims(), seeds: s.Keys}
	o.Name, o.Store, o.Managed, o.SeedsFound, o.SeedsMissing = s.Name, shownName(s.Name), s.Managed, len(s.Keys), len(s.Missing)
	for _, p := range s.Problems {
		o.Problems = append(o.Problems, ImportProblem{Path: p.Path, Code: p.Code, Detail: p.Detail, LeftOut: p.LeftOut})
	}
	r.source.operators = append(r.source.operators, o)
	if fault := r.operatorFault(o); fault.Code != "" {
		o.leave(fault)
		return nil
	}
	c := o.claims
	o.ID, o.Strict, o.SystemAccount = c.Subject, c.StrictSigningKeyUsage, c.SystemAccount
	o.Name = tamed(c.Name, c.Subject)
	if o.Name != c.Name {
		o.Problems = append(o.Problems, renamed())
	}
	o.Unknown = bounds(o.token.Unknown)
	_, o.IdentitySeed = o.seeds[c.Subject]
	for _, id := range c.SigningKeys {
		_, found := o.seeds[id]
		o.SigningKeys = append(o.SigningKeys, ImportedKey{ID: id, Seed: found})
	}
	for _, a := range s.Accounts {
		if err := r.account(o, a); err != nil {
			return err
		}
	}
	return nil
}

// operatorFault says why an operator of the archive cannot be taken in.
func (r *sourceReader) operatorFault(o *sourceOperator) ImportProblem {
	c := o.claims
	switch {
	case c == nil:
		return left("missing_operator", "The operator's JWT is not there or cannot be read.")
	case !claims.IsPublicKey(claims.KindOperator, c.Subject):
		return left("invalid_key", "The operator's JWT is not about an operator.")
	case c.Issuer != c.Subject:
		return left("wrong_signer", "Only the identity key itself may sign an operator's JWT; another key signed this one.")
	case c.IssuedAt <= 0 || c.IssuedAt > r.now.Unix()+claims.MaxClockLead:
		return left("in_the_future", "The operator's JWT is issued in the future, or at no time: look at the clock of the machine that signed it.")
	case !plainText(c.ID):
		return left("invalid_jti", "The jti of the operator's JWT is no plain text.")
	case slices.ContainsFunc(c.SigningKeys, func(k string) bool { return !claims.IsPublicKey(claims.KindOperator, k) || k == c.Subject }):
		return left("invalid_key", "One of the operator's signing keys is none.")
	case slices.ContainsFunc(r.source.operators[:len(r.source.operators)-1], func(x *sourceOperator) bool { return x.ID == c.Subject }):
		return left("duplicate_key", "Another store of the archive is of the same operator.")
	}
	return ImportProblem{}
}

// account takes in an account of a store, or what a server holds of it if that is
// newer.
func (r *sourceReader) account(o *sourceOperator, a nsc.Account) error {
	c := a.Claims()
	x := &sourceAccount{token: a.Token, claims: c}
	x.From, x.Name = FromStore, shownName(a.Name)
	o.accounts = append(o.accounts, x)
	if len(o.accounts) > MaxImportedAccounts {
		return invalidField("/archive", "too_many", "A store may have 20,000 accounts at most.")
	}
	trusted := o.trusts(c)
	if trusted {
		x.revoked = maps.Clone(c.Revocations)
	}
	if server, ok := r.server(o, c.Subject); ok {
		if !trusted || server.Claims.Claims().IssuedAt > c.IssuedAt || server.Claims.Claims().IssuedAt == c.IssuedAt && server.Text != a.Token.Text {
			x.take(server, FromServer)
		}
		for subject, at := range accountClaims(server).Revocations {
			if x.revoked == nil {
				x.revoked = map[string]int64{}
			}
			x.revoked[subject] = max(x.revoked[subject], at)
		}
	} else if !trusted {
		x.ID = c.Subject
		x.leave(untrusted(o, c))
		return nil
	}
	r.accept(o, x)
	return r.usersOf(x, a, o.Strict)
}

func (x *sourceAccount) take(t claims.Token, from ImportedFrom) {
	x.token, x.claims, x.From = t, accountClaims(t), from
}

func accountClaims(t claims.Token) *jwt.AccountClaims {
	c, _ := t.Claims.(*jwt.AccountClaims)
	return c
}

// trusts tells whether a nats-server that trusts the operator would take the account.
func (o *sourceOperator) trusts(c *jwt.AccountClaims) bool {
	return trusts(o.claims, c)
}

func untrusted(o *sourceOperator, c *jwt.AccountClaims) ImportProblem {
	switch c.Issuer {
	case c.Subject:
		return left("self_signed", "The account is signed by itself; no nats-server accepts it until the operator has signed it.")
	case o.ID:
		return left("not_trusted", "The operator accepts its signing keys only, and this account is signed by its identity key. Have nsc sign it anew (nsc edit account) and pack the store again.")
	}
	return left("not_trusted", "The account is signed by a key that is none of the operator's.")
}

// server returns what a server holds of an account, if the operator vouches for it.
func (r *sourceReader) server(o *sourceOperator, id string) (claims.Token, bool) {
	text, ok := r.archive.Servers[id]
	if !ok {
		return claims.Token{}, false
	}
	t, err := claims.Read(text)
	if err != nil {
		r.serverProblem(id, "invalid_jwt", "The JWT cannot be read: "+err.Error()+".")
		return claims.Token{}, false
	}
	c := accountClaims(t)
	if c == nil || c.Subject != id || !o.trusts(c) {
		return claims.Token{}, false // another operator may vouch for it
	}
	r.usedServers[id] = true
	return t, true
}

func (r *sourceReader) serverProblem(id, code, detail string) {
	if len(r.source.problems) < importProblems {
		r.source.problems = append(r.source.problems, ImportProblem{Path: "servers/" + shownName(id) + ".jwt", Code: code, Detail: detail, LeftOut: true})
	}
	r.usedServers[id] = true
}

// onServersOnly takes in the accounts that servers hold and no store has.
func (r *sourceReader) onServersOnly() error {
	for _, id := range slices.Sorted(maps.Keys(r.archive.Servers)) {
		for _, o := range r.source.operators {
			if o.State == ImportLeftOut || r.usedServers[id] || r.accounts[id] {
				continue
			}
			t, ok := r.server(o, id)
			if !ok {
				continue
			}
			x := &sourceAccount{}
			x.take(t, FromServer)
			x.revoked = maps.Clone(x.claims.Revocations)
			o.accounts = append(o.accounts, x)
			if len(o.accounts) > MaxImportedAccounts {
				return invalidField("/archive", "too_many", "A store may have 20,000 accounts at most.")
			}
			r.accept(o, x)
		}
		if !r.usedServers[id] {
			r.serverProblem(id, "not_trusted", "No operator of the archive vouches for what the servers hold of this account.")
		}
	}
	return nil
}

// accept checks what an account's rows will be made of.
func (r *sourceReader) accept(o *sourceOperator, x *sourceAccount) {
	c := x.claims
	x.ID, x.IssuedAt, x.System = c.Subject, c.IssuedAt, c.Subject == o.SystemAccount
	if x.Name = tamed(c.Name, c.Subject); x.Name != c.Name {
		x.Problems = append(x.Problems, renamed())
	}
	x.Unknown = bounds(x.token.Unknown)
	if fault := r.accountFault(c); fault.Code != "" {
		x.leave(fault)
		return
	}
	if other := slices.IndexFunc(o.accounts, func(y *sourceAccount) bool { return y != x && y.State != ImportLeftOut && y.Name == x.Name }); other >= 0 {
		x.Name = distinct(x.Name, x.ID)
		x.Problems = append(x.Problems, ImportProblem{Code: "name_taken", Detail: "Another account of the operator has the same name; here this one has the end of its key in its name. Its JWT stays as it is."})
	}
	r.accounts[x.ID] = true
	_, x.IdentitySeed = o.seeds[x.ID]
	x.Templates, x.SigningKeys = roles(c), len(c.SigningKeys)
	for k := range c.SigningKeys {
		r.keys[k] = x.ID
		if _, found := o.seeds[k]; found {
			x.SigningSeeds++
		}
	}
	if c.Expires > 0 && r.now.Unix() > c.Expires {
		x.Problems = append(x.Problems, ImportProblem{Code: "expired", Detail: "The account's JWT has expired: servers refuse its users. It is taken in as it is."})
	}
}

// accountFault says why an account cannot be taken in.
func (r *sourceReader) accountFault(c *jwt.AccountClaims) ImportProblem {
	switch {
	case !claims.IsPublicKey(claims.KindAccount, c.Subject):
		return left("invalid_key", "The JWT is not about an account.")
	case r.accounts[c.Subject] || r.keys[c.Subject] != "":
		return left("duplicate_key", "Another account of the archive has the same key.")
	case c.IssuedAt <= 0 || c.IssuedAt > r.now.Unix()+claims.MaxClockLead:
		return left("in_the_future", "The JWT is issued in the future, or at no time: look at the clock of the machine that signed it.")
	case !plainText(c.ID):
		return left("invalid_jti", "The jti of the JWT is no plain text.")
	}
	if !sound(c) {
		return left("invalid_sharing", "The account has an empty export or import, or exports one subject twice; servers refuse it.")
	}
	for k := range c.SigningKeys {
		if !claims.IsPublicKey(claims.KindAccount, k) {
			return left("invalid_key", "One of the account's signing keys is none.")
		}
		if r.keys[k] != "" || r.accounts[k] || k == c.Subject {
			return left("duplicate_key", "One of the account's signing keys is also a key of something else.")
		}
	}
	for subject, before := range c.Revocations {
		if subject != Everybody && !claims.IsPublicKey(claims.KindUser, subject) || before < 0 || before > r.now.Add(farFuture).Unix() {
			return left("invalid_revocation", "A revocation of the account names no user, or a time far in the future.")
		}
	}
	return ImportProblem{}
}

// sound tells whether exports and imports can be rows.
func sound(c *jwt.AccountClaims) bool {
	type place struct {
		kind    jwt.ExportType
		subject jwt.Subject
	}
	seen := map[place]bool{}
	for _, e := range c.Exports {
		if e == nil || seen[place{e.Type, e.Subject}] || !storableText(string(e.Subject)) {
			return false
		}
		seen[place{e.Type, e.Subject}] = true
	}
	return !slices.ContainsFunc(c.Imports, func(m *jwt.Import) bool {
		return m == nil || !storableText(string(m.Subject)) || !claims.IsPublicKey(claims.KindAccount, m.Account)
	})
}

// storableText tells whether a database keeps the text as it is.
func storableText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// farFuture bounds times that later ones have to follow.
const farFuture = 10 * 365 * 24 * time.Hour

// admits tells whether a server takes the user for one of the account, its times and
// revocations aside.
func admits(a *jwt.AccountClaims, u *jwt.UserClaims, strict bool) bool {
	if u.Issuer == a.Subject {
		return !strict
	}
	scope, known := a.SigningKeys[u.Issuer]
	return known && (scope == nil || scope.ValidateScopedSigner(u) == nil)
}

func (r *sourceReader) usersOf(x *sourceAccount, a nsc.Account, strict bool) error {
	if x.State == ImportLeftOut {
		return nil
	}
	names := map[string]bool{}
	for _, u := range a.Users {
		c := u.Claims()
		if fault := r.userFault(x, c); fault != "" {
			x.problem("user_left_out", "A user is left out: "+fault)
			continue
		}
		name := tamed(c.Name, c.Subject)
		if names[name] {
			name = distinct(name, c.Subject)
		}
		if names[name] {
			x.problem("user_left_out", "A user is left out: another one has its name and its key.")
			continue
		}
		names[name] = true
		if name != c.Name {
			x.problem("name_changed", "A user is called otherwise here, since its name is none or taken. Its JWT stays as it is.")
		}
		s := sourceUser{name: name, token: u.Token.Text, claims: c, foreign: !admits(x.claims, c, strict), bearer: c.BearerToken}
		if scope, ok := x.claims.SigningKeys[c.Issuer].(*jwt.UserScope); ok {
			s.bearer = scope.Template.BearerToken
		}
		x.users = append(x.users, s)
		r.count(x, s)
	}
	if r.users += len(x.users); r.users > MaxImportedUsers {
		return invalidField("/archive", "too_many", "A store may have 500,000 users at most.")
	}
	return nil
}

func (r *sourceReader) userFault(x *sourceAccount, c *jwt.UserClaims) string {
	switch {
	case !claims.IsPublicKey(claims.KindUser, c.Subject):
		return "its JWT is not about a user."
	case c.IssuerAccount != "" && c.IssuerAccount != x.ID, c.IssuerAccount == "" && c.Issuer != x.ID:
		return "its JWT is of another account."
	case c.IssuedAt <= 0 || c.IssuedAt > r.now.Add(farFuture).Unix():
		return "its JWT is issued far in the future, or at no time."
	case !plainText(c.ID) || !claims.IsPublicKey(claims.KindAccount, c.Issuer):
		return "its jti is no plain text, or its issuer no account."
	}
	return ""
}

func (r *sourceReader) count(x *sourceAccount, u sourceUser) {
	x.Users++
	if u.foreign {
		x.problem("user_not_trusted", "A user is not signed by a key of its account; no nats-server lets it in. It is taken in as a disabled user.")
	}
	if u.claims.Expires > 0 && r.now.Unix() > u.claims.Expires {
		x.Expired++
	}
	if u.claims.IssuedAt <= max(x.revoked[u.claims.Subject], x.revoked[Everybody]) {
		x.Revoked++
	}
	if u.bearer {
		x.Bearer++
	}
}

// problem adds one, and counts what repeats.
func (x *sourceAccount) problem(code, detail string) {
	for n := range x.Problems {
		if x.Problems[n].Code == code && x.Problems[n].Detail == detail {
			x.Problems[n].Count++
			return
		}
	}
	if len(x.Problems) < importProblems {
		x.Problems = append(x.Problems, ImportProblem{Code: code, Detail: detail, Count: 1})
	}
}

func left(code, detail string) ImportProblem {
	return ImportProblem{Code: code, Detail: detail, LeftOut: true}
}

func renamed() ImportProblem {
	return ImportProblem{Code: "name_changed", Detail: "The name in the JWT cannot be a name here, so it is called otherwise. Its JWT stays as it is."}
}

func (o *ImportedOperator) leave(p ImportProblem) {
	o.State, o.Problems = ImportLeftOut, append(o.Problems, p)
}

func (a *ImportedAccount) leave(p ImportProblem) {
	a.State, a.Problems = ImportLeftOut, append(a.Problems, p)
}

// roles returns the roles of the scoped signing keys, sorted and fit to be shown.
func roles(c *jwt.AccountClaims) []string {
	var out []string
	for _, scope := range c.SigningKeys {
		if s, ok := scope.(*jwt.UserScope); ok {
			out = append(out, shownName(s.Role))
		}
	}
	slices.Sort(out)
	return bounds(slices.Compact(out))
}

// bounds keeps a list for a report short.
func bounds(list []string) []string {
	if len(list) > importProblems {
		more := len(list) - importProblems
		list = append(slices.Clone(list[:importProblems]), fmt.Sprintf("and %d more", more))
	}
	return list
}

// shownName makes text of a JWT or a file fit to be shown.
func shownName(s string) string { return bounded(strings.ToValidUTF8(s, "\ufffd")) }

// plainText tells whether s can be stored and shown as it is.
func plainText(s string) bool {
	return len(s) <= 128 && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) && !claims.LooksLikeSeed(s)
}

// tamed returns what an object with a name from elsewhere is called here: the name, if
// it can be one, or else what is left of it and the end of its key.
func tamed(name, key string) string {
	if !claims.CheckName("/name", name).Blocking() {
		return name
	}
	var out []rune
	if !claims.LooksLikeSeed(name) && !claims.LooksLikeKey(name) {
		for _, r := range strings.ToValidUTF8(name, "") {
			if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_.@", r) {
				out = append(out, r)
			}
		}
	}
	for n := min(len(out), 48); ; n /= 2 {
		if s := distinct(string(out[:n]), key); !claims.CheckName("/name", s).Blocking() || n == 0 {
			return s
		}
	}
}

// distinct returns the name with the end of a key.
func distinct(name, key string) string {
	end := strings.ToLower(key[max(0, len(key)-8):])
	if name == "" {
		return "imported-" + end
	}
	if r := []rune(name); len(r) > 54 {
		name = string(r[:54])
	}
	return name + "-" + end
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
