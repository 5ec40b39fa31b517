# The verbs of the project. `make run` and `make test` need nothing but Python 3.11 or newer.
PYTHON ?= python3
PORT ?= 8501
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run test test-slow check bench features edge-fit golden browser train clean

help:
	@echo "make run       start the app (installs what it needs into .venv first) and print its address"
	@echo "make test      the tests, a few minutes"
	@echo "make test-slow the tests that take minutes each"
	@echo "make check     style, types and the order of the layers"
	@echo "make browser   journeys in a real Chromium"
	@echo "make bench     figures: speed and error, as ratios in one run"
	@echo "make features  count the networks of the published latencies again; read the diff before you commit it"
	@echo "make edge-fit  fit the latency model's hyperparameters again, a quarter of an hour; read the diff"
	@echo "make golden    write the golden files anew; read the diff before you commit it"
	@echo "make train     train the bundled models again (hours; MODELS=... for some of them)"
	@echo "make clean     remove .venv and caches"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "VitEdge needs Python 3.11 or newer; name one with: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/.run

run: $(VENV)/.run
	$(BIN)/python -m streamlit run app.py --server.port $(PORT)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto -m "not slow and not browser"

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 -m "slow and not browser"  # two at a time: some take gigabytes

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

browser: $(VENV)/.dev
	$(BIN)/python -m pytest -m browser tests/browser

bench: $(VENV)/.dev
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

features: $(VENV)/.run
	$(BIN)/python -m vitedge_core.experiments.network_features

edge-fit: $(VENV)/.run
	$(BIN)/python -m vitedge_core.experiments.edge_fit

golden: $(VENV)/.dev
	VITEDGE_GOLDEN=write $(BIN)/python -m pytest tests/golden

train: $(VENV)/.run
	$(BIN)/python -m vitedge_core train $(MODELS)

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
