"""A job is sent again as it was only while all that it came from is as it was."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from manycc.agent.prepare import Prepared, Preparer, _weight
from manycc.errors import NotDistributable
from manycc.inputs.collect import Collector
from manycc.inputs.fileview import FileView
from manycc.reasons import Reason
from manycc.toolchain.identity import Identifier
from manycc.wire.launcher import Request


class Bench:
    """A preparer, and requests as the launcher makes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.view = FileView()
        self.collector = Collector(self.view, None)
        self.preparer = Preparer(self.view, self.collector, Identifier(self.view.digest_of))
        (folder / "a.c").write_text("int x;\n")

    async def ask(self, *arguments: str, **env: str) -> tuple[Prepared, bool]:
        """What a request comes to, and whether it was known."""
        compiler = shutil.which("gcc")
        assert compiler is not None
        env = {"PATH": os.environ["PATH"], **env}
        request = Request("1", compiler, str(self.folder), ["gcc", *arguments], env, 0o22, 0, 0)
        since = self.view.now()
        key = self.preparer.key(request)
        warm = self.preparer.warm(key, request, since)
        return (warm, True) if warm else (await self.preparer.prepare(key, request, since), False)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.collector.close()
    made.view.close()


def play(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


def test_the_very_job_of_last_time(bench: Bench) -> None:
    async def test() -> None:
        first, known = await bench.ask("-c", "a.c")
        assert not known
        again, known = await bench.ask("-c", "a.c")
        assert known and again.job is first.job

    play(test)


def test_edited_response_file(bench: Bench) -> None:
    async def test() -> None:
        (bench.folder / "inner").write_text("-DA=1")
        (bench.folder / "outer").write_text("-c a.c @inner")
        assert "-DA=1" in (await bench.ask("@outer"))[0].job.argv
        assert (await bench.ask("@outer"))[1]
        (bench.folder / "inner").write_text("-DA=2")
        prepared, known = await bench.ask("@outer")
        assert not known and "-DA=2" in prepared.job.argv

    play(test)


def test_response_file_that_is_a_pipe_stops_nothing(bench: Bench) -> None:
    async def test() -> None:
        os.mkfifo(bench.folder / "pipe")
        for name in ("pipe", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"):
            with pytest.raises(NotDistributable) as caught:
                await bench.ask("-c", "a.c", "@" + name)
            assert caught.value.reason is Reason.BAD_COMMAND

    play(test)


def test_output_folder_that_leads_elsewhere(bench: Bench) -> None:
    async def test() -> None:
        for name in ("debug", "release"):
            (bench.folder / name).mkdir()
        (bench.folder / "out").symlink_to("debug")
        first, _ = await bench.ask("-c", "a.c", "-o", "out/a.o")
        assert first.job.outputs == (str(bench.folder / "debug/a.o"),)
        assert (await bench.ask("-c", "a.c", "-o", "out/a.o"))[1]
        (bench.folder / "out").unlink()
        (bench.folder / "out").symlink_to("release")
        again, known = await bench.ask("-c", "a.c", "-o", "out/a.o")
        assert not known and again.job.outputs == (str(bench.folder / "release/a.o"),)
        (bench.folder / "release").rmdir()
        with pytest.raises(NotDistributable) as caught:
            await bench.ask("-c", "a.c", "-o", "out/a.o")
        assert caught.value.reason is Reason.OUTPUT_FOLDER

    play(test)


@pytest.mark.parametrize("name", ["DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES", "COMPILER_PATH", "LD_PRELOAD"])
def test_variable_that_keeps_a_job_here_does_so_for_a_known_one(bench: Bench, name: str) -> None:
    async def test() -> None:
        await bench.ask("-c", "a.c")
        assert (await bench.ask("-c", "a.c"))[1]
        with pytest.raises(NotDistributable) as caught:
            await bench.ask("-c", "a.c", **{name: "x"})
        assert caught.value.reason is Reason.ENVIRONMENT

    play(test)


def test_memory_is_bounded_and_still_of_use(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        prepared, _ = await bench.ask("-c", "a.c", "-DN=0")
        one = _weight(prepared)
        monkeypatch.setattr("manycc.agent.prepare.MAX_REMEMBERED", 10 * one)
        rounds = []
        for _ in range(3):  # a build that does not fit, again and again
            rounds.append([(await bench.ask("-c", "a.c", f"-DN={number}"))[1] for number in range(1, 16)])
            assert len(bench.preparer._remembered) <= 10
        assert sum(rounds[0]) == 0 and sum(rounds[2]) > 0

    play(test)
