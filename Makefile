# `make` lists the targets. `make env` is part of `quickstart`, `test`, `lint` and `format`, and does
# nothing once .venv is ready. With STACK=original it is .venv-original, with the original OpenMMLab.
PYTHON ?= python3
STACK ?= forks
export PYTHON STACK

VENV_PYTHON := .venv$(patsubst -forks,,-$(STACK))/bin/python
DIFFERENCES := $(addprefix tests/, test_compat.py test_configs.py checkpoints/test_safe_load.py configs/test_downstream.py \
	segmentation test_training.py test_downstream_training.py tools/test_distributed.py)

.DEFAULT_GOAL := help
.PHONY: help env test differences quickstart docs dist lint format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: ## set up .venv: torch, mmcv's compiled operators, the libraries, this package (PYTHON=python3 STACK=forks)
	@bash tools/setup_env.sh

test: lint ## lint, then run all tests: on the CPU, then those for a GPU if there is one
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(VENV_PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadfile
	@if nvidia-smi > /dev/null 2>&1; then $(VENV_PYTHON) -m pytest -m gpu; fi

differences: env ## test where sets of libraries differ: imports, loading, configs, one training of each kind (STACK=original)
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(VENV_PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadfile $(DIFFERENCES)

quickstart: env ## train baseline, Mixup and MixSKD on handwritten digits and compare them
	@$(VENV_PYTHON) tools/quickstart/run.py

docs: env ## write the documentation site to docs/_build/html; a warning is an error
	OMP_NUM_THREADS=1 $(VENV_PYTHON) -m sphinx -q -W --keep-going -b html docs docs/_build/html

dist: env ## write the wheel and the source archive to dist/, and try the wheel without the repository
	rm -rf dist build
	$(VENV_PYTHON) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	$(VENV_PYTHON) setup.py --quiet sdist
	@bash tools/try_wheel.sh $(VENV_PYTHON)

lint: env ## check the source with ruff and codespell, the documentation with rumdl
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check
	$(dir $(VENV_PYTHON))rumdl check
	$(VENV_PYTHON) -m codespell_lib

format: env ## let ruff and rumdl format the source and the documentation, and fix what they can
	$(VENV_PYTHON) -m ruff format
	$(VENV_PYTHON) -m ruff check --fix
	$(dir $(VENV_PYTHON))rumdl fmt

clean: ## remove build products and caches (.venv and work_dirs stay)
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	find . -path './.venv*' -prune -o -name __pycache__ -type d -exec rm -rf {} +
