"""A node returns an object for another machine, or for another kind of it: it never reaches the build folder.

The compiler is a cross compiler for 32-bit ARM, whose objects differ in their attributes only.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from liar import Liar, content

from manycc.testing.cluster import Cluster
from manycc.testing.requirements import need

ARMHF = "arm-linux-gnueabihf-gcc"
ARMV6 = ["-march=armv6+fp", "-marm"]
"""What a Raspberry Pi of the first kind needs; the compiler's own default is ARMv7."""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need("bwrap", ARMHF)
    with Cluster(str(tmp_path_factory.mktemp("machines")), nodes=1, jobs=2) as cluster:
        yield cluster


def compile_here(folder: Path, *command: str) -> bytes:
    """What a compiler writes, run here."""
    subprocess.run([*command, "-c", "a.c", "-o", "here.o"], cwd=folder, check=True)
    data = (folder / "here.o").read_bytes()
    (folder / "here.o").unlink()
    return data


def compile_there(cluster: Cluster, folder: Path, host: str, *options: str) -> dict[str, object]:
    """Through a host: the record. The object must be what the compiler here writes, whatever the host does."""
    wanted = compile_here(folder, ARMHF, *options)
    count = len(cluster.records())
    argv = [ARMHF, *options, "-c", "a.c", "-o", "a.o"]
    done = cluster.compile(argv, str(folder), {"MANYCC_HOSTS": host})
    assert (done.returncode, done.stderr) == (0, b"")
    (record,) = cluster.wait_records(count + 1)[count:]
    assert (folder / "a.o").read_bytes() == wanted
    assert sorted(path.name for path in folder.iterdir()) == ["a.c", "a.o"]
    return record


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ([ARMHF, "-march=armv7-a+fp"], "expected 32-bit little-endian ARM, flags 0x5000000, ABI 0, type 1 (CPU v6"),
        ([ARMHF, "-march=armv6", "-marm", "-mfloat-abi=soft"], "floats passed in VFP registers"),
        ([ARMHF, *ARMV6, "-mbig-endian"], "big-endian"),
        (["gcc"], "got 64-bit"),
    ],
    ids=["ARMv7 for ARMv6", "soft floats for hard ones", "big-endian", "this machine's"],
)
def test_another_machine(here: Cluster, work: Path, other: list[str], words: str) -> None:
    wrong = compile_here(work, *other)
    proxy = Liar(here.nodes[0].port, content(lambda _: wrong))
    try:
        record = compile_there(here, work, f"{proxy.host}/2", *ARMV6)
        assert record["reason"] == "wrong-object" and words in str(record["detail"]), record
        status = json.loads(here.cli("status", "--json").stdout)
        (host,) = [host for host in status["hosts"] if host["name"] == proxy.host]
        assert (host["wrong"], host["state"]) == (1, "down") and host["wrong_last"].startswith("a.c: expected")
        assert "1 wrong object, last a.c: expected" in " ".join(here.cli("status").stdout.split())
        argv = [ARMHF, *ARMV6, "-c", "a.c"]
        here.env["MANYCC_HOSTS"], before = f"{proxy.host}/2", here.env["MANYCC_HOSTS"]
        explained = here.cli("explain", "--", *argv, check=False, cwd=work).stdout
        here.env["MANYCC_HOSTS"] = before
        assert "it returned 1 wrong object" in explained
    finally:
        proxy.close()


def test_a_source_that_chooses_its_processor_blames_nobody(here: Cluster, work: Path) -> None:
    """It costs one compile here, once: then that kind is known to be the source's own."""
    (work / "a.c").write_text('void f(void) { __asm__(".arch armv8-a\\n.fpu neon\\nvadd.i32 q0, q0, q0"); }\n')
    host = here.nodes[0].host
    record = compile_there(here, work, host, *ARMV6)
    assert record["reason"] == "wrong-object" and "the source asks for it" in str(record["detail"])
    (work / "a.o").unlink()
    assert compile_there(here, work, host, *ARMV6)["reason"] in ("remote", "cached")
    (said,) = [host for host in json.loads(here.cli("status", "--json").stdout)["hosts"] if host["wrong"] == 0]
    assert said["state"] == "ready"


@pytest.mark.parametrize(
    "options", [["-flto", "-frandom-seed=1"], ["-g", "-gsplit-dwarf"], ["-O2", "-fno-pie", "-mthumb"]], ids=" ".join
)
def test_sound_objects_are_taken(here: Cluster, work: Path, options: list[str]) -> None:
    argv = [ARMHF, *options, "-c", "a.c", "-o", "a.o"]
    count = len(here.records())
    assert here.compile(argv, str(work)).returncode == 0
    (record,) = here.wait_records(count + 1)[count:]
    assert record["reason"] == "remote", record
    remote = {path.name: path.read_bytes() for path in work.iterdir()}
    subprocess.run(argv, cwd=work, check=True)
    assert remote == {path.name: path.read_bytes() for path in work.iterdir()}
