# `make` lists the targets. Everything runs in .venv, which `make venv` builds when it is needed.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
N ?= 200
STEPS ?= 1000000

.PHONY: help venv demo test check bench fuzz conformance conformance-mutants powercut safety-long \
	obeyed interop wheel schema clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## the developer's environment (again only when pyproject or constraints change)

$(STAMP): pyproject.toml constraints.txt
	@tools/make_venv $(VENV)
	@touch $@

demo: venv ## a charger, an EV, a meter and a CSMS on this machine
	$(BIN)/chargepoint demo $(ARGS)

test: venv ## all tests; ARGS=... goes to pytest
	$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

check: venv ## lint, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/rooms_test.py

bench: venv ## the figures: start time, memory, throughput
	$(BIN)/python -m hil.figures $(ARGS)

powercut: venv ## kills the agent N=200 times while it charges, and counts every event
	$(BIN)/python -m hil.powercut --kills $(N) $(ARGS)

safety-long: venv ## STEPS=1000000 random steps on core, guard and runtime (an hour and a half)
	CHARGEPOINT_SAFETY_STEPS=$(STEPS) $(BIN)/python -m pytest -s -n 0 -k everything tests/safety_machine_test.py

fuzz: venv ## 100,000 spoiled frames, then spoiled bytes on each driver's line; ARGS="--seed 500"
	$(BIN)/python -m hil.fuzz $(ARGS)

conformance: venv ## the cases of the standard; writes docs/conformance.csv from the run
	$(BIN)/python -m hil.conformance_report

obeyed: venv ## makes each settable variable dead, and sees its test fail
	$(BIN)/python -m hil.obeyed_mutants $(ARGS)

conformance-mutants: venv ## what no case notices when the station does it wrong; ARGS="--block E"
	$(BIN)/python -m hil.mutants $(ARGS)

interop: venv ## the agent before CSMSs of others, from PyPI and npm
	$(BIN)/python -m hil.interop $(ARGS)

wheel: venv ## the board's wheel in dist/, without the benches
	tools/make_wheel $(BIN)/python dist

schema: venv ## config/charger.schema.json from the settings' types
	$(BIN)/python -m agent.settings_schema > $(VENV)/schema.json
	mv $(VENV)/schema.json config/charger.schema.json

clean: ## the environment and all caches away
	rm -rf $(VENV) .interop .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
