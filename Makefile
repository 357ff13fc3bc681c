# make setup   .venv with .venv/bin/oomrules
# make run     set up, then rank this very host and leave the list in oom.list
# make test    every test that needs no guest
# make lint    ruff and mypy
# make bench   ratios against peers
#
# Each target does its own set-up, on a fresh Debian machine too. The distribution's
# Python is the default, because gi (PyGObject) comes with it; another one is
# `make test PYTHON=python3.13 VENV=.venv-3.13`.

PYTHON ?= /usr/bin/python3
VENV ?= .venv
BIN := $(VENV)/bin
# Become root for the package manager only where that is needed.
ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
APT := $(ROOT) env DEBIAN_FRONTEND=noninteractive apt-get

.PHONY: setup run test lint bench clean system-packages
.DELETE_ON_ERROR:

setup: $(BIN)/.ready

# What pip cannot bring: venv itself, gi, and a C compiler for the tests' own oracle.
system-packages:
	@set -e; missing=; \
	for package in python3 python3-venv python3-gi gcc libc6-dev; do \
	  dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' \
	    || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	  command -v apt-get >/dev/null || { \
	    echo "make: please install$$missing (or what they are called here)" >&2; exit 1; }; \
	  echo "installing$$missing"; \
	  $(APT) -qq update && $(APT) -qq install -y --no-install-recommends $$missing >/dev/null; \
	fi

$(BIN)/.ready: pyproject.toml | system-packages
	$(PYTHON) -m venv --system-site-packages $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,lint]'
	@touch $@

run: setup
	$(BIN)/oomrules rank --top 20
	$(BIN)/oomrules emit --to oom.list
	@printf 'oom.list: '; cat oom.list

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python bench/run.py

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis oom.list
