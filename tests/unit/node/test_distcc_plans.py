"""From a request to a plan: what is run, under which names, with what in its tree, and what may be kept."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manycc.errors import BackendRefused, WireError
from manycc.inputs.fileview import FileView
from manycc.inputs.watch import Watcher
from manycc.job import LINK
from manycc.node.admission import NO_FOLDERS, SystemFolders
from manycc.node.distcc import jobs, pump, system
from manycc.node.distcc.jobs import Job
from manycc.node.distcc.system import SystemHeaders, is_timeless
from manycc.node.outputs import Produced
from manycc.node.toolchains import Served, ToolchainService
from manycc.node.tree import Entry
from manycc.store.store import Store
from manycc.testing.requirements import need
from manycc.wire import distcc, lzo

TEXT = b'# 0 "a.c"\nint a;\n'


class Bench:
    """A store, and this machine's gcc as a node serves it."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(str(folder / "store"))
        self.toolchains = ToolchainService(self.store, FileView().digest_of, os.environ["PATH"])
        self.gcc, self.gxx = (self.named(name) for name in ("gcc", "g++"))
        self.folders = asyncio.run(SystemHeaders().of(self.gcc))

    def named(self, word: str) -> Served:
        return asyncio.run(self.toolchains.named(word))

    def text(self, *argv: str, text: bytes = TEXT, served: Served | None = None) -> Job:
        """A request of version 1."""
        return jobs.from_text(distcc.Request(1, argv, text), served or self.gcc, self.store)

    def pump(
        self,
        argv: Sequence[str],
        files: dict[str, bytes],
        links: dict[str, str] | None = None,
        folders: SystemFolders | None = None,
        cwd: str = "/h",
    ) -> Job:
        """A request of version 3."""
        entries = [distcc.PumpEntry(path, lzo.compress(data)) for path, data in files.items()]
        entries += [distcc.PumpEntry(path, b"", target) for path, target in (links or {}).items()]
        request = distcc.Request(3, tuple(argv), cwd=cwd, entries=tuple(entries))
        return pump.from_files(
            request, self.gcc, self.store, self.folders if folders is None else folders, SystemHeaders()
        )

    def content(self, job: Job, path: str) -> bytes:
        """What a job's tree has at a path."""
        return self.store.read(job.plan.tree.leaves[path].digest, 1 << 20)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    need("gcc", "g++")
    made = Bench(tmp_path_factory.mktemp("bench"))
    yield made
    made.store.close()


# -- compilers


def test_a_compiler_is_called_as_the_client_calls_it_where_it_is_here(bench: Bench) -> None:
    path = bench.gcc.driver
    assert bench.text("gcc", "-c", "a.c").plan.argv[0] == "gcc"
    assert bench.text(path, "-c", "a.c", served=bench.named(path)).plan.argv[0] == path
    for elsewhere in ("/opt/somewhere/bin/gcc", "/usr/../usr/bin/gcc", "/usr//bin/gcc"):
        assert bench.text(elsewhere, "-c", "a.c", served=bench.named(elsewhere)).plan.argv[0] == "gcc"


@pytest.mark.parametrize("word", ["/bin/sh", "sh", "", "/", "bin/gcc", "./gcc", "gcc-0.1", "\0gcc", "gcc/", "x" * 9999])
def test_what_is_no_compiler_here_is_refused(bench: Bench, word: str) -> None:
    with pytest.raises(BackendRefused) as raised:
        bench.named(word)
    assert raised.value.reason.code == "no-toolchain" and len(raised.value.detail) < 400


def test_a_compiler_that_others_may_replace_is_passed_over(bench: Bench, tmp_path: Path) -> None:
    """The next one of that name along PATH is taken, as for a path that leads nowhere."""
    planted = tmp_path / "gcc"
    planted.write_bytes(b"\x7fELF")
    planted.chmod(0o777)
    tmp_path.chmod(0o777)
    assert bench.named(str(planted)).driver == bench.gcc.driver


# -- versions 1 and 2


