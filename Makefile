# Everything runs in ./.venv, made from pinned versions by `make setup`.
#   make demo       the main job on the embedded data set, then `make footage`
#   make test       lint, types and tests
#   make test-slow  the proofs that take longer, and those that download
#   make mutants    changes the core, and counts what no test notices: hours
#   make footage    pre-trains on real four-camera footage (downloads one package)
#   make reproduce  the paper's claims on rendered people: hours; SCALE=cpu_long: days of a core;
#                   SCALE=gpu on a GPU
#   make docs       the documents as a site, in build/site

BASE_PYTHON ?= python3
PYTHON := .venv/bin/python
VERSION := $(shell $(BASE_PYTHON) -c 'import sys; print("py%d%d" % sys.version_info[:2])')
CONSTRAINTS := constraints/$(VERSION).txt

.PHONY: setup setup-dev demo lint test test-slow mutants footage reproduce docs

setup: .venv/installed
setup-dev: .venv/installed-dev

# The demo needs the package alone; the tests also torch and ONNX, to compare with, Beam and gcsfs.
.venv/installed: pyproject.toml $(CONSTRAINTS)
	test -x $(PYTHON) || $(BASE_PYTHON) -m venv .venv
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e .
	touch $@

.venv/installed-dev: .venv/installed
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[torch,onnx,beam,gcs,dev]'
	touch $@

$(CONSTRAINTS):
	@echo "error: no pinned versions for $(VERSION); use Python 3.11 or 3.12: make BASE_PYTHON=python3.12 ..." >&2; exit 2

demo: setup
	$(PYTHON) -m mv2mae_jax.demo --out build/demo
	$(MAKE) footage

lint: setup-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

# Two at a time: one alone leaves a core idle half of the time. A file's tests share what they make;
# the longest files come first (tests/conftest.py).
test: lint
	$(PYTHON) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-slow: setup-dev
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[tpu]'
	$(PYTHON) -m pytest -m "slow or network"

MODULES :=
mutants: setup-dev
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[mutants]'
	$(PYTHON) tests/mutants.py $(MODULES)

# Read it with `python3 -m http.server --directory build/site`; as files too, but without its search.
docs: setup-dev
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --quiet

FOOTAGE := build/footage
footage: setup
	$(PYTHON) -m tfds_builders.pose2sim --raw-dir $(FOOTAGE)/raw
	$(PYTHON) -m mv2mae_jax.prepare manifest --manifest $(FOOTAGE)/raw/manifest.csv \
	  --name pose2sim --data-dir $(FOOTAGE)/data
	$(PYTHON) -m mv2mae_jax.main --config=configs/pose2sim.py --workdir=$(FOOTAGE)/pretrain \
	  --config.data.data_dir=$(FOOTAGE)/data
	$(PYTHON) -m mv2mae_jax.visualize reconstruction --workdir $(FOOTAGE)/pretrain \
	  --out $(FOOTAGE)/reconstruction.png
	$(PYTHON) -m mv2mae_jax.visualize report --workdir $(FOOTAGE)/pretrain \
	  --out $(FOOTAGE)/report.html

SCALE := cpu
reproduce: setup
	$(PYTHON) -m mv2mae_jax.reproduce --scale=$(SCALE)
