# govmail: make serve · make test · make check · make bench · make fuzz · make stress        (make help says more)
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
PY := $(VENV)/bin/python
DATA ?= var
SAMPLE ?= small
PORT_OFFSET ?= 2000
TESTS ?= tests
LONG ?= 300

.PHONY: help setup serve test check bench fuzz stress clean

help:          ## this list
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

setup: $(VENV)/.ready    ## the Python environment in .venv

$(VENV)/.ready: pyproject.toml deploy/setup.sh
	@deploy/setup.sh python

serve:         ## install what is missing, create a sample province, run everything (Ctrl-C stops)
	@deploy/setup.sh serve
	@exec $(VENV)/bin/govmail up --data $(DATA) --sample $(SAMPLE) --port-offset $(PORT_OFFSET)

test:          ## install what the tests need, then run all of them
	@deploy/setup.sh test
	@$(MAKE) --no-print-directory check
	@$(PY) -m pytest $(TESTS)

check: setup   ## lint, types, import contracts
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-cache | tail -n +12

bench:         ## measure beside Postfix + Dovecot (see tests/bench/README.md)
	@deploy/setup.sh bench
	@$(PY) tests/bench/run.py $(ARGS)

fuzz: setup    ## throw octets at every parser and decoder for LONG seconds (300)
	@$(PY) tests/fuzz/run.py --seconds $(LONG) $(ARGS)

stress: setup  ## dozens of IMAP clients and SMTP for LONG seconds (300), every response checked
	@$(PY) tests/stress/run.py --seconds $(LONG) $(ARGS)

clean:         ## forget environment and caches; data in $(DATA) stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
