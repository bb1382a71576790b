# `make demo` and `make test` do all the set-up on a machine with Python 3.11 or later, git and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Options of `mergershift data mock`, for instance MOCK="--mergers 406 --non-mergers 1827".
MOCK ?=
# Trainings at a time.
JOBS ?= 2
CPU_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH_VERSION := 2.13.0

# On Linux a plain torch brings gigabytes of CUDA: without an NVIDIA driver take PyTorch's own index of CPU builds,
# where it answers. TORCH= overrides it all, for instance TORCH="torch==2.13.0 --index-url ...".
SYSTEM := $(shell uname -s)
NVIDIA := $(shell command -v nvidia-smi 2>/dev/null)
CPU_INDEX_ANSWERS = $(shell $(PYTHON) -c "import urllib.request as r; r.urlopen('$(CPU_INDEX)/torch/', timeout=10)" 2>/dev/null && echo yes)
ifeq ($(SYSTEM)$(NVIDIA),Linux)
TORCH ?= torch==$(TORCH_VERSION)$(if $(CPU_INDEX_ANSWERS), --index-url $(CPU_INDEX))
else
TORCH ?= torch==$(TORCH_VERSION)
endif

.PHONY: help install demo study test lint lock clean

help:
	@echo "make demo     set up, make a mock archive, run the pipeline, print the transfer table (about 10 minutes)"
	@echo "make study    the same with six methods and three seeds (up to 40 minutes on two cores: JOBS=$(JOBS))"
	@echo "make test     set up, run all tests"
	@echo "make lint     ruff and mypy"
	@echo "make lock     renew requirements.lock from pyproject.toml"
	@echo "make clean    remove what the pipeline wrote; the environment and the archive stay"

install: $(VENV)/installed

$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
		{ echo "$(PYTHON) is older than Python 3.11. Give another one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

demo: install
	$(BIN)/mergershift data mock $(MOCK)
	$(BIN)/mergershift study use demo
	$(BIN)/mergershift repro --jobs $(JOBS)
	@echo
	@echo "Next:  source $(BIN)/activate    puts mergershift, dvc and mlflow on the path"
	@echo "       mergershift ui            shows every training in MLflow on http://127.0.0.1:5000"
	@echo "       outputs/report/index.html is the page of the study: open it in a browser"
	@echo "       outputs/summary/          has the table as CSV and JSON; outputs/cells/ each training and its figures"
	@echo "       mergershift train adaptation=mmd training.epochs=50    trains one network of your own"
	@echo "       mergershift register && mergershift promote            make the study's best one the champion: mergershift predict"

study: install
	$(BIN)/mergershift data mock $(MOCK)
	$(BIN)/mergershift study use study
	$(BIN)/mergershift repro --jobs $(JOBS)

# One thread for each of the two processes: more would wait for one another.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quiet --numprocesses 2 --dist loadgroup $(TESTS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The lock names every package but torch, which each machine takes as it needs it.
lock:
	uv lock --quiet
	uv export --quiet --frozen --all-extras --no-emit-project --no-emit-package torch --no-header -o requirements.lock

clean:
	rm -rf outputs state
