package claims

import "github.com/nats-io/jwt/v2"

// Member is one user of whom Who is asked.
type Member struct {
	// Account and User are names, for whoever reads the answer.
	Account, User string
	UserClaims    *jwt.UserClaims
	AccountClaims *jwt.AccountClaims
}

// Standing is what holds for one member.
type Standing struct {
	Member
	Decision
}

// Who answers Can for every member, in order. Members of one account are best
// given the same AccountClaims: what they have in common is worked out once.
func Who(members []Member, a Action, subject, queue string) ([]Standing, Problems) {
	if problems := checkQuestion(a, subject, queue); len(problems) > 0 {
		return nil, problems
	}
	accounts := map[*jwt.AccountClaims]accountRules{}
	out := make([]Standing, len(members))
	for i, m := range members {
		rules, known := accounts[m.AccountClaims]
		if !known {
			rules = newAccountRules(m.AccountClaims)
			accounts[m.AccountClaims] = rules
		}
		out[i] = Standing{m, rules.effective(m.UserClaims).decide(a, subject, queue)}
	}
	return out, nil
}
