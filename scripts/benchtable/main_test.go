package main

import (
	"strings"
	"testing"
)

const run1 = `goos: linux
pkg: chancery/resolver
BenchmarkLookups/10000-2         	       1	14031211129 ns/op	      1413 B/account	     18382 req/s	         0.9500 x_bare	         1.583 x_bare_max	         0.6567 x_bare_min	         1.087 x_bare_cpu
BenchmarkLookups/1000000-2       	       1	         0.8999 x_one
BenchmarkAccount/revocations=1000-2       	     188	   6217018 ns/op	      5000 ns/entry
BenchmarkAccount/revocations=10000-2      	      24	  53636703 ns/op	      5500 ns/entry
BenchmarkMint
BenchmarkBroken-2 this is no result
    bench_test.go:60: BenchmarkLookups/1 is not one either
PASS
`

func TestGoals(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := run([]string{"goals"}, strings.NewReader(run1), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| P1 | lookups a second, 10,000 accounts | bare Go handler | ≥ 0.95 × | 0.95 | 0.657 | 1.58 | met |",
		"| P1 | processor time a lookup, 10,000 accounts | bare Go handler | ≤ 1.05 × | 1.09 |  |  | **not met** |",
		"| P1 | lookups a second, 10,000 accounts | nats-account-server, by its reference | ≥ 5 × | 4.89 | 3.38 | 8.15 | **not met** |",
		"| P1 | lookups a second, 1,000,000 accounts | 1 account | ≥ 0.9 × | 0.9 |  |  | **not met** |",
		"| P8 | time a revocation, 10,000 of them | 1,000 of them | ≤ 1.3 × | 1.1 |  |  | met |",
		"| P9 | posts a second, durable, 16 at a time on PostgreSQL | verify and one commit | ≥ 0.7 × |  |  |  | not run |",
		"2 of ", "nats-account-server is ", "nsc is ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("without %q:\n%s", want, out.String())
		}
	}
}

func TestAll(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := run([]string{"all"}, strings.NewReader(run1), &out); err != nil {
		t.Fatal(err)
	}
	want := `| benchmark | measure | median | lowest | highest |
|---|---|---:|---:|---:|
| Lookups/10000 | ns/op | 14031211129 |  |  |
| Lookups/10000 | B/account | 1413 |  |  |
| Lookups/10000 | req/s | 18382 |  |  |
| Lookups/10000 | x_bare | 0.9500 | 0.6567 | 1.583 |
| Lookups/10000 | x_bare_cpu | 1.087 |  |  |
| Lookups/1000000 | x_one | 0.8999 |  |  |
| Account/revocations=1000 | ns/op | 6217018 |  |  |
| Account/revocations=1000 | ns/entry | 5000 |  |  |
| Account/revocations=10000 | ns/op | 53636703 |  |  |
| Account/revocations=10000 | ns/entry | 5500 |  |  |
`
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
	if run([]string{"none"}, strings.NewReader(run1), &out) == nil {
		t.Error("an unknown table is written")
	}
}
