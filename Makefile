# All commands for users and developers. `make` lists them.
PYTHON ?= python3
PORT ?= $(or $(VGG_PORT),8000)
MODELS ?= $(or $(VGG_MODELS),vgg16)
COMPOSE ?= docker compose
BIN := .venv/bin
comma := ,

.DEFAULT_GOAL := help
.PHONY: help serve test fuzz check bench fix screenshots image up down sbom pins clean

help: ## List the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

serve: .venv/served ## Start the service: make serve PORT=8123 MODELS=vgg16,vgg19
	@VGG_PORT="$(PORT)" VGG_MODELS="$(MODELS)" VGG_STAND_IN=$${VGG_STAND_IN-vgg16-mini} \
	  $(BIN)/vgg-serve serve

test: .venv/developed ## Run every test that this machine can run
	$(BIN)/python -m pytest $(ARGS)

fuzz: .venv/developed ## Post 20,000 broken uploads to a server (nightly): make fuzz ARGS="20000 SEED"
	$(BIN)/python -m tests.fuzz $(ARGS)

check: .venv/developed ## Check lint, format, types and import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: .venv/served ## Benchmark the service that `make serve` runs in another shell, and raw runs
	$(BIN)/vgg-serve bench http://127.0.0.1:$(PORT) --raw --model $(firstword $(subst $(comma), ,$(MODELS))) $(ARGS)

fix: .venv/developed ## Format, and apply the automatic fixes
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

screenshots: .venv/developed ## Take the screenshots in docs/images (needs Chromium)
	$(BIN)/python -m tests.browser.screenshots

image: ## Build the container image (needs Docker; for a GPU, set COMPOSE_FILE in .env)
	$(COMPOSE) build --build-arg REVISION=$(shell git rev-parse HEAD) api

up: image ## Run the service in a container and show its log; Ctrl-C stops it
	$(COMPOSE) up $(ARGS)

down: ## Remove the containers and keep the weights
	$(COMPOSE) --profile observability down

UV_COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --no-strip-extras --no-emit-index-url --no-emit-find-links
# onnxruntime-gpu takes the place of onnxruntime: of two packages with the same files, the second overwrites the first.
WITH_cuda := --group cuda --no-emit-package onnxruntime
sbom: .venv/developed .venv-sbom/installed ## Write the images' bill of materials, build/sbom-*.json (CycloneDX)
	@mkdir -p build
	@for target in cpu cuda; do \
	  with=; test $$target = cpu || with="$(WITH_cuda)"; \
	  $(UV_COMPILE) --python-version 3.13 --python-platform x86_64-manylinux_2_28 --no-annotate --no-header \
	    pyproject.toml $$with --constraint requirements/$$target.txt \
	  | PYTHONWARNINGS=ignore .venv-sbom/bin/cyclonedx-py requirements --pyproject pyproject.toml \
	    --output-reproducible --output-file build/sbom-$$target.json - \
	  && echo build/sbom-$$target.json || exit 1; \
	done

COMPILE := $(UV_COMPILE) --universal --python-version 3.11 --custom-compile-command "make pins"
pins: .venv/developed ## Update the pinned requirements
	$(COMPILE) $(UPGRADE) pyproject.toml --group build --output-file requirements/cpu.txt
	$(COMPILE) $(UPGRADE) pyproject.toml $(WITH_cuda) --group build --output-file requirements/cuda.txt
	$(COMPILE) $(UPGRADE) pyproject.toml --group build --group dev --output-file requirements/dev.txt
	$(COMPILE) $(UPGRADE) --group sbom --output-file docker/sbom.txt

clean: ## Remove everything that these commands made, except weights
	rm -rf .venv .venv-ray .venv-sbom build .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage

# The environment of a user; a developer's has more packages in the same place. It is made anew if it was not finished
# (.venv/made comes last), if its Python has gone, or if pip was killed, which would take half a package for a whole one.
GONE := $(shell test ! -e .venv/installing && $(BIN)/python -c "" 2>/dev/null || echo .venv/gone)
.PHONY: .venv/gone
.venv/made: $(GONE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "vgg-serve needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@if test -z "$(GONE)" -a -e .venv/served; then touch -r .venv/served $@; exit; fi; \
	$(PYTHON) -m venv --clear .venv && touch $@ || { rm -rf .venv; \
	  echo "$(PYTHON) cannot make a virtual environment; why is said above. Debian and Ubuntu have the module ensurepip"; \
	  echo "in a package of its own: apt install python3-venv (python3.12-venv for python3.12), and run make again."; \
	  exit 1; }

install = touch .venv/installing; $(BIN)/python -m pip install --quiet --disable-pip-version-check $(1); \
  status=$$?; rm .venv/installing; exit $$status

.venv/served: .venv/made requirements/cpu.txt pyproject.toml
	$(call install,--require-hashes -r requirements/cpu.txt)
	$(call install,--no-deps --no-build-isolation -e .)
	@touch $@

.venv/developed: .venv/served requirements/dev.txt
	$(call install,--require-hashes -r requirements/dev.txt)
	@touch $@

.venv-sbom/installed: docker/sbom.txt
	$(PYTHON) -m venv --clear .venv-sbom
	.venv-sbom/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r docker/sbom.txt
	@touch $@
