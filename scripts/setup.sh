#!/usr/bin/env bash
# Installs what is missing on a Debian or Ubuntu machine, says what, and asks for root only when it needs it.
#   scripts/setup.sh build    what `make demo` needs
#   scripts/setup.sh test     that, and what `make test` needs
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }

need_packages() {
    local missing=()
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        as_root=(sudo)
        say "root is needed once, to install packages"
    fi
    say "installing with apt: ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

need_rust() {
    command -v cargo >/dev/null || { say "cargo is missing: install Rust (rustup) first"; exit 1; }
}

need_node() {
    local major
    major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/') || true
    [ "${major:-0}" -ge 20 ] || { say "Node 20 or newer is missing"; exit 1; }
}

# Runs `npm ci` in a folder when its lock file is newer than what is installed.
need_modules() {
    local folder=$1
    if [ ! -e "$folder/node_modules/.package-lock.json" ] || [ "$folder/package-lock.json" -nt "$folder/node_modules/.package-lock.json" ]; then
        say "installing with npm in $folder"
        (cd "$folder" && npm ci --no-audit --no-fund --loglevel=error)
    fi
}

need_sipvicious() {
    local venv=target/tools/sipvicious
    [ -x "$venv/bin/sipvicious_svcrack" ] && return
    say "installing with pip into $venv: sipvicious"
    mkdir -p target/tools
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'sipvicious==0.3.8'
}

need_rust
need_node
case "${1:-build}" in
build)
    need_packages build-essential pkg-config libpcap-dev nftables iproute2 util-linux
    need_modules api/console
    ;;
test)
    need_packages build-essential pkg-config libpcap-dev nftables iproute2 util-linux kamailio chromium python3-venv strace faketime
    # Other people's tools, for tests/it/tools: about 11 MB to fetch, of which nmap is 8.
    need_packages nmap sip-tester tftp-hpa bind9-dnsutils dnsperf dnsmasq-base tcpdump
    need_modules api/console
    need_modules tests/console
    need_sipvicious
    ;;
*)
    say "unknown: $1 (build or test)"
    exit 2
    ;;
esac
