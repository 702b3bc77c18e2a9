"""The agent as a client of a real engine on one machine, buildbox-casd: its workers have no compiler of their own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from manycc.testing.buildgrid import ancestors
from manycc.testing.casd import Casd
from manycc.testing.cluster import Cluster, Node
from manycc.testing.heldcompile import HeldCompile, until_served, wait_for
from manycc.testing.requirements import need

pytest.importorskip("hpack", reason="NOT TESTED: hpack is not installed")

LONG = pytest.mark.skipif(os.environ.get("MANYCC_TEST_LONG") != "1", reason="MANYCC_TEST_LONG=1 runs it")
LOST_S = 60.0


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Casd]:
    need("gcc", "g++")
    with Casd(str(tmp_path_factory.mktemp("engine") / "casd")) as casd:
        yield casd


@pytest.fixture(scope="module")
def client(engine: Casd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("c")
    with Cluster(str(folder), nodes=0) as cluster:
        cluster.env["MANYCC_HOSTS"] = engine.host
        until_served(cluster, folder, "gcc", "g++")
        yield cluster


def compare(client: Cluster, folder: Path, argv: list[str], output: str) -> dict[str, object]:
    """Compile there and here, and compare all; the record of the first."""
    seen = len(client.records())
    there = client.compile(argv, str(folder))
    made = (folder / output).read_bytes() if (folder / output).exists() else None
    (folder / output).unlink(missing_ok=True)
    here = subprocess.run(argv, cwd=folder, env=client.env, capture_output=True, check=False)
    assert (there.returncode, there.stdout, there.stderr) == (here.returncode, here.stdout, here.stderr)
    assert made == ((folder / output).read_bytes() if (folder / output).exists() else None)
    return client.wait_records(seen + 1)[seen]


def test_objects_are_the_same(client: Cluster, tmp_path: Path) -> None:
    work = tmp_path / "a b"  # a name that would not survive a shell
    (work / "obj").mkdir(parents=True)
    (work / "a.h").write_text("#define ANSWER 42\n")
    (work / "a.c").write_text('#include <stdio.h>\n#include "a.h"\nint main(void) { return puts("x") < ANSWER; }\n')
    record = compare(client, work, ["gcc", "-g", "-O2", "-MD", "-c", "a.c", "-o", "obj/a.o"], "obj/a.o")
    assert (record["reason"], record["way"]) == ("remote", "shipped"), record
    assert (work / "obj" / "a.d").read_text().startswith("obj/a.o: a.c")
    assert subprocess.run(["gcc", "obj/a.o", "-o", "a"], cwd=work, check=False).returncode == 0
    assert subprocess.run([work / "a"], capture_output=True, check=False).stdout == b"x\n"


def test_a_second_time_comes_out_of_the_engines_cache(client: Cluster, tmp_path: Path) -> None:
    (tmp_path / "b.c").write_text("int b;\n")
    assert compare(client, tmp_path, ["gcc", "-c", "b.c"], "b.o")["reason"] == "remote"
    record = compare(client, tmp_path, ["gcc", "-c", "b.c"], "b.o")
    assert record["reason"] == "cached", record
    assert int(str(record["sent"])) < 4096


def test_a_warm_job_sends_little(client: Cluster, tmp_path: Path) -> None:
    source = tmp_path / "w.cc"
    argv = ["g++", "-O0", "-c", "w.cc"]
    source.write_text("#include <string>\n#include <vector>\nint first;\n")
    assert compare(client, tmp_path, argv, "w.o")["reason"] == "remote"
    source.write_text("#include <string>\n#include <vector>\nint second;\n")
    record = compare(client, tmp_path, argv, "w.o")
    assert record["reason"] == "remote", record
    assert int(str(record["inputs"])) > 150
    assert int(str(record["sent"])) - source.stat().st_size < 4096, record


def test_errors_and_warnings_are_the_compilers(client: Cluster, tmp_path: Path) -> None:
    (tmp_path / "e.c").write_text("int f(void) { return g; }\n")
    record = compare(client, tmp_path, ["gcc", "-c", "e.c"], "e.o")
    assert record["reason"] == "remote-error", record  # said by strangers' workers: the compiler here has the last word
    (tmp_path / "w.c").write_text("int f(void) { int unused; return 0; }\n")
    assert compare(client, tmp_path, ["gcc", "-Wall", "-c", "w.c"], "w.o")["reason"] == "remote"


def test_an_output_above_the_working_folder(client: Cluster, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "obj").mkdir()
    (tmp_path / "src" / "u.c").write_text("int u = 1;\n")
    record = compare(client, tmp_path / "src", ["gcc", "-g", "-c", "u.c", "-o", "../obj/u.o"], "../obj/u.o")
    assert record["reason"] == "remote", record


def test_a_large_object_comes_in_a_stream(client: Cluster, tmp_path: Path) -> None:
    (tmp_path / "l.c").write_text("const char large[40000000] = {1};\n")
    record = compare(client, tmp_path, ["gcc", "-O0", "-c", "l.c"], "l.o")
    assert record["reason"] == "remote", record
    assert int(str(record["received"])) > 40_000_000, record


def test_what_cannot_be_told_to_an_engine_stays_here(client: Cluster, tmp_path: Path) -> None:
    (tmp_path / "d.c").write_text("int d;\n")
    record = compare(client, tmp_path, ["gcc", "-fdump-tree-original", "-c", "d.c"], "d.o")
    assert record["reason"] == "node-refused", record
    assert "by name" in str(record["detail"])


@pytest.mark.parametrize("compiler", ["gcc", "clang-14"])
def test_equal_headers(client: Cluster, tmp_path: Path, compiler: str) -> None:
    """Which of two equal files is meant may depend on links and times that an engine gives them."""
    need(compiler)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.h").write_text('#pragma once\nstatic int same;\n#include "other.h"\n')
        (tmp_path / folder / "other.h").write_text(f"static int {folder};\n")
        os.utime(tmp_path / folder / "same.h", (1e9, 1e9))
    (tmp_path / "t.c").write_text('#include "one/same.h"\n#include "two/same.h"\nint *t(void) { return &same; }\n')
    record = compare(client, tmp_path, [compiler, "-c", "t.c"], "t.o")
    assert record["reason"] == "node-refused", record
    assert "two equal files" in str(record["detail"])


def test_an_engine_a_node_and_this_machine_together(
    engine: Casd, client: Cluster, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    node = Node(str(tmp_path_factory.mktemp("n") / "node"), 1)
    node.start()
    names = [f"j{number}" for number in range(6)]
    for name in names:
        (tmp_path / f"{name}.cc").write_text(f'#include <string>\nstd::string {name} = "{name}";\n')
    hosts = f"{engine.host} {node.host} localhost/1"
    all_places = {engine.host.partition("?")[0], node.host.partition("/")[0], "local-slot"}
    try:
        wait_for(lambda: client.cli("hosts", *hosts.split(), check=False).returncode == 0)
        seen = len(client.records())
        for attempt in range(5):  # while the compiler is tried at the node, it gets no job
            running = [
                subprocess.Popen(
                    [client.launcher, "g++", f"-DN={attempt}", "-c", f"{name}.cc"],
                    cwd=tmp_path, env={**client.env, "MANYCC_HOSTS": hosts},
                )
                for name in names
            ]  # fmt: skip
            assert [process.wait(120) for process in running] == [0] * len(names)
            records = client.wait_records(seen + len(names))[seen:]
            seen += len(names)
            places = {str(record.get("host", record["reason"])) for record in records}
            if places == all_places:
                break
        assert places == all_places
    finally:
        node.stop()
    for name in names:
        made = (tmp_path / f"{name}.o").read_bytes()
        subprocess.run(["g++", f"-DN={attempt}", "-c", f"{name}.cc"], cwd=tmp_path, check=True)
        assert (tmp_path / f"{name}.o").read_bytes() == made


def test_many_jobs_at_once(client: Cluster, tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"m{number}.c").write_text(f"#include <stdlib.h>\nint m{number}(void) {{ return {number}; }}\n")
    running = [
        subprocess.Popen([client.launcher, "gcc", "-c", f"m{number}.c"], cwd=tmp_path, env=client.env)
        for number in range(12)
    ]
    assert [process.wait(120) for process in running] == [0] * 12
    for number in range(12):
        made = (tmp_path / f"m{number}.o").read_bytes()
        subprocess.run(["gcc", "-c", f"m{number}.c"], cwd=tmp_path, check=True)
        assert (tmp_path / f"m{number}.o").read_bytes() == made


def test_a_content_that_the_engine_dropped_is_sent_again(engine: Casd, client: Cluster, tmp_path: Path) -> None:
    (tmp_path / "h.h").write_text(f"/* {tmp_path} */\n")
    (tmp_path / "h.c").write_text('#include "h.h"\nint h = 1;\n')
    assert compare(client, tmp_path, ["gcc", "-c", "h.c"], "h.o")["reason"] == "remote"
    digest = hashlib.sha256((tmp_path / "h.h").read_bytes()).hexdigest()
    stored = [path for path in Path(engine.folder).rglob(digest[2:] + "*") if path.parent.name == digest[:2]]
    assert stored
    for path in stored:
        path.unlink()
    (tmp_path / "h.c").write_text('#include "h.h"\nint h = 2;\n')
    record = compare(client, tmp_path, ["gcc", "-c", "h.c"], "h.o")
    assert (record["reason"], record.get("tried")) == ("remote", None), record
    assert [path.read_bytes() for path in stored] == [(tmp_path / "h.h").read_bytes()] * len(
        stored
    )  # it is there again


def test_an_engine_that_lost_its_store_is_sent_everything_again(engine: Casd, client: Cluster, tmp_path: Path) -> None:
    (tmp_path / "s.c").write_text("#include <stdio.h>\nint s = 1;\n")
    assert compare(client, tmp_path, ["gcc", "-c", "s.c"], "s.o")["reason"] == "remote"
    engine.kill()
    shutil.rmtree(engine.folder)
    engine.start()
    (tmp_path / "s.c").write_text("#include <stdio.h>\nint s = 2;\n")
    end = time.monotonic() + 60
    while True:  # the first may find the engine down still, and is done here then
        record = compare(client, tmp_path, ["gcc", "-c", "s.c"], "s.o")
        if record["reason"] == "remote":
            return
        assert record["reason"] in ("node-lost", "hosts-down", "no-toolchain"), record
        assert time.monotonic() < end, record


def test_an_engine_killed_in_mid_job(engine: Casd, client: Cluster, tmp_path: Path) -> None:
    """Started again, it knows nothing of the job: it is done here at once."""
    held = start(engine, client, tmp_path)
    engine.kill()
    engine.start()
    try:
        record = held.end()
        assert record["reason"] == "node-lost", record
        assert record["detail"] == "the engine does not know the job any more"
        assert record["phases"]["total"] < LOST_S
    finally:
        held.abandon()


@LONG
def test_an_engine_killed_for_good(engine: Casd, client: Cluster, tmp_path: Path) -> None:
    held = start(engine, client, tmp_path)
    engine.kill()
    try:
        record = held.end()
        assert record["reason"] == "node-lost", record
    finally:
        held.abandon()
        engine.start()


def test_a_caller_who_leaves_ends_the_compile_there(engine: Casd, client: Cluster, tmp_path: Path) -> None:
    held = start(engine, client, tmp_path)
    try:
        assert held.process is not None
        held.process.kill()
        held.process.wait()
        wait_for(lambda: not held.running())
        assert held.record()["reason"] == "cancelled"
    finally:
        held.abandon()


def start(engine: Casd, client: Cluster, folder: Path) -> HeldCompile:
    """A compile that is held in the engine's sandbox."""
    until_served(client, folder, "g++")  # it may be down after another test
    held = HeldCompile(client, folder)
    held.start()
    assert engine.process is not None
    assert engine.process.pid in ancestors(held.hold())
    return held
