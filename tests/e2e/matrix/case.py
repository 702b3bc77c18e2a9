"""One case of the option matrix, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

PLACE = "{place}"
"""Stands for the absolute path of the tree, in commands, environments, link targets and text files."""

REMOTE = "remote"
"""The expected reason of a case that a node must have done (a cached answer counts too)."""


@dataclass(frozen=True)
class Link:
    """A symbolic link among a case's files; ``target`` as readlink gives it."""

    target: str


@dataclass(frozen=True)
class Case:
    """A command line, its sources, and where it must have run.

    The command is run twice in a folder of the same absolute name: by the compiler, and by manycc
    over nodes. Exit code, stdout, stderr and the whole tree afterwards must be the same.
    """

    name: str
    """Unique; letters, digits and hyphens."""
    argv: Sequence[str]
    files: Mapping[str, str | bytes | Link]
    """Relative path to content. Text is written as UTF-8 with surrogate escapes; a name that ends in ``/`` is
    an empty folder."""
    reason: str = REMOTE
    """The code of the one reason the record must carry."""
    code: int = 0
    """The exit code both must give."""
    cwd: str = "."
    """Made if no file brings it."""
    env: Mapping[str, str] = field(default_factory=dict)
    umask: int = 0o022
    stdin: bytes = b""
    modes: Mapping[str, int] = field(default_factory=dict)
    """Relative path to the mode it gets before the command."""
    needs: Sequence[str] = ()
    """Programs, or absolute paths of files, without which the case is skipped (loudly) besides its compiler."""
    before: Sequence[Sequence[str]] = ()
    """Commands run without manycc in ``cwd`` in both passes before the command (making a precompiled header, say)."""
    after: Sequence[Sequence[str]] = ()
    """Commands run without manycc in ``cwd`` in both passes afterwards (a link, gcov, the program): their exit codes
    and outputs are compared too, and the files they leave."""
    contains: Mapping[str, bytes] = field(default_factory=dict)
    """What the local result must hold, so that the case really tests what it is named for: a file's relative
    path, or ``stderr`` or ``stdout``, to bytes found in it."""
    timed: Sequence[str] = ()
    """Relative paths of outputs that differ from one local run to the next, since they hold times, addresses or
    random numbers: they must exist on both sides, nothing more. Also ``stderr``, for the same reasons."""
    tty: bool = False
    """Whether stdin and stderr are a terminal (of 80 columns)."""
