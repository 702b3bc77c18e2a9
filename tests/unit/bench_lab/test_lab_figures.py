"""The lab's results: what is kept from run to run, what is done again, and what the tables say of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tables
from lab import cli, report
from lab.figures import Book, Build, Cell
from lab.hosts import Power, Setup
from lab.measure import Reference, session
from lab.names import LabError, abandoned, mine
from lab.network import Line
from lab.presets import ALONE, PRESETS, Preset
from lab.systems import System
from lab.workloads import WORKLOADS, Workload
from tree_list import TREES

_ABOUT = {"cores": 1}
_PRESET = Preset(
    "test", Setup(Power(0.5), (Power(1.5), Power(1))), ["local", "distcc", "manycc"], ["lua"], ["unshaped"]
)


def _build(way: str, number: int = 1, network: str = "unshaped", **figures: float) -> Build:
    build = Build(network, "lua", way, number, objects=2, same=2)
    for name, value in figures.items():
        setattr(build, name, value)
    return build


def _book(folder: Path) -> Book:
    return Book(str(folder / "out" / "book.json"), _ABOUT)


def test_a_book_keeps_what_was_done_and_takes_failures_again(tmp_path: Path) -> None:
    book = _book(tmp_path)
    book.put(_build("distcc", wall=3))
    book.put(_build("distcc", 2, wall=5))
    book.put(Build("unshaped", "lua", "manycc, cold", 1, failed="not done after 9 s"))
    again = _book(tmp_path)
    assert again.builds == book.builds
    assert again.has(Cell("unshaped", "lua", "distcc"), 2)
    assert not again.has(Cell("unshaped", "lua", "distcc"), 3)
    assert not again.has(Cell("unshaped", "lua", "manycc, cold"), 1)
    again.put(_build("manycc, cold"))
    assert again.failures(Cell("unshaped", "lua", "manycc, cold")) == []
    again.put(_build("distcc", wall=4))
    assert sorted(build.wall for build in again.of(Cell("unshaped", "lua", "distcc"))) == [4, 5]


def test_a_book_of_other_hosts_is_put_aside(tmp_path: Path) -> None:
    book = _book(tmp_path)
    book.put(_build("distcc"))
    other = Book(str(tmp_path / "out" / "book.json"), {"cores": 2})
    assert other.builds == []
    with open(tmp_path / "out" / "book.json.old", encoding="utf-8") as file:
        assert len(json.load(file)["builds"]) == 1


def test_every_preset_survives_its_file(tmp_path: Path) -> None:
    for preset in PRESETS.values():
        path = str(tmp_path / f"{preset.name}.json")
        Book(path, preset.about()).put(_build("distcc"))
        assert Book(path, preset.about()).builds


def test_systems_without_helpers_are_built_once_and_first() -> None:
    options = cli.parser().parse_args(["--rounds", "2", "--system", "manycc", "--system", "local"])
    found = [(number, network, system.name) for number, network, _, system in cli.sessions(options, _PRESET)]
    one = [(1, ALONE, "local"), (1, "unshaped", "manycc")]
    assert found == one + [(2, network, name) for _, network, name in one]


def test_what_of_a_session_is_still_to_be_done(tmp_path: Path) -> None:
    book = _book(tmp_path)
    ways = ("manycc, cold", "manycc, warm", "manycc, cached")
    assert cli.missing(book, "unshaped", "lua", ways, 1) == list(ways)
    book.put(_build(ways[0]))
    book.put(_build(ways[2]))
    assert cli.missing(book, "unshaped", "lua", ways, 1) == list(ways[:2])  # warm needs cold before it
    book.put(_build(ways[1]))
    assert cli.missing(book, "unshaped", "lua", ways, 1) == []
    assert cli.missing(book, "unshaped", "lua", ways, 2) == list(ways)


def test_the_table_of_an_experiment_compares_with_local_and_ideal(tmp_path: Path) -> None:
    book = _book(tmp_path)
    for number, wall in ((1, 90.0), (2, 70.0), (3, 80.0)):
        book.put(_build("local", number, ALONE, wall=200.0, user=98.0, system=2.0))
        book.put(_build("manycc, warm", number, wall=wall, user=2.0, system=1.0, helpers=99.0, sent=2_000_000))
    book.put(Build("unshaped", "lua", "distcc", 1, failed="make: exit code 2 | no"))
    book.builds[1].same = 1
    head, local, distcc, manycc = report.table(_PRESET, book)
    assert local[:6] == ["lua", ALONE, "local", "200.0", "98.0", "2.0"]
    found = dict(zip(head, manycc, strict=True))
    assert found["real s"] == "80.0"
    assert found["client CPU of local"] == "3.0 %"
    assert found["wall / local"] == "0.40"
    assert found["wall / ideal"] == "2.40"  # 100 CPU seconds over three cores
    assert found["wall / ideal, helpers only"] == "2.00"
    assert found["MB sent"] == "2.00"
    assert found["objects the same"] == "1 of 2"  # the worst round
    assert distcc[-1] == "failed: make: exit code 2 | no"
    assert len(distcc) == len(head)
    assert "exit code 2 \\| no |" in tables.markdown([head, distcc])


def test_published_figures_stand_beside_ours(tmp_path: Path) -> None:
    head, first, second = report.table(PRESETS["weak-client"], _book(tmp_path))
    found = dict(zip(head, second, strict=True))
    assert found["client CPU of local"] == "25.0 %"
    assert found["wall / local"] == "0.68"
    assert first[3:6] == ["174.0", "277.0", "27.0"]


def test_tables_are_written_between_their_marks_only(tmp_path: Path) -> None:
    book = _book(tmp_path)
    book.put(_build("distcc", wall=3))
    document = tmp_path / "R.md"
    document.write_text("before\n<!-- lab: test -->\nold\n<!-- lab: end of test -->\nafter\n")
    pictures = [str(tmp_path / "img" / name) for name in ("wall.svg", "wall.png")]
    report.write(_PRESET, book, str(document), pictures)
    text = document.read_text()
    assert text.startswith("before\n<!-- lab: test -->\n")
    assert text.endswith("<!-- lab: end of test -->\nafter\n")
    assert "| lua | unshaped | distcc | 3.0 |" in text
    assert "![wall](img/wall.svg)\n" in text
    assert "old" not in text
    report.write(_PRESET, book, str(document), pictures)
    assert document.read_text() == text
    document.write_text("nothing\n")
    with pytest.raises(LabError, match="has no lines"):
        report.write(_PRESET, book, str(document))


def test_names_of_runs_that_are_over() -> None:
    name = mine("client")
    assert not abandoned(name)
    prefix, pid, _, role = name.rsplit("-", 3)
    assert abandoned(f"{prefix}-{pid}-1-{role}")  # the number was another process's
    assert abandoned(f"{prefix}-{2**22 + 1}-1-{role}")
    assert not abandoned("manycc-peers")
    assert not abandoned(f"{name}/..")


def test_a_system_that_is_not_installed_costs_its_rows_only(tmp_path: Path) -> None:
    class Absent(System):
        name = "absent"
        ways = ("cold", "warm")
        needs = ("sh", "manycc-no-such-program")

    builds: list[Build] = []
    session(Reference(str(tmp_path)), str(tmp_path), _PRESET.setup, ("unshaped", Line()), WORKLOADS["lua"], Absent(),
            ("cold", "warm"), 3, 10, builds.append)  # fmt: skip
    assert [(build.way, build.round) for build in builds] == [("cold", 3), ("warm", 3)]
    assert all("absent needs manycc-no-such-program; scripts/setup.sh" in build.failed for build in builds)


def test_commands_name_jobs_and_launcher() -> None:
    assert WORKLOADS["lua"].command(8, "") == ["make", "-C", "src", "-j8", "linux", "CC=gcc -std=gnu99"]
    assert WORKLOADS["redis"].command(2, "distcc")[-1] == "CC=distcc gcc"
    assert WORKLOADS["fontforge"].command(8, "distcc") == ["ninja", "-C", "build", "-j8"]


def test_what_cmake_wrote_gets_the_launcher(tmp_path: Path) -> None:
    hole = next(word for word in WORKLOADS["fontforge"].configure[0] if "C_COMPILER_LAUNCHER" in word).partition("=")[2]
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    (prepared / "rules").write_text(f"command = {hole} /usr/bin/cc $in\n")
    (prepared / "link").symlink_to("rules")
    workload = Workload("x", TREES["fontforge"], ["ninja"], "rules")
    for launcher, wanted in (("distcc", "command = distcc /usr/bin/cc $in\n"), ("", "command = /usr/bin/cc $in\n")):
        workload.place(str(prepared), str(tmp_path / "there"), launcher)
        assert (tmp_path / "there" / "rules").read_text() == wanted
        assert (tmp_path / "there" / "rules").stat().st_mtime_ns == (prepared / "rules").stat().st_mtime_ns
        assert (tmp_path / "there" / "link").is_symlink()
