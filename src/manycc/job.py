"""The records every backend shares: what a job is, what it reads, what came of it.

They are modelled in the terms of the Remote Execution API: a job is an *action* (arguments,
environment, working folder, input root, output files), its inputs are (path, digest) pairs with
SHA-256 digests. Nothing here does I/O.

Paths are absolute, as the compiler would spell them (symlinks are kept, not resolved), held as
``str`` with ``surrogateescape`` so that any bytes survive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from manycc.reasons import Reason

FILE: Final = 0
LINK: Final = 1
FOLDER: Final = 2


class Way(StrEnum):
    """How a node comes to serve a toolchain: it has the same bytes, was sent them, or has an equivalent compiler."""

    SAME = "same"
    SHIPPED = "shipped"
    EQUIVALENT = "equivalent"


class Input:
    """One thing a job may read: a file, a symbolic link, or a folder that must exist.

    ``kind`` is FILE, LINK or FOLDER. A file has a ``digest`` (32 bytes, SHA-256) and a ``size`` in
    bytes; a link has a ``target`` as readlink gives it. Compared and hashed by identity: the file
    view makes a new object when content changes, so that an object stands for one content for ever.
    """

    __slots__ = ("digest", "kind", "path", "size", "target")

    def __init__(self, kind: int, path: str, digest: bytes = b"", size: int = 0, target: str = "") -> None:
        self.kind = kind
        self.path = path
        self.digest = digest
        self.size = size
        self.target = target

    def __repr__(self) -> str:
        return f"Input({self.kind}, {self.path!r}, {self.digest.hex()[:12]}, {self.size}, {self.target!r})"


@dataclass(frozen=True, slots=True)
class ToolFile:
    """A file of a toolchain: where it is, what it holds."""

    path: str
    digest: bytes
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Toolchain:
    """A compiler as a value.

    ``fingerprint`` is the hex SHA-256 over every file's (path, digest) and the defaults. ``driver``
    is the absolute path it was called by (after the PATH look-up, links kept); ``links`` is the
    chain of (path, target) links that leads from there to the real file, and the links among its
    parts. ``components`` names the parts a person knows ("driver", "cc1", "cc1plus", "as", …) with
    their digests, so that a refusal can say which one differs. ``host`` is what its programs run on
    (``toolchain/machines.py``). ``facts`` is what the compiler says of itself (``toolchain/facts.py``): short,
    printable, by name.
    """

    fingerprint: str
    driver: str
    kind: str  # "gcc" or "clang"
    version: str
    target: str
    label: str
    files: tuple[ToolFile, ...]
    links: tuple[tuple[str, str], ...]
    components: Mapping[str, bytes]
    host: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


class Repair(NamedTuple):
    """What makes an equivalent compiler write what the job's own does.

    ``search``: the folders that the job's compiler searches by itself, in order; ``options`` state its
    defaults; ``ident`` is its .ident string.
    """

    search: tuple[str, ...]
    options: tuple[str, ...]
    ident: str


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """All that a job reads besides its toolchain.

    ``how`` says how they were found: "manifest", "scan", "scan+M" (the compiler's -M helped).
    ``complete`` is true when the set is proven to hold all that the preprocessor could ask for, so
    that a compile error on a node is the compile error of this machine.
    ``volatile`` is true when the result depends on more than the inputs (__DATE__, __TIME__).
    ``options`` is true when a source may set options for its own code (#pragma GCC optimize), which the
    command does not show; the headers that come with the compiler do not count.
    ``twins`` is true when some that may be included have equal content, and the compiler may take two such for one.
    ``far`` is true when a source asks whether a file exists that it names from the root, or by "..".
    """

    items: Sequence[Input]
    how: str
    complete: bool
    volatile: bool
    options: bool = False
    twins: bool = False
    far: bool = False


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Job:
    """One compile, ready to be run by any backend.

    ``argv[0]`` is spelled as the caller spelled it; ``env`` holds only what can change the result.
    ``folders`` are the absolute folders that the job may write into (the working folder among them);
    ``outputs`` the absolute paths it is expected to write, ``stems`` the absolute path prefixes
    under which auxiliary outputs (dumps, .gcno, .dwo, …) may appear. ``terminal``: stderr is one.
    """

    argv: tuple[str, ...]
    cwd: str
    env: tuple[tuple[str, str], ...]
    umask: int
    toolchain: Toolchain
    inputs: Inputs
    folders: tuple[str, ...]
    outputs: tuple[str, ...]
    stems: tuple[str, ...]
    source: str
    cacheable: bool = True
    terminal: bool = False


@dataclass(slots=True)
class OutputFile:
    """A file a job wrote: absolute path, permission bits (umask applied), contents, SHA-256."""

    path: str
    mode: int
    data: bytes
    digest: bytes = b""


@dataclass(slots=True)
class Outcome:
    """What a backend answers for a job that it ran to its end (also to a compile error).

    Times in seconds; ``cpu_s`` and ``peak_rss`` (bytes) are the compiler's own on the node, zero
    where unknown. ``sent`` and ``received`` are bytes on the wire for this job. ``way``: how the node serves the
    toolchain, "" where it was not a node.
    """

    reason: Reason
    host: str
    exit_code: int
    stdout: bytes
    stderr: bytes
    outputs: list[OutputFile] = field(default_factory=list)
    phases: dict[str, float] = field(default_factory=dict)
    cpu_s: float = 0.0
    peak_rss: int = 0
    sent: int = 0
    received: int = 0
    way: str = ""
