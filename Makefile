# Everything happens in a virtual environment of its own; PYTHON is what makes it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# One thread each: the machines that test this are small, and threads that spin beside each other crawl. Bytecode is kept,
# whatever the environment says: tests start processes, which would all compile every module anew.
ENVIRONMENT := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1 MPLBACKEND=agg PYTHONDONTWRITEBYTECODE=

.PHONY: demo test test-slow test-all lint docker-lint setup clean

demo: setup ## Reproduce the learning curves of A-RPS and A-SIS: figure, JSON and a table
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m benchmarks reproduce asymmetric-games

test: setup ## Run the tests, but the slow ones
	$(ENVIRONMENT) $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-slow: setup ## Run the slow tests: whole reproductions, large plans, every game, case and trainer that others stand for above
	$(ENVIRONMENT) $(BIN)/python -m pytest -n 2 --dist worksteal -m slow

test-all: ## Run all tests
	$(MAKE) test
	$(MAKE) test-slow

lint: setup ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docker-lint: setup ## Check the container images' files with hadolint and shellcheck
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docker]"
	PATH="$(abspath $(BIN)):$$PATH" docker/check.sh lint

setup: $(VENV)/.ready

# Torch first and by itself: a plain `torch` of a newer release brings gigabytes of CUDA packages.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
