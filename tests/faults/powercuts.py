#!/usr/bin/env python3
"""Cuts the power of a machine that runs Palisade, again and again, and looks what is kept.

    tests/faults/powercuts.py --palisade target/release/palisade [--cuts 20] [--work target/powercuts]

The machine is QEMU's (TCG: no virtualization needed) with Debian's cloud kernel, which apt-get brings into the work folder,
and an initramfs of busybox, the program and the libraries it asks for. Its disk is an ext4 image. A host that is a cluster by
itself takes one write after the other, and the machine says on its serial line which number was acknowledged. QEMU is killed
at a random moment: what the guest's kernel had not written is gone. The next boot must take writes again, and its log must
hold every number that was acknowledged. The last line sums up; the exit code is 1 if anything was lost.
"""

import argparse
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from waiting import fail  # noqa: E402

# Under TCG, on a loaded machine, a boot with an election takes half a minute.
BOOT = 300
MODULES = ("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk")
DISK_BYTES = 640 << 20
# Numbers that a life of the machine acknowledges before its power is cut.
LEAST, MOST = 3, 60

INIT = r"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
for module in MODULES; do insmod /mods/$module.ko; done
ifconfig lo up
until [ -b /dev/vda ]; do sleep 0.1; done
mount -t ext4 /dev/vda /data || { echo "NOT MOUNTED"; poweroff -f; }
/palisade serve --config /host/palisade.toml >/dev/null 2>/data/serve.log &
server=$!
ask() { # METHOD PATH BODY KEY
    printf '%s /api/v1%s HTTP/1.1\r\nhost: 127.0.0.1:8443\r\nauthorization: Bearer %s\r\nconnection: close\r\nidempotency-key: %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s' \
        "$1" "$2" "$(cat /data/host/local-token)" "$4" ${#3} "$3" | nc 127.0.0.1 8443 2>/dev/null | head -n 1
}
write() { # ADDRESS KEY
    case "$(ask POST /blocks "{\"address\":\"$1\",\"seconds\":86400}" "$2")" in *" 201 "*) return 0 ;; esac
    kill -0 $server 2>/dev/null || { echo "ENDED $(tail -n 3 /data/serve.log)"; poweroff -f; }
    return 1
}
# A life begins with a write that only says that there is a leader: everything before it is committed then.
until write 21.0.0.1 "boot$(cat /proc/sys/kernel/random/uuid)" 2>/dev/null; do sleep 0.2; done
/palisade log dump --data /data/host | tr ' ' '\n' | awk -F'[=.]' '
    /^source=20\./ { number = $3 * 65536 + $4 * 256 + $5; if (!(number in seen)) count++; seen[number] = 1; if (most < number) most = number }
    END { for (number = 1; number <= most; number++) if (!(number in seen)) print "MISSING " number; print "\nKEPT " count + 0 " UP TO " most + 0; print most + 0 > "/next" }'
number=$(cat /next)
while :; do
    number=$((number + 1))
    until write 20.$((number / 65536)).$((number / 256 % 256)).$((number % 256)) "number$number"; do :; done
    echo "ACK $number"
done
"""


def run(*command, **options):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def kernel(work):
    """The kernel's file and its modules' folder; brought by apt-get once."""
    if not list(work.glob("kernel/boot/vmlinuz-*")):
        depends = run("apt-cache", "depends", "linux-image-cloud-amd64")
        package = re.search(r"Depends: (linux-image-6\S+)", depends).group(1)
        run("apt-get", "download", package, cwd=work, stderr=subprocess.DEVNULL)
        (archive,) = work.glob(f"{package}_*.deb")
        run("dpkg", "-x", str(archive), str(work / "kernel"))
        archive.unlink()
    return next(work.glob("kernel/boot/vmlinuz-*")), next(work.glob("kernel/lib/modules/*"))


def initramfs(work, palisade, modules):
    root = work / "root"
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("bin", "proc", "sys", "dev", "tmp", "data", "mods"):
        (root / folder).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), root / "bin/busybox")
    shutil.copy(palisade, root / "palisade")
    run("strip", str(root / "palisade"))
    for library in re.findall(r"(/\S+)", run("ldd", str(palisade))):
        target = root / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    for module in MODULES:
        (found,) = modules.rglob(f"{module}.ko")
        shutil.copy(found, root / "mods")
    run(palisade, "cluster", "init", "--host", "alone=127.0.0.1:7100", "--console-port", "8443", "--out", str(work / "new"))
    (work / "new/alone").rename(root / "host")
    shutil.rmtree(work / "new")
    configuration = root / "host/palisade.toml"
    text = configuration.read_text().replace('data = "data"', 'data = "/data/host"')
    text = re.sub(r'(\[console\]\nlisten = "[^"]+"\n)', r"\1plain = true\n", text)
    configuration.write_text(text.replace("[firewall]\ndevices = []", "[firewall]\nenabled = false"))
    init = root / "init"
    init.write_text(INIT.replace("MODULES", " ".join(MODULES)))
    init.chmod(0o755)
    packed = work / "initramfs.gz"
    run("sh", "-c", f"find . | cpio --quiet -o -H newc | gzip -1 > {packed}", cwd=root)
    return packed


class Machine:
    """One life."""

    def __init__(self, work, image, packed, disk):
        self.serial = work / "serial.log"
        self.output = open(self.serial, "wb")
        self.process = subprocess.Popen(
            [
                "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "512", "-nographic", "-no-reboot",
                "-kernel", str(image), "-initrd", str(packed), "-append", "console=ttyS0 quiet panic=-1",
                "-drive", f"file={disk},format=raw,if=virtio", "-nic", "none",
            ],
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT,
        )

    def lines(self):
        # A line that the cut broke off says nothing.
        text = self.serial.read_text(errors="replace").replace("\r", "")
        return text[: text.rfind("\n") + 1].splitlines()

    def until(self, what, reached):
        end = time.monotonic() + BOOT
        while not reached():
            if self.process.poll() is not None or end < time.monotonic():
                lines = self.lines()
                self.cut()
                fail(f"the machine does not {what}:\n" + "\n".join(lines[-15:]))
            time.sleep(0.02)

    def acknowledged(self):
        return [int(line.split()[1]) for line in self.lines() if re.fullmatch(r"ACK \d+", line)]

    def kept(self):
        """The highest number that is kept, and those below it that are missing; nothing before the machine says so."""
        found = [re.fullmatch(r"KEPT \d+ UP TO (\d+)", line) for line in self.lines()]
        most = [int(match.group(1)) for match in found if match]
        missing = {int(line.split()[1]) for line in self.lines() if line.startswith("MISSING ")}
        return (most[0], missing) if most else None

    def cut(self):
        self.process.kill()
        self.process.wait()
        self.output.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--palisade", required=True)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--work", default="target/powercuts")
    arguments = parser.parse_args()
    for tool in ("qemu-system-x86_64", "busybox", "cpio", "mkfs.ext4", "apt-get", "dpkg", "strip"):
        if shutil.which(tool) is None:
            fail(f"{tool} is missing: apt-get install qemu-system-x86 busybox-static cpio e2fsprogs binutils")
    work = Path(arguments.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    image, modules = kernel(work)
    packed = initramfs(work, arguments.palisade, modules)
    disk = work / "disk.img"
    with open(disk, "wb") as file:
        file.truncate(DISK_BYTES)
    run("mkfs.ext4", "-q", "-F", str(disk))
    cut_and_look(arguments.cuts, lambda: Machine(work, image, packed, disk))


def cut_and_look(cuts, boot):
    promised, lost = set(), set()
    for cut in range(cuts + 1):
        machine = boot()
        machine.until("take writes", lambda: machine.kept() is not None)
        most, missing = machine.kept()
        now_lost = {number for number in promised if most < number or number in missing}
        if now_lost - lost:
            print(f"after cut {cut}: lost {sorted(now_lost - lost)}", flush=True)
        lost |= now_lost
        wanted = random.randint(LEAST, MOST)
        if cut < cuts:
            machine.until("acknowledge", lambda: wanted <= len(machine.acknowledged()))
            time.sleep(random.random() / 5)
        machine.cut()
        promised |= set(machine.acknowledged())
        print(f"life {cut + 1}: kept up to {most}, {len(promised)} acknowledged so far", flush=True)
    print(f"powercuts: {cuts} cuts, {len(promised)} events acknowledged, {len(lost)} lost", flush=True)
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