@pytest.mark.parametrize(
    ("argv", "name", "line"),
    [
        (("gcc", "-c", "a.c", "-o", "a.o"), "a.i", ("gcc", "-c", "a.i", "-o", "a.o")),
        (("gcc", "-c", "/h/u/src/a.c", "-o/h/obj/a.o"), "a.i", ("gcc", "-c", "a.i", "-oa.o")),
        (("gcc", "-c", "../src/a.m", "-o", "../a.o"), "a.mi", ("gcc", "-c", "a.mi", "-o", "a.o")),
        (("gcc", "-xc", "-c", "a.txt"), "a.i", ("gcc", "-xcpp-output", "-c", "a.i")),
        (("gcc", "-x", "c++", "-c", "a.c"), "a.ii", ("gcc", "-x", "c++-cpp-output", "-c", "a.ii")),
        (("gcc", "-c", "x/a.i"), "a.i", ("gcc", "-c", "a.i")),
        (("gcc", "-S", "a.cc", "-o", "/dev/shm/a.s"), "a.ii", ("gcc", "-S", "a.ii", "-o", "a.s")),
        (("gcc", "-c", "-iquote", "a.c", "a.c"), "a.i", ("gcc", "-c", "-iquote", "a.c", "a.i")),
    ],
)
def test_text_lies_where_no_path_of_anybodys_shows(
    bench: Bench, argv: tuple[str, ...], name: str, line: tuple[str, ...]
) -> None:
    job = bench.text(*argv)
    assert job.plan.argv == line
    assert bench.content(job, f"{jobs.WORKING_FOLDER}/{name}").endswith(b"int a;\n")
    assert job.plan.cwd == jobs.WORKING_FOLDER and job.plan.writable == (jobs.WORKING_FOLDER,)
    assert job.plan.system == () and job.plan.env == {"LC_ALL": "C", "PATH": bench.gcc.search_path}


def test_a_cxx_driver_takes_c_for_cxx(bench: Bench) -> None:
    assert bench.text("g++", "-c", "a.c", served=bench.gxx).plan.argv == ("g++", "-c", "a.ii")


def test_equal_text_is_an_equal_action_whatever_the_paths(bench: Bench) -> None:
    keys = {
        bench.text("gcc", "-O1", "-c", source, "-o", output).plan.key
        for source in ("a.c", "/h/a.c", "../x/a.c")
        for output in ("a.o", "/tmp/a.o")
    }
    assert len(keys) == 1
    assert bench.text("gcc", "-O2", "-c", "a.c", "-o", "a.o").plan.key not in keys
    assert bench.text("gcc", "-O1", "-c", "a.c", "-o", "a.o", text=TEXT + b"int b;\n").plan.key not in keys


def test_text_without_markers_is_given_one(bench: Bench) -> None:
    job = bench.text("gcc", "-c", 'x/"a.c', text=b"int a;\n")
    assert bench.content(job, f'{jobs.WORKING_FOLDER}/"a.i') == b'# 1 "x/\\"a.c"\nint a;\n'
    for text in (b'# 1 "b.c"\n', b'#line 1 "b.c"\n'):
        assert bench.content(bench.text("gcc", "-c", "a.c", text=text), "/build/a.i") == text
    assert bench.content(bench.text("gcc", "-c", "a.i", text=b"int a;\n"), "/build/a.i") == b"int a;\n"


def test_a_source_larger_than_half_the_store_is_refused(tmp_path: Path, bench: Bench) -> None:
    store = Store(str(tmp_path / "store"), 2000)
    with pytest.raises(WireError, match="more than 1000 bytes"):
        jobs.from_text(distcc.Request(1, ("gcc", "-c", "a.c"), bytes(1001)), bench.gcc, store)
    store.close()


# -- version 3


def test_files_are_where_the_client_has_them(bench: Bench) -> None:
    files = {"/h/u/a.c": b'#include "b.h"\n', "/h/u/b.h": b"int b;\n", "/h/u/sub/forcing_technique_271828": b""}
    argv = ("gcc", "-MD", "-Isub/..", "-c", "a.c", "-o", "obj/a.o", "-MT", "x")
    job = bench.pump(argv, files, {"/h/l": "/h/u"}, cwd="/h/u")
    plan = job.plan
    assert plan.argv == argv and plan.cwd == "/h/u"
    assert {path: bench.content(job, path) for path in files} == files
    assert plan.tree.leaves["/h/l"].kind == LINK and "/h/u/sub" in plan.tree.folders
    assert (job.output, job.depfile) == ("/h/u/obj/a.o", "/h/u/obj/a.d")
    assert plan.system == bench.folders.paths and "/usr/include" in plan.system


def test_paths_of_the_command_may_go_through_links(bench: Bench) -> None:
    job = bench.pump(("gcc", "-c", "l/a.c", "-o", "l/a.o"), {"/h/real/a.c": b""}, {"/h/l": "real"})
    assert job.output == "/h/real/a.o" and "/h/real" in job.plan.writable


