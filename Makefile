# Every command of a developer and of a new user. `make` lists them.
PYTHON ?= python3
PORT ?= $(or $(VGG_PORT),8000)
MODELS ?= $(or $(VGG_MODELS),vgg16)
BIN := .venv/bin
comma := ,

.DEFAULT_GOAL := help
.PHONY: help serve test check bench fix screenshots pins clean

help: ## List the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

serve: .venv/served ## Start the service: make serve PORT=8123 MODELS=vgg16,vgg19
	@VGG_PORT="$(PORT)" VGG_MODELS="$(MODELS)" VGG_ON_MISSING_WEIGHTS=$${VGG_ON_MISSING_WEIGHTS:-untrained} \
	  $(BIN)/vgg-serve serve

test: .venv/developed ## Run all tests that this machine can run
	$(BIN)/python -m pytest $(ARGS)

check: .venv/developed ## Lint, format, types, import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: .venv/served ## Measure the service that `make serve` started in another shell, beside raw runs
	$(BIN)/vgg-serve bench http://127.0.0.1:$(PORT) --raw --model $(firstword $(subst $(comma), ,$(MODELS))) $(ARGS)

fix: .venv/developed ## Format, and mend what can be mended by itself
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

screenshots: .venv/developed ## Take the pictures of the demo page in docs/images (needs Chromium)
	$(BIN)/python -m tests.browser.screenshots

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --custom-compile-command "make pins"
pins: .venv/developed ## Renew the pinned requirements
	$(COMPILE) $(UPGRADE) pyproject.toml --extra cpu --group build --output-file requirements/cpu.txt
	$(COMPILE) $(UPGRADE) pyproject.toml --extra cuda --group build --output-file requirements/cuda.txt
	$(COMPILE) $(UPGRADE) pyproject.toml --extra cpu --group build --group dev --output-file requirements/dev.txt

clean: ## Remove what the commands above made, weights excepted
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage

# The environment of a user, and then of a developer, which has the same packages and more.
.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "vgg-serve needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/served: .venv/bin/python requirements/cpu.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/cpu.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/developed: .venv/served requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@
