"""Debian's own arm64 gcc and its cross package of the same version: equal, but for one security patch.

The native package has the fix for CVE-2023-4039, the cross package was never built again. Both say 12.2.0, predefine
the same macros and write the same code, except where ``-fstack-protector-strong`` meets arrays of variable size: what
no version number tells, canaries do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pis import Pi, pi
from userland import ARM64

from manycc.testing.cluster import Node
from manycc.testing.requirements import need

pytestmark = pytest.mark.skipif(os.environ.get("MANYCC_TEST_LONG") != "1", reason="MANYCC_TEST_LONG=1 runs it")

C = """#include <stdio.h>
#include <string.h>
int copied(const char *s, int n) { char b[100], v[n]; strcpy(b, s); memset(v, n, n); return printf("%s%c", b, v[1]); }
"""
CXX = """#include <string>
#include <vector>
std::string joined(const std::vector<std::string> &v) { std::string s; for (auto &one : v) s += one; return s; }
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    need("aarch64-linux-gnu-gcc-12", "aarch64-linux-gnu-g++-12", "bwrap")
    made = Node(str(tmp_path_factory.mktemp("server") / "node"), 2)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def client(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pi]:
    with pi(ARM64, str(tmp_path_factory.mktemp("pi"))) as machine:
        machine.write("/build/a.c", C)
        machine.write("/build/b.cc", CXX)
        yield machine
        machine.run(["manycc", "agent", "stop"], env={"MANYCC_DIR": "/build/.manycc"}, check=False)


def compiled(client: Pi, node: Node, command: str) -> tuple[bool, dict[str, Any]]:
    """Whether the object is what the Pi's own compiler writes; and the job's record."""
    words = [*command.split(), "-o", "out.o"]
    output = client.path("/build/out.o")
    client.run(words, "/build")
    here = output.read_bytes()
    output.unlink()
    client.run(["manycc", *words], "/build", {"MANYCC_HOSTS": node.host, "MANYCC_DIR": "/build/.manycc"})
    client.run(["manycc", "agent", "stop"], env={"MANYCC_DIR": "/build/.manycc"})  # with it all records are written
    lines = Path(client.path("/build/.manycc/state/jobs.jsonl")).read_text().splitlines()
    return output.read_bytes() == here, json.loads(lines[-1])


@pytest.mark.parametrize("command", ["gcc -O2 -g -c a.c", "g++ -O2 -g -c b.cc"])
def test_what_the_patch_does_not_touch_is_proven(client: Pi, node: Node, command: str) -> None:
    same, record = compiled(client, node, command)
    assert same
    assert (record["reason"], record.get("way")) == ("remote", "equivalent"), record["detail"]


def test_what_it_touches_is_refused(client: Pi, node: Node) -> None:
    same, record = compiled(client, node, "gcc -O2 -fstack-protector-strong -c a.c")
    assert same
    assert record["reason"] == "not-equivalent"
    assert "-fstack-protector-strong" in record["detail"]
    assert "another package: GCC: (Debian 12.2.0-14+deb12u1) 12.2.0 here" in record["detail"]
