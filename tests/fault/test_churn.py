"""Nodes that come and go all the while: a build of many small units, fifty at a time, by make.

Bound: no job waits for a node that has gone; each that was on one costs a local compile more. The whole build
is bounded by ``LIMIT_S``, several times what it takes with all nodes there, on a machine that is busy.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

from phases import MARK, namespaces, status, workplaces
from support import any_process, until

from manycc.testing.cluster import Cluster, Node
from manycc.testing.requirements import need

UNITS = 300
STEP = 25
"""Something happens to a node each time so many more objects are there."""
LIMIT_S = 300.0
MAKEFILE = """\
OBJECTS := $(patsubst %.c,%.o,$(wildcard *.c))
all: $(OBJECTS)
%.o: %.c ; $(LAUNCHER) gcc -g -O1 -Wall -MD -c $< -o $@
"""


def kill(node: Node) -> None:
    """As a power cut."""
    node.kill()


def drain(node: Node) -> None:
    """As an administrator: what it began, it finishes."""
    assert node.process is not None
    node.process.send_signal(signal.SIGTERM)


def start(node: Node) -> None:
    """It comes back, on its old port."""
    if node.process is not None:
        assert node.process.wait(60) == 0
    node.start()


def test_nodes_come_and_go_during_a_build(tmp_path: Path) -> None:
    need("bwrap", "gcc", "make")
    work = tmp_path / "work"
    work.mkdir()
    (work / "Makefile").write_text(MAKEFILE)
    (work / "all.h").write_text("#include <stddef.h>\n#include <stdint.h>\n")
    names = [f"{MARK}unit{number}" for number in range(UNITS)]
    for number, name in enumerate(names):
        (work / f"{name}.c").write_text(f'#include "all.h"\nint32_t f{number}(int32_t x) {{ return x * {number}; }}\n')

    def built() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in work.iterdir() if path.suffix in (".o", ".d")}

    def count() -> int:
        return sum(name.endswith(".o") for name in os.listdir(work))

    subprocess.run(["make", "-s", "-j4", "LAUNCHER="], cwd=work, check=True)
    wanted = built()
    assert len(wanted) == 2 * UNITS
    for name in wanted:
        (work / name).unlink()
    sources = sorted(os.listdir(work))

    with Cluster(str(tmp_path / "c"), nodes=3, jobs=4) as cluster:
        nodes = cluster.nodes
        make = subprocess.Popen(
            ["make", "-s", "-j50", f"LAUNCHER={cluster.launcher}"], cwd=work, env=cluster.env,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        # One is always there, one always on its way out or in.
        events = itertools.cycle(
            [(kill, 0), (start, 0), (drain, 1), (start, 1), (kill, 2), (start, 2), (drain, 0), (start, 0)]
        )
        happened: Counter[str] = Counter()
        for mark, (event, index) in zip(range(STEP, UNITS, STEP), events, strict=False):
            until(lambda mark=mark: count() >= mark or make.poll() is not None, LIMIT_S)  # type: ignore[misc]
            if make.poll() is None:
                event(nodes[index])
                happened[event.__name__] += 1
        said, _ = make.communicate(timeout=LIMIT_S)
        assert (make.returncode, said) == (0, b"")
        assert happened["kill"] >= 2 and happened["drain"] >= 1 and happened["start"] >= 3

        assert built() == wanted
        assert sorted(os.listdir(work)) == sorted([*sources, *wanted])
        records = cluster.wait_records(UNITS)
        assert sorted(record["out"] for record in records) == sorted(f"{name}.o" for name in names)
        reasons = Counter(record["reason"] for record in records)
        assert set(reasons) <= {"remote", "node-lost", "node-busy", "hosts-down"}, reasons
        assert reasons["remote"] > UNITS // 2, reasons
        assert all(record["detail"] for record in records if record["reason"] != "remote")

        idle = {"running": 0, "remote": 0, "waiting": 0, "local": 0}
        until(lambda: status(cluster)["jobs"] == idle)
        until(lambda: not any_process(MARK) and not namespaces(cluster))
        for node in nodes:
            if node.process is None or node.process.poll() is not None:
                start(node)
            assert node.stop() == 0  # in good order: nothing holds it
            assert os.listdir(os.path.join(node.state, "cache", "store", "tmp")) == []
        assert not workplaces(cluster)
