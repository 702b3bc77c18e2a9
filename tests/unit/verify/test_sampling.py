"""Which jobs are sampled, and what happens when too many wait."""

from __future__ import annotations

import dataclasses

import pytest
from verify_support import GCC, OBJECT, outcome, prepared, request, sample

from manycc.verify import sample as module
from manycc.verify.compare import Observed
from manycc.verify.sample import Sampler


def taken(sampler: Sampler, host: str, count: int, fingerprint: str = "f" * 64, **env: str) -> list[int]:
    """Which of the next jobs of a pair are sampled."""
    job = prepared(toolchain=dataclasses.replace(GCC, fingerprint=fingerprint))
    return [n for n in range(count) if sampler.take(host, n, request(env=env), job, outcome()) is not None]


def test_the_first_of_each_pair_and_then_every_nth() -> None:
    sampler = Sampler("1/4")
    assert taken(sampler, "one", 10) == [0, 4, 8]
    assert taken(sampler, "two", 5) == [0, 4]
    assert taken(sampler, "one", 5, "e" * 64) == [0, 4]
    assert taken(sampler, "one", 4) == [2]  # goes on where it was


def test_off_takes_nothing() -> None:
    assert taken(Sampler("off"), "one", 10) == []


def test_a_job_brings_its_own_rate() -> None:
    sampler = Sampler("off")
    assert taken(sampler, "one", 4, MANYCC_VERIFY="1/2") == [0, 2]
    assert taken(Sampler("1/1"), "one", 4, MANYCC_VERIFY="off") == []
    assert taken(Sampler("1/3"), "one", 4, MANYCC_VERIFY="never") == [0, 3]  # what cannot be read counts as not said


def test_a_sample_keeps_what_the_node_wrote_not_what_placing_makes_of_it() -> None:
    answer = outcome(Observed(0, b"out", b"err", {"/w/a.o": (0o644, b"object"), "/w/a.d": (0o644, b"a.o: a.c")}))
    found = Sampler("1/1").take("one", 7, request(), prepared(), answer)
    assert found is not None
    answer.outputs[1].mode = 0o600  # as outputs.place does for a file that was there before
    assert found.remote.files["/w/a.d"] == (0o644, b"a.o: a.c")
    assert found.size == len(b"out" + b"err" + b"object" + b"a.o: a.c")
    assert found.record()["job"] == 7


def test_too_many_samples_drop_the_oldest() -> None:
    sampler = Sampler("1/1")
    dropped = [gone.number for n in range(module.MAX_WAITING + 3) for gone in sampler.add(sample(number=n))]
    assert dropped == [0, 1, 2]
    assert len(sampler) == module.MAX_WAITING
    assert sampler.next().number == 3


def test_too_large_samples_drop_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    sampler = Sampler("1/1")
    forty = OBJECT._replace(files={"/w/a.o": (0o644, b"x" * 40)})
    assert [gone.number for n in range(4) for gone in sampler.add(sample(number=n, seen=forty))] == [0, 1]
    huge = OBJECT._replace(files={"/w/a.o": (0o644, b"x" * 101)})
    assert [gone.number for gone in sampler.add(sample(number=9, seen=huge))] == [2, 3, 9]
    assert len(sampler) == 0
    assert sampler.add(sample(number=10, seen=forty)) == []


def test_what_was_preloaded_into_the_build_is_not_into_its_verification() -> None:
    # A compiler under a libfakeroot whose daemon has ended waits for it for ever.
    taken = sample(LD_PRELOAD="libfakeroot-sysv.so", FAKEROOTKEY="1")
    assert taken.request.env == {"FAKEROOTKEY": "1"}
