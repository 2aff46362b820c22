package custodytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/nats-io/nkeys"

	"chancery/custody"
)

// Remote starts a service that holds the keys, and returns a signer that asks it over
// HTTP: it stands where an HSM or a key management service stands, with a network in
// between. The protocol is POST /sign/{public} with the message; 200 with the 64 bytes
// of the signature, 404 for a key that is not there.
func Remote(t testing.TB, keys ...*custody.Key) custody.Signer {
	t.Helper()
	held := map[string]*custody.Key{}
	for _, k := range keys {
		held[k.Public()] = k
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /sign/{public}", func(w http.ResponseWriter, r *http.Request) {
		k, ok := held[r.PathValue("public")]
		if !ok {
			http.Error(w, "no such key", http.StatusNotFound)
			return
		}
		message, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 2<<20))
		if err != nil {
			http.Error(w, "the message cannot be read", http.StatusBadRequest)
			return
		}
		signature, err := k.Sign(r.Context(), k.Public(), message)
		if err != nil {
			http.Error(w, "not signed", http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(signature)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return &remote{url: server.URL, client: server.Client()}
}

type remote struct {
	url    string
	client *http.Client
}

// Sign implements custody.Signer.
func (r *remote) Sign(ctx context.Context, public string, message []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// What is no public key does not travel: it may be a seed.
	if !nkeys.IsValidPublicKey(public) || len(public) != 56 {
		return nil, custody.ErrNoKey
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+"/sign/"+public, bytes.NewReader(message))
	if err != nil {
		return nil, fmt.Errorf("asking the signer: %w", err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the signer: %w", err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, custody.ErrNoKey
	default:
		return nil, errors.New("the signer answered " + resp.Status)
	}
	signature, err := io.ReadAll(io.LimitReader(resp.Body, 65))
	if err != nil {
		return nil, fmt.Errorf("reading the signature: %w", err)
	}
	return signature, nil
}
