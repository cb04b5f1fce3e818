# Agentrail. `make help` lists what there is.
SHELL := /bin/bash
GO ?= go
BIN := bin/agentrail
DATA ?= $(CURDIR)/data
PKGS := ./...
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
CACHE := $(CURDIR)/.cache
GOLANGCI := $(CACHE)/bin/golangci-lint
GOLANGCI_VERSION := v2.15.0

.PHONY: help build up firstminute test race lint fmt fuzz bench faults sinkfaults brake integration scenarios coverage screenshots grafana clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

build: ## build bin/agentrail
	@mkdir -p bin
	$(GO) build -trimpath -ldflags "-X main.version=$(VERSION)" -o $(BIN) ./cmd/agentrail

up: ## start everything on loopback and play the sample day; TEMPO=1 brings a Grafana Tempo
	@./deploy/fetch-engine.sh </dev/null >/dev/null 2>&1 &
	@./deploy/fetch-mcp.sh </dev/null >/dev/null 2>&1 &
	@$(MAKE) --no-print-directory build
	$(if $(TEMPO),./deploy/tempo.sh $(DATA)/tempo) $(BIN) up --data $(DATA) $(UPFLAGS)

firstminute: ## measure `make up` from a fresh clone with empty caches
	./deploy/firstminute.sh

test: ## all tests, from a clean checkout
	$(GO) test -count=1 -timeout 11m $(PKGS)

race: ## all tests under the race detector
	$(GO) test -count=1 -race -timeout 30m $(PKGS)

lint: $(GOLANGCI) ## house style, enforced
	$(GOLANGCI) run $(PKGS)

fmt: $(GOLANGCI) ## format
	$(GOLANGCI) fmt

$(GOLANGCI):
	@mkdir -p $(CACHE)/bin
	GOBIN=$(CACHE)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

FUZZTIME ?= 30s
fuzz: ## every fuzz target for FUZZTIME (30s)
	./deploy/fuzz.sh $(FUZZTIME)

bench: build ## the figures of DESIGN.md, as ratios in one run
	$(GO) run ./deploy/bench $(BENCHFLAGS)

ROUNDS ?= 50
faults: build ## kill -9 of serve ROUNDS (50) times, a flipped bit, bad receivers, a full disk
	$(GO) run ./deploy/faults -rounds $(ROUNDS) -bin $(BIN)

sinkfaults: ## each sink under each fault of its receiver, as a table; DOC=docs/sinkfaults.md publishes
	$(GO) run ./deploy/faults -modes table $(if $(DOC),-doc $(DOC))

TRIALS ?= 200
brake: build ## TRIALS (200) agents that run away: paused within a second, nobody else; labelled days in mode enforce
	$(GO) run ./deploy/brake -trials $(TRIALS) -bin $(BIN) $(BRAKEFLAGS)

integration: build ## against programs that we did not write; prints what ran
	./deploy/integration.sh

SEEDS ?= 20
scenarios: ## labelled days of SEEDS (20) seeds: found, quiet, seconds; SVG=docs/scenarios.svg publishes
	$(GO) run ./deploy/scenarios -seeds $(SEEDS) $(if $(SVG),-svg $(SVG) -readme README.md)

coverage: build ## docs/coverage.svg: which techniques the shipped rules and detectors cover
	$(BIN) rules coverage --output svg > docs/coverage.svg

screenshots: ## docs/page.png and docs/walk-*.png: a runaway agent on the pages, by real programs and a real Chromium
	@mkdir -p docs
	$(GO) test -count=1 -tags integration -run TestScreenshots ./cmd/agentrail -args -screenshots $(CURDIR)/docs

GRAFANA ?= $(DATA)/grafana
grafana: build ## Grafana's provisioning files and dashboards in GRAFANA; GRAFANAFLAGS names addresses and token
	$(BIN) grafana --out $(GRAFANA) $(GRAFANAFLAGS)

clean: ## remove what was built; the data folder stays
	rm -rf bin $(CACHE)
