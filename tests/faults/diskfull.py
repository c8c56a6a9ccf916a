#!/usr/bin/env python3
"""Fills the disk of a host that takes writes, again and again, and looks what is kept. Needs root for a loop mount.

    tests/faults/diskfull.py --palisade target/release/palisade [--rounds 3] [--work target/diskfull]

The data directory lies on a small ext4 image. While clients write, a file takes all the space that is left; the host goes on
as far as its zeroed files reach, then refuses writes or ends. Either must be said in clear text. Once there is space again
the host must take writes, started anew if it had ended, and its log must hold everything that was acknowledged.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from waiting import fail, until  # noqa: E402

# Log files, spare ones and the reserve have 64 MiB each, and every round needs some more of them.
DISK_BYTES = 1 << 30
CLIENTS = 8
PORT = 25801
WAIT = 240
# Refusals in a row after which the disk counts as full to the host.
REFUSALS = 40


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


class Host:
    """One host that is a cluster by itself."""

    def __init__(self, program, work, data):
        self.program, self.data, self.log, self.process = program, data, work / "host.log", None
        run(program, "cluster", "init", "--host", f"alone=127.0.0.1:{PORT}", "--console-port", str(PORT + 1), "--out", str(work / "host"))
        self.configuration = work / "host/alone/palisade.toml"
        text = self.configuration.read_text().replace('data = "data"', f'data = "{data}"')
        text = re.sub(r'(\[console\]\nlisten = "[^"]+"\n)', r"\1plain = true\n", text)
        self.configuration.write_text(text.replace("[firewall]\ndevices = []", "[firewall]\nenabled = false"))

    def start(self):
        command = [self.program, "serve", "--config", str(self.configuration)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=open(self.log, "a"))

    def has_ended(self):
        return self.process.poll() is not None

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", PORT + 1, timeout=10)

    def write(self, connection, number):
        """The status of a block of the number's address, and the answer's code; nothing if the host does not answer."""
        address = f"20.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        try:
            token = (self.data / "local-token").read_text().strip()
            headers = {"authorization": f"Bearer {token}", "content-type": "application/json", "idempotency-key": f"k{number}"}
            connection.request("POST", "/api/v1/blocks", json.dumps({"address": address, "seconds": 86400}), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or "{}").get("code", "")
        except (OSError, http.client.HTTPException, ValueError):
            connection.close()
            return None


class Load:
    """Clients that write one number after the other, until the disk is full to the host."""

    def __init__(self, host):
        self.host, self.lock, self.next, self.acknowledged = host, threading.Lock(), 1, set()
        self.refusals = {}

    def until_full(self):
        threads = [threading.Thread(target=self.write_on) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def write_on(self):
        connection, refused, end = self.host.connect(), 0, time.monotonic() + WAIT
        while refused < REFUSALS and not self.host.has_ended():
            if end < time.monotonic():
                return
            with self.lock:
                number, self.next = self.next, self.next + 1
            answer = self.host.write(connection, number)
            if answer and answer[0] == 201:
                self.acknowledged.add(number)
                refused = 0
            else:
                refused += 1
                with self.lock:
                    self.refusals[answer] = self.refusals.get(answer, 0) + 1

    def write_one(self):
        connection = self.host.connect()
        with self.lock:
            number, self.next = self.next, self.next + 1
        done = (self.host.write(connection, number) or (0,))[0] == 201
        if done:
            self.acknowledged.add(number)
        connection.close()
        return done


def fill(folder, stop):
    """Takes the space that is left, also what the host gives back, until told to stop."""
    with open(folder / "filler", "wb", buffering=0) as file:
        block = bytes(1 << 20)
        while not stop.is_set():
            try:
                file.write(block)
            except OSError:
                stop.wait(0.2)


def kept(host):
    dump = run(host.program, "log", "dump", "--data", str(host.data))
    found = re.findall(r"source=20\.(\d+)\.(\d+)\.(\d+)", dump)
    return {int(high) << 16 | int(middle) << 8 | int(low) for high, middle, low in found}


def one_round(host, load, mount, number):
    before = len(load.acknowledged)
    until("the host takes writes", load.write_one, WAIT)
    time.sleep(number)  # The first time its spare files are not ready, later they are.
    stop = threading.Event()
    filler = threading.Thread(target=fill, args=(mount, stop))
    filler.start()
    load.until_full()
    ended = host.has_ended()
    said = host.log.read_text(errors="replace").splitlines()[-12:]
    stop.set()
    filler.join()
    (mount / "filler").unlink()
    refusals = {f"{answer}": count for answer, count in load.refusals.items()}
    load.refusals = {}
    if ended:
        if not any(re.search("No space left|disk is full|os error 28", line) for line in said):
            fail("the host ended and does not say why:\n" + "\n".join(said))
        host.start()
    until("the host takes writes again", load.write_one, WAIT)
    missing = load.acknowledged - kept(host)
    what = "ended, and said why" if ended else "refused writes"
    print(f"round {number + 1}: {len(load.acknowledged) - before} acknowledged, then the host {what} {refusals}; lost {len(missing)}", flush=True)
    return missing


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--palisade", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", default="target/diskfull")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        fail("a loop mount needs root")
    work = Path(arguments.work).resolve()
    shutil.rmtree(work, ignore_errors=True)
    mount = work / "disk"
    mount.mkdir(parents=True)
    with open(work / "disk.img", "wb") as file:
        file.truncate(DISK_BYTES)
    run("mkfs.ext4", "-q", "-F", "-m", "0", str(work / "disk.img"))
    run("mount", "-o", "loop", str(work / "disk.img"), str(mount))
    host = Host(arguments.palisade, work, mount / "data")
    try:
        host.start()
        load, lost = Load(host), set()
        for number in range(arguments.rounds):
            lost |= one_round(host, load, mount, number)
        print(f"diskfull: {arguments.rounds} rounds, {len(load.acknowledged)} events acknowledged, {len(lost)} lost", flush=True)
    finally:
        if host.process and not host.has_ended():
            host.process.send_signal(signal.SIGKILL)
            host.process.wait()
        run("umount", str(mount))
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
