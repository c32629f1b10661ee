# The one command line of the project; `make` lists the targets. Needs make and Python >= 3.11, uses uv if found.

PYTHON ?= python3
PRESET ?= quick
PORT   ?= 8000
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.complete
OLDEST := .venv-oldest
UV     := $(shell command -v uv 2>/dev/null)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup book paper draft chapter notebooks dist serve test oldest check bench gpu mutants lock clean distclean

help:  ## this list
	@echo "make TARGET, one of:"
	@sed -nE 's/^([a-z]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(STAMP)  ## the environment .venv, as locked (the targets below do it when needed)

book: $(STAMP)  ## execute what changed, render, print the page to open (PRESET=quick)
	$(BIN)/bilp book --preset $(PRESET)

paper: $(STAMP)  ## the same at the paper's scale: hours to days, meant for a GPU
	$(BIN)/bilp book --preset paper

draft: $(STAMP)  ## render without executing anything
	$(BIN)/bilp book --preset $(PRESET) --draft

chapter: $(STAMP)  ## one chapter with other parameters: CH=redundancy ARGS="-p seeds 5"
	$(if $(CH),,$(error say which chapter: make chapter CH=redundancy ARGS="-p seeds 5"))
	$(BIN)/bilp run $(CH) --preset $(PRESET) $(ARGS)

notebooks: $(STAMP)  ## the chapters as notebooks for Jupyter, not executed, in notebooks/
	$(BIN)/bilp book --preset $(PRESET) --notebooks

dist: $(STAMP)  ## the wheel, the site as an archive and the whole book as a PDF, in dist/ (needs Chromium)
	$(BIN)/bilp book --preset $(PRESET) --dist

serve:  ## show the rendered book on localhost:8000 (PORT=8000), this machine only
	@test -d _build/$(PRESET)/_build/html || { echo "No rendered book: run 'make book' first." >&2; exit 1; }
	$(PYTHON) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/$(PRESET)/_build/html

test: book  ## all tests, side by side, and the lines they reach; some look at the book, which is built first
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal --cov --cov-report=term:skip-covered

oldest:  ## the library's tests with the oldest packages that pyproject.toml allows (needs uv)
	$(if $(UV),,$(error 'make oldest' needs uv))
	test -x $(OLDEST)/bin/python || uv venv --quiet --python "$$(command -v $(PYTHON))" $(OLDEST)
	uv pip compile pyproject.toml --all-extras --resolution lowest-direct --upgrade --no-header --quiet \
		--python $(OLDEST)/bin/python -o $(OLDEST)/requirements.txt
	uv pip install --python $(OLDEST)/bin/python -r $(OLDEST)/requirements.txt
	uv pip install --quiet --python $(OLDEST)/bin/python --no-deps --no-build-isolation -e .
	$(OLDEST)/bin/python -m pytest -W default tests --ignore tests/book --ignore tests/test_readme.py

check: $(STAMP)  ## formatting, lint, types, links, and that lock and environment are in step
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_project.py tests/book/test_html.py

bench: $(STAMP)  ## the speed measurements (ARGS="--reference DIR": beside the reference; "--large DIR": bars of large data)
	$(BIN)/python tests/bench/bench.py $(ARGS)

gpu: $(STAMP)  ## pack what a machine with a GPU needs for half an hour of checks and trials: ARGS="--data FILE"
	$(BIN)/python tests/gpu/plan.py pack $(ARGS)

mutants: $(STAMP)  ## which small changes of the library no test notices (ARGS="pruning/ite.py"): hours for all
	$(BIN)/python tests/bench/mutants.py $(ARGS)

lock:  ## renew requirements.lock from pyproject.toml (needs uv)
	$(if $(UV),,$(error 'make lock' needs uv))
	uv pip compile pyproject.toml --all-extras --universal --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-header --no-strip-extras --quiet -o requirements.lock --python "$$(command -v $(PYTHON))"

clean:  ## remove what was built; trial records, data and .venv stay
	rm -rf _build dist .coverage .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)*' -prune -exec rm -rf {} +

distclean: clean  ## remove .venv and .venv-oldest as well
	rm -rf $(VENV) $(OLDEST)

# The packages come with hashes from the lock; the project itself is linked, not copied, with the locked hatchling.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Setting up $(VENV); torch is large, so this takes minutes."
ifdef UV
	test -x $(BIN)/python || uv venv --quiet --python "$$(command -v $(PYTHON))" $(VENV)
	uv pip install --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
else
	$(PYTHON) -m venv $(VENV) || { \
		echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
endif
	@touch $@
