# The verbs of this repository. `make help` lists them.

# The first Python from 3.11 on; a shim that only says "not found" is passed over. Override: make PYTHON=...
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
HAS_TORCH := 'import torch; assert tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 4)'
# A file of tests stays in one process: its tests share what they recorded.
# One process more than there are cores, for many a test waits: with two cores 11.5 min instead of 18.
PARALLEL := --numprocesses $(shell echo $$(( $$(nproc 2>/dev/null || echo 2) < 3 ? 3 : 4 ))) --dist loadscope
SAMPLES := $(patsubst sample_runs/%/train.py,%,$(wildcard sample_runs/*/train.py))

.DEFAULT_GOAL := help
.PHONY: bench gpu field field-quick lab lab-quick lab-peers help demo test test-full test-torch format samples goldens pictures axe docs docs-site clean

help: ## Show this list.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

demo: .venv/demo.stamp ## Record a failing training run, analyze it, and print where the report is.
	$(BIN)/gradaudit record -o runs/demo --force sample_runs/initial_loss_mismatch/train.py
	$(BIN)/gradaudit analyze runs/demo

test: .venv/kernels.stamp ## Check style and types, and run the tests that fit twelve minutes, in a process for each core.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(PARALLEL) -m "not long"

test-full: .venv/frameworks.stamp .venv/kernels.stamp ## The same with the long tests, and with Lightning, Hugging Face, Keras and fastai.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(PARALLEL)

# From PyPI a torch for Linux on x86-64 comes with CUDA: 3 GB to fetch, 5.5 GB on disk. Where pip knows a build for the
# CPU, as through PIP_FIND_LINKS or PIP_INDEX_URL, it is some 0.8 GB. The other pins are those of constraints.txt, but
# for WITH: the Triton that torch 2.4 brings needs WITH="numpy==2.2.6".
test-torch: ## Run the recorder's tests with another torch, in an environment of its own: make test-torch VERSION=2.4.1
	@test -n "$(VERSION)" || { echo "name a version of torch: make test-torch VERSION=2.4.1" >&2; exit 2; }
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and none was found; name one: make PYTHON=..." >&2; exit 1; }
	@test -x build/torch-$(VERSION)/bin/python || $(PYTHON) -m venv build/torch-$(VERSION)
	@grep -v -e ^torch -e ^triton $(foreach name,$(WITH),-e "^$(firstword $(subst =, ,$(name)))=") constraints.txt \
		> build/torch-$(VERSION)/constraints.txt
	@build/torch-$(VERSION)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint build/torch-$(VERSION)/constraints.txt \
		torch==$(VERSION) $(WITH) --editable . hypothesis pytest pytest-timeout pytest-xdist
	build/torch-$(VERSION)/bin/python -m pytest $(PARALLEL) -p no:cacheprovider -m "not long" $(or $(TESTS),tests/record)

format: .venv/dev.stamp ## Format the code and fix what the linter can.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A run is named after its folder, so it is recorded under the sample's name and then moved. A sample that needs further
# options of `gradaudit record` names them in a file `options`; one that is not started as `python train.py` holds the
# file `command`.
samples: .venv/dev.stamp ## Record every sample run again and rewrite its findings.txt.
	@set -e; for name in $(SAMPLES); do \
		echo "recording sample_runs/$$name"; \
		(cd sample_runs/$$name && \
			../../$(BIN)/gradaudit record --no-host --quiet --force --every 1 $$(cat options 2>/dev/null) \
			-o ../../build/samples/$$name $$(cat command 2>/dev/null || echo train.py) >/dev/null && \
			rm -rf run && mv ../../build/samples/$$name run); \
	done
	$(BIN)/python -m tests.samples

goldens: .venv/dev.stamp ## Rewrite every findings.txt from the runs as they are.
	$(BIN)/python -m tests.samples

bench: .venv/dev.stamp ## Measure what recording costs, side by side with a bare training, and what analyzing and the page cost.
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.analysis
	$(BIN)/python -m benchmarks.report

gpu: .venv/kernels.stamp ## On a machine with a CUDA device: run the tests that need one, and measure what recording costs there.
	$(BIN)/python -m pytest -m gpu -p no:cacheprovider tests/gpu
	$(BIN)/python -m benchmarks.gpu

lab: .venv/dev.stamp ## Record and analyze every training of the laboratory, write benchmarks/RESULTS.md and the base rates; hours, resumable.
	$(BIN)/python -m benchmarks.lab.record
	$(BIN)/python -m benchmarks.lab.analyze --half all
	$(BIN)/python -m benchmarks.lab.table --write
	$(BIN)/python -m benchmarks.lab.base_rates

lab-quick: .venv/dev.stamp ## The same for a few trainings, in two minutes.
	$(BIN)/python -m benchmarks.lab.quick

field: .venv/dev.stamp ## Record and judge the field suite, failures reported in public, and write benchmarks/RESULTS.md; half an hour, resumable.
	$(BIN)/python -m benchmarks.field --write

field-quick: .venv/dev.stamp ## The same for a few pairs, in a minute.
	$(BIN)/python -m benchmarks.field --quick

lab-peers: .venv/dev.stamp ## Give the laboratory's trainings to other tools, installed into build/lab/peers.
	$(BIN)/python -m benchmarks.lab.peers --write

pictures: .venv/dev.stamp ## Draw the pictures of README.md and docs/ again, from the sample runs.
	$(BIN)/python -m tests.pictures

axe: ## Fetch axe-core from npm into build/, for the tests of accessibility.
	npm install --silent --no-fund --no-audit --prefix build axe-core@4.14.1

docs: .venv/dev.stamp ## Rewrite what is generated: blocks of README.md and docs/, diagnosers' pages, the JSON's schema, names in the base rates.
	$(BIN)/python -m gradaudit.report.json_file
	$(BIN)/python -m benchmarks.lab.base_rates --names
	$(BIN)/python -m tests.documentation

docs-site: .venv/docs.stamp ## Build the documents as a site with search into build/site.
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --jobs auto -c docs -d build/site-cache . build/site
	@echo "wrote build/site/index.html"

.venv/docs.stamp: .venv/dev.stamp
	@echo "Installing what builds the site: sphinx, myst-parser, furo"
	@$(INSTALL) --group docs
	@touch $@

.venv/frameworks.stamp: .venv/dev.stamp
	@echo "Installing the frameworks whose trainings are recorded: accelerate, fastai, keras, lightning, transformers"
	@$(INSTALL) --group frameworks
	@# fastai brings a torchvision that may be built for another torch, and Lightning imports whatever is there.
	@$(BIN)/python -c 'import torchvision' 2>/dev/null || $(BIN)/python -m pip uninstall --quiet --yes torchvision
	@touch $@

# A torch with CUDA brings the Triton that it was built for; another one beside it would break its compiler.
.venv/kernels.stamp: .venv/dev.stamp
	@$(BIN)/python -c 'import triton' 2>/dev/null || \
		{ echo "Installing Triton, whose interpreter runs the CUDA kernels in the tests: 200 MB, 700 MB on disk"; \
		$(INSTALL) --group kernels; }
	@touch $@

clean: ## Remove the environment and everything that was built.
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and none was found; name one: make PYTHON=..." >&2; exit 1; }
	@echo "Creating .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv || { echo "$(PYTHON) cannot make an environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

# A torch (2.4 or newer) that the chosen Python can import is reused: its folder goes on the environment's path.
.venv/demo.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@if $(BIN)/python -c $(HAS_TORCH) 2>/dev/null; then echo "torch is there already"; \
	elif $(PYTHON) -c $(HAS_TORCH) 2>/dev/null; then \
		$(PYTHON) -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parents[1])' > "$$($(BIN)/python -c \
			'import sysconfig; print(sysconfig.get_path("purelib"))')/torch_of_the_base_python.pth"; \
		echo "Reusing the torch of $(PYTHON)"; \
	else \
		echo "Installing $$(grep ^torch== constraints.txt): about 800 MB on disk, several GB where it comes with CUDA"; \
	fi
	@echo "Installing gradaudit and what is missing of altair, click, jinja2, msgspec, numpy, pandas, pyarrow (400 MB on disk)"
	@$(INSTALL) "pip>=25.1" hatchling editables
	@$(BIN)/python -c $(HAS_TORCH) 2>/dev/null || $(INSTALL) torch
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: .venv/demo.stamp
	@echo "Installing the tools for development, if missing: build, hypothesis, import-linter, mypy, playwright, pytest, ruff"
	@# Not those of the Python whose torch is reused: their programs would be missing in .venv/bin.
	@$(INSTALL) $$(ls .venv/lib/python*/site-packages/torch_of_the_base_python.pth >/dev/null 2>&1 && echo --ignore-installed) --group dev
	@touch $@
