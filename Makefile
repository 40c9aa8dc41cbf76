# Plimsoll's commands. `make help` lists them; the README's two are `make demo` and `make test`.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LIBVIRT := $(VENV)/.libvirt
TOOLS := tools/testenv:tools/demo:tools/bench:tools/e2e:tools/nodeimage
# One worker a core for what waits on a control plane; the rest is quick either way.
WORKERS ?= auto

.DEFAULT_GOAL := help

.PHONY: help
help: ## List every target with one line
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Plimsoll needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
		  echo "Install it, or name another: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make virtual environments."; \
		  echo "On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "[1/2] making the virtual environment $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@echo "[2/2] installing Plimsoll and its tools, pinned by constraints.txt (about a minute)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

.PHONY: install
install: $(READY) ## Make the virtual environment with everything pinned

.PHONY: controlplane
controlplane: $(READY) ## Build the test control plane once (cached outside the checkout)
	@PYTHONPATH=$(TOOLS) $(BIN)/python -m plimsoll_testenv build

.PHONY: node-image
node-image: $(READY) ## Build the disk image of a node once (cached outside the checkout)
	@PYTHONPATH=$(TOOLS) $(BIN)/python -m plimsoll_nodeimage build

$(LIBVIRT): $(READY)
	@echo "installing the client of libvirt, which takes libvirt-dev, pkg-config and a C compiler"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,libvirt]'
	@touch $@

.PHONY: libvirt
libvirt: $(LIBVIRT) ## Add the client of libvirt to the virtual environment

.PHONY: e2e-check
e2e-check: $(READY) ## Say whether this machine can run real VMs, and why not
	@PYTHONPATH=$(TOOLS) $(BIN)/python -m plimsoll_e2e --check

.PHONY: e2e
e2e: $(LIBVIRT) controlplane node-image ## Tell the story on real VMs (ACCELERATION=, KEEP=1)
	@PYTHONPATH=$(TOOLS) $(BIN)/python -m plimsoll_e2e --json build/e2e.json

.PHONY: demo
demo: controlplane ## Show the whole idea on a real control plane (KEEP=1 leaves it up)
	@PYTHONPATH=$(TOOLS) $(BIN)/python -m plimsoll_demo

.PHONY: test
test: lint crds-check controlplane ## Run every check and every test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

# Which random worlds, and how many; WORLD=NUMBER for one that disagreed.
SEED ?=
N ?= 2000
WORLD ?=

.PHONY: fuzz
fuzz: controlplane ## Compare plans of random worlds with the real scheduler (N=, SEED=, WORLD=)
	@PYTHONPATH=$(TOOLS):tests $(BIN)/python -m differential --worlds $(N) \
		$(if $(SEED),--seed $(SEED)) $(if $(WORLD),--world $(WORLD))

.PHONY: unit
unit: $(READY) ## Run only the tests that need no control plane
	$(BIN)/python -m pytest -n $(WORKERS) tests/unit

.PHONY: lint
lint: $(READY) ## Check style, types and the layers
	@echo "ruff, mypy --strict, import-linter"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

.PHONY: crds
crds: $(READY) ## Write crds/ and docs/reference/api.md from the models
	@$(BIN)/python -m plimsoll.api.crd crds
	@$(BIN)/python -m plimsoll.api.reference docs/reference/api.md

.PHONY: crds-check
crds-check: crds ## Fail if crds/ or the reference differ from the models
	@git diff --exit-code --stat -- crds docs/reference/api.md || \
		{ echo "crds/ or docs/reference/api.md were out of date: commit what 'make crds' wrote"; exit 1; }

.PHONY: cluster
cluster: controlplane ## Start a control plane, print its KUBECONFIG line, keep it until Ctrl-C
	@PYTHONPATH=$(TOOLS) $(BIN)/python -m plimsoll_testenv up

.PHONY: bench
bench: controlplane ## Measure beside peers and bounds (QUICK=1: tiny; PARTS="scale live": some)
	@PYTHONPATH=$(TOOLS) $(BIN)/python -m plimsoll_bench --json build/bench.json \
		$(if $(QUICK),--quick) $(PARTS)

.PHONY: bench-live
bench-live: controlplane ## Measure the operator on a real control plane (VMS=1000)
	@PYTHONPATH=$(TOOLS) $(BIN)/python -m plimsoll_bench --json build/bench-live.json \
		$(if $(QUICK),--quick) $(if $(VMS),--vms $(VMS)) live

.PHONY: clean
clean: ## Remove the virtual environment and what tools left in the checkout
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
