"""What was measured: a row for each build, kept in a file from run to run."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple


class Cell(NamedTuple):
    """What was built over which network in which way."""

    network: str
    workload: str
    way: str


@dataclass
class Build:
    """One build. Seconds, bytes, counts; ``failed`` says why there are none."""

    network: str
    workload: str
    way: str
    round: int
    failed: str = ""
    wall: float = 0
    user: float = 0
    """Of the client: everything that ran there, links and the agent included."""
    system: float = 0
    helpers: float = 0
    """User and system time of all helpers."""
    sent: int = 0
    received: int = 0
    peak_memory: int = 0
    oom_kills: int = 0
    objects: int = 0
    same: int = 0
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def cell(self) -> Cell:
        """Where it belongs in the table."""
        return Cell(self.network, self.workload, self.way)

    @property
    def client(self) -> float:
        """CPU seconds of the client."""
        return self.user + self.system


class Book:
    """The builds of one preset, in a file. What the hosts were like is kept with them, and must stay the same."""

    def __init__(self, path: str, about: dict[str, Any]) -> None:
        self._path = path
        self._about = about
        self.builds: list[Build] = []
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                kept = json.load(file)
            if kept["about"] == about:
                self.builds = [Build(**build) for build in kept["builds"]]
            else:  # of other hosts: not to be mixed with these
                os.replace(path, f"{path}.old")

    def has(self, cell: Cell, number: int) -> bool:
        """Whether a build was done. One that failed was not: it is tried again."""
        return any(build.cell == cell and build.round == number and not build.failed for build in self.builds)

    def put(self, build: Build) -> None:
        """Take in a build, in place of an earlier one of the same cell and round."""
        same = [each for each in self.builds if (each.cell, each.round) == (build.cell, build.round)]
        self.builds = [each for each in self.builds if each not in same] + [build]
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        with open(f"{self._path}.new", "w", encoding="utf-8") as file:
            json.dump({"about": self._about, "builds": [asdict(each) for each in self.builds]}, file, indent=1)
        os.replace(f"{self._path}.new", self._path)

    def of(self, cell: Cell) -> list[Build]:
        """A cell's builds that succeeded."""
        return [build for build in self.builds if build.cell == cell and not build.failed]

    def failures(self, cell: Cell) -> list[str]:
        """What became of those that did not."""
        return [build.failed for build in self.builds if build.cell == cell and build.failed]


def median(builds: Iterable[Build], name: str) -> float:
    """The median of one figure."""
    return float(statistics.median(getattr(build, name) for build in builds))
