# SPDX-License-Identifier: MIT
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
JOBS := $(shell nproc 2>/dev/null || echo 2)

.PHONY: test test-client test-pool test-codecs test-rest test-quick test-matrix build lint types sanitize
.PHONY: fuzz stress bench gen demo dist clean

# What `make test` does once the package is built, as many at a time as there are processors and one more: tests wait
# a good deal. The longest come first. What each prints is kept together, where this make can.
PARTS := lint types sanitize test-client test-codecs test-rest test-pool
WHOLE := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

test: build                  ## everything that CI runs
	@echo "The checks and tests now run side by side; each prints when it is done, in some minutes."
	$(MAKE) --no-print-directory -j $$(($(JOBS) + 1)) $(WHOLE) $(PARTS)

test-client: build
	$(PY) -m pytest -q tests/client

test-pool: build
	$(PY) -m pytest -q tests/pool

test-codecs: build
	$(PY) -m pytest -q tests/codecs tests/protocol tests/differential

test-rest: types             # which fills the cache that the tests of types read
	$(PY) -m pytest -q tests $(foreach part,client pool codecs protocol differential,--ignore=tests/$(part))

sanitize: build              ## under ASan and UBSan: the tests without a server, and a short fuzzing
	$(PY) -m tools.sanitize test
	$(PY) -m tools.sanitize fuzz --quick

test-quick: build            ## the tests that need no server
	$(PY) -m pytest -q tests/protocol tests/test_dsn.py tests/test_exceptions.py tests/test_types.py tests/test_layers.py

test-matrix: build           ## against PostgreSQL 14 to 18 from npm, one table
	$(PY) -m tools.matrix

$(VENV)/.ready: requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet -r requirements-dev.txt
	touch $@

build: $(VENV)/.ready        ## compile in place
	$(PY) setup.py --quiet build_ext --inplace -j $(JOBS)

lint: $(VENV)/.ready
	$(PY) -m ruff check .
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cython-lint fastpg tools

types: build
	$(PY) -m mypy --strict
	$(PY) tools/stubtest.py

fuzz: build                  ## under ASan and UBSan: 10^6 malformed inputs a codec, 10^5 mutated sessions
	$(PY) -m tools.sanitize fuzz
	$(PY) -m pytest -q --hypothesis-profile=fuzz --no-server tests/protocol tests/codecs

stress: build                ## 10^5 random cancels and timeouts through a pipelined pool, and as many through a default one
	$(PY) -m tools.stress_pipelined
	$(PY) -m tools.stress_pipelined --default

$(VENV)/.bench: $(VENV)/.ready requirements-bench.txt
	$(PY) -m pip install --quiet -r requirements-bench.txt
	touch $@

# BENCH="--quick", BENCH="--check", BENCH="fetchval pool10": see bench/README.md
bench: build $(VENV)/.bench  ## time and (with valgrind) instructions beside the peers and the floors
	$(PY) bench/setup.py --quiet build_ext --inplace
	$(PY) -m bench $(BENCH)

gen: $(VENV)/.ready          ## tables from tools/data
	for script in tools/gen_*.py; do $(PY) $$script || exit 1; done

demo: build                  ## a tour against a throw-away server
	$(PY) -m examples.demo

dist: $(VENV)/.ready         ## sdist and wheel, checked
	$(PY) -m tools.dist_check

clean:
	rm -rf $(VENV) build dist *.egg-info tools/fuzz/*.c
	find fastpg -name '*.so' -delete
	find fastpg -name '*.pyx' -exec sh -c 'rm -f "$${1%.pyx}.c"' _ {} \;
