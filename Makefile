# Everything runs in .venv, which the first target to need it makes from
# requirements.txt. `make PYTHON=python3.12 run` chooses the interpreter.
PYTHON ?= python3
WORKDIR ?= runs/rotation
TORCH ?= torch>=2.6
MLSERVER ?= mlserver==1.7.1 mlserver-sklearn==1.7.1
BIN := .venv/bin/python
PIP := $(BIN) -m pip --disable-pip-version-check --no-input
BACKEND_TESTS := tests/objectives tests/networks/test_resnet_v2.py \
  tests/networks/test_wide_resnet.py tests/training/test_augment.py \
  tests/training/test_student.py tests/training/test_student_elsewhere.py \
  tests/runtime/test_gradients.py tests/runtime/test_precision.py \
  tests/runtime/test_torch_batch_norm.py tests/training/test_best_weights.py \
  tests/report/test_progress.py

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-jax test-torch test-mlserver test-slow test-benchmarks bench lint docs wheel clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/make \1	\2/p' Makefile | expand -t 18

run: .venv/installed  ## extract a model from 5,000 real digits (minutes)
	$(BIN) -m wsl_extraction.train --gin_file=gin/rotation.gin \
	  --workdir="$(WORKDIR)"

test: .venv/installed  ## run the tests
	$(BIN) -m pytest

test-jax: .venv/installed  ## the tests of networks and objectives, on jax
	KERAS_BACKEND=jax $(BIN) -m pytest $(BACKEND_TESTS)

test-torch: .venv/installed  ## the same on torch, installed if it is missing
	$(BIN) -c 'import torch' 2>/dev/null || $(PIP) install '$(TORCH)'
	KERAS_BACKEND=torch $(BIN) -m pytest $(BACKEND_TESTS)
	$(BIN) -m pytest -n 0 tests/victims/test_victims_guide.py

test-mlserver: .venv/installed .venv-mlserver/installed  ## ask a real mlserver
	$(BIN) -m pytest -n 0 tests/victims/test_served_mlserver.py

test-slow: .venv/installed  ## the tests that `make test` leaves out (minutes)
	$(BIN) -m pytest -m slow --deselect=tests/test_benchmarks.py

test-benchmarks: .venv/installed  ## run each benchmark at its smallest size
	$(BIN) -m pytest -m slow tests/test_benchmarks.py

bench: .venv/installed  ## time it, into docs/speed (idle machine, minutes)
	for name in student_fit labelling label_store tensorflow_cpu \
	  rotation_step mixmatch_step k_center ray_label; \
	  do $(BIN) benchmarks/$$name.py --write || exit 1; done

lint: .venv/installed  ## check the style; types too where pyright is installed
	$(BIN) -m ruff check .
	@if $(BIN) -c 'import pyright' 2>/dev/null; \
	  then $(BIN) -m pyright; \
	  else echo 'types not checked: pyright is not in .venv'; fi
	@if command -v buildifier >/dev/null; \
	  then buildifier --mode=check --lint=warn BUILD MODULE.bazel; \
	  else echo 'BUILD not checked: npm install --global @bazel/buildifier'; fi

docs: .venv/docs-installed  ## write the documentation to docs/_build/html
	$(BIN) -m sphinx -W --keep-going -b html docs docs/_build/html

wheel: .venv/installed  ## write a wheel to dist/
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .

clean:  ## remove what the targets above wrote, except .venv and runs
	rm -rf dist docs/_build .pytest_cache .ruff_cache .hypothesis
	find wsl_extraction tests benchmarks docs -name __pycache__ \
	  -type d -prune -exec rm -rf {} +

# The stamp comes last, so that an interrupted installation is repeated. An
# environment that is broken, or of another Python, is made anew.
.venv/installed: requirements.txt pyproject.toml
	@'$(PYTHON)' -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  2>/dev/null || { echo "make: '$(PYTHON)' is no Python 3.11, 3.12 or 3.13;" \
	  'name one: make PYTHON=/path/to/python3.12 ...' >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: '$(PYTHON)' cannot make virtual environments; install its" \
	  'venv package (python3-venv on Debian)' >&2; exit 1; }
	@version() { "$$1" -c 'import pip, sys; print(sys.version_info[:2])' 2>&1; }; \
	  if [ "$$(version $(BIN))" != "$$('$(PYTHON)' -c \
	    'import sys; print(sys.version_info[:2])')" ]; then \
	    echo 'making .venv'; '$(PYTHON)' -m venv --clear .venv; fi
	@echo 'installing what requirements.txt names (some minutes)'
	@$(PIP) install --quiet --progress-bar=off -r requirements.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# In an environment of its own: it has pins that this package cannot share.
.venv-mlserver/installed: Makefile
	@echo 'making .venv-mlserver (a minute)'
	@'$(PYTHON)' -m venv --clear .venv-mlserver
	@.venv-mlserver/bin/python -m pip --disable-pip-version-check --no-input \
	  install --quiet --progress-bar=off --retries=1 $(MLSERVER) || { \
	    echo 'make: $(MLSERVER) cannot be installed, for the reason above;' \
	    "see that pip reaches a registry, or name other versions:" \
	    "make MLSERVER='mlserver mlserver-sklearn' test-mlserver" >&2; exit 1; }
	@touch $@

.venv/docs-installed: .venv/installed
	$(PIP) install --no-build-isolation --editable '.[docs]'
	@touch $@
