# Needs Python >= 3.11 and make; everything else is installed into .venv.

PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

PACKAGES := core image audio molecules robotics
PYPROJECTS := $(PACKAGES:%=packages/%/pyproject.toml)
CODE := packages tests $(wildcard benchmarks examples)
TYPED := $(wildcard packages/*/src) tests $(wildcard benchmarks examples)

DEMO := demo/cities demo/digits image/digits audio/enhancement molecules/backbone robotics/avoidance
DEMO_DIR := runs/demo

# Tests run in $(WORKERS) processes; threads inside them would only compete.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test test-all test-alone lint format bench docs clean

help:  ## show this
	@echo 'usage: make TARGET'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

install: $(VENV)/.installed  ## all packages, editable, and the tools of development, into .venv

demo: $(VENV)/.demo  ## a small flow of every modality, written up in runs/demo/report.html
	rm -rf $(DEMO_DIR)
	$(BIN)/flowatlas bench run $(DEMO) --preset demo --output $(DEMO_DIR)
	$(BIN)/flowatlas bench report $(DEMO_DIR)

test: $(VENV)/.installed  ## all tests but the slow ones
	$(BIN)/python -m pytest -q -n $(WORKERS) -m "not slow"

test-all: $(VENV)/.installed  ## all tests
	$(BIN)/python -m pytest -q -n $(WORKERS)

# What `test-alone` installs beside the core: the package with all its extras.
ALONE_core := all
ALONE_image := bench,kid
ALONE_audio := bench,dnsmos
ALONE_molecules := bench
ALONE_robotics := all

test-alone: | $(BIN)/python  ## tests of one package in an environment of its own: PACKAGE=image
	@test -n '$(filter $(PACKAGE),$(PACKAGES))' || { \
	  echo "PACKAGE: got '$(PACKAGE)'; one of $(PACKAGES)" >&2; exit 1; }
	rm -rf .venv-$(PACKAGE)
	$(BIN)/python -m venv .venv-$(PACKAGE)
	.venv-$(PACKAGE)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -c constraints.txt pytest hypothesis -e packages/core -e 'packages/$(PACKAGE)[$(ALONE_$(PACKAGE))]'
	.venv-$(PACKAGE)/bin/python -m pytest -q -m "not slow" tests/$(PACKAGE)

lint: $(VENV)/.installed  ## format, style and types
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy $(TYPED)

format: $(VENV)/.installed  ## put code into the format that `make lint` asks for
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

bench: $(VENV)/.installed  ## speed against peers and bare loops, into runs/speed (minutes)
	$(BIN)/python benchmarks/run.py --output runs/speed

docs: $(VENV)/.installed  ## the documentation, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo site/index.html

clean:  ## remove what was built and measured; keeps .venv
	rm -rf site runs build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find packages tests $(wildcard benchmarks examples) -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "FlowAtlas needs Python >= 3.11, $(PYTHON) is $$($(PYTHON) --version 2>&1);" \
	       "name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The demo needs every package, and what its benchmarks read and draw.
$(VENV)/.demo: VERSION constraints.txt $(PYPROJECTS) | $(BIN)/python
	$(PIP) -e 'packages/core[bench]' -e 'packages/image[bench]' -e 'packages/audio[bench]' \
	  -e 'packages/molecules[bench]' -e 'packages/robotics[plots]'
	@touch $@

$(VENV)/.installed: VERSION constraints.txt $(PYPROJECTS) $(wildcard requirements/*.txt) | $(BIN)/python
	$(PIP) -r requirements/dev.txt -e 'packages/core[all]' -e 'packages/image[bench,kid]' \
	  -e 'packages/audio[bench,dnsmos]' -e 'packages/molecules[bench]' -e 'packages/robotics[all]'
	$(PIP) --no-deps -r requirements/peers.txt
	@touch $(VENV)/.demo $@
