"""Hosts on a switch, each on a line with a bandwidth and a queue; the first host's line may have a delay as well.

    first ── port0 ═ near ═ tap ─(delay.py)─ tap ═ far ═ port1 ── second
                                                     ═ port2 ── third

Without a delay there is only ``far``, and all ports are on it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from . import delay, leftovers
from .groups import Group
from .names import LabError
from .spaces import Space

PREFIX: Final = "10.0.0"
MASK: Final = f"{PREFIX}.0/24"
_TAPS: Final = ("neartap", "fartap")
_QUEUE: Final = "50ms"


@dataclass(frozen=True)
class Line:
    """What each host's line carries in each direction, in Mbit/s (none: no bound), and the network's round trip."""

    megabits: float | None = None
    round_trip_ms: float = 0


class Network:
    """Hosts by name; the first of them is 10.0.0.1. ``mounts`` are each host's own folders (see ``spaces``)."""

    def __init__(
        self, names: Iterable[str], line: Line, mounts: dict[str, list[tuple[str, str]]] | None = None
    ) -> None:
        self._names = list(names)
        self._line = line
        self._mounts = mounts or {}
        self._spaces: dict[str, Space] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Network:
        leftovers.sweep()
        with contextlib.ExitStack() as stack:
            group = stack.enter_context(contextlib.closing(Group("wires")))
            switch = stack.enter_context(contextlib.closing(Space("switch", group)))
            self._ip(switch, "link", "add", "far", "up", "type", "bridge")
            if self._line.round_trip_ms:
                self._delay(stack, switch, group)
            for number, name in enumerate(self._names):
                space = stack.enter_context(contextlib.closing(Space(name, group, self._mounts.get(name, ()))))
                self._spaces[name] = space
                self._plug(switch, number, space)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def address(self, name: str) -> str:
        """A host's address."""
        return f"{PREFIX}.{self._names.index(name) + 1}"

    def command(self, name: str, words: Sequence[str]) -> list[str]:
        """The command line that runs a program on a host."""
        return self._spaces[name].command(words)

    def counters(self, name: str) -> tuple[int, int]:
        """Bytes that a host has sent and received, headers included."""
        (link,) = json.loads(self._ip(self._spaces[name], "-j", "-s", "link", "show", "dev", "eth0"))
        return int(link["stats64"]["tx"]["bytes"]), int(link["stats64"]["rx"]["bytes"])

    def _plug(self, switch: Space, number: int, space: Space) -> None:
        port = f"port{number}"
        bridge = "near" if number == 0 and self._line.round_trip_ms else "far"
        self._ip(switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(space.pid))
        self._ip(switch, "link", "set", port, "up", "master", bridge)
        self._ip(space, "address", "add", f"{PREFIX}.{number + 1}/24", "dev", "eth0")
        self._ip(space, "link", "set", "eth0", "up")
        for where, device in ((space, "eth0"), (switch, port)):
            if self._line.megabits is not None:
                burst = max(32_000, int(self._line.megabits * 1e6 / 8 * 0.001))  # a millisecond of it
                self._run(where, "tc", "qdisc", "add", "dev", device, "root", "tbf",
                          "rate", f"{self._line.megabits}mbit", "burst", str(burst), "latency", _QUEUE)  # fmt: skip

    def _delay(self, stack: contextlib.ExitStack, switch: Space, group: Group) -> None:
        """Half of the round trip each way, between the bridges ``near`` and ``far``."""
        seconds = self._line.round_trip_ms / 2000
        words = [sys.executable, "-I", "-S", os.path.abspath(delay.__file__), str(seconds), *_TAPS]
        carrier = subprocess.Popen(
            group.command(["nice", "-n", "-20", *switch.command(words)]), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        stack.callback(carrier.wait)
        stack.callback(carrier.kill)
        assert carrier.stdout is not None
        with carrier.stdout:
            if carrier.stdout.readline() != b"ready\n":
                raise LabError("the delay of the line did not start; it needs /dev/net/tun")
        self._ip(switch, "link", "add", "near", "up", "type", "bridge")
        for tap, bridge in zip(_TAPS, ("near", "far"), strict=True):
            self._ip(switch, "link", "set", tap, "up", "master", bridge)

    def _ip(self, space: Space, *words: str) -> str:
        return self._run(space, "ip", *words)

    @staticmethod
    def _run(space: Space, *words: str) -> str:
        command = ["nsenter", f"--target={space.pid}", "--net", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout
