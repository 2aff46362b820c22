package api

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"chancery/issuer"
)

// NSCStore says what an operator's store of nsc holds, and what it lacks.
type NSCStore struct {
	Accounts int          `json:"accounts"`
	Users    int          `json:"users" doc:"Users whose JWT is in the store."`
	Missing  []NSCMissing `json:"missing" doc:"What nsc would have and is not in the store."`
}

// NSCMissing is what a store of nsc lacks.
type NSCMissing struct {
	Account string `json:"account,omitempty"`
	User    string `json:"user,omitempty"`
	Code    string `json:"code" example:"held_elsewhere"`
	Detail  string `json:"detail"`
}

type nscStoreInput struct {
	OperatorPath
	Accept string `header:"Accept" maxLength:"200" doc:"application/json answers with what the store holds and lacks, anything else with the store itself: a .tgz of nsc's data directory, without seeds."`
}

func (a *API) exportNSCStore(ctx context.Context, by call, in *nscStoreInput) (*text, error) {
	s, err := a.issuer.ExportNSC(ctx, by.caller, in.Operator)
	if err != nil {
		return nil, err
	}
	if strings.Contains(in.Accept, "application/json") {
		v := NSCStore{Accounts: s.Accounts, Users: s.Users, Missing: []NSCMissing{}}
		for _, m := range s.Missing {
			v.Missing = append(v.Missing, NSCMissing{m.Account, m.User, m.Code, m.Detail})
		}
		body, err := json.Marshal(v)
		return &text{ContentType: "application/json", Body: body}, err
	}
	body, err := packStore(s)
	return &text{ContentType: "application/gzip", Body: body}, err
}

// packStore makes a .tgz of a store's files.
func packStore(s issuer.NSCStore) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, f := range s.Files {
		text := f.Data.Reveal()
		if err := w.WriteHeader(&tar.Header{Name: f.Path, Typeflag: tar.TypeReg, Mode: int64(f.Mode), Size: int64(len(text))}); err != nil {
			return nil, fmt.Errorf("packing a store of nsc: %w", err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			return nil, fmt.Errorf("packing a store of nsc: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("packing a store of nsc: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("packing a store of nsc: %w", err)
	}
	return b.Bytes(), nil
}
