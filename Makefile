# `make` alone lists what there is. Each target does the whole set-up first, once.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c $(RIGHT) 2>/dev/null && echo $$p && break; done)
RIGHT   = 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'
BIN     = .venv/bin
READY   = .venv/.ready
UV      = 'uv>=0.9,<1'
DEVICE ?= cpu

# With it, importing torch compiles it anew in every process.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup train test test-all check bench lock clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' Makefile

setup: $(READY)  ## a .venv with everything, from nothing but Python 3.11 to 3.13 with pip

train: $(READY)  ## train on bundled data, about a minute; make train ARGS="seed=1 trainer.epochs=5"
	$(BIN)/mtl train $(ARGS)

test: $(READY)  ## the tests, but for the slow ones; make test ARGS="tests/reporting -k csv"
	$(BIN)/pytest -n auto --dist worksteal $(ARGS)

test-all: $(READY)  ## all tests, also the slow ones
	$(BIN)/pytest -n auto --dist worksteal -m "" $(ARGS)

check: $(READY)  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY)  ## docs/benchmarks.md, measured anew; make bench DEVICE=cuda ARGS="--only step,epoch"
	$(BIN)/python -m bench.table --device $(DEVICE) $(ARGS)
	$(if $(ARGS),,$(BIN)/python -m bench.cost)

lock: $(READY)  ## pin the newest versions that pyproject.toml allows
	$(BIN)/uv pip compile pyproject.toml --group dev --all-extras --universal --python-version 3.11 --upgrade \
	    --no-annotate --custom-compile-command "make lock" --quiet --output-file requirements.lock

clean:  ## remove .venv and what tools left; runs/ and data stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv takes torch and torchvision from one registry, so that they match; pip might mix in a local build.
# Where Python came without ensurepip, its own pip puts uv into the .venv.
$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" && $(PYTHON) -c $(RIGHT) || \
	    { echo 'mtl needs Python 3.11, 3.12 or 3.13: make setup PYTHON=/path/to/python3.12' >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || $(PYTHON) -m venv --clear --without-pip .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet $(UV) || \
	    $(PYTHON) -m pip --python $(BIN)/python install --quiet $(UV)
	@echo 'setting up .venv; the first time this fetches torch, some 2 GB ...'
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --requirements requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(READY)
