# setup, demo, test, lint, bench: each sets up what it needs first; a second time there is nothing
# to set up.
SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
PYTHON ?= python3

.PHONY: setup demo demo-full real model test browser lint bench lock

setup: .venv/.installed .venv/.tools

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "ERROR: $(PYTHON) is older than 3.11; run make with PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --requirement requirements.lock
	.venv/bin/python -m pip install --quiet --no-deps --editable .
	@echo "compiling the kernels of the Potts fit: about a minute"
	@.venv/bin/python -c 'from npm_core.plm_sparse import compile_kernels; compile_kernels()'
	@touch $@

.venv/.tools: workflow/install_tools.sh | .venv/.installed
	bash workflow/install_tools.sh
	@touch $@

# A step takes half of the cores at most: on two, others go on beside a training, which takes one.
SNAKEMAKE := snakemake --cores $$(nproc) --max-threads $$((($$(nproc) + 1) / 2))

demo: setup
	$(SNAKEMAKE) all
	@echo "The reports: $(CURDIR)/reports/uniref50.html and $(CURDIR)/reports/pfam_clan.html"

# The clan experiment with all rounds, depths, heads and controls, on a larger generated universe.
demo-full: setup
	$(SNAKEMAKE) --directory runs/demo_full --configfile config/demo_full.yaml -- \
	  reports/pfam_clan.html
	@echo "The report: $(CURDIR)/runs/demo_full/reports/pfam_clan.html"

.venv/.packages: workflow/install_packages.sh
	bash workflow/install_packages.sh
	@touch $@

REAL_DATA = @[ -n "$$NPM_REAL_DATA" ] \
  || { echo "ERROR: set NPM_REAL_DATA to the folder of real proteins"; exit 2; }

# The same chain on real proteins; NPM_REAL_DATA names their folder. Some three hours of one core.
real: setup .venv/.packages
	$(REAL_DATA)
	python benchmarks/real_tables.py runs/real/tables
	$(SNAKEMAKE) --directory runs/real --configfile config/real.yaml -- all
	@echo "The reports: $(CURDIR)/runs/real/reports/"

# The small model that `predict` reads with by default, its card, and a report on its contacts. With
# GPU=1 a larger one is trained on a GPU, in runs/model_gpu, and the small one stays.
RUN := runs/model$(if $(GPU),_gpu)
# Searches of one thread each run beside the pretraining, whatever the number of cores.
MODEL := snakemake --directory $(RUN) --cores $$(nproc) --set-threads search_shard=1 \
  --configfile config/small_model.yaml $(if $(GPU),config/small_model_gpu.yaml \
  --profile workflow/profiles/gpu) --

model: setup $(RUN)/mirror/held_out.txt
	$(MODEL) results/models/uniref50/README.md reports/uniref50.html
	$(if $(GPU),,cp $(RUN)/results/models/uniref50/{config.json,model.safetensors,README.md} \
	  npm_core/small_model)

$(RUN)/mirror/held_out.txt: | .venv/.packages
	$(REAL_DATA)
	$(MODEL) results/packages/sequences.fasta.gz
	python benchmarks/real_mirror.py $(RUN)/mirror --sequences 400000 --max-length 256 \
	  --also $(RUN)/results/packages/sequences.fasta.gz --clans

test: setup
	python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

# What the tests of the reports in a browser need; `make test` skips them without.
browser: .venv/.browser

.venv/.browser: requirements-browser.lock | .venv/.installed
	.venv/bin/python -m pip install --quiet --requirement requirements-browser.lock
	command -v chromium > /dev/null || { apt-get update -qq \
	  && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium > /dev/null; } \
	  || { echo "ERROR: no chromium on the PATH; install it and run make browser again"; exit 2; }
	@touch $@

lint: setup
	ruff format --check .
	ruff check .
	mypy
	snakefmt --check workflow rules
	snakemake --lint

bench: setup
	python benchmarks/bench_potts.py scaling
	$(if $(NPM_REAL_DATA),python benchmarks/bench_potts.py fits)
	python benchmarks/bench_npm.py

# Resolve pyproject.toml anew; torch is pinned to its version whichever build is installed.
PINS := build/lock/bin/python -m pip freeze --exclude-editable --exclude neural-potts-model \
  | sed 's/+cpu$$//' | grep -v '^nvidia\|^triton'
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet torch==2.13.0
	build/lock/bin/python -m pip install --quiet --editable .
	# Snakemake makes environments of copies of these files, which cannot name a lock file.
	pins=$$($(PINS)) && for env in envs/*.yaml; do \
	  sed -i '/^  - pip:$$/q' $$env && sed 's/^/      - /' <<< "$$pins" >> $$env; done
	build/lock/bin/python -m pip install --quiet '.[dev]' && $(PINS) > requirements.lock
