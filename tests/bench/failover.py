#!/usr/bin/env python3
"""How long a cluster takes no writes when its leader is killed.

    tests/bench/failover.py --palisade target/release/palisade [--kills 10] [--dir target]

Three hosts on loopback: the leader is killed with SIGKILL while a client asks both others in turn; the time from the kill to
the first acknowledged write is measured, then the host comes back. One JSON object.
"""

import argparse
import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from waiting import until  # noqa: E402

WAIT = 120
PATIENCE = 6


class Cluster:
    """Hosts on 127.0.0.1 and up, that watch only and sense nothing."""

    def __init__(self, program, folder, count, port):
        self.program, self.port = program, port
        numbers = range(1, count + 1)
        hosts = [word for n in numbers for word in ("--host", f"h{n}=127.0.0.{n}:{port}")]
        command = [program, "cluster", "init", *hosts, "--console-port", str(port + 1), "--out", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        self.folders = {n: folder / f"h{n}" for n in numbers}
        self.processes = {}
        for n in numbers:
            configuration = self.folders[n] / "palisade.toml"
            text = re.sub(r'(\[console\]\nlisten = "[^"]+"\n)', r"\1plain = true\n", configuration.read_text())
            configuration.write_text(text.replace("[firewall]\ndevices = []", "[firewall]\nenabled = false"))
            self.start(n)

    def start(self, n):
        log = open(self.folders[n] / "log", "a")
        command = [self.program, "serve", "--config", str(self.folders[n] / "palisade.toml")]
        self.processes[n] = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)

    def kill(self, n):
        self.processes[n].send_signal(signal.SIGKILL)
        self.processes[n].wait()

    def ask(self, n, method, path, body=None):
        """Status and JSON; nothing if the host does not answer."""
        try:
            token = (self.folders[n] / "data/local-token").read_text().strip()
            connection = http.client.HTTPConnection(f"127.0.0.{n}", self.port + 1, timeout=PATIENCE)
            headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
            connection.request(method, "/api/v1" + path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or "null")
        except (OSError, http.client.HTTPException, ValueError):
            return None

    def write(self, n, address):
        answer = self.ask(n, "POST", "/blocks", {"address": address, "seconds": 86400})
        return answer is not None and answer[0] == 201

    def leader(self):
        """The leader once every host names the same one and hears all others."""

        def whole():
            answers = [self.ask(n, "GET", "/cluster") for n in self.folders]
            if any(answer is None or answer[0] != 200 for answer in answers):
                return None
            hosts = [host for answer in answers for host in answer[1]["hosts"]]
            leaders = {answer[1]["leader"] for answer in answers}
            same = len(leaders) == 1 and all(host["status"] == "active" for host in hosts)
            return leaders.pop() if same else None

        return int(until("the hosts agree on a leader", whole, WAIT, pause=0.002))

    def end(self):
        for n in self.processes:
            self.kill(n)


def measure_failover(program, folder, kills):
    cluster = Cluster(program, folder / "three", 3, 25601)
    times = []
    for kill in range(kills):
        leader = cluster.leader()
        others = [n for n in cluster.folders if n != leader]
        started = time.monotonic()
        cluster.kill(leader)
        turn = iter(range(1 << 30))
        until("writes go on", lambda: cluster.write(others[next(turn) % 2], f"20.2.{kill}.1"), WAIT, pause=0.002)
        times.append(time.monotonic() - started)
        cluster.start(leader)
    cluster.leader()
    cluster.end()
    times.sort()
    seconds = [round(time, 3) for time in times]
    line = {"bench": "log", "figure": "failover-seconds", "kills": kills, "p50": seconds[len(seconds) // 2]}
    print(json.dumps(line | {"max": seconds[-1], "all": seconds}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--palisade", required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--dir", default="target", help="the disk to use")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-failover-", dir=arguments.dir)).resolve()
    try:
        measure_failover(arguments.palisade, folder, arguments.kills)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
