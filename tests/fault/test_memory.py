"""A node that runs out of memory: its limit is that of a control group, as a service or a container has one.

==================================== =============== ==================================================
what happens                         what is recorded what comes of it
==================================== =============== ==================================================
a compile takes all there is         compiler-killed the compiler dies, not the node; done here, at once
the node has too little for any job  node-memory     done here; the node is used again when it has more
==================================== =============== ==================================================
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from limits import MemoryGroup, memory_group
from phases import MARK, agent_pid, node_pid, nothing_left
from support import check
from traced import alive

from manycc.testing.cluster import Cluster
from manycc.testing.requirements import need

LIMIT = 520
_WORDS = "".join(f"#define A{n} A{n - 1} A{n - 1}\n" for n in range(1, 21))
GREEDY = f"#define A0 a a\n{_WORDS}#define S(x) #x\n#define T(x) S(x)\nunsigned long n = sizeof T(A20);\n"
"""Takes cc1 550 MiB, within seconds: a text of two million words is made of it."""


@pytest.fixture(scope="module")
def group() -> Iterator[MemoryGroup]:
    with memory_group(LIMIT) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, group: MemoryGroup) -> Iterator[Cluster]:
    need("gcc", "bwrap")
    cluster = Cluster(str(tmp_path_factory.mktemp("memory") / "c"), nodes=1, jobs=2)
    (node,) = cluster.nodes
    node.program[:0] = group.front()
    with cluster:
        yield cluster


def compiled(cluster: Cluster, folder: Path, text: str) -> dict[str, Any]:
    """Compile a source; the object must be the compiler's own. The record."""
    source = folder / f"{MARK}.c"
    source.write_text(text)
    return check(cluster, folder, ["gcc", "-c", source.name, "-o", "a.o"])


def test_a_compile_takes_all_memory(shared: Cluster, tmp_path: Path) -> None:
    assert compiled(shared, tmp_path, "int before;\n")["reason"] == "remote"
    node, agent = node_pid(shared), agent_pid(shared)
    begun = time.monotonic()
    record = compiled(shared, tmp_path, GREEDY)
    assert record["reason"] == "compiler-killed"
    assert "tried" in record and len(record["tried"]) == 1  # not again and again
    assert record["phases"]["remote"] < time.monotonic() - begun
    nothing_left(shared)
    assert compiled(shared, tmp_path, "int after;\n")["reason"] == "remote"
    assert alive(node) and node_pid(shared) == node and agent_pid(shared) == agent


def test_a_node_with_too_little_for_any_job(shared: Cluster, group: MemoryGroup, tmp_path: Path) -> None:
    assert compiled(shared, tmp_path, "int before;\n")["reason"] == "remote"
    group.limit(300)  # what a node keeps for itself is nearly that
    record = compiled(shared, tmp_path, "int meanwhile;\n")
    assert record["reason"] == "node-memory"
    assert "MiB" in record["detail"]
    group.limit(LIMIT)
    end = time.monotonic() + 20.0
    number = 0
    while compiled(shared, tmp_path, f"int after{number};\n")["reason"] != "remote":  # what the node said last is old
        assert time.monotonic() < end
        number += 1
    nothing_left(shared)
