# Fetching and development. Every target does its own set-up (scripts/setup.sh).

LINKS =
OUT =
N = 50
WORKERS = $(or $(WGETPOOL_WORKERS),4)
START =
SELECT = sa_[0-9]*.tar
WGETPOOL_ARGS =

BIN = .venv/bin
SETUP = scripts/setup.sh
WGETPOOL = $(BIN)/wgetpool
PYTEST_ARGS = -n auto --maxprocesses 8

# Words of the user reach the shell through the environment: no blank, quote or $ is read by make.
override LINKS := $(value LINKS)
override OUT := $(or $(value OUT),$(value WGETPOOL_OUTPUT))
override SELECT := $(value SELECT)
export LINKS OUT N WORKERS START SELECT

# One mirror for all who come without a links file; its links file is gone with `make clean`.
SAMPLE_LINKS = sample-links.txt
SAMPLE_OUT = sample-subset
SAMPLE = $(BIN)/python scripts/sample_mirror.py --links $(SAMPLE_LINKS) --

GET = $(WGETPOOL) get "$$LINKS" -o "$$OUT" --select "$$SELECT" --order name -j
WITHOUT_LINKS = No LINKS given: fetching from a sample mirror on this machine into $${OUT:-$(SAMPLE_OUT)}.
USE_SAMPLE = [ -n "$$LINKS" ] || { \
	  echo "$(WITHOUT_LINKS)" >&2; \
	  LINKS=$(SAMPLE_LINKS); OUT=$${OUT:-$(SAMPLE_OUT)}; set -- $(SAMPLE); }

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help subset quick all-tars resume status stop verify install format lint types check-format check test \
	test-unit build clean has-links has-out has-start need-venv need-run need-dev need-test

help: ## List the targets
	@echo 'make TARGET [LINKS=segment_anything_links.txt] [OUT=FOLDER] [N=50] [WORKERS=4] [START=500]'
	@echo '     [SELECT=PATTERN] [WGETPOOL_ARGS="more options of wgetpool get"]'
	@echo 'From the environment: WGETPOOL_OUTPUT for OUT, WGETPOOL_WORKERS for WORKERS, and options that a'
	@echo 'target does not set itself, such as WGETPOOL_TRIES=10 (see wgetpool get --help).'
	@sed -n 's/^\([a-z-]*\):.* ## /\1\t/p' Makefile | while IFS='	' read -r name text; do \
	  printf '  %-13s %s\n' "$$name" "$$text"; done

# ---------------------------------------------------------------- fetching

subset: has-out need-run ## Fetch the first N tars by name; without LINKS, from a sample mirror
	@set --; $(USE_SAMPLE); \
	  exec "$$@" $(GET) "$$WORKERS" --end "$$N" $(WGETPOOL_ARGS)

quick: has-out need-run ## Fetch the first 10 tars with 2 workers; without LINKS, from a sample mirror
	@set --; $(USE_SAMPLE); \
	  exec "$$@" $(GET) 2 --end 10 $(WGETPOOL_ARGS)

all-tars: has-links has-out need-run ## Fetch every tar with 8 workers
	@exec $(GET) 8 $(WGETPOOL_ARGS)

resume: has-links has-out has-start need-run ## Fetch every tar from number START on, by name
	@exec $(GET) "$$WORKERS" --start "$$START" $(WGETPOOL_ARGS)

status: need-venv ## Tell how far OUT is
	@OUT=$${OUT:-$(SAMPLE_OUT)}; $(WGETPOOL) status "$$OUT" $(WGETPOOL_ARGS) || [ $$? -eq 1 ]

stop: need-venv ## End what works on OUT, in order; the parts stay
	@OUT=$${OUT:-$(SAMPLE_OUT)}; exec $(WGETPOOL) stop "$$OUT"

verify: need-venv ## Read what is in OUT again, and tell what has changed
	@OUT=$${OUT:-$(SAMPLE_OUT)}; exec $(WGETPOOL) verify "$$OUT" $(WGETPOOL_ARGS)

# ---------------------------------------------------------------- development

install: need-run ## Make .venv with the wgetpool command in it
	@echo 'wgetpool is in $(BIN); try: $(WGETPOOL) --help'

format: need-dev ## Format the code and repair what ruff can
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

check: check-format lint types ## All checks; changes nothing

check-format: need-dev ## Is the code formatted?
	@$(BIN)/ruff format --check .

lint: need-dev ## Look for mistakes with ruff
	@$(BIN)/ruff check .

types: need-dev ## Check the types with mypy
	@$(BIN)/mypy

test: need-test ## The whole suite, with branch coverage and its gate
	@$(BIN)/pytest --cov --cov-report term-missing:skip-covered $(PYTEST_ARGS)

test-unit: need-dev ## The unit tests: a few seconds
	@$(BIN)/pytest tests/unit

build: need-dev ## Build the wheel into dist/
	@rm -rf dist
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

clean: ## Remove what make made, .venv too; downloads stay
	@rm -rf .venv dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@rm -f $(SAMPLE_LINKS)
	@find wgetpool tests scripts -name __pycache__ -type d -exec rm -rf {} +

# ---------------------------------------------------------------- set-up

has-links:
	@[ -n "$$LINKS" ] || { \
	  echo 'LINKS is missing: say which links file, LINKS=segment_anything_links.txt' >&2; exit 2; }

has-out:
	@[ -n "$$OUT" ] || [ -z "$$LINKS" ] || { \
	  echo 'OUT is missing: say where the files go, OUT=FOLDER' >&2; exit 2; }

has-start:
	@[ -n "$$START" ] || { \
	  echo 'START is missing: say which tar, counted from 0 by name, is the first, START=500' >&2; exit 2; }

need-venv:
	@$(SETUP) venv

need-run:
	@$(SETUP) wget venv

need-dev:
	@$(SETUP) dev

need-test:
	@$(SETUP) wget nginx dev
