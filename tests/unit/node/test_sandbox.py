"""What a program can do that runs where a compiler should: a shell, in the sandbox of a job."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manycc.errors import ConfigError
from manycc.job import FILE, LINK
from manycc.node import tree
from manycc.node.options import NodeOptions
from manycc.node.process import OOM_SCORE, Child, Finished
from manycc.node.sandbox import Sandbox, find_sandbox
from manycc.node.staging import Root, Workplace
from manycc.node.tree import Entry
from manycc.store.store import Store
from manycc.toolchain import elf
from manycc.toolchain.paths import walk

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="NOT TESTED: needs bwrap")
PROGRAMS = ("sh", "cat", "ls", "id", "touch", "ln", "chmod", "mkdir", "sleep", "dd", "env", "setsid")


class Box:
    """A sandbox with a shell and a few programs in it, and /w to write into."""

    def __init__(self, folder: str, **options: Any) -> None:
        self.store = Store(os.path.join(folder, "store"))
        self.options = NodeOptions(store=self.store.root, slots=2, **options)
        self.sandbox = asyncio.run(find_sandbox(self.options))
        entries: dict[str, Entry] = {}
        for name in PROGRAMS:
            path = shutil.which(name)
            assert path is not None
            needed, _ = asyncio.run(elf.libraries(walk(path)[0]))
            for part in (path, *needed):
                real, links = walk(part)
                with open(real, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").digest()
                self.store.add_file(real, digest, executable=True)
                entries[real] = Entry(FILE, real, digest, 1, executable=True)
                entries.update({place: Entry(LINK, place, target=target) for place, target in links})
        data = b"secret of nobody\n"
        entries["/i/h.h"] = Entry(FILE, "/i/h.h", self.store.add_bytes(data), len(data))
        entries["/w/mine.h"] = Entry(FILE, "/w/mine.h", self.store.add_bytes(data), len(data))
        self.header = (
            f"{self.store.root}/blobs/{hashlib.sha256(data).hexdigest()[:2]}/{hashlib.sha256(data).hexdigest()}"
        )
        self.tree = tree.build(tree.empty(), entries.values(), ["/w"])
        self.root = Root(self.store)
        self.root.become(self.tree)

    def run(
        self, script: str, *, before: tuple[str, ...] = (), kill_after: str = "", processes: int = 4096
    ) -> Finished:
        """Run a script in the sandbox, in /w. ``kill_after``: kill it when this file appears in /w."""
        workplace = Workplace(self.store)
        workplace.prepare(self.root, self.tree, ["/w"])
        if before:
            for path, folders, files in os.walk(workplace.path):
                for name in (path, *(os.path.join(path, name) for name in folders + files)):
                    os.chown(name, 65534, 65534)
        line = [
            *before,
            *self.sandbox.command(
                self.root.path, workplace.mounts, "/w", ["sh", "-c", script], self.options, processes
            ),
        ]
        self.written = workplace.folders[0][1]

        async def body() -> Finished:
            child = Child(line, {"PATH": "/usr/bin:/bin"}, 0o22, text_limit=100_000, time_limit=20)
            if kill_after:
                while not os.path.exists(f"{self.written}/{kill_after}"):
                    assert not child.finished.done(), await child.finished
                    await asyncio.sleep(0)
                child.kill("cancel")
            return await child.finished

        try:
            return asyncio.run(body())
        finally:
            workplace.remove()


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    made = Box(str(tmp_path_factory.mktemp("box")))
    assert made.sandbox.kind == "bubblewrap"
    yield made
    made.root.remove()
    made.store.close()


def test_it_sees_its_tree_and_nothing_else(box: Box) -> None:
    done = box.run("ls -a / ; cat /i/h.h; ls /home /root /etc /var /sys 2>/dev/null; ls /tmp; ls /dev")
    words = done.stdout.decode().split()
    assert set(words) <= {
        ".", "..", "dev", "i", "lib", "lib64", "bin", "proc", "tmp", "usr", "w", "secret", "of", "nobody", "null",
        "zero", "full", "urandom",
    }  # fmt: skip
    assert {"i", "w", "secret"} <= set(words)


def test_it_cannot_write_outside_its_folder(box: Box) -> None:
    before = open_and_read(box.header)
    for command in (
        "echo x > /i/h.h", "echo x >> /i/h.h", "rm -f /i/h.h", "chmod 777 /i/h.h", "touch /x", "touch /i/x",
        "mkdir /usr/x",
        "ln /i/h.h /w/h.h", "echo x > /usr/bin/sh", "touch /dev/x", "touch /proc/x",
    ):  # fmt: skip
        assert box.run(f"{command} 2>&1").exit_code != 0, command
    assert open_and_read(box.header) == before
    assert stat.S_IMODE(os.stat(box.header).st_mode) == 0o444
    assert box.run("echo x > /w/y && echo x > /tmp/y && cat /w/y /tmp/y").stdout == b"x\nx\n"


def test_its_own_copies_are_its_own(box: Box) -> None:
    before = open_and_read(box.header)
    done = box.run("chmod 666 mine.h; echo evil > mine.h; cat mine.h")
    assert done.stdout == b"evil\n"
    assert open_and_read(box.header) == before
    assert box.run("cat mine.h").stdout == before


def test_it_has_no_network_and_no_other_processes(box: Box) -> None:
    done = box.run("cat /proc/net/dev; cat /proc/net/route; ls -d /proc/[0-9]*")
    text = done.stdout.decode()
    interfaces = [line.split(":")[0].strip() for line in text.splitlines() if ":" in line]
    assert interfaces in ([], ["lo"])
    assert len([line for line in text.splitlines() if line.startswith("/proc/")]) <= 2


def test_it_has_no_rights(box: Box) -> None:
    text = box.run("while read l; do echo $l; done < /proc/self/status").stdout.decode()
    caps = {line.split()[0]: line.split()[1] for line in text.splitlines() if line.startswith("Cap")}
    assert int(caps["CapEff:"], 16) == int(caps["CapPrm:"], 16) == int(caps["CapBnd:"], 16) == 0
    assert "NoNewPrivs: 1" in text


def test_it_is_killed_before_the_node_where_memory_runs_out(box: Box) -> None:
    mine = int(Path("/proc/self/oom_score_adj").read_text())
    done = box.run("cat /proc/self/oom_score_adj")
    assert int(Path("/proc/self/oom_score_adj").read_text()) == mine
    assert int(done.stdout) == OOM_SCORE > mine, done


def test_its_environment_is_what_it_was_given(box: Box) -> None:
    assert set(box.run("env").stdout.split()) <= {
        b"PATH=/usr/bin:/bin",
        b"PWD=/w",
        b"SHLVL=0",
        b"_=/usr/bin/env",
        b"OLDPWD=/",
    }


def test_nothing_outlives_it(box: Box) -> None:
    marker = "77.7" + str(time.time_ns())[-6:]
    done = box.run(f"sleep {marker} & setsid sleep {marker} & touch up; exit 0")
    assert done.exit_code == 0
    assert running(marker) == []
    done = box.run(f"sleep {marker} & setsid sleep {marker} & touch up; sleep {marker}", kill_after="up")
    assert done.stopped == "cancel"
    assert running(marker) == []


def test_what_it_used_is_counted(box: Box) -> None:
    done = box.run("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
    assert done.exit_code == 0
    assert 0.02 < done.cpu <= done.wall + 0.05
    assert done.rss > 500_000


def test_exit_codes_and_signals(box: Box) -> None:
    assert box.run("exit 7").exit_code == 7
    done = box.run("sh -c 'kill -9 $$'; exit $?")
    assert (done.exit_code, done.signal) == (137, 9)


def test_it_cannot_write_or_say_too_much(tmp_path_factory: pytest.TempPathFactory) -> None:
    box = Box(str(tmp_path_factory.mktemp("tight")), job_output=1 << 20)
    done = box.run("dd if=/dev/zero of=big bs=1048576 count=3 2>/dev/null; ls -l big")
    assert b" 1048576 " in done.stdout or done.signal
    assert box.run("dd if=/dev/zero of=/tmp/big bs=65536 count=64 2>/dev/null").exit_code != 0
    assert box.run("while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done").stopped == "text"
    box.root.remove()
    box.store.close()


def test_time_is_bounded(tmp_path_factory: pytest.TempPathFactory) -> None:
    box = Box(str(tmp_path_factory.mktemp("short")), job_time=1)
    done = box.run("sh -c 'while :; do :; done'")
    assert done.exit_code != 0 and done.cpu < 3
    box.root.remove()
    box.store.close()


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="NOT TESTED: must be able to become another user"
)
def test_a_fork_bomb_is_bounded() -> None:
    """As an ordinary user: the kernel does not bound root's processes."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        box = Box(folder)
        for path in (box.store.root, *(p for p, _, _ in os.walk(f"{box.store.root}/tmp"))):
            os.chmod(path, 0o755)
        as_nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        script = "touch a; n=0; while [ $n -lt 200 ]; do n=$((n+1)); sleep 30 & done; echo all"
        bounded = box.run(script, before=as_nobody, processes=40)
        assert b"all" not in bounded.stdout and bounded.exit_code != 0
        assert b"fork" in bounded.stderr.lower()
        box.root.remove()
        box.store.close()


def test_a_required_sandbox_that_is_missing(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "bwrap" else real(name))
    options = NodeOptions(store=str(tmp_path), sandbox="required")
    with pytest.raises(ConfigError):
        asyncio.run(find_sandbox(options))
    found = asyncio.run(find_sandbox(NodeOptions(store=str(tmp_path))))
    assert found.kind == "folder" and found.why
    assert isinstance(found, Sandbox)


def open_and_read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def running(marker: str) -> list[str]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    if marker.encode() in file.read().split(b"\0"):
                        found.append(name)
            except OSError:
                continue
    return found
