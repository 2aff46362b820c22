package claims

import "strings"

func tokensOf(subject string) []string { return strings.Split(subject, ".") }

// subset tells whether every subject that s stands for is one of those that other
// stands for: nats-server's isSubsetMatch.
func subset(s, other string) bool {
	tokens, test := tokensOf(s), tokensOf(other)
	for i, want := range test {
		if i >= len(tokens) || want == "" {
			return false
		}
		if want == ">" {
			return true
		}
		if have := tokens[i]; have == "" || have == ">" || have == "*" && want != "*" || want[0] != '*' && have != want {
			return false
		}
	}
	return len(tokens) == len(test)
}

// collide tells whether some subject is one of those that a stands for and one of
// those that b stands for: nats-server's SubjectsCollide.
func collide(a, b string) bool {
	if a == b {
		return true
	}
	ta, tb := tokensOf(a), tokensOf(b)
	wildA, endA := wildcards(ta)
	wildB, endB := wildcards(tb)
	switch {
	case !wildA && !wildB:
		return false
	case !wildA:
		return subset(a, b)
	case !wildB:
		return subset(b, a)
	case len(ta) < len(tb) && !endA || len(tb) < len(ta) && !endB:
		return false
	}
	for i := range min(len(ta), len(tb)) {
		x, y := ta[i], tb[i]
		if x == "" || y == "" {
			return false
		}
		if x != y && !strings.ContainsRune("*>", rune(x[0])) && !strings.ContainsRune("*>", rune(y[0])) {
			return false
		}
	}
	return true
}

// wildcards tells whether tokens hold a wildcard, and whether they hold a >.
func wildcards(tokens []string) (wild, open bool) {
	for _, t := range tokens {
		wild = wild || t == "*" || t == ">"
		open = open || t == ">"
	}
	return wild, open
}

// SubjectsMeet tells whether there are subjects that both of two patterns match.
func SubjectsMeet(a, b string) bool { return collide(a, b) }
