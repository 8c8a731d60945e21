# Fiducial. `make help` lists what there is.
# Debian's own Python where it will do: it is built with profile-guided optimisation, and one compiled without takes a
# third longer for everything.
PYTHON ?= $(shell /usr/bin/python3 -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
  2>/dev/null && echo /usr/bin/python3 || echo python3)
SIMULATE ?= 1
BIN := .venv/bin
# What production looks like, for `check --deploy`; a data directory of its own, so that no real one is touched.
DEPLOYED = FIDUCIAL_TRUST=known FIDUCIAL_BEHIND_PROXY=1 FIDUCIAL_ALLOWED_HOSTS=fiducial.example.org FIDUCIAL_DATA_DIR=$$folder

.PHONY: help run test check bench profile peers install install-dev
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 10

run: install  ## start everything, with a simulated hospital (SIMULATE=0: without)
	@$(BIN)/python manage.py up --die-with-parent $(if $(filter-out 0,$(SIMULATE)),--simulate)

test: install-dev  ## every test, on SQLite and, where it is installed, on PostgreSQL
	@$(BIN)/python -m tests.on_each_database

check: install-dev  ## linters, types, layers, migrations, deployment, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/djlint --quiet --lint templates
	$(BIN)/djlint --quiet --check templates
	$(BIN)/lint-imports
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	echo "manage.py check --deploy" && $(DEPLOYED) $(BIN)/python manage.py check --deploy --fail-level WARNING && \
	echo "manage.py makemigrations --check" && $(DEPLOYED) $(BIN)/python manage.py makemigrations --check --dry-run
	@$(BIN)/python requirements/audit.py

bench: install-dev  ## compare with peers; table here, JSON in benchmarks/results/latest.json
	@$(BIN)/python -m benchmarks.run

profile: install-dev  ## where the time of the two hottest paths goes: C-STORE of small objects, worklist queries
	@$(BIN)/python -m benchmarks.profile

peers:  ## install the programs that tests and benchmarks talk to (Debian/Ubuntu, as root)
	@test "$$(id -u)" = 0 || { echo "make peers installs Debian packages: run it as root."; exit 1; }
	@PYTHON=$(PYTHON) .ci/peers

install:
	@$(PYTHON) requirements/install.py base

install-dev:
	@$(PYTHON) requirements/install.py dev
