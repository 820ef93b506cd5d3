# `make run` and `make test` set themselves up; `make setup` only installs.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXAMPLE := build/example
# -n 2: the suite is meant for two cores; tests that measure nothing may share them.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadgroup

.PHONY: setup run test check bench format clean
.DEFAULT_GOAL := run

# A broken environment (moved, half installed, another Python gone) is made anew.
setup:
	@test -n "$(PYTHON)" || { echo "KAT Pilot needs Python 3.11 or newer on the PATH." >&2; exit 2; }
	@$(BIN)/python -c 'import pip' 2>/dev/null || rm -rf $(VENV)
	@$(MAKE) --no-print-directory $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing KAT Pilot into $(VENV) (a minute or two the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

run: setup
	@$(BIN)/kat models pull nano
	@sh examples/open.sh $(EXAMPLE)
	@KAT_ENGINE=embedded $(BIN)/kat $(EXAMPLE)

test: setup
	@$(BIN)/kat models pull nano
	$(PYTEST)

check: setup
	@$(BIN)/ruff format --check --quiet . || { echo "Run 'make format'." >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --config pyproject.toml | tail -n 4

format: setup
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# Those on the fifty tasks take an hour and fetch packages: docs/results.md says how they are run.
BENCHMARKS := $(filter-out $(patsubst %,benchmarks/%.py,measure damage packages mended localise),$(wildcard benchmarks/*.py))

bench: setup
	@$(BIN)/kat models pull nano
	@for b in $(BENCHMARKS); do echo "== $$b"; $(BIN)/python $$b || exit 1; done

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
