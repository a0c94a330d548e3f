# What a person and the continuous integration run. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# `make image IMAGE_PROFILE=dev` is what the tests use: built already when they begin.
IMAGE_PROFILE ?= release
# Property tests try the same cases in each run, so that nobody's change fails over somebody else's. Another number tries others.
export PROPTEST_RNG_SEED ?= 1
.PHONY: help demo test tools lint bench bench-cluster simulate generate image cluster-up cluster-down clean

help: ## lists these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | while IFS= read -r line; do printf '  make %-13s %s\n' "$${line%%:*}" "$${line#*## }"; done

demo: ## signs in at a provider of its own, tells each step, and keeps serving
	@command -v cargo >/dev/null || { echo "missing: Rust; install rustup and run this again" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "missing: a C compiler named cc; install one and run this again" >&2; exit 1; }
	@echo "building vestibule (minutes the first time, seconds after that)"
	@cargo build --quiet --package vestibule-dataplane
	@cargo run --quiet --package vestibule-dataplane -- demo

test: tools ## builds everything and runs every test
	cargo build --workspace
	cargo test --workspace
	node --test tests/provider/provider.test.mjs tests/verify/verify.test.mjs
	node --test --test-concurrency=2 tests/page/views.test.mjs tests/page/flows.test.mjs
	target/tools/python/bin/python -m unittest discover --start-directory tests/chart
	tests/cluster/with tests/cluster/test

tools: ## installs what the tests need, or says what is missing
	@tests/tools/prepare.sh

lint: ## formatting, clippy, shell scripts, dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings
	@if command -v shellcheck >/dev/null; then tests/tools/shellcheck.sh; else echo "shellcheck: not installed, scripts not checked"; fi
	@tests/tools/dependencies.sh

bench: tools ## measures against the floor of the same run, prints it and writes target/bench.json
	cargo run --release --package vestibule-tests --bin bench -- --output target/bench.json

bench-cluster: ## measures in a cluster: from `kubectl apply` until every pod serves it; writes target/bench-cluster.json
	tests/cluster/with tests/cluster/bench --output target/bench-cluster.json

simulate: ## risk scores against a made-up company and its attackers: a table, and target/simulation.svg
	cargo run --release --package vestibule-tests --bin simulate -- --output target/simulation.svg

generate: ## writes the CRDs (the chart's too) and the OpenAPI document anew from the types
	cargo run --quiet --package vestibule-operator -- crds --output-dir crds
	cargo run --quiet --package vestibule-operator -- crds --output-dir charts/vestibule/files/crds
	@mkdir -p target
	cargo run --quiet --package vestibule-dataplane -- openapi > target/openapi.json
	@mv target/openapi.json dataplane/openapi.json

image: ## builds target/image/vestibule.tar (docker-archive, localhost/vestibule:dev) without a container engine or a registry
	tests/cluster/images/vestibule/build $(IMAGE_PROFILE) target/image/vestibule.tar

cluster-up: ## starts a Kubernetes of its own for the tests; builds it the first time, about 10 minutes
	tests/cluster/up

cluster-down: ## ends that Kubernetes and leaves nothing of it
	tests/cluster/down

clean: ## removes what was built here; downloads in the cache folder stay
	@[ ! -e target/cluster ] || tests/cluster/down
	cargo clean
	rm -rf tests/*/node_modules
