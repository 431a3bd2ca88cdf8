# Short verbs. Each one makes the virtual environment first if it is not there yet:
#
#   make demo     improve a small policy on three LIBERO tasks, and write a report
#   make test     the tests
#   make test-slow  the tests that take long: every task's scene, against the originals where they are
#   make lint     ruff: style and formatting
#   make type     pyright
#   make format   let ruff rewrite what `lint` complains about
#   make bench    the benchmarks that back the numbers in the README
#   make clean    remove the environment and what tools left behind (runs/ stays)
#
# VENV=path puts the environment elsewhere, PYTHON=python3.12 chooses the interpreter, and PIP_FLAGS is passed to pip
# (for example the --extra-index-url of PyTorch's CPU builds, which are much smaller than its default ones).

VENV ?= .venv
PIP_FLAGS ?=
BIN := $(VENV)/bin
READY := $(VENV)/.hone-ready

# The first interpreter that runs and is new enough: a name on the path may be a shim for a version that is not there.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3 python; do \
	if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$name; break; fi; \
	done)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint type format bench setup clean

help:
	@sed -n 's/^#   //p' Makefile

setup: $(READY)

# The stamp is written last, so an installation that was interrupted is taken up again.
$(READY): pyproject.toml constraints.txt
	@python="$(PYTHON)"; \
	if [ -z "$$python" ]; then echo "missing: Python 3.11 or newer: apt-get install python3 python3-venv" >&2; exit 1; fi; \
	"$$python" -I src/hone/cli/system.py && { [ -x $(BIN)/python ] || "$$python" -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	$(BIN)/hone setup
	@touch $@

demo: $(READY)
	$(BIN)/hone demo

test: $(READY)
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(READY)
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/demo.py
	$(BIN)/python benchmarks/one_demo_object.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache src/*.egg-info
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
