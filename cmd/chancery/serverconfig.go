package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"chancery/api"
)

type serverConfigCommand struct {
	clientFlags
	Resolver string `help:"How the servers get accounts: url, full, cache or memory." enum:"url,full,cache,memory" default:"url"`
	Operator string `arg:"" optional:"" help:"Name or public key; may be left out when there is only one."`
}

func (c *serverConfigCommand) run(ctx context.Context, env environment) error {
	cl, err := c.client(env)
	if err != nil {
		return err
	}
	if c.Operator == "" {
		if c.Operator, err = onlyOperator(ctx, cl); err != nil {
			return err
		}
	}
	conf, err := cl.get(ctx, "/operators/"+url.PathEscape(c.Operator)+"/server-config?resolver="+url.QueryEscape(c.Resolver))
	if err != nil {
		return err
	}
	_, err = env.stdout.Write(conf)
	return err
}

func onlyOperator(ctx context.Context, cl *client) (string, error) {
	raw, err := cl.get(ctx, "/operators?limit=2")
	if err != nil {
		return "", err
	}
	var page api.Page[api.Operator]
	if err := json.Unmarshal(raw, &page); err != nil {
		return "", fmt.Errorf("reading the operators: %w", err)
	}
	switch len(page.Items) {
	case 0:
		return "", errors.New("there is no operator yet; create one in the console or with POST /api/v1/operators")
	case 1:
		return page.Items[0].ID, nil
	}
	return "", usage(errors.New("there are several operators: name the one that is meant"))
}
