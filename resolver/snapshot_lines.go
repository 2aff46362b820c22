package resolver

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"chancery/store"
)

// A snapshot is text, one record a line, so that whatever is damaged ends at the next
// line and a person can read it:
//
//	<crc> a <operator> <account> <version> <iat> <jwt>     an account
//	<crc> o [{"id":…,"name":…,"default":…,…}]              all operators
//	<crc> m <microseconds>                                 all lines above are on the disk
//	<crc> f <change>                                       followed up to this change
//	<crc> i <offset> <length> <crc> <first account>        a chunk of the base file
//	<crc> e <offset> <length> <journal> <microseconds> <change>   the end of the base file
//
// The checksum is CRC-32C in eight hexadecimal digits, of all that follows the blank
// after it. It finds accidents; against intent stands the signature of each JWT.
const (
	lineAccount   = 'a'
	lineOperators = 'o'
	lineMark      = 'm'
	lineFollowed  = 'f'
	lineIndex     = 'i'
	lineEnd       = 'e'
)

// Where the parts of an account's line are: public keys have one length.
const (
	crcLength     = 8
	keyLength     = 56
	operatorStart = crcLength + len(" a ")
	accountStart  = operatorStart + keyLength + 1
	restStart     = accountStart + keyLength + 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errLine says that a line is damaged.
var errLine = errors.New("the line is damaged")

// appendLine appends a line of the kind; body writes what follows the kind.
func appendLine(to []byte, kind byte, body func([]byte) []byte) []byte {
	begin := len(to)
	to = append(to, "00000000 "...)
	to = append(to, kind, ' ')
	to = body(to)
	putCRC(to[begin:begin+crcLength], crc32.Checksum(to[begin+crcLength+1:], castagnoli))
	return append(to, '\n')
}

func putCRC(to []byte, sum uint32) {
	const digits = "0123456789abcdef"
	for i := range crcLength {
		to[i] = digits[sum>>(28-4*i)&15]
	}
}

func appendAccount(to []byte, s store.Served) []byte {
	return appendLine(to, lineAccount, func(b []byte) []byte {
		b = append(append(b, s.OperatorID...), ' ')
		b = append(append(b, s.AccountID...), ' ')
		b = append(strconv.AppendInt(b, s.Version, 10), ' ')
		b = append(strconv.AppendInt(b, s.IssuedAt, 10), ' ')
		return append(b, s.Token...)
	})
}

// savedOperator is an operator as a snapshot has it: what is public of it.
type savedOperator struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Default  bool   `json:"default,omitempty"`
	Version  int64  `json:"version"`
	IssuedAt int64  `json:"iat"`
	JWT      string `json:"jwt"`
}

func appendOperators(to []byte, list []savedOperator) ([]byte, error) {
	text, err := json.Marshal(list)
	if err != nil {
		return to, fmt.Errorf("writing the operators: %w", err)
	}
	return appendLine(to, lineOperators, func(b []byte) []byte { return append(b, text...) }), nil
}

func numbersLine(kind byte, numbers ...int64) []byte {
	return appendLine(nil, kind, func(b []byte) []byte {
		for i, n := range numbers {
			if i > 0 {
				b = append(b, ' ')
			}
			b = strconv.AppendInt(b, n, 10)
		}
		return b
	})
}

// checkLine returns the kind and the body of a line whose checksum is right. line has
// no line end.
func checkLine(line string) (kind byte, body string, err error) {
	if len(line) < crcLength+3 || line[crcLength] != ' ' || line[crcLength+2] != ' ' {
		return 0, "", errLine
	}
	sum, err := strconv.ParseUint(line[:crcLength], 16, 32)
	if err != nil || uint32(sum) != crc32.Checksum([]byte(line[crcLength+1:]), castagnoli) {
		return 0, "", errLine
	}
	return line[crcLength+1], line[crcLength+3:], nil
}

// parseAccount reads a line whose checksum was found right. The JWT is a part of line
// and copies nothing.
func parseAccount(line string) (store.Served, error) {
	if len(line) <= restStart || line[crcLength+1] != lineAccount {
		return store.Served{}, errLine
	}
	version, rest, _ := strings.Cut(line[restStart:], " ")
	iat, token, ok := strings.Cut(rest, " ")
	s := store.Served{OperatorID: line[operatorStart : operatorStart+keyLength], AccountID: line[accountStart : accountStart+keyLength], Token: token}
	var errV, errI error
	s.Version, errV = strconv.ParseInt(version, 10, 64)
	s.IssuedAt, errI = strconv.ParseInt(iat, 10, 64)
	if !ok || errV != nil || errI != nil {
		return store.Served{}, errLine
	}
	return s, nil
}

func parseOperators(body string) ([]savedOperator, error) {
	var list []savedOperator
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		return nil, errLine
	}
	return list, nil
}

// parseNumbers reads the first n fields of a body as numbers and returns the rest.
func parseNumbers(body string, n int) (out []int64, rest string, err error) {
	for range n {
		var field string
		field, body, _ = strings.Cut(body, " ")
		v, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return nil, "", errLine
		}
		out = append(out, v)
	}
	return out, body, nil
}
