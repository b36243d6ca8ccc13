# Everything from Python and make alone: the virtual environment is made on the way.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Compiled programs are kept, so that a second run starts at once.
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/jax
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0.1

.PHONY: run test test-fast test-all wheel versions check bench notebooks docs clean

run: $(VENV)/installed ## Evolve networks that memorize noise: about a minute on two cores
	@echo "Evolving networks that memorize 64 images of noise (about a minute on two cores) ..."
	@$(BIN)/python experiments/memorization.py

test: check ## The default suite
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow"

test-fast: $(VENV)/installed ## The core of the suite, in under two minutes
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow" tests/test_algorithm.py tests/test_run.py \
		tests/test_pedigree.py tests/test_tree.py tests/test_imports.py tests/variation tests/selection

wheel: $(VENV)/installed ## A wheel that was installed in an empty environment and ran the README
	@$(BIN)/python scripts/check_wheel.py

test-all: check ## All tests, the slow ones too; fused loops are compiled as users compile them
	XLA_FLAGS="--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0" \
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

versions: $(VENV)/installed ## The default suite on the oldest and the newest of everything: docs/versions.md
	$(BIN)/nox

check: $(VENV)/installed ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(VENV)/installed ## The measurements that the docs quote
	$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python -m benchmarks.promises
	$(BIN)/python -m benchmarks.speed

notebooks: $(VENV)/installed ## Execute the notebooks again, outputs included
	$(BIN)/python notebooks/execute.py

docs: $(VENV)/installed ## The site, in docs/_build/html; a warning is an error
	@$(BIN)/python -m pip install --quiet --group docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jaxga needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	@echo "Making a virtual environment in $(VENV) (only the first time) ..."
	@$(PYTHON) -m venv $(VENV)
	@echo "Updating pip in it ..."
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@echo "Installing jaxga and its packages, those of the tests too (2 GB, about a minute and a half) ..."
	@$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

clean: ## Remove what was built; runs/ stays
	rm -rf $(VENV) .cache
