# The one front door: `make` lists what there is. Every target sets up what it needs.

PYTHON ?= python3.11
VENV ?= .venv
PY := $(VENV)/bin/python
# An index that holds CPU builds of torch, where the default one offers only CUDA builds:
#   make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
PIP_INSTALL := $(PY) -m pip install -c requirements/constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
STAMP := $(VENV)/.slacktide-setup
PROTOC := $(PY) -m grpc_tools.protoc -Iproto --plugin=protoc-gen-mypy_grpc=$(VENV)/bin/protoc-gen-mypy_grpc
CODE := planner storage controlplane nodeagent bench tests setup.py
SLACKTIDE := $(VENV)/bin/slacktide
PYTEST := $(PY) -m pytest
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

##@ Start here
.PHONY: help demo test
help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-zA-Z0-9_%-]+:.*## / { printf "  %-28s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(STAMP) ## the whole product in minutes: fleet, online load, a batch, a report
	@$(PY) -m bench.demo $(ARGS)

test: check test-engine test-cluster ## everything: static checks, unit tests, real engines, a real fleet

##@ Set-up
.PHONY: setup lock clean
setup: $(STAMP) ## virtual environment with a CPU engine (idempotent; TORCH_INDEX=… if needed)

$(STAMP): pyproject.toml VERSION setup.py requirements/constraints.txt requirements/cpu-agent.txt requirements/dev.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON): not found; Slacktide needs Python 3.11, set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "setup: torch, SGLang's CPU set and tools: 2 GB, about 2 minutes"
	@$(PIP_INSTALL) --progress-bar off -r requirements/dev.txt -r requirements/cpu-agent.txt
	@$(PIP_INSTALL) --progress-bar off --no-deps sglang==0.5.23
	@# The dependencies come from pyproject.toml; sglang's own pins are none of our business.
	@$(PIP_INSTALL) -q --no-warn-conflicts --no-build-isolation -e '.[controlplane,agent,dev]'
	@touch $@

lock: $(STAMP) ## write requirements/constraints.txt from this environment
	@{ sed -n '/^#/p' requirements/constraints.txt; $(PY) -m pip freeze --all --exclude-editable | grep -vE '^(#|-e |pip==|slacktide)| @ ' | sed 's/+cpu$$//'; } > build.constraints && mv build.constraints requirements/constraints.txt

clean: ## remove build/ and caches (not the environment, not a running fleet's state)
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

##@ Code
.PHONY: proto fmt
proto: $(STAMP) ## regenerate the stubs under proto/slacktide/v1
	$(PROTOC) --python_out=proto --pyi_out=proto proto/slacktide/v1/*.proto
	$(PROTOC) --grpc_python_out=proto --mypy_grpc_out=quiet:proto proto/slacktide/v1/*_service.proto

fmt: $(STAMP) ## format and sort imports
	$(VENV)/bin/ruff format $(CODE) proto/slacktide/wire
	$(VENV)/bin/ruff check --fix --select I $(CODE) proto/slacktide/wire

##@ Checks
.PHONY: check lint types arch proto-check buf test-unit test-engine test-cluster soak
check: lint types arch proto-check buf test-unit ## all that needs no engine

lint: $(STAMP) ## ruff: rules and format
	$(VENV)/bin/ruff check $(CODE) proto/slacktide/wire
	$(VENV)/bin/ruff format --check $(CODE) proto/slacktide/wire

types: $(STAMP) ## mypy --strict
	$(VENV)/bin/mypy

arch: $(STAMP) ## import-linter: imports run one way
	$(VENV)/bin/lint-imports

proto-check: $(STAMP) ## fail when the committed stubs are stale
	@rm -rf build/proto-check && mkdir -p build/proto-check
	@$(PROTOC) --python_out=build/proto-check --pyi_out=build/proto-check proto/slacktide/v1/*.proto
	@$(PROTOC) --grpc_python_out=build/proto-check --mypy_grpc_out=quiet:build/proto-check proto/slacktide/v1/*_service.proto
	@for stub in build/proto-check/slacktide/v1/*; do \
	  cmp -s $$stub proto/slacktide/v1/$${stub##*/} || { echo "proto/slacktide/v1/$${stub##*/}: stale; run \`make proto\` and commit" >&2; stale=1; }; \
	done; for stub in proto/slacktide/v1/*_pb2*; do \
	  test -e build/proto-check/slacktide/v1/$${stub##*/} || { echo "$$stub: has no .proto any more; remove it" >&2; stale=1; }; \
	done; test -z "$$stale" && echo "stubs are fresh"

buf: $(STAMP) ## buf lint, and buf breaking against the last tag (or commit) that has protos
	$(VENV)/bin/buf lint proto
	@base=$$(git describe --tags --abbrev=0 2>/dev/null || git rev-parse -q --verify HEAD^ || true); \
	if test -n "$$base" && git cat-file -e "$$base:proto/buf.yaml" 2>/dev/null; then \
	  echo "buf breaking against $$base"; $(VENV)/bin/buf breaking proto --against ".git#ref=$$base,subdir=proto"; \
	else echo "buf breaking: no earlier contract to compare with"; fi

test-unit: $(STAMP) ## unit and property tests
	@# A file stays on one worker: its fixtures are made once.
	$(PYTEST) -n auto --dist loadfile -m "not engine and not cluster and not gpu" $(ARGS)

test-engine: $(STAMP) ## tests on a real SGLang engine (CPU)
	$(PYTEST) -m "engine and not cluster" $(ARGS)

test-cluster: $(STAMP) ## tests on a real fleet of processes with real engines
	$(PYTEST) -m cluster $(ARGS)

soak: $(STAMP) ## thousands of random requests: co-location never changes a token (docs/soak.md)
	PYTHONPATH=.:tests/engine $(PY) -m soak $(ARGS)

##@ Measure
.PHONY: bench
bench: bench-demo ## what a batch costs online requests in the demo; others: make bench-NAME
bench-%: $(STAMP) ## run a benchmark, e.g. make bench-demo ARGS="--repeats 3" (bench/README.md)
	$(PY) -m bench $* $(ARGS)

##@ Local fleet
.PHONY: cluster-up cluster-down status drain rolling-upgrade
cluster-up: $(STAMP) ## start control plane, gateway and two agents (ARGS="--nodes 3")
	$(SLACKTIDE) cluster up $(ARGS)

cluster-down: $(STAMP) ## stop the fleet and check that nothing remains
	$(SLACKTIDE) cluster down $(ARGS)

status: $(STAMP) ## processes of the fleet with their versions
	$(SLACKTIDE) status

drain: $(STAMP) ## move everything off a node: make drain NODE=n1 [ARGS="--deadline 60"]
	@test -n "$(NODE)" || { echo "drain: no node given; say make drain NODE=n1 (see \`make status\`)" >&2; exit 2; }
	$(SLACKTIDE) node drain $(NODE) --reason "make drain" --wait $(ARGS)

rolling-upgrade: $(STAMP) ## replace every process by a new build: make rolling-upgrade VERSION=0.2.0
	@test -n "$(VERSION)" || { echo "rolling-upgrade: no version given; say make rolling-upgrade VERSION=0.2.0" >&2; exit 2; }
	$(SLACKTIDE) cluster upgrade --to $(VERSION) $(ARGS)
