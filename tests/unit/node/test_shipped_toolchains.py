"""Toolchains that agents send: what is kept of them, and how their files arrive."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from manycc.errors import BackendRefused, WireError
from manycc.job import Toolchain, ToolFile, Way
from manycc.node import arrivals as arrivals_module
from manycc.node import delivery as delivery_module
from manycc.node import manifests as manifests_module
from manycc.node.arrivals import Arrivals, Part
from manycc.node.delivery import Delivery
from manycc.node.manifests import Manifest, Manifests
from manycc.node.messages import About, Blob, ToolchainMessage
from manycc.node.options import NodeOptions
from manycc.node.service import Node as ServiceNode
from manycc.node.shipped import part_fault, trial
from manycc.node.shipping import INSTALLED_ONLY, Shipping
from manycc.node.toolchains import Served
from manycc.store.store import Store
from manycc.toolchain.identity import fingerprint
from manycc.toolchain.machines import this_host
from manycc.wire import native

MIB = 1024 * 1024
DEFAULTS = b"d" * 32


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(str(tmp_path / "store"), 64 * MIB)
    yield made
    made.close()


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await body()

    asyncio.run(bounded())


def tool(name: str, content: bytes) -> ToolFile:
    return ToolFile(f"/usr/lib/{name}", hashlib.sha256(content).digest(), len(content))


def manifest(*files: ToolFile, label: str = "gcc 12") -> Manifest:
    return Manifest(fingerprint(files, DEFAULTS), "gcc", "x86-64", files[0].path, label, DEFAULTS, files)


# -- lists


def test_a_list_is_kept_and_found_again(store: Store) -> None:
    kept = manifest(tool("\udcff.so", b"a"), tool("b.so", b"bb"))
    Manifests(store).add(kept)
    assert Manifests(store).get(kept.fingerprint) == kept
    assert Manifests(store).get("f" * 64) is None
    assert Manifests(store).get("../../etc/passwd") is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-9],
        lambda text: text.replace("x86-64", "x86-64\\u0000").replace("/usr/lib/b.so", "/usr/lib/c.so"),
        lambda text: "[]",
        lambda text: "",
        lambda text: text.replace('"gcc"', '"sh"'),
        lambda text: text.replace("/usr/lib/b.so", "../b.so"),
        lambda text: text.replace("/usr/lib/b.so", "/usr/lib/\\ud800.so"),
        lambda text: text.replace(", 2]", ", Infinity]"),
    ],
    ids=["torn", "path", "array", "empty", "kind", "relative", "surrogate", "infinite"],
)
def test_a_list_that_was_damaged_is_forgotten(store: Store, spoil: Callable[[str], str]) -> None:
    kept = manifest(tool("a.so", b"a"), tool("b.so", b"bb"))
    known = Manifests(store)
    known.add(kept)
    path = Path(known.folder, f"{kept.fingerprint}.json")
    path.write_text(spoil(path.read_text()))
    assert known.get(kept.fingerprint) is None
    assert not path.exists()


def test_what_nobody_uses_is_given_up_with_what_only_it_needs(store: Store) -> None:
    shared, own = os.urandom(100), os.urandom(200)
    old = manifest(tool("a.so", shared), tool("b.so", own), label="old")
    new = manifest(tool("a.so", shared), label="new")
    source = Path(store.root, "source")
    for content in (shared, own):
        source.write_bytes(content)
        store.add_file(str(source), hashlib.sha256(content).digest(), executable=True)
    known = Manifests(store)
    known.add(old)
    known.add(new)
    assert known.retire() == []
    past = 31 * 86400
    path = os.path.join(known.folder, f"{old.fingerprint}.json")
    os.utime(path, (os.stat(path).st_mtime - past,) * 2)
    assert [one.label for one in known.retire()] == ["old"]
    assert known.get(old.fingerprint) is None and known.get(new.fingerprint) == new
    assert store.has(hashlib.sha256(shared).digest(), executable=True)
    assert not store.has(hashlib.sha256(own).digest(), executable=True)


def test_toolchains_in_use_stay(store: Store) -> None:
    kept = manifest(tool("a.so", b"a"))
    known = Manifests(store)
    known.add(kept)
    path = os.path.join(known.folder, f"{kept.fingerprint}.json")
    os.utime(path, (1, 1))
    known.used(kept.fingerprint)
    assert known.retire() == [] and known.get(kept.fingerprint) == kept


def test_there_are_not_too_many(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests_module, "MAX_KEPT", 3)
    known = Manifests(store)
    for number in range(5):
        one = manifest(tool(f"{number}.so", b"a"), label=str(number))
        known.add(one)
        os.utime(os.path.join(known.folder, f"{one.fingerprint}.json"), (2e9 + number,) * 2)
    assert len(list(Path(known.folder).glob("*.json"))) == 3
    large = tuple(ToolFile(f"/usr/lib/{number}.so", bytes([number]) * 32, 20 * MIB) for number in range(1))
    for number in range(3):  # more than half the store together
        known.add(manifest(*large, tool(f"x{number}.so", b"a"), label=f"large {number}"))
    labels = [one.label for path in Path(known.folder).glob("*.json") if (one := known.get(path.stem))]
    assert sum(label.startswith("large") for label in labels) == 1


# -- contents


class Sender:
    """An agent that sends what it is asked for through a ``Delivery``, in small pieces."""

    def __init__(self, contents: Sequence[bytes], piece: int = 1000) -> None:
        self.contents = {hashlib.sha256(content).digest(): content for content in contents}
        self.asked: list[tuple[bytes, int]] = []
        self.stop_after = 1 << 40
        self.delivery = Delivery(3, self.hear)
        self._piece = piece
        self._tasks: list[asyncio.Task[None]] = []

    def hear(self, message: list[Any]) -> None:
        assert message[:2] == [native.MISSING, native.SHIPPED | 3]
        self.asked += zip(message[2], message[3], strict=True)
        self._tasks.append(asyncio.ensure_future(self._send(list(zip(message[2], message[3], strict=True)))))

    async def _send(self, wanted: list[tuple[bytes, int]]) -> None:
        for digest, offset in wanted:
            content = self.contents[digest]
            for start in range(offset, len(content), self._piece) if content else (0,):
                if self.stop_after <= 0:
                    return
                piece = content[start : start + self._piece]
                self.stop_after -= len(piece)
                blob = Blob(digest, len(content), start, piece)
                assert self.delivery.takes(blob)
                self.delivery.receive(blob)
                await asyncio.sleep(0)


def tools(*contents: bytes) -> list[ToolFile]:
    return [tool(f"lib{number}.so", content) for number, content in enumerate(contents)]


def test_what_has_come_is_not_asked_for_again(store: Store) -> None:
    async def body() -> None:
        contents = [os.urandom(5000), os.urandom(7000), b""]
        files = tools(*contents)
        first = Sender(contents)
        first.stop_after = 8000
        arrivals = Arrivals(store)
        fetch = asyncio.create_task(arrivals.fetch(files, first.delivery))
        while first.stop_after > 0:
            await asyncio.sleep(0.001)
        fetch.cancel()
        await asyncio.gather(fetch, return_exceptions=True)
        assert first.delivery.silence() == 0.0
        arrivals.close()
        second = Sender(contents)
        arrivals = Arrivals(store)
        await arrivals.fetch(files, second.delivery)
        assert dict(second.asked) == {files[1].digest: 3000, files[2].digest: 0}
        assert second.delivery.received == 4000
        for file, content in zip(files, contents, strict=True):
            with store.open(file.digest, executable=True) as there:
                assert there.read() == content
        assert os.listdir(arrivals.folder) == []
        arrivals.close()

    run(body)


def test_a_beginning_that_was_damaged_is_sent_anew(store: Store) -> None:
    async def body() -> None:
        content = os.urandom(5000)
        (file,) = tools(content)
        arrivals = Arrivals(store)
        Path(arrivals.folder, file.digest.hex()).write_bytes(bytes(2000))
        sender = Sender([content])
        await arrivals.fetch([file], sender.delivery)
        assert [offset for _, offset in sender.asked] == [2000, 0]
        # One that had come whole before the node was ended is taken as it is; one that is too long is not.
        for kept, offsets in ((b"x" * 3000, []), (b"y" * 3001, [0])):
            (other,) = tools(kept[:3000])
            Path(arrivals.folder, other.digest.hex()).write_bytes(kept)
            sender = Sender([kept[:3000]])
            await arrivals.fetch([other], sender.delivery)
            assert [offset for _, offset in sender.asked] == offsets
        arrivals.close()

    run(body)


def test_two_who_need_the_same_share_it(store: Store) -> None:
    async def body() -> None:
        contents = [os.urandom(50_000), os.urandom(9000)]
        files = tools(*contents)
        first, second = Sender(contents), Sender(contents)
        arrivals = Arrivals(store)
        begun = asyncio.create_task(arrivals.fetch(files[:1], first.delivery))
        while not first.asked:
            await asyncio.sleep(0.001)
        await asyncio.gather(begun, arrivals.fetch(files, second.delivery))
        assert len(first.asked) == 1
        assert [digest for digest, _ in second.asked] == [files[1].digest]
        arrivals.close()

    run(body)


def test_if_one_is_lost_the_other_goes_on(store: Store) -> None:
    async def body() -> None:
        content = os.urandom(50_000)
        files = tools(content)
        first, second = Sender([content]), Sender([content])
        first.stop_after = 20_000
        arrivals = Arrivals(store)
        lost = asyncio.create_task(arrivals.fetch(files, first.delivery))
        while first.stop_after > 0:
            await asyncio.sleep(0.001)
        other = asyncio.create_task(arrivals.fetch(files, second.delivery))
        await asyncio.sleep(0.05)  # it may come to wait for the first, or not
        lost.cancel()
        await other
        assert [offset for _, offset in second.asked] == [20_000]
        arrivals.close()

    run(body)


def test_who_takes_too_long_does_not_keep_others_waiting(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        content = os.urandom(50_000)
        files = tools(content)
        slow, other = Sender([content]), Sender([content])
        slow.stop_after = 20_000
        arrivals = Arrivals(store)
        monkeypatch.setattr(delivery_module, "BRING_S", 0.3)
        first = asyncio.create_task(arrivals.fetch(files, slow.delivery))
        while not slow.asked:
            await asyncio.sleep(0.001)
        monkeypatch.setattr(delivery_module, "BRING_S", 30.0)
        await arrivals.fetch(files, other.delivery)
        assert [offset for _, offset in other.asked] == [20_000]
        with pytest.raises(BackendRefused) as raised:
            await first
        assert "did not come within" in raised.value.detail and "is kept" in raised.value.detail
        arrivals.close()

    run(body)


def test_a_disk_that_becomes_full(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        contents = [os.urandom(5000), os.urandom(5000)]
        arrivals = Arrivals(store)
        real = os.pwrite

        def full(fd: int, data: bytes, offset: int) -> int:
            if offset >= 3000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(fd, data, offset)

        monkeypatch.setattr(os, "pwrite", full)
        sender = Sender(contents)
        sender.stop_after = 3001
        with pytest.raises(BackendRefused) as raised:
            await arrivals.fetch(tools(*contents), sender.delivery)
        assert "the store's disk is full" in raised.value.detail
        assert os.listdir(arrivals.folder) == []
        arrivals.close()

    run(body)


def _begun(arrivals: Arrivals, content: bytes, age: float = 0.0) -> Path:
    """A file of which something has come, so many seconds ago."""
    path = Path(arrivals.folder, hashlib.sha256(content).hexdigest())
    path.write_bytes(content)
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_what_was_begun_and_left_does_not_pile_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        arrivals = Arrivals(store)
        monkeypatch.setattr(arrivals_module, "MAX_PARTIAL", 3)
        left = [_begun(arrivals, b"%d" % number, 10.0 * number) for number in range(5)]
        old = _begun(arrivals, b"old", arrivals_module.KEEP_S + 5)
        content = os.urandom(5000)
        await arrivals.fetch(tools(content), Sender([content]).delivery)
        assert [path.exists() for path in left] == [True, True, True, False, False]
        assert not old.exists()
        for number in range(3):  # large ones make room for what comes: together they may fill half the store
            _begun(arrivals, b"%d large" % number, 100.0 - number).write_bytes(bytes(15 * MIB))
        content = os.urandom(5000)
        await arrivals.fetch(tools(content), Sender([content]).delivery)
        assert sum(path.stat().st_size for path in Path(arrivals.folder).iterdir()) <= 32 * MIB
        arrivals.close()

    run(body)


def test_what_is_entered_while_room_is_made(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread gives files their names in the store while the folder is looked through for another toolchain."""

    async def body() -> None:
        arrivals = Arrivals(store)
        going = _begun(arrivals, b"another's")
        real = arrivals_module.listed

        def late(path: str) -> list[os.DirEntry[str]]:
            entries = real(path)
            going.unlink(missing_ok=True)
            return entries

        monkeypatch.setattr(arrivals_module, "listed", late)
        content = os.urandom(5000)
        await arrivals.fetch(tools(content), Sender([content]).delivery)
        arrivals.close()

    run(body)


