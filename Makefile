# PurpleSky: `make help` lists what there is.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Nothing phones home, and no tool looks for a newer version of itself.
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export MLFLOW_DISABLE_TELEMETRY := true
export GX_ANALYTICS_ENABLED := false
# `make up VENUE=local` runs against the local exchange, in a folder of its own.
export VENUE

.DEFAULT_GOAL := help
.PHONY: help env demo up down status deploy doctor backup test test-all test-bounds lint bench calibrate ui lock clean
VENUE ?= bybit

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

env: $(STAMP) ## create the environment in .venv from the lock file

$(STAMP): locks/all.txt pyproject.toml bootstrap.sh
	@PYTHON="$(PYTHON)" ./bootstrap.sh $(VENV) locks/all.txt
	@touch $@

demo: $(STAMP) ## the whole job offline, in minutes: market, capture, validation, training, gate, dry-run
	@$(BIN)/purplesky demo

up: $(STAMP) ## run everything, with one log, until Ctrl-C; VENUE=local takes the local exchange
	@$(BIN)/purplesky up

down: $(STAMP) ## end what `make up` runs
	@$(BIN)/purplesky down

status: $(STAMP) ## what runs, since when, how it is, and where to look
	@$(BIN)/purplesky status

deploy: $(STAMP) ## register the flows and schedules of prefect.yaml with the running server
	@$(BIN)/purplesky deploy

doctor: $(STAMP) ## look at the whole installation, with advice
	@$(BIN)/purplesky doctor

backup: $(STAMP) ## registry, journals, studies, manifests and settings in one verified archive
	@$(BIN)/purplesky backup

test: $(STAMP) ## the test suite (under 10 minutes on two cores)
	@$(BIN)/pytest -q -n 2 --dist loadfile -m "not slow"

test-all: $(STAMP) ## the test suite with the long ones
	@$(BIN)/pytest -q -n 2 --dist loadfile

test-bounds: $(STAMP) ## the tests of what is compiled, with every index of every kernel checked
	@NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(CURDIR)/.numba_cache/bounds $(BIN)/pytest -q -n 2 --dist loadfile \
		-m "not slow" tests/market tests/features tests/council tests/simulation tests/executor \
		tests/training/test_outcomes.py tests/training/test_backtest.py

lint: $(STAMP) ## ruff, mypy --strict, the house plan
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(STAMP) ## measure; ONLY=features runs one room's
	@$(BIN)/python -m tests.bench $(ONLY)

calibrate: $(STAMP) ## how often the gate passes where there is nothing to find (200 markets; resumable)
	@nice -n 19 $(BIN)/purplesky calibrate

calibrate-small: $(STAMP) ## the same with eight markets, as CI does
	@$(BIN)/pytest -q -n 0 tests/training/test_calibrate.py -k small

ui: $(STAMP) ## MLflow, Prefect and the reports, on what is in data/ and mlruns/
	@$(BIN)/purplesky ui

.PHONY: calibrate-small docs docs-reference tutorial
docs: $(STAMP) ## the documentation as a site, below data/site; a broken link fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open data/site/index.html"

tutorial: $(STAMP) ## type in the tutorial, word for word (about 5 minutes)
	@$(BIN)/pytest -q -n 0 tests/docs/test_tutorial.py -k as_it_stands

docs-reference: $(STAMP) ## write the pages and pictures that are made from the code anew
	@$(BIN)/python -m tests.docs.reference --write
	@$(BIN)/python -m tests.docs.pictures --write
	@$(BIN)/purplesky features > docs/features.md

lock: $(STAMP) ## resolve pyproject.toml again, keeping the locked versions where they still fit
	@$(BIN)/uv pip compile -q pyproject.toml --extra pipeline --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header -o locks/all.txt
	@$(BIN)/uv pip compile -q pyproject.toml --universal --python-version 3.11 --constraint locks/all.txt \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header -o locks/executor.txt

clean: ## remove the environment and caches; data/ and mlruns/ stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .numba_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
