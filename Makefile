# `make demo` and `make test` do everything themselves. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLUSTER ?= dev
IMAGES ?=
TAG ?= dev
export PYTHONPATH := operator:runner:.
# Tests start dozens of Python processes, and each would compile all sources anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help venv demo demo-down test test-fast lint soak bench generate lock clean

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

venv: $(VENV)/.installed ## Create the virtual environment with the locked, hashed dependencies.

$(VENV)/.installed: requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	@echo "creating the virtual environment ($(VENV))"
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	@touch $@

demo: venv ## Bring a cluster up, install everything, and watch four sessions run. CLUSTER=current uses your own cluster.
	@$(BIN)/python -m devcluster.demo up --cluster $(CLUSTER) --images '$(IMAGES)' --tag '$(TAG)'

demo-down: venv ## Stop the demonstration's cluster and remove what it left on this machine.
	@$(BIN)/python -m devcluster.demo down

test: venv ## Run the static checks and every tier of tests.
	@$(BIN)/python -m tests.tiers unit apiserver kwok node

test-fast: venv ## Run the static checks and the tests that need no cluster.
	@$(BIN)/python -m tests.tiers unit

lint: venv ## Format check, lint, types, import rules, generated files.
	@$(BIN)/python -m tests.tiers

soak: venv ## Simulate sessions and faults for long: STEPS=100000 SEED=1.
	@PYTHONHASHSEED=0 PYTHONPATH=operator:runner:. $(BIN)/python -m tests.machine --steps $(or $(STEPS),100000) --seed $(or $(SEED),1)

bench: venv ## Print the figures that the documentation quotes, beside their bars.
	@$(BIN)/python -m bench

generate: venv ## Write the CRDs, RBAC and chart templates that are made from the code.
	@$(BIN)/python -m agentsession.generate

lock: venv ## Resolve the dependencies of pyproject.toml anew, pinned and hashed.
	@$(BIN)/python -m tests.lock

clean: ## Remove the virtual environment and caches of this checkout.
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
