# Tape: from a fresh clone to a demo, and all that is checked. `make` alone tells what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Outside the clone, so that `git clean` costs nothing and many clones share one build.
CARGO_TARGET_DIR ?= $(HOME)/.cache/tape/target
export CARGO_TARGET_DIR
VENV ?= $(CURDIR)/.venv
BIN := $(CARGO_TARGET_DIR)/debug
PYTHON := $(VENV)/bin/python
# The demo's own flags: make demo DEMO_FLAGS=--lose-answer
DEMO_FLAGS ?=
# The bench's own flags: make bench BENCH_FLAGS='--only durable --seconds 2'
BENCH_FLAGS ?=
# How long each fuzz target runs.
FUZZ_SECONDS ?= 10

# What `npm ci` leaves, and the folders with tests in Python and Go.
NPM := connectors/node_modules/.package-lock.json
PYTHON_GUESTS := connectors/guest-python connectors/email
GO_MODULES := connectors/guest-go connectors/modern-treasury

# The virtual environment of the shell must not stand in for the one that is made here.
unexport VIRTUAL_ENV

RELEASE := $(CARGO_TARGET_DIR)/release

.PHONY: help demo bench build test test-emulators test-fuzz test-rust test-connectors test-guests test-python test-stranger lint tools tools-test python

help: ## What there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build python ## Set up what is missing, then kill an agent in the middle of a wire and count the wires
	@folder=$$(mktemp -d "$${TMPDIR:-/tmp}/tape-demo.XXXXXX"); cd "$$folder"; export PATH="$(BIN):$$PATH" TAPE_PYTHON="$(PYTHON)"; \
	tape init treasury >/dev/null; cd treasury; echo "in $$folder/treasury:" >&2; echo '$$ tape dev --kill-resume-demo $(DEMO_FLAGS)' >&2; \
	tape dev --kill-resume-demo $(DEMO_FLAGS); \
	printf 'In that folder, with: export PATH=%s:$$PATH TAPE_PYTHON=%s\n' "$(BIN)" "$(PYTHON)" >&2

bench: tools ## Hold a release build to the targets: one line each, with a picture and a history in tests/bench/results
	@echo "building tape, tape-server and the bench for release (some minutes the first time)" >&2
	@cargo build --locked --release -p tape-cli -p tape-bench --bins
	@folder=$$(mktemp -d "$(CARGO_TARGET_DIR)/bench.XXXXXX"); trap 'rm -rf "$$folder"' EXIT; \
	(cd "$$folder" && "$(RELEASE)/tape" init treasury >/dev/null); \
	"$(RELEASE)/tape-bench" --server "$(RELEASE)/tape-server" --project "$$folder/treasury/tape.yaml" --folder "$$folder" \
	--connector connectors/zendesk --connector connectors/email --connector connectors/modern-treasury \
	--out tests/bench/results $(BENCH_FLAGS)

build: tools ## Build tape and tape-server
	@echo "building tape and tape-server into $(BIN) (some minutes the first time)" >&2
	@cargo build --locked -p tape-cli --bins

python: tools $(VENV)/.tape-sdk ## Make the Python environment with the SDK and the agent framework

$(VENV)/.tape-sdk: sdk/python/pyproject.toml sdk/python/hatch_build.py sdk/python/protogen.py $(shell find server/proto/proto -name '*.proto')
	@echo "making $(VENV) with the SDK, google-adk and the tools that check them (a minute the first time)" >&2
	@[ -x "$(PYTHON)" ] || "$$(.ci/tools python)" -m venv "$(VENV)"
	@"$(PYTHON)" -m pip install --quiet --upgrade pip
	@"$(PYTHON)" -m pip install --quiet --editable 'sdk/python[adk,dev]'
	@touch "$@"

tools: ## Check that this machine has what is needed, and say how to get what is not
	@.ci/tools check

tools-test:
	@.ci/tools test

test: tools-test lint test-connectors test-guests test-rust test-python test-stranger test-fuzz ## Everything that is checked

