"""distcc's programs as links to manycc's: in a folder of their own, or where the user wants them.

``distcc`` leads to the launcher, all others to ``manycc-cli``, which goes by the name it is called by.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from typing import Final

from manycc.cli.launcher import find_launcher
from manycc.cli.main import PROGRAMS
from manycc.cli.masquerade import compiler_names, lead
from manycc.errors import ManyccError

CLIENT: Final = "distcc"


def targets() -> dict[str, str]:
    """What each program's name is to lead to. Raises ManyccError if manycc is not installed as it should be."""
    launcher = find_launcher()
    cli = os.path.join(os.path.dirname(launcher), "manycc-cli")
    if not os.access(cli, os.X_OK):
        raise ManyccError("manycc-cli is missing", f"it is not beside {launcher}", "install manycc again")
    return {name: launcher if name == CLIENT else cli for name in PROGRAMS}


def link_programs(folder: str) -> list[str]:
    """Make the links in a folder, which is made if it is missing. Returns their paths. Raises ManyccError."""
    return _link(folder, targets())


def link_compilers(folder: str, env: Mapping[str, str]) -> list[str]:
    """Make a folder lead the compilers' names of PATH to ``distcc`` (which lies there, too). Returns the paths.

    The launcher goes by such a link: what is called through one keeps distcc's conventions.
    """
    launcher = targets()[CLIENT]
    names = compiler_names(env, os.path.abspath(folder), launcher)
    if not names:
        raise ManyccError("there is no compiler in PATH", "", "install gcc or clang")
    return _link(folder, {CLIENT: launcher, **dict.fromkeys(sorted(names), CLIENT)})


def hidden_from_others(path: str) -> str:
    """The folder above a file that keeps other users from it; "" if there is none."""
    path = os.path.realpath(path)
    while (above := os.path.dirname(path)) != path:
        path = above
        if not os.stat(path).st_mode & stat.S_IXOTH:
            return path
    return ""


def _link(folder: str, links: Mapping[str, str]) -> list[str]:
    folder = os.path.abspath(folder)
    try:
        os.makedirs(folder, exist_ok=True)
        _check_free(folder, links)
        for name, target in links.items():
            lead(os.path.join(folder, name), target)
    except OSError as error:
        why = error.strerror or str(error)
        raise ManyccError(f"{folder} cannot be filled", why, "choose a folder you may write to") from error
    return [os.path.join(folder, name) for name in links]


def _check_free(folder: str, names: Iterable[str]) -> None:
    """Raise ManyccError before anything is changed if one of the names is a real file: somebody else's program."""
    for name in names:
        path = os.path.join(folder, name)
        if os.path.lexists(path) and not os.path.islink(path):
            hint = f"remove it (the package it belongs to), or choose a folder that stands before {folder} in PATH"
            raise ManyccError(f"{path} is in the way", "it is a file, and only links are replaced", hint)
