# Two commands on a fresh machine: `make search` and `make test`. They need Python 3.11+, make and pip, and nothing else.

# Another interpreter gets an environment of its own: `make test PYTHON=python3.13` works in .venv-python3.13.
PYTHON ?= python3
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOWEST := .venv-lowest

TABLE ?= digits
CHAOS_SEED ?= 0

.PHONY: search test test-lowest fuzz setup bench chaos table bench-search docs clean

search: setup
	$(BIN)/nas search --space mlp_family --budget 200

# Every check there is: format, lint, types, import rules, tests.
test: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 3 --dist loadgroup

# The tests on the lowest versions that pyproject.toml allows: its floors are what passed here. What they need from
# elsewhere is new, and deprecates some of their calls.
test-lowest: $(LOWEST)/.ready
	$(LOWEST)/bin/pytest -n 3 --dist loadgroup -W default::DeprecationWarning

# Ten times as many mutants of texts and files as `make test` reads.
fuzz: setup
	NAS_FUZZ=10 $(BIN)/pytest -n 2 tests/fuzz

setup: $(READY)

bench: setup
	$(BIN)/python -m benchmarks.run

# A search on four Ray nodes and PostgreSQL while workers, nodes, drivers, the database, checkpoints and the disk fail.
chaos: setup
	$(BIN)/python -m benchmarks.chaos --seed $(CHAOS_SEED)

# A tabular benchmark, trained and scored; it goes on where it was stopped. `make table TABLE=fashion_mnist` is another one.
table: setup
	$(BIN)/python -m benchmarks.table $(TABLE)
	$(BIN)/python -m benchmarks.score_table $(TABLE)

# Every search strategy over every table; it goes on where it was stopped, too.
bench-search: setup
	$(BIN)/nas bench --json --out docs/bench.svg > search.part
	mv search.part benchmarks/results/search.json
	$(BIN)/nas proxies --json > proxies.part
	mv proxies.part benchmarks/results/proxies.json
	$(BIN)/nas bench --strategies 'auto,auto --no-families' --runs 200 --json > ablation.part
	mv ablation.part benchmarks/results/ablation.json
	$(BIN)/python docs/generate.py
	$(BIN)/nas bench

docs: setup
	$(BIN)/python docs/generate.py

# torch comes first and at its pinned version: asked for later and more loosely, pip might take another build of it.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

$(LOWEST)/.ready: pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --upgrade pip uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .venv-* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build dist *.egg-info
