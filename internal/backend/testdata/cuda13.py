"""Pins the wheels of `distilvit backend install cuda13`.

Resolves what the extra with-cuda of jax's CUDA plugin requires, for both processors, without installing
anything, and writes
  ../cuda13.json           what the program downloads: name, version, SHA-256 and size of each wheel
  cuda13-requires.json     what each of those wheels says it requires
Run it in this folder with a Python that has pip, after changing VERSION: python3 cuda13.py
"""

import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

VERSION = "0.11.2"
PLUGIN, EXTRA = "jax-cuda13-pjrt", "jax-cuda13-plugin"
PYTHON = "3.12"
GLIBC = 28  # wheels may ask for 2.28 or older
ARCHES = {"amd64": "x86_64", "arm64": "aarch64"}


def resolve(requirements, arch):
    """What pip would install for a processor: a list of its report's entries."""
    platforms = [f"manylinux_2_{m}_{arch}" for m in range(GLIBC, 4, -1)]
    platforms += [f"{old}_{arch}" for old in ("manylinux2014", "manylinux2010", "manylinux1")]
    with tempfile.TemporaryDirectory() as tmp:
        report = Path(tmp, "report.json")
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-requires-python", "--no-deps",
             "--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON, "--target", tmp,
             "--report", str(report)]
            + [a for p in platforms for a in ("--platform", p)] + requirements,
            check=True,
        )
        return json.loads(report.read_text())["install"]


def size(url):
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD")) as response:
        return int(response.headers["Content-Length"])


def requires(entry):
    return entry["metadata"].get("requires_dist", [])


extra = resolve([f"{EXTRA}=={VERSION}"], "x86_64")[0]
wanted = [r.split(";")[0].strip() for r in requires(extra) if 'extra == "with-cuda"' in r]
# versions are those of one resolution: both processors get the same
pinned = {}
told = {EXTRA: requires(extra)}
for goarch, arch in ARCHES.items():
    names = [f"{n}=={w['version']}" for n, w in pinned.items()] or [f"{PLUGIN}=={VERSION}", *wanted]
    for entry in resolve(names, arch):
        meta, download = entry["metadata"], entry["download_info"]
        name = re.sub(r"[-_.]+", "-", meta["name"]).lower()
        told[name] = requires(entry)
        w = pinned.setdefault(name, {"name": name, "version": meta["version"], "files": {}})
        w["files"][goarch] = {
            "sha256": download["archive_info"]["hashes"]["sha256"],
            "bytes": size(download["url"]),
        }


def write(path, value):
    Path(path).write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


write("../cuda13.json", [pinned[n] for n in sorted(pinned)])
write("cuda13-requires.json", told)
