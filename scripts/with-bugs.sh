#!/usr/bin/env bash
# A compiler for cargo (RUSTC_WORKSPACE_WRAPPER) that plants every defect of simulation/bugs.txt into the crates of this
# workspace; each stays off until `simulation --bug NAME` switches it on. Other crates are built as ever.
set -euo pipefail
list="$(dirname "$0")/../simulation/bugs.txt"
flags=(--cfg bug)
while read -r name _; do
    case $name in '' | '#'*) ;; *) flags+=(--cfg "bug=\"$name\"") ;; esac
done <"$list"
exec "$@" "${flags[@]}"
