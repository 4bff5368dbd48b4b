# Needs make and Python 3.11 or newer, nothing else: each target installs what it needs, from lock files with hashes.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run demo unit integration e2e test test-long fmt lint lint-js types types-js check check-infra \
	screenshots docs api-diff bench bench-cold cost mutate keys package deploy destroy lock clean

BIN := .venv/bin
BENCH := .venv-bench/bin
INFRA := .venv-infra/bin
LOCK := .venv-lock/bin
MUTATE := .venv-mutate/bin
# Evaluated only when a virtual environment has to be made. `make PYTHON=python3.13 unit` chooses another one.
PYTHON = $(shell for p in python3.11 python3 python3.12 python3.13 python3.14; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)

# Hashes for every package; and wheels only, because building a package would fetch build tools without hashes.
INSTALL := -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all:

# The tests of the agent that need neither sockets nor processes; the others belong to `make integration`.
AGENT_UNIT := $(patsubst %,agent/tests/test_%.py,git_url poll_schedule redaction settings task_assignment)
UNIT := tests/unit $(AGENT_UNIT)
INTEGRATION := tests/service tests/http tests/events tests/deploy agent/tests --ignore=agent/tests/e2e \
	$(addprefix --ignore=,$(AGENT_UNIT))
E2E := tests/e2e agent/tests/e2e
PYTEST := $(BIN)/python -m pytest

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-11s  %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/installed ## run DevFlow on this machine, on port 3000 (PORT=... for another one)
	@exec $(BIN)/python -m infra.local

demo: .venv/installed ## start DevFlow and an agent, and let the agent fix a bug in a small repository
	@exec $(BIN)/python examples/demo/demo.py

unit: .venv/installed ## run the unit tests: no network, no processes, a few seconds
	$(PYTEST) -p tests.support.unit_only --disable-socket $(UNIT) $(ARGS)

integration: .venv/installed .cache/package/fetched ## run the tests of services, HTTP, events, deployment and agent
	$(PYTEST) -n 2 --dist worksteal $(INTEGRATION) $(ARGS)

e2e: .venv/installed .cache/package/fetched ## run the tests with real processes, and with Chromium where it is installed
	$(PYTEST) -n 2 --dist worksteal $(E2E) $(ARGS)

test: .venv/installed .cache/package/fetched ## run all tests with coverage; ARGS="-k heartbeat" runs some, without it
ifeq ($(strip $(ARGS)),)
	$(PYTEST) -n 2 --dist worksteal --cov --cov-report=
	$(BIN)/coverage report
	@echo "Rules and services must be covered completely, branches included:"
	$(BIN)/coverage report --include='chalicelib/*/rules.py,chalicelib/*/service.py' --fail-under=100
else
	$(PYTEST) -n 2 --dist worksteal $(ARGS)
endif

test-long: .venv/installed ## run the long tests: costs with up to 100,000 items, and 500 generated requests per operation
	$(PYTEST) -m long --timeout 3600 -s $(ARGS)

fmt: .venv/installed ## format the code and sort its imports
	$(BIN)/ruff check --quiet --select I --fix
	$(BIN)/ruff format

lint: .venv/installed lint-js ## check format, style, imports, the template, the workflows, and for known security problems
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports
	$(BIN)/cfn-lint infra/template.yaml
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive app.py chalicelib infra examples bench agent/src
	$(BIN)/zizmor --offline --no-progress .github

types: .venv/installed types-js ## check the types of the Python code and of the dashboard's scripts
	$(BIN)/mypy

check: lint types ## run `make lint` and `make types`

check-infra: .venv-infra/installed ## check the template for known security problems in AWS; slow the first time
	$(INFRA)/checkov --skip-download --framework cloudformation --file infra/template.yaml --compact --quiet

screenshots: .venv/installed ## take the screenshots in the README and docs/ again, with Chromium
	$(PYTEST) tests/e2e/browser/test_pictures.py --pictures docs/images $(ARGS)

bench: .venv-bench/installed ## measure everything, or one part: ARGS=cpu, capacity, throughput, contention, contest, brownout, flat, sandbox, scale or sweep
	@$(BENCH)/python -m bench $(ARGS)

bench-cold: .venv/installed ## measure cold starts; ARGS=work counts instructions, ARGS=parts shows where time goes
	@$(BIN)/python -m bench.cold $(ARGS)

cost: .venv/installed ## write docs/cost.md from the measured capacity and the list prices of AWS
	@$(BIN)/python -m bench.cost

mutate: .venv/installed .venv-mutate/installed ## change random places in the code, and list the changes that no test notices
	@PYTHONPATH=. $(MUTATE)/python tools/mutate.py --seed "$(or $(SEED),1)" --count "$(or $(COUNT),20)" $(ARGS)

