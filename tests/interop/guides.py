"""A guide as a script: its code blocks, each typed on the machine that its fence names.

::

    ```sh pi root          typed by root on the machine ``pi``; without ``root``, by its ordinary user
    ```sh pi root online   the same, with the internet: an installation, which comes before all else
    ```sh laptop,pi        on both, one after the other
    ```sh laptop fails     a command of it ends with an error, and that is what the guide tells
    ```output              what the block before it says

In an output, ``…`` stands for anything within a line, and alone for any lines. Times, sizes, shares and
process numbers need not be the same ones, everything else must be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from machines import USER, Machine, Rack, Shell

_FENCE: Final = re.compile(r"^```(.*)$")
_VARIES: Final = re.compile(
    r"\d[\d.]*(?: min \d\d| h \d\d)? (?:s|ms|min|h|B|kB|MB|GB|TB|%)(?!\w)|<1 %|(?<=pid )\d+|\d{4}-\d\d-\d\d[ T][\d:.,]+"
)
_WORDS: Final = {"root", "online", "fails"}


@dataclass
class Block:
    """Some commands, on one machine. ``output`` None: the guide does not say what they print."""

    place: str
    machine: str
    words: frozenset[str]
    text: str
    output: str | None = None

    @property
    def user(self) -> str:
        """Who types them."""
        return "root" if "root" in self.words else USER


def blocks_of(path: Path) -> list[Block]:
    """All code blocks of a guide. Raises ValueError for one that could not be run, or not be compared."""
    blocks: list[Block] = []
    info: str | None = None
    lines: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if fence is None:
            lines.append(line)
        elif info is None:
            info, lines = fence[1], []
        else:
            _add(blocks, info, "\n".join(lines), f"{path.name}, before line {number}")
            info = None
    if info is not None:
        raise ValueError(f"{path.name}: a code block does not end")
    return blocks


def _add(blocks: list[Block], info: str, text: str, place: str) -> None:
    kind, *words = info.split()
    if kind == "output" and not words and blocks and blocks[-1].output is None:
        blocks[-1].output = text
    elif kind == "sh" and words and not set(words[1:]) - _WORDS:
        blocks += [Block(place, machine, frozenset(words[1:]), text) for machine in words[0].split(",")]
    else:
        raise ValueError(f"{place}: ```{info}: no test would run this")


def says(wanted: str, said: str) -> bool:
    """Whether commands said what a guide shows."""
    pattern = ""
    for line in wanted.strip("\n").splitlines():
        if line.strip() == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*?".join(map(re.escape, _plain(line).split("…"))) + r"\n"
    text = "".join(_plain(line) + "\n" for line in said.strip("\n").splitlines())
    return re.fullmatch(pattern, text) is not None


def _plain(line: str) -> str:
    """A line as it is compared: what differs from run to run is a mark, and so is any white space."""
    return " ".join(_VARIES.sub("#", line).split())


@dataclass
class Stage:
    """Where guides are played. ``addresses`` of the machines; ``furnish`` puts into a new one what its owner has.

    What a block with the word ``online`` installs is kept, and laid below every other machine whose guide has
    that very block.
    """

    rack: Rack
    addresses: Mapping[str, str]
    furnish: Callable[[Machine], None]

    def __post_init__(self) -> None:
        self._installed: dict[str, str] = {}

    def play(self, path: Path) -> None:
        """Type all blocks of a guide, and compare what they say. Raises AssertionError naming the block."""
        blocks = blocks_of(path)
        with ExitStack() as stack:
            shells: dict[tuple[str, str], Shell] = {}
            for name in dict.fromkeys(block.machine for block in blocks):
                machine = stack.enter_context(self.machine(name, blocks))
                for user in ("root", USER):
                    shells[name, user] = stack.enter_context(machine.shell(user))
            for block in blocks:
                if "online" not in block.words:
                    _type(shells[block.machine, block.user], block)

    @contextmanager
    def machine(self, name: str, blocks: Sequence[Block], like: str = "") -> Iterator[Machine]:
        """A machine on which a guide's installations are done: those of the machine ``like``, or else its own."""
        mine = [block for block in blocks if block.machine == (like or name) and "online" in block.words]
        machine = self.rack.machine(name, self.addresses[name], self._install(mine))
        try:
            self.furnish(machine)
            yield machine
        finally:
            machine.close()

    def _install(self, blocks: Sequence[Block]) -> list[str]:
        """Run installations, each on a machine with the internet and what went before. Their layers, the last first."""
        layers: list[str] = []
        for block in blocks:
            if block.text not in self._installed:
                machine = self.rack.machine(block.machine, layers=layers)
                self.furnish(machine)
                with machine.shell(block.user) as shell:
                    _type(shell, block)
                machine.close()
                self._installed[block.text] = machine.files
            layers.insert(0, self._installed[block.text])
        return layers


def _type(shell: Shell, block: Block) -> None:
    said, failed = shell.type(block.text)
    told = f"{block.place}, on {block.machine} as {block.user}:\n{block.text}\n--- said:\n{said}"
    assert bool(failed) == ("fails" in block.words), f"{told}--- failed: {failed}"
    if block.output is not None:
        assert says(block.output, said), f"{told}--- but the guide shows:\n{block.output}"
