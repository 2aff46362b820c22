package store

import (
	"context"
	"strconv"
)

// AccountFilter narrows a list of accounts; empty fields keep all.
type AccountFilter struct {
	// OperatorID is an identity, State active or suspended, Tag one whole tag.
	OperatorID, State, Tag string
}

// ListedAccount is an account of a list.
type ListedAccount struct {
	Account
	// Users is how many users it has.
	Users int64
}

// SearchAccounts returns a page of the accounts that f keeps, by name, without their
// JWTs.
func (t *Tx) SearchAccounts(ctx context.Context, f AccountFilter, p Page) ([]ListedAccount, error) {
	within, args := p.Bounds.clause("operator_id", "id", "", []any{p.AfterName, p.AfterID, f.OperatorID, p.pattern(), p.Limit, f.State})
	if f.Tag != "" {
		args = append(args, f.Tag)
		within += ` AND ` + t.store.holdsTag(`settings`, `$`+strconv.Itoa(len(args)))
	}
	return many(ctx, t, scanListedAccount, `SELECT `+accountWithoutJWT+`, (SELECT count(*) FROM users u WHERE u.account_id = accounts.id AND u.deleted_us = 0) FROM accounts
		WHERE (name, id) > ($1, $2) AND ($3 = '' OR operator_id = $3) AND lower(name) LIKE lower($4) ESCAPE '\' AND ($6 = '' OR state = $6) AND deleted_us = 0`+within+`
		ORDER BY name, id LIMIT $5`, args...)
}

func scanListedAccount(r row) (ListedAccount, error) {
	var l ListedAccount
	var err error
	l.Account, err = scanAccount(rowWith{r, []any{&l.Users}})
	return l, err
}
