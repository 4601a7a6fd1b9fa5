# bertbundle: checkpoint -> bundle -> server -> answer. `make help` lists the targets.
# A fresh machine needs Python 3.10+ with venv, and make; every target installs what it needs into .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest
# The tests of a folder run in one process, because they share models and servers.
PARALLEL := --numprocesses 2 --dist loadgroup --no-loadscope-reorder

# Parameters of `make export`, `make serve` and the demos.
SOURCE ?=
NAME ?=
MODELS ?= models
PORT ?= 8500
ARGS ?=
DATA ?=
BENCHMARKS := exporting engine served shared_cores loading accuracy
PEERS := build/peers
PROTOC := 1.76.0 # grpcio-tools with protoc 31.1: the generated code runs on protobuf 6.31.1 and newer, including 7

.DEFAULT_GOAL := help
.PHONY: help setup setup-cluster setup-torch demo demo-chinese export serve serve-container test test-fast test-thin test-torch test-cluster lint typecheck check bench bench-quick bench-run bench-peers dashboards docs docs-tables proto clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(READY): pyproject.toml hatch_build.py clients/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$(PYTHON) is older than Python 3.10. Name a newer one: make PYTHON=python3.12 ..."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed: install the venv package (Debian: apt install python3-venv)"; exit 2; }
	@echo "installing TensorFlow and the other dependencies into $(VENV): about 3 GB, once"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e clients -e '.[export,serving,dev]'
	@touch $@

setup: $(READY) ## create the environment .venv with everything except torch

setup-torch: $(READY) ## install torch, which reads pytorch_model.bin checkpoints
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch

demo: $(READY) ## export, serve and query two real models
	$(BIN)/python examples/demo.py --output $(MODELS)

demo-chinese: $(READY) ## train, export, serve and query a Chinese NER model: DATA=directory with train, dev and test files
	@test -n "$(DATA)" || { echo "DATA is not set. Usage: make demo-chinese DATA=path/to/directory"; exit 2; }
	$(BIN)/python examples/demo_chinese.py --data $(DATA) --output $(MODELS) $(ARGS)

export: $(READY) ## export a checkpoint: SOURCE=directory-or-hub-name NAME=model-name [ARGS=...]
	@test -n "$(SOURCE)" -a -n "$(NAME)" || { echo "SOURCE or NAME is not set. Usage: make export SOURCE=path/to/checkpoint NAME=my-model"; exit 2; }
	$(BIN)/bertbundle-export $(SOURCE) --name $(NAME) --output $(MODELS) $(ARGS)

serve: $(READY) ## start the embedded server: NAME=model-name [PORT=8500] [ARGS=...]
	@test -n "$(NAME)" || { echo "NAME is not set. Usage: make serve NAME=my-model"; exit 2; }
	$(BIN)/bertbundle-serve --model_name $(NAME) --model_base_path $(MODELS)/$(NAME) --port $(PORT) $(ARGS)

serve-container: ## start TensorFlow Serving in a container, with the models of serving/deploy/models.config
	docker compose -f serving/deploy/compose.yaml up --detach --wait

test: $(READY) ## run all tests but those of test-cluster, in two processes; a skipped test says what it needs
	$(PYTEST) $(PARALLEL) -m "not cluster"

test-cluster: $(READY) ## run the tests that need several processes or packages of `make setup-cluster`
	$(PYTEST) -m cluster

setup-cluster: ## install the Debian packages that `make test-cluster` needs; needs root
	apt-get install --yes --no-install-recommends prometheus
	-systemctl disable --now prometheus # the tests start their own

test-fast: $(READY) ## run the tests that neither export a model nor start a server, in about a minute
	$(PYTEST) $(PARALLEL) -m "not slow and not cluster"

test-thin: $(READY) ## test the client's wheel in a separate environment
	$(PYTEST) tests/clients/test_wheel.py

test-torch: setup-torch ## run the tests that need torch
	$(PYTEST) -m torch

lint: $(READY) ## check the style (ruff) and the imports between packages (import-linter)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

typecheck: $(READY) ## check the types (mypy --strict)
	$(BIN)/mypy

check: lint typecheck test ## run lint, typecheck and test

bench: SIZE := base
bench: ROUNDS := 3
bench: bench-run bench-peers ## run all benchmarks on a BERT-base, in half an hour (ARGS=--docs updates docs/benchmarks.md)
	$(BIN)/python benchmarks/summary.py --size $(SIZE) $(ARGS)

bench-quick: SIZE := small
bench-quick: ROUNDS := 2
bench-quick: BENCHMARKS := exporting engine served shared_cores loading
bench-quick: bench-run ## run the benchmarks on a model of MiniLM's size, in 5 minutes
	$(BIN)/python benchmarks/summary.py --size $(SIZE)

# exporting.py comes first: the other benchmarks measure the models that it exports.
bench-run: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	set -e; for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py --size $(SIZE) --rounds $(ROUNDS) --work build/bench; done

# pip may choose a torch for GPUs (3 GB); PyTorch's own index, set as PIP_EXTRA_INDEX_URL, has a smaller build.
$(PEERS)/.ready: pyproject.toml hatch_build.py clients/pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e clients -e '.[bench,peers]'
	@touch $@

bench-peers: SIZE ?= base
bench-peers: ROUNDS ?= 5
bench-peers: $(READY) $(PEERS)/.ready ## compare with sentence-transformers and optimum, installed into build/peers, on MiniLM
	$(PEERS)/bin/python benchmarks/peers.py --ours $(BIN)/python --size $(SIZE) --rounds $(ROUNDS)

docs: $(READY) ## build the documentation site into build/site
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict

dashboards: $(READY) ## regenerate the Grafana dashboards and the PrometheusRule; a test compares them with the tables
	PYTHONPATH=serving/deploy $(BIN)/python -m observability.dashboards

docs-tables: $(READY) ## regenerate the tables of errors and options; a test compares them with the code
	$(BIN)/python docs/scripts/reference_tables.py

proto: $(READY) ## regenerate the protobuf code; a test compares it with the .proto files
	$(PYTHON) -m venv build/protoc && build/protoc/bin/python -m pip install --quiet grpcio-tools==$(PROTOC)
	cd clients && ../build/protoc/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. bertbundle/wire/_wire.proto bertbundle/text/v1/text_service.proto
	cd serving && ../build/protoc/bin/python -m grpc_tools.protoc -I. -I../clients --python_out=. --pyi_out=. bertbundle_serving/protos/_config.proto bertbundle_serving/protos/_api.proto
	cd export && ../build/protoc/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. bertbundle_export/checkpoints/readers/_tensorflow.proto

clean: ## remove the environment and caches, but keep the models
	rm -rf $(VENV) build dist .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
