"""A network that breaks at each step of the native protocol, in each way.

``CASES`` is the table: step, fault, the reasons that the record may then give, and the bound of the time lost
beyond a local compile. In every case the build gets the right object and the compiler's own words, and
no file, process, namespace, job folder, slot or descriptor is left, neither here nor on the node.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from net import CONNECT_S, GENEROUS_S, SILENCE_S, Net
from proxy import DOWN, PREAMBLE, FaultyProxy
from support import until

from manycc.backends.node import GREETING_S, HEARTBEATS

UNHEARD_S = SILENCE_S * (1 + 1 / HEARTBEATS)
UNGREETED_S = CONNECT_S + GREETING_S

GREETING = (PREAMBLE, "HELLO", "WELCOME")
CONNECTING = (*GREETING, "STATE", "TOOLCHAIN", "PROVEN")
AT_WORK = ("ANNOUNCE", "JOB", "MISSING", "BLOB", "RESULT")
LARGE = ("OUTPUT", "BLOB2")
"""Steps of a job with a large input and a large object; BLOB2 is the input's second piece."""
IDLE = ("PING", "PONG")

ENDING = ("cut", "truncate")
DAMAGING = ("flip-length", "flip-body", "oversize")
SILENT = ("stall", "freeze")


@dataclass(frozen=True)
class Case:
    """``reasons``: what the record may say. ``lost_s``: the bound of the time lost, ``lost`` the same in words."""

    step: str
    fault: str
    reasons: tuple[str, ...]
    lost_s: float
    lost: str

    def __str__(self) -> str:
        return f"{self.step}-{self.fault}"


def _cases() -> Iterator[Case]:
    for step in (*CONNECTING, *AT_WORK, *LARGE, *IDLE):
        if step in CONNECTING:
            lost, damaged = ("hosts-down",), ("hosts-down",)
        elif step in IDLE:  # no job is under way; the next may find the node connected again
            lost = damaged = ("hosts-down", "remote")
        else:
            lost, damaged = ("node-lost",), ("protocol",)
        # One that hangs up instead of greeting may be a distccd: it is greeted once more, to be sure.
        again = ("remote",)
        for fault in ENDING:
            yield Case(step, fault, again if step in GREETING else lost, 0, "nothing")
        for fault in DAMAGING:
            if step != PREAMBLE or fault == "flip-body":
                yield Case(step, fault, again if step == PREAMBLE else damaged, 0, "nothing")
        for fault in SILENT:
            if fault == "stall" or step in ("JOB", "RESULT"):
                if step in GREETING:
                    yield Case(step, fault, lost, UNGREETED_S, f"MANYCC_CONNECT_TIMEOUT + {GREETING_S:g} s")
                else:
                    yield Case(step, fault, lost, UNHEARD_S, f"{1 + 1 / HEARTBEATS:g} x MANYCC_SILENCE")
        # A node takes each thing said once for all; an agent passes over what it knows, but for a piece of an output.
        twice = damaged if step not in (*DOWN, "PING") or step in ("MISSING", "OUTPUT") else ("remote",)
        yield Case(step, "twice", twice, 0, "nothing")
        yield Case(step, "delay", ("remote",), FaultyProxy.DELAY_S, "the delay")
        yield Case(step, "dribble", ("remote",), 0, "nothing")


CASES = tuple(_cases())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_step_that_goes_wrong(net: Net, case: Case) -> None:
    """Bound: a local compile, and ``case.lost``."""
    step, nth = ("BLOB", 2) if case.step == "BLOB2" else (case.step, 1)
    cluster = net.hasty if case.fault in SILENT or step in IDLE else net.patient
    proxy = FaultyProxy(net.port)
    try:
        if step in IDLE:
            assert net.compile(cluster, proxy)["reason"] == "remote"
        proxy.arm(step, case.fault, nth)
        if step in IDLE:
            assert proxy.struck.wait(UNHEARD_S + GENEROUS_S)
            if case.reasons != ("remote",):
                until(lambda: proxy.links == 0, case.lost_s + GENEROUS_S)
        record = net.compile(cluster, proxy, case.lost_s, large=case.step in LARGE)
        assert proxy.struck.is_set()
        assert record["reason"] in case.reasons
        net.nothing_left()
    finally:
        proxy.close()
