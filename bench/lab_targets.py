"""What the lab's last results say of its targets: FontForge built by a weak client, and over a weak helper.

The lab is not run for it. A row says when its figures were measured; it has none where the lab has no results, or none
of that build. Of several networks the worst counts, and all are told.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from budgets import Row
from lab.figures import Build, Cell, median
from lab.presets import ALONE, PRESETS

_TREE: Final = "fontforge"
_WAYS: Final = ("manycc, cold", "manycc, warm")
_PEERS: Final = ("distcc", "distcc, LZO")


class Results(NamedTuple):
    """Of an experiment: the builds that succeeded, and when the last was written down."""

    experiment: str
    builds: list[Build]
    when: str

    def of(self, cell: Cell) -> list[Build]:
        return [build for build in self.builds if build.cell == cell]

    def figure(self, cell: Cell, name: str) -> float | None:
        """The median over the rounds; None if there is no such build."""
        found = self.of(cell)
        return median(found, name) if found else None

    def networks(self) -> list[str]:
        """Those that anything was built over."""
        return list(dict.fromkeys(build.network for build in self.builds if build.network != ALONE))


def read(folder: str, name: str) -> Results:
    """The results of an experiment; empty if there are none."""
    path = os.path.join(folder, f"lab-{name}.json")
    if not os.path.exists(path):
        return Results(name, [], "")
    with open(path, encoding="utf-8") as file:
        builds = [Build(**build) for build in json.load(file)["builds"]]
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(os.path.getmtime(path)))
    return Results(name, [build for build in builds if not build.failed], when)


def rows(folder: str) -> list[Row]:
    """All targets, from the results' files in a folder."""
    weak = read(folder, "weak-client")
    setup = PRESETS["weak-client"].setup
    cores = (setup.client.cores or 0) + sum(helper.cores or 0 for helper in setup.helpers)
    cpu = weak.figure(Cell(ALONE, _TREE, "local"), "client")

    def distcc(network: str) -> float | None:
        return min(_each(weak.figure(Cell(network, _TREE, way), "wall") for way in _PEERS), default=None)

    found = []
    for way in _WAYS:
        start = f"lab: FontForge, weak client, {way.removeprefix('manycc, ')}"
        found += [
            _row(f"{start}: client CPU of a local build's", 3.0, "%", weak, way, "client",
                 lambda _: cpu / 100 if cpu else None),
            _row(f"{start}: wall / ideal", 1.1, "", weak, way, "wall", lambda _: cpu / cores if cpu else None),
            _row(f"{start}: wall / distcc's best", 1.0, "", weak, way, "wall", distcc),
        ]  # fmt: skip
    reverse = read(folder, "weak-helper")
    wall = reverse.figure(Cell(ALONE, _TREE, "local"), "wall")
    for way in _WAYS:
        budget = f"lab: FontForge, weak helper, {way.removeprefix('manycc, ')}: wall / local"
        found.append(_row(budget, 1.0, "", reverse, way, "wall", lambda _: wall))
    return found


def _each(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _row(
    budget: str, limit: float, unit: str, results: Results, way: str, name: str, base: Callable[[str], float | None]
) -> Row:
    """The worst network's figure, by what it is measured against there."""
    ratios: dict[str, float] = {}
    rounds = 0
    for network in results.networks():
        cell = Cell(network, _TREE, way)
        figure, against = results.figure(cell, name), base(network)
        if figure is not None and against:
            ratios[network] = figure / against
            rounds = max(rounds, len(results.of(cell)))
    if not ratios:
        words = f"the lab has no results of it: python -m bench.lab --experiment {results.experiment}"
        return Row(budget, limit, unit, None, words)
    return Row(budget, limit, unit, max(ratios.values()), _note(results.when, rounds, ratios))


def _note(when: str, rounds: int, ratios: Mapping[str, float]) -> str:
    over = "; ".join(f"{network}: {ratio:.2f}" for network, ratio in ratios.items())
    return f"as measured at {when}, {rounds} round{'s' * (rounds > 1)}: {over}"
