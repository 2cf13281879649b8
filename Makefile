# make demo   trains and publishes a small captioner on generated pictures
# make quick  build, vet and the tests that need neither XLA, servers nor a browser: while you work
# make test   everything CI checks; installs what it needs below .cache
# make parity compares with the Python libraries' answers; writes docs/parity.md's table
# make web-test  every export of both kinds of captioners in every Transformers.js: 50 pictures, and the tables in docs/
# make python-test runs the Python example of model cards; installs torch, 7 GB, below .cache
# make chaos  one training with every kind of fault, 12 minutes; SEED=2 for others
# make mutants  300 mutants of each kind of foreign file; make flood  10,000 hostile requests to each port
# make soak   200 small runs on one stack, then 20 at once; RUNS=20 for fewer
# make chaos-cuda  the same with CUDA's faults alone, on a plugin that fails as CUDA does
# make vulncheck  known weaknesses of what is linked in; make sbom  a list of it, sbom.json: by hand, see SECURITY.md
# One set of flags everywhere: another one would compile every dependency again.
export GOEXPERIMENT := simd
export CGO_ENABLED := 1
export GOFLAGS := -buildvcs=false

VERSION := $(shell git describe --always --dirty 2>/dev/null || echo dev)
BIN     := bin/distilvit
TOOLS   := $(CURDIR)/.cache/bin
export PATH := $(TOOLS):$(PATH)

# Versions that work together; see go.mod for the rest.
MINIO         := github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c
TEMPORAL      := github.com/temporalio/cli/cmd/temporal@v1.5.1
STATICCHECK   := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK   := golang.org/x/vuln/cmd/govulncheck@v1.9.0
VULNDB        := golang.org/x/vulndb@latest
CYCLONEDX     := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
WORKFLOWCHECK := go.temporal.io/sdk/contrib/tools/workflowcheck@v0.6.0

# Packages whose goroutines share state and that compile quickly under -race, which takes more memory than is
# allowed to what a Parquet file costs.
RACE := -skip ParquetBombs ./dataset ./storage/... ./model/tokenizer ./pipeline
# Pool, protocol and deaths of trainers, and workers, without the tests that train for minutes under -race.
# GoMLX forms pointers that checkptr refuses.
RACE_TRAINER := -skip 'BitExact|OrderOfExamples|OfCUDA' -gcflags='github.com/gomlx/...=-d=checkptr=0' ./model/trainer ./worker

# Packages that make quick leaves out: their tests compile with XLA, or start stacks and browsers.
SLOW  := internal/chaos internal/devstack% internal/e2e internal/parity model model/onnx model/train \
	model/trainer web worker
QUICK  = $(filter-out $(SLOW:%=distilvit/%),$(shell go list ./...))

# Of make chaos. The order and the moments of the faults are drawn from SEED.
SEED   := 1
FAULTS := 27

.PHONY: build demo quick test web-test python-test parity chaos chaos-cuda mutants flood soak vulncheck sbom tools check race clean

build:
	go build -ldflags '-X distilvit/internal/version.linked=$(VERSION)' -o $(BIN) ./cmd/distilvit

