# The whole interface of the project. Needs Python 3.11 or newer; `make test` installs the rest on a
# Debian, as root, and says elsewhere what is missing.

PYTHON ?= python3
PORT ?= 8000
DEMO_DIR ?= .demo
N ?= 12
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo demo-sfu crowd test lint types unit integration browser lock screenshots bench clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/site ## Serve a working two-tab call on http://127.0.0.1:8000 (PORT=… changes the port)
	@$(BIN)/python scripts/demo_env.py $(DEMO_DIR)
	@ENV_FILE=$(abspath $(DEMO_DIR))/env exec $(BIN)/python manage.py demo --port $(PORT)

demo-sfu: .venv/site ## The same with an SFU (Debian's package janus): rooms of more than ten
	@scripts/system-packages janus
	@$(BIN)/python scripts/demo_env.py $(DEMO_DIR)
	@ENV_FILE=$(abspath $(DEMO_DIR))/env exec $(BIN)/python manage.py demo --port $(PORT) --sfu

crowd: .venv/dev ## Fake peers for that demo's room: N=12 of them, beside your own tab
	@exec $(BIN)/python -m fake_peers --demo $(DEMO_DIR) --url http://127.0.0.1:$(PORT) -n $(N)

test: ## Everything: system packages, lint, types, migrations, all tests
	@PYTHON="$(PYTHON)" scripts/system-packages
	@$(MAKE) --no-print-directory .venv/dev node_modules/.done
	@scripts/test

lint: .venv/dev ## Lint, formatting, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/dev node_modules/.done ## Types of the Python and of the JavaScript
	$(BIN)/mypy
	node_modules/.bin/tsc --noEmit -p .

unit: .venv/dev node_modules/.done ## The tests that start no server and no browser
	$(BIN)/pytest tests --ignore tests/integration --ignore tests/browser

integration: .venv/dev ## The tests with real Daphne, Redis and PostgreSQL
	@scripts/system-packages
	$(BIN)/pytest tests/integration

browser: .venv/dev ## The tests in Chromium
	@scripts/system-packages
	$(BIN)/pytest tests/browser

screenshots: .venv/dev ## Take the README's picture again
	@scripts/system-packages
	UPDATE_SCREENSHOTS=1 $(BIN)/pytest tests/browser

bench: .venv/bench benchmarks/peers/node_modules/.done ## Measure against other servers (BENCH="--quick", BENCH="--help")
	@scripts/system-packages
	$(BIN)/python -m benchmarks.run $(BENCH)

lock: .venv/dev ## Pin the dependencies anew: requirements.txt and requirements-dev.txt
	scripts/lock

clean: ## Remove the environment, the demo and the caches
	rm -rf .venv .demo node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python's venv is missing: sudo apt-get install python3-venv" >&2; exit 1; }
	@echo "Making the environment (.venv) …"
	@$(PYTHON) -m venv .venv

.venv/site: requirements.txt | .venv/bin/python
	@echo "Installing the pinned packages …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/dev: requirements-dev.txt | .venv/bin/python
	@echo "Installing the pinned development packages …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ .venv/site

.venv/bench: benchmarks/requirements.txt | .venv/dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements-dev.txt -r benchmarks/requirements.txt
	@touch $@

benchmarks/peers/node_modules/.done: benchmarks/peers/package.json benchmarks/peers/package-lock.json benchmarks/peers/nest/tsconfig.json $(wildcard benchmarks/peers/nest/*.ts)
	@npm ci --silent --no-audit --no-fund --prefix benchmarks/peers
	@touch $@

node_modules/.done: package.json package-lock.json
	@npm ci --silent --no-audit --no-fund
	@touch $@
