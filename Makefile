# Each target does its own set-up in this checkout: Python 3.11 or later and npm must be there. Only `make system` changes the machine.
.DELETE_ON_ERROR:
.PHONY: help build quick test lint lint-format lint-rules lint-types lint-imports bench docs drawings site lock system clean servers
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PYTEST_ARGS ?= -n auto

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: $(VENV)/installed  ## compile pgtls.toml.example into out/
	$(BIN)/pgtls build pgtls.toml.example --out out --lock out/example.lock

quick: $(VENV)/developing servers  ## the tests but the slow ones, in less than three minutes: the inner loop
	$(BIN)/pytest $(PYTEST_ARGS) -m "not slow"

test: $(VENV)/developing servers  ## run all tests, on every PostgreSQL version; PYTEST_ARGS="-k scram" for some
	$(BIN)/pytest $(PYTEST_ARGS)

lint: lint-format lint-rules lint-types lint-imports  ## format, lint rules, types, and who may import whom

lint-format: $(VENV)/developing
	$(BIN)/ruff format --check .

lint-rules: $(VENV)/developing
	$(BIN)/ruff check .

lint-types: $(VENV)/developing
	$(BIN)/mypy

lint-imports: $(VENV)/developing
	$(BIN)/lint-imports

bench: $(VENV)/developing  ## measure, side by side, and print ratios
	$(BIN)/python tests/bench

docs: $(VENV)/developing  ## write the reference pages from the code
	$(BIN)/python docs/reference.py

drawings: servers  ## draw docs/drawings/*.dot as SVG
	node docs/drawings/draw.mjs $(CURDIR)/tests/support/postgres/package.json

site: $(VENV)/developing  ## build the documentation as a site, into build/site; broken links and anchors are errors
	$(BIN)/python docs/pages.py build/pages
	$(BIN)/zensical build --clean --strict

lock: $(VENV)/developing  ## write constraints.txt: the newest releases of the tools and libraries that all targets use
	$(BIN)/uv pip compile -q --upgrade --group dev pyproject.toml --universal --python-version 3.11 --no-annotate \
	  --custom-compile-command "make lock" -o constraints.txt

system:  ## as root on Debian: install the distribution's packages that the tests use; says which
	@tests/support/system-packages

clean:  ## remove what the other targets made: the environment, the servers, caches, out/
	rm -rf $(VENV) build dist tests/support/postgres/node_modules tests/support/postgres/debian tests/support/drivers/node/node_modules tests/support/drivers/java/jars tests/support/drivers/rust/target .mypy_cache .pytest_cache .ruff_cache .cache .import_linter_cache .hypothesis
	find out -mindepth 1 ! -name .gitkeep -delete

servers:
	@tests/support/postgres/install

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("pgtls needs Python 3.11 or later: make PYTHON=..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --upgrade 'pip>=25.1'

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -qq -c constraints.txt --editable .
	@touch $@

$(VENV)/developing: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -qq -c constraints.txt --editable . --group dev
	@touch $@ $(VENV)/installed
