#!/usr/bin/env python3
"""A cluster that holds a million events changes its hosts, by the command line alone, as docs/operating.md says.

    tests/faults/million.py --palisade target/release/palisade [--events 1000000] [--work target/million]

Three hosts on loopback, that watch only and sense nothing, are filled over HTTP (`palisade bench log`). Then, by commands: a host
joins with a token; the old leader is removed, and the new host gets its vote; the next leader is killed (kill -9), removed and
replaced by one more that joins. At the end all hosts have folded the same entries to the same state, and every byte of their
logs is verified. Prints one JSON object a line for each figure.
"""

import argparse
import http.client
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from waiting import fail, until as reach  # noqa: E402

FIRST = ("h1", "h2", "h3")
PEERS, CONSOLE = 26901, 26902
CLIENTS = 32
# Events of a request, and so of an entry: with a million events the log has more than the 100,000 entries that it keeps, so a
# host that joins fetches chapters first.
BATCH = 8
WAIT = 600


def say(figure, **members):
    print(json.dumps({"bench": "million", "figure": figure} | members), flush=True)


def until(what, reached):
    return reach(what, reached, WAIT)


class Host:
    """One host: the folder that `cluster init` or `cluster join` made, and its process."""

    def __init__(self, program, number, folder):
        self.program, self.number, self.folder, self.process = program, number, folder, None
        self.address, self.configuration = f"127.0.0.{number}", folder / "palisade.toml"
        text = self.configuration.read_text()
        text = re.sub(r'(\[console\]\nlisten = "[^"]+"\n)', r"\1plain = true\n", text)
        self.configuration.write_text(text.replace("[firewall]\ndevices = []", "[firewall]\nenabled = false"))

    def serve(self):
        log = open(self.folder / "serve.log", "a")
        command = [self.program, "serve", "--config", str(self.configuration)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)

    def command(self, *words):
        """Runs a command that asks this host; its exit code and what it says."""
        done = subprocess.run([self.program, *words, "--config", str(self.configuration)], capture_output=True, text=True)
        return done.returncode, (done.stdout if done.returncode == 0 else done.stderr).strip()

    def must(self, *words):
        code, said = self.command(*words)
        if code != 0:
            fail(f"host {self.number}: {' '.join(words)} ends with {code}: {said}")
        return said

    def status(self):
        """What `cluster status` says, and nothing while the host does not answer or knows no leader."""
        code, said = self.command("cluster", "status", "--format", "jsonl")
        return json.loads(said) if code == 0 else None

    def row(self, number):
        status = self.status() or {"hosts": []}
        return next((row for row in status["hosts"] if row["id"] == str(number)), {})

    def leader(self):
        status = self.status()
        return int(status["leader"]) if status else None

    def connect(self):
        return http.client.HTTPConnection(self.address, CONSOLE, timeout=30)

    def block(self, connection, addresses, seconds):
        token = (self.folder / "data/local-token").read_text().strip()
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        body = json.dumps({"items": [{"address": address, "seconds": seconds} for address in addresses]})
        connection.request("POST", "/api/v1/blocks/batch", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def bytes(self):
        return sum(path.stat().st_size for path in (self.folder / "data").rglob("*") if path.is_file())


def fill(host, events):
    """Writes until the log holds so many events."""
    words = [host.program, "bench", "log", "--config", str(host.configuration)]
    words += ["--clients", str(CLIENTS), "--events", str(BATCH), "--seconds", "10"]
    written, started = 0, time.monotonic()
    while written < events:
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode != 0:
            fail(f"filling ends with {done.returncode}: {done.stderr.strip()}")
        written += json.loads(done.stdout)["requests"] * BATCH
    say("fill", events_at_least=written, seconds=round(time.monotonic() - started, 1), events_per_request=BATCH)


class Writer(threading.Thread):
    """One client that goes on writing through a host; the longest time without an acknowledged write is the pause."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.host, self.stop, self.longest, self.written = host, threading.Event(), 0.0, 0

    def run(self):
        connection, last, turn = None, time.monotonic(), 0
        while not self.stop.is_set():
            turn += 1
            try:
                connection = connection or self.host.connect()
                if self.host.block(connection, [f"21.0.{turn >> 8 & 255}.{turn & 255}"], 200_000 + turn)[0] == 201:
                    now = time.monotonic()
                    self.longest, last, self.written = max(self.longest, now - last), now, self.written + 1
                    continue
            except (OSError, http.client.HTTPException):
                connection = None
            time.sleep(0.01)

    def end(self):
        self.stop.set()
        self.join()
        return {"pause_seconds": round(self.longest, 2), "writes_meanwhile": self.written}


def join(program, work, via, number):
    """A new host, by token, until it has its vote or stays a learner with the whole log."""
    name, started = f"h{number}", time.monotonic()
    token = via.must("cluster", "token", "issue")
    command = [program, "cluster", "join", "--token", token, "--via", f"{via.address}:{PEERS}", "--name", name, "--watch-only"]
    command += ["--address", f"127.0.0.{number}:{PEERS}", "--console-port", str(CONSOLE), "--data", str(work / name)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"join ends with {done.returncode}: {done.stderr.strip()}")
    joined = time.monotonic()
    host = Host(program, number, work / name)
    host.serve()
    until(f"host {number} has the whole log", lambda: has_everything(via, number))
    caught_up = time.monotonic()
    say(
        "join", host=number, token_and_join_seconds=round(joined - started, 2), caught_up_seconds=round(caught_up - joined, 2),
        data_bytes=host.bytes(), role=via.row(number)["role"],
    )
    return host


def has_everything(via, number):
    status = via.status()
    rows = {row["id"]: row for row in status["hosts"]} if status else {}
    row = rows.get(str(number), {})
    return row.get("status") == "active" and (row.get("applied") or 0) + 100 >= status["commit"]


def vote(via, number):
    started = time.monotonic()
    until(f"host {number} has its vote", lambda: via.row(number).get("role") in ("follower", "leader"))
    say("promotion", host=number, seconds=round(time.monotonic() - started, 2))


def same_state(hosts):
    def hashes():
        states = [(status or {}).get("state_hash", {}) for status in (host.status() for host in hosts)]
        return states if len({state.get("index") for state in states}) == 1 and states[0] else None

    states = until("all hosts have folded the same entries", hashes)
    if len({state["hash"] for state in states}) != 1:
        fail(f"equal entries, other states: {states}")
    return states[0]


def change_hosts(program, work, hosts):
    """A host joins, is promoted, the old leader goes, a dead one is replaced."""
    leader = hosts[0].leader()
    asked = next(host for host in hosts if host.number != leader)

    # Three of four hosts vote, so the new one waits for its vote until another one goes.
    fourth = join(program, work, asked, 4)
    old = next(host for host in hosts if host.number == leader)
    others = [host for host in hosts if host is not old] + [fourth]
    writer = Writer(asked)
    writer.start()
    started = time.monotonic()
    asked.must("cluster", "remove", str(old.number))
    until("another host leads", lambda: asked.leader() not in (None, old.number))
    say("old leader removed", host=old.number, seconds=round(time.monotonic() - started, 2))
    vote(asked, 4)
    until("the removed host says so", lambda: "was removed from the cluster" in old.command("cluster", "status")[1])
    old.process.terminate()
    say("old leader ended", exit=old.process.wait(WAIT), **writer.end())

    # The leader dies, and a new host takes its place.
    leader = until("there is a leader", asked.leader)
    dead = next(host for host in others if host.number == leader)
    asked = next(host for host in others if host is not dead)
    writer = Writer(asked)
    writer.start()
    dead.process.kill()
    dead.process.wait()
    started = time.monotonic()
    until("another host leads", lambda: asked.leader() not in (None, dead.number))
    say("leader killed", host=dead.number, leader_after_seconds=round(time.monotonic() - started, 2))
    fifth = join(program, work, asked, 5)
    asked.must("cluster", "remove", str(dead.number))
    vote(asked, 5)
    say("dead host replaced", seconds=round(time.monotonic() - started, 2), **writer.end())
    return [host for host in others if host is not dead] + [fifth]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--palisade", required=True)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path, default=Path("target/million"))
    arguments = parser.parse_args()
    program, work = arguments.palisade, arguments.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    words = [word for number, name in enumerate(FIRST, 1) for word in ("--host", f"{name}=127.0.0.{number}:{PEERS}")]
    made = [program, "cluster", "init", *words, "--console-port", str(CONSOLE), "--out", str(work)]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
    hosts = [Host(program, number, work / name) for number, name in enumerate(FIRST, 1)]
    everybody = list(hosts)
    try:
        for host in hosts:
            host.serve()
        leader = until("there is a leader", lambda: hosts[0].leader() and all(host.leader() for host in hosts) and hosts[0].leader())
        fill(hosts[leader - 1], arguments.events)
        state = same_state(hosts)
        say("filled", entries=state["index"], data_bytes=hosts[0].bytes())
        hosts = change_hosts(program, work, hosts)
        everybody += hosts
        state = same_state(hosts)
        say("same state", hosts=[host.number for host in hosts], index=state["index"], hash=state["hash"])
        for host in hosts:
            done = subprocess.run([program, "log", "verify", "--data", str(host.folder / "data")], capture_output=True, text=True)
            said = (done.stdout.strip() or done.stderr.strip()).splitlines()
            say("log verify", host=host.number, exit=done.returncode, says=said[-1] if said else "")
            if done.returncode != 0:
                fail(f"host {host.number}: its log is not sound")
        shown = hosts[0].status()
        say("end", hosts={row["name"]: row["role"] for row in shown["hosts"]})
    finally:
        for host in everybody:
            if host.process and host.process.poll() is None:
                host.process.kill()


if __name__ == "__main__":
    main()
