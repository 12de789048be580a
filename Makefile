# Each target does its own set-up: Python 3.11 or later, npm and (as root, on Debian) apt-get are all that must be there.
.DELETE_ON_ERROR:
.PHONY: help build test lint lint-format lint-rules lint-types lint-imports bench docs site clean servers
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PYTEST_ARGS ?= -n auto

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: $(VENV)/installed  ## compile pgtls.toml.example into out/
	$(BIN)/pgtls build pgtls.toml.example --out out --lock out/example.lock

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

docs: $(VENV)/developing  ## write the reference pages anew, from the code
	$(BIN)/python docs/reference.py

site: $(VENV)/developing  ## build the documentation as a site, into build/site; broken links and anchors are errors
	$(BIN)/python docs/pages.py build/pages
	$(BIN)/zensical build --clean --strict

clean:  ## remove what the other targets made: the environment, the servers, caches, out/
	rm -rf $(VENV) build dist tests/support/postgres/node_modules .mypy_cache .pytest_cache .ruff_cache .cache .import_linter_cache .hypothesis
	find out -mindepth 1 ! -name .gitkeep -delete

servers:
	@tests/support/postgres/install

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("pgtls needs Python 3.11 or later: make PYTHON=..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --upgrade 'pip>=25.1'

$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -qq --editable .
	@touch $@

$(VENV)/developing: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -qq --editable . --group dev
	@touch $@ $(VENV)/installed