demo: build
	@$(BIN) backend install onnxruntime
	@$(BIN) backend install transformers.js || echo "without npm there is no page of it"
	@if $(BIN) backend install cpu; then config=examples/demo.yaml; else \
		echo "no XLA plugin to be had: a smaller model on the pure-Go backend instead"; \
		config=examples/demo-go.yaml; \
	fi; \
	$(BIN) run -f $$config --id demo --data .distilvit
	@$(BIN) get demo .distilvit/demo --data .distilvit
	$(BIN) caption -m .distilvit/demo examples/pictures/*.png

parity: build
	$(BIN) parity --write docs/parity.md

# python3 -m venv, then what internal/e2e/requirements.txt pins. PYTHON=… takes one that has it.
PYTHON := .cache/python/bin/python
.cache/python/bin/python: internal/e2e/requirements.txt
	python3 -m venv .cache/python
	$@ -m pip install --quiet --requirement $<
	@touch $@

python-test: build $(PYTHON)
	$(BIN) backend install cpu onnxruntime
	DISTILVIT_BIN=$(CURDIR)/$(BIN) DISTILVIT_PYTHON=$(abspath $(PYTHON)) \
		go test -count=1 -v -timeout 20m -run TestCards ./internal/e2e ./web

tools: $(TOOLS)/minio $(TOOLS)/temporal $(TOOLS)/staticcheck $(TOOLS)/workflowcheck \
	$(TOOLS)/temporal-server/temporal-server

$(TOOLS)/minio:
	GOBIN=$(TOOLS) go install $(MINIO)
$(TOOLS)/temporal:
	GOBIN=$(TOOLS) go install $(TEMPORAL)
$(TOOLS)/temporal-server/temporal-server: go.mod deploy/temporal/build-programs
	deploy/temporal/build-programs $(@D)
$(TOOLS)/staticcheck:
	GOBIN=$(TOOLS) go install $(STATICCHECK)
$(TOOLS)/workflowcheck:
	GOBIN=$(TOOLS) go install $(WORKFLOWCHECK)

web/node_modules: web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	@touch $@

check: tools
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not gofmt-ed: $$unformatted"; exit 1; fi
	@changelog/build.sh | diff - CHANGELOG.md || { echo "changelog/build.sh > CHANGELOG.md"; exit 1; }
	go mod tidy -diff
	go vet ./...
	$(TOOLS)/staticcheck ./...
	$(TOOLS)/workflowcheck ./workflows/...

race:
	go test -race -timeout 15m $(RACE)
	go test -race -timeout 15m $(RACE_TRAINER)

quick: build
	go vet ./...
	go test $(QUICK)

test: build tools web/node_modules check race
	$(BIN) backend install cpu onnxruntime transformers.js
	DISTILVIT_BIN=$(CURDIR)/$(BIN) go test -timeout 60m ./...

web-test: build web/node_modules
	$(BIN) backend install onnxruntime
	go test -count=1 -v -timeout 30m -run Matrix ./web -pictures 50 -update

chaos: build $(TOOLS)/temporal
	$(BIN) backend install onnxruntime
	DISTILVIT_BIN=$(CURDIR)/$(BIN) go test -count=1 -v -timeout 30m -run TestChaos ./internal/chaos -faults $(FAULTS) -seed $(SEED)

chaos-cuda: build $(TOOLS)/temporal
	$(BIN) backend install cpu onnxruntime
	DISTILVIT_BIN=$(CURDIR)/$(BIN) go test -count=1 -v -timeout 30m -run TestCUDAFaults ./internal/chaos -faults $(FAULTS)

mutants: build
	$(BIN) backend install onnxruntime
	DISTILVIT_BIN=$(CURDIR)/$(BIN) go test -count=1 -v -timeout 60m -run TestMutants ./internal/e2e -mutants 300

flood: build
	$(BIN) backend install onnxruntime
	DISTILVIT_BIN=$(CURDIR)/$(BIN) go test -count=1 -v -timeout 60m -run TestHostileRequests ./internal/e2e -flood 10000

RUNS := 200
soak: build
	$(BIN) backend install onnxruntime
	DISTILVIT_BIN=$(CURDIR)/$(BIN) go test -count=1 -v -timeout 180m -run TestSoak ./internal/e2e -soak $(RUNS)

# The list comes through the module proxy, as modules do; no other server is asked. What triage.txt names was looked at
# and does not fail it. SCAN=symbol looks at what is called, which takes minutes and gigabytes.
SCAN := package
vulncheck: $(TOOLS)/govulncheck
	@dir=$$(cd / && GOFLAGS= go mod download -json $(VULNDB) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') && \
		rm -rf .cache/vulndb && go run ./internal/vulndb convert "$$dir" .cache/vulndb
	$(TOOLS)/govulncheck -db file://$(CURDIR)/.cache/vulndb -scan $(SCAN) -format json ./... > .cache/vulndb/found.json
	go run ./internal/vulndb triage internal/vulndb/triage.txt < .cache/vulndb/found.json

sbom: $(TOOLS)/cyclonedx-gomod
	$(TOOLS)/cyclonedx-gomod app -json -std -main cmd/distilvit -output sbom.json .

$(TOOLS)/govulncheck:
	GOBIN=$(TOOLS) go install $(GOVULNCHECK)
$(TOOLS)/cyclonedx-gomod:
	GOBIN=$(TOOLS) go install $(CYCLONEDX)

clean:
	rm -rf bin .cache web/node_modules
