"""Too few descriptors or processes: an agent with 100 launchers, a node with jobs in all its slots.

=================================== ================= ==================================================
what is short                       what is recorded  what comes of it
=================================== ================= ==================================================
an agent's descriptors (64), -j100  remote            launchers wait in line for a free one
a node's descriptors (32), -j20     remote,           what cannot be done there is done here; the node
                                    node-fault, ...   goes on
the processes of a node's user      node-fault        the same
=================================== ================= ==================================================
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from phases import MARK, agent_pid, node_pid, nothing_left
from traced import alive

from manycc.reasons import BY_CODE, Kind
from manycc.testing.cluster import Cluster
from manycc.testing.requirements import need, need_root

BUSY_S = 60.0
_USER = 54321
"""Nobody else's: the kernel counts all processes of a user."""


def compiled(cluster: Cluster, folder: Path, count: int, front: tuple[str, ...] = ()) -> Counter[str]:
    """So many compiles at once; all must end well. How often each reason was recorded."""
    source = folder / f"{MARK}.c"
    source.write_text(f"int f(int x) {{ return x + {count}; }}\n")
    argv = ["gcc", "-c", source.name, "-o"]
    subprocess.run([*argv, "wanted"], cwd=folder, check=True)
    wanted = (folder / "wanted").read_bytes()
    before = len(cluster.records())
    with open(folder / "said", "wb") as said:
        works = [
            subprocess.Popen(
                [*front, cluster.launcher, *argv, f"{number}.o", f"-DN{number}"],
                cwd=folder, env=cluster.env, stdout=said, stderr=said,
            )
            for number in range(count)
        ]  # fmt: skip
    assert [work.wait(BUSY_S) for work in works] == [0] * count
    assert (folder / "said").read_bytes() == b""
    assert {(folder / f"{number}.o").read_bytes() for number in range(count)} == {wanted}
    assert len([name for name in os.listdir(folder) if name.endswith(".o")]) == count
    records = cluster.wait_records(before + count)[before:]
    assert len(records) == count
    nothing_left(cluster)
    return Counter(record["reason"] for record in records)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    return made


def test_agent_with_few_descriptors(tmp_path: Path, folder: Path) -> None:
    need("prlimit", "gcc", "bwrap")
    with Cluster(str(tmp_path / "c"), nodes=1, jobs=4) as cluster:
        limited = ["prlimit", "--nofile=64:64", cluster.launcher, "gcc", "-c", "-xc", "/dev/null", "-o", "first.o"]
        subprocess.run(limited, cwd=tmp_path, env=cluster.env, check=True)  # which starts the agent
        agent = agent_pid(cluster)
        assert "Max open files            64 " in Path(f"/proc/{agent}/limits").read_text()
        reasons = compiled(cluster, folder, 100)
        assert reasons == {"remote": 100}
        assert agent_pid(cluster) == agent and alive(agent)


def test_node_with_few_descriptors(tmp_path: Path, folder: Path) -> None:
    need("prlimit", "gcc", "bwrap")
    cluster = Cluster(str(tmp_path / "c"), nodes=1, jobs=8)
    cluster.nodes[0].program[:0] = ["prlimit", "--nofile=32:32"]
    with cluster:
        node = node_pid(cluster)
        reasons = compiled(cluster, folder, 20)
        assert reasons["remote"] > 0
        assert all(BY_CODE[reason].kind in (Kind.REMOTE, Kind.FAILED_OVER) for reason in reasons), reasons
        assert node_pid(cluster) == node and alive(node)
        (folder / "again").mkdir()
        assert compiled(cluster, folder / "again", 1) == {"remote": 1}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach."""
    with tempfile.TemporaryDirectory(prefix="manycc-") as made:
        os.chmod(made, 0o755)
        yield Path(made)


def test_node_whose_user_has_few_processes(open_folder: Path) -> None:
    need("prlimit", "setpriv", "gcc", "bwrap")
    need_root("become another user")
    work = open_folder / "work"
    work.mkdir()
    cluster = Cluster(str(open_folder / "c"), nodes=1, jobs=4)
    os.makedirs(cluster.folder)
    os.chown(cluster.folder, _USER, _USER)
    user = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups"]
    if subprocess.run([*user, "test", "-x", cluster.launcher], check=False).returncode:
        pytest.skip(f"NOT TESTED with this checkout: other users cannot reach {cluster.launcher}")
    cluster.nodes[0].program[:0] = ["prlimit", "--nproc=100:100", *user]
    with cluster:
        node = node_pid(cluster)
        assert compiled(cluster, work, 1) == {"remote": 1}
        few = len(os.listdir(f"/proc/{node}/task")) + 1  # it can start one more
        for name, limit, count in (("few", few, 12), ("enough", 100, 4)):
            subprocess.run([*user, "prlimit", f"--pid={node}", f"--nproc={limit}:100"], check=True)
            (work / name).mkdir()
            reasons = compiled(cluster, work / name, count)
            assert set(reasons) == ({"remote", "node-fault"} if name == "few" else {"remote"}), reasons
        assert node_pid(cluster) == node and alive(node)
