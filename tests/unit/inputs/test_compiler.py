"""What is asked of the compiler: its include folders, and -M."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import time

import pytest
from inputs_support import ENV, Client, compiler_opens, toolchain

from manycc.errors import NotDistributable
from manycc.inputs.includes import DefaultFolders, parse_search_list
from manycc.inputs.preprocess import dependency_arguments, parse_dependencies, run_compiler
from manycc.job import Toolchain
from manycc.reasons import Reason
from manycc.testing.fileview import Tree, settled_view
from manycc.testing.requirements import lacking

OUTPUT = """ignoring nonexistent directory "/usr/local/include/x86_64-linux-gnu"
ignoring duplicate directory "/usr/include"
  as it is a non-system directory that duplicates a system directory
#include "..." search starts here:
 quoted dir
#include <...> search starts here:
 /usr/lib/gcc/x/12/include
 /Library/Frameworks (framework directory)
 /usr/include
End of search list.
 not this
"""


def test_search_list() -> None:
    assert parse_search_list(OUTPUT) == (
        "/usr/local/include/x86_64-linux-gnu",
        "/usr/include",
        "quoted dir",
        "/usr/lib/gcc/x/12/include",
    )
    assert parse_search_list("gcc: error: unrecognized option") is None


def test_compiler_is_asked_once_per_question(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = run_compiler

    async def count(driver: str, arguments: list[str], *rest: object) -> object:
        asked.append(arguments)
        return await real(driver, arguments, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("manycc.inputs.includes.run_compiler", count)
    chain = toolchain()
    folders = DefaultFolders(settled_view(), None)
    cwd = str(tmp_path)

    async def ask_all() -> None:
        same = [folders.ask(chain, "c", (), cwd, ENV) for _ in range(5)]
        answers = {answer for answer, *_ in await asyncio.gather(*same)}
        assert len(answers) == 1
        assert len(asked) == 1
        await folders.ask(chain, "c", (), "/", ENV)  # nothing relative: the folder does not matter
        assert len(asked) == 1
        c_plus_plus, *_ = await folders.ask(chain, "c++", (), cwd, ENV)
        assert any("c++" in name for name in c_plus_plus)
        none, *_ = await folders.ask(chain, "c", ("-nostdinc",), cwd, ENV)
        assert none == ()
        with_path, *_ = await folders.ask(chain, "c", (), cwd, {**ENV, "CPATH": "here:/there"})
        assert {"here", "/there"} <= set(with_path)
        assert len(asked) == 4
        await folders.ask(chain, "c", (), "/", {**ENV, "CPATH": "here:/there"})
        assert len(asked) == 5

    asyncio.run(ask_all())


def test_compiler_that_fails_is_a_reason(tmp_path: object) -> None:
    folders = DefaultFolders(settled_view(), None)
    with pytest.raises(NotDistributable) as caught:
        asyncio.run(folders.ask(toolchain(), "c", ("--no-such-option",), str(tmp_path), ENV))
    assert caught.value.reason is Reason.INPUTS_UNKNOWN
    assert "no-such-option" in caught.value.detail


def test_dependency_arguments_write_nothing(tmp_path: object) -> None:
    tree = Tree(str(tmp_path), {"a.c": "#include <stddef.h>\n"})
    argv = ["-c", "a.c", "-oa.o", "-MD", "-MF", "x.d", "-MTx", "-MP", "-Wp,-MMD,y.d", "-save-temps=obj",
            "-Xpreprocessor", "-MD", "-Xpreprocessor", "z.d", "-gsplit-dwarf", "--coverage", "-fdump-tree-all",
            "-fstack-usage", "-O2", "-DX", "--output", "b.o"]  # fmt: skip
    kept = dependency_arguments(argv)
    assert [word for word in kept if word in ("-DX", "-O2", "a.c")] == ["a.c", "-O2", "-DX"]
    opened = compiler_opens(["gcc", *argv], tree.root)
    assert tree.path("a.c") in opened
    assert os.listdir(tree.root) == ["a.c"]


def test_quoting_of_names_is_undone(tmp_path: object) -> None:
    names = ["a b.h", "tab\there.h", "d$$.h", "#.h", "b\\s.h", "e\\ f.h", "g\\#.h", "k:l.h", "ü.h", "%.h", "long" * 30]
    tree = Tree(str(tmp_path), dict.fromkeys(names, ""))
    tree.write("a.c", "".join(f'#include "{name}"\n' for name in names))
    assert compiler_opens(["gcc", "-c", "a.c"], tree.root) >= {tree.path(name) for name in names}


def test_no_rule_is_no_answer() -> None:
    assert parse_dependencies("") is None
    assert parse_dependencies("x.o: a.c\n") is None
    assert parse_dependencies("manycc-target: a.c \\\n b.h\n\nb.h:\n") == ("a.c", "b.h")


def script(tree: Tree, text: str) -> str:
    path = tree.write("cc", "#!/bin/sh\n" + text)
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
    return path


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_compiler_that_hangs_is_ended_with_its_children(tmp_path: object) -> None:
    tree = Tree(str(tmp_path))
    driver = script(tree, "sleep 1000 &\necho $! > pid\nwait\n")
    started = time.monotonic()
    code, _, stderr = asyncio.run(run_compiler(driver, [], tree.root, ENV, 0.5, 1000))
    assert code != 0
    assert b"in time" in stderr
    assert time.monotonic() - started < 60
    with open(tree.path("pid"), encoding="ascii") as file:
        assert not alive(int(file.read()))


def test_compiler_that_says_too_much_is_ended(tmp_path: object) -> None:
    tree = Tree(str(tmp_path))
    code, stdout, _ = asyncio.run(run_compiler(script(tree, "exec yes\n"), [], tree.root, ENV, 60, 10_000))
    assert code != 0
    assert len(stdout) <= 10_000


def test_cancelled_question_leaves_no_process(tmp_path: object) -> None:
    tree = Tree(str(tmp_path))
    os.mkfifo(tree.path("started"))
    driver = script(tree, "echo $$ > started\nexec sleep 1000\n")

    def started() -> int:
        with open(tree.path("started"), encoding="ascii") as file:
            return int(file.read())

    async def ask_and_leave() -> int:
        task = asyncio.create_task(run_compiler(driver, [], tree.root, ENV, 600, 1000))
        pid = await asyncio.to_thread(started)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pid

    assert not alive(asyncio.run(ask_and_leave()))


def test_compiler_that_cannot_be_started_is_a_reason(tmp_path: object) -> None:
    with pytest.raises(NotDistributable) as caught:
        asyncio.run(run_compiler(f"{tmp_path}/missing", [], str(tmp_path), ENV, 1, 10))
    assert caught.value.reason is Reason.INPUTS_UNKNOWN


def clang() -> str:
    return shutil.which("clang") or shutil.which("/usr/lib/llvm-14/bin/clang") or lacking("clang not installed")


def test_clang_finds_all(tmp_path: object) -> None:
    driver = clang()
    tree = Tree(f"{tmp_path}/tree", {"a.cc": '#include <vector>\n#include "x.h"\n', "x.h": "#include <stdint.h>\n"})
    client = Client(tree)
    argv = [driver, "--driver-mode=g++", "-c", "a.cc"]
    manifest = client.collect(*argv, kind="clang")
    assert compiler_opens(argv, tree.root) <= {item.path for item in manifest.inputs.items}
    assert client.check(manifest)


def test_clang_is_asked_again_when_another_gcc_is_installed(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(f"{tmp_path}/tree", {"a.cc": "", "gcc/12/x": ""})
    monkeypatch.setattr("manycc.inputs.includes._INSTALLATIONS", (tree.path("gcc"),))
    asked = []

    async def answer(*arguments: object) -> tuple[int, bytes, bytes]:
        asked.append(arguments)
        return 0, b"", b"#include <...> search starts here:\nEnd of search list.\n"

    monkeypatch.setattr("manycc.inputs.includes.run_compiler", answer)
    client = Client(tree)
    argv = ["clang++", "-c", "a.cc"]
    manifest = client.collect(*argv, kind="clang", driver="gcc")
    client.collect(*argv, kind="clang", driver="gcc")
    assert len(asked) == 1
    tree.folder("gcc/13")
    assert not client.check(manifest)
    client.collect(*argv, kind="clang", driver="gcc")
    assert len(asked) == 2


def test_what_clang_knows_a_gcc_by_is_read(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under another target it leans on another gcc: whether that is there decides what code it makes."""
    files = {"a.c": "", "gcc/12/crtbegin.o": "1", "gcc/12/32/crtbegin.o": "2", "gcc/12/own.o": "3"}
    tree = Tree(f"{tmp_path}/tree", files)

    async def answer(*arguments: object) -> tuple[int, bytes, bytes]:
        found = f"Selected GCC installation: {tree.path('gcc/x/../12')}\n"
        return 0, b"", found.encode() + b"#include <...> search starts here:\nEnd of search list.\n"

    monkeypatch.setattr("manycc.inputs.includes.run_compiler", answer)
    tree.folder("gcc/x")
    client = Client(tree)
    manifest = client.collect("clang", "--target=aarch64-linux-gnu", "-c", "a.c", kind="clang", driver="gcc")
    assert client.names(manifest) >= {"a.c", "gcc/12/crtbegin.o", "gcc/12/32/crtbegin.o"}
    assert "gcc/12/own.o" not in client.names(manifest)
    tree.folder("gcc/13")
    assert not client.check(manifest)


def test_forced_precompiled_header_of_clang(tmp_path: object) -> None:
    tree = Tree(f"{tmp_path}/tree", {"a.c": "", "x.h": "", "x.h.pch": ""})
    chain = Toolchain("f", "/usr/bin/gcc", "clang", "", "", "", (), (), {})
    assert chain.kind == "clang"
    with pytest.raises(NotDistributable) as caught:
        Client(tree).collect("clang", "-include", "x.h", "-c", "a.c", kind="clang", driver="gcc")
    assert caught.value.reason is Reason.PRECOMPILED_HEADER
