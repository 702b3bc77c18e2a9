"""Jobs for workers that run them in a folder of their own: how they are put, and what is taken back."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from manycc.backends.searched import Searched
from manycc.engine.address import AUTO, INPUT, PROPERTY
from manycc.engine.mappable import HERE, LINK_NAME, ROOT, Words, words_of
from manycc.engine.mapping import ASSEMBLED, READ, Mapped, Mapper, check_ascent, objection, target_there
from manycc.engine.merkle import Trees
from manycc.engine.proving import candidates
from manycc.errors import BackendRefused, NotDistributable
from manycc.inputs.entries import FileEntry
from manycc.inputs.manifest import Items
from manycc.inputs.scan import scan
from manycc.job import FILE, LINK, Input, Inputs, Job, Outcome, OutputFile, Toolchain, ToolFile
from manycc.reasons import Reason
from manycc.testing.requirements import need

CWD = "/w/proj/build"


def words(*argv: str, cwd: str = CWD, kind: str = "gcc", version: str = "12.2.0") -> Words:
    return words_of(("gcc", *argv), cwd, kind, version)


@pytest.mark.parametrize(
    ("given", "put"),
    [
        (["-I/u/inc"], [f"-I{ROOT}/u/inc"]),
        (["-I", "/u/inc"], ["-I", f"{ROOT}/u/inc"]),
        (["-Iinc", "-I", "../inc", "-I."], ["-Iinc", "-I", "../inc", "-I."]),
        (["-isystem", "/u/inc"], ["-isystem", f"{ROOT}/u/inc"]),
        (["-isystem/u/inc"], [f"-isystem{ROOT}/u/inc"]),
        (["-iquote", "/q", "-idirafter/z"], ["-iquote", f"{ROOT}/q", f"-idirafter{ROOT}/z"]),
        (["-include", "/w/config.h"], ["-include", f"{ROOT}/w/config.h"]),
        (["-imacros", "config.h"], ["-imacros", "config.h"]),
        (["-MD", "-MF", "/w/x.d"], ["-MD", "-MF", f"{ROOT}/w/x.d"]),
        (["-MD", "-MF/w/x.d"], ["-MD", f"-MF{ROOT}/w/x.d"]),
        (["-MD", "-MT", "/w/x.o", "-MQ/w/y.o", "-MP"], ["-MD", "-MT", "/w/x.o", "-MQ/w/y.o", "-MP"]),
        (["-o", "/w/obj/a.o"], ["-o", f"{ROOT}/w/obj/a.o"]),
        (["-o/w/obj/a.o"], [f"-o{ROOT}/w/obj/a.o"]),
        (['-DPREFIX="/usr"', "-D", "HOME=/root", "-U/x"], ['-DPREFIX="/usr"', "-D", "HOME=/root", "-U/x"]),
        (["-L/usr/lib", "-Wl,-rpath,/usr/lib", "-Wall", "-W"], ["-L/usr/lib", "-Wl,-rpath,/usr/lib", "-Wall", "-W"]),
        (["-O2", "-g", "-std=gnu17", "-march=x86-64", "-fPIC"], ["-O2", "-g", "-std=gnu17", "-march=x86-64", "-fPIC"]),
        (["-pipe", "-Wp,-D_FORTIFY_SOURCE=2"], ["-Wp,-D_FORTIFY_SOURCE=2"]),
        (["-Wa,--noexecstack"], ["-Wa,--noexecstack"]),
        (["-x", "c"], ["-x", "c"]),
    ],
)
def test_each_form_of_an_option(given: list[str], put: list[str]) -> None:
    assert words(*given, "-c", "a.c").arguments == (*put, "-c", "a.c")


def test_a_source_by_its_absolute_name() -> None:
    found = words("-c", "-isystem", "/u", "-idirafter", "../z", f"{CWD}/a.cc")
    assert found.arguments == ("-c", "-isystem", f"{ROOT}/u", "-idirafter", "../z", f"{ROOT}{CWD}/a.cc")
    assert (found.language, found.system, found.ascending) == ("c++", ("/u", "../z"), ("../z",))
    assert (found.depfile, found.assembly, found.debug) == (False, False, False)
    assert words("-S", "-g", "-MD", "a.c", "-o", "x.s") == Words(
        ("-S", "-g", "-MD", "a.c", "-o", "x.s"), "c", (), (), depfile=True, partial=False, assembly=True, debug=True
    )
    assert words("-c", "-MMD", "a.c").partial


@pytest.mark.parametrize(
    "option",
    [
        "-flto", "-fsanitize=address", "-fprofile-generate", "--coverage", "-ftest-coverage", "-fstack-usage",
        "-gsplit-dwarf", "-gstabs", "-gdwarf-2", "-gno-as-loc-support", "-fdebug-types-section", "-save-temps",
        "-fdump-tree-original", "-fverbose-asm", "-frecord-gcc-switches", "-fdebug-prefix-map=/a=/b", "--sysroot=/x",
        "-fcanonical-system-headers", "-no-canonical-prefixes", "-fopt-info", "-Wp,-MD,x.d", "-Wp,-I/x", "-Wa,-g",
        "-Wa,-I/x", "-fdiagnostics-format=json", "-finput-charset=UTF-8", f"-DX={HERE}", "-H",
        "-finstrument-functions-exclude-file-list=/usr", f"-I{LINK_NAME}/x", "-fmessage-length=72",
    ],
)  # fmt: skip
def test_what_is_refused(option: str) -> None:
    with pytest.raises(NotDistributable) as caught:
        words(option, "-c", "a.c")
    assert caught.value.reason is Reason.NODE_REFUSED
    assert "its workers do not keep paths" in caught.value.detail


@pytest.mark.parametrize(
    "argv",
    [
        ["-c", "a.s"], ["-c", "a.S"], ["-c", "a.c", "-o", "/dev/null"], ["-c", "/proc/x/a.c"], ["-c", "-MFx.d", "a.c"],
        ["-c", "-I/dev/shm/x", "a.c"], ["-c", "-MD", "-MF", "/dev/null", "a.c"], ["-c", "//a.c"],
        ["-c", "-MP", "a.c"], ["-c", "-MMD", "-g", "a.c"], ["-c", "-MMD", "-MD", "a.c"],
        ["-c", "-finput-charset=latin1", "a.c"],
    ],
)  # fmt: skip
def test_commands_that_are_refused(argv: list[str]) -> None:
    with pytest.raises(NotDistributable):
        words(*argv)


def test_compilers_and_folders_that_are_refused() -> None:
    for more in ({"kind": "clang"}, {"cwd": "/"}, {"cwd": "/w=x"}):
        with pytest.raises(NotDistributable):
            words("-c", "a.c", **more)


def test_old_debug_information_of_an_absolute_source_is_refused() -> None:
    words("-g", "-gdwarf-4", "-c", "a.c")
    words("-g", "-c", f"{CWD}/a.c", version="11")
    with pytest.raises(NotDistributable):
        words("-g", "-gdwarf-4", "-c", f"{CWD}/a.c")
    with pytest.raises(NotDistributable):
        words("-g", "-c", f"{CWD}/a.c", version="10.2.1")


def test_links_lead_to_the_same_from_any_root(tmp_path: Path) -> None:
    def there(path: str, target: str) -> str:
        return target_there(Input(LINK, path, target=target))

    assert there("/a/b/link", "/x/y") == "../../x/y"
    assert there("/link", "/x/y") == "x/y"
    assert there("/a/link", "/") == ".."
    assert there("/link", "/") == "."
    assert there("/a/b/link", "../c") == "../c"
    assert there("/a/b/link", "c/./d") == "c/./d"
    for target in ("../../../x", "c/../d"):
        with pytest.raises(NotDistributable):
            there("/a/b/link", target)
    root = Trees(target_there).root([Input(LINK, "/w/link", target="/usr/x")], ())
    assert b"../usr/x" in b"".join(folder.data for folder in root.folders)


def test_names_that_lead_above_the_root(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    up = "/".join([".."] * str(deep).count("/"))
    check_ascent("../c/../../x.h", str(deep))
    check_ascent(f"{up}/usr/include/x.h", str(deep))
    for name in (f"{up}/../x.h", "/../x.h"):
        with pytest.raises(NotDistributable, match="above the root"):
            check_ascent(name, str(deep))
    os.symlink("/", deep / "short")
    with pytest.raises(NotDistributable, match="above the root"):
        check_ascent("short/../x.h", str(deep))


def test_the_order_of_the_trials() -> None:
    assert [(terms.by_property, terms.mapped) for terms in candidates(AUTO)] == [
        (True, False), (False, False), (False, True),
    ]  # fmt: skip
    assert [terms.mapped for terms in candidates(INPUT)] == [False, True]
    assert [terms.mapped for terms in candidates(PROPERTY)] == [False]
    assert len({terms.name for terms in candidates(AUTO)}) == 3


class _Folders:
    def __init__(self, *folders: str) -> None:
        self.folders = folders

    async def of(self, job: Job) -> tuple[str, ...]:
        return self.folders


def a_toolchain() -> Toolchain:
    driver = shutil.which("gcc") or ""
    files = (ToolFile("/usr/lib/libz.so.1", b"z" * 32, 1), ToolFile("/opt/x/libmpc.so.3.2", b"m" * 32, 1))
    return Toolchain("f" * 64, driver, "gcc", "12.2.0", "x86_64-linux-gnu", "gcc 12", files, (), {})


def a_job(folder: Path, *argv: str, **fields: Any) -> Job:
    source = Input(FILE, f"{folder}/a.c", hashlib.sha256(b"").digest(), 0)
    given: dict[str, Any] = {
        "argv": ("gcc", *argv), "cwd": str(folder), "env": (("LC_ALL", "C"),), "umask": 0o022,
        "toolchain": a_toolchain(), "inputs": Inputs([source], "scan", True, False), "folders": (str(folder),),
        "outputs": (f"{folder}/a.o",), "stems": (), "source": "a.c", **fields,
    }  # fmt: skip
    return Job(**given)


def mapped(job: Job, *folders: str) -> Mapped:
    return asyncio.run(Mapper(cast("Searched", _Folders(*folders))).mapped(job))


def test_the_job_as_it_is_sent(tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    env = (("C_INCLUDE_PATH", "/own:rel"), ("LC_ALL", "C"), ("PWD", "/logical"), ("SOURCE_DATE_EPOCH", "1"))
    job = a_job(tmp_path, "-c", "a.c", "-I/i", env=env, terminal=True)
    found = mapped(job, f"{tmp_path}/sys")
    there = found.job
    libraries = f"{ROOT}/usr/lib:{ROOT}/opt/x"
    assert there.argv[0].startswith(f"{LINK_NAME}/lib")
    loader = there.argv[0].removeprefix(LINK_NAME)
    assert there.argv[1:] == (
        "--library-path", libraries, ROOT + job.toolchain.driver, "-c", "a.c", f"-I{ROOT}/i",
        "-wrapper", f"{ROOT}{loader},--library-path,{libraries}", "-isysroot", ROOT,
        f"-ffile-prefix-map={HERE}=/logical", f"-ffile-prefix-map={ROOT}/=/", "-fno-canonical-system-headers",
        "-MD", "-MF", READ, f"-Wa,--MD,{ASSEMBLED}",
    )  # fmt: skip
    variables = dict(there.env)
    assert variables["C_INCLUDE_PATH"] == f"{ROOT}/own:rel:{ROOT}{tmp_path}/sys"
    assert variables["PWD"] == HERE and variables["TMPDIR"] == f"{ROOT}/tmp"
    assert variables["COMPILER_PATH"] == variables["PATH"] == ROOT + os.path.dirname(job.toolchain.driver)
    assert (variables["LC_ALL"], variables["SOURCE_DATE_EPOCH"]) == ("C", "1")
    assert there.outputs == (f"{tmp_path}/a.o", f"{tmp_path}/{READ}", f"{tmp_path}/{ASSEMBLED}")
    link = there.inputs.items[-1]
    assert (link.kind, link.path) == (LINK, f"{tmp_path}/{LINK_NAME}")
    assert os.path.realpath(tmp_path / link.target) == "/"
    assert not there.terminal


def test_compilers_that_bring_no_loader_or_take_libraries_of_the_workers(tmp_path: Path) -> None:
    need("gcc")
    (tmp_path / "t.c").write_text("int main(void) { return 0; }\n")

    def sentence(*options: str) -> str:
        program = str(tmp_path / "program")
        subprocess.run(["gcc", str(tmp_path / "t.c"), "-o", program, *options], check=True)
        own = dataclasses.replace(a_toolchain(), driver=program)
        own = dataclasses.replace(own, files=(*own.files, ToolFile(program, b"d" * 32, 1)))
        try:
            mapped(a_job(tmp_path, "-c", "a.c", toolchain=own))
        except NotDistributable as error:
            return error.detail
        return ""

    assert sentence() == ""
    assert sentence("-Wl,-rpath,/opt/x") == ""  # what the loader is told counts before it
    assert sentence("-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib") == ""
    assert "looked for in /opt/x" in sentence("-Wl,--disable-new-dtags,-rpath,/opt/x")
    assert "linked statically" in sentence("-static", "-nostdlib", "-e", "main")


def test_what_is_shared_with_other_jobs_stays_so(tmp_path: Path) -> None:
    mapper = Mapper(cast("Searched", _Folders()))
    shared = (Input(FILE, "/usr/include/x.h", b"x" * 32, 1),)
    job = a_job(tmp_path, "-c", "a.c", inputs=Inputs(Items((), shared), "scan", True, False))
    first, second = (asyncio.run(mapper.mapped(job)).job.inputs.items for _ in range(2))
    assert first is second and isinstance(first, Items) and first.shared is shared


def test_jobs_that_are_not_sent(tmp_path: Path) -> None:
    assert objection(a_job(tmp_path, "-c", "a.c")) == ""
    assert "-flto" in objection(a_job(tmp_path, "-flto", "-c", "a.c"))
    far = Inputs(a_job(tmp_path, "-c", "a.c").inputs.items, "scan", True, False, far=True)
    assert "whether a file exists" in objection(a_job(tmp_path, "-c", "a.c", inputs=far))
    taken = Inputs([Input(FILE, f"{tmp_path}/{LINK_NAME}x", b"x" * 32, 1)], "scan", True, False)
    (tmp_path / "long-name").mkdir()
    (tmp_path / "ab").symlink_to("long-name")
    (tmp_path / "longer-than-its-target").symlink_to("ab")
    for job in (
        a_job(tmp_path, "-c", "a.c", inputs=taken),
        a_job(tmp_path, "-c", "a.c", outputs=(f"{tmp_path}/{LINK_NAME}.o",)),
        a_job(tmp_path, "-c", "a.c", "-MD", "-MF", "a.o"),
        a_job(tmp_path, "-c", "a.c", env=(("PWD", "/x=y"),)),
        a_job(tmp_path, "-c", "a.c", env=(("LOCPATH", "/x"),)),
        a_job(tmp_path, "-c", "a.c", env=(("CPATH", "/x:"),)),
        a_job(tmp_path, "-c", "a.c", env=(("OTHER", "/x"),)),
        a_job(tmp_path, "-c", "a.c", "-isystem", f"{tmp_path}/longer-than-its-target"),
        a_job(tmp_path, "-c", "a.c", "-isystem", f"{tmp_path}/long-name/../long-name"),
        a_job(tmp_path, "-c", "a.c", "-I" + "../" * 99),
    ):
        with pytest.raises(NotDistributable):
            mapped(job)
    mapped(a_job(tmp_path, "-c", "a.c", "-isystem", f"{tmp_path}/ab"))  # here, too, gcc keeps to that name


def outcome(found: Mapped, **texts: bytes) -> Outcome:
    """What a sound worker makes of it. Texts: the object, what was read, what the assembler read, what was said."""
    cwd = found.job.cwd
    read = texts.get("read", f"a.o: a.c {ROOT}/usr/include/stdio.h\n".encode())
    files = {
        f"{cwd}/a.o": texts.get("object", b"\x7fELF"),
        f"{cwd}/a.d": read,
        f"{cwd}/{READ}": read,
        f"{cwd}/{ASSEMBLED}": texts.get("assembled", f"a.o: a.c {ROOT}/tmp/ccAbC123.s\n".encode()),
    }
    outputs = [OutputFile(path, 0o644, files[path], b"digest") for path in found.job.outputs]
    return Outcome(Reason.REMOTE, "", 0, b"", texts.get("said", b""), outputs)


def test_an_outcome_is_taken_back(tmp_path: Path) -> None:
    job = a_job(tmp_path, "-c", "a.c", "-MD", outputs=(f"{tmp_path}/a.o", f"{tmp_path}/a.d"))
    found = mapped(job)
    names = " ".join(f"{ROOT}/usr/include/{'x' * 20}{number}.h" for number in range(3)).split()
    read = f"{ROOT}/w/a.o: {ROOT}/w/a.c \\\n".encode() + b" \\\n".join(b" " + name.encode() for name in names) + b"\n"
    said = f"In file included from {ROOT}/w/a.h:3,\na.c:1: warning\n".encode()
    result = found.back(outcome(found, read=read, said=said))
    assert [output.path for output in result.outputs] == list(job.outputs)
    assert result.outputs[0].digest == b"digest"
    line = "/usr/include/" + "x" * 20
    assert result.outputs[1].data.decode() == f"/w/a.o: /w/a.c {line}0.h \\\n {line}1.h \\\n {line}2.h\n"
    assert result.stderr == b"In file included from /w/a.h:3,\na.c:1: warning\n"


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ({"read": b"a.o: a.c /usr/include/stdio.h\n"}, "the worker's own"),
        ({"read": f"a.o: a.c /build/12{ROOT}/usr/include/stdio.h\n".encode()}, "the worker's own"),
        ({"read": b"a.o: a.c ../../../../../../../../../../../../../../../../x.h\n"}, "above the root"),
        ({"read": f"a.o: a.c {ROOT}/sys/bits/../x.h\n".encode()}, "shorter name"),
        ({"read": f"a.o: a.c {LINK_NAME}/x.h\n".encode()}, "another file"),
        ({"read": b""}, "not as gcc"),
        ({"read": b"a.o: a.c \\\n b.h\n"}, "not as gcc"),
        ({"assembled": b"a.o: a.c /tmp/ccAbC123.s /etc/passwd\n"}, "/etc/passwd"),
        ({"assembled": b"a.o: a.c /etc/passwd\n"}, "/etc/passwd"),
        ({"assembled": b"a.o: a.c\n"}, "the assembler"),
        ({"object": f"\x7fELF{ROOT}/w/a.c".encode()}, "names of its folders"),
        ({"said": f"a.c:1: {HERE}: warning\n".encode()}, "names of the worker's folders"),
        ({"said": b"a.c:1: warning\n/w/a.y:3:1: warning\n"}, "not the job's"),
        ({"said": b"\x1b[01m\x1b[K/w/a.y:3:1:\x1b[m\x1b[K warning\n"}, "not the job's"),
        (
            {"said": f"In file included from {ROOT}/w/a.h:3,\n                 from /w/a.y:3:\n".encode()},
            "not the job's",
        ),
    ],
)
def test_outcomes_that_are_not_accepted(tmp_path: Path, texts: dict[str, bytes], why: str) -> None:
    (tmp_path / "sys").mkdir()
    found = mapped(a_job(tmp_path, "-c", "a.c"))
    found = Mapped(found.job, found.original, found.words, ("/sys",))
    found.back(outcome(found))
    with pytest.raises(BackendRefused, match=why):
        found.back(outcome(found, **texts))


def test_system_headers_outside_of_system_folders(tmp_path: Path) -> None:
    """What a header that says so of itself includes is taken for one, too, and called by its real name if shorter."""
    (tmp_path / "link-with-a-long-name").symlink_to("ab")
    header = FileEntry(f"{tmp_path}/ab/a.h", b"h" * 32, 1, None, 0)
    header.scan = scan(b"#pragma once\n")
    link = Input(LINK, f"{tmp_path}/link-with-a-long-name", target="ab")
    below = {"read": f"a.o: a.c \\\n {ROOT}{tmp_path}/link-with-a-long-name/b.h\n".encode()}
    above = {"read": f"a.o: a.c \\\n sub/{'x' * 200}/../../b.h\n".encode()}
    found = mapped(a_job(tmp_path, "-c", "a.c", inputs=Inputs([header, link], "scan", True, False)))
    for texts in (below, above):
        found.back(outcome(found, **texts))
    header.scan = scan(b"#pragma GCC system_header\n")
    found = mapped(a_job(tmp_path, "-c", "a.c", inputs=Inputs([header, link], "scan", True, False)))
    for texts in (below, above):
        with pytest.raises(BackendRefused, match="shorter name"):
            found.back(outcome(found, **texts))
    (tmp_path / "ab").mkdir()
    job = a_job(tmp_path, "-c", "a.c", "-isystem", "ab", inputs=Inputs([header], "scan", True, False))
    assert not mapped(job).marked  # where it lies in a system folder, that was looked at


def test_depfiles_without_system_headers(tmp_path: Path) -> None:
    """gcc says what it reads then: that is no message."""
    job = a_job(tmp_path, "-c", "a.c", "-MMD", outputs=(f"{tmp_path}/a.o", f"{tmp_path}/a.d"))
    found = mapped(job)
    assert "-H" in found.job.argv
    read = b"a.o: a.c\n"
    heard = f". {ROOT}/x.h\n.. b.h\n".encode()
    unguarded = b"Multiple include guards may be useful for:\nb.h\n"
    for said in (b"", heard, heard + unguarded):
        result = found.back(outcome(found, read=read, said=said))
        assert (result.stderr, result.outputs[1].data) == (b"", read)
    for said in (
        b". /usr/include/x.h\n", heard + b"a.c:1: warning\n", heard + unguarded + b"c.h\n", b"! x.gch\n", unguarded,
    ):  # fmt: skip
        with pytest.raises(BackendRefused):
            found.back(outcome(found, read=read, said=said))


def test_failures_and_missing_files_say_nothing(tmp_path: Path) -> None:
    found = mapped(a_job(tmp_path, "-c", "a.c"))
    failed = outcome(found)
    failed.exit_code = 1
    short = outcome(found)
    short.outputs.pop()
    for result in (failed, short):
        with pytest.raises(BackendRefused):
            found.back(result)


def test_messages_in_another_language_are_not_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manycc.engine.mapping.locale_paths", lambda env: ("/usr/lib/locale/x",))
    found = mapped(a_job(tmp_path, "-c", "a.c"))
    found.back(outcome(found))
    with pytest.raises(BackendRefused, match="language"):
        found.back(outcome(found, said=b"a.c:1: Warnung"))


def test_messages_for_a_terminal_are_not_accepted(tmp_path: Path) -> None:
    found = mapped(a_job(tmp_path, "-c", "a.c", terminal=True))
    found.back(outcome(found))
    with pytest.raises(BackendRefused, match="terminal"):
        found.back(outcome(found, said=b"a.c:1: warning"))
