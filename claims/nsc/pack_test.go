package nsc_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"chancery/claims/nsc"
)

// TestPack: what is packed is the whole store but for what belongs to users.
func TestPack(t *testing.T) {
	for operator := range archives {
		data := unpack(t, operator)
		data["stores/other/.nsc"] = &fstest.MapFile{Data: []byte("{}")}
		data["stores/"+operator+"/accounts/SYS/users/left.creds"] = &fstest.MapFile{Data: []byte("secret")}
		store := read(t, data, operator)
		server := map[string]string{store.Accounts[0].Claims().Subject: "a.b.c"}
		last := int64(0)
		p, err := nsc.Pack(dirs(t, data), nsc.Packing{Operator: operator, Seeds: true, Servers: server, Progress: func(done, total int64) {
			if done != last+1 || done > total {
				t.Errorf("progress went from %d to %d of %d", last, done, total)
			}
			last = done
		}})
		must(t, err)
		a, err := nsc.Open([]byte(p.Archive.Reveal()))
		must(t, err)
		got, err := nsc.Read(a.Dirs, operator)
		must(t, err)
		if diff := cmp.Diff(server, a.Servers); diff != "" {
			t.Error(diff)
		}
		var users int
		for _, x := range got.Accounts {
			users += len(x.Users)
			for _, u := range x.Users {
				if !u.Creds.Empty() {
					t.Errorf("the creds of %s are packed", u.Name)
				}
			}
		}
		if want := 1 + len(got.Accounts) + users; p.JWTs != want {
			t.Errorf("%d JWTs, want %d", p.JWTs, want)
		}
		for key := range store.Keys {
			_, packed := got.Keys[key]
			if wanted := key[0] == 'O' || key[0] == 'A'; packed != wanted {
				t.Errorf("seed of %s packed: %v, want %v", key, packed, wanted)
			}
		}
		if diff := cmp.Diff(jwtsOf(store), jwtsOf(got)); diff != "" {
			t.Error(diff)
		}
		names, err := nsc.Operators(a.Stores)
		if err != nil || len(names) != 1 {
			t.Errorf("operators %v, %v", names, err)
		}
		bare, err := nsc.Pack(dirs(t, data), nsc.Packing{Operator: operator})
		must(t, err)
		if a, err = nsc.Open([]byte(bare.Archive.Reveal())); err != nil || a.Keys != nil || bare.Seeds != 0 {
			t.Errorf("without seeds: %d seeds, %v", bare.Seeds, err)
		}
	}
}

// jwtsOf are the JWTs of a store by their place.
func jwtsOf(s *nsc.Store) map[string]string {
	out := map[string]string{"operator": s.Operator.Token.Text}
	for _, a := range s.Accounts {
		out[a.Name] = a.Token.Text
		for _, u := range a.Users {
			out[a.Name+"/"+u.Name] = u.Token.Text
		}
	}
	return out
}

// TestPackFaults: one bad file does not stop the others, and is named.
func TestPackFaults(t *testing.T) {
	data := unpack(t, "acme")
	data["stores/acme/accounts/ORDERS/users/long.jwt"] = &fstest.MapFile{Data: []byte(strings.Repeat("x", nsc.MaxJWTFile+1))}
	data["stores/acme/accounts/ORDERS/users/broken.jwt"] = &fstest.MapFile{Data: []byte("broken")}
	p, err := nsc.Pack(dirs(t, data), nsc.Packing{Operator: "acme"})
	must(t, err)
	want := []nsc.Problem{{Path: "stores/acme/accounts/ORDERS/users/long.jwt", Code: "too_large", LeftOut: true}}
	if diff := cmp.Diff(want, p.Problems, cmpopts.IgnoreFields(nsc.Problem{}, "Detail")); diff != "" {
		t.Error(diff)
	}
	a, err := nsc.Open([]byte(p.Archive.Reveal()))
	must(t, err)
	s, err := nsc.Read(a.Dirs, "acme")
	must(t, err)
	if len(s.Problems) != 1 || s.Problems[0].Code != "invalid_jwt" {
		t.Errorf("what is broken is to be seen by who reads it: %v", s.Problems)
	}
	if _, err := nsc.Pack(dirs(t, data), nsc.Packing{Operator: "nobody"}); !errors.Is(err, nsc.ErrNoStore) {
		t.Errorf("no store: %v", err)
	}
	huge := unpack(t, "acme")
	mib := []byte(strings.Repeat("x", 1<<20))
	for i := range nsc.MaxUnpacked >> 20 {
		huge["stores/acme/accounts/ORDERS/users/"+strings.Repeat("u", 1+i%100)+string(rune('a'+i/100))+".jwt"] = &fstest.MapFile{Data: mib}
	}
	_, err = nsc.Pack(dirs(t, huge), nsc.Packing{Operator: "acme"})
	if _, is := errors.AsType[*nsc.ArchiveError](err); !is {
		t.Errorf("a store that is too large: %v", err)
	}
}
