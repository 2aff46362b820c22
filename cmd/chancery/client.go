package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
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
	return &client{url: strings.TrimSuffix(f.URL, "/"), token: claims.NewSecret(strings.TrimSpace(token))}, nil
}

// clientTimeout bounds one call.
const clientTimeout = 30 * time.Second

// get returns the body of an operation's answer.
func (c *client) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+api.Base+path, http.NoBody)
	if err != nil {
		return nil, usage(errors.New("the control plane's address is no URL"))
	}
	req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, &exitError{fmt.Errorf("the control plane at %s cannot be reached: %w", c.url, err), exitUnreachable}
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return nil, &exitError{err, exitUnreachable}
	}
	if resp.StatusCode == http.StatusOK {
		return raw, nil
	}
	var p api.Problem
	if json.Unmarshal(raw, &p) != nil || p.Title == "" {
		return nil, fmt.Errorf("the control plane answered %s", resp.Status)
	}
	err = fmt.Errorf("%s %s (%s)", p.Title, p.Hint, p.RequestID)
	if resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusUnauthorized {
		return nil, &exitError{err, exitForbidden}
	}
	return nil, err
}
