# The verbs of the project. Everything runs from .venv, made from the hash-pinned requirements.lock; needs only
# Python 3.11+, and the network for the first `make`. PYTHON=python3.12 make demo picks another interpreter.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8
PARITY := $(VENV)/parity

.PHONY: demo test cluster lint parity axe lock clean

demo: $(VENV)/.ready
	$(BIN)/bench demo

# Files of tests are shared out to a process a core, each with one thread: more would wait for each other.
test: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -P -m pytest -n auto --maxprocesses 4 --dist loadfile

# The tests on a Ray cluster, whose simulated nodes take both cores and their time to start.
cluster: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -P -m pytest -m cluster

lint: $(VENV)/.ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# What checks the accessibility of the site in the browser tests, which skip without it. Needs npm.
axe: tests/browser/node_modules/.ready

tests/browser/node_modules/.ready: tests/browser/package-lock.json
	npm ci --prefix tests/browser --ignore-scripts --no-audit --no-fund
	touch $@

# The backbone against genuine fairseq, on transformers 5 and 4. What .venv does not have lies in folders that are
# searched before it; all else is shared. Needs a C++ compiler; takes minutes.
parity: $(PARITY)/.ready
	PYTHONPATH=$(PARITY)/fairseq:. $(BIN)/python -P -m tests.parity.prove 5
	PYTHONPATH=$(PARITY)/transformers-4:$(PARITY)/fairseq:. $(BIN)/python -P -m tests.parity.prove 4

# Fairseq is built from its sdist, apart from .venv and hence without torch's extensions; what builds it is pinned too.
$(PARITY)/.ready: $(VENV)/.ready tests/parity/requirements.lock tests/parity/transformers-4.lock
	rm -rf $(PARITY)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --target $(PARITY)/fairseq --no-deps --require-hashes \
	  --build-constraints requirements.lock --build-constraints tests/parity/requirements.lock \
	  -r tests/parity/requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --target $(PARITY)/transformers-4 --no-deps --require-hashes \
	  -r tests/parity/transformers-4.lock
	touch $@

# uv only speeds the installation up; it checks every hash of the lock. The project itself is installed editable.
$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bench needs Python 3.11 or newer (set PYTHON=...)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

# Rewrites the locks from the ranges of pyproject.toml and of what parity is proven with: hashes, no download addresses.
LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links --upgrade --quiet

lock:
	$(LOCK) --all-extras pyproject.toml -o requirements.lock
	$(LOCK) --no-deps tests/parity/requirements.in -o tests/parity/requirements.lock
	$(LOCK) --no-deps tests/parity/transformers-4.in -o tests/parity/transformers-4.lock

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
