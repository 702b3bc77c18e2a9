"""Compilers as packages: Debian's and Ubuntu's cross compilers by apt, zig's by pip.

What is asked for is a target triple, or ``clang``, and a version. Which packages there are is asked of
apt's own lists; a version that they do not have is refused, since another one makes other objects.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from manycc.errors import ToolchainError, shown

ZIGLANG: Final = "ziglang"
CLANG: Final = "clang"
_LIMIT: Final = 3600.0
_LOCK_LIMIT: Final = 600

_TRIPLE: Final = re.compile(r"[a-z0-9_]+(?:-[a-z0-9_.]+){1,3}")
_VERSION: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_CANDIDATE: Final = re.compile(r"^  Candidate: (?:\d+:)?(\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be installed: a triple, CLANG or ZIGLANG; ``version`` is empty for whichever there is."""

    name: str
    version: str

    @property
    def major(self) -> str:
        """What packages are named by: gcc's first number since 5, the first two before."""
        numbers = self.version.split(".")
        return ".".join(numbers[:2]) if self.name != CLANG and numbers[0] == "4" else numbers[0]


def wanted(text: str) -> Wanted:
    """Read ``NAME[@VERSION]``. Raises ToolchainError."""
    name, at, version = text.partition("@")
    if name not in (CLANG, ZIGLANG) and _TRIPLE.fullmatch(name) is None:
        raise ToolchainError(
            f"{shown(name)} is no target",
            "",
            "expected a triple like aarch64-linux-gnu (gcc -dumpmachine), clang or ziglang",
        )
    if at and _VERSION.fullmatch(version) is None:
        raise ToolchainError(
            f"{shown(version)} is no version", "", "expected numbers like 12 or 12.2.0 (gcc -dumpfullversion)"
        )
    return Wanted(name, version)


def apt_packages(what: Wanted, native: str) -> list[str]:
    """The packages of C and C++ compilers, as Debian and Ubuntu name them. ``native``: this machine's own triple."""
    if what.name == CLANG:
        return [f"clang-{what.major}" if what.version else "clang"]
    target = _debian_name(what.name)
    ending = "" if target == _debian_name(native) else f"-{target}"
    middle = f"-{what.major}" if what.version else ""
    return [f"gcc{middle}{ending}", f"g++{middle}{ending}"]


def apt_command(packages: Sequence[str]) -> list[str]:
    """The command that installs them, and takes no other away: cross compilers are in conflict with gcc-multilib."""
    options = ["-y", "--no-remove", "--no-install-recommends", "-o", f"DPkg::Lock::Timeout={_LOCK_LIMIT}"]
    return ["apt-get", "install", *options, *packages]


def check_apt(what: Wanted, packages: Sequence[str]) -> str:
    """Make sure that apt has the packages, in the version that is wanted. Its version. Raises ToolchainError."""
    if shutil.which("apt-get") is None:
        raise ToolchainError(
            "there is no apt-get here", "packages are installed on Debian, Ubuntu and their kin only",
            f"install {what.name}-gcc with your package manager: it is found in PATH and below /opt; "
            "or add an archive, or see manycc toolchain recipe",
        )  # fmt: skip
    version = _candidate(packages[0])
    if not version:
        others = _others(what, packages[0])
        have = f"there are: {', '.join(others)}" if others else "apt's lists have none for this target"
        raise ToolchainError(
            f"there is no package {packages[0]}", have,
            "apt-get update brings the lists up to date; manycc toolchain recipe builds any version",
        )  # fmt: skip
    if what.version and not re.match(re.escape(what.version) + r"(?![0-9])", version):
        raise ToolchainError(
            f"{packages[0]} is of version {version}, not {what.version}", "another version makes other objects",
            f"{what.name}@{what.major} takes what there is; manycc toolchain recipe builds any version",
        )  # fmt: skip
    return version


def apt_install(packages: Sequence[str]) -> None:
    """Install them; apt's own words go to stderr. Raises ToolchainError."""
    command = apt_command(packages)
    if os.geteuid() != 0:
        raise ToolchainError("installing packages needs root", "", f"sudo {' '.join(command)}")
    _run(command, {**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


def pip_command(version: str, folder: str) -> list[str]:
    """The command that brings zig's wheel into a folder: no code of its own runs."""
    requirement = f"{ZIGLANG}=={version}" if version else ZIGLANG
    options = ["--no-deps", "--only-binary", ":all:", "--no-compile", "--no-input", "--disable-pip-version-check"]
    return [sys.executable, "-m", "pip", "install", *options, "--target", folder, requirement]


def pip_install(version: str, folder: str) -> None:
    """Bring zig's wheel into a folder. Raises ToolchainError."""
    _run(pip_command(version, folder), dict(os.environ))


def _run(command: Sequence[str], env: dict[str, str]) -> None:
    try:
        done = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            timeout=_LIMIT,
            check=False,
            umask=0o022,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolchainError(f"{command[0]} does not do its work", str(error)) from error
    if done.returncode:
        raise ToolchainError(f"{' '.join(command)} failed", f"exit code {done.returncode}; it says why above")


def _candidate(package: str) -> str:
    found = _CANDIDATE.search(_ask("policy", package))
    return found[1] if found and found[1] != "(none)" else ""


def _others(what: Wanted, package: str) -> list[str]:
    """Packages of the same target in other versions."""
    kind = "clang" if what.name == CLANG else "gcc"
    ending = package.removeprefix(kind).removeprefix(f"-{what.major}") if what.version else package.removeprefix(kind)
    pattern = re.compile(rf"{kind}(?:-[\d.]+)?{re.escape(ending)}")
    return sorted(name for name in _ask("pkgnames", kind).split() if pattern.fullmatch(name))[:12]


def _ask(*words: str) -> str:
    try:
        done = subprocess.run(
            ["apt-cache", *words], env={**os.environ, "LC_ALL": "C"}, stdin=subprocess.DEVNULL, capture_output=True,
            timeout=60, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolchainError("apt-cache does not answer", str(error)) from error
    return done.stdout.decode(errors="replace")


def _debian_name(triple: str) -> str:
    """As in the names of packages: no vendor, one name for all 32-bit ARMs, no underscores."""
    fields = triple.split("-")
    if len(fields) == 4 or (len(fields) == 3 and fields[1] in ("unknown", "pc")):
        del fields[1]
    fields[0] = re.sub(r"armv\d\w*", "arm", fields[0])
    return "-".join(fields).replace("_", "-")