def test_a_depfile_is_made_though_nobody_asks(bench: Bench) -> None:
    """It tells whether the result may be kept; nothing of it is sent."""
    job = bench.pump(("gcc", "-c", "a.c", "-o", "a.o"), {"/h/a.c": b""})
    assert job.plan.argv == ("gcc", "-MD", "-MF", "a.o.d", "-c", "a.c", "-o", "a.o") and job.depfile == ""
    named = bench.pump(("gcc", "-c", "a.c", "-MT", "t"), {"/h/a.c": b""})
    assert named.plan.argv[1:4] == ("-MMD", "-MF", "a.o.d") and named.depfile == "/h/a.o.d"
    recorded = bench.pump(("gcc", "-frecord-gcc-switches", "-c", "a.c"), {"/h/a.c": b""})
    assert recorded.plan.argv == ("gcc", "-frecord-gcc-switches", "-c", "a.c")
    assert recorded.plan.lasting is not None and not recorded.plan.lasting([])


def test_the_systems_folders_need_no_link_and_get_none(bench: Bench) -> None:
    """Include servers name those of all compilers that they have met."""
    up = "../" * 25
    argv, files = ("gcc", "-c", "a.c"), {"/h/a.c": b""}
    plain = bench.pump(argv, files)
    for path in (*bench.folders.paths, "/usr/include/sys", "/opt/other/include", "/etc"):
        job = bench.pump(argv, files, {path: up + path[1:]})
        assert job.plan.key == plain.plan.key and path not in job.plan.tree.leaves
        assert job.plan.system == plain.plan.system == bench.folders.paths
    for path, target in (("/etc", up + "usr"), ("/usr/include", up + "etc"), ("/h/x", up), ("/h/x", up + "h")):
        with pytest.raises(BackendRefused, match="leads out of what was sent"):
            bench.pump(argv, files, {path: target})


def test_a_clients_link_may_say_the_same_as_the_toolchains(bench: Bench) -> None:
    """Include servers make links absolute."""
    path, target = next(iter(bench.gcc.links.items()))
    absolute = os.path.normpath(os.path.join(os.path.dirname(path), target))
    job = bench.pump(("gcc", "-c", "a.c"), {"/h/a.c": b""}, {path: absolute})
    assert job.plan.tree.leaves[path].target == target
    ways = (*bench.folders.ways, Entry(LINK, "/usr/old", target="include"))
    job = bench.pump(
        ("gcc", "-c", "a.c"), {"/h/a.c": b""}, {"/usr/old": "/usr/include"}, bench.folders._replace(ways=ways)
    )
    assert job.plan.tree.leaves["/usr/old"].target == "include"
    with pytest.raises(BackendRefused, match="with another content"):
        bench.pump(("gcc", "-c", "a.c"), {"/h/a.c": b""}, {"/usr/old": "/h"}, bench.folders._replace(ways=ways))


def test_the_key_covers_what_the_system_has(bench: Bench) -> None:
    argv, files = ("gcc", "-c", "a.c"), {"/h/a.c": b""}
    known = bench.pump(argv, files).plan
    other = bench.pump(argv, files, folders=bench.folders._replace(token=b"other")).plan
    assert known.key != other.key and known.may_keep and other.may_answer
    unknown = bench.pump(argv, files, folders=bench.folders._replace(token=b"")).plan
    assert not unknown.may_keep and not unknown.may_answer
    assert bench.pump(argv, files, folders=NO_FOLDERS).plan.may_keep


@pytest.mark.parametrize(
    ("argv", "files"),
    [
        (("gcc", "-c", "a.c"), {"/h/a.c": b"char *t = __TIME__;"}),
        (("gcc", "-c", "a.c"), {"/h/a.c": b"", "/h/b.h": b"#define X __DATE__"}),
        (("gcc", "-c", "a.c", "-DX=__TIMESTAMP__"), {"/h/a.c": b""}),
    ],
)
def test_what_asks_for_the_time_is_not_kept(bench: Bench, argv: tuple[str, ...], files: dict[str, bytes]) -> None:
    plan = bench.pump(argv, files).plan
    assert not plan.may_keep and not plan.may_answer


