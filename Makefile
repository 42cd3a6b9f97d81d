# Two commands are enough to begin with: `make serve` and `make test`. `make help` lists the others.

PYTHON ?= python3
VENV   ?= .venv
CONFIG ?=
ENGINE ?= docker
IMAGE  ?= lading
ARGS   ?=

BIN       := $(VENV)/bin
BOOTSTRAP := $(PYTHON) tools/bootstrap.py --venv $(VENV)

.DEFAULT_GOAL := help
.PHONY: help setup serve test faults check docs matrix format bench image lock clean

help: ## List what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'Variables: CONFIG=file.yml (serve), ARGS="…" (serve, test, faults, bench, image, lock), PYTHON=python3.12, VENV=.venv'

setup: ## Make .venv from the lock, with everything for development
	@$(BOOTSTRAP) --dev

serve: ## Serve a registry on 127.0.0.1:5000 (sets up first if needed; CONFIG=, ARGS=)
	@$(BOOTSTRAP)
	@exec $(BIN)/lading serve $(CONFIG) $(ARGS)

test: ## Run the whole test suite (ARGS="-k tags", ARGS=tests/unit)
	@$(BOOTSTRAP) --dev
	@$(BIN)/python -m tools.debian
	@exec $(BIN)/python -m pytest --numprocesses=2 --dist=loadgroup $(ARGS)

faults: ## Kill, cut the power, fill disks, break connections: nothing may be lost (ARGS=--long for hours of it)
	@$(BOOTSTRAP) --dev
	@$(BIN)/python -m tools.debian
	@exec $(BIN)/python -m pytest tests/faults tests/properties tests/integration/test_fuzz.py \
		tests/integration/test_bad_store.py tests/integration/test_backup.py tests/integration/test_verify.py $(ARGS)

check: ## Check format, lint, types, the import ladder, generated pages and the house rules
	@$(BOOTSTRAP) --dev
	$(BIN)/ruff format --check --output-format=concise
	$(BIN)/ruff check --output-format=concise
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m lading.config.document | diff -u docs/reference/configuration.md - \
		|| { echo 'docs/reference/configuration.md is not what the model says: make docs'; exit 1; }
	@$(BIN)/python -m lading.cli.document | diff -u docs/reference/cli.md - \
		|| { echo 'docs/reference/cli.md is not what the commands say: make docs'; exit 1; }
	@$(BIN)/python -m lading.access.document | diff -u docs/reference/permissions.md - \
		|| { echo 'docs/reference/permissions.md is not what the table of roles says: make docs'; exit 1; }
	@$(BIN)/python -m lading.api.harbor.document | diff -u docs/reference/harbor-api.md - \
		|| { echo 'docs/reference/harbor-api.md is not what the routes say: make docs'; exit 1; }
	$(BIN)/python -m pytest --quiet --no-header tests/unit/test_repository.py

docs: ## Write the generated pages anew
	@$(BOOTSTRAP) --dev
	$(BIN)/python -m lading.config.document > docs/reference/configuration.md
	$(BIN)/python -m lading.cli.document > docs/reference/cli.md
	$(BIN)/python -m lading.access.document > docs/reference/permissions.md
	$(BIN)/python -m lading.api.harbor.document > docs/reference/harbor-api.md

matrix: ## Write the reviewed texts of who may what anew (then read the difference)
	@$(BOOTSTRAP) --dev
	@LADING_WRITE_MATRIX=1 $(BIN)/python -m pytest -q -n0 tests/integration/permissions -k reviewed

format: ## Format the code and mend what ruff can mend
	@$(BOOTSTRAP) --dev
	$(BIN)/ruff check --quiet --fix-only
	$(BIN)/ruff format

bench: ## Measure Lading beside registry:2 and nginx (ARGS=--help lists the figures)
	@$(BOOTSTRAP) --dev
	@$(BIN)/python -m tools.debian
	@exec $(BIN)/python -m bench $(ARGS)

image: ## Build the container image (IMAGE=lading:1.0, ENGINE=podman, ARGS="--build-arg BASE=…")
	$(ENGINE) build --file deploy/container/Dockerfile --tag $(IMAGE) \
		--build-arg VERSION="$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' src/lading/__init__.py)" \
		--build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
		--build-arg CREATED="$$(date --utc +%Y-%m-%dT%H:%M:%SZ)" $(ARGS) .

lock: ## Write requirements/*.txt anew (ARGS=--upgrade to move on); needs uv
	@tools/lock.sh $(ARGS)

clean: ## Remove the environment and everything generated
	rm -rf $(VENV) .tools build dist htmlcov .coverage .coverage.* \
		.mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} +
