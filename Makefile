# Needs make and Python 3.11 or newer, nothing else: what is missing goes into .venv by itself.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run demo test screenshots test-long check check-infra bench bench-cold cost keys package deploy destroy docs clean

BIN := .venv/bin
BENCH := .venv-bench/bin
INFRA := .venv-infra/bin
# Looked up only when a .venv has to be made.
PYTHON = $(shell for p in python3.11 python3 python3.12 python3.13; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/installed ## run everything on loopback, port 3000 (or PORT=...)
	@exec $(BIN)/python -m infra.local

demo: .venv/installed ## a platform, an agent, a repository with a bug, and the bug fixed, in ten seconds or so
	@exec $(BIN)/python examples/demo/demo.py

test: .venv/installed .cache/package/fetched ## run all tests but the long ones, and show coverage
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report= $(ARGS)
	$(BIN)/coverage report
	@echo "Rules and services, to the last branch:"
	$(BIN)/coverage report --include='chalicelib/*/rules.py,chalicelib/*/service.py' --fail-under=100

screenshots: .venv/installed ## take the pictures in the README and docs/ anew, with Chromium
	$(BIN)/python -m pytest tests/e2e/browser/test_pictures.py --pictures docs/images $(ARGS)

test-long: .venv/installed ## run the long tests: costs at 10 to 100,000 items, 500 made-up requests an operation
	$(BIN)/python -m pytest -m long --timeout 3600 -s $(ARGS)

check: .venv/installed ## check format, style, types, imports, the template, and what is known to be insecure
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cfn-lint infra/template.yaml
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive app.py chalicelib infra examples bench agent/src
	@# zizmor looks at workflows; it calls it an error where there are none, as now.
	@if ls .github/workflows/*.y*ml >/dev/null 2>&1; then $(BIN)/zizmor --offline --no-progress .github; else echo "zizmor: no workflows"; fi

check-infra: .venv-infra/installed ## check the template for what is known to be insecure in AWS; a minute or two the first time
	$(INFRA)/checkov --skip-download --framework cloudformation --file infra/template.yaml --compact --quiet

bench: .venv-bench/installed ## measure: all, or ARGS=cpu, capacity, throughput, contention, flat (see docs/performance.md)
	@$(BENCH)/python -m bench $(ARGS)

bench-cold: .venv/installed ## measure: cold starts beside bare boto3 and powertools; ARGS=work instructions, ARGS=parts where time goes
	@$(BIN)/python -m bench.cold $(ARGS)

cost: .venv/installed ## write docs/cost.md from what `make bench ARGS=capacity` measured and AWS's list prices
	@$(BIN)/python -m bench.cost

docs: .venv/installed ## write the generated tables of docs/api.md and docs/protocol.md from the API's OpenAPI document
	@$(BIN)/python -m infra.reference

keys: .venv/installed ## renew a stage's signing keys: STAGE=..., STEP=show, add, use, drop, leaked or slack
	@$(BIN)/python -m infra.keys "$(STAGE)" "$(STEP)"

package: .venv/installed ## build the zip that the functions of a stage run: make package STAGE=dev
	@$(BIN)/python -m infra.deploy package "$(STAGE)"

deploy: .venv/installed ## put a stage into your AWS account, or bring it up to date: make deploy STAGE=dev
	@$(BIN)/python -m infra.deploy deploy "$(STAGE)"

destroy: .venv/installed ## take a stage out of it again; the tables of prod stay: make destroy STAGE=dev
	@$(BIN)/python -m infra.deploy destroy "$(STAGE)"

clean: ## remove what the makes made
	rm -rf .venv .venv-bench .venv-infra .cache .coverage .coverage.* .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# What functions run with, for their processor and for this one; so the tests themselves fetch nothing.
.cache/package/fetched: .venv/installed
	$(BIN)/python -m tests.support.fetch
	@touch $@

# Made anew when the requirements change, so that nothing stays that they no longer name.
.venv/installed: requirements.txt requirements-dev.txt agent/pyproject.toml
	@test -n "$(PYTHON)" || { echo "DevFlow needs Python 3.11 or newer; none was found."; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# The peers that DevFlow is compared with have no place in the product's .venv.
.venv-bench/installed: requirements.txt requirements-dev.txt bench/requirements.txt
	@test -n "$(PYTHON)" || { echo "DevFlow needs Python 3.11 or newer; none was found."; exit 1; }
	$(PYTHON) -m venv --clear .venv-bench
	$(BENCH)/python -m pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	@touch $@

# Nor has checkov, which brings a hundred packages.
.venv-infra/installed: infra/requirements-check.txt
	@test -n "$(PYTHON)" || { echo "DevFlow needs Python 3.11 or newer; none was found."; exit 1; }
	$(PYTHON) -m venv --clear .venv-infra
	$(INFRA)/python -m pip install --quiet --disable-pip-version-check -r infra/requirements-check.txt
	@touch $@
