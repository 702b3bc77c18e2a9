"""Canaries decide about an equivalent compiler: real ones, compiled here and on a node that is played here, too."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from manycc.backends import equivalent
from manycc.backends.equivalent import Equivalence, calls_itself_otherwise, read_offer
from manycc.backends.localcpp import LocalRuns
from manycc.errors import BackendError, BackendGone, BackendRefused, WireError
from manycc.inputs.fileview import FileView
from manycc.job import Inputs, Job, Outcome, OutputFile, Repair, Toolchain
from manycc.reasons import Reason
from manycc.testing.requirements import need
from manycc.toolchain.equivalence import Offer, Verdicts
from manycc.toolchain.identity import Identifier


@pytest.fixture(scope="module")
def gcc() -> Toolchain:
    need("gcc")
    return asyncio.run(Identifier(FileView().digest_of).identify("/usr/bin/gcc", {"PATH": "/usr/bin:/bin"}))


class Played:
    """A node whose compiler is the one here, given more options, in an environment of its own."""

    def __init__(self, more: Sequence[str] = (), error: BackendError | None = None) -> None:
        self.more = more
        self.error = error
        self.asked: list[tuple[Job, Repair]] = []

    async def run(self, job: Job, repair: Repair) -> Outcome:
        self.asked.append((job, repair))
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        os.makedirs(job.cwd)
        try:
            argv = [*job.argv, *repair.options, *self.more]
            done = subprocess.run(
                argv, cwd=job.cwd, env={"PATH": "/usr/bin", **dict(job.env)}, capture_output=True, check=False
            )
            files = []
            for path in job.outputs:
                if os.path.exists(path):
                    data = Path(path).read_bytes()
                    files.append(OutputFile(path, 0o644, data, hashlib.sha256(data).digest()))
                    os.unlink(path)
        finally:
            os.rmdir(job.cwd)
        return Outcome(Reason.REMOTE, "node", done.returncode, done.stdout, done.stderr, files)


def job(gcc: Toolchain, command: str, folder: Path) -> Job:
    argv = ("/usr/bin/gcc", *command.split())
    cwd = str(folder)
    return Job(argv, cwd, (("LC_ALL", "C"),), 0o022, gcc, Inputs([], "scan", True, False), (cwd,), (), (), f"{cwd}/a.c")


def offered(gcc: Toolchain, **facts: str) -> Offer:
    return Offer("b" * 64, "gcc there", "/usr/bin/t-gcc", {**gcc.facts, **facts})


Test = Callable[[Equivalence], Awaitable[Any]]


def with_proofs(folder: Path, test: Test) -> Any:
    async def run() -> Any:
        runs = LocalRuns(60.0)
        proofs = Equivalence(str(folder / "canaries"), Verdicts(str(folder / "known.json")), runs)
        try:
            return await test(proofs)
        finally:
            await proofs.close()
            await runs.close()

    return asyncio.run(run())


def test_equal_canaries_prove(tmp_path: Path, gcc: Toolchain) -> None:
    node = Played()
    offer = offered(gcc, ident="GCC: (Other) 12")
    wanted = job(gcc, "-O1 -g -c a.c", tmp_path)

    async def test(proofs: Equivalence) -> None:
        assert proofs.objection(wanted, offer, "node") == ""
        both = await asyncio.gather(*(proofs.prove(wanted, offer, "node", node.run) for _ in range(2)))
        assert both[0] == both[1]
        repair = both[0]
        assert repair.ident == gcc.facts["ident"] and repair.options == ()
        assert "/usr/include" in repair.search
        assert sorted(os.path.basename(one.source) for one, _ in node.asked) == [
            "canary.c", "floats.c", "macros.c", "more.c", "notice.c", "notice.c",
        ]  # fmt: skip
        await proofs.prove(job(gcc, "-O1 -DX -g -Wall -c b.c", tmp_path), offer, "node", node.run)
        assert len(node.asked) == 6  # the same options, whatever else there is
        await proofs.prove(job(gcc, "-O0 -c b.c", tmp_path), offer, "node", node.run)
        assert len(node.asked) == 10  # others; what it says is known
        assert os.listdir(tmp_path / "canaries") and not [
            name for name in os.listdir(tmp_path / "canaries") if os.path.isdir(tmp_path / "canaries" / name)
        ]

    with_proofs(tmp_path, test)


@pytest.mark.parametrize(
    ("more", "options", "facts", "said"),
    [
        (["-fstack-protector-all"], "-O1", {}, "makes another object of canary.c with -O1: section"),
        (["-fno-ident"], "-O1", {"binutils": "2.38"}, "binutils 2.40 here, 2.38 there"),
        (["-O2"], "-O1 -g", {}, "with -O1 -g"),
        (["-fno-such-option"], "-O1", {}, "exit code"),
        (["-Wno-shadow", "-fdiagnostics-color=always"], "-O1", {}, "says something else of notice.c"),
        (["-Wformat-security"], "-O1", {}, "says something else of notice.c with -Wall"),
        (["-DNEW=1"], "-O1", {}, "what gcc there there predefines with -O1 differs"),
    ],
)
def test_the_first_difference_is_named(
    tmp_path: Path, gcc: Toolchain, more: list[str], options: str, facts: dict[str, str], said: str
) -> None:
    node = Played(more)
    wanted = job(gcc, f"{options} -c a.c", tmp_path)
    if gcc.facts.get("binutils") != "2.40":
        facts = {}
        said = "another"
    offer = offered(gcc, **facts)

    async def test(proofs: Equivalence) -> None:
        with pytest.raises(BackendRefused) as refusal:
            await proofs.prove(wanted, offer, "node", node.run)
        assert refusal.value.reason is Reason.NOT_EQUIVALENT
        assert said in refusal.value.detail
        assert proofs.objection(wanted, offer, "node") == refusal.value.detail
        asked = len(node.asked)
        with pytest.raises(BackendRefused):
            await proofs.prove(wanted, offer, "another node", node.run)
        assert len(node.asked) == asked

    with_proofs(tmp_path, test)

    async def later(proofs: Equivalence) -> None:
        assert said in proofs.objection(wanted, offer, "node")

    with_proofs(tmp_path, later)


def test_what_went_wrong_on_the_way_is_no_verdict(tmp_path: Path, gcc: Toolchain) -> None:
    wanted, offer = job(gcc, "-O1 -c a.c", tmp_path), offered(gcc)

    async def test(proofs: Equivalence) -> None:
        for error in (
            BackendGone(Reason.NODE_LOST, "gone"),
            BackendRefused(Reason.NODE_BUSY, "closing"),
            BackendRefused(Reason.NO_TOOLCHAIN, "changed"),
        ):
            with pytest.raises(BackendError) as raised:
                await proofs.prove(wanted, offer, str(error.reason), Played(error=error).run)
            assert raised.value.reason is error.reason
            doubt = proofs.objection(wanted, offer, str(error.reason))
            assert bool(doubt) is not isinstance(error, BackendGone)  # one that is there is left alone for a while
        with pytest.raises(BackendRefused) as refused:  # this job is not for that node, but nothing is proven
            node = Played(error=BackendRefused(Reason.NODE_REFUSED, "a clash"))
            await proofs.prove(wanted, offer, "node", node.run)
        assert refused.value.reason is Reason.NOT_EQUIVALENT and "a clash" in refused.value.detail
        assert proofs.verdicts() == [] and proofs.unproven(wanted, offer)
        assert "a clash" in proofs.objection(wanted, offer, "node")
        await proofs.prove(wanted, offer, "other", Played().run)
        assert not proofs.unproven(wanted, offer) and not proofs.objection(wanted, offer, "node")

    with_proofs(tmp_path, test)


def test_a_canary_that_does_not_end(tmp_path: Path, gcc: Toolchain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler there that hangs keeps no job waiting for long, and is left alone for a good while."""
    monkeypatch.setattr(equivalent, "CANARY_S", 0.05)
    monkeypatch.setattr(equivalent, "DOUBT_S", 0.0)
    wanted, offer = job(gcc, "-O1 -c a.c", tmp_path), offered(gcc)
    given_up: list[str] = []

    async def hang(trial: Job, repair: Repair) -> Outcome:
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            given_up.append(os.path.basename(trial.source))

    async def test(proofs: Equivalence) -> None:
        with pytest.raises(BackendError) as late:
            await proofs.prove(wanted, offer, "node", hang)
        assert late.value.reason is Reason.NODE_TIMEOUT
        assert {"canary.c", "floats.c", "more.c"} <= set(given_up)
        assert "canary.c was not compiled there within" in proofs.objection(wanted, offer, "node")
        assert proofs.objection(wanted, offer, "another") == ""

    with_proofs(tmp_path, test)


