# `make demo` and `make test` set everything up; they need only Python 3.11 or later, git and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Options of `mergershift data mock`, for instance MOCK="--mergers 406 --non-mergers 1827".
MOCK ?=
# Least coverage in percent under which `make test-system` fails after `make test`; empty: coverage is not measured.
COVERAGE ?=
FAST_TESTS := $(addprefix tests/,classifier core evaluation images networks training)
# Options of `make bench`, for instance BENCH="--only steps --quick".
BENCH ?=
# Number of cells that run in parallel.
JOBS ?= 2
CPU_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH_VERSION := 2.13.0

# On Linux the plain torch package installs gigabytes of CUDA libraries. Without an NVIDIA driver, PyTorch's own index
# of CPU builds is used instead, if it answers. TORCH= overrides this, for instance
# TORCH="torch==2.13.0 --index-url ...".
SYSTEM := $(shell uname -s)
NVIDIA := $(shell command -v nvidia-smi 2>/dev/null)
CPU_INDEX_ANSWERS = $(shell $(PYTHON) -c "import urllib.request as r; r.urlopen('$(CPU_INDEX)/torch/', timeout=10)" 2>/dev/null && echo yes)
ifeq ($(SYSTEM)$(NVIDIA),Linux)
TORCH ?= torch==$(TORCH_VERSION)$(if $(CPU_INDEX_ANSWERS), --index-url $(CPU_INDEX))
else
TORCH ?= torch==$(TORCH_VERSION)
endif

.PHONY: help install demo study bench screenshots test test-fast test-system test-team lint lock clean
.PHONY: server-init server server-user server-backup server-restore server-upgrade server-down

help:
	@echo "make demo     set up, make a mock archive, run the pipeline, print the transfer table (5 to 7 minutes)"
	@echo "make study    the same with six adaptation methods and three seeds (11 to 15 minutes: JOBS=$(JOBS))"
	@echo "make test     set up and run the tests, but for those of whole systems (8 to 14 minutes)"
	@echo "make test-system  those with real servers, real kills and whole pipelines"
	@echo "make test-team  those with containers (Docker) and with a SLURM cluster"
	@echo "make test-fast  numbers, images, networks and small trainings alone: under a minute"
	@echo "make lint     run ruff and mypy"
	@echo "make bench    measure how fast everything is beside plain loops (50 minutes; BENCH=\"--quick\": less)"
	@echo "make screenshots  take the README's pictures from the demo (needs Chromium)"
	@echo "make lock     update requirements.lock from pyproject.toml"
	@echo "make server   start a team's server in containers; server-init comes first, server-user NAME=ana ROLE=editor adds"
	@echo "              a teammate; server-backup, server-restore BACKUP=..., server-upgrade and server-down are the others"
	@echo "make clean    delete the pipeline's outputs; the environment and the archive are kept"

install: $(VENV)/installed

