"""Checks Cargo.lock against the snapshot of the RustSec advisory database beside this file; no network.

    python3 tests/advisories/check.py

Advisories named in deny.toml (`[advisories] ignore`, each with a reason and a date) are excepted; an exception that no
longer matches anything is an error too, so that the list stays true. The snapshot is RustSec's own data (CC0-1.0).
"""
import pathlib
import re
import sys
import tarfile
import tomllib

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
PARTS = re.compile(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?(-[\w.\-]+)?")
CONDITION = re.compile(r"(>=|<=|>|<|=|\^|~)?\s*(.*)")


def version(text):
    """Orders versions; a release comes after its pre-releases."""
    parts = PARTS.match(text.strip())
    if parts is None:
        sys.exit(f"advisories: {text!r} is no version")
    return tuple(int(part or 0) for part in parts.groups()[:3]), parts.group(4) or "~"


def holds(found, condition):
    operator, wanted = CONDITION.match(condition.strip()).groups()
    wanted = version(wanted)
    plain = {">=": found >= wanted, "<=": found <= wanted, ">": found > wanted, "<": found < wanted, "=": found == wanted}
    if operator in plain:
        return plain[operator]
    major, minor, patch = wanted[0]
    limit = (major + 1, 0, 0) if major else (0, minor + 1, 0) if minor else (0, 0, patch + 1)
    return found >= wanted and found[0] < limit


def is_safe(found, versions):
    requirements = versions.get("patched", []) + versions.get("unaffected", [])
    return any(all(holds(found, part) for part in requirement.split(",")) for requirement in requirements)


def advisories():
    """(crate, advisory) for every advisory of the snapshot that was not withdrawn."""
    snapshot = next(HERE.glob("advisory-db-*.tar.xz"))
    with tarfile.open(snapshot) as archive:
        for member in archive:
            path = member.name.split("crates/", 1)
            if not member.isfile() or len(path) != 2:
                continue
            text = archive.extractfile(member).read().decode()
            if "```toml" not in text:
                continue
            data = tomllib.loads(text.split("```toml")[1].split("```")[0])
            if not data["advisory"].get("withdrawn"):
                yield path[1].split("/")[0], data


def main():
    packages = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    ignored = {entry["id"]: entry["reason"] for entry in tomllib.loads((ROOT / "deny.toml").read_text())["advisories"]["ignore"]}
    installed = {}
    for package in packages:
        installed.setdefault(package["name"], []).append(package["version"])
    open_hits, excepted = [], set()
    for crate, data in advisories():
        for found in installed.get(crate, []):
            if is_safe(version(found), data.get("versions", {})):
                continue
            identity = data["advisory"]["id"]
            if identity in ignored:
                excepted.add(identity)
            else:
                open_hits.append(f"{identity}: {crate} {found}")
    stale = sorted(set(ignored) - excepted)
    for hit in open_hits:
        print(f"advisory {hit}")
    for identity in stale:
        print(f"deny.toml excepts {identity}, which no longer matches: remove it")
    print(f"advisories: {len(packages)} packages, {len(open_hits)} open, {len(excepted)} excepted")
    return 1 if open_hits or stale else 0


if __name__ == "__main__":
    sys.exit(main())
