package claims

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// CalloutAudience is the audience of every auth callout request.
const CalloutAudience = "nats-authorization-request"

// MaxCalloutRequest is the longest auth callout request in bytes that is read. What
// a client can put into one is bounded by max_control_line, 4,096 by default, and by
// the certificates of its TLS handshake.
const MaxCalloutRequest = 256 * 1024

// Errors of ReadCalloutRequest. None says anything of the request, which holds a
// client's password or token.
var (
	ErrCalloutSize      = errors.New("the callout request is too large")
	ErrCalloutPlain     = errors.New("the callout request is not encrypted, but the account has an xkey")
	ErrCalloutEncrypted = errors.New("the callout request cannot be decrypted")
	ErrCalloutFormat    = errors.New("the callout request is no JWT that a server signed")
)

// ReadCalloutRequest decrypts and decodes the message that a nats-server publishes on
// $SYS.REQ.USER.AUTH, and verifies that the issuer it names signed it; what it says is
// for CheckCalloutRequest. serverXKey is its header Nats-Server-Xkey. key is the curve
// key pair of the account's xkey, nil when it has none; with a key, a request that is
// not encrypted is refused.
func ReadCalloutRequest(message []byte, serverXKey string, key nkeys.KeyPair) (*jwt.AuthorizationRequestClaims, error) {
	if len(message) > MaxCalloutRequest {
		return nil, ErrCalloutSize
	}
	if key != nil {
		if bytes.HasPrefix(message, []byte("eyJ")) {
			return nil, ErrCalloutPlain
		}
		// nkeys panics over a key that is too long, and anybody may send the header.
		if !nkeyRE.MatchString(serverXKey) || !nkeys.IsValidPublicCurveKey(serverXKey) {
			return nil, ErrCalloutEncrypted
		}
		plain, err := key.Open(message, serverXKey)
		if err != nil {
			return nil, ErrCalloutEncrypted
		}
		message = plain
	}
	request, err := jwt.DecodeAuthorizationRequestClaims(string(message))
	if err != nil {
		return nil, ErrCalloutFormat
	}
	return request, nil
}

// CheckCalloutRequest returns what is wrong with a request that was read. servers are
// the ids of the servers that are known, nil when none are: no operator signs a
// server's key, so without them anybody who may publish on the subject can ask.
func CheckCalloutRequest(request *jwt.AuthorizationRequestClaims, now time.Time, servers []string) Problems {
	var out Problems
	if request.Audience != CalloutAudience {
		out = append(out, blocking("/aud", "wrong_audience", "The request is not meant for an auth callout."))
	}
	switch {
	case !IsPublicKey(KindServer, request.Issuer) || request.Issuer != request.Server.ID:
		out = append(out, blocking("/iss", "wrong_issuer", "The request is not signed by the server that it names."))
	case servers != nil && !slices.Contains(servers, request.Issuer):
		out = append(out, blocking("/iss", "unknown_server", "The request comes from a server that is not known."))
	}
	switch {
	case request.Expires == 0:
		out = append(out, blocking("/exp", "required", "The request never expires, and a nats-server's always do."))
	case now.Unix() > request.Expires:
		out = append(out, blocking("/exp", "expired", "The request expired; the server has stopped waiting for the answer."))
	}
	if request.NotBefore > now.Unix() {
		out = append(out, blocking("/nbf", "not_yet_valid", "The request is not valid yet."))
	}
	return append(out, CheckPublicKey("/nats/user_nkey", KindUser, request.UserNkey)...)
}
