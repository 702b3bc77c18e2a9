"""A compiler that stands in: which one is offered, and what an agent may have changed of a job."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from manycc.command.parse import parse
from manycc.errors import BackendRefused, CompilerError
from manycc.inputs.fileview import FileView
from manycc.job import FILE, FOLDER, Repair, Toolchain, ToolFile
from manycc.node import admission, tree
from manycc.node.equivalent import Equivalents, StandIn, changed, check_searched, find_ident_program
from manycc.node.messages import About, JobMessage, ToolchainMessage
from manycc.node.toolchains import Served
from manycc.node.tree import Entry
from manycc.testing.requirements import need

HERE = "GCC: (Here 12) 12.2.0"
THERE = "GCC: (There 12) 12.2.0"
FACTS = {"family": "gcc", "version": "12.2.0", "triple": "aarch64-linux-gnu", "ident": HERE}
AS = b"a" * 32


@pytest.fixture
def own(tmp_path: Path) -> Toolchain:
    """A compiler of this machine, as far as names go."""
    (tmp_path / "bin").mkdir()
    driver = tmp_path / "bin" / "t-gcc-12"
    driver.write_text("driver")
    (tmp_path / "bin" / "t-gcc").symlink_to("t-gcc-12")
    files = tuple(
        ToolFile(path, digest, 6)
        for path, digest in sorted(((str(driver), b"d" * 32), (f"{tmp_path}/bin/t-as", AS), ("/opt/t/cc1", b"c" * 32)))
    )
    links = ((str(tmp_path / "bin" / "t-gcc"), "t-gcc-12"),)
    components = {"driver": b"d" * 32, "as": AS, "cc1": b"c" * 32}
    return Toolchain(
        "f" * 64, str(tmp_path / "bin" / "t-gcc"), "gcc", "12.2.0", "t", "gcc 12.2.0 t", files, links, components,
        "x86-64", FACTS,
    )  # fmt: skip


def asked(driver: str = "/usr/bin/gcc", links: Sequence[tuple[str, str]] = (), **facts: str) -> ToolchainMessage:
    about = About("gcc", "aarch64", {**FACTS, "ident": THERE, **facts}, 10, "aarch64-linux-gnu")
    return ToolchainMessage(1, "e" * 64, driver, "gcc 12.2.0 there", tuple(links), {}, about)


IDENT = ToolFile("/usr/bin/manycc-ident", b"i" * 32, 9)
LINKS = (("/usr/bin/gcc", "gcc-12"), ("/usr/bin/gcc-12", "aarch64-linux-gnu-gcc-12"), ("/lib64", "usr/lib64"))


def stand_in(own: Toolchain, searched: frozenset[str] = frozenset(), ident: ToolFile | None = IDENT) -> StandIn:
    return StandIn(own, asked(links=LINKS), own.facts, searched, ident)


def change(served: Served, repair: Repair | None, command: str = "gcc -O2 -c a.c") -> object:
    words = command.split()
    return changed(served, repair, parse(words, "/w", {}, None), "/w", {})


def test_the_agents_driver_is_a_link_to_the_one_here(own: Toolchain) -> None:
    served = stand_in(own)
    real = os.path.realpath(own.driver)
    assert served.links["/usr/bin/aarch64-linux-gnu-gcc-12"] == real
    assert served.real_driver == real == tree.resolve("/usr/bin/gcc", served.links)
    assert "/lib64" not in served.links  # led nowhere on the way to the driver


def test_a_driver_of_the_same_place_needs_no_link(own: Toolchain) -> None:
    real = os.path.realpath(own.driver)
    served = StandIn(own, asked("/usr/bin/gcc", [("/usr/bin/gcc", real)]), FACTS, frozenset(), None)
    assert real not in served.links and served.real_driver == real


@pytest.mark.parametrize("place", ["/opt/t/cc1", "/opt/t/cc1/gcc"])
def test_a_driver_in_the_place_of_a_part_is_refused(own: Toolchain, place: str) -> None:
    with pytest.raises(BackendRefused):
        StandIn(own, asked(place), FACTS, frozenset(), None)


def test_a_link_that_leads_elsewhere_here_is_refused(own: Toolchain) -> None:
    with pytest.raises(BackendRefused, match="leads elsewhere here"):
        StandIn(own, asked(own.driver, [(own.driver, "/other")]), FACTS, frozenset(), None)


def test_what_is_changed_of_a_job(own: Toolchain) -> None:
    served = stand_in(own)
    repair = Repair(("/usr/include", "/usr/lib/x/../include"), ("-fPIE", "-march=armv8-a"), THERE)
    found = changed(served, repair, parse(["gcc", "-O2", "-c", "a.c"], "/w", {}, None), "/w", {})
    assert found is not None
    assert found.argv == ("gcc", "-O2", "-c", "a.c", "-fPIE", "-march=armv8-a")
    assert found.env == {
        "C_INCLUDE_PATH": "/usr/include:/usr/lib/x/../include",
        "MANYCC_AS": served.assembler, "MANYCC_IDENT_FROM": HERE, "MANYCC_IDENT_TO": THERE,
    }  # fmt: skip
    place = served.assembler.removesuffix(".manycc")
    assert found.base.leaves[place].digest == IDENT.digest
    assert found.base.leaves[served.assembler].digest == AS
    assert served.tree.leaves[place].digest == AS


def test_the_callers_own_folders_come_first(own: Toolchain) -> None:
    env = {"CPLUS_INCLUDE_PATH": "/mine"}
    command = parse(["g++", "-c", "a.cc"], "/w", env, None)
    found = changed(stand_in(own), Repair(("/i",), (), HERE), command, "/w", env)
    assert found is not None and found.env == {"CPLUS_INCLUDE_PATH": "/mine:/i"}


@pytest.mark.parametrize("command", ["gcc -c a.s", "gcc -c a.S"])
def test_an_assemblers_source_keeps_its_own_ident(own: Toolchain, command: str) -> None:
    found = changed(stand_in(own), Repair((), (), THERE), parse(command.split(), "/w", {}, None), "/w", {})
    assert found is not None and not found.env


@pytest.mark.parametrize(
    ("options", "renamed"), [("-fno-ident", False), ("-fident -fno-ident", False), ("-fno-ident -fident", True)]
)
def test_a_compiler_that_does_not_name_itself(own: Toolchain, options: str, renamed: bool) -> None:
    """The last .ident of its assembly is the source's, whatever it says."""
    command = parse(f"gcc {options} -c a.c".split(), "/w", {}, None)
    found = changed(stand_in(own), Repair((), (), THERE), command, "/w", {})
    assert found is not None and bool(found.env) is renamed


