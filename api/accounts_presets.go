package api

import (
	"context"

	"chancery/claims"
)

// AccountPreset is limits for a kind of account that is made often.
type AccountPreset struct {
	Name        string    `json:"name" example:"team-streams"`
	Title       string    `json:"title" example:"One team, with streams"`
	Description string    `json:"description"`
	Limits      Limits    `json:"limits"`
	JetStream   JetStream `json:"jetstream"`
}

func viewPreset(p claims.Preset) AccountPreset {
	return AccountPreset{Name: p.Name, Title: p.Title, Description: p.Description, Limits: viewLimits(p.Limits), JetStream: viewJetStream(p.Limits)}
}

func (a *API) listAccountPresets(ctx context.Context, by call, _ *struct{}) (*answered[Page[AccountPreset]], error) {
	list, err := a.issuer.AccountPresets(ctx, by.caller)
	if err != nil {
		return nil, err
	}
	out := Page[AccountPreset]{Items: []AccountPreset{}}
	for _, p := range list {
		out.Items = append(out.Items, viewPreset(p))
	}
	return &answered[Page[AccountPreset]]{out}, nil
}
