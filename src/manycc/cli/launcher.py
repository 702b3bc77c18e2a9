"""Where the launcher is, and which compiler a name means once the launcher is left out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping

from manycc.errors import ManyccError

_DEFAULT_PATH = "/bin:/usr/bin"


def find_launcher(env: Mapping[str, str] | None = None) -> str:
    """The launcher's absolute path: beside this program, in PATH, or beside this program's Python.

    Raises ManyccError if there is none. It must be a program, not a script of the same name.
    """
    env = os.environ if env is None else env
    beside = [os.path.dirname(path) for path in (os.path.abspath(sys.argv[0]), os.path.realpath(sys.argv[0]))]
    for folder in [*beside, *_folders(env), os.path.dirname(sys.executable)]:
        path = os.path.join(folder, "manycc")
        if is_program(path):
            return os.path.abspath(path)
    raise ManyccError(
        "the launcher is missing",
        "there is no program manycc beside manycc-cli, nor in PATH",
        "install manycc again: its installation builds the launcher with this machine's cc",
    )


def is_program(path: str) -> bool:
    """Whether the path is an executable ELF file."""
    if not os.path.isfile(path) or not os.access(path, os.X_OK):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def find_compiler(name: str, launcher: str | None, cwd: str, env: Mapping[str, str]) -> str:
    """The absolute path a command's first word means, the launcher and links to it passed over; "" if none."""
    if "/" in name and not _is_same(os.path.join(cwd, name), launcher):
        return os.path.join(cwd, name)
    base = os.path.basename(name)
    for folder in _folders(env):
        path = os.path.join(cwd, folder, base)
        if base and os.path.isfile(path) and os.access(path, os.X_OK) and not _is_same(path, launcher):
            return path
    return ""


def _folders(env: Mapping[str, str]) -> Iterator[str]:
    for folder in env.get("PATH", _DEFAULT_PATH).split(":"):
        yield folder or "."


def _is_same(path: str, launcher: str | None) -> bool:
    try:
        return launcher is not None and os.path.samefile(path, launcher)
    except OSError:
        return False
