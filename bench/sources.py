"""Real source trees by the names Debian's package registry gives them.

Uses the machine's own package sources, read as source entries, with lists and state of its own: the
machine's configuration is not touched.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys


class SourceError(Exception):
    """A tree could not be had; the text says why."""


def cache_dir() -> str:
    """Where downloads are kept between runs."""
    return os.environ.get("MANYCC_SOURCES", os.path.join(os.path.expanduser("~"), ".cache", "manycc-sources"))


def _apt_options(state: str) -> list[str]:
    parts = os.path.join(state, "parts")
    lists = os.path.join(state, "lists")
    os.makedirs(parts, exist_ok=True)
    os.makedirs(os.path.join(lists, "partial"), exist_ok=True)
    for path in glob.glob("/etc/apt/sources.list.d/*.sources"):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if "debian" in os.path.basename(path):
            with open(os.path.join(parts, os.path.basename(path)), "w", encoding="utf-8") as file:
                file.write(text.replace("Types: deb\n", "Types: deb-src\n"))
    lines = []
    for path in ["/etc/apt/sources.list", *glob.glob("/etc/apt/sources.list.d/*.list")]:
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                lines += ["deb-src" + line[3:] for line in file if line.startswith("deb ") and "debian" in line]
    with open(os.path.join(parts, "manycc.list"), "w", encoding="utf-8") as file:
        file.writelines(lines)
    return [
        "-o", "Dir::Etc::SourceList=/dev/null",
        "-o", f"Dir::Etc::SourceParts={parts}",
        "-o", f"Dir::State::Lists={lists}",
    ]  # fmt: skip


def fetch(package: str) -> str:
    """Download a package's upstream archive unless it is there. Returns its path.

    Raises SourceError.
    """
    cache = os.path.join(cache_dir(), package)
    os.makedirs(cache, exist_ok=True)
    found = glob.glob(os.path.join(cache, "*.orig.tar.*"))
    if found:
        return found[0]
    state = os.path.join(cache_dir(), "apt")
    options = _apt_options(state)
    for command in (
        ["apt-get", "-qq", *options, "update"],
        ["apt-get", "-qq", *options, "source", "--download-only", package],
    ):
        done = subprocess.run(command, cwd=cache, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SourceError(f"{package}: {' '.join(command[:1] + command[-2:])} failed: {done.stderr.strip()[-500:]}")
    found = glob.glob(os.path.join(cache, "*.orig.tar.*"))
    if not found:
        raise SourceError(f"{package}: no upstream archive in {cache}")
    return found[0]


def unpack(package: str, folder: str) -> str:
    """Unpack a package's sources as ``folder`` (made anew). Returns ``folder``. Raises SourceError."""
    archive = fetch(package)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    done = subprocess.run(
        ["tar", "xf", archive, "-C", folder, "--strip-components=1", "--no-same-owner"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SourceError(f"{package}: {done.stderr.strip()[-500:]}")
    return folder


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(fetch(name))
