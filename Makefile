# Works on a machine with nothing but Python 3.11 or later: everything else goes into .venv,
# in the versions that requirements/*.lock name.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
UV_VERSION := 0.13.9
NATIVE := server/placet_native

PYTEST_ARGS ?=
BENCH_ARGS ?=

# The first Python that is new enough; empty if there is none.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$python; break; }; done)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run demo-canary demo-regions test polyglot corpus soak native native-check bench bench-gate check lint types imports protos-check protos baseline lock clean

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ------------------------------------------------------------------------------ everyday

run: $(VENV)/.run ## start a server, publish the examples, print decisions
	$(BIN)/placet quickstart

demo-canary: $(VENV)/.run ## roll out a good change and a bad one under traffic; the bad one is rolled back by itself
	$(BIN)/placet demo canary

demo-regions: $(VENV)/.run ## six regions on this machine under calls from around the world; keys kill, hang and drain them
	$(BIN)/placet demo regions

test: $(VENV)/.dev ## run the tests (PYTEST_ARGS='-k name' passes arguments on)
	$(BIN)/pytest -q -n 2 --dist loadscope -m 'not corpus and not soak and not polyglot' $(PYTEST_ARGS)

polyglot: $(VENV)/.dev ## the clients in Go, Node and Java: their own tests, then all against real servers that break
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pytest -q -m polyglot $(PYTEST_ARGS)

corpus: $(VENV)/.dev ## put the whole Cedar corpus through the service
	$(BIN)/pytest -q -m corpus $(PYTEST_ARGS)

soak: $(VENV)/.dev ## a thousand revisions published and rolled out under constant load; minutes without a control plane
	$(BIN)/pytest -q -n 2 -m soak $(PYTEST_ARGS)

native: $(VENV)/.native ## build the native path for new decisions (needs cargo) and install it

native-check: $(VENV)/.native ## the native path's own tests, style and lints
	cd $(NATIVE) && cargo fmt --check
	cd $(NATIVE) && cargo clippy --quiet --release --locked --all-targets -- -D warnings
	cd $(NATIVE) && PYO3_PYTHON=$(abspath $(BIN)/python) cargo test --quiet --release --locked

bench: $(VENV)/.bench ## measure decisions beside Cerbos and OPA, write a report (BENCH_ARGS='--quick --only hot,cold')
	$(BIN)/python -m bench $(BENCH_ARGS)

bench-gate: $(VENV)/.dev ## fail when a ratio of speeds was lost; under a minute
	$(BIN)/python -m bench.gate

check: lint types imports protos-check ## everything but the tests: style, types, arrows, protos

lint: $(VENV)/.dev ## style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.dev ## mypy, strict
	$(BIN)/mypy

imports: $(VENV)/.dev ## which room may import which
	$(BIN)/lint-imports

protos-check: $(VENV)/.dev ## protos: style, compatibility with the baseline, generated code up to date
	$(BIN)/buf lint protos
	$(BIN)/buf lint server/protos
	$(BIN)/buf breaking protos --against protos/baseline.binpb
	$(BIN)/python protos/generate.py --check

# ------------------------------------------------------------------------------ now and then

protos: $(VENV)/.dev ## regenerate clients/python/placet/v1 and server/placet_server/xds/v3
	$(BIN)/python protos/generate.py

baseline: $(VENV)/.dev ## take today's protos as what must not break: see CONTRIBUTING.md
	$(BIN)/buf build protos --exclude-source-info -o protos/baseline.binpb

lock: | $(BIN)/python ## resolve requirements/*.lock anew: see requirements/README.md
	$(PIP) install --quiet uv==$(UV_VERSION)
	$(call compile,run) $(PLACET) --group build
	$(call compile,dev) $(PLACET) --extra envoy --group dev --constraints requirements/run.lock
	$(call compile,bench) $(PLACET) --extra envoy --group dev --group bench --constraints requirements/dev.lock
	$(call compile,native) --group native
	$(call compile,polyglot) --group polyglot
	@if command -v cargo >/dev/null; then \
		$(BIN)/python requirements/crates.py restore \
		&& (cd $(NATIVE) && cargo update --quiet $(or $(CARGO_FLAGS),--workspace)) \
		&& $(BIN)/python requirements/crates.py keep; \
		else echo "no cargo: the lock of the native path's crates stays as it is" >&2; fi

compile = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
	--output-file requirements/$(1).lock --constraints requirements/constraints.txt $(UV_FLAGS)
PLACET = pyproject.toml --extra all

clean: ## remove the environment and all caches
	rm -rf $(VENV) $(NATIVE)/target build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './node_modules/*' -prune -exec rm -rf {} +

# ------------------------------------------------------------------------------ environment

install = $(PIP) install --quiet --use-pep517 --require-hashes -r requirements/$(1).lock \
	&& $(PIP) install --quiet --no-deps --no-build-isolation -e .

$(VENV)/.run: requirements/run.lock pyproject.toml | $(BIN)/python
	$(call install,run)
	@touch $@

# dev.lock holds all of run.lock: one install serves both.
$(VENV)/.dev: requirements/dev.lock pyproject.toml | $(BIN)/python
	$(call install,dev)
	@touch $(VENV)/.run $@

# And bench.lock holds all of dev.lock.
$(VENV)/.bench: requirements/bench.lock pyproject.toml | $(BIN)/python
	$(call install,bench)
	@touch $(VENV)/.run $(VENV)/.dev $@

# Go and Node, for a machine that has none or old ones: `make polyglot` finds them here first.
$(VENV)/.polyglot: requirements/polyglot.lock | $(VENV)/.dev
	$(PIP) install --quiet --require-hashes -r requirements/polyglot.lock
	@touch $@

# Beside whichever of the above there is. Cargo's lock is made of ours: see requirements/crates.py.
$(VENV)/.native: requirements/native.lock $(wildcard $(NATIVE)/src/*.rs) $(NATIVE)/Cargo.toml $(NATIVE)/native.lock | $(VENV)/.run
	@if ! command -v cargo >/dev/null; then \
		echo "the native path is built by cargo, and there is none: install Rust; without it, Python does the same" >&2; \
		exit 1; fi
	$(PIP) install --quiet --require-hashes -r requirements/native.lock
	$(BIN)/python requirements/crates.py restore
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --quiet --release --locked -m $(NATIVE)/Cargo.toml
	@touch $@

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "placet needs python 3.11 or later, and found none: install one, or name it: make PYTHON=/path/to/python" >&2; \
		exit 1; fi
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "$(PYTHON) cannot make virtual environments: on Debian or Ubuntu, apt-get install python3-venv" >&2; \
		exit 1; fi
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
