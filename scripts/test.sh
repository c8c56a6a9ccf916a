#!/usr/bin/env bash
# Everything that CI runs, quick checks first. The last line sums up all runners: `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed_steps=0

# Runs one step and keeps its output for the sum.
step() {
    local name=$1 started=$SECONDS
    shift
    printf '\n== %s\n' "$name"
    if "$@" 2>&1 | tee -a "$log"; then
        printf '== %s: done in %d s\n' "$name" $((SECONDS - started))
    else
        printf '== %s: FAILED after %d s\n' "$name" $((SECONDS - started))
        failed_steps=$((failed_steps + 1))
    fi
}

# A check without a runner of its own counts as one test.
check() {
    local name=$1
    shift
    if "$@"; then echo "check $name ... 1 passed, 0 failed"; else echo "check $name ... 0 passed, 1 failed"; return 1; fi
}

in_console() { (cd api/console && "$@"); }

step 'formatting' check formatting cargo fmt --check
step 'advisories' check advisories python3 tests/advisories/check.py
step 'console types and lint' check console in_console npm run --silent check
step 'console unit tests' in_console npm test --silent -- --reporter=default
step 'console build' check console-build in_console npm run --silent build
export PALISADE_REQUIRE_CONSOLE=1
step 'clippy' check clippy cargo clippy --locked --workspace --all-targets -- -D warnings
step 'build' check build cargo build --locked
step 'rust tests' cargo test --locked --workspace --exclude cluster-tests
step '2,000 simulated clusters' check simulation cargo run --locked --profile simulation -p simulation -- --seeds 1..2001
# Namespaces, kernels, browsers: one after the other, so that they do not slow each other down.
step 'integration tests' cargo test --locked -p cluster-tests -- --test-threads=1

sum() { sed 's/\x1b\[[0-9;]*m//g' "$log" | grep -E "$1" | grep -oE "[0-9]+ $2" | awk '{ total += $1 } END { print total + 0 }'; }
# cargo: `test result: ok. 3 passed; 0 failed`; vitest: `Tests  39 passed`; Playwright's reporter and checks: `29 passed, 0 failed`.
lines='^(test result:|check .* \.\.\. |[0-9]+ passed, [0-9]+ failed)|^ +Tests +'
passed=$(sum "$lines" passed)
failed=$(sum "$lines" failed)
if [ "$failed" -eq 0 ] && [ "$failed_steps" -ne 0 ]; then failed=$failed_steps; fi
printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
