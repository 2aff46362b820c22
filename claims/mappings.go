package claims

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/jwt/v2"
)

// checkMappings returns every problem of an account's subject mappings; /mappings/0
// is the first source in the order of the alphabet. A nats-server refuses what
// nats-io/jwt refuses; what its own AddWeightedMappings refuses besides, it only
// logs, and goes on without that mapping. (A full resolver refuses the push.)
func checkMappings(mappings jwt.Mapping) Problems {
	var out Problems
	for i, source := range slices.Sorted(maps.Keys(mappings)) {
		at := Point("/mappings", i)
		found := checkSharedSubject(at+"/source", source)
		seen := map[jwt.Subject]bool{}
		totals := map[string]int{}
		for j, d := range mappings[source] {
			to := Point(at+"/destinations", j)
			found = append(found, checkDestination(to, source, d)...)
			if seen[d.Subject] {
				found = append(found, blocking(to+"/subject", "duplicate", "A destination may stand once in a mapping, for all clusters together."))
			}
			seen[d.Subject] = true
			totals[d.Cluster] += int(d.GetWeight())
		}
		for cluster, total := range totals {
			if total > 100 {
				where := "The weights of the destinations without a cluster"
				if cluster != "" {
					where = "The weights of the destinations of one cluster"
				}
				found = append(found, refused(at+"/destinations", "too_heavy", where+" add up to more than 100 percent."))
			}
		}
		out = append(out, found...)
	}
	return out
}

func checkDestination(pointer string, source jwt.Subject, d jwt.WeightedMapping) Problems {
	var out Problems
	if d.GetWeight() > 100 {
		out = append(out, refused(pointer+"/weight", "out_of_range", "A weight is a percentage from 1 to 100; 0 means 100."))
	}
	if d.Cluster != "" {
		out = append(out, CheckText(pointer+"/cluster", d.Cluster, MaxTextLength)...)
	}
	refuses := libraryRefuses(d.Subject.Validate)
	if LooksLikeSeed(string(d.Subject)) {
		return append(out, seedIn(pointer+"/subject").server(refuses)...)
	}
	if len(d.Subject) > MaxSubjectLength {
		return append(out, blocking(pointer+"/subject", "too_long", "A subject may have at most 1,024 bytes."))
	}
	if why := transformFault(string(source), string(d.Subject), false); refuses || why != "" {
		if why == "" {
			why = subjectFault(string(d.Subject))
		}
		out = append(out, Problems{blocking(pointer+"/subject", "invalid_destination", why)}.server(refuses)...)
	}
	return out
}

// The functions of a destination that a nats-server knows, with the least and the
// most arguments each takes; -1 is any number.
var destinationFunctions = map[string]struct{ least, most int }{
	"wildcard": {1, 1}, "partition": {1, -1}, "splitfromleft": {2, 2}, "splitfromright": {2, 2}, "slicefromleft": {2, 2},
	"slicefromright": {2, 2}, "split": {2, 2}, "left": {2, 2}, "right": {2, 2}, "random": {1, 1},
}

var destinationRE = regexp.MustCompile(`^\{\{([A-Za-z]+)\((.*)\)\}\}$`)

// placeholder is what a token of a destination stands for.
type placeholder struct {
	// function is wildcard for $1 too, and empty for a plain token.
	function string
	// wildcards are the wildcards of the source that it uses, from 1.
	wildcards []int
}

// transformFault says why a server cannot map subjects of source to destination,
// "" when it can. Reversible is what imports need: only wildcards, and all of them.
// It is nats-server's NewSubjectTransform, but refuses spellings with white space
// and a wildcard 0, which the server takes for the first token.
func transformFault(source, destination string, reversible bool) string {
	from, to := tokensOf(source), tokensOf(destination)
	stars := 0
	for _, t := range from {
		if t == "*" {
			stars++
		}
	}
	if slices.Contains(to, "*") {
		return "Write the wildcards of the source as $1, $2 and so on, not as *."
	}
	if slices.Contains(from, ">") != slices.Contains(to, ">") {
		return "Both subjects must end in >, or neither."
	}
	plain := slices.Clone(to)
	used := 0
	for i, t := range to {
		p, why := readPlaceholder(t)
		if why != "" {
			return why
		}
		if p.function == "" {
			continue
		}
		plain[i] = "x"
		if reversible && p.function != "wildcard" {
			return "An import can use the wildcards $1, $2 and so on, and no other function."
		}
		for _, n := range p.wildcards {
			if n < 1 || n > stars {
				return "The destination uses a wildcard that the source does not have."
			}
		}
		used += len(p.wildcards)
	}
	if reversible && used < stars {
		return "Every * of the subject must appear, as $1, $2 and so on."
	}
	return subjectFault(strings.Join(plain, "."))
}

// readPlaceholder reads one token of a destination.
func readPlaceholder(token string) (placeholder, string) {
	if rest, ok := strings.CutPrefix(token, "$"); ok {
		n, err := strconv.Atoi(rest)
		if err != nil {
			return placeholder{}, "" // $SYS and the like
		}
		return placeholder{"wildcard", []int{n}}, ""
	}
	if !strings.HasPrefix(token, "{{") || !strings.HasSuffix(token, "}}") {
		if strings.ContainsAny(token, "{}") {
			return placeholder{}, "A function of a destination is a whole token, such as {{wildcard(1)}}."
		}
		return placeholder{}, ""
	}
	const known = "The functions of a destination are wildcard, partition, split, splitFromLeft, splitFromRight, sliceFromLeft, sliceFromRight, left, right and random, with numbers as arguments."
	m := destinationRE.FindStringSubmatch(token)
	if m == nil {
		return placeholder{}, known
	}
	name := strings.ToLower(m[1])
	f, ok := destinationFunctions[name]
	args := strings.Split(m[2], ",")
	if !ok || !spelled(m[1], name) || len(args) < f.least || f.most > 0 && len(args) > f.most {
		return placeholder{}, known
	}
	p := placeholder{function: name}
	for i, a := range args {
		if name == "split" && i == 1 {
			break // the delimiter, any text
		}
		n, err := strconv.ParseInt(a, 10, 32)
		if err != nil {
			return placeholder{}, known
		}
		first := name == "partition" || name == "random" // their first argument is a count
		switch {
		case first && i == 0 && n < 1:
			return placeholder{}, "The number of partitions, or of random values, must be at least 1."
		case first && i > 0, !first && i == 0:
			p.wildcards = append(p.wildcards, int(n))
		}
	}
	return p, ""
}

// spelled tells whether a nats-server reads the name: each word of it may start
// with a capital, and nothing else.
func spelled(name, lower string) bool {
	for i := range name {
		if name[i] == lower[i] {
			continue
		}
		start := i == 0
		for _, word := range []string{"from", "left", "right"} {
			start = start || strings.HasPrefix(lower[i:], word)
		}
		if !start {
			return false
		}
	}
	return true
}