CHECK_PYTHON = $(PYTHON) -c "" 2>/dev/null || \
	{ echo "$(PYTHON) cannot be run. Install Python 3.11 or later, or name one that is there: make PYTHON=python3 $(MAKECMDGOALS)"; exit 1; }; \
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
	{ echo "$(PYTHON) is older than Python 3.11. Choose another one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }

# MLflow's migrations take a percent sign in the environment's path for the beginning of a placeholder.
ifneq ($(and $(findstring %,$(CURDIR)),$(if $(filter /% ~%,$(VENV)),,inside)),)
CHECK_PYTHON = echo "$(CURDIR): MLflow cannot run in an environment below a path with %. Make it elsewhere:" \
	"make VENV=$$HOME/mergershift-environment $(MAKECMDGOALS)"; exit 1
endif

# An environment holds absolute paths: after the checkout has been moved or copied, its own is made anew, as it is for
# another PYTHON= or TORCH= than it was made with. One elsewhere, which VENV= names, is left to its owner.
line = $(shell sed -n $(1)p "$(VENV)/installed" 2>/dev/null)
given = $(filter-out file,$(firstword $(origin $(1))))
version = $(shell { $(1) -c "import sys; print(sys.version)"; } 2>/dev/null)
ELSEWHERE := $(filter /% ~%,$(VENV))
PLACE := $(call line,1)
ANEW :=
ifneq ($(PLACE),)
ifneq ($(call given,TORCH),)
ifneq ($(strip $(TORCH)),$(call line,2))
ANEW := $(if $(call line,2),was made with another TORCH=,$(if $(ELSEWHERE),,does not record which TORCH= it was made with))
endif
endif
ifneq ($(call given,PYTHON),)
ifneq ($(call version,$(PYTHON)),$(call version,"$(BIN)/python"))
ANEW := was made with another Python
endif
endif
ifeq ($(ELSEWHERE),)
ifneq ($(PLACE),$(CURDIR))
ANEW := belongs to another place of this checkout
endif
endif
endif

ifneq ($(ANEW),)
.PHONY: outdated
outdated:
	@$(CHECK_PYTHON)
ifneq ($(ELSEWHERE),)
	@echo "$(VENV) $(ANEW). Delete it or choose another VENV=."
	@exit 1
else
	@echo "$(VENV) $(ANEW) and is made anew."
	rm -rf "$(VENV)"
endif

$(VENV)/installed: outdated
endif

# Without compiling all 20 000 modules one after another, which takes a minute: only those that the commands import are
# compiled, by two processes. Where PYTHONDONTWRITEBYTECODE forbids that, as in many images of containers, every command
# would compile its modules anew: 15 s for each training and each evaluation.
unexport PYTHONDONTWRITEBYTECODE
COMPILED = "import mergershift.training.fit" "from mergershift.pipeline.warm import preload; preload()" \
	"import mergershift.archive.mock, mergershift.stages.summary, mergershift.stages.report"
PIP = $(BIN)/python -m pip --disable-pip-version-check install --no-compile --progress-bar off
PACKAGES := $(shell grep -c == requirements.lock)
UV_VERSION := 0.13.9

# uv installs in a fifth of the time that pip takes. It knows nothing of pip's configuration, which many machines behind
# a proxy have: the places that it names for packages are passed on. Where uv fails, pip takes its place.
define INSTALL_CODE
import ast, os, subprocess, sys
names = {"index-url": "UV_INDEX_URL", "extra-index-url": "UV_EXTRA_INDEX_URL", "find-links": "UV_FIND_LINKS",
         "no-index": "UV_NO_INDEX", "trusted-host": "UV_INSECURE_HOST", "proxy": "ALL_PROXY", "cert": "SSL_CERT_FILE"}
pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
settings = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
lines = subprocess.run([*pip, "config", "list"], capture_output=True, text=True).stdout.splitlines()
for section in ("global.", "install.", ":env:."):  # the last one counts, as for pip
    for line in lines:
        name, _, value = line.partition("=")
        variable = names.get(name.removeprefix(section))
        if name.startswith(section) and variable:
            words = ast.literal_eval(value).split()
            settings[variable] = ("," if variable == "UV_FIND_LINKS" else " ").join(words)
uv = os.path.join(os.path.dirname(sys.executable), "uv")
if os.path.exists(uv):
    command = [uv, "pip", "install", "--python", sys.executable, *sys.argv[1:]]
    # Elsewhere, because pyproject.toml constrains versions for the lock, without the hashes that are required here.
    environment = settings | os.environ
    if "--index-url" in sys.argv:  # which it would ignore
        environment.pop("UV_DEFAULT_INDEX", None)
    process = subprocess.Popen(command, env=environment, cwd="/", stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if not line.lstrip().startswith(("+ ", "- ", "~ ", "Downloa", "Buil", "Using")):
            print("       ", line, end="", flush=True)
    if process.wait() == 0:
        sys.exit()
    print("        uv has failed; pip takes its place, which takes two minutes longer", flush=True)
command = [*pip, "install", "--quiet", "--no-compile", "--progress-bar", "off", *sys.argv[1:]]
sys.exit(subprocess.call(command))
endef
export INSTALL_CODE
INSTALL = $(BIN)/python -c "$$INSTALL_CODE"
$(VENV)/installed: requirements.lock pyproject.toml
	@$(CHECK_PYTHON)
	@echo "Installing into $(VENV), which takes half a minute on a fast network. 1 of 3: the environment"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --quiet uv==$(UV_VERSION) || echo "        without uv, pip takes two minutes longer"
	@echo "2 of 3: $(PACKAGES) packages of requirements.lock"
	@$(INSTALL) --no-deps --require-hashes -r "$(CURDIR)/requirements.lock"
	@echo "3 of 3: $(firstword $(TORCH)), 200 MB or more"
	@$(INSTALL) $(TORCH)
	@$(INSTALL) --no-deps --editable "$(CURDIR)"
	@echo "        compiling what the commands import"
	@for code in $(COMPILED); do $(BIN)/python -c "$$code" & done; wait
	@{ pwd -P; echo '$(strip $(TORCH))'; } > $@
	@echo "Installed."

demo: install
	@echo "1 of 2: a mock archive, about a minute"
	$(BIN)/mergershift data mock $(MOCK)
	$(BIN)/mergershift study use demo
	@echo "2 of 2: the pipeline, 2 to 4 minutes on two cores"
	$(BIN)/mergershift repro --jobs $(JOBS)
	@echo
	@echo "Next:  source $(BIN)/activate    puts mergershift, dvc and mlflow on the PATH"
	@echo "       mergershift ui            shows every training in MLflow on http://127.0.0.1:5000"
	@echo "       outputs/report/index.html is the report of the study: open it in a browser"
	@echo "       outputs/summary/          contains the tables as CSV and JSON, outputs/cells/ each training and its figures"
	@echo "       mergershift train adaptation=mmd training.epochs=50    trains a single network"
	@echo "       mergershift register && mergershift promote            makes the study's best model the champion that mergershift predict uses"

study: install
	$(BIN)/mergershift data mock $(MOCK)
	$(BIN)/mergershift study use study
	$(BIN)/mergershift repro --jobs $(JOBS)

# One thread for each of the two processes: more threads would slow each other down.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quiet --numprocesses 2 --dist $(or $(DIST),worksteal)

test: install
	$(PYTEST) -m "not system and not team" $(if $(COVERAGE),--cov --cov-report=) $(TESTS)

# The coverage is that of `make test` before and of this together.
test-system: install
	$(PYTEST) -m system $(if $(COVERAGE),--cov --cov-append --cov-report=term --cov-fail-under=$(COVERAGE)) $(TESTS)

# Those that start containers or a SLURM cluster are skipped where Docker or SLURM is not installed.
test-team: DIST := loadgroup
test-team: install
	@$(PIP) --quiet --require-hashes -r tests/team/requirements.lock
	$(PYTEST) -m team $(if $(COVERAGE),--cov --cov-append --cov-report=) $(TESTS)

test-fast: install
	$(PYTEST) -m "not slow and not system and not team" $(or $(TESTS),$(FAST_TESTS))

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Measures on an otherwise idle machine, and writes the table of benchmarks/README.md.
bench: install
	$(BIN)/python benchmarks/bench.py $(BENCH)

# Of what `make demo` has left.
screenshots: install
	$(BIN)/python benchmarks/screenshots.py

# The locks list every package except torch, whose build depends on the machine; those of the images leave out what
# their programs do not use.
EXPORT := uv export --quiet --frozen --no-emit-project --no-emit-package torch --no-header
lock:
	uv lock --quiet
	$(EXPORT) --all-extras -o requirements.lock
	$(EXPORT) --extra postgresql --extra s3 --extra ssh -o docker/worker.lock
	$(EXPORT) --extra server $(addprefix --prune ,torch pytorch-lightning geomloss llvmlite dvc submitit) -o docker/server.lock
	$(EXPORT) --only-group team -o tests/team/requirements.lock

clean:
	rm -rf outputs state

# A team's server needs Docker alone, no environment of Python. Its options count only on make's command line: some
# shells export a HOST or NAME of their own.
OPTIONS := HOST STORE TLS NAME ROLE BACKUP CONFIRM
SERVER = @env $(foreach option,$(OPTIONS),$(if $(filter command,$(firstword $(origin $(option)))),,-u $(option))) sh docker/server.sh

# HOST: name by which clients reach the server; STORE: local or s3; TLS: internal, an e-mail address or none
server-init:
	$(SERVER) init

server:
	$(SERVER) up

server-user:
	$(SERVER) user

server-backup:
	$(SERVER) backup

server-restore:
	$(SERVER) restore

server-upgrade:
	$(SERVER) upgrade

server-down:
	$(SERVER) down
