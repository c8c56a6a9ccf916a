# `make demo` and `make test` do all the set-up on a fresh Debian or Ubuntu machine with Rust and Node 20.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-test console build demo test check advisories seeds bugs kills syscalls chaos powercuts diskfull million erasure bench-log bench-sensors linearity fuzz latency clean

help:
	@echo 'make demo     three hosts on this machine, real attack traffic, console (as root: real blocks)'
	@echo 'make test     everything that CI runs'
	@echo 'make build    the binary, optimised: target/release/palisade'
	@echo 'make check    formatting, clippy, advisories: the quick part of the tests'
	@echo 'make seeds    2,000 simulated clusters;  make bugs    planted defects, each found;  make kills    60 kills of real hosts;  make latency    50 timed blocks'
	@echo 'make chaos    70 pauses, partitions and losses;  make powercuts    20 machines without power, in QEMU;  make diskfull    3 full disks'
	@echo 'make million  hosts come and go under a million events;  make erasure    erased attacks are in no file'
	@echo 'make syscalls 300 writes and syncs that fail;  make bench-log    the log alone, and three hosts beside etcd'
	@echo 'make bench-sensors  the sensor, stage by stage, and beside other programs;  make linearity  hostile messages of twice the length'
	@echo 'make fuzz     10 minutes of fuzzing for each of 9 targets (FUZZ_SECONDS=60: a minute; needs nightly and cargo-fuzz)'

setup:
	scripts/setup.sh build

setup-test:
	scripts/setup.sh test

console: setup
	cd api/console && npm run --silent build

build: console
	PALISADE_REQUIRE_CONSOLE=1 cargo build --locked --release

# In its own profile-independent folder, so that the demo starts what was built from this tree.
demo: console
	PALISADE_REQUIRE_CONSOLE=1 cargo build --locked
	target/debug/palisade demo $(DEMO)

test: setup-test
	scripts/test.sh

check:
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	python3 tests/advisories/check.py

advisories:
	python3 tests/advisories/check.py

seeds:
	cargo run --locked --profile simulation -p simulation -- --seeds 1..2001

# In a folder of its own: no other build may contain a planted defect.
bugs:
	RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/scripts/with-bugs.sh cargo build --locked --profile simulation -p simulation --target-dir target/bugs
	target/bugs/simulation/simulation --seeds 1..2001 --bugs

kills: setup-test
	cargo build --locked
	PALISADE_KILL_ROUNDS=20 cargo test --locked -p cluster-tests --test it kill:: -- --nocapture --test-threads=1

syscalls: setup-test
	cargo build --locked
	PALISADE_FAULT_POINTS=1000 cargo test --locked -p cluster-tests --test it syscalls:: -- --nocapture --test-threads=1

chaos: setup-test
	cargo build --locked
	PALISADE_CHAOS_ROUNDS=10 cargo test --locked -p cluster-tests --test it chaos:: -- --nocapture --test-threads=1

# Needs qemu-system-x86, busybox-static and cpio, and the network once for a kernel.
powercuts:
	cargo build --locked --release -p palisade
	tests/faults/powercuts.py --palisade target/release/palisade

# Needs root, for a loop mount.
diskfull:
	cargo build --locked --release -p palisade
	tests/faults/diskfull.py --palisade target/release/palisade

# A million events, then hosts come and go by command.
million:
	cargo build --locked --release -p palisade
	tests/faults/million.py --palisade target/release/palisade

# An attack's data is in no file of any host once it is erased; five minutes, most of them waiting.
erasure: setup-test
	cargo build --locked
	cargo test --locked -p cluster-tests --test it chapters:: -- --ignored --nocapture

# The log's writer alone, three hosts beside etcd (`apt-get install etcd-server`), a leader that is killed, a restart with a long log.
bench-log:
	cargo build --locked --release -p palisade
	CARGO_TARGET_DIR=target/bench cargo build --locked --release --manifest-path tests/bench/etcd-load/Cargo.toml
	target/release/palisade bench log --dir target
	tests/bench/etcd.py --palisade target/release/palisade --load target/bench/release/etcd-load
	tests/bench/failover.py --palisade target/release/palisade
	tests/bench/restart.py --palisade target/release/palisade
	tests/bench/restart.py --palisade target/release/palisade --hosts 3

# The stages of the sensor, a flood of forged sources, and other programs on the same capture (`apt-get install tcpdump sngrep tshark`).
bench-sensors:
	cargo build --locked --release -p palisade
	target/release/palisade bench sensors
	target/release/palisade bench sensors --flood
	target/release/palisade bench sensors --tables
	tests/bench/sensors.py --palisade target/release/palisade

# Fails if a hostile message of twice the length costs more than 2.3 times as much.
linearity:
	cargo build --locked --release -p palisade
	target/release/palisade bench sensors --linearity

# `rustup toolchain install nightly`, `cargo install cargo-fuzz --locked`. What is found goes to sensors/fuzz/artifacts; what is new to
# a corpus goes to target/fuzz/corpus, from where a small input may be taken into sensors/fuzz/corpus.
FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?= authorization datagram dns hep packet reassembly stream tftp websocket
fuzz:
	for name in $(FUZZ_TARGETS); do \
	    mkdir -p target/fuzz/corpus/$$name; \
	    CARGO_TARGET_DIR=$(CURDIR)/target/fuzz cargo +nightly fuzz run --fuzz-dir sensors/fuzz $$name \
	        target/fuzz/corpus/$$name sensors/fuzz/corpus/$$name -- -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -timeout=10 -print_final_stats=1; \
	done

latency: setup-test
	cargo build --locked --release
	PALISADE_LATENCY_RUNS=50 PALISADE_BINARY=target/release/palisade cargo test --locked -p cluster-tests --test it latency:: -- --nocapture --test-threads=1

clean:
	cargo clean
	rm -rf api/console/dist api/console/node_modules tests/console/node_modules
