## make book       install, run every notebook on the embedded data, build the book; prints where to open it
## make pdf        the whole book as book/_build/bwot.pdf; needs a Chromium on the PATH
## make links      does every address in book/links.txt still answer? needs the network
## make test       install, lint, test, validate the notebooks, build the book and check it
## make test-long  long fuzz tests and kill-and-resume loops, up to 40 minutes
## make bench      measure speeds beside other libraries, installed into .venv-bench; hours, TRANSPORT=--quick: minutes
##                 MESHES=FOLDER: pictures of the meshes in a folder, not of made ones
## make lab        open the notebooks in JupyterLab
## make clean      remove .venv and .venv-bench, the built book and tool caches; keeps data/, cache/ and runs/
## make lock       resolve requirements.lock again after a change of pyproject.toml
##
## Each installs into .venv first when it is missing or out of date. Needs Python 3.11, 3.12 or 3.13:
## PYTHON=/path/to/python3.12 says which, otherwise the first fitting one on the PATH is taken.

BIN := .venv/bin
INSTALLED := .venv/.installed
BENCH := .venv-bench
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
SITE := file://$(CURDIR)/book/_build/html/index.html

# Snakemake and pytest start jupyter, papermill and bwot by name.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Some containers ask Python to keep no compiled modules: every one of the many processes here would compile all of them again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help book pdf links test test-long bench lab clean lock
.DELETE_ON_ERROR:

help:
	@sed -n 's/^## \{0,1\}//p' Makefile

# The stamp is written last, so an install that was cut short goes on at the next make.
$(INSTALLED): requirements.lock pyproject.toml
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		$(find-python); \
		echo "Making .venv with $$python" && "$$python" -m venv --clear .venv; \
	fi
	@echo "Installing what requirements.lock names into .venv: minutes and gigabytes the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

# Leaves the first fitting interpreter in the shell variable `python`, or stops with what to do.
define find-python
python=; \
for candidate in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then \
		python=$$candidate; break; \
	fi; \
done; \
if [ -z "$$python" ]; then \
	echo "bwot needs Python 3.11, 3.12 or 3.13; $(or $(PYTHON),python3) is:" \
		"$$($(or $(PYTHON),python3) --version 2>&1 | head -n 1)." >&2; \
	echo "Install one of them, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; \
	exit 1; \
fi
endef

# No lock of Snakemake's own: one that a killed build left behind would refuse the next.
book: $(INSTALLED)
	$(BIN)/snakemake --cores $(CORES) --quiet rules host --nolock --keep-going --rerun-incomplete book
	@echo "The book is built. Open $(SITE)"

# The book as one page, printed.
pdf: book
	$(BIN)/jupyter-book build --builder singlehtml --path-output book --quiet . >runs/logs/pdf.log 2>&1 || { cat runs/logs/pdf.log >&2; exit 1; }
	$(BIN)/bwot pdf book/_build/singlehtml --output book/_build/bwot.pdf

links: $(INSTALLED)
	$(BIN)/pytest -q tests/online

# The notebooks' marked cells have to repeat their committed output, computed again without finished runs.
test: export OMP_NUM_THREADS := 1
test: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pytest -q -n $(CORES) --dist loadfile --ignore=tests/test_book.py
	runs=$$(mktemp -d) && trap 'rm -rf "$$runs"' EXIT && \
		BWOT_RUNS="$$runs" $(BIN)/pytest -q -W default --nbval-lax notebooks
	@$(MAKE) --no-print-directory book
	$(BIN)/pytest -q -n $(CORES) tests/test_book.py

test-long: export OMP_NUM_THREADS := 1
test-long: $(INSTALLED)
	$(BIN)/pytest -q tests/long

# A place of its own: what the peers require is nothing that the book or the tests should meet.
$(BENCH)/.installed: benchmarks/requirements.txt
	@if ! $(BENCH)/bin/python -m pip --version >/dev/null 2>&1; then \
		$(find-python); \
		echo "Making $(BENCH) with $$python" && "$$python" -m venv --clear $(BENCH); \
	fi
	@$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/requirements.txt
	@touch $@

bench: export PYTHONPATH := $(CURDIR)
bench: $(BENCH)/.installed $(INSTALLED)
	$(BENCH)/bin/python -m benchmarks.transport $(TRANSPORT)
	$(BENCH)/bin/python benchmarks/retrieval.py
	$(BENCH)/bin/python -m benchmarks.training
	$(BENCH)/bin/python benchmarks/sketches.py
	$(BIN)/python benchmarks/features.py
	$(BIN)/python benchmarks/notebooks.py
	$(BIN)/python -m benchmarks.search
	$(BENCH)/bin/python -m benchmarks.rendering $(MESHES)

lab: $(INSTALLED)
	$(BIN)/jupyter lab notebooks

clean:
	rm -rf .venv .venv-lock $(BENCH) book/_build book/executed build bwot.egg-info .snakemake .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Pins stay as they are while they fit: delete requirements.lock first to take the newest of everything.
# Left out: the libraries that torch's own wheel for CUDA requires. pip fetches them with that wheel, and nobody else needs them.
lock:
	@$(find-python); "$$python" -m venv --clear .venv-lock
	.venv-lock/bin/pip install --quiet uv
	test ! -f requirements.lock || cp requirements.lock .venv-lock/resolved
	.venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --all-extras \
		--no-header --no-annotate --output-file .venv-lock/resolved pyproject.toml
	{ printf '%s\n' $(LOCK_HEADER); grep -Ev '^(nvidia-|cuda-)' .venv-lock/resolved; } >.venv-lock/new
	mv .venv-lock/new requirements.lock
	rm -rf .venv-lock

LOCK_HEADER := '\# Exact versions for Linux and macOS on Apple silicon, Python 3.11 to 3.13.' \
	'\# Made by `make lock` from pyproject.toml, so change that file and run it again.' \
	'\# Installed by make into .venv, or by hand: pip install -r requirements.lock && pip install --no-deps -e .'