def test_what_is_too_large_is_not_asked_for(store: Store) -> None:
    async def body() -> None:
        arrivals = Arrivals(store)
        huge = ToolFile("/usr/lib/huge.so", b"h" * 32, 33 * MIB)
        with pytest.raises(BackendRefused) as raised:
            await arrivals.fetch([huge], Sender([]).delivery)
        assert raised.value.detail == "its 33 MiB do not fit into half of this node's store (32 MiB) now"
        arrivals.close()

    run(body)


@pytest.mark.parametrize(
    ("total", "offset", "data"), [(9, 0, b"a"), (10, 1, b"a"), (10, 0, b""), (10, 0, b"a" * 11)],
    ids=["size", "gap", "empty", "long"],
)  # fmt: skip
def test_pieces_that_do_not_fit(store: Store, tmp_path: Path, total: int, offset: int, data: bytes) -> None:
    async def body() -> None:
        part = Part(ToolFile("/usr/lib/a.so", b"d" * 32, 10), store, str(tmp_path))
        with pytest.raises(WireError):
            part.write(Blob(part.digest, total, offset, data))
        part.close()

    run(body)


def test_a_second_node_of_one_store_keeps_out_of_the_way(store: Store) -> None:
    first, second = Arrivals(store), Arrivals(store)
    assert first.folder != second.folder and second.folder.startswith(store.scratch.path)
    first.close()
    second.close()


