# Everything a person or CI does with shares. `make run` and `make test` need
# nothing but Go, git and make on Debian or macOS: they install the rest.

# no_k8s: go-zero without a Kubernetes client. grpcnotrace: gRPC without the HTML
# pages whose templates keep every method in the program from being left out
# (47 MB against 36). -trimpath and CGO_ENABLED=0 are those of the binary: with
# them everywhere, each package is compiled once, also for a copy of the tree.
export GOFLAGS     := -tags=no_k8s,grpcnotrace -trimpath
export CGO_ENABLED := 0
export PATH    := $(CURDIR)/.bin:$(PATH)

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
DATE    ?= $(shell git log -1 --format=%cI 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)

.PHONY: help run build test test-go test-fuzz test-client gen check-gen lint bench image test-workflow test-faults test-cluster clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## run the service; dependencies that are not configured are embedded
	.bin/shares serve

build: ## build the one static binary, .bin/shares
	@tools/progress.sh 'building .bin/shares (2 to 8 minutes the first time, then seconds)' \
		go build -ldflags '$(LDFLAGS)' -o .bin/shares .

test: lint check-gen test-go test-client ## all tests; CI adds test-workflow, test-fuzz, test-faults and test-cluster
	@echo "make test: all passed"

# -vet=off: lint has vetted the tests.
RACE := CGO_ENABLED=1 go test -race -shuffle=on -count=1 -vet=off -timeout 1h

test-go:
	tools/install.sh cc mariadbd redis-server chromium nginx prometheus
	tools/progress.sh 'testing with the race detector (minutes)' env $(RACE) ./...
	cd test/page && ../../tools/progress.sh 'testing the page in Chromium' env $(RACE) ./...
	tools/progress.sh 'testing the tools (a minute)' sh -c 'cd tools && go vet ./... && go test -timeout 1h ./...'

test-fuzz: ## a moment of fuzzing for every target (FUZZTIME=3s each)
	tools/fuzz.sh

test-client: build ## the TypeScript client against a running service
	tools/install.sh node
	tools/progress.sh 'installing what the client is tested with (seconds)' npm --prefix client ci --no-audit --no-fund --silent
	cd client && SHARES_BIN=$(CURDIR)/.bin/shares npm test --silent

gen: .bin/.built ## generate code from shares.api, rpc/weixin.proto and model/migrations
	tools/install.sh protoc mariadbd
	go -C tools run ./gen

check-gen: .bin/.built ## fail when `make gen` would change something or code no longer fits its sources
	tools/install.sh protoc mariadbd
	go -C tools run ./gen -check

SUITES := no_k8s,grpcnotrace,faults,cluster,workflow

lint: .bin/.built ## vet, for Windows and macOS too, and staticcheck
	@unformatted="$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go'))"; \
	if [ -n "$$unformatted" ]; then echo "gofmt -w is needed: $$unformatted"; exit 1; fi
	tools/progress.sh 'go vet (minutes the first time)' go vet -tags=$(SUITES) ./...
	tools/progress.sh 'vet for Windows and macOS (half a minute)' go -C tools run ./crossvet .. windows darwin
	tools/progress.sh 'staticcheck (a minute)' staticcheck -tags=$(SUITES) ./...
	cd test/page && ../../tools/progress.sh 'vet and staticcheck of test/page' sh -c 'go vet ./... && staticcheck ./...'

test-workflow: .bin/.built ## seven tasks with shares.api, in a copy of the tree
	tools/install.sh protoc mariadbd redis-server
	tools/progress.sh 'changing copies of the tree (minutes)' \
		go test -tags=no_k8s,grpcnotrace,workflow -count=1 -timeout=30m ./test/workflow/tasks

image: ## build the image, as an archive in dist/
	deploy/image.sh -t $(or $(IMAGE),localhost/shares:$(VERSION)) -o dist/shares.tar

test-faults: ## kill and hang everything under load, and print what was lost (RUN=regexp: those rows only)
	tools/install.sh mariadbd redis-server haproxy
	go test -tags=no_k8s,grpcnotrace,faults -count=1 -timeout=1h -v -run 'TestFaults//$(RUN)' ./test/faults

test-cluster: ## rollouts and outages on Kubernetes (RUN=regexp: those rows only; settings: docs/faults.md)
	go test -tags=no_k8s,grpcnotrace,cluster -count=1 -timeout=3h -v -run 'TestCluster/$(RUN)' ./test/cluster

bench: ## measure against references in the same run; writes docs/benchmarks.md (QUICK=1: less surely, prints only)
	tools/install.sh mariadbd redis-server wrk
	go run ./test/bench $(if $(QUICK),-quick -o '')

clean: ## remove what was built; data stays
	rm -rf .bin dist

# The generators and linters, pinned in tools/go.mod. The first time takes minutes.
.bin/.built: tools/go.mod tools/go.sum
	@mkdir -p .bin
	@tools/progress.sh 'building goctl and the other tools of tools/go.mod into .bin (minutes, once)' \
		go build -C tools -o ../.bin/ tool
	@touch $@
