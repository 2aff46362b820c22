# Everything a developer runs. `make` alone lists it; CI runs `make check` and `make test`, nothing else.
# It keeps to what GNU make 3.81 can do, which is the one that macOS ships.

.DEFAULT_GOAL := help

GO ?= go
# Tools carry their version in their path, so a new pin installs itself.
GOFUMPT_VERSION := v0.12.0
GOLANGCI_LINT_VERSION := v2.15.0
GOFUMPT := $(CURDIR)/.tools/gofumpt-$(GOFUMPT_VERSION)/gofumpt
GOLANGCI_LINT := $(CURDIR)/.tools/golangci-lint-$(GOLANGCI_LINT_VERSION)/golangci-lint

# Only `build` stamps the commit: elsewhere a checkout owned by another user (containers, CI) would be an error.
export GOFLAGS := $(GOFLAGS) -buildvcs=false

# Browser and fault tests are a module of their own, to keep their dependencies out of ours.
E2E := $(patsubst %/go.mod,%,$(wildcard e2e/go.mod))

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: run
run: needs-go ## everything in one process on this machine, data in ./.chancery (ARGS="--json" passes flags)
	@echo 'building chancery, the first build takes a minute or two…' >&2
	@$(GO) run ./cmd/chancery dev $(ARGS)

# What the race detector does not watch: SQLite's engine, which is C that a machine made Go of, the arithmetic of
# cryptography, and what parses patterns, templates and command lines. Watched they take ten times as long and most of
# the run; they share nothing but what they are called with.
UNWATCHED := $(patsubst %,-gcflags=%/...=-race=false,modernc.org golang.org/x/crypto crypto/internal/fips140 \
	regexp text/template/parse github.com/alecthomas/kong)

# -vet=off, since `make check` vets. -count=1, since a cached pass would hide that the run it stands for skipped PostgreSQL.
.PHONY: test
test: needs-go needs-cc needs-git ## every test, with the race detector, on SQLite and PostgreSQL
	@scripts/test-postgres
	@scripts/test-chromium
	CGO_ENABLED=1 $(GO) test -race $(UNWATCHED) -vet=off -count=1 -timeout 20m ./...
	@echo 'the store of 500 accounts and 5,000 users, timed, 1,000 clients without a control plane, 1,000 accounts signed anew, keys rotated under 1,000 clients, replicas at fault: without the race detector, and alone on the machine'
	$(GO) test -vet=off -count=1 -timeout 10m -v -run '^(TestImportGeneratedStore|TestServersRestartWithoutTheControlPlane|TestKillWhileSigningAnew|TestRotationDrill|TestReplicaFaults)$$' ./cmd/chancery
	@echo 'all hostile names by every way in, all files of nsc, random lives at length, imports cut off, tokens in noise'
	$(GO) test -vet=off -count=1 -timeout 10m -v -run '^(TestHostileNames|TestNoSeedIsPrinted|TestHostileNamesThroughImport|TestLargeStore|TestAccountsAreApart|TestGuardrailsHoldForAnySequence|TestLife|TestImportSurvivesFaults|TestScannersKnowTokens)$$' ./cmd/chancery ./issuer
	@echo 'properties of claims against 10,000 cases each, and archives that expand to their limit'
	$(GO) test -vet=off -count=1 -timeout 10m -v -run '^(TestRevokedStaysRevoked|TestUneditedStaysTheSame|TestUnknownFieldsAreNeverDropped|TestCompactionRevivesNothing|TestIssueTimesIncrease|TestRevocationReachesEverythingIssued|TestQ7ExportImportExport|TestOpenHostile)$$' ./claims ./claims/nsc
	@set -e; for dir in $(E2E); do echo "$$dir:"; (cd $$dir && $(GO) test -vet=off -count=1 -timeout 10m ./...); done

.PHONY: check
check: needs-go $(GOFUMPT) $(GOLANGCI_LINT) ## format, vet, lint, generated files; no tests
	@files=$$($(GOFUMPT) -l .) && test -z "$$files" || { echo "not formatted, run \"make fmt\": $$files" >&2; exit 1; }
	@set -e; for dir in . $(E2E); do (cd $$dir && $(GOLANGCI_LINT) run ./...); done
	@$(GO) run ./cmd/chancery openapi | diff -u openapi.yaml - >&2 || \
		{ echo 'openapi.yaml is not what the code says, run "make generate"' >&2; exit 1; }

.PHONY: bench
bench: needs-go ## benchmarks and which goals they reach, into docs/benchmarks.md; a quarter of an hour
	@scripts/test-postgres
	@GO='$(GO)' scripts/bench ./claims ./resolver ./issuer ./cmd/chancery

# ROUNDS is how often each fault of replicas is drilled, on each kind of resolver.
ROUNDS ?= 5
.PHONY: drill
drill: needs-go ## replicas killed and stopped under load, 5 times each (ROUNDS=20 before a release)
	@scripts/test-postgres
	@GO='$(GO)' scripts/drill $(ROUNDS)

# FUZZ is how long each target runs.
FUZZ ?= 30s
.PHONY: fuzz
fuzz: needs-go ## every fuzz target for 30 seconds (FUZZ=20m before a release)
	@scripts/fuzz $(FUZZ)

.PHONY: fmt
fmt: needs-go $(GOFUMPT) ## format the Go code
	@$(GOFUMPT) -w .

.PHONY: generate
generate: needs-go ## write openapi.yaml from the code
	@$(GO) run ./cmd/chancery openapi >openapi.yaml.new || { rm -f openapi.yaml.new; exit 1; }
	@mv openapi.yaml.new openapi.yaml

.PHONY: build
build: needs-go ## bin/chancery, static and stamped with the commit
	CGO_ENABLED=0 $(GO) build -buildvcs=auto -trimpath -o bin/chancery ./cmd/chancery

$(GOFUMPT):
	@GOBIN=$(@D) $(GO) install mvdan.cc/gofumpt@$(GOFUMPT_VERSION)

$(GOLANGCI_LINT):
	@echo 'building golangci-lint $(GOLANGCI_LINT_VERSION), once; it takes some minutes…' >&2
	@GOBIN=$(@D) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)

.PHONY: needs-go needs-cc needs-git
needs-go:
	@case "$$($(GO) env GOVERSION 2>/dev/null)" in go1.2[6-9]*|go1.[3-9][0-9]*|devel*) ;; \
		*) echo 'missing: Go 1.26 or newer (https://go.dev/dl/)' >&2; exit 1 ;; esac

needs-cc:
	@echo '#include <stdlib.h>' | $$($(GO) env CC) -E -x c - >/dev/null 2>&1 || \
		{ echo 'missing: a C compiler, for the race detector (Debian: apt-get install gcc libc6-dev; macOS: xcode-select --install)' >&2; exit 1; }

needs-git:
	@command -v git >/dev/null || \
		{ echo 'missing: git (Debian: apt-get install git; macOS: xcode-select --install)' >&2; exit 1; }
