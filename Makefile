# SPDX-License-Identifier: MIT
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python

.PHONY: build test clean

$(VENV)/.ready: requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet -r requirements-dev.txt
	touch $@

build: $(VENV)/.ready
	$(PY) setup.py --quiet build_ext --inplace -j $(shell nproc 2>/dev/null || echo 2)

test: build
	$(PY) -m pytest -q

clean:
	rm -rf $(VENV) build dist *.egg-info
	find fastpg -name '*.so' -delete
