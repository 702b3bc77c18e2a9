"""What was measured, as pictures: a panel for each workload, a group of bars for each network, a bar a system."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from .figures import Book, Cell, median
from .names import LabError
from .presets import ALONE, Preset
from .report import cells

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

_WHAT: Final = {
    "wall": ("wall", "seconds, from start to end"),
    "client-cpu": ("client", "CPU seconds of the client, links included"),
}
# The same colour for the same way of building in every picture.
_COLOURS: Final = {
    "distcc": "#8c564b",
    "distcc, LZO": "#c49c94",
    "icecream, cold": "#9edae5",
    "icecream, warm": "#17becf",
    "manycc, cold": "#ffbb78",
    "manycc, warm": "#ff7f0e",
    "manycc, cached": "#2ca02c",
}
_LINES: Final = {"local": "--", "ccache, full": ":"}


def write(preset: Preset, book: Book, folder: str) -> list[str]:
    """Draw into a folder, as SVG and PNG; the paths of the files. Raises LabError."""
    try:
        import matplotlib
    except ImportError as error:
        raise LabError("no pictures without matplotlib: pip install -e .[bench], or scripts/setup.sh bench") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "manycc"  # the same figures give the same file
    matplotlib.rcParams["svg.fonttype"] = "none"
    os.makedirs(folder, exist_ok=True)
    found = cells(preset, book)
    workloads = list(dict.fromkeys(cell.workload for cell in found))
    written = []
    for what, (name, unit) in _WHAT.items():
        figure, panels = pyplot.subplots(
            len(workloads), 1, figsize=(9, 1 + 2.6 * len(workloads)), squeeze=False, constrained_layout=True
        )
        for panel, workload in zip(panels[:, 0], workloads, strict=True):
            _panel(panel, preset, book, [cell for cell in found if cell.workload == workload], name)
            panel.set_title(workload, loc="left")
            panel.set_ylabel(unit.partition(",")[0], fontsize="small")
        handles, labels = _once(list(panels[:, 0]))
        figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize="small")
        figure.suptitle(f"{preset.name}: {unit}", x=0.02, ha="left")
        for kind, metadata in (("svg", {"Date": None}), ("png", None)):
            written.append(os.path.join(folder, f"lab-{preset.name}-{what}.{kind}"))
            figure.savefig(written[-1], dpi=120, metadata=metadata)
        pyplot.close(figure)
    return written


def _panel(panel: Axes, preset: Preset, book: Book, found: Sequence[Cell], name: str) -> None:
    networks = [network for network in preset.networks if any(cell.network == network for cell in found)]
    ways = list(dict.fromkeys(cell.way for cell in found if cell.network != ALONE))
    width = 0.8 / max(1, len(ways))
    for number, way in enumerate(ways):
        places, heights = [], []
        for place, network in enumerate(networks):
            builds = book.of(Cell(network, found[0].workload, way))
            if builds:
                places.append(place + (number - (len(ways) - 1) / 2) * width)
                heights.append(median(builds, name))
        bars = panel.bar(places, heights, width, label=way, color=_COLOURS.get(way))
        panel.bar_label(bars, fmt="%.3g", fontsize="x-small", padding=1)
    for way, style in _LINES.items():
        builds = book.of(Cell(ALONE, found[0].workload, way))
        if builds:
            panel.axhline(
                median(builds, name), linestyle=style, color="black", linewidth=1, label=f"{way} (no network)"
            )
    panel.set_xticks(range(len(networks)), networks)
    panel.set_xlim(-0.5, max(0.5, len(networks) - 0.5))
    panel.spines[["top", "right"]].set_visible(False)


def _once(panels: Sequence[Axes]) -> tuple[list[Artist], list[str]]:
    """What the legend shows: each label once."""
    found: dict[str, Artist] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)
