# make demo   trains and publishes a small captioner on generated pictures
# make test   everything CI checks; installs what it needs below .cache
# make parity compares with the Python libraries' answers; writes docs/parity.md's table
# make chaos  one training with every kind of fault, 12 minutes; SEED=2 for others
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
WORKFLOWCHECK := go.temporal.io/sdk/contrib/tools/workflowcheck@v0.6.0

# Packages whose goroutines share state and that compile quickly under -race.
RACE := ./dataset ./storage/... ./model/tokenizer ./pipeline

# Of make chaos. The order and the moments of the faults are drawn from SEED.
SEED   := 1
FAULTS := 27

.PHONY: build demo test parity chaos tools check race clean

build:
	go build -ldflags '-X main.version=$(VERSION)' -o $(BIN) ./cmd/distilvit

demo: build
	@$(BIN) backend install onnxruntime
	@if $(BIN) backend install cpu; then config=examples/demo.yaml; else \
		echo "no XLA plugin to be had: a smaller model on the pure-Go backend instead"; \
		config=examples/demo-go.yaml; \
	fi; \
	$(BIN) run -f $$config --id demo --data .distilvit
	@$(BIN) get demo .distilvit/demo --data .distilvit
	$(BIN) caption -m .distilvit/demo examples/pictures/*.png

parity: build
	$(BIN) parity --write docs/parity.md

tools: $(TOOLS)/minio $(TOOLS)/temporal $(TOOLS)/staticcheck $(TOOLS)/workflowcheck

$(TOOLS)/minio:
	GOBIN=$(TOOLS) go install $(MINIO)
$(TOOLS)/temporal:
	GOBIN=$(TOOLS) go install $(TEMPORAL)
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
	go vet ./...
	$(TOOLS)/staticcheck ./...
	$(TOOLS)/workflowcheck ./workflows/...

race:
	go test -race -timeout 15m $(RACE)

test: build tools web/node_modules check race
	$(BIN) backend install cpu onnxruntime
	DISTILVIT_BIN=$(CURDIR)/$(BIN) go test -timeout 30m ./...

chaos: build $(TOOLS)/temporal
	$(BIN) backend install onnxruntime
	DISTILVIT_BIN=$(CURDIR)/$(BIN) go test -count=1 -v -timeout 30m -run TestChaos ./internal/chaos -faults $(FAULTS) -seed $(SEED)

clean:
	rm -rf bin .cache web/node_modules
