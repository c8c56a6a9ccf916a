#!/usr/bin/env python3
"""The sensor beside other programs that read SIP from captures: messages per second of processor time.

    tests/bench/sensors.py --palisade target/release/palisade [--capture FILE] [--rounds 3] [--messages 1000000] [--dir target]

All read the same capture in turns; what counts is each process's user and system time from start to end, reading the file
included. `palisade capture` is the whole product: libpcap, full detection, verdicts. Its stages in one process, without the cost of
reading the file, are those of `palisade bench sensors`, which runs in every round too. JSON, one object a line; programs that are
not installed are named.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

# sngrep keeps so many dialogs unless told otherwise; more slow it down.
DIALOGS = "20000"
FIELDS = ["-T", "fields", "-e", "sip.Method", "-e", "sip.Status-Code", "-e", "sip.Call-ID", "-e", "sip.User-Agent"]


def programs(palisade, capture):
    """What to run, by name."""
    return {
        "palisade capture": [palisade, "capture", "--format", "jsonl", capture],
        "tcpdump": ["tcpdump", "-nn", "-r", capture],
        "sngrep": ["sngrep", "-N", "-q", "-l", DIALOGS, "-I", capture],
        "tshark statistics": ["tshark", "-n", "-q", "-z", "sip,stat", "-r", capture],
        "tshark fields": ["tshark", "-n", "-r", capture, *FIELDS],
    }


def processor_time(command):
    """Seconds, user and system, of a process and its children that it waited for."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"sensors: {' '.join(command)}: exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def stages(palisade, capture):
    """Figures of the stages in one process, by name."""
    command = [palisade, "bench", "sensors", "--rounds", "1", "--capture", capture]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {figure["figure"]: figure for figure in map(json.loads, output.splitlines())}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--palisade", required=True)
    parser.add_argument("--capture", help="a pcap file; without one, a capture is made")
    parser.add_argument("--messages", type=int, default=1_000_000, help="of a capture that is made")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", type=Path, default=Path("target"))
    arguments = parser.parse_args()
    arguments.dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.dir, prefix="bench-sensors-") as folder:
        capture = arguments.capture or make(arguments.palisade, Path(folder), arguments.messages)
        compare(arguments.palisade, str(capture), arguments.rounds)


def make(palisade, folder, messages):
    capture = folder / "capture.pcap"
    command = [palisade, "bench", "traffic", "--messages", str(messages), "--out", capture, "--truth", folder / "truth.tsv"]
    subprocess.run(command, check=True)
    return capture


def compare(palisade, capture, rounds):
    wanted = programs(palisade, capture)
    missing = sorted({command[0] for command in wanted.values() if shutil.which(command[0]) is None})
    present = {name: command for name, command in wanted.items() if command[0] not in missing}
    seconds = {name: [] for name in present}
    measured = []
    for _ in range(rounds):
        measured.append(stages(palisade, capture))
        for name, command in present.items():
            seconds[name].append(processor_time(command))
    messages = measured[0]["detection"]["messages"]
    for name, figure in measured[0].items():
        rates = [stage[name]["per_cpu_second"] for stage in measured]
        ratios = [stage[name]["ratio_to_hdr"] for stage in measured]
        show(f"stage {name}", statistics.median(rates), rounds=rates, ratio_to_hdr=statistics.median(ratios))
    detection = statistics.median(stage["detection"]["per_cpu_second"] for stage in measured)
    ours = seconds["palisade capture"]
    for name, times in seconds.items():
        rates = [round(messages / time) for time in times]
        ratio = statistics.median(theirs / own for theirs, own in zip(times, ours))
        rate = statistics.median(rates)
        show(name, rate, rounds=rates, palisade_capture_times=round(ratio, 2), detection_times=round(detection / rate, 2))
    if missing:
        print(json.dumps({"bench": "sensors-peers", "not_installed": missing}))


def show(name, rate, **members):
    print(json.dumps({"bench": "sensors-peers", "program": name, "per_cpu_second": rate, **members}))


if __name__ == "__main__":
    main()
