# Everything a user or a developer runs. `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# A changed lock is installed again; the stamp lies inside the environment so that both go together.
$(VENV)/.runtime: requirements.txt pyproject.toml deploy/setup.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" bash deploy/setup.sh requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	@PYTHON="$(PYTHON)" VENV="$(VENV)" bash deploy/setup.sh requirements-dev.txt
	@touch $@

setup: $(VENV)/.runtime ## install what Heddle runs on (system packages too, where it may)
dev: $(VENV)/.dev ## install what tests, lint and benchmarks add

demo: setup ## run the example shop as a mesh and show what Heddle does (ONCE=1: then exit)
	@$(BIN)/python -m examples.demo $(if $(ONCE),--once) $(DEMO_ARGS)

test: dev ## run the tests
	@$(BIN)/python -m pytest $(TEST_ARGS)

check: dev ## lint, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: dev ## measure what matters: tables, and build/bench.json of the same run (BENCH_ARGS="fanout wire": those parts)
	@$(BIN)/python -m bench $(BENCH_ARGS)

soak: dev ## the long counts: properties and conversations by the hundred thousand
	@$(BIN)/python -m pytest -m soak $(TEST_ARGS)

cluster: dev ## start a real Kubernetes control plane (CLUSTER_ARGS=--nodes: and nodes) and print its KUBECONFIG, until Ctrl-C
	@$(BIN)/python -m tests.cluster $(CLUSTER_ARGS)

lock: dev ## pin requirements*.in again
	$(BIN)/python -m uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" requirements.in -o requirements.txt
	$(BIN)/python -m uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" requirements.in requirements-dev.in -o requirements-dev.txt

crds: dev ## write deploy/chart/crds again
	@$(BIN)/python -m deploy.write_crds

protos: dev ## compile protos/*.proto again
	$(BIN)/python -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. protos/discovery.proto protos/kubernetes_pods.proto

clean: ## remove what was installed and built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help setup dev demo test check bench soak cluster lock crds protos clean
