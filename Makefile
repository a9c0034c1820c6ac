# All tasks of the project. They need Python 3.11 or newer. On Debian, `make test` as root installs
# the other programs that it needs; elsewhere it names the missing ones.

PYTHON ?= python3
PORT ?= 8000
DEMO_DIR ?= .demo
N ?= 12
MINUTES ?= 10
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo demo-sfu fake-peers test lint types unit integration browser hostile fuzz soak model mutants matrix \
	screenshots messages bench lock clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/site ## Serve a call page for two tabs on http://127.0.0.1:8000 (PORT=9000: another port)
	@$(BIN)/python scripts/demo_env.py $(DEMO_DIR)
	@ENV_FILE=$(abspath $(DEMO_DIR))/env exec $(BIN)/python manage.py demo --port $(PORT)

demo-sfu: .venv/site ## Serve the demo with Janus as SFU, for rooms of more than ten peers
	@scripts/system-packages janus
	@$(BIN)/python scripts/demo_env.py $(DEMO_DIR)
	@ENV_FILE=$(abspath $(DEMO_DIR))/env exec $(BIN)/python manage.py demo --port $(PORT) --sfu

fake-peers: .venv/dev ## Add fake peers to the room of the running demo (N=12: how many; PORT as in make demo)
	@exec $(BIN)/python -m fake_peers --demo $(DEMO_DIR) --url http://127.0.0.1:$(PORT) -n $(N)

test: ## Run all checks and all tests, as CI does; install what they need
	@PYTHON="$(PYTHON)" scripts/system-packages
	@$(MAKE) --no-print-directory .venv/dev node_modules/.done
	@scripts/test

lint: .venv/dev ## Check style, formatting and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/dev node_modules/.done ## Check the types of Python and JavaScript
	$(BIN)/mypy
	node_modules/.bin/tsc --noEmit -p .

unit: .venv/dev node_modules/.done ## Run the tests that need no server and no browser
	$(BIN)/pytest tests --ignore tests/integration --ignore tests/browser --ignore tests/hostile

integration: .venv/dev ## Run the tests with real servers, Redis, PostgreSQL and Janus
	@scripts/system-packages
	$(BIN)/pytest tests/integration

browser: .venv/dev ## Run the tests in Chromium
	@scripts/system-packages
	$(BIN)/pytest tests/browser

hostile: .venv/dev ## Attack real servers
	@scripts/system-packages
	$(BIN)/pytest tests/hostile

fuzz: .venv/dev ## Send 100,000 fuzzed frames to each server
	FUZZ_FRAMES=100000 $(BIN)/pytest tests/hostile/test_fuzz.py -o timeout=1800

soak: .venv/dev ## Inject random faults and check what clients see (MINUTES=10 SEED=1 SOAK="--help")
	@scripts/system-packages redis-server postgresql faketime
	$(BIN)/python -m tests.faults --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(SOAK)

model: .venv/dev ## Explore all states of the protocol between workers (MODEL="joins --states 100000")
	DJANGO_SETTINGS_MODULE=tests.settings nice -n 19 $(BIN)/python -m tests.model $(MODEL)

mutants: .venv/dev ## Break the rules one by one, and list what no unit test notices (MODULES="rooms/resuming.py")
	@scripts/install $(BIN)/python -c requirements-dev.txt cosmic-ray==8.7.0
	nice -n 19 $(BIN)/python -m scripts.mutants $(MODULES)

matrix: .venv/dev node_modules/.done ## Run the unit tests on every installed Python 3.11+, with Django 5.2 and 6
	$(BIN)/nox

screenshots: .venv/dev ## Update the pictures in docs/images
	@scripts/system-packages
	UPDATE_SCREENSHOTS=1 $(BIN)/pytest tests/browser

messages: .venv/dev ## Update the translations from the sources, and compile them
	@scripts/system-packages gettext
	@PATH="$(abspath $(BIN)):$$PATH" scripts/messages

bench: .venv/bench benchmarks/peers/node_modules/.done ## Compare with other servers (BENCH="--quick", BENCH="--help")
	@scripts/system-packages
	$(BIN)/python -m benchmarks.run $(BENCH)

lock: .venv/dev ## Update requirements.txt and requirements-dev.txt from pyproject.toml
	scripts/lock

clean: ## Remove environments, the demo and caches
	rm -rf .venv .coverage .mutants .nox .demo .soak node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python's venv is missing: sudo apt-get install python3-venv" >&2; exit 1; }
	@echo "Making the environment (.venv) …"
	@$(PYTHON) -m venv .venv

.venv/site: requirements.txt | .venv/bin/python
	@echo "Installing the pinned packages …"
	@scripts/install $(BIN)/python -r requirements.txt
	@touch $@

.venv/dev: requirements-dev.txt | .venv/bin/python
	@echo "Installing the pinned development packages …"
	@scripts/install $(BIN)/python -r requirements-dev.txt
	@touch $@ .venv/site

.venv/bench: benchmarks/requirements.txt | .venv/dev
	@scripts/install $(BIN)/python -c requirements-dev.txt -r benchmarks/requirements.txt
	@touch $@

benchmarks/peers/node_modules/.done: benchmarks/peers/package.json benchmarks/peers/package-lock.json benchmarks/peers/nest/tsconfig.json $(wildcard benchmarks/peers/nest/*.ts)
	@npm ci --silent --no-audit --no-fund --prefix benchmarks/peers
	@touch $@

node_modules/.done: package.json package-lock.json
	@npm ci --silent --no-audit --no-fund
	@touch $@
