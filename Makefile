# make help lists the targets. Every target makes .venv by itself when it has to.

BIN := .venv/bin
# Two workers by default; a file's tests stay together, since most share a simulator that is built once. In the order of
# their names: by their number of tests, files with few but long ones would come last, and one worker would end alone.
WORKERS ?= 2
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# Options for pytest, as in: make test ARGS="-k lane"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test regress lint format clean

help:
	@echo 'make demo      run a trained layer on the RTL and draw build/demo/index.html'
	@echo 'make test      all tests but the long ones (ARGS="..." goes to pytest)'
	@echo 'make regress   the long tests: planted faults, many seeds'
	@echo 'make lint      style, types, and who imports whom'
	@echo 'make format    put the sources into the form that lint asks for'
	@echo 'make clean     remove what was built; .venv stays'

setup:
	@scripts/setup

demo: setup
	$(BIN)/acf demo

test: setup
	$(PYTEST) $(ARGS)

# Whoever is idle takes from the other worker: the fault campaigns of one file are half of the work.
regress: setup
	$(PYTEST) -m regress --dist worksteal --timeout 3600 $(ARGS)

lint: setup
	@failed=; \
	for check in 'ruff check' 'ruff format --check' 'pyright' 'lint-imports'; do \
		echo "lint: $$check"; \
		$(BIN)/$$check || failed="$$failed; $$check"; \
	done; \
	[ -z "$$failed" ] || { echo "lint: failed: $${failed#; }"; exit 1; }

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf build .pytest_cache .ruff_cache .import_linter_cache
	find golden hw sim sw tb tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
