# make sweep   a real design sweep, from a fresh machine on
# make test    the tests
# make lint    ruff and mypy
# make docs    the documentation as web pages, into build/docs
# make venv    only the set-up: .venv with the pinned dependencies and this checkout
# make clean   removes .venv, caches and build leftovers; results in runs/ stay

VENV := .venv
STAMP := $(VENV)/.stamp
BIN := $(VENV)/bin

.PHONY: sweep test lint docs venv clean

sweep: $(STAMP)
	$(BIN)/mesoforge sweep berea_transport --out runs/berea_transport

test: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "open build/docs/index.html"

venv: $(STAMP)

# Set up again when a dependency changes. An environment without pip is what an interrupted set-up left: made anew.
$(STAMP): pyproject.toml constraints.txt
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	    for python in python3.11 python3; do \
	        if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	            echo "making $(VENV) with $$($$python --version)"; \
	            $$python -m venv --clear $(VENV) && exit 0; \
	            echo "error: $$python cannot make $(VENV); its message is above (on Debian and Ubuntu: install the python3-venv package)" >&2; exit 1; \
	        fi; \
	    done; \
	    echo "error: mesoforge needs Python 3.11 or newer as python3.11 or python3; found: $$(python3 --version 2>&1 || echo none)" >&2; exit 1; \
	fi
	@echo "installing mesoforge and its dependencies into $(VENV) (the first time takes a few minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

clean:
	rm -rf $(VENV) build dist mesoforge.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
