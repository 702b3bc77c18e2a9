"""``manycc masquerade``: a folder in which every compiler's name leads to the launcher.

Put in front of PATH, it makes any build tool compile through manycc. The folder's path never changes,
and names are added but never taken away: build folders remember such paths for long.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Mapping, Sequence

from manycc import config
from manycc.cli.launcher import find_launcher
from manycc.errors import ManyccError

# No c89 and c99: those are scripts, and the compiler they call is found through the folder anyway.
_COMPILER = re.compile(
    r"(?:[a-z0-9_.]+(?:-[a-z0-9_.]+){1,3}-)?"  # a target, as in aarch64-linux-gnu-gcc
    r"(?:gcc|g\+\+|cc|c\+\+|clang|clang\+\+)"
    r"(?:-[0-9]+(?:\.[0-9]+)*)?"
)


def main(argv: Sequence[str]) -> int:
    """Make or refresh the folder and print its path."""
    parser = argparse.ArgumentParser(
        prog="manycc masquerade",
        description="Print a folder in which gcc, g++, clang and their kin, as far as PATH has them, lead to manycc.",
        epilog='PATH="$(manycc masquerade):$PATH" make -j20',
    )
    parser.parse_args(argv)
    path = refresh(config.load().masquerade_dir, find_launcher(), os.environ)
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(path) + b"\n")  # for a shell: the very bytes
    return 0


def refresh(folder: str, launcher: str, env: Mapping[str, str]) -> str:
    """Make the folder lead every compiler name of PATH to the launcher. Returns its absolute path.

    Safe while builds use it, and while others refresh it. Raises ManyccError.
    """
    folder = os.path.abspath(folder)
    names = compiler_names(env, folder, launcher)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        names |= {name for name in os.listdir(folder) if _COMPILER.fullmatch(name)}
        for name in names:
            lead(os.path.join(folder, name), launcher)
    except OSError as error:
        raise ManyccError(f"the folder {folder} cannot be made", error.strerror or str(error)) from error
    return folder


def compiler_names(env: Mapping[str, str], folder: str, launcher: str) -> set[str]:
    """The compilers' names in PATH, links to the launcher itself left out."""
    names: set[str] = set()
    for place in env.get("PATH", "/bin:/usr/bin").split(":"):
        place = os.path.abspath(place or ".")
        if place == folder:
            continue
        try:
            found = os.listdir(place)
        except OSError:
            continue
        for name in found:
            path = os.path.join(place, name)
            if name in names or not _COMPILER.fullmatch(name) or not os.access(path, os.X_OK):
                continue
            if os.path.isfile(path) and not os.path.samefile(path, launcher):
                names.add(name)
    return names


def lead(path: str, target: str) -> None:
    """Make ``path`` a link to ``target``, in one step if it leads elsewhere."""
    try:
        if os.readlink(path) == target:
            return
    except OSError:
        pass  # nothing there, or no link
    fresh = f"{path}.{os.getpid()}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh)
    os.symlink(target, fresh)
    os.replace(fresh, path)
