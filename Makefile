# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One core each for the tests' two workers: the frameworks' own thread pools only fight for them.
export OMP_NUM_THREADS ?= 1
export TF_CPP_MIN_LOG_LEVEL ?= 3
export KERAS_BACKEND ?= tensorflow
JOBS ?= 2

.PHONY: help install demo test test-all test-browser test-architectures test-keras-backends check coverage-tables bench clean

help:
	@echo "make demo        set up, then convert and check the demo models"
	@echo "make test        set up, then run linters, types and tests"
	@echo "make test-all    the same with the long sweeps"
	@echo "make test-browser  the HTML report in Chromium, at desktop and phone widths"
	@echo "make test-architectures  whole architectures of transformers, timm and others"
	@echo "make test-keras-backends  every layer and every function of keras.ops under all four backends"
	@echo "make bench       side by side with the peers"
	@echo "make coverage-tables  write docs/coverage_*.md from the registry"

install: $(STAMP)

# torch comes in the same call as what depends on it: the constraints pin the CPU build.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("any2onnx needs Python >= 3.11, this is " + sys.version) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]' torch==2.13.0
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/any2onnx demo

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow and not browser"

test-all: check
	$(BIN)/python -m pytest -n $(JOBS) -m "not browser"

test-browser: $(STAMP)
	$(BIN)/python -m pytest -m browser parity_tests/reports

# The collections of models, each at several sizes.
test-architectures: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,architectures]' torch==2.13.0
	$(BIN)/python -m pytest -n $(JOBS) -m architectures

# An hour on two cores; `-k "jax"` and the like choose a part.
test-keras-backends: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) -m slow -k whole parity_tests/keras/test_keras_audit.py parity_tests/keras/test_keras_layer_bytes.py parity_tests/keras_trace/test_keras_trace_ops.py

coverage-tables: $(STAMP)
	for f in sklearn keras pytorch; do $(BIN)/any2onnx coverage $$f --write docs/coverage_$$f.md; done

bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,bench]' torch==2.13.0
	for f in benchmarks/*.py; do $(BIN)/python $$f; done

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
