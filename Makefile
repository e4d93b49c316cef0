# The commands of this project; CONTRIBUTING.md says when to use which. No target runs two cargo builds at once.
.DELETE_ON_ERROR:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.NOTPARALLEL:

NODES ?= 3
PARTS := $(sort $(notdir $(wildcard tools/parts/*)))
DATA_DIR ?= ./data

.PHONY: help run test test-cassandra test-kubernetes kubernetes package image bench-cassandra bench-clients quick check generate verify verify-help verify-report simulate soak fmt clean-data cassandra cassandra-stop

help: ## Lists these commands.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

run: ## Builds, and serves on the embedded store in ./data (or DATA_DIR).
	@cargo build --release --locked
	@exec target/release/semel serve --data-dir '$(DATA_DIR)'

test: ## The small form of everything, a real database included, from a fresh clone; installs what it needs.
	@tools/prove small core planted mutants soak operate deploy cassandra clients

test-cassandra: ## The part of it that needs a database: real Apache Cassandra, one node and three, 3 GiB of memory.
	@tools/prove small cassandra

test-kubernetes: ## The chart on a real Kubernetes of one node, in namespaces of its own: root, 6 GiB of memory, minutes.
	@tools/prove small kubernetes

package: ## The packages of the client libraries, each used in an empty project: target/clients/packages.
	@tools/install
	@cargo build --release --locked
	@tools/package

image: ## Builds the image, and writes it to target/image/semel.tar; TOOLCHAIN=host builds in this machine's Rust.
	@tools/image/build

bench-cassandra: ## Begin and Complete on a node of Apache Cassandra, beside the driver alone.
	@tools/bench-cassandra

bench-clients: ## What `once` costs in each language beside its bare generated stub: medians, and ratios.
	@tools/install
	@cargo build --release --locked
	@tools/bench-clients

quick: ## The inner loop: formatting, clippy, and every test that is not slow.
	@tools/quick

check: ## Formatting, linters, licences, the contract's rules, links.
	@tools/check

generate: ## Writes the generated code of the clients from the contract.
	@tools/install
	@tools/generate

verify: ## The full form of one part: make verify PART=core.
	@case ' $(PARTS) ' in \
	  *' $(or $(PART),-) '*) tools/prove full '$(PART)';; \
	  *) echo "make verify: PART is '$(PART)'; it must be one of: $(PARTS)" >&2; exit 2;; \
	esac

simulate: ## Simulated histories, from one seed on: make simulate SEEDS=20000 FIRST=0.
	@SEMEL_SEEDS='$(or $(SEEDS),300)' SEMEL_FIRST_SEED='$(or $(FIRST),0)' \
	  cargo test --locked --test simulation every_history -- --nocapture

verify-report: ## What the full forms came to, as one table; those of another commit are stale.
	@tools/verify-report

verify-help: ## What the full form of each part does, and the variables that scale it.
	@for part in $(PARTS); do tools/parts/$$part help; done

soak: ## Mixed load for hours, with servers struck at random, watched for growth: make soak HOURS=8.
	@HOURS='$(or $(HOURS),1)' tools/prove full soak

fmt: ## Formats the sources.
	@cargo fmt --all

cassandra: ## Starts Apache Cassandra on loopback to play with: make cassandra NODES=1, or 3.
	@tools/cassandra/cluster start '$(NODES)'

kubernetes: ## A shell on a Kubernetes of one node, with this checkout's image, to play with: root; leaving it ends it.
	@tools/kubernetes/play

cassandra-stop: ## Stops what `make cassandra` started, and removes its data.
	@tools/cassandra/cluster stop

clean-data: ## Removes the data that `make run` made in ./data.
	@rm -rf ./data
