# The tasks of this repository. Run `make` to list them.
#
# The scripts in hack/ build or install everything that tests and demo need beyond Rust, Go, git and make. They keep it in a
# user cache, and report what they wait for.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# `.ci/run` sets PROGRAMS to the directory of the programs that it has built.
OPERATOR := $(if $(PROGRAMS),$(PROGRAMS)/keypair-operator,cargo run --quiet --)
CHART_FILES := charts/keypair-operator/files
CHART_POLICIES := $(CHART_FILES)/admission-policies.yaml

.PHONY: help build demo test fuzz simulate mutations soak foreign fips bench image crds docs picture recording fmt lint zizmor msrv deny advisories

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

build: ## Build the operator and the programs that the tests start
	cargo build --workspace

demo: ## Show what the operator does, in one screen, against a real API server on loopback (KEEP=1: leave it running)
	@hack/demo.sh

test: ## Run all tests, two programs at once (TEST_JOBS=1: one after the other)
	@hack/test-tools.sh
	@assets=$$(hack/controlplane.sh); helm=$$(hack/helm.sh); gitops=$$(hack/gitops-tools.sh); cost=$$(hack/cel-cost.sh); \
	export KUBEBUILDER_ASSETS=$$assets HELM=$$helm GITOPS_TOOLS=$$gitops CEL_COST=$$cost; \
	hack/run-tests.sh

fuzz: ## Fuzz the code that parses input, one minute for each target (FUZZ_SECONDS=600: ten)
	@hack/fuzz.sh

simulate: ## Run 3000 random histories of the operator against a simulated API server (HISTORIES, SEED)
	@hack/simulate.sh

mutations: ## Apply each mutation of tests/mutations to a copy of the operator, and report which check finds it (HISTORIES, SEED, CHECKS=all; takes one to two hours)
	@hack/mutations.sh

soak: ## Run the randomized tests with many more values, thousands of RSA keys, five minutes of fuzzing for each target, 60,000 histories, and 50 fault runs (KEYPAIR_CASES=all: every Unicode character; takes long)
	@assets=$$(hack/controlplane.sh); cost=$$(hack/cel-cost.sh); \
	export KUBEBUILDER_ASSETS=$$assets CEL_COST=$$cost KEYPAIR_CASES=$${KEYPAIR_CASES:-all} PROPTEST_CASES=$${PROPTEST_CASES:-20000}; \
	cargo build --workspace; \
	cargo test --lib --test keys --test cel; \
	KEYPAIR_SCRIPTS=$${KEYPAIR_SCRIPTS:-300} cargo test --package keypair-simulation --test conformance; \
	KEYPAIR_WALKS=$${KEYPAIR_WALKS:-2000} KEYPAIR_SEED=$$RANDOM$$RANDOM cargo test --package keypair-simulation --test walks -- --nocapture; \
	KEYPAIR_EXHAUSTION=$${KEYPAIR_EXHAUSTION:-1} cargo test --test exhaustion -- --nocapture; \
	$(MAKE) foreign; \
	FUZZ_SECONDS=$${FUZZ_SECONDS:-300} $(MAKE) fuzz; \
	HISTORIES=$${HISTORIES:-60000} $(MAKE) simulate; \
	KEYPAIR_RSA_KEYS=$${KEYPAIR_RSA_KEYS:-3000} cargo test --test rsa_keys -- --nocapture; \
	KEYPAIR_FAULT_RUNS=$${KEYPAIR_FAULT_RUNS:-50} cargo test --test faults -- --nocapture

foreign: ## Run the unit tests for arm64 (on arm64: for amd64) in an emulator
	@hack/foreign-test.sh $(if $(filter aarch64,$(shell uname -m)),amd64,arm64)

fips: ## Build with the FIPS module of AWS-LC, and run the unit tests (needs CMake and Go)
	@hack/fips-test.sh