def test_defaults_that_differ_are_stated(tmp_path: Path, gcc: Toolchain) -> None:
    """The node is told to have them; what the command chooses itself is left to it."""
    if gcc.facts.get("pie") != "PIE":
        pytest.skip("the gcc here makes no PIE by default")
    node = Played()
    offer = offered(gcc, pie="no")

    async def test(proofs: Equivalence) -> None:
        repair = await proofs.prove(job(gcc, "-O1 -c a.c", tmp_path), offer, "node", node.run)
        assert repair.options == ("-fPIE",)
        assert all(given.options == ("-fPIE",) for _, given in node.asked)
        repair = await proofs.prove(job(gcc, "-O1 -fPIC -c a.c", tmp_path), offer, "node", node.run)
        assert repair.options == ()

    with_proofs(tmp_path, test)


def test_other_messages_of_a_locale(tmp_path: Path, gcc: Toolchain) -> None:
    node = Played()
    offer = offered(gcc)

    async def test(proofs: Equivalence) -> None:
        wanted = job(gcc, "-c a.c", tmp_path)
        await proofs.prove(wanted, offer, "node", node.run)
        before = len(node.asked)
        await proofs.prove(replace(wanted, env=(("LANG", "C.UTF-8"),)), offer, "node", node.run)
        assert [os.path.basename(one.source) for one, _ in node.asked[before:]] == ["notice.c", "notice.c"]

    with_proofs(tmp_path, test)


