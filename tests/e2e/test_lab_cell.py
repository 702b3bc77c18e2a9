"""A small cell of the lab: files of Lua built over a network made here, by Debian's distcc and by manycc."""

from __future__ import annotations

import os

import pytest
from lab import leftovers, measure
from lab.figures import Build
from lab.groups import Group
from lab.hosts import GIB, Power, Setup
from lab.measure import Reference
from lab.names import LabError
from lab.network import Line
from lab.systems import all_systems
from lab.workloads import Workload
from tree_list import TREES

from manycc.testing.requirements import lacking, need, need_root

_OBJECTS = ["lapi.o", "ldo.o", "lgc.o", "llex.o", "loadlib.o", "lstring.o", "ltm.o", "lzio.o"]
_LUA = Workload("lua", TREES["lua5.4"], ["make", "-C", "src", "-j{jobs}", *_OBJECTS, "CFLAGS=-O0", "CC={launcher}gcc"])
_SETUP = Setup(Power(1, GIB), (Power(1, GIB),), jobs=4)
_COUNT = len(_OBJECTS)


def _needs() -> None:
    need("ip", "tc", "nsenter", "unshare", "hostname", "distcc", "distccd", "bwrap", "/dev/net/tun")
    need_root("make namespaces and control groups")
    try:
        Group("probe", 1, GIB).close()
    except LabError as error:
        lacking(str(error))


def _session(reference: Reference, folder: str, system: str, limit: float = 300) -> dict[str, Build]:
    builds: list[Build] = []
    found = all_systems()[system]
    measure.session(reference, folder, _SETUP, ("here", Line(100, 4)), _LUA, found, found.ways, 1, limit, builds.append)
    return {build.way: build for build in builds}


@pytest.mark.timeout(900)
def test_a_cell_is_built_and_counted() -> None:
    _needs()
    with leftovers.scratch() as folder:
        reference = Reference(folder)
        builds = {**_session(reference, folder, "distcc"), **_session(reference, folder, "manycc")}
        late = _session(reference, folder, "distcc", limit=0.01)
        assert os.listdir(folder) == ["lua"]  # the prepared tree; every lab is gone
    for build in builds.values():
        assert not build.failed
        assert build.objects == _COUNT
        # Without optimization, gcc's code depends on where statements stand, and distcc preprocesses.
        assert build.same == _COUNT or build.way == "distcc", build
        assert build.wall > 0
        assert min(build.sent, build.received) > 1000
        assert build.peak_memory > 1 << 20
    assert builds["distcc"].told == {"fell back": 0}
    assert builds["manycc, warm"].told["remote"] == _COUNT
    assert builds["manycc, cached"].told["cached"] == _COUNT  # there is but one helper
    assert builds["manycc, warm"].sent < builds["distcc"].sent / 4
    assert builds["manycc, warm"].client < builds["distcc"].client
    assert builds["manycc, cached"].helpers < builds["manycc, warm"].helpers / 2
    assert late["distcc"].failed == "not done after 0.01 s"


@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.environ.get("MANYCC_TEST_LONG") != "1", reason="long: MANYCC_TEST_LONG=1 runs it")
def test_icecream_and_ccache_are_built_and_counted() -> None:
    _needs()
    need("icecc", "/usr/sbin/iceccd", "/usr/sbin/icecc-scheduler", "ccache")
    with leftovers.scratch() as folder:
        reference = Reference(folder)
        builds = {**_session(reference, folder, "icecream"), **_session(reference, folder, "ccache")}
    assert [build.same for build in builds.values()] == [_COUNT] * 4
    assert builds["icecream, warm"].told == {"remote": _COUNT}
    assert builds["icecream, warm"].sent < builds["icecream, cold"].sent  # the compiler is sent once
    assert builds["ccache, full"].client < builds["ccache, empty"].client / 2
