# Two commands: `make demo` runs the main job on the embedded default, `make test` the tests.
# Both create .venv first. PYTHON chooses the interpreter, CONSTRAINTS the pins, TEST_PROCESSES how many tests run at once.
PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
TEST_PROCESSES ?= 2
BIN := .venv/bin

.PHONY: install install-dev demo demo-full weights test test-all test-docs docs lint clean

PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS)

.venv/installed: setup.cfg pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "error: $(PYTHON) is older than Python 3.10; give another one: make PYTHON=python3.11 ..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(PIP_INSTALL) torch
	$(PIP_INSTALL) --editable .
	touch $@

.venv/dev-installed: .venv/installed
	$(PIP_INSTALL) --editable '.[dev]'
	# W&B's sweep schema, which the tests hold the sweep files against; it declares an old numpy that its schema doesn't need.
	$(PIP_INSTALL) --no-deps sweeps==0.3.0
	touch $@

install: .venv/installed

install-dev: .venv/dev-installed

demo: .venv/installed
	PATH="$(CURDIR)/$(BIN):$$PATH" bash configs/demo/run.sh

# Trains every model of the demo.
demo-full: .venv/installed
	PATH="$(CURDIR)/$(BIN):$$PATH" bash configs/demo/full.sh

# Trains the weights that come with the package anew.
weights: .venv/installed
	PATH="$(CURDIR)/$(BIN):$$PATH" bash experiments/weights/make.sh

test: .venv/dev-installed
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal

# Also what `make test` leaves out: slow tests, the wheel, the site, a browser, notebooks.
test-all: .venv/dev-installed
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal -m ""

# The examples of the documentation, and its links, figures and commands.
test-docs: .venv/dev-installed
	$(BIN)/python -m pytest -m docs tests/docs

.venv/docs-installed: .venv/dev-installed
	$(PIP_INSTALL) --editable '.[docs]'
	touch $@

# The site of the documentation, in site/; a warning is an error.
docs: .venv/docs-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: .venv/dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv runs build site *.egg-info