def test_options_that_a_source_sets_for_itself(tmp_path: Path, gcc: Toolchain) -> None:
    """No canary was compiled with these, and two packages of one version may differ under any option."""
    wanted = job(gcc, "-O1 -c a.c", tmp_path)
    offer = offered(gcc)

    async def test(proofs: Equivalence) -> None:
        node = Played()
        await proofs.prove(wanted, offer, "node", node.run)
        before = len(node.asked)
        inputs = Inputs([], "scan", True, False, options=True)
        with pytest.raises(BackendRefused) as refused:
            await proofs.prove(replace(wanted, inputs=inputs), offer, "node", node.run)
        assert refused.value.reason is Reason.NOT_EQUIVALENT
        assert "a source sets options for its own code" in refused.value.detail
        assert len(node.asked) == before

    with_proofs(tmp_path, test)


def test_clang_calls_itself_by_its_file(gcc: Toolchain) -> None:
    clang = replace(gcc, kind="clang", driver="/nowhere/clang")
    offer = Offer("b" * 64, "l", "/usr/lib/llvm/bin/clang-14", {})
    assert calls_itself_otherwise(clang, offer, b"clang-14: warning: unused\n")
    assert not calls_itself_otherwise(clang, offer, b"a.c:1: warning: clang-14\n")
    assert not calls_itself_otherwise(replace(clang, driver="/nowhere/clang-14"), offer, b"clang-14: warning: x\n")
    assert not calls_itself_otherwise(gcc, offer, b"clang-14: warning: unused\n")


ABOUT = {"fingerprint": "b" * 64, "label": "gcc", "driver": "/usr/bin/gcc", "facts": {"pie": "no"}}


def test_what_a_node_says_is_checked() -> None:
    assert read_offer(ABOUT).facts == {"pie": "no"}
    for name, value in (
        ("fingerprint", ""), ("fingerprint", 7), ("label", None), ("driver", "x" * 5000), ("facts", None),
        ("facts", {"a": 1}), ("facts", {"a": "x" * 5000}), ("facts", {str(n): "" for n in range(100)}),
        ("facts", {"a\n": "b"}),
    ):  # fmt: skip
        with pytest.raises(WireError):
            read_offer({**ABOUT, name: value})