docs: .venv/installed ## write the generated tables of docs/api.md and docs/protocol.md from the OpenAPI document
	@$(BIN)/python -m infra.reference

api-diff: .venv/installed ## compare the API with that of another revision: make api-diff BASE=v0.1.0
	@$(BIN)/python -m infra.reference.compare "$(or $(BASE),HEAD)"

keys: .venv/installed ## rotate the signing keys of a stage: STAGE=..., STEP=show, add, use, drop, leaked or slack
	@$(BIN)/python -m infra.keys "$(STAGE)" "$(STEP)"

package: .venv/installed ## build the deployment package of a stage: make package STAGE=dev
	@$(BIN)/python -m infra.deploy package "$(STAGE)"

deploy: .venv/installed ## deploy a stage to your AWS account, or update it: make deploy STAGE=dev
	@$(BIN)/python -m infra.deploy deploy "$(STAGE)"

destroy: .venv/installed ## remove a stage from your AWS account; the tables of prod are kept: make destroy STAGE=dev
	@$(BIN)/python -m infra.deploy destroy "$(STAGE)"

# Existing pins stay as they are unless the requirements exclude them, or ARGS=--upgrade (or --upgrade-package NAME) is given.
lock: .venv-lock/installed ## write the lock files from the requirements; ARGS=--upgrade takes the newest versions
	$(COMPILE) requirements.txt -o requirements.lock
	$(COMPILE) agent/pyproject.toml --extra copilot -c requirements.lock -o agent/requirements.lock
	$(COMPILE) requirements-dev.txt agent/pyproject.toml --extra copilot -c requirements.lock -c agent/requirements.lock \
		-o requirements-dev.lock
	$(COMPILE) bench/requirements.txt -c requirements-dev.lock -o bench/requirements.lock
	$(COMPILE) infra/requirements-check.txt -o infra/requirements-check.lock
	$(COMPILE) infra/requirements-lock.txt -o infra/requirements-lock.lock
	$(COMPILE) infra/requirements-mutate.txt -c requirements-dev.lock --no-emit-package yattag \
		-o infra/requirements-mutate.lock

COMPILE = $(LOCK)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command 'make lock' $(ARGS)

clean: ## remove everything that these commands have installed or written
	rm -rf .venv .venv-bench .venv-infra .venv-lock .venv-mutate .cache .coverage .coverage.* \
		.import_linter_cache .mypy_cache .pytest_cache .ruff_cache tools/dashboard/node_modules
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# The checks of the dashboard's scripts need Node.js and npm. Without them they are skipped, with the reason; in CI they fail.

lint-js types-js: .venv/installed
	@PYTHON=$(CURDIR)/$(BIN)/python sh tools/dashboard/check.sh $(@:-js=)

# The packages that the tests run functions with, for Lambda's processor and for this one. The tests fetch nothing.
.cache/package/fetched: .venv/installed
	$(BIN)/python -m tests.support.fetch
	@touch $@

# Made again when the lock changes, so that no package stays that the lock no longer has. The agent is installed in
# editable form, which hashes cannot cover; its dependencies and its build tool are in the lock.
.venv/installed: requirements-dev.lock agent/pyproject.toml
	$(call venv,.venv)
	$(BIN)/python $(INSTALL) -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable ./agent
	@touch $@

# The frameworks that DevFlow is compared with are not part of the product's environment.
.venv-bench/installed: requirements-dev.lock bench/requirements.lock agent/pyproject.toml
	$(call venv,.venv-bench)
	$(BENCH)/python $(INSTALL) -r requirements-dev.lock -r bench/requirements.lock
	$(BENCH)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable ./agent
	@touch $@

# Nor is checkov, which brings about a hundred packages.
.venv-infra/installed: infra/requirements-check.lock
	$(call venv,.venv-infra)
	$(INFRA)/python $(INSTALL) -r infra/requirements-check.lock
	@touch $@

.venv-lock/installed: infra/requirements-lock.lock
	$(call venv,.venv-lock)
	$(LOCK)/python $(INSTALL) -r infra/requirements-lock.lock
	@touch $@

# Without yattag, which has no wheel. Only the reports in HTML of Cosmic Ray need it.
.venv-mutate/installed: infra/requirements-mutate.lock
	$(call venv,.venv-mutate)
	$(MUTATE)/python $(INSTALL) --no-deps -r infra/requirements-mutate.lock
	@touch $@

define venv
@test -n "$(PYTHON)" || { echo "DevFlow needs Python 3.11 or newer, and none was found. Install it and try again."; exit 1; }
$(PYTHON) -m venv --clear $(1)
endef
