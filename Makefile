# What a person and the continuous integration run. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# `make image IMAGE_PROFILE=dev` is what the tests use: built already when they begin.
IMAGE_PROFILE ?= release
# Property tests try the same cases in each run, so that a change fails for its own faults only. Another number tries others.
export PROPTEST_RNG_SEED ?= 1
# Where each check that does not run says so: `tests/tools/skips`.
export VESTIBULE_SKIPS ?= $(CURDIR)/target/skips
TEST_GROUPS := cargo node python cluster
NODE_REPORTERS := --test-reporter=spec --test-reporter-destination=stdout --test-reporter=./tests/tools/skips.mjs --test-reporter-destination=stderr
.PHONY: help demo quick test tools lint docs bench bench-cluster simulate generate image cluster-up cluster-down clean

help: ## lists these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | while IFS= read -r line; do printf '  make %-13s %s\n' "$${line%%:*}" "$${line#*## }"; done

demo: ## signs in at a provider of its own, prints each step, and keeps serving
	@command -v cargo >/dev/null || { echo "missing: Rust; install rustup and run this again" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "missing: a C compiler named cc; install one and run this again" >&2; exit 1; }
	@echo "building vestibule (minutes the first time, seconds after that)"
	@cargo build --quiet --package vestibule-dataplane
	@cargo run --quiet --package vestibule-dataplane -- demo

# The tests over PostgreSQL take three quarters of the time, the simulation most of the rest: `make test` has both.
quick: ## what one runs at each save (under two minutes warm): formatting, clippy, unit tests without PostgreSQL, golden files, floors
	cargo fmt --all --check
	cargo clippy --workspace --lib --bins -- --deny warnings
	cargo test --workspace --lib --bins --test golden --test floors -- --skip postgres:: --skip simulation::

# Kubernetes is built before anything is tested, so that no check of the chart is left out on a new machine.
test: tools ## builds everything, runs every test, and ends with what was skipped
	@tests/cluster/build $$(tests/cluster/possible || echo helm etcd kube-apiserver) >/dev/null
	@tests/tools/skips begin $(TEST_GROUPS)
	@tests/tools/skips ignored
	cargo build --workspace
	cargo test --workspace
	node --test $(NODE_REPORTERS) tests/provider/provider.test.mjs tests/verify/verify.test.mjs
	node --test $(NODE_REPORTERS) --test-concurrency=2 tests/page/views.test.mjs tests/page/flows.test.mjs
	target/tools/python/bin/python tests/tools/python-tests discover --start-directory tests/tools
	target/tools/python/bin/python tests/tools/python-tests discover --start-directory tests/chart
	tests/cluster/with tests/cluster/test
	@tests/tools/skips report $(TEST_GROUPS)

tools: ## installs what the tests need, or says what is missing
	@tests/tools/prepare.sh

lint: ## formatting, clippy, shell scripts, dependencies
	@tests/tools/skips begin lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings
	@if command -v shellcheck >/dev/null; then tests/tools/shellcheck.sh; else tests/tools/skips add lint shellcheck "it is not installed"; fi
	@tests/tools/dependencies.sh
	@tests/tools/skips report lint

docs: tools ## builds the book into target/book, checks links, manifests and commands; installs mdBook the first time (2 minutes)
	cargo build --quiet --package vestibule-dataplane --package vestibule-operator
	@docs/tools/mdbook.sh
	target/tools/python/bin/python tests/tools/python-tests discover --start-directory docs/tools
	target/tools/python/bin/python docs/tools/check.py

bench: tools ## measures against the floor of the same run, prints it and writes target/bench.json
	cargo run --release --package vestibule-tests --bin bench -- --output target/bench.json

bench-cluster: ## measures in a cluster: from `kubectl apply` until every pod serves it; writes target/bench-cluster.json
	tests/cluster/with tests/cluster/bench --output target/bench-cluster.json

simulate: ## risk scores against a made-up company and its attackers: a table, and target/simulation.svg
	cargo run --release --package vestibule-tests --bin simulate -- --output target/simulation.svg

generate: tools ## writes the CRDs (the chart's too), the OpenAPI document and the references of docs/ from the sources
	cargo run --quiet --package vestibule-operator -- crds --output-dir crds
	cargo run --quiet --package vestibule-operator -- crds --output-dir charts/vestibule/files/crds
	@mkdir -p target
	cargo run --quiet --package vestibule-dataplane -- openapi > target/openapi.json
	@mv target/openapi.json dataplane/openapi.json
	target/tools/python/bin/python docs/tools/reference.py

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