# -- what is taken at all


class NoRuns:
    """Nothing may be run."""

    async def run(self, plan: object, owner: object, fetch: object) -> Any:
        raise AssertionError(plan)


@pytest.mark.parametrize(
    ("change", "forbidden", "why"),
    [
        ({}, "not today", "no gcc here; not today"),
        ({"host": "m68k"}, "", "no gcc here; it cannot be sent: it runs on m68k, and this node is "),
        ({"host": ""}, "", "no gcc here; it cannot be sent: what it is, or runs on, is not known"),
        ({"kind": "tcc"}, "", "no gcc here; it cannot be sent: what it is, or runs on, is not known"),
    ],
    ids=["forbidden", "host", "unknown", "kind"],
)
def test_what_is_not_even_wanted(store: Store, change: dict[str, str], forbidden: str, why: str) -> None:
    async def body() -> None:
        shipping = Shipping(store, NoRuns(), forbidden)
        about = About(**{"kind": "gcc", "host": this_host(), "facts": {}, "size": 1, **change})  # type: ignore[arg-type]
        message = ToolchainMessage(1, "f" * 64, "/usr/bin/gcc", "gcc 12", (), {}, about)
        sender = Sender([])
        with pytest.raises(BackendRefused) as raised:
            await shipping.serve(message, sender.delivery, "no gcc here")
        assert raised.value.detail.startswith(why)
        shipping.close()

    run(body)


