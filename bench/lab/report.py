"""What was measured, as tables: for the terminal, and between two marks in a document."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import tables

from .figures import Book, Build, Cell, median
from .names import LabError
from .presets import ALONE, Preset
from .systems import all_systems

_HEADINGS: Final = (
    "workload", "network", "system", "wall s", "client CPU s (user + sys)", "of local", "helpers' CPU s", "MB sent",
    "MB received", "client memory MB", "objects the same", "jobs, as the system tells",
)  # fmt: skip
_EXPERIMENT: Final = (
    "workload", "network", "system", "real s", "user s", "sys s", "client CPU of local", "wall / local",
    "wall / ideal", "wall / ideal, helpers only", "helpers' CPU s", "MB sent", "MB received", "client memory MB",
    "objects the same", "jobs, as the system tells",
)  # fmt: skip
_NONE: Final = "-"


def in_words(build: Build) -> str:
    """A build in a line."""
    return (
        f"{build.wall:.1f} s, client {build.user:.2f} + {build.system:.2f} s, helpers {build.helpers:.1f} s, "
        f"{build.sent / 1e6:.2f} MB out, {build.received / 1e6:.2f} in, {build.peak_memory / 1e6:.0f} MB, "
        f"{build.same} of {build.objects} objects the same {_told(build)}"
    ).rstrip()


def local(book: Book, workload: str, name: str) -> float | None:
    """A figure of a workload's local build, if there is one."""
    builds = book.of(Cell(ALONE, workload, "local"))
    return median(builds, name) if builds else None


def cells(preset: Preset, book: Book) -> list[Cell]:
    """The cells that were tried, in the order of the tables."""
    ways = [way for system in all_systems().values() for way in system.ways]
    networks = [ALONE, *preset.networks]
    found = {build.cell for build in book.builds}
    return sorted(found, key=lambda cell: (cell.workload, networks.index(cell.network), ways.index(cell.way)))


def table(preset: Preset, book: Book) -> list[list[str]]:
    """Headings, and a row for each cell."""
    row = _row_of_experiment if preset.experiment else _row
    return [list(_EXPERIMENT if preset.experiment else _HEADINGS), *_published(preset),
            *(row(preset, book, cell) for cell in cells(preset, book))]  # fmt: skip


def show(preset: Preset, book: Book) -> None:
    """For a terminal."""
    rows = table(preset, book)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        # What a system says, or why a build failed, is long, and comes last.
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip())


def write(preset: Preset, book: Book, document: str, pictures: Sequence[str] = ()) -> None:
    """Put the table and links to pictures between their marks in a document. Raises LabError."""
    rounds = max((build.round for build in book.builds), default=0)
    words = f"Medians of {rounds} rounds.\n\n" if rounds > 1 else "One round.\n\n"
    folder = os.path.dirname(document)
    links = "".join(
        f"\n![{os.path.splitext(os.path.basename(path))[0]}]({os.path.relpath(path, folder)})\n"
        for path in pictures
        if path.endswith(".svg")
    )
    body = "\n" + words + tables.markdown(table(preset, book)) + links + "\n"
    try:
        tables.write_between(document, f"<!-- lab: {preset.name} -->", f"<!-- lab: end of {preset.name} -->", body)
    except tables.MarksMissing as error:
        raise LabError(str(error)) from None


def _row(preset: Preset, book: Book, cell: Cell) -> list[str]:
    builds = book.of(cell)
    start = [cell.workload, cell.network, cell.way]
    if not builds:
        return _failed(start, book.failures(cell), len(_HEADINGS))
    cpu = local(book, cell.workload, "client")
    client = median(builds, "client")
    return [
        *start,
        f"{median(builds, 'wall'):.1f}",
        f"{client:.2f} ({median(builds, 'user'):.2f} + {median(builds, 'system'):.2f})",
        f"{100 * client / cpu:.1f} %" if cpu else _NONE,
        f"{median(builds, 'helpers'):.1f}",
        *_rest(book, cell, builds),
    ]


def _row_of_experiment(preset: Preset, book: Book, cell: Cell) -> list[str]:
    builds = book.of(cell)
    start = [cell.workload, cell.network, cell.way]
    if not builds:
        return _failed(start, book.failures(cell), len(_EXPERIMENT))
    cpu = local(book, cell.workload, "client")
    wall = median(builds, "wall")
    alone = local(book, cell.workload, "wall")
    helpers = sum(power.cores or 0 for power in preset.setup.helpers)
    cores = helpers + (preset.setup.client.cores or 0)
    return [
        *start,
        *(f"{median(builds, name):.1f}" for name in ("wall", "user", "system")),
        f"{100 * median(builds, 'client') / cpu:.1f} %" if cpu else _NONE,
        f"{wall / alone:.2f}" if alone else _NONE,
        *(f"{wall * quota / cpu:.2f}" if cpu else _NONE for quota in (cores, helpers)),
        f"{median(builds, 'helpers'):.1f}",
        *_rest(book, cell, builds),
    ]


def _rest(book: Book, cell: Cell, builds: list[Build]) -> list[str]:
    """The columns that both tables end with. Of what may differ between rounds, the worst."""
    worst = min(builds, key=lambda build: build.same)
    failures = book.failures(cell)
    notes = [_told(builds[-1])] * bool(builds[-1].told)
    notes += [f"killed for want of memory: {sum(build.oom_kills for build in builds)}"] * any(
        build.oom_kills for build in builds
    )
    notes += [f"failed: {'; '.join(sorted(set(failures)))}"] * bool(failures)
    return [
        f"{median(builds, 'sent') / 1e6:.2f}",
        f"{median(builds, 'received') / 1e6:.2f}",
        f"{max(build.peak_memory for build in builds) / 1e6:.0f}",
        f"{worst.same} of {worst.objects}" + "*" * (worst.same < worst.objects and bool(_cannot(cell.way))),
        ". ".join(notes),
    ]


def _cannot(way: str) -> str:
    """Why objects of a way of building may differ by design."""
    return next((system.cannot for system in all_systems().values() if way in system.ways), "")


def _failed(start: list[str], why: list[str], columns: int) -> list[str]:
    return [*start, *[_NONE] * (columns - len(start) - 1), f"failed: {'; '.join(sorted(set(why)))}"]


def _told(build: Build) -> str:
    return ", ".join(f"{name} {count}" for name, count in build.told.items())


def _published(preset: Preset) -> list[list[str]]:
    rows = []
    for name, figures in preset.published:
        first = preset.published[0][1]
        of_local = (figures.user + figures.system) / (first.user + first.system)
        cells = ["fontforge", "published", name, *(f"{figure:.1f}" for figure in figures), f"{100 * of_local:.1f} %"]
        cells.append(f"{figures.real / first.real:.2f}")
        rows.append([*cells, *[_NONE] * (len(_EXPERIMENT) - len(cells))])
    return rows
