#!/usr/bin/env python3
"""Palisade beside etcd: three members each on loopback, syncs on, 256-byte events, the same number of clients, in turns.

    tests/bench/etcd.py --palisade target/release/palisade --load target/bench/release/etcd-load [--seconds 3] [--rounds 3] [--cases 1x1,64x64]

Installs nothing: etcd is Debian's etcd-server. Prints one JSON object a line for each measurement and each ratio, and a
table of the ratios on the error stream. Absolute figures say little about another machine; the ratios are what counts.

All clients have a connection each (vs-etcd). One etcd client whose threads share four connections is cheaper for etcd, so
Palisade stands beside that, too (vs-etcd-shared), still with a connection for each of its clients.

What differs: etcd's clients speak gRPC, HTTP/2, in clear, and its members speak in clear; Palisade's clients speak HTTP/1.1
in clear, and its hosts speak mutual TLS. etcd stores a value under a key; Palisade judges a command, folds a block into its
models, and answers once the block can be read on that host.

A case is CLIENTSxEVENTS. With more than one event a request, Palisade's requests are batches; they stand beside etcd's
single puts at as many clients, event for event (vs-etcd), and beside etcd's transactions of as many puts (vs-etcd-txn).
"""

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from waiting import fail, until  # noqa: E402

MEMBERS = (1, 2, 3)
WAIT = 30
# Connections that the threads of one etcd client share.
SHARED = 4
# Clients, and events of each request.
CASES = ((1, 1), (64, 1), (256, 1), (64, 64))
MANY = "throughput >= 2x, p99 <= 0.5x"
GOALS = {(1, 1): "p50 <= 1.0x", (64, 1): MANY, (256, 1): MANY, (64, 64): "throughput >= 10x"}


class Etcd:
    """Three members; their clients' ports are on 127.0.0.1, their peers' too."""

    def __init__(self, folder, load):
        self.load = load
        cluster = ",".join(f"m{n}=http://127.0.0.1:{23800 + n}" for n in MEMBERS)
        self.processes = [
            subprocess.Popen(
                [
                    "etcd", "--name", f"m{n}", "--data-dir", str(folder / f"m{n}"), "--log-level", "error",
                    "--logger", "zap", "--listen-peer-urls", f"http://127.0.0.1:{23800 + n}",
                    "--initial-advertise-peer-urls", f"http://127.0.0.1:{23800 + n}",
                    "--listen-client-urls", f"http://127.0.0.1:{23700 + n}",
                    "--advertise-client-urls", f"http://127.0.0.1:{23700 + n}",
                    "--initial-cluster", cluster, "--initial-cluster-state", "new", "--quota-backend-bytes", str(8 << 30),
                ],
                stdout=subprocess.DEVNULL, stderr=open(folder / f"m{n}.log", "w"),
            )
            for n in MEMBERS
        ]
        self.address = until("etcd has a leader", self.leader, WAIT)

    def leader(self):
        for n in MEMBERS:
            status = subprocess.run(
                ["curl", "-sf", "-d", "{}", f"http://127.0.0.1:{23700 + n}/v3/maintenance/status"], capture_output=True
            )
            if status.returncode == 0:
                status = json.loads(status.stdout)
                if status.get("leader") and status["leader"] == status["header"]["member_id"]:
                    return f"127.0.0.1:{23700 + n}"
        return None

    def measure(self, clients, events, seconds, connections):
        command = [self.load, self.address, str(clients), str(events), str(seconds), str(connections)]
        measured = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return measured | {"events_per_second": measured["per_second"] * events}


