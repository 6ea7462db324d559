# The words of the project. `make` alone names them; CONTRIBUTING.md says more.

BIN := .venv/bin
PYTHON ?=

# What is run from here runs its sources as they are, unless a word says otherwise.
export MIRRORGATE_FORM ?= pure

# Tests start a thousand processes: compiled anew each time, they would take twice as long.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run fast test test-compiled check demo pictures bench prove prove-compiled venv lint
.DEFAULT_GOAL := help

help:
	@echo 'make run     start mirrorgate (the first time: install it, write config.toml)'
	@echo 'make fast    compile it for .venv/bin/mirrorgate: half the instructions per request'
	@echo 'make demo    start it with simulated local mirrors, without internet'
	@echo 'make check   lint, types, layers, unit and property tests'
	@echo 'make test    make check, and every other test but the long ones'
	@echo 'make prove   the long acceptance runs'
	@echo 'make bench   the side-by-side benchmarks'

run: .venv/.runs
	@test -n "$$MIRRORGATE_CONFIG" || test -e config.toml || .ci/config
	@exec $(BIN)/mirrorgate run

# It looks for changed sources itself.
fast: .venv/.compiles
	@MIRRORGATE_FORM=pure $(BIN)/python -m tools.compile

demo: .venv/.demos
	@exec $(BIN)/python -m tests.testkit.demo

# What the READMEs show of the demo.
pictures: .venv/.develops
	@$(BIN)/python -m tests.testkit.pictures

# A file stays with one worker, and the longest files come first: see tests/conftest.py. Tests wait
# more than they work, so there are more workers than cores.
PYTEST := $(BIN)/pytest -q -n 3 --dist loadfile --no-loadscope-reorder -m 'not prove'

check: lint
	@$(PYTEST) tests/unit tests/properties

# Side by side, for mypy can use one core only.
test: .venv/.develops
	@$(MAKE) --no-print-directory -j 2 lint tests

.PHONY: tests
tests: .venv/.develops
	@$(PYTEST)

# What goes a request's way, once more in the compiled form; `make test` has run it from source, and
# `make prove` runs all of that so. ROAD=… takes other tests.
tests_of = $(addprefix tests/$(1)/test_,$(addsuffix .py,$(2)))
ROAD := $(addprefix tests/unit/router/,admission balancing forwarding metering process upstream wire) \
	tests/fuzz $(call tests_of,properties,accounts ban_policy admission_table cluster_shares \
	dialogue_charges replica key_leaks metering_tap proxy_protocol websocket_frames \
	wire_egress wire_pieces wire_repeat) \
	$(wildcard tests/integration/test_data_plane*.py) \
	$(call tests_of,integration,faults hostile_mirrors hostile_streams tunnel_ends) \
	$(call tests_of,e2e,failover keys_e2e limits_e2e)

test-compiled: export MIRRORGATE_FORM := compiled
test-compiled: .venv/.develops fast
	@$(PYTEST) $(ROAD)

lint: .venv/.develops
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m tools.structure >/dev/null

# pytest ends with 5 when it finds no test.
prove: .venv/.develops
	@$(BIN)/pytest -m prove --timeout 0 || { code=$$?; test $$code -eq 5 && \
		echo 'there are no long acceptance runs yet' || exit $$code; }

# Load with faults on the compiled form, ten minutes of each: nothing grows, nothing is left.
prove-compiled: export MIRRORGATE_FORM := compiled
prove-compiled: export MIRRORGATE_SOAK ?= 600
prove-compiled: export MIRRORGATE_CHAOS_SECONDS ?= 600
prove-compiled: .venv/.develops fast
	@$(BIN)/pytest -m prove --timeout 0 tests/prove/test_soak.py tests/prove/test_chaos.py

# Both forms in alternating rounds, then the instructions of both, with little and with much to know.
bench: .venv/.develops fast
	@$(BIN)/python -m benchmarks --publish
	@$(BIN)/python -m benchmarks.counting
	@$(BIN)/python -m benchmarks.scale

venv: .venv/.develops

# Each word installs what it needs and no more. The stamps are newer than what they were made from.
.venv/.runs: pyproject.toml .ci/venv
	@PYTHON='$(PYTHON)' .ci/venv .
	@touch $@

.venv/.demos: pyproject.toml .ci/venv
	@PYTHON='$(PYTHON)' .ci/venv '.[demo]'
	@touch $@ .venv/.runs

.venv/.compiles: pyproject.toml .ci/venv
	@PYTHON='$(PYTHON)' .ci/venv '.[compile]'
	@touch $@ .venv/.runs

.venv/.develops: pyproject.toml .ci/venv
	@PYTHON='$(PYTHON)' .ci/venv '.[dev]'
	@touch $@ .venv/.runs .venv/.demos .venv/.compiles