def test_an_administrator_may_change_his_mind(tmp_path: Path) -> None:
    async def body() -> None:
        options = NodeOptions(store=str(tmp_path / "node"), port=0)
        node = ServiceNode(options, lambda path: b"")
        await node.start()
        try:
            shipping = node.toolchains.shipping
            assert shipping is not None
            before = shipping.forbidden
            node.reconfigure(dataclasses.replace(options, toolchains="installed-only"))
            assert shipping.forbidden == INSTALLED_ONLY
            files = tuple(tools(b"a"))
            own = Toolchain("f" * 64, files[0].path, "gcc", "", "", "gcc 12", files, (), {})
            message = ToolchainMessage(1, "f" * 64, files[0].path, "gcc 12", (), {}, About("gcc", "x", {}, 1))
            served = Served(own, message, files[0].path, Way.SHIPPED)
            with pytest.raises(BackendRefused) as raised:
                await node.toolchains.check(served)
            assert raised.value.detail == INSTALLED_ONLY
            node.reconfigure(options)
            assert shipping.forbidden == before
            if not before:
                await node.toolchains.check(served)
            with pytest.raises(BackendRefused, match="compiler") as raised:
                await node.toolchains.fill(served)
            assert raised.value.detail == "it was sent here, but had to make room in the store"
        finally:
            await node.stop()

    run(body)


