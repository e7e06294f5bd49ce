# Two commands: `make demo` runs the main job on the embedded default, `make test` the tests.
# Both create .venv first. PYTHON chooses the interpreter, CONSTRAINTS the pins.
PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
BIN := .venv/bin

.PHONY: install demo test test-all lint clean

.venv/installed: setup.cfg pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "error: $(PYTHON) is older than Python 3.10; give another one: make PYTHON=python3.11 ..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable '.[dev]'
	# W&B's sweep schema, which the tests hold the sweep files against; it declares an old numpy that its schema doesn't need.
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps sweeps==0.3.0
	touch $@

install: .venv/installed

demo: .venv/installed
	PATH="$(CURDIR)/$(BIN):$$PATH" bash configs/demo/run.sh

test: .venv/installed
	$(BIN)/python -m pytest

# Also what `make test` leaves out: slow tests, the wheel, the site, a browser, notebooks.
test-all: .venv/installed
	$(BIN)/python -m pytest -m ""

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv runs build *.egg-info
