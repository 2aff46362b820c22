package claims

import "strings"

// hasWildcard tells whether a token of s is a wildcard.
func hasWildcard(s string) bool {
	for more := true; more; {
		var token string
		if token, s, more = strings.Cut(s, "."); token == "*" || token == ">" {
			return true
		}
	}
	return false
}

// matches tells whether a permission's pattern matches subject in the way of
// nats-server's Sublist.Match. It takes the wildcards of a subscription for words:
// * matches any of them, > included, so foo.* matches foo.> although the one
// stands for more than the other.
func matches(pattern, subject string) bool {
	for {
		p, patternRest, patternMore := strings.Cut(pattern, ".")
		s, subjectRest, subjectMore := strings.Cut(subject, ".")
		switch {
		case p == ">":
			return true
		case p != "*" && p != s:
			return false
		case !patternMore || !subjectMore:
			return patternMore == subjectMore
		}
		pattern, subject = patternRest, subjectRest
	}
}

// covers tells whether all that subject, which pattern matches, stands for is
// matched by pattern.
func covers(pattern, subject string) bool {
	return !strings.HasSuffix("."+subject, ".>") || strings.HasSuffix("."+pattern, ".>")
}

// overlap tells whether a literal subject can match both patterns.
func overlap(a, b string) bool {
	for {
		x, aRest, aMore := strings.Cut(a, ".")
		y, bRest, bMore := strings.Cut(b, ".")
		switch {
		case x == ">" || y == ">":
			return true
		case x != "*" && y != "*" && x != y:
			return false
		case !aMore || !bMore:
			return aMore == bMore
		}
		a, b = aRest, bRest
	}
}

// inCommon counts the tokens that pattern and subject have in common, place by
// place: equal words, and those that a wildcard matches.
func inCommon(pattern, subject string) (literal, wild int) {
	for patternMore, subjectMore := true, true; patternMore && subjectMore; {
		var p, s string
		p, pattern, patternMore = strings.Cut(pattern, ".")
		s, subject, subjectMore = strings.Cut(subject, ".")
		switch p {
		case "*", ">":
			wild++
		case s:
			literal++
		}
	}
	return literal, wild
}

// queueMatches tells whether a rule's queue pattern names queue, as queueMatches
// and isSubsetMatchTokenized of nats-server do: in a pattern with a wildcard a
// token that merely begins with * matches any word.
func queueMatches(queue, pattern string) bool {
	if queue == pattern {
		return true
	}
	if !hasWildcard(pattern) {
		return false
	}
	for {
		p, patternRest, patternMore := strings.Cut(pattern, ".")
		q, queueRest, queueMore := strings.Cut(queue, ".")
		switch {
		case p == ">":
			return true
		case q == "" || q == ">":
			return false
		case q == "*" && p != "*":
			return false
		case p[0] != '*' && p != q:
			return false
		case !patternMore || !queueMore:
			return patternMore == queueMore
		}
		pattern, queue = patternRest, queueRest
	}
}

// literal is a subject that pattern matches.
func literal(pattern string) string {
	tokens := strings.Split(pattern, ".")
	for i, t := range tokens {
		if t == "*" || t == ">" {
			tokens[i] = anyName
		}
	}
	return strings.Join(tokens, ".")
}

// meet is the pattern for what both of two overlapping patterns match.
func meet(a, b string) string {
	var out []string
	for more := true; more; {
		x, aRest, aMore := strings.Cut(a, ".")
		y, bRest, bMore := strings.Cut(b, ".")
		switch {
		case x == ">":
			return strings.Join(append(out, b), ".")
		case y == ">":
			return strings.Join(append(out, a), ".")
		case x == "*":
			out = append(out, y)
		default:
			out = append(out, x)
		}
		a, b, more = aRest, bRest, aMore && bMore
	}
	return strings.Join(out, ".")
}
