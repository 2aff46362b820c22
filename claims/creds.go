package claims

import (
	"errors"
	"strings"

	"github.com/nats-io/nkeys"
)

// FormatCreds returns the text of a creds file: a user JWT and the seed of its
// key, in the form that nsc writes and every NATS client reads.
func FormatCreds(token string, seed Secret) Secret {
	var b strings.Builder
	b.WriteString("-----BEGIN NATS USER JWT-----\n")
	b.WriteString(token)
	b.WriteString("\n------END NATS USER JWT------\n\n")
	b.WriteString("************************* IMPORTANT *************************\n")
	b.WriteString("NKEY Seed printed below can be used to sign and prove identity.\n")
	b.WriteString("NKEYs are sensitive and should be treated as secrets.\n\n")
	b.WriteString("-----BEGIN USER NKEY SEED-----\n")
	b.WriteString(seed.Reveal())
	b.WriteString("\n------END USER NKEY SEED------\n\n")
	b.WriteString("*************************************************************\n")
	return NewSecret(b.String())
}

// ParseCreds returns the JWT and the seed of a creds file. The error never holds
// a part of the text.
func ParseCreds(text Secret) (token string, seed Secret, err error) {
	token, err = nkeys.ParseDecoratedJWT([]byte(text.Reveal()))
	if err != nil || !strings.HasPrefix(token, "eyJ") {
		return "", Secret{}, errors.New("the creds file holds no user JWT")
	}
	pair, err := nkeys.ParseDecoratedUserNKey([]byte(text.Reveal()))
	if err != nil {
		return "", Secret{}, errors.New("the creds file holds no user seed")
	}
	defer pair.Wipe()
	s, err := pair.Seed()
	if err != nil {
		return "", Secret{}, errors.New("the creds file holds no user seed")
	}
	return token, NewSecret(string(s)), nil
}
