# Two commands: `make demo` and `make test`. Both set up what is missing; both work a second time.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test lint lock clean help

help: ## Show what can be made
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/'

demo: $(READY) ## Run the whole story on real flights, embedded
	$(BIN)/slipway demo

# A process per tier, and more where the tests call flows in their own process: what one has
# imported or left in its environment is no other's.
test: $(READY) ## Pass every test, the fast tiers first
	$(BIN)/python -m pytest tests/unit tests/scenarios tests/architecture tests/docs tests/golden
	$(BIN)/python -m pytest tests/contract
	$(BIN)/python -m pytest tests/gateway
	$(BIN)/python -m pytest tests/flows/test_kills.py
	$(BIN)/python -m pytest tests/flows/test_bad_input.py tests/flows/test_requests.py tests/flows/test_readme.py
	$(BIN)/python -m pytest tests/flows/test_buttons.py tests/flows/test_story.py tests/flows/test_strategies.py tests/flows/test_league.py
	$(BIN)/python -m pytest tests/flows/test_probe_in_containers.py tests/flows/test_lost_engines.py
	$(BIN)/python -m pytest tests/e2e

lint: $(READY) ## Style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The lock is complete, so pip resolves nothing (--no-deps) and takes only what the hashes allow.
# The migrated databases of Prefect and MLflow are made once here, so that a first run starts at once.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --no-index -e .
	$(BIN)/python -m tasks.prepare > /dev/null
	touch $(READY)

lock: ## Resolve requirements.lock again (needs uv)
	uv pip compile --universal --python-version 3.11 --extra dev --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
	  --quiet pyproject.toml --output-file requirements.lock

clean: ## Remove what was set up and what runs left behind
	[ ! -x $(BIN)/slipway ] || $(BIN)/slipway stop
	rm -rf .venv .slipway