@pytest.mark.parametrize(
    "repair",
    [
        Repair((), ("-o", "/etc/x"), HERE), Repair((), ("b.c",), HERE), Repair((), ("-include", "x.h"), HERE),
        Repair((), ("-I/etc",), HERE), Repair((), ("@file",), HERE), Repair((), ("-fplugin=x.so",), HERE),
        Repair((), ("-B/tmp",), HERE), Repair((), ("-MD",), HERE), Repair((), ("-march=native",), HERE),
        Repair((), ("-wrapper", "sh"), HERE), Repair((), ("--no-such",), HERE), Repair((), ("-S",), HERE),
        Repair((), ("-fdump-tree-all",), HERE), Repair((), ("-o",), HERE),
        Repair(("/a:/b",), (), HERE), Repair(("",), (), HERE), Repair((), (), 'x"\n.incbin "/etc/passwd'),
        Repair((), (), "a\\b"), Repair((), (), "x" * 300), Repair((), (), "ümlaut"), None,
    ],
)  # fmt: skip
def test_what_an_agent_may_not_have_changed(own: Toolchain, repair: Repair | None) -> None:
    with pytest.raises(BackendRefused):
        change(stand_in(own), repair)


def test_the_very_compiler_needs_no_repair(own: Toolchain) -> None:
    message = asked(own.driver, own.links)
    served = Served(own, message, os.path.realpath(own.driver))
    assert change(served, None) is None
    with pytest.raises(BackendRefused):
        change(served, Repair((), (), ""))


def test_without_the_program_no_other_name_is_written(own: Toolchain) -> None:
    served = stand_in(own, ident=None)
    assert change(served, Repair((), (), HERE)) is not None
    with pytest.raises(BackendRefused, match="call itself"):
        change(served, Repair((), (), THERE))


def test_headers_where_the_agent_does_not_look(own: Toolchain) -> None:
    served = stand_in(own, frozenset({"/usr/include", "/opt/t/include"}))
    whole = tree.build(tree.empty(), [Entry(FILE, "/usr/include/a.h", b"x" * 32, 1)], ())
    check_searched(served, Repair(("/usr/./include",), (), ""), whole, "/w", {})
    check_searched(served, Repair(("inc",), (), ""), whole, "/w", {"/w/inc": "/usr/include"})
    with pytest.raises(BackendRefused, match="/usr/include is searched by the compiler here"):
        check_searched(served, Repair(("/else",), (), ""), whole, "/w", {})
    check_searched(served, Repair((), (), ""), tree.empty(), "/w", {})


