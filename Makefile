# Everything happens in .venv, from exact versions with hashes (requirements.lock). Needs Linux, make, Python >= 3.11.
PYTHON ?= python3
PACKAGES := household wire written playbooks intake insight actors serving cluster loadtest tests
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# What was imported once stays compiled, also where the environment asks Python to leave no files: every process of a Hearth
# would compile Ray and all else again, which takes longer than what it then does.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help demo test test-quick test-chaos test-deploy lint proto chart rooms bench picture lock clean

help:
	@echo "make demo    set up, start Hearth with a simulated town, show what it decides"
	@echo "make test    lint, types, import contracts, all tests"
	@echo "make test-quick  the tests that start no Ray"
	@echo "make test-chaos  the fault suites: kills, stops, broken disks, a real Kafka and PostgreSQL (long)"
	@echo "make test-deploy  the chart by helm and schemas, the image's steps in a scratch root (needs Go; long the first time)"
	@echo "make lint    lint, types and import contracts alone"
	@echo "make proto   generate the stubs from protos/ again"
	@echo "make chart   render the chart again for its laws (tests/deploy/rendered.yaml)"
	@echo "make rooms   tell of each room what its files are for, and draw them from the imports (docs/rooms.md, docs/rooms.svg)"
	@echo "make bench   the measurements behind the promises (long)"
	@echo "make picture run the demo and draw it for the README (docs/demo.svg)"
	@echo "make lock    resolve the dependencies again and write requirements.lock"
	@echo "make clean   remove what make made"

demo: $(INSTALLED)
	@$(BIN)/hearth demo

# Three at a time, since tests also wait, with the linters beside them; those that start a Ray of their own one after another, since each takes
# both cores.
test: $(INSTALLED)
	@$(MAKE) --no-print-directory --jobs 2 lint test-quick
	$(BIN)/python -m pytest -m "ray and not chaos and not deploy" tests/end_to_end tests/serving

test-quick: $(INSTALLED)
	$(BIN)/python -m pytest -n 3 --dist loadfile -m "not ray and not chaos and not deploy"

# Suites that need a real Kafka, PostgreSQL or libfaketime install it themselves where they can, and skip saying so where not.
test-chaos: $(INSTALLED)
	$(BIN)/python -m pytest -m chaos --capture=no --timeout 1500

# helm and kubeconform are built, and schemas fetched, by tests/parts/install_kube_tools.sh; where not, they skip, saying so.
test-deploy: $(INSTALLED)
	$(BIN)/python -m pytest -m deploy --capture=no --timeout 1500

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports
	$(BIN)/buf lint protos

proto: $(INSTALLED)
	cd protos && find hearth -name '*.proto' -print0 | sort -z | xargs -0 ../$(BIN)/python -m grpc_tools.protoc \
	    -I. --python_out=. --pyi_out=. --grpc_python_out=.

chart: $(INSTALLED)
	$(BIN)/python -m tests.deploy.chart

rooms: $(INSTALLED)
	$(BIN)/python -m docs.make_rooms

bench: $(INSTALLED)
	$(BIN)/python -m loadtest.bench all

picture: $(INSTALLED)
	$(BIN)/python docs/make_picture.py

# One version of each package for all supported Pythons; no package host and no path of this machine in the files.
LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --fork-strategy fewest --generate-hashes \
    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

lock: $(BIN)/uv
	$(LOCK) --extra dev --output-file requirements.lock pyproject.toml
	echo uv | $(LOCK) --no-annotate --output-file requirements-uv.lock -

$(INSTALLED): pyproject.toml requirements.lock $(BIN)/uv
	@echo "Installing exact versions from requirements.lock (about 1 GB the first time) ..."
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --require-hashes -r requirements.lock
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@echo "Compiling the kernels (half a minute on two cores) ..."
	$(BIN)/python -m actors.shard.warm
	touch $@

$(BIN)/uv: requirements-uv.lock
	@[ "$$(uname -s)" = Linux ] || { echo "Hearth runs on Linux; this is $$(uname -s)."; exit 1; }
	@command -v "$(PYTHON)" >/dev/null || { \
	    echo "'$(PYTHON)' was not found. Hearth needs Python 3.11 or newer; another one: make PYTHON=/path/to/python3"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || { \
	    echo "Hearth needs Python 3.11 to 3.14; '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1). Another one: make PYTHON=/path/to/python3"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "'$(PYTHON)' cannot make virtual environments: its venv or ensurepip is missing. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find $(PACKAGES) protos -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
