"""What survives a restart, and what a damaged database does."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys

import pytest
from inputs_support import Client

from manycc.inputs.shelf import Shelves
from manycc.testing.fileview import Tree, settled_view

HEAVY = "#include <stdio.h>\n#define S(x) #x\n#include S(x.h)\n#define D <y.h>\n#include D\n"
C = ("gcc", "-I.", "-c", "a.c")


class Restarts:
    """Clients over one tree, one after the other."""

    def __init__(self, folder: str) -> None:
        self.tree = Tree(f"{folder}/tree", {"a.c": HEAVY, "x.h": "", "y.h": ""})
        self.files = f"{folder}/state/files.sqlite"
        self.answers = f"{folder}/state/answers.sqlite"

    def client(self) -> Client:
        return Client(self.tree, settled_view(self.files), self.answers)

    @staticmethod
    def stop(client: Client) -> None:
        client.collector.close()
        client.view.close()


@pytest.fixture
def restarts(tmp_path: object) -> Restarts:
    return Restarts(str(tmp_path))


def test_warm_build_after_a_restart_only_stats(restarts: Restarts, monkeypatch: pytest.MonkeyPatch) -> None:
    first = restarts.client()
    manifest = first.collect(*C)
    assert first.collector.asked == 1
    restarts.stop(first)

    second = restarts.client()

    async def no_process(*_: object, **__: object) -> object:
        raise AssertionError("a compiler was run")

    monkeypatch.setattr("asyncio.create_subprocess_exec", no_process)
    again = second.collect(*C)
    assert (second.view.contents.reads, second.view.contents.scans, second.collector.asked) == (0, 0, 0)
    assert {(item.path, item.digest) for item in again.inputs.items} == {
        (item.path, item.digest) for item in manifest.inputs.items
    }
    assert again.inputs.how == "scan+M"
    restarts.stop(second)


def test_what_changed_meanwhile_is_read_again(restarts: Restarts) -> None:
    first = restarts.client()
    first.collect(*C)
    restarts.stop(first)
    restarts.tree.write("x.h", '#include "z.h"\n')
    restarts.tree.write("z.h", "")
    second = restarts.client()
    assert second.names(second.collect(*C)) == {"a.c", "x.h", "y.h", "z.h"}
    assert (second.view.contents.scans, second.collector.asked) == (1, 1)  # z.h holds what y.h holds
    restarts.stop(second)


@pytest.mark.parametrize("damage", ["garbage", "cut", "zeros in the middle", "folder", "read-only text"])
def test_damaged_database_is_replaced(restarts: Restarts, damage: str) -> None:
    first = restarts.client()
    expected = first.names(first.collect(*C))
    restarts.stop(first)
    for path in (restarts.files, restarts.answers):
        with open(path, "rb") as file:
            data = file.read()
        if damage == "garbage":
            data = b"not a database" * 1000
        elif damage == "cut":
            data = data[: len(data) // 2]
        elif damage == "zeros in the middle":
            data = data[:4096] + bytes(len(data) - 4096)
        elif damage == "read-only text":
            data = b"SQLite format 3\0" + b"x" * 5000
        os.unlink(path)
        if damage == "folder":
            os.mkdir(path)
        else:
            with open(path, "wb") as file:
                file.write(data)
    second = restarts.client()
    assert second.names(second.collect(*C)) == expected
    restarts.stop(second)
    assert second.view.warning
    third = restarts.client()
    assert third.names(third.collect(*C)) == expected
    restarts.stop(third)
    if damage != "folder":
        assert third.view.warning == ""
        assert third.view.contents.reads == 0


def test_rotten_value_is_not_believed(tmp_path: object) -> None:
    path = f"{tmp_path}/x.sqlite"
    shelves = Shelves(path, {"s": 10})
    shelves.put("s", b"key", b"value")
    shelves.close()
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE s SET value = ? WHERE key = ?", (b"\0\0\0\0wrong", b"key"))
    database.close()
    shelves = Shelves(path, {"s": 10})
    assert shelves.get("s", b"key") is None
    shelves.close()


def test_shelf_is_bounded_and_keeps_what_was_used_last(tmp_path: object) -> None:
    path = f"{tmp_path}/x.sqlite"
    shelves = Shelves(path, {"s": 100})
    for number in range(100):
        shelves.put("s", b"%d" % number, b"old")
    shelves.close()
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE s SET used = used - 3")
    database.close()
    shelves = Shelves(path, {"s": 100})
    assert shelves.get("s", b"7") == b"old"
    for number in range(100, 120):
        shelves.put("s", b"%d" % number, b"new")
    shelves.close()
    shelves = Shelves(path, {"s": 100})
    kept = [number for number in range(120) if shelves.get("s", b"%d" % number) is not None]
    assert len(kept) <= 100
    assert {7, *range(100, 120)} <= set(kept)
    shelves.close()


def test_two_processes_share_a_database(tmp_path: object) -> None:
    path = f"{tmp_path}/x.sqlite"
    one = Shelves(path, {"s": 100})
    two = Shelves(path, {"s": 100})
    one.put("s", b"a", b"1")
    one.flush()
    two.put("s", b"b", b"2")
    two.flush()
    assert two.get("s", b"a") == b"1"
    assert one.get("s", b"b") == b"2"
    assert one.warning == two.warning == ""
    one.close()
    two.close()


def test_lock_held_by_another_is_waited_out(tmp_path: object) -> None:
    path = f"{tmp_path}/x.sqlite"
    shelves = Shelves(path, {"s": 100})
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    shelves.put("s", b"a", b"1")
    shelves.flush()
    assert shelves.dirty
    assert shelves.get("s", b"a") == b"1"
    other.rollback()
    other.close()
    shelves.flush()
    assert not shelves.dirty
    shelves.close()


def test_database_survives_kill(tmp_path: object) -> None:
    path = f"{tmp_path}/x.sqlite"
    program = (
        "import os, signal\nfrom manycc.inputs.shelf import Shelves\n"
        f"shelves = Shelves({path!r}, {{'s': 1000}})\n"
        "for number in range(500): shelves.put('s', b'%d' % number, b'x' * 500)\n"
        "shelves.flush()\nshelves.put('s', b'lost', b'')\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": os.pathsep.join(sys.path)}, check=False)
    assert done.returncode == -signal.SIGKILL
    shelves = Shelves(path, {"s": 1000})
    assert shelves.warning == ""
    assert all(shelves.get("s", b"%d" % number) == b"x" * 500 for number in range(500))
    shelves.close()


def test_folder_that_cannot_be_made_is_done_without(tmp_path: object) -> None:
    with open(f"{tmp_path}/file", "wb"):
        pass
    shelves = Shelves(f"{tmp_path}/file/x.sqlite", {"s": 10})
    shelves.put("s", b"a", b"1")
    shelves.flush()
    assert shelves.warning
    assert shelves.get("s", b"a") is None
    shelves.close()