def job(repair: Repair | None, argv: Sequence[str] = ("gcc", "-O2", "-c", "a.c")) -> JobMessage:
    return JobMessage(1, 1, tuple(argv), "/w", (), 0o022, [], (), ("/w/a.o",), (), 1, 0, repair)


def test_an_actions_key_holds_the_repair_and_the_compiler(own: Toolchain) -> None:
    entries = [Entry(FILE, "/w/a.c", b"s" * 32, 1), Entry(FOLDER, "/w")]
    one = Repair(("/i",), ("-fPIE",), THERE)
    keys = {
        admission.admit(job(repair), served, entries).key
        for repair in (one, one._replace(search=()), one._replace(options=()), one._replace(ident=HERE))
        for served in (
            stand_in(own),
            stand_in(replace(own, fingerprint="0" * 64)),
            stand_in(own, ident=ToolFile(IDENT.path, b"j" * 32, 9)),
        )
    }
    assert len(keys) == 12
    plan = admission.admit(job(one), stand_in(own), entries)
    assert plan.argv[-1] == "-fPIE" and plan.env["C_INCLUDE_PATH"] == "/i"
    assert plan.env["PATH"] == "/usr/bin"  # where the driver finds itself


@pytest.mark.parametrize("path", ["/opt/t/cc1", "/opt/t/new", "/w/specs"])
def test_an_input_in_the_place_of_a_part_is_refused(own: Toolchain, path: str) -> None:
    entries = [Entry(FILE, "/w/a.c", b"s" * 32, 1), Entry(FILE, path, b"x" * 32, 1)]
    with pytest.raises(BackendRefused):
        admission.admit(job(Repair((), (), HERE)), stand_in(own), entries)


# -- which one is offered


def finder(own: Toolchain, folder: Path, program: str = "") -> Equivalents:
    async def identify(path: str) -> Toolchain:
        if os.path.realpath(path) != os.path.realpath(own.driver):
            raise CompilerError("another")
        return own

    return Equivalents(identify, {"PATH": str(folder)}, (), FileView().digest_of, program)


SAYS = """#!/bin/sh
case "$*" in *-dumpmachine*) echo aarch64-linux-gnu; exit;; esac
echo '#include <...> search starts here:
 /opt/t/lib/../include
End of search list.' >&2
"""


def offer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: Toolchain, message: ToolchainMessage, program: str = ""
) -> StandIn:
    """What is offered by a machine with this one compiler, which is a script that answers as one."""
    Path(os.path.realpath(own.driver)).write_text(SAYS)
    os.chmod(os.path.realpath(own.driver), 0o755)
    monkeypatch.setattr("manycc.toolchain.installed.admit", os.path.realpath)
    monkeypatch.setattr("manycc.toolchain.machines.host_of", lambda _: "x86-64")
    monkeypatch.setattr("manycc.toolchain.machines.this_host", lambda: "x86-64")
    monkeypatch.setattr("manycc.toolchain.installed.trusted", lambda _: True)
    return asyncio.run(finder(own, tmp_path / "bin", program).find(message))


def test_the_same_target_and_version_is_offered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: Toolchain
) -> None:
    served = offer(monkeypatch, tmp_path, own, asked(ident=HERE))
    assert served.about["fingerprint"] == own.fingerprint
    assert served.searched == {"/opt/t/include"}
    assert served.ident_tree is None and not served.more


def test_another_name_takes_the_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: Toolchain) -> None:
    program = find_ident_program()
    if not program:
        need("manycc-ident")
    served = offer(monkeypatch, tmp_path, own, asked(), program)
    assert [file.path for file in served.more] == [program]
    with pytest.raises(BackendRefused, match="manycc-ident is not built here"):
        offer(monkeypatch, tmp_path, own, asked(), "")


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"version": "12.3.0"}, "gcc 12.2.0 here, gcc 12.3.0 there"),
        ({"triple": "riscv64-linux-gnu"}, "no gcc for riscv64-linux-gnu here"),
        ({"triple": ""}, "not known"),
    ],
)
def test_why_none_is_offered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: Toolchain, facts: dict[str, str], said: str
) -> None:
    with pytest.raises(BackendRefused, match=said):
        offer(monkeypatch, tmp_path, own, asked(**facts))


def test_a_cxx_driver_is_no_c_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: Toolchain) -> None:
    with pytest.raises(BackendRefused, match="no gcc for"):
        offer(monkeypatch, tmp_path, own, asked("/usr/bin/g++"))
