# make demo | test | test-oldest | test-faults | test-soak | lint | types | bench | bench-growth
#      | test-all-pythons | clean
#
# Everything runs in a virtual environment of its own: VENV. PYTHON makes it; any Python from 3.11 on.

PYTHON ?= python3
VENV   ?= .venv
# Processes that run the tests. More of them than cores only makes timed tests wait.
JOBS   ?= auto

BIN  = $(VENV)/bin
MADE = $(VENV)/.made
BASE = $(VENV)/.base
DEV  = $(VENV)/.dev
PEERS = $(VENV)/.peers

.PHONY: demo test test-oldest test-faults test-soak lint types bench figures bench-growth test-all-pythons clean

demo: $(BASE)
	$(BIN)/python examples/demo.py

test: $(DEV)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

# The integrations with the oldest releases of their frameworks; `make test` has the newest.
test-oldest: $(MADE)
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints-oldest.txt
	.venv-oldest/bin/python -m pytest -n $(JOBS) --dist loadgroup tests/integrations tests/genai

# The long form: thousands of kills, cuts and outages; about an hour. FAULTS_PART=0.1 runs
# a tenth of it, FAULTS_FIGURES=folder keeps the figures as JSON.
test-faults: $(DEV)
	$(BIN)/python -m pytest tests/faults -m faults

# An hour under load, or FAULTS_SOAK_MINUTES.
test-soak: $(DEV)
	$(BIN)/python -m pytest tests/faults -m soak

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)
	$(BIN)/mypy

# Less than ten minutes on a quiet machine. Rewrites the figures of the pages and the chart. In an
# environment of its own: the tests' has none of what is compared with.
bench:
	$(MAKE) figures VENV=.venv-bench

figures: $(PEERS)
	$(BIN)/python -m benchmarks --write-pages

# What writing and reading cost as a table grows to ten million turns: half an hour, and twenty
# gigabytes of disk. Rewrites its figures in docs/benchmarks.md.
bench-growth: $(DEV)
	$(BIN)/python -m benchmarks.growth --write-pages

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed; '$(PYTHON)' is not. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; \
		exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(BASE): pyproject.toml constraints.txt $(MADE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e . -c constraints.txt
	@touch $@

# It brings all that the demo needs as well.
$(DEV): pyproject.toml constraints.txt $(MADE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $(BASE) $@

$(PEERS): pyproject.toml constraints.txt $(MADE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,peers]' -c constraints.txt
	@touch $(BASE) $(DEV) $@

# Each Python that really runs here, in an environment of its own.
test-all-pythons:
	@tested=0; for version in 3.11 3.12 3.13 3.14; do \
		if python$$version -c '' 2>/dev/null; then \
			echo "--- Python $$version"; tested=1; \
			$(MAKE) test PYTHON=python$$version VENV=.venv-$$version || exit 1; \
		fi; \
	done; test $$tested = 1 || { echo "no Python from 3.11 on was found"; exit 1; }

clean:
	rm -rf $(VENV) .venv-* dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
