# `make help` prints what there is. ARGS goes through to the command: make up ARGS="--port 9000 --data DIR"

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CODE := schemas services connectors tests
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install up test lint format bench lock clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## install Tocsin and what it needs into .venv

up: $(INSTALLED) ## start a hub on this machine; Ctrl-C stops it
	@exec $(BIN)/tocsin up $(ARGS)

test: $(INSTALLED) ## run all tests; ARGS names some: make test ARGS=tests/unit
	$(BIN)/python -m pytest $(ARGS)

lint: $(INSTALLED) ## check style and types
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

format: $(INSTALLED) ## bring the code into its style
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

bench: $(INSTALLED) ## measure speed, latency and memory
	$(BIN)/python -m tests.bench $(ARGS)

# In two steps, so that what production installs is a part of what was tested.
lock: $(INSTALLED) ## renew the lock files from pyproject.toml; ARGS=--upgrade takes the newest versions
	$(call compile,requirements.lock,--all-extras)
	$(call compile,requirements-run.lock,--extra postgres --extra rocksdb --extra speed -c requirements.lock)

define compile
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate \
	  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options \
	  $(2) $(ARGS) --output-file $(1) pyproject.toml
endef

# Everything comes by its hash and ready-made: nothing is compiled, and nothing unlocked is fetched to build with.
$(INSTALLED): pyproject.toml requirements.lock requirements-clients.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tocsin needs Python 3.11 or newer: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: -r requirements-clients.lock
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

clean: ## remove the installation and all caches; the hub's data stay
	rm -rf $(VENV) *.egg-info build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
