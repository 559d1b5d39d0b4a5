# make test: everything this machine can check.  make demo: see the server at work.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
# Tests run two at a time, those marked `alone` one by one (tests/conftest.py); -n 0 in PYTEST_ARGS runs all in one process.
WORKERS := -n 2 --dist worksteal
.DEFAULT_GOAL := help
.PHONY: help venv test lint format types architecture demo soak proto ci clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /  make \1|/' | column -t -s '|'

$(VENV)/.installed: pyproject.toml tools/install.sh
	tools/install.sh $(VENV)

venv: $(VENV)/.installed  ## the virtual environment in .venv, installed anew when pyproject.toml changes

test: venv  ## the whole test suite (PYTEST_ARGS="-k name" for a part of it)
	$(BIN)/pytest tests $(WORKERS) $(PYTEST_ARGS)

lint: venv  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: venv  ## ruff: write the format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: venv  ## mypy, strict, over all packages in one call
	cd $(VENV)/link && ../bin/mypy --config-file skipjoin/pyproject.toml -p skipjoin

architecture: venv  ## the house rules: floors, circles, what may stand where
	$(BIN)/pytest tests/architecture -q

demo: venv  ## fcfs, skipjoin and adaptive side by side on a small model, within 5 minutes
	$(BIN)/skipjoin bench demo

soak: venv  ## kill -9 again and again, nothing acknowledged may be lost (long)
	$(BIN)/pytest tests -m soak $(PYTEST_ARGS)

proto: venv  ## generate the code in proto/ from its .proto files
	$(BIN)/python tools/generate_proto.py

ci:  ## what the build server runs
	.ci/run

clean:  ## remove what the other targets made
	rm -rf $(VENV) build dist *.egg-info
