# Nothing but Python 3.11 or newer and make is needed; everything else comes from the package registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := mc_sink tests benchmarks notebooks

.PHONY: setup demo test test-long test-wheel bench figures pictures clean

setup: $(VENV)/ready

# The environment is made again when a file that defines it has changed.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mc_sink needs Python 3.11 or newer; say make PYTHON=…")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	$(BIN)/python -m compileall -q mc_sink  # as an installed wheel is, also where Python may write no bytecode by itself
	touch $@

demo: setup
	$(BIN)/python -m notebooks.demo

test: setup
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/python -m pytest -m 'not long' --numprocesses auto --maxprocesses 4 --dist loadfile --durations=10

test-long: setup
	$(BIN)/python -m pytest -m long --numprocesses 2 --dist load --durations=10

# The wheel in an environment of its own, with the core dependencies alone; `make test` includes it.
test-wheel: setup
	$(BIN)/python -m pytest tests/test_wheel.py

bench: setup
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-disable-gc --timeout 3600 -q

# How large the package's parts are, and how they hang together.
figures:
	$(PYTHON) .ci/figures.py

# Those of the README; the same version gives the same bytes.
pictures: setup
	$(BIN)/python -m notebooks.pictures

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
