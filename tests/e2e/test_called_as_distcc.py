"""The launcher under distcc's name, with a real agent and a real node: messages, exit codes, questions, monitors."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from manycc.testing.cluster import Cluster

LIMIT_S = 120


class Place:
    """A cluster of one node, a folder with distcc's programs, and one with sources."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.work = folder / "work"
        self.work.mkdir()
        (self.work / "a.c").write_text('#include "sub/../a.h"\nint f(void) { return A; }\n')
        (self.work / "real.h").write_text("#define A 1\n")
        (self.work / "a.h").symlink_to("real.h")
        (self.work / "sub").mkdir()
        (self.work / "bad.c").write_text("int f(void) { return 1 }\n")
        self.programs = cluster.cli("compat", "--path").stdout.strip()
        hosts = cluster.env.pop("MANYCC_HOSTS")
        self.cluster.env |= {"DISTCC_HOSTS": hosts, "DISTCC_DIR": str(folder / "none"), "HOME": str(folder)}

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run one of the programs in ``work``."""
        return subprocess.run(
            [f"{self.programs}/{words[0]}", *words[1:]], cwd=self.work, env={**self.cluster.env, **env},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=LIMIT_S,
        )  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("d")
    with Cluster(str(folder / "c"), nodes=1, env={"MANYCC_CONNECT_TIMEOUT": "20"}) as cluster:
        yield Place(cluster, folder)


def test_a_job_that_goes_well_says_nothing_but_in_its_log(place: Place) -> None:
    count = len(place.cluster.records())
    done = place.run("distcc", "gcc", "-c", "a.c", "-o", "a.o", DISTCC_FALLBACK="0", DISTCC_LOG="log")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert re.fullmatch(
        r"distcc\[\d+\] compile a\.c on 127\.0\.0\.1:\d+ completed ok\n", (place.work / "log").read_text()
    )
    (record,) = place.cluster.wait_records(count + 1)[count:]
    assert record["reason"] in ("remote", "cached")
    done = place.run("distcc", "-c", "a.c", DISTCC_VERBOSE="1")  # the compiler left out, no log: on stderr
    assert done.returncode == 0 and "completed ok" in done.stderr
    done = place.run("distcc", "gcc", "-c", "a.c", DISTCC_LOG="sub")
    assert done.returncode == 0 and "failed to open logfile" in done.stderr


def test_a_compile_error_is_the_compilers(place: Place) -> None:
    here = subprocess.run(["gcc", "-c", "bad.c"], cwd=place.work, capture_output=True, text=True, check=False)
    done = place.run("distcc", "gcc", "-c", "bad.c", DISTCC_FALLBACK="0")
    assert (done.returncode, done.stdout, done.stderr) == (here.returncode, "", here.stderr)


def test_hosts_that_are_down(place: Place) -> None:
    """Told, and done here; or neither done here, if that is what DISTCC_FALLBACK says. Links are done anyway."""
    dead = {"DISTCC_HOSTS": "127.0.0.1:9/2"}
    done = place.run("distcc", "gcc", "-c", "a.c", "-o", "b.o", **dead)
    assert done.returncode == 0 and (place.work / "b.o").exists()
    assert re.search(r"Warning: failed to distribute a\.c: .*; running locally instead", done.stderr)
    done = place.run("distcc", "gcc", "-c", "a.c", "-o", "c.o", DISTCC_FALLBACK="0", **dead)
    assert done.returncode == 116 and not (place.work / "c.o").exists()
    assert "ERROR: failed to distribute a.c" in done.stderr and "DISTCC_FALLBACK is 0" in done.stderr
    done = place.run("distcc", "gcc", "-shared", "-o", "x.so", "b.o", DISTCC_FALLBACK="0", **dead)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_message_goes_around_a_compiler_cache(place: Place) -> None:
    """ccache stores what a compiler writes to stderr, and names another descriptor for the rest."""
    read, write = os.pipe()
    with os.fdopen(read, "rb") as pipe:
        command = [f"{place.programs}/distcc", "gcc", "-c", "a.c"]
        env = {**place.cluster.env, "DISTCC_HOSTS": "", "UNCACHED_ERR_FD": str(write)}
        done = subprocess.run(
            command, cwd=place.work, env=env, pass_fds=[write], capture_output=True, check=False, timeout=LIMIT_S
        )
        os.close(write)
        assert (done.returncode, done.stderr) == (0, b"")
        assert re.search(rb"Warning.*\$DISTCC_HOSTS.*can't distribute work", pipe.read())


def test_the_same_job_called_as_manycc_says_nothing(place: Place) -> None:
    env = {"DISTCC_HOSTS": "127.0.0.1:9/2", "DISTCC_FALLBACK": "0", "DISTCC_LOG": "other-log"}
    done = place.cluster.compile(["gcc", "-c", "a.c"], str(place.work), env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert not (place.work / "other-log").exists()


@pytest.mark.parametrize("words", ["distcc distcc gcc", "distcc distcc", "distcc manycc gcc"])
def test_a_second_name_for_manycc_is_passed_over(place: Place, words: str) -> None:
    """CC="distcc gcc" together with a launcher of CMake's, or a prefix of ccache's."""
    (place.work / "second.o").unlink(missing_ok=True)
    count = len(place.cluster.records())
    done = place.run(*words.split(), "-c", "a.c", "-o", "second.o", PATH=f"{place.programs}:/usr/bin:/bin")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (place.work / "second.o").exists()
    (record,) = place.cluster.wait_records(count + 1)[count:]
    assert record["compiler"] in ("gcc", "cc") and record["reason"] in ("remote", "cached")


def test_a_node_that_comes_back_is_used_without_fallback(place: Place) -> None:
    """At once: the job asks again instead of failing, though the agent has just seen the node down."""
    (node,) = place.cluster.nodes
    try:
        node.stop()
        done = place.run("distcc", "gcc", "-c", "a.c", DISTCC_FALLBACK="0")
        assert done.returncode == 116
    finally:
        node.start()
    done = place.run("distcc", "gcc", "-c", "a.c", DISTCC_FALLBACK="0")
    assert (done.returncode, done.stderr) == (0, "")


def test_slots_are_those_the_node_offers(place: Place) -> None:
    host = place.cluster.env["DISTCC_HOSTS"].partition("/")[0]
    assert place.run("distcc", "-j", DISTCC_HOSTS=f"{host} localhost/3").stdout == "5\n"
    assert place.run("distcc", "-j", DISTCC_HOSTS="127.0.0.1:9").stdout == "4\n"  # as distcc counts


def test_the_files_of_a_job(place: Place) -> None:
    host = place.cluster.env["DISTCC_HOSTS"]
    done = place.run("distcc", "--scan-includes", "gcc", "-c", "a.c", DISTCC_HOSTS=f"{host},lzo,cpp")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert {f"FILE      {place.work}/a.c", f"FILE      {place.work}/real.h", f"SYMLINK   {place.work}/a.h"} <= set(
        lines
    )
    assert f"DIRECTORY {place.work}/sub" in lines
    assert "SYSTEMDIR /usr/include" in lines
    assert not [line for line in lines if line.startswith("FILE      /usr/include/")]
    done = place.run("distcc", "--scan-includes", "gcc", "-o", "a", "a.o", DISTCC_HOSTS=f"{host},lzo,cpp")
    assert done.returncode == 100 and "nothing would be sent" in done.stderr


def test_the_monitor_shows_a_compile_that_runs(place: Place) -> None:
    """The compiler reads a FIFO, so that it runs for as long as the test wants; such a job is local."""
    os.mkfifo(place.work / "slow.h")
    (place.work / "slow.c").write_text('#include "slow.h"\n')
    begun = threading.Event()

    def look() -> None:
        with (place.work / "slow.h").open("w") as fifo:  # opens when the compiler does
            begun.set()
            shown.append(place.run("distccmon-text").stdout)
            fifo.write("int x;\n")

    shown: list[str] = []
    thread = threading.Thread(target=look)
    thread.start()
    done = place.run("distcc", "gcc", "-E", "slow.c")
    thread.join()
    assert begun.is_set() and "int x;" in done.stdout
    assert re.search(r"^ *\d+  Compile +\S+ +localhost\[0\]$", shown[0], re.MULTILINE), shown
    assert place.run("distccmon-text").stdout.strip() == ""


def test_hosts_are_found_by_lsdistcc(place: Place) -> None:
    port = place.cluster.nodes[0].port
    done = place.run("lsdistcc", f"-r{port}", "-k60000", "-t60", "-P2", "-pgcc", "127.0.0.1")
    assert (done.stdout, done.stderr, done.returncode) == (f"127.0.0.1:{port},lzo\n", "", 0)
    done = place.run("lsdistcc", f"-r{port}", "-k60000", "-t60", "-v", "-pnosuchcc", "127.0.0.1")
    assert (done.stdout, done.returncode) == ("", 1) and "no working nosuchcc" in done.stderr


def test_masquerading_as_distcc_does_it(place: Place, tmp_path: Path) -> None:
    """A folder like /usr/lib/distcc/bin in front of PATH: gcc is distcc, with all its conventions."""
    folder = tmp_path / "lib/distcc/bin"
    place.cluster.cli("compat", "--masquerade", str(folder))
    env = {**place.cluster.env, "PATH": f"{folder}:{os.environ['PATH']}", "DISTCC_FALLBACK": "0"}
    command = "gcc -c a.c -o m.o && DISTCC_HOSTS=127.0.0.1:9 gcc -c a.c -o n.o"
    done = subprocess.run(
        command, shell=True, cwd=place.work, env=env, capture_output=True, text=True, check=False, timeout=LIMIT_S
    )
    assert done.returncode == 116 and (place.work / "m.o").exists() and not (place.work / "n.o").exists()
    assert done.stderr.count("failed to distribute") == 1