def test_what_is_on_its_way_is_stopped_where_it_is_forbidden(store: Store) -> None:
    async def body() -> None:
        shipping = Shipping(store, NoRuns())
        content = b"\x7fELF" + os.urandom(50_000)
        message, files, sender = _asked_for(content)
        sender.stop_after = 20_000
        served = asyncio.create_task(shipping.serve(message, sender.delivery, "no gcc here"))
        while sender.stop_after > 0:
            await asyncio.sleep(0.001)
        shipping.forbid("not any more")
        with pytest.raises(BackendRefused) as raised:
            await served
        assert raised.value.detail == "not any more"
        with pytest.raises(BackendRefused, match="compiler"):
            await shipping.serve(message, sender.delivery, "")
        with pytest.raises(BackendRefused):  # nor if another agent was bringing it
            await sender.delivery.bring([])
        assert not store.has(files[0].digest, executable=True)
        shipping.close()

    run(body)


def test_sizes_that_are_not_those_of_files_that_are_here_already(store: Store, tmp_path: Path) -> None:
    """Believed, they would make all other toolchains give way."""

    async def body() -> None:
        shipping = Shipping(store, NoRuns())
        content = Path("/proc/self/exe").read_bytes()[:5000]
        (tmp_path / "gcc").write_bytes(content)
        store.add_file(str(tmp_path / "gcc"), hashlib.sha256(content).digest(), executable=True)
        message, _, sender = _asked_for(content, size=30 * MIB)
        with pytest.raises(BackendRefused) as raised:
            await shipping.serve(message, sender.delivery, "")
        assert raised.value.detail == "/usr/bin/gcc is not as large as was said"
        assert sender.asked == [] and not list(Path(store.root, "shipped").glob("*.json"))
        shipping.close()

    run(body)


def _asked_for(content: bytes, size: int | None = None) -> tuple[ToolchainMessage, tuple[ToolFile, ...], Sender]:
    """A toolchain of one file, and an agent that lists it when it is asked, and sends it."""
    size = len(content) if size is None else size
    files = (ToolFile("/usr/bin/gcc", hashlib.sha256(content).digest(), size),)
    about = About("gcc", this_host(), {}, size)
    name = fingerprint(files, DEFAULTS)
    message = ToolchainMessage(3, name, "/usr/bin/gcc", "gcc 12", (), {"defaults": DEFAULTS}, about)
    sender = Sender([content])
    hear = sender.hear

    def listing(said: list[Any]) -> None:
        if said[0] == native.WANTED:
            asyncio.get_running_loop().call_soon(sender.delivery.list_came, files)
        else:
            hear(said)

    sender.delivery = Delivery(3, listing)
    return message, files, sender


# -- what a part is


def test_parts_are_programs_of_the_host_or_data_at_known_places() -> None:
    with open("/proc/self/exe", "rb") as file:
        program = file.read(64)
    host = this_host()
    assert part_fault("/usr/bin/as", program, host) == ""
    assert part_fault("/usr/bin/as", program, "sparc") == f"/usr/bin/as is for {host}, not for sparc"
    assert part_fault("/usr/bin/as", b"#!/bin/sh", host) == "/usr/bin/as is no program"
    assert part_fault("/usr/bin/as", program[:16] + b"\x01\0" + program[18:], host) != ""
    for path in (
        "/etc/ld.so.cache",
        "/usr/lib/gcc/x86_64-linux-gnu/12/specs",
        "/usr/lib/gcc/x86_64-linux-gnu/12/crtbegin.o",
        "/usr/lib/llvm-14/lib/clang/14.0.6/share/asan_ignorelist.txt",
        "/etc/clang/clang.cfg",
    ):
        assert part_fault(path, b"some text", host) == ""


def test_a_trial_calls_the_compiler_by_its_own_name() -> None:
    job, source, content = trial("/opt/x/bin/arm-linux-gcc-9")
    assert job.argv[0] == "arm-linux-gcc-9" and source.path in job.argv
    assert hashlib.sha256(content).digest() == source.digest
