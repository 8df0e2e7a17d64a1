# Every target is for people and for CI alike. `make help` says what there is.

# A Python of your own, for a .venv that is not there yet: make install PYTHON=/opt/python3.13/bin/python3
PYTHON ?=

# Options for what a target runs: make sandbox ARGS="--port 0"
ARGS ?=

# Where a bench leaves what it measured, and `make performance` finds it.
RESULTS ?= .build/bench.json

SOURCES = src tests
BENCHMARKS = benchmarks
STAMP = .venv/.installed
PIP = .venv/bin/python -m pip --quiet --disable-pip-version-check --no-input

.PHONY: help sandbox test check bench bench-full performance docs fuzz soak crash install system lock clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

sandbox: $(STAMP) ## serve on this machine, with certificates and data to try: make sandbox ARGS="--port 0"
	@exec .venv/bin/ibt sandbox $(ARGS) 2>&1

# In two parts: first, two at once, the tests in which nothing is a matter of time; then the others, one by one.
test: system $(STAMP) ## run every test, or those named: make test ARGS="tests/rules -x"
ifeq ($(strip $(ARGS)),)
	.venv/bin/python -m pytest -m beside --numprocesses 2 --dist worksteal
	.venv/bin/python -m pytest -m "not beside"
else
	.venv/bin/python -m pytest $(ARGS)
endif

check: $(STAMP) ## lint, layout, strict types, the arrows between the rooms
	.venv/bin/ruff check $(SOURCES) $(BENCHMARKS)
	.venv/bin/ruff format --check $(SOURCES) $(BENCHMARKS)
	.venv/bin/mypy $(SOURCES)
	.venv/bin/python -m pytest --quiet tests/test_architecture.py

bench: system $(STAMP) ## how fast each operation is, beside its floor, and how cost grows: within ten minutes
	.venv/bin/python benchmarks/bench.py --json $(RESULTS) $(ARGS)

bench-full: system $(STAMP) ## the same with millions of versions and requests: within an hour
	.venv/bin/python benchmarks/bench.py --full --json $(RESULTS) $(ARGS)

performance: $(STAMP) ## write docs/performance.md anew from what a bench left: make performance RESULTS=file
	.venv/bin/python benchmarks/report.py $(RESULTS)

docs: $(STAMP) ## write anew the pages that are made from the program
	.venv/bin/python tests/faults.py
	.venv/bin/python -m ibt.cli.reference > docs/cli.md

fuzz: $(STAMP) ## ask a million mutated requests, going on where the last run ended
	.venv/bin/python tests/hostile/fuzz.py $(or $(ARGS),1000000)

soak: system $(STAMP) ## ask 50,000 requests of every kind, and watch memory and open files
	IBT_SOAK=50000 .venv/bin/python -m pytest tests/hostile/test_soak.py $(ARGS)

crash: system $(STAMP) ## kill workers, the service and PostgreSQL in a stream of updates, a hundred times
	IBT_CRASHES=$(or $(CRASHES),100) .venv/bin/python -m pytest -s tests/test_crash.py $(ARGS)

install: $(STAMP) ## make .venv, with ibt and all that tests and tools need

# A pyenv shim may be there and not run, a Debian python3 may lack venv: so each candidate is tried, not looked for.
$(STAMP): requirements.txt pyproject.toml
	@found=; if ! .venv/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	  for python in $(if $(PYTHON),"$(PYTHON)",python3.13 python3.12 python3.11 python3); do \
	    if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	      found=yes; break; \
	    fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo 'Python 3.11 or later with venv was not found$(if $(PYTHON), at $(PYTHON)): install the package' \
	      'python3-venv (as root: apt-get install python3-venv), or name another with make PYTHON=/path/to/python3.' >&2; \
	    exit 1; \
	  fi; \
	  echo "Making .venv with $$python."; \
	  "$$python" -m venv --clear .venv; \
	fi
	@echo 'Installing what requirements.txt names into .venv; this takes about a minute.'
	@$(PIP) install --require-hashes --requirement requirements.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

# Tests never skip what they need of the system: it is installed here, or they do not begin.
system: ## see that the system's packages are there that tests need; as root, install them
	@missing=; \
	command -v pg_ctl >/dev/null || ls /usr/lib/postgresql/*/bin/pg_ctl >/dev/null 2>&1 || missing="$$missing postgresql"; \
	for program in strace openssl curl faketime haproxy nginx; do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	[ -e /usr/lib/nginx/modules/ngx_http_js_module.so ] || missing="$$missing libnginx-mod-http-js"; \
	command -v systemd-analyze >/dev/null || missing="$$missing systemd"; \
	[ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get --quiet update && apt-get --quiet install --yes --no-install-recommends $$missing; \
	else \
	  echo "The tests need packages that are not there ($${missing# }): run apt-get install$$missing as root." >&2; \
	  exit 1; \
	fi

# uv.lock names the index that it was made from, so only its names, versions and hashes are kept.
lock: ## make requirements.txt anew from pyproject.toml
	@place=$$(mktemp -d); trap 'rm -rf "$$place" uv.lock' EXIT; \
	python=.venv/bin/python; [ -x $$python ] || python=$(if $(PYTHON),"$(PYTHON)",python3); \
	"$$python" -m venv "$$place" && \
	"$$place/bin/pip" --quiet --disable-pip-version-check install uv && \
	"$$place/bin/uv" lock --upgrade && \
	"$$place/bin/uv" export --quiet --format requirements.txt --no-emit-project --all-extras --all-groups \
	  --no-annotate --no-header --output-file requirements.txt

clean: ## remove .venv and all that tools have left
	rm -rf .venv .build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find $(SOURCES) -name __pycache__ -prune -exec rm -rf {} +