lint: tools ## Formatting and clippy
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@if cargo tree --locked --workspace --invert aws-lc-sys >/dev/null 2>&1; then \
	echo "a second crypto provider came in (cargo tree --invert aws-lc-sys): two of them make rustls panic; turn its feature off" >&2; exit 1; fi

test-rust: tools-test build python $(NPM) $(VENV)/.tape-guests ## All Rust tests; those end to end kill real processes
	PATH="$(VENV)/bin:$$PATH" TAPE_PYTHON="$(PYTHON)" cargo test --locked --workspace

test-emulators: tools ## Connectors against their vendors' emulators, which no registry of ours has (google-cloud-cli-pubsub-emulator)
	cargo test --locked -p tape-connector-tests --features emulators --test pubsub

test-fuzz: tools ## Fuzz, guided by coverage and briefly, what decodes bytes from the wire and from the store
	.ci/fuzz $(FUZZ_SECONDS)

test-connectors: tools ## Build the connectors as components, and test them
	cd connectors && cargo fmt --all --check
	cd connectors && cargo clippy --locked --workspace --all-targets -- -D warnings
	cd connectors && cargo build --locked --release --target wasm32-wasip2 -p tape-connector-bank
	cd connectors && cargo test --locked --workspace

test-guests: tools-test python $(NPM) $(VENV)/.tape-guests ## What authors in TypeScript, Go and Python use, and their connectors: style, types, tests
	cd connectors && npm run --silent check && npm test --silent
	@for module in $(GO_MODULES); do (cd "$$module" && "$(CURDIR)/.ci/go") || exit 1; done
	cd connectors && "$(VENV)/bin/ruff" check guest-python email ../server/cli/templates/connector-python && "$(VENV)/bin/ruff" format --check guest-python email ../server/cli/templates/connector-python
	cd connectors && rm -rf .bindings && "$(VENV)/bin/componentize-py" --quiet --wit-path ../wit/tape-connector@1.0.0 --world guest bindings .bindings
	cd connectors && "$(VENV)/bin/pyright" --pythonpath "$(PYTHON)"
	@for folder in $(PYTHON_GUESTS); do (cd "$$folder" && echo "$$folder" >&2 && "$(PYTHON)" -m unittest discover -s tests -t .) || exit 1; done

$(VENV)/.tape-guests: connectors/guest-python/requirements.txt $(VENV)/.tape-sdk
	@"$(PYTHON)" -m pip install --quiet --requirement connectors/guest-python/requirements.txt
	@touch "$@"

$(NPM): connectors/package.json connectors/package-lock.json
	@echo "installing the packages that connectors in TypeScript are built with" >&2
	@cd connectors && npm ci --silent --no-audit --no-fund
	@touch "$@"

test-python: build python ## The Python SDK: style, types, tests against a server in memory and the real one
	cd sdk/python && "$(VENV)/bin/ruff" check . && "$(VENV)/bin/ruff" format --check .
	cd sdk/python && "$(VENV)/bin/pyright" --pythonpath "$(PYTHON)"
	cd sdk/python && TAPE_SERVER="$(BIN)/tape-server" "$(VENV)/bin/pytest" -q

test-stranger: tools-test build python $(VENV)/.tape-stranger ## A client from the contract's text alone, against the real server over both stores
	cd tests/stranger && "$(VENV)/bin/ruff" check . && "$(VENV)/bin/ruff" format --check .
	cd tests/stranger && "$(PYTHON)" stubs.py && "$(VENV)/bin/pyright" --pythonpath "$(PYTHON)"
	cd tests/stranger && TAPE_SERVER="$(BIN)/tape-server" TAPE_CLI="$(BIN)/tape" "$(VENV)/bin/pytest" -q

$(VENV)/.tape-stranger: tests/stranger/requirements.txt $(VENV)/.tape-sdk
	@"$(PYTHON)" -m pip install --quiet --requirement tests/stranger/requirements.txt
	@touch "$@"
