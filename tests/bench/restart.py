#!/usr/bin/env python3
"""How long hosts with a long log take from their start until they answer, and until they take a write.

    tests/bench/restart.py --palisade target/release/palisade [--hosts 1] [--events 1000000] [--batch 64] [--starts 3] [--dir target]

Hosts on loopback, that watch only and sense nothing, are filled over HTTP (`palisade bench log`) and killed at once with SIGKILL, all
of them. Then each start is timed and ended by another SIGKILL: first with the checkpoints that were written while the log was
filled, then the other starts, without any: the folder of checkpoints is removed before, so all events are to be folded. After the
last one every host folds its log anew and compares (`palisade projections rebuild`). One JSON object a line.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from failover import WAIT, Cluster, until

PORT = 25701
CLIENTS = 16
CHECKPOINTS = "projections.sled"


def fill(cluster, events, batch):
    """Writes until the log holds so many events; gives how many it holds."""
    words = [cluster.program, "bench", "log", "--config", str(cluster.folders[1] / "palisade.toml")]
    words += ["--clients", str(CLIENTS), "--events", str(batch), "--seconds", "2"]
    written = 0
    while written < events:
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        written += json.loads(done.stdout)["requests"] * batch
    return written


def compare(cluster):
    """Every host folds its log once more, beside what it serves since its start: both must be equal."""
    for n in cluster.folders:
        words = [cluster.program, "projections", "rebuild", "--config", str(cluster.folders[n] / "palisade.toml")]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def processor_seconds(process):
    """What a process has had of the processors: on a busy machine the other times say less."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(cluster, turn):
    """Starts all hosts; seconds until the last one answers, and until a write is taken."""
    started = time.monotonic()
    for n in cluster.folders:
        cluster.start(n)
    for n in cluster.folders:
        until("the host answers", lambda: cluster.ask(n, "GET", "/cluster"), WAIT, pause=0.002)
    answers = time.monotonic() - started
    used = max(map(processor_seconds, cluster.processes.values()))
    until("writes are taken", lambda: cluster.write(1, f"20.3.1.{turn}"), WAIT, pause=0.002)
    times = {"api_answers": round(answers, 3), "takes_writes": round(time.monotonic() - started, 3)}
    return times | {"processor_until_answers": round(used, 2)}


def kill(cluster):
    for n in cluster.folders:
        cluster.kill(n)


def measure(cluster, arguments):
    until("writes are taken", lambda: cluster.write(1, "20.3.0.1"), WAIT, pause=0.002)
    began = time.monotonic()
    events = fill(cluster, arguments.events, arguments.batch)
    about = {"bench": "log", "figure": "restart-seconds", "hosts": arguments.hosts, "events": events}
    about |= {"entries": cluster.ask(1, "GET", "/cluster")[1]["commit"], "filled_in": round(time.monotonic() - began, 1)}
    kill(cluster)
    for turn in range(arguments.starts):
        if turn:
            for folder in cluster.folders.values():
                shutil.rmtree(folder / "data" / CHECKPOINTS)
        times = start(cluster, turn)
        if turn + 1 == arguments.starts:
            compare(cluster)
        kill(cluster)
        print(json.dumps(about | {"checkpoints": "as killed" if turn == 0 else "none"} | times), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--palisade", required=True)
    parser.add_argument("--hosts", type=int, default=1)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=64, help="events of a request, and so of an entry")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--dir", default="target", help="the disk to use")
    parser.add_argument("--keep", action="store_true", help="leave the data for another look")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-restart-", dir=arguments.dir)).resolve()
    cluster = Cluster(arguments.palisade, folder, arguments.hosts, PORT)
    try:
        measure(cluster, arguments)
    finally:
        kill(cluster)
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
