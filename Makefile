# "make" lists the targets.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

VERSION     ?= $(shell git describe --tags --dirty 2>/dev/null)
LDFLAGS     := -s -w $(if $(VERSION),-X main.version=$(VERSION))
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Everything but the tests that start the program.
UNIT = $$(go list ./... | grep -v '^tridge/integration')

FUZZTIME     ?= 10s# per target
CRASH_SEEDS  ?= 2000# simulated crashes of the log
CRASH_ROUNDS ?= 5# kill -9 of the program

.PHONY: help build run deps test check format vet staticcheck generated unit race fuzz crash integration conformance-amqp conformance-mqtt conformance-stomp bench bench-log generate nightly clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1	\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do printf '  make %-17s %s\n' "$$name" "$$text"; done

build: ## compile bin/gateway, a static binary
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/gateway ./cmd/gateway

run: build ## compile and start the gateway with the shipped routes, on loopback, data in ./data
	exec bin/gateway serve --routes routes.yaml

deps: ## install what the tests need, and say what
	integration/install.sh

test: deps check race fuzz crash integration ## everything CI runs

check: format vet staticcheck generated build ## what can be known without running the tests
	bin/gateway check --config gateway.yaml --routes routes.yaml

format: ## fail on files that gofmt would change
	@files="$$(gofmt -l .)"; [ -z "$$files" ] || { printf 'not formatted (run gofmt -w):\n%s\n' "$$files"; exit 1; }

vet:
	go vet ./...

staticcheck:
	go run $(STATICCHECK) ./...

generated: ## fail when generated code is not what its generator writes
	@sums() { find . -name '*_gen.go' -not -path './.git/*' | sort | xargs sha256sum; }; \
	before="$$(sums)"; go generate ./...; \
	[ "$$before" = "$$(sums)" ] || { echo 'generated code was not current; it is now: look at the difference'; exit 1; }

unit: ## unit tests
	go test $(UNIT)

race: ## unit tests with the race detector
	go test -race $(UNIT)

fuzz: ## fuzz every decoder, FUZZTIME each
	internal/fuzz.sh $(FUZZTIME)

crash: ## simulated crashes of the log, then kill -9 of the program while clients publish
	CRASH_SEEDS=$(CRASH_SEEDS) go test -count=1 -run Crash ./core/wal
	CRASH_ROUNDS=$(CRASH_ROUNDS) go test -count=1 -timeout 30m -run Crash ./integration/...

integration: deps ## real clients of every protocol against the program
	go test -count=1 -timeout 20m -skip Crash ./integration/...

conformance-amqp: ## the suites of client libraries, kept in CACHE, and what is refused; PEER=rabbitmq compares with RabbitMQ
	integration/install.sh suites
	go run ./integration/conformance $(if $(PEER),-peer $(PEER)) $(if $(SUITE),-suite $(SUITE)) $(if $(CACHE),-cache $(CACHE))

conformance-mqtt: ## scenarios with several client libraries; PEER=mosquitto compares with mosquitto
	go run ./integration/conformance/mqtt $(if $(PEER),-peer $(PEER))

conformance-stomp: ## conversations of both families of STOMP clients; PEER=rabbitmq,activemq compares with those
	go run ./integration/conformance -protocol stomp $(if $(PEER),-peer $(PEER))

bench: ## the core path; messages per second, CPU and allocations per message for each protocol, at 1 KiB and 16 B; backlogs
	go test -run '^$$' -bench . -benchmem $(UNIT)
	go run ./integration/bench
	go run ./integration/bench -size 16
	go run ./integration/bench backlog

bench-log: ## durable messages per second and confirm latency of the log, beside what the disk can do
	go run ./integration/benchlog

generate: ## write generated code anew
	go generate ./...

nightly: ## what takes too long for every change, and 12 GB of disk
	$(MAKE) test FUZZTIME=5m CRASH_SEEDS=50000 CRASH_ROUNDS=200
	go test -count=1 -timeout 60m -run NaiveModel ./core/broker -rapid.checks=30000 -rapid.steps=100
	GATEWAY_RACE=1 go test -count=1 -timeout 30m ./integration/...
	$(MAKE) conformance-amqp
	$(MAKE) conformance-mqtt
	$(MAKE) conformance-stomp
	go run ./integration/bench backlog -messages 10000000 -queues 100000
	go run ./integration/bench bridge

clean: ## remove what was built; data stays
	rm -rf bin integration/node/node_modules
