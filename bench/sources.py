"""Real source trees by the names that package registries give them: Debian's, and PyPI's sdists.

Debian's come from the machine's own package sources, read as source entries, with lists and state of
their own: the machine's configuration is not touched.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from functools import lru_cache

_SDIST = "pypi:"


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


def _run(package: str, command: list[str], cwd: str) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SourceError(f"{package}: {os.path.basename(command[0])} failed: {done.stderr.strip()[-500:]}")


@lru_cache(maxsize=1)
def _apt() -> tuple[str, ...]:
    """The beginning of apt-get's command line, its lists brought up to date."""
    apt = ["apt-get", "-qq", *_apt_options(os.path.join(cache_dir(), "apt"))]
    _run("sources", [*apt, "update"], cache_dir())
    return tuple(apt)


def _archives(folder: str, pattern: str) -> list[str]:
    return [path for path in glob.glob(os.path.join(folder, pattern)) if not path.endswith(".asc")]


def fetch(package: str) -> str:
    """Download the upstream archive of a Debian package, or of ``pypi:NAME==VERSION``, unless it is there.

    Returns its path. Raises SourceError.
    """
    name = package.removeprefix(_SDIST)
    cache = os.path.join(cache_dir(), name)
    pattern = "*.orig.tar.*" if name == package else "*.tar.gz"
    os.makedirs(cache, exist_ok=True)
    if not _archives(cache, pattern):
        if name == package:
            _run(name, [*_apt(), "source", "--download-only", "--tar-only", name], cache)
        else:
            # fmt: off
            _run(name, [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check",
                        "--no-deps", "--no-binary", ":all:", name], cache)
            # fmt: on
    found = _archives(cache, pattern)
    if not found:
        raise SourceError(f"{name}: no upstream archive in {cache}")
    return found[0]


def unpack(package: str, folder: str) -> str:
    """Unpack a package's sources as ``folder`` (made anew). Returns ``folder``. Raises SourceError."""
    archive = fetch(package)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    _run(package, ["tar", "xf", archive, "-C", folder, "--strip-components=1", "--no-same-owner"], folder)
    return folder


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(fetch(argument))
