# Two commands matter: `make run` serves, `make test` checks all that CI checks.
PYTHON ?= python3
PORT ?= 8000

.DEFAULT_GOAL := help
.PHONY: help run test bench lint format

help:
	@echo "make run [PORT=8000]  serve the monitor; without QuickBooks keys in .env the demo"
	@echo "make test             everything that CI checks"
	@echo "make bench            how fast it is, compared with a bare Django view"
	@echo "make lint, format     style and types; put the style right"

run: .venv/product.stamp
	@.venv/bin/python -m config.first_run --port "$(PORT)"
	@exec .venv/bin/python manage.py serve --port "$(PORT)"

test: .venv/tools.stamp
	@bash tests/run.sh

bench: .venv/tools.stamp
	@exec .venv/bin/python -m tests.bench

lint: .venv/tools.stamp
	@bash tests/run.sh lint

format: .venv/tools.stamp
	@.venv/bin/python -m ruff check --fix-only --quiet .
	@.venv/bin/python -m ruff format .

# The stamps make the second start quick: installed again only when the lists of packages change.
.venv/product.stamp: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; this is %d.%d. Name another one: make run PYTHON=python3.11" % sys.version_info[:2])'
	@test -x .venv/bin/pip || $(PYTHON) -m venv .venv
	@echo "Installing the Python packages (about half a minute, once) ..."
	@.venv/bin/python -m pip install -qq --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/tools.stamp: .venv/product.stamp requirements-dev.txt
	@echo "Installing the tools for the tests (about a minute, once) ..."
	@.venv/bin/python -m pip install -qq --disable-pip-version-check -r requirements-dev.txt
	@touch $@
