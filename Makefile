# Nothing but Python 3.11 or newer and make is needed; everything else comes from the package registry.
PYTHON ?= python3
# The versions to install; /dev/null installs the newest.
CONSTRAINTS ?= constraints.txt
VENV := .venv
OLDEST := .venv-oldest
BESIDE := .venv-beside
ENGINES := .venv-engines
ORCHESTRATORS := .venv-orchestrators
DOCS := .venv-docs
BIN := $(VENV)/bin
SOURCES := mc_sink tests benchmarks notebooks
XDIST := --numprocesses 3 --dist worksteal

.PHONY: setup demo test coverage test-long test-oldest test-engines test-beside test-wheel first-delivery bench figures pictures screenshots docs dist clean

setup: $(VENV)/ready

# The environment is built again when pyproject.toml or the constraints have changed.
$(VENV)/ready: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mc_sink needs Python 3.11 or newer; say make PYTHON=…")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable '.[test]'
	$(BIN)/python -m compileall -q mc_sink  # as an installed wheel is, also where Python may write no bytecode by itself
	touch $@

$(OLDEST)/ready: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-oldest.txt --editable '.[test]'
	touch $@

$(ENGINES)/ready: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv --clear $(ENGINES)
	$(ENGINES)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable '.[test,engines,readers]'
	touch $@

# Airflow, Dagster and Prefect agree neither with the engines nor with the tests' other libraries.
$(ORCHESTRATORS)/ready: pyproject.toml constraints-orchestrators.txt
	$(PYTHON) -m venv --clear $(ORCHESTRATORS)
	$(ORCHESTRATORS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-orchestrators.txt \
		--editable . apache-airflow dagster prefect pytest
	touch $@

$(DOCS)/ready: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv --clear $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable '.[docs]'
	touch $@

demo: setup
	$(BIN)/mc-sink demo --rows 1000000

# mypy uses one core, for about a minute, and so runs beside the tests. Either failure fails the target.
test: setup
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy & types=$$!; \
	$(BIN)/python -m pytest -m 'not long' $(XDIST) --durations=10; tests=$$?; \
	wait $$types && exit $$tests

# The same tests with the share of lines and branches that they reach in the worker processes.
coverage: setup
	$(BIN)/python -m pytest -m 'not long' $(XDIST) --cov --cov-report=term:skip-covered

test-long: setup
	$(BIN)/python -m pytest -m long --numprocesses 2 --dist load --durations=10

# The wheel in an environment of its own, with the core dependencies alone; `make test` includes it.
test-wheel: setup
	$(BIN)/python -m pytest tests/test_wheel.py

# The seconds from `pip install` to the first object, by the commands of docs/first-delivery.md.
first-delivery: setup
	$(BIN)/python .ci/first_delivery.py

# The same tests on the oldest supported dependencies.
test-oldest: $(OLDEST)/ready
	$(OLDEST)/bin/python -m pytest -m 'not long' $(XDIST) --durations=10

# Deliveries from Spark, Ray and Dask, and reads by Spark, Hive's serdes and ClickHouse, in an environment of their own.
# Spark needs Java 17 or newer. The engines and Pandera warn about each other.
test-engines: $(ENGINES)/ready $(ORCHESTRATORS)/ready
	$(ENGINES)/bin/python -m pytest tests/engines -W default --durations=10
	$(ORCHESTRATORS)/bin/python -m pytest tests/engines/test_orchestrators.py --noconftest -o addopts= -o filterwarnings=

# A delivery in an environment with another library that people have.
test-beside:
	PYTHON=$(PYTHON) VENV=$(BESIDE) .ci/beside.sh

bench: setup
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-disable-gc --timeout 3600 -q

# How large the package's parts are, and how they depend on each other.
figures:
	$(PYTHON) .ci/figures.py

# The pictures of the README; the same version gives the same bytes.
pictures: setup
	$(BIN)/python -m notebooks.pictures

# What people see, to be looked at after a change of it: cells, reports and terminals, in screenshots/. Needs a Chromium.
screenshots: setup
	$(BIN)/python -m notebooks.screenshots screenshots

# The documentation site, in site/. It is built without a network; a warning or a broken link fails the target.
docs: $(DOCS)/ready
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --config-file .ci/mkdocs.yml --strict --quiet
	$(DOCS)/bin/python .ci/links.py site

# The wheel and the source distribution, in dist/.
dist: setup
	rm -rf dist
	$(BIN)/python -m pip install --quiet --disable-pip-version-check build
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) $(OLDEST) $(BESIDE) $(ENGINES) $(ORCHESTRATORS) $(DOCS) dist site screenshots .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