def test_a_system_header_that_asks_for_the_time_is_noticed(bench: Bench, tmp_path: Path) -> None:
    folders = SystemFolders((str(tmp_path),), (), b"token")
    (tmp_path / "plain.h").write_text("int p;\n")
    (tmp_path / "timed.h").write_text("#define T __TIME__\n")
    plan = bench.pump(("gcc", "-MD", "-c", "a.c"), {"/h/a.c": b""}, folders=folders).plan
    assert plan.lasting is not None

    def depfile(*names: object) -> list[Produced]:
        text = b"a.o: a.c " + " ".join(map(str, names)).encode() + b"\n"
        return [Produced("/h/a.d", 0o644, len(text), b"", text, None)]

    assert plan.lasting(depfile())
    assert plan.lasting(depfile(tmp_path / "plain.h"))
    assert not plan.lasting(depfile(tmp_path / "plain.h", tmp_path / "timed.h"))
    assert not plan.lasting(depfile(tmp_path / "vanished.h"))
    assert not plan.lasting([])
    partly = bench.pump(("gcc", "-MMD", "-c", "a.c"), {"/h/a.c": b""}, folders=folders).plan
    assert partly.lasting is not None and not partly.lasting(depfile())  # it would not name them


def test_options_read_nothing_that_was_not_sent(bench: Bench) -> None:
    argv = ("gcc", "-fprofile-use", "-c", "a.c", "-o", "a.o")
    with pytest.raises(BackendRefused, match=r"reads a\.gcda, which was not sent"):
        bench.pump(argv, {"/h/a.c": b""})
    assert bench.pump(argv, {"/h/a.c": b"", "/h/a.gcda": b"x"}).plan.argv[0] == "gcc"


_NAMES = st.sampled_from(("", ".", "..", "a", "b.c", "usr", "include", "h", "dev", "x" * 256, "\n", "ü", "\udcff"))
_PATHS = st.lists(_NAMES, max_size=6).map("/".join)


@settings(deadline=None, max_examples=300)
@given(_PATHS, st.lists(st.tuples(_PATHS, st.one_of(st.none(), _PATHS)), max_size=5))
def test_any_paths_make_a_tree_or_a_refusal(bench: Bench, cwd: str, entries: list[tuple[str, str | None]]) -> None:
    """And in a tree nothing is where the node has its own, below a link, or out of plain paths."""
    listed = tuple(distcc.PumpEntry(path, lzo.stored(b"text"), target) for path, target in entries)
    request = distcc.Request(3, ("gcc", "-c", "a.c", "-o", "a.o"), cwd=cwd, entries=listed)
    try:
        plan = pump.from_files(request, bench.gcc, bench.store, bench.folders, SystemHeaders()).plan
    except (BackendRefused, WireError) as error:
        assert str(error)
        return
    leaves = plan.tree.leaves
    for path in (*leaves, *plan.tree.folders, *plan.writable):
        assert path == "/" or all(name not in ("", ".", "..") for name in path[1:].split("/"))
        assert not any(path.startswith(folder + "/") for folder in plan.system)
        above = os.path.dirname(path)
        assert above not in leaves
    assert not set(plan.writable) & set(plan.system)


# -- the system's folders


def test_the_digest_follows_every_change(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    header = tmp_path / "sub" / "a.h"
    header.write_text("int a;\n")

    async def run() -> None:
        digest = system._Digest((str(tmp_path),))
        watcher = digest._watcher = Watcher(FileView(), (str(tmp_path.parent),))
        values = [await digest.now()]
        assert values[0] and await digest.now() == values[0]
        stamp = header.stat()
        header.write_text("int b;\n")  # as long, and made to look as old
        os.utime(header, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        values.append(await digest.now())
        (tmp_path / "sub" / "b.h").touch()
        values.append(await digest.now())
        (tmp_path / "new").mkdir()
        values.append(await digest.now())
        (tmp_path / "new" / "c.h").touch()
        values.append(await digest.now())
        header.unlink()
        values.append(await digest.now())
        assert all(values) and len(set(values)) == len(values)
        (tmp_path / "new" / "c.h").unlink()
        (tmp_path / "new").rmdir()  # a watched folder is gone: watching ends, and begins anew later
        assert await digest.now() == b""
        watcher.close()

    if Watcher(FileView(), (str(tmp_path.parent),)).covers(str(tmp_path)):
        asyncio.run(run())


def test_where_changes_cannot_be_seen_there_is_no_digest(tmp_path: Path) -> None:
    async def run() -> None:
        assert await system._Digest((str(tmp_path),)).now() == b""  # not a place that is watched

    asyncio.run(run())


def test_words_of_time() -> None:
    assert is_timeless(b"int __DATE_TIME__; __TIME") and is_timeless(b"")
    assert not any(map(is_timeless, (b"x __DATE__", b"__TIME__", b"a(__TIMESTAMP__)")))