bench: ## Run all benchmarks and comparisons, and write docs/benchmarks.md (takes an hour; KEYPAIR_BENCH_PAIRS=10000: less)
	cargo bench --bench ledger --bench parts --bench keygen
	@assets=$$(hack/controlplane.sh); export KUBEBUILDER_ASSETS=$$assets; \
	cargo build --release --workspace; \
	cargo bench --bench admission; \
	cargo bench --bench crd; \
	cargo bench --bench scale

image: ## Build the container image (target/image, an OCI layout) and test it, without a registry (ARCHITECTURES="amd64 arm64": for both)
	@ARCHITECTURES="$(ARCHITECTURES)" PROFILE="$(PROFILE)" hack/image-test.sh

crds: ## Generate the CRDs and the admission policies from the Rust types and tables, for kubectl and for the chart
	rm -rf target/crds
	mkdir -p target/crds
# Each document goes to a file of its name, which its first lines contain.
	$(OPERATOR) crd | awk '/^---$$/ { file = ""; next } \
	  file == "" { head = head $$0 "\n"; if ($$1 == "name:") { file = "target/crds/" $$2 ".yaml"; printf "%s", head > file; head = "" } next } \
	  { print > file }'
	cp target/crds/*.yaml crds/
	cp target/crds/*.yaml $(CHART_FILES)/
	$(OPERATOR) policy --name release-fullname --webhook-configuration release-fullname --namespace release-namespace \
	  --service-account release-service-account --webhook-service release-webhook-service > $(CHART_POLICIES).new
	mv $(CHART_POLICIES).new $(CHART_POLICIES)

docs: ## Generate the tables of the documentation and the chart's values schema, from the code and from real answers
	@assets=$$(hack/controlplane.sh); helm=$$(hack/helm.sh); export KUBEBUILDER_ASSETS=$$assets HELM=$$helm; \
	cargo build --workspace; \
	UPDATE_DOCS=1 cargo test --quiet --test docs; \
	UPDATE_DOCS=1 cargo test --quiet --test chart values; \
	UPDATE_DOCS=1 cargo test --quiet --test webhook conformance

picture: ## Draw the dashboard (docs/dashboard.svg) from a Prometheus under two minutes of load
	@hack/test-tools.sh
	@assets=$$(hack/controlplane.sh); export KUBEBUILDER_ASSETS=$$assets; \
	cargo build --workspace; \
	UPDATE_PICTURE=1 cargo test --quiet --test dashboard every_panel_and_every_alert_has_an_answer

recording: ## Record the demo for the README (docs/demo.svg)
	@hack/recording.sh

fmt: ## Format the sources
	cargo fmt --all

lint: ## Check formatting, lints, documentation, shell scripts and workflows
	cargo fmt --all --check
	@hack/shellcheck.sh
	@$$(hack/actionlint.sh)
	cargo clippy --workspace --all-targets -- -D warnings
# Nothing is linked, so libFuzzer is not compiled. With the profile of the workspace, so that its dependencies serve both.
	CUSTOM_LIBFUZZER_PATH=./libfuzzer.a cargo clippy --manifest-path fuzz/Cargo.toml --locked --target-dir target \
	  --config 'profile.dev.debug="line-tables-only"' -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --workspace --no-deps --document-private-items --quiet

zizmor: ## Check the workflows for security problems (the first run builds zizmor, which takes minutes)
	@$$(hack/cargo-tool.sh zizmor) .github

msrv: ## Check that no dependency needs a compiler newer than rust-version in Cargo.toml, and compile with that version if it is installed
	@hack/msrv.sh

deny: ## Check the licenses, sources and versions of the dependencies
	@cargo fetch --locked --quiet
	@deny=$$(hack/cargo-tool.sh cargo-deny); $$deny --offline --workspace check bans licenses sources; \
	cargo fetch --locked --quiet --manifest-path fuzz/Cargo.toml; \
	$$deny --offline --config deny.toml --manifest-path fuzz/Cargo.toml check bans licenses sources

advisories: ## Check the dependencies for known vulnerabilities (needs the RustSec advisory database, which is on GitHub)
	@deny=$$(hack/cargo-tool.sh cargo-deny); $$deny --workspace check advisories; \
	$$deny --config deny.toml --manifest-path fuzz/Cargo.toml check advisories
