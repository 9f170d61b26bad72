# Needs Python 3.10+, make and a package registry. `make install` is run by every target that needs it.
#
#   PYTHON=python3.12   the interpreter to build .venv on (default: the first suitable one that uv finds)
#   WORKERS=4           test processes (default: one per core, 8 at most)
#   ARGS="-k radius"    more arguments for pytest, `lip compare` or `uv pip compile`
#
# `make clean` keeps .venv, runs/ and out/; delete those by hand.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo bench test lint format constraints clean

PYTHON ?=
WORKERS ?= auto
ARGS ?=

BIN := .venv/bin
STAMP := .venv/.installed
LOCAL_UV := .venv-uv/bin/uv

# A uv on PATH is used if it runs and satisfies `required-version` in pyproject.toml; else .venv-uv gets one.
UV := $(shell uv cache dir >/dev/null 2>&1 && command -v uv || echo $(LOCAL_UV))

# Wheels of torch are large; uv gives up after 30 seconds of silence by default.
export UV_HTTP_TIMEOUT ?= 300

help:
	@echo "make install | demo | test | bench | lint | format | constraints | clean"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt | $(filter $(LOCAL_UV),$(UV))
	test -x $(BIN)/python || $(UV) venv $(if $(PYTHON),--python $(PYTHON)) .venv
	$(UV) pip install --python $(BIN)/python --constraints constraints.txt --build-constraints constraints.txt \
		--group dev --editable '.[autoattack,foolbox,hub,report,robustbench,slurm,torchattacks,train]'
	$(UV) pip install --quiet --python $(BIN)/python --constraints constraints.txt --no-deps \
		--reinstall-package robustbench robustbench # torchattacks ships files of the same names
	@touch $@

# Debian's python3 may lack venv's ensurepip, or pip; either one is enough, and nothing outside this folder is written.
$(LOCAL_UV):
	@rm -rf .venv-uv
	@echo "no usable uv on PATH: installing one into .venv-uv"
	@python=$(or $(PYTHON),python3); \
	if $$python -m venv .venv-uv >/dev/null 2>&1; then \
		.venv-uv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv; \
	elif rm -rf .venv-uv && $$python -m pip --version >/dev/null 2>&1; then \
		$$python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --target .venv-uv uv; \
	else \
		echo "error: $$python has neither venv nor pip; install uv, or on Debian the package python3-venv" >&2; exit 1; \
	fi

demo: install
	$(BIN)/lip compare --attacks adaptive --out out/demo --overwrite $(ARGS)
	@echo "The page: out/demo/report.html. All of AutoAttack on whatever still stands, some minutes: $(BIN)/lip compare"

# One thread per process: on tiny models more threads are 5 to 15 times slower.
test: install
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --maxprocesses 8 $(ARGS)

bench: install
	$(BIN)/python benchmarks/certificates.py
	$(BIN)/python benchmarks/two_processes.py
	$(BIN)/python benchmarks/minmax.py
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/training_step.py --width 256 --depth 12 --batch 16
	$(BIN)/python benchmarks/family_steps.py --seconds 8
	$(BIN)/python benchmarks/label_rows.py
	$(BIN)/python benchmarks/attack_batches.py
	$(BIN)/python benchmarks/certificate_aware.py
	$(BIN)/python benchmarks/table.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Keeps the versions that still fit; `make constraints ARGS=--upgrade` takes the newest.
constraints: | $(filter $(LOCAL_UV),$(UV))
	$(UV) pip compile --quiet --universal --python-version 3.10 --no-annotate --custom-compile-command "make constraints" \
		--all-extras --group dev --group build --output-file constraints.txt $(ARGS) pyproject.toml

clean:
	rm -rf .venv-uv .pytest_cache .ruff_cache .hypothesis build dist
	find . \( -name .venv -o -name .git \) -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