class Palisade:
    """Three hosts on 127.0.0.1 to 127.0.0.3, that watch only and sense nothing."""

    def __init__(self, folder, program):
        self.program = program
        hosts = [word for n in MEMBERS for word in ("--host", f"h{n}=127.0.0.{n}:23901")]
        run([program, "cluster", "init", *hosts, "--console-port", "23902", "--out", str(folder / "hosts")])
        self.configurations = [folder / "hosts" / f"h{n}" / "palisade.toml" for n in MEMBERS]
        self.processes = []
        for n, configuration in zip(MEMBERS, self.configurations):
            text = configuration.read_text()
            text = re.sub(r'(\[console\]\nlisten = "[^"]+"\n)', r"\1plain = true\n", text)
            text = re.sub(r"\[firewall\]\ndevices = \[\]", "[firewall]\nenabled = false", text)
            configuration.write_text(text)
            self.processes.append(
                subprocess.Popen(
                    [program, "serve", "--config", str(configuration)],
                    stdout=subprocess.DEVNULL, stderr=open(folder / f"h{n}.log", "w"),
                )
            )
        leader = until("palisade has a leader", self.leader, WAIT)
        self.leader_configuration = self.configurations[leader - 1]
        self.follower_configuration = self.configurations[leader % len(MEMBERS)]

    def leader(self):
        for configuration in self.configurations:
            command = [self.program, "cluster", "status", "--config", str(configuration), "--format", "jsonl"]
            status = subprocess.run(command, capture_output=True, text=True)
            if status.returncode != 0:
                return None
            leader = json.loads(status.stdout)["leader"]
        return int(leader)

    def measure(self, clients, events, seconds, configuration=None):
        command = [self.program, "bench", "log", "--config", str(configuration or self.leader_configuration)]
        command += ["--clients", str(clients), "--events", str(events), "--seconds", str(seconds)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run(command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def median(figures):
    return sorted(figures)[len(figures) // 2]


def compare(name, clients, events, rounds):
    """Prints the medians of the ratios of rounds of (palisade, etcd) measurements."""
    ratios = {
        "throughput": median([ours["events_per_second"] / theirs["events_per_second"] for ours, theirs in rounds]),
        "p50": median([ours["p50_us"] / theirs["p50_us"] for ours, theirs in rounds]),
        "p99": median([ours["p99_us"] / theirs["p99_us"] for ours, theirs in rounds]),
    }
    medians = {
        f"{who}_{figure}": round(median([pair[place][figure] for pair in rounds]), 1)
        for place, who in enumerate(("palisade", "etcd"))
        for figure in ("events_per_second", "p50_us", "p99_us")
    }
    line = {"bench": "log", "figure": name, "clients": clients, "events_per_request": events, "rounds": len(rounds)}
    line |= {f"ratio_{figure}": round(ratio, 2) for figure, ratio in ratios.items()} | medians
    print(json.dumps(line), flush=True)
    return line


def cases(text):
    pairs = [tuple(map(int, case.split("x"))) for case in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(text)
    return pairs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--palisade", required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("--dir", default="target", help="the disk to use")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", type=cases, default=CASES, metavar="CLIENTSxEVENTS,...")
    arguments = parser.parse_args()
    for tool in ("etcd", "curl"):
        if shutil.which(tool) is None:
            fail(f"{tool} is missing: apt-get install etcd-server curl")
    folder = Path(tempfile.mkdtemp(prefix="bench-etcd-", dir=arguments.dir)).resolve()
    clusters = []
    try:
        clusters.append(Etcd(folder, arguments.load))
        clusters.append(Palisade(folder, arguments.palisade))
        measure_all(*clusters, arguments)
    finally:
        for process in [process for cluster in clusters for process in cluster.processes]:
            process.send_signal(signal.SIGKILL)
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def measure_all(etcd, palisade, arguments):
    pairs = {}
    for number in range(arguments.rounds):
        for clients, events in arguments.cases:
            ours = palisade.measure(clients, events, arguments.seconds)
            theirs = etcd.measure(clients, 1, arguments.seconds, clients)
            through = palisade.measure(clients, events, arguments.seconds, palisade.follower_configuration)
            measured = [ours, theirs, through]
            figures = {"vs-etcd": (ours, theirs), "follower-vs-etcd": (through, theirs)}
            if SHARED < clients:
                measured.append(etcd.measure(clients, 1, arguments.seconds, SHARED))
                figures["vs-etcd-shared"] = (ours, measured[-1])
            if 1 < events:
                measured.append(etcd.measure(clients, events, arguments.seconds, clients))
                figures["vs-etcd-txn"] = (ours, measured[-1])
            print("\n".join(map(json.dumps, measured)), flush=True)
            for name, pair in figures.items():
                pairs.setdefault((name, clients, events), []).append(pair)
        print(f"round {number + 1} of {arguments.rounds} done", file=sys.stderr)
    lines = [compare(*case, rounds) for case, rounds in sorted(pairs.items())]
    print(f"\n{'':18}{'clients':>8}{'events':>8}{'throughput':>12}{'p50':>8}{'p99':>8}   goal", file=sys.stderr)
    for line in lines:
        case = (line["clients"], line["events_per_request"])
        goal = GOALS.get(case, "") if line["figure"] == "vs-etcd" else ""
        print(
            f"{line['figure']:18}{case[0]:8}{case[1]:8}{line['ratio_throughput']:11}x{line['ratio_p50']:7}x"
            f"{line['ratio_p99']:7}x   {goal}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
