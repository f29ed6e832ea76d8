# `make help` says what is there. Nothing here calls sudo, and nothing is written outside the clone but pip's cache.
SHELL := /bin/sh
.DEFAULT_GOAL := help

# Settings, on the command line or in the environment.
# PYTHON: a Python 3.11 to 3.14 for a new .venv (else the first that is found).
# TORCH_INDEX: where torch comes from; with a GPU, for example https://download.pytorch.org/whl/cu130.
PYTHON ?=
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TEST_JOBS ?= 3
SOAK_MINUTES ?= 30
SOAK_SEED ?= 1
# More for the campaigns, for example --events 200000 --queries 1000000 (an hour); `python tests/soak --help`.
SOAK_OPTIONS ?=
# $(value): a folder's name may hold dollar signs, so make must not look into it.
export MEMES := $(value FOLDER)
export TORCH_INDEX PYTHON

BIN := .venv/bin
WITH_PYTHON = python=$$(sh packaging/python.sh) && exec "$$python"
SET_UP = $(WITH_PYTHON) packaging/bootstrap.py
FOR_TRAINING = $(BIN)/python -c 'import resvg_py' 2>/dev/null || $(BIN)/python -m pip install --quiet --requirement training/requirements.txt

.PHONY: help run test lint check bench setup install-service uninstall-service lock train-bundled eval-bundled eval-search soak soak-systemd soak-packages generated deb release-check

help:
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 28

run: ## watch FOLDER (without it: samples/) and answer searches; sets up what is missing
	@$(WITH_PYTHON) packaging/start.py

test: ## run every test; sets up what is missing
	@($(SET_UP) test)
	@exec env -u DISPLAY -u WAYLAND_DISPLAY $(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadgroup

lint: ## ruff and mypy
	@($(SET_UP) test)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy -p benchmarks.search

check: lint test ## lint, then test

bench: ## measure everything in benchmarks/, and write docs/benchmarks.md (hours; let nothing else run)
	@($(SET_UP) test)
	@exec $(BIN)/python -m benchmarks

setup: ## set everything up again, whatever an earlier set-up said
	@($(SET_UP) run)
	@($(SET_UP) test)
setup: export SETUP := again

install-service: ## have systemd start memewatchd on FOLDER for you, now and at every login
	@($(SET_UP) run)
	@exec $(BIN)/python packaging/systemd/service.py install

uninstall-service: ## take that back (settings and index stay)
	@exec $(BIN)/python packaging/systemd/service.py uninstall

lock: ## resolve again what setup.cfg asks for (needs uv: pip install uv)
	@exec $(BIN)/python packaging/lock.py

train-bundled: ## make the bundled model again, from scratch (hours; needs npm and apt-get once)
	@($(SET_UP) test)
	@$(FOR_TRAINING)
	@exec $(BIN)/python -m training

eval-bundled: ## measure the bundled model (half an hour; needs npm and apt-get once)
	@($(SET_UP) test)
	@$(FOR_TRAINING)
	@$(BIN)/python -m training --until draw
	@exec $(BIN)/python -m training.evaluate

eval-search: ## measure what the search finds, on a meme set of its own (minutes; needs npm and apt-get once)
	@($(SET_UP) run)
	@($(SET_UP) test)
	@$(FOR_TRAINING)
	@exec $(BIN)/python -m benchmarks.search --sweep

soak: ## try hard to break it for SOAK_MINUTES, and write docs/reliability.md; more of it as root
	@($(SET_UP) test)
	@exec $(BIN)/python tests/soak --minutes $(SOAK_MINUTES) --seed $(SOAK_SEED) --write $(SOAK_OPTIONS)

soak-systemd: ## as root: check the service under a real systemd, in a root of its own (minutes)
	@exec $(BIN)/python tests/e2e/systemd/soak.py

soak-packages: ## as root: the Debian package and the daemon by pipx, in a fresh Debian of its own (minutes)
	@exec $(BIN)/python tests/e2e/systemd/packages.py

generated: ## write man pages and completions anew, from the programs' own tables
	@($(SET_UP) test)
	@exec $(BIN)/python packaging/generate.py

deb: ## build the client as a Debian package in dist/ (needs dpkg-deb and no set-up)
	@$(WITH_PYTHON) packaging/deb/build.py

release-check: ## build wheel and sdist, install them in a clean environment and search there (minutes)
	@($(SET_UP) run)
	@exec $(BIN)/python packaging/release_check.py
