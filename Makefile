# `make help` says what is there. Nothing here calls sudo.
SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help test lint check

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 20

test: ## run every test
	@$(BIN)/pytest -n 2 --dist loadgroup

lint: ## ruff and mypy
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

check: lint test ## lint, then test
