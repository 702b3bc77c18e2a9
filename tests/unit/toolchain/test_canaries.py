"""Canaries: they compile wherever a user's options lead, and tell compilers apart."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from manycc.errors import CompilerError
from manycc.job import Toolchain
from manycc.testing.requirements import need
from manycc.toolchain.canaries import CANARIES, Canaries, command

GCC = Toolchain("f" * 64, "/usr/bin/gcc", "gcc", "12", "x86_64-linux-gnu", "gcc 12", (), (), {})

EVERYWHERE = (
    [], ["-O2"], ["-O3", "-march=haswell"], ["-fPIC", "-fno-plt"], ["-ffreestanding"], ["-m32"], ["-fshort-enums"],
    ["-mgeneral-regs-only"], ["-mno-sse"], ["-fvisibility=hidden"], ["-mcmodel=large"], ["-fopenmp"],
)  # fmt: skip
OF_C = (["-std=c89", "-pedantic-errors"], ["-std=c17"], ["-std=gnu2x"], ["-ansi"])
OF_CXX = (["-std=c++98"], ["-std=c++20"], ["-fno-exceptions", "-fno-rtti"], ["-fno-threadsafe-statics"])


def compiled(compiler: str, arguments: Sequence[str], folder: Path) -> bytes:
    """An object; what goes wrong fails the test."""
    output = folder / "out.o"
    subprocess.run([compiler, *arguments, "-o", output], cwd=folder, check=True)
    return output.read_bytes()


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    Canaries(str(tmp_path), _not_called).write()
    return tmp_path


async def _not_called(toolchain: Toolchain, arguments: Sequence[str], folder: str) -> bytes:
    raise AssertionError


@pytest.mark.parametrize("compilers", [("gcc", "g++"), ("clang-14", "clang++-14")])
def test_they_compile_with_whatever_users_pass(sources: Path, compilers: tuple[str, str]) -> None:
    need(*compilers)
    for canary in CANARIES:
        cxx = canary.language == "c++"
        for flags in (*EVERYWHERE, *(OF_CXX if cxx else OF_C)):
            line = [*command(flags, canary), "-fsyntax-only"]
            done = subprocess.run([compilers[cxx], *line], cwd=sources, capture_output=True, check=False)
            assert done.returncode == 0, (canary.name, flags, done.stderr)


@pytest.mark.parametrize(
    "other",
    ["-fno-PIE", "-fstack-protector-strong", "-fcf-protection=full", "-fno-asynchronous-unwind-tables", "-O1",
     "-fomit-frame-pointer", "-mtune=atom", "-fno-ident", "-ftls-model=local-exec", "-fno-common", "-mno-red-zone"],
)  # fmt: skip
def test_they_tell_defaults_apart(sources: Path, other: str) -> None:
    need("gcc")
    base = ["-O2", "-fPIC", "-fno-stack-protector", "-fcf-protection=none", "-fcommon", "-fno-omit-frame-pointer"]
    canary = CANARIES[0]
    here = compiled("gcc", command(base, canary), sources)
    assert compiled("gcc", command([*base, other], canary), sources) != here


def test_preprocessed_and_sent_they_are_the_same(sources: Path) -> None:
    need("gcc", "g++")
    for canary in CANARIES:
        if canary.language.startswith("assembler"):
            continue
        compiler, suffix = ("g++", "ii") if canary.language == "c++" else ("gcc", "i")
        here = compiled(compiler, command(["-O1"], canary), sources)
        for mode in ([], ["-fdirectives-only"]):
            text = sources / f"sent.{suffix}"
            asked = [compiler, "-O1", *mode, "-w", "-x", canary.language, "-E", canary.name, "-o", text]
            subprocess.run(asked, cwd=sources, check=True)
            assert compiled(compiler, ["-O1", *mode, "-w", "-c", str(text)], sources) == here


def test_each_is_compiled_once(tmp_path: Path) -> None:
    asked: list[Sequence[str]] = []
    wait: list[asyncio.Event] = []

    async def compile_here(toolchain: Toolchain, arguments: Sequence[str], folder: str) -> bytes:
        asked.append(arguments)
        await wait[0].wait()
        return b"object"

    async def test() -> None:
        wait.append(asyncio.Event())
        canaries = Canaries(str(tmp_path / "deep" / "er"), compile_here)
        tasks = [asyncio.create_task(canaries.object_of(GCC, ["-O2"], CANARIES[0])) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()  # takes it from nobody else
        wait[0].set()
        assert await asyncio.gather(*tasks[1:]) == [b"object"] * 2
        assert await canaries.object_of(GCC, ["-O2"], CANARIES[0]) == b"object"
        assert len(asked) == 1
        await canaries.object_of(GCC, ["-O3"], CANARIES[0])
        await canaries.object_of(GCC, ["-O2"], CANARIES[2])
        assert len(asked) == 3
        assert (tmp_path / "deep" / "er" / "canary.cc").read_text() == CANARIES[2].text
        await canaries.close()

    asyncio.run(test())


def test_a_compile_that_could_not_be_tried_is_tried_again(tmp_path: Path) -> None:
    answers: list[object] = [CompilerError("no memory"), b"object"]

    async def compile_here(toolchain: Toolchain, arguments: Sequence[str], folder: str) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, bytes)
        return answer

    async def test() -> None:
        canaries = Canaries(str(tmp_path), compile_here)
        with pytest.raises(CompilerError):
            await canaries.object_of(GCC, [], CANARIES[0])
        assert await canaries.object_of(GCC, [], CANARIES[0]) == b"object"
        await canaries.close()

    asyncio.run(test())


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def test() -> None:
        with pytest.raises(CompilerError):
            await Canaries(str(tmp_path / "file" / "x"), _not_called).object_of(GCC, [], CANARIES[0])

    asyncio.run(test())
