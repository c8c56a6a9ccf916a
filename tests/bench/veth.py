#!/usr/bin/env python3
"""How many SIP frames a second a running host senses on a network device, and how many the kernel could not hand to it.

    tests/bench/veth.py --palisade target/release/palisade [--capture FILE] [--rates 100000,300000,...] [--seconds 10] [--dir target]

A host (`palisade serve`, one sensor thread, no drops) in a network namespace watches one end of a veth; in another namespace two tcpreplay send a
generated capture into the other end, since one does not reach half a million. All share the machine's processors with the kernel, which does the sending and the receiving. For
each rate: what was asked for, what tcpreplay sent, what the host counted, and what it says was lost. Needs root, `apt-get install tcpreplay`.
One JSON object a line.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from failover import WAIT, Cluster, until

INSIDE = "PALISADE_VETH_INSIDE"
PORT = 25801
SENDERS = 2
HERE, THERE = "wire0", "wire1"
RATES = "100000,300000,500000,600000"


class Wire:
    """A veth whose other end is in a namespace of its own, which is gone with its process."""

    def __init__(self):
        run("ip", "link", "set", "lo", "up")
        self.keeper = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        # Until the keeper is in its own namespace, the other end would come out in this one.
        own = os.readlink("/proc/self/ns/net")
        until("the other namespace", lambda: os.readlink(f"/proc/{self.keeper.pid}/ns/net") != own, WAIT, pause=0.01)
        pid = str(self.keeper.pid)
        run("ip", "link", "add", HERE, "type", "veth", "peer", "name", THERE, "netns", pid)
        run("ip", "link", "set", HERE, "up")
        self.run("ip", "link", "set", THERE, "up")

    def start(self, *words):
        words = ["nsenter", "--target", str(self.keeper.pid), "--net", "--", *words]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    def run(self, *words):
        return self.end_of(self.start(*words))

    @staticmethod
    def end_of(process):
        said, _ = process.communicate()
        if process.returncode != 0:
            sys.exit(f"veth: {process.args}: exit code {process.returncode}")
        return said

    def end(self):
        self.keeper.kill()
        self.keeper.wait()


def run(*words):
    subprocess.run(words, check=True)


def counts(cluster):
    """Packets that the host's sensor has taken, and those that the kernel dropped before it."""
    sensor = cluster.ask(1, "GET", "/hosts")[1]["items"][0]["sensor"]
    return sensor["packets"], sensor["dropped"]


def settled(cluster):
    """The counts once they stay the same: what waits in the kernel's buffer has been taken."""
    last = None

    def same():
        nonlocal last
        time.sleep(0.5)
        before, last = last, counts(cluster)
        return before == last

    until("the sensor is done", same, WAIT, pause=0.01)
    return last


def processor_seconds(process):
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(cluster, wire, arguments):
    for rate in map(int, arguments.rates.split(",")):
        before, used = settled(cluster), processor_seconds(cluster.processes[1])
        words = ["tcpreplay", "--quiet", "--preload-pcap", "--pps", str(rate // SENDERS), "--duration", str(arguments.seconds)]
        words += ["--loop", "0", "--intf1", THERE, arguments.capture]
        said = [wire.end_of(sender) for sender in [wire.start(*words) for _ in range(SENDERS)]]
        sent = sum(int(re.search(r"Actual: (\d+) packets", text)[1]) for text in said)
        seconds = max(float(re.search(r"sent in ([\d.]+) seconds", text)[1]) for text in said)
        after, used = settled(cluster), processor_seconds(cluster.processes[1]) - used
        taken, lost = after[0] - before[0], after[1] - before[1]
        line = {"bench": "sensors", "figure": "veth", "rate_asked": rate, "rate_sent": round(sent / seconds), "sent": sent}
        line |= {"taken": taken, "lost": lost, "lost_percent": round(100 * (sent - taken) / sent, 3)}
        print(json.dumps(line | {"processor_seconds": round(used, 2), "seconds": round(seconds, 2)}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--palisade", required=True)
    parser.add_argument("--capture", help="a pcap file; without one, a capture is made")
    parser.add_argument("--rates", default=RATES)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--dir", default="target", help="the disk to use")
    arguments = parser.parse_args()
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", "--", sys.executable, *sys.argv])
    folder = Path(tempfile.mkdtemp(prefix="bench-veth-", dir=arguments.dir)).resolve()
    wire, cluster = Wire(), None
    try:
        if arguments.capture is None:
            arguments.capture = str(folder / "traffic.pcap")
            words = ["bench", "traffic", "--out", arguments.capture, "--truth", str(folder / "truth.tsv")]
            subprocess.run([arguments.palisade, *words], check=True, stdout=subprocess.DEVNULL)
        cluster = Cluster(arguments.palisade, folder / "one", 1, PORT)
        cluster.kill(1)
        configuration = cluster.folders[1] / "palisade.toml"
        text = configuration.read_text().replace("[sensor]\ndevices = []", f'[sensor]\ndevices = ["{HERE}"]')
        assert HERE in text, text
        configuration.write_text(text)
        cluster.start(1)
        until("the host answers", lambda: cluster.ask(1, "GET", "/hosts"), WAIT, pause=0.01)
        measure(cluster, wire, arguments)
    finally:
        if cluster:
            cluster.end()
        wire.end()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
