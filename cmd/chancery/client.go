package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"chancery/api"
	"chancery/claims"
)

// clientFlags say which control plane a command talks to.
type clientFlags struct {
	URL       string `help:"Address of the control plane; without it that of ./.chancery, where chancery dev runs." env:"CHANCERY_URL" placeholder:"URL"`
	TokenFile string `help:"File that holds an API token; CHANCERY_TOKEN holds one too." env:"CHANCERY_TOKEN_FILE" type:"path" placeholder:"FILE"`
}

// client calls the REST API of a control plane.
type client struct {
	url   string
	token claims.Secret
	// instead is what may help when nobody answers, or "".
	instead string
	// timeout bounds one call; 0 is the usual one.
	timeout time.Duration
}

func (f clientFlags) client(env environment) (*client, error) {
	if f.URL == "" {
		text, err := os.ReadFile(filepath.Join(".chancery", "context.json"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, usage(errors.New("no control plane is named: use --url and --token-file, or run this where chancery dev keeps its .chancery"))
		}
		var c clientContext
		if err == nil {
			err = json.Unmarshal(text, &c)
		}
		if err != nil {
			return nil, fmt.Errorf("reading .chancery/context.json: %w", err)
		}
		f.URL = c.URL
		if f.TokenFile == "" {
			f.TokenFile = c.TokenFile
		}
	}
	token := env.getenv("CHANCERY_TOKEN")
	if token == "" {
		if f.TokenFile == "" {
			return nil, usage(errors.New("no API token: use --token-file or CHANCERY_TOKEN"))
		}
		text, err := os.ReadFile(f.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("reading the API token: %w", err)
		}
		token = string(text)
	}
	if u, err := url.Parse(f.URL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, usage(errors.New("the control plane's address is no URL: it is written like https://chancery.acme.example"))
	}
	return &client{url: strings.TrimSuffix(f.URL, "/"), token: claims.NewSecret(strings.TrimSpace(token))}, nil
}

// clientTimeout bounds one call.
const clientTimeout = 30 * time.Second

// maxAnswer bounds an answer that is read as a whole, in bytes, unless the call says
// otherwise.
const maxAnswer = 4 << 20

// apiCall is one call of an operation; what is left out is that of a short one with
// JSON.
type apiCall struct {
	method, path string
	body         []byte
	// media is the Content-Type of the body, accept what the answer is to be.
	media, accept string
	timeout       time.Duration
	// most is the longest answer.
	most int64
}

// get returns the body of an operation's answer.
func (c *client) get(ctx context.Context, path string) ([]byte, error) {
	return c.call(ctx, apiCall{method: http.MethodGet, path: path})
}

// post asks an operation that takes JSON and fills answer with what it says.
func (c *client) post(ctx context.Context, path string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("writing the question: %w", err)
	}
	return c.ask(ctx, apiCall{method: http.MethodPost, path: path, body: body}, answer)
}

// ask fills answer with what an operation says.
func (c *client) ask(ctx context.Context, a apiCall, answer any) error {
	raw, err := c.call(ctx, a)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		return fmt.Errorf("reading the answer of the control plane: %w", err)
	}
	return nil
}

// call returns the whole answer of an operation that succeeded.
func (c *client) call(ctx context.Context, a apiCall) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(a.timeout, c.timeout, clientTimeout))
	defer cancel()
	resp, err := c.send(ctx, a)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	most := cmp.Or(a.most, maxAnswer)
	raw, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err != nil {
		return nil, &exitError{err, exitUnreachable}
	}
	if int64(len(raw)) > most {
		return nil, errors.New("the answer of the control plane is longer than expected")
	}
	return raw, nil
}

// send returns the answer of an operation that succeeded, to be read and closed. Only
// ctx bounds it.
func (c *client) send(ctx context.Context, a apiCall) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, a.method, c.url+api.Base+a.path, bytes.NewReader(a.body))
	if err != nil {
		return nil, usage(errors.New("the control plane's address is no URL"))
	}
	req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	if a.body != nil {
		req.Header.Set("Content-Type", cmp.Or(a.media, "application/json"))
	}
	if a.accept != "" {
		req.Header.Set("Accept", a.accept)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, &exitError{fmt.Errorf("the control plane at %s cannot be reached: %w%s", c.url, cause(err), c.instead), exitUnreachable}
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, &exitError{err, exitUnreachable}
	}
	return nil, refusal(resp, raw)
}

// cause leaves out the request that an error of net/http repeats.
func cause(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// refusal says why the control plane did not answer the question.
func refusal(resp *http.Response, raw []byte) error {
	var p api.Problem
	if json.Unmarshal(raw, &p) != nil || p.Title == "" {
		return fmt.Errorf("the control plane answered %s", resp.Status)
	}
	words := []string{p.Title}
	for _, f := range p.Errors {
		words = append(words, f.Detail)
	}
	if p.Hint != "" {
		words = append(words, p.Hint)
	}
	err := fmt.Errorf("%s (%s)", strings.Join(words, " "), p.RequestID)
	switch resp.StatusCode {
	case http.StatusForbidden, http.StatusUnauthorized:
		return &exitError{err, exitForbidden}
	case http.StatusUnprocessableEntity, http.StatusNotFound:
		return usage(err)
	case http.StatusConflict, http.StatusPreconditionFailed:
		return &exitError{err, exitConflict}
	}
	return err
}
