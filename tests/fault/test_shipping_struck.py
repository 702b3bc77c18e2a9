"""Compilers on their way to a node, struck: lines cut, nodes killed, disks full, files gone; and agents that lie.

No build notices any of it: jobs are done here meanwhile. What has come once is not sent again.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from limits import small_disk
from proxy import CuttingProxy, FaultyProxy
from support import check, until

from manycc.job import Toolchain, ToolFile
from manycc.testing.bare import make_bare, sent, wait_decided
from manycc.testing.cluster import Cluster, Node
from manycc.testing.requirements import need
from manycc.toolchain.identity import fingerprint
from manycc.wire import native

sys.path.append(str(Path(__file__).parents[1] / "e2e"))
from native_client import NativeClient, Spec, toolchain_of

SERVES = "can: the compiler of this machine was sent there"
WHOLE_MIB = 60
"""A gcc has more than this."""


class Bare:
    """A node on a machine without compilers, with a client."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.cluster = Cluster(str(folder), nodes=1, arguments=arguments)
        self.node: Node = self.cluster.nodes[0]
        self._env = make_bare(self.node, str(folder / "machine"))
        self.start()
        self.cluster.env["MANYCC_HOSTS"] = self.node.host

    @property
    def store(self) -> Path:
        return Path(self.node.state, "cache", "store")

    def start(self) -> None:
        """Start the node (again)."""
        self.node.start(self._env)

    def partial(self) -> int:
        """Bytes that have come of files that are not here whole."""
        total = 0
        for path in (self.store / "shipped" / "partial").glob("*"):
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
        return total


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Bare]:
    need("gcc")
    made = Bare(tmp_path / "c")
    try:
        yield made
    finally:
        made.cluster.close()


@pytest.fixture(scope="module")
def gcc() -> Toolchain:
    need("gcc", "bwrap")
    return toolchain_of("gcc")


def asked(cluster: Cluster) -> list[int]:
    """MiB that were asked for, each time."""
    return [size for _, _, _, size, _ in sent(cluster)]


def test_a_line_that_is_cut_again_and_again(bare: Bare, work: Path) -> None:
    proxy = CuttingProxy(bare.node.port, up=20_000_000)
    try:
        bare.cluster.env["MANYCC_HOSTS"] = f"{proxy.host}/2"
        check(bare.cluster, work)
        assert wait_decided(bare.cluster, "gcc") == SERVES
    finally:
        proxy.close()
    amounts = asked(bare.cluster)
    whole = sent(bare.cluster)[0][4]
    assert whole > WHOLE_MIB and amounts[0] == whole and proxy.cuts >= 1
    # At most the pieces that were under way, which the node had not read yet, come twice.
    assert all(after < before for before, after in itertools.pairwise(amounts))
    assert amounts[-1] < whole - 20
    assert bare.partial() == 0


def test_a_node_that_is_killed_in_the_middle_of_a_file(bare: Bare, work: Path) -> None:
    proxy = FaultyProxy(bare.node.port, "BLOB", "stall", nth=150)
    try:
        bare.cluster.env["MANYCC_HOSTS"] = f"{proxy.host}/2"
        check(bare.cluster, work)
        assert proxy.struck.wait(60)
        until(bare.partial)
        bare.node.kill()
        begun = bare.partial()
        assert begun > 0
        record = check(bare.cluster, work)
        assert record["reason"] in ("hosts-down", "no-toolchain")
        bare.start()
        assert wait_decided(bare.cluster, "gcc") == SERVES
        record = check(bare.cluster, work)
        assert record.get("way") == "shipped", record
    finally:
        proxy.close()
    first, *_, last = asked(bare.cluster)
    assert last < first - 25


@pytest.mark.parametrize("megabytes", [80, 400])
def test_a_disk_that_is_full(tmp_path: Path, work: Path, megabytes: int) -> None:
    """Too small from the beginning, and full all of a sudden."""
    need("gcc")
    with small_disk(tmp_path / "disk", "full", megabytes=megabytes, inodes=5000) as disk:
        made = Bare(tmp_path / "c", "--store-size", "1G", "--store", str(tmp_path / "disk" / "s"))
        proxy = FaultyProxy(made.node.port, "BLOB", "stall" if megabytes < 100 else "delay", nth=100)
        try:
            made.cluster.env["MANYCC_HOSTS"] = f"{proxy.host}/2"
            if megabytes > 100:
                proxy.DELAY_S = 2.0
            assert check(made.cluster, work)["reason"] == "no-toolchain"
            if megabytes > 100:
                assert proxy.struck.wait(60)
                disk.use_up("full")
            said = wait_decided(made.cluster, "gcc")
            assert "disk" in said and "cannot" in said, said
            assert check(made.cluster, work)["reason"] == "no-toolchain"
            assert made.node.process is not None and made.node.process.poll() is None
        finally:
            proxy.close()
            made.cluster.close()


def test_files_that_vanish_from_the_store_are_sent_again(bare: Bare, work: Path) -> None:
    check(bare.cluster, work)
    assert wait_decided(bare.cluster, "gcc") == SERVES
    record = check(bare.cluster, work)
    assert record.get("way") == "shipped", record
    bare.node.stop()
    (large,) = [path for path in bare.store.glob("blobs/*/*x") if path.stat().st_size == _size_of_cc1()]
    large.unlink()
    bare.start()
    record = check(bare.cluster, work)  # done here, or by the node, but done
    assert record["reason"] in ("no-toolchain", "hosts-down", "remote", "cached"), record
    assert wait_decided(bare.cluster, "gcc") == SERVES
    assert sent(bare.cluster)[-1][1] == 1
    # And while the node runs: the job that finds it gone is done elsewhere.
    bare.node.stop()  # so that no tree of an earlier job has the file still
    bare.start()
    assert wait_decided(bare.cluster, "gcc") == SERVES
    large.unlink()
    (work / "a.c").write_text("int another;\n")
    record = check(bare.cluster, work)
    assert record["reason"] == "no-toolchain" and "had to make room" in str(record["tried"]), record
    assert wait_decided(bare.cluster, "gcc") == SERVES
    (work / "a.c").write_text("int a_third;\n")
    record = check(bare.cluster, work)
    assert record.get("way") == "shipped", record


def _size_of_cc1() -> int:
    return next(file.size for file in toolchain_of("gcc").files if file.path.endswith("/cc1"))


# -- agents that lie


@pytest.fixture(scope="module")
def willing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    """A node without compilers that all who lie share."""
    need("gcc")
    made = Bare(tmp_path_factory.mktemp("willing") / "c")
    try:
        yield made
    finally:
        made.cluster.close()


def offer(
    client: NativeClient, gcc: Toolchain, files: list[list[Any]], own: bool = True, **about: Any
) -> list[Any] | None:
    """Offer a toolchain of these files, with the fingerprint that belongs to them; what the node says to the list."""
    number = client.number()
    tools = [ToolFile(path, digest, size) for path, digest, size in files]
    size = sum(file.size for file in tools)
    said = {"kind": "gcc", "host": gcc.host, "facts": dict(gcc.facts), "bytes": size, **about}
    named = fingerprint(tools, gcc.components["defaults"]) if own else gcc.fingerprint
    links = [list(link) for link in gcc.links]
    client.send([native.TOOLCHAIN, number, named, gcc.driver, gcc.label, links, dict(gcc.components), said])
    message = client.expect(native.WANTED, native.PROVEN)
    if message[0] == native.PROVEN:
        return message
    client.send([native.FILES, number, files])
    try:
        return client.expect(native.MISSING, native.PROVEN)
    except AssertionError:
        return None  # it hung up


def listed(gcc: Toolchain) -> list[list[Any]]:
    return [[file.path, file.digest, file.size] for file in gcc.files]


def with_file(path: str, content: bytes = b"root:x:0:0\n", size: int | None = None) -> Callable[..., list[list[Any]]]:
    def change(files: list[list[Any]]) -> list[list[Any]]:
        digest = hashlib.sha256(content).digest()
        return sorted([*files, [path, digest, len(content) if size is None else size]])

    return change


def many(name: str) -> list[list[Any]]:
    """Files that lie two thousand folders deep each, in folders of their own."""
    return [[f"/{number:04}{'/a' * 2000}{name}", b"d" * 32, 1] for number in range(1000)]


LISTS: list[tuple[str, Callable[..., list[list[Any]]], str]] = [
    ("nothing", lambda files: [], "empty"),
    ("a password file", with_file("/etc/passwd"), "/etc/passwd is not the name of a compiler's part"),
    ("a key", with_file("/root/.ssh/authorized_keys"), "is not the name of a compiler's part"),
    ("a relative path", with_file("usr/bin/as"), "is not absolute"),
    ("a path upwards", with_file("/usr/lib/../bin/as"), "is not plain"),
    ("a path into /proc", with_file("/proc/self/as"), "lies in /proc"),
    ("a path into /dev", with_file("/dev/as"), "lies in /dev"),
    ("a long name", with_file("/usr/" + "a" * 300 + ".so"), "too long a name"),
    ("what the loader puts before all", with_file("/etc/ld.so.preload"), "is the system's, not a compiler's"),
    ("long paths", lambda files: sorted([*files, *many("/z.so")]), "too long paths"),
    ("deep folders", lambda files: sorted([*files, *many("/z.so")[:3]]), "too many, or too deep"),
    ("a program as large as a disk", with_file("/usr/bin/as", size=1 << 40), "larger than the 512 MiB"),
    ("specs as large as a film", with_file("/usr/lib/specs", size=100 << 20), "larger than such a part"),
    ("one path twice", lambda files: sorted([*files, files[0]]), "not in order"),
    ("another order", lambda files: files[::-1], "not in order"),
    ("no driver", lambda files: [file for file in files if "gcc-" not in file[0]], "is not among its files"),
    ("a file below a file", with_file("/usr/lib/x86_64-linux-gnu/libc.so.6/libm.so.6"), "both a folder and not"),
]


@pytest.mark.parametrize(("change", "why"), [case[1:] for case in LISTS], ids=[case[0] for case in LISTS])
def test_lists_that_are_no_toolchains(
    willing: Bare, gcc: Toolchain, change: Callable[..., list[list[Any]]], why: str
) -> None:
    with NativeClient(willing.node.port) as client:
        answer = offer(client, gcc, change(listed(gcc)))
        assert answer is not None and answer[0] == native.PROVEN
        assert answer[2] and why in answer[2], answer
    assert not list(willing.store.glob("shipped/*.json"))


def test_inputs_that_lie_two_thousand_folders_deep(willing: Bare, gcc: Toolchain) -> None:
    """Their folders' names would fill the memory of any machine."""
    deep = [path for path, _, _ in many("/z.h")]
    argv = ["gcc", "-nostdinc", "-c", "a.c"]
    with NativeClient(willing.node.port) as client:
        first = offer(client, gcc, listed(gcc))
        assert first is not None
        client._inbox.insert(0, first)
        assert _send(client, {}, gcc)[2:4] == ["", "shipped"]
        spec = Spec([*argv, "-o", "a.o"], "/w", {"/w/a.c": b"int a;\n", **dict.fromkeys(deep, b"")})
        answer = client.run(gcc, spec)
        assert (answer.code, answer.sentence) == ("node-refused", "its folders are too many, or too deep")
        spec.files = {"/w/a.c": b"int a;\n"}
        answer = client.run(gcc, spec)
        assert answer.exit_code == 0, answer.stderr
    status = Path(f"/proc/{_node_pid(willing)}/status").read_text()
    assert int(status.partition("VmHWM:")[2].split()[0]) < 500_000  # KiB
    Path(willing.store, "shipped", f"{gcc.fingerprint}.json").unlink()


def _node_pid(bare: Bare) -> int:
    assert bare.node.process is not None
    return bare.node.process.pid


def test_a_list_that_is_not_what_was_asked_for(willing: Bare, gcc: Toolchain) -> None:
    with NativeClient(willing.node.port) as client:
        answer = offer(client, gcc, listed(gcc)[1:], own=False)
        assert answer is not None and "not that of the compiler that was asked for" in answer[2]
        answer = offer(client, gcc, listed(gcc), bytes=5)
        assert answer is not None and "not as large together" in answer[2]


@pytest.mark.parametrize("about", [{"host": "aarch64"}, {"host": ""}, {"kind": "sh"}], ids=["host", "none", "kind"])
def test_toolchains_that_are_none_for_this_machine(willing: Bare, gcc: Toolchain, about: dict[str, str]) -> None:
    with NativeClient(willing.node.port) as client:
        answer = offer(client, gcc, listed(gcc), **about)
        assert answer is not None and answer[0] == native.PROVEN and "it cannot be sent" in answer[2]


@pytest.mark.parametrize(
    "entries",
    [
        [["/usr/bin/as", b"d" * 32, 1]] * 1_000_000,
        [["/usr/bin/as", b"d" * 32, 1]] * (native.MAX_TOOL_FILES + 1),
        [["/usr/bin/as", b"d" * 32, -1]],
        [["/usr/bin/as", b"short", 1]],
        ["/usr/bin/as"],
    ],
    ids=["million", "many", "negative", "digest", "shape"],
)
def test_lists_out_of_bounds_end_the_connection(willing: Bare, gcc: Toolchain, entries: list[Any]) -> None:
    with NativeClient(willing.node.port) as client:
        number = client.number()
        about = {"kind": "gcc", "host": gcc.host, "facts": {}, "bytes": 1}
        client.send([native.TOOLCHAIN, number, "e" * 64, gcc.driver, gcc.label, [], {}, about])
        client.expect(native.WANTED)
        with contextlib.suppress(OSError):
            if len(entries) > 100_000:
                client.raw(native.header(60_000_000, 0))  # so many do not fit into any frame
            else:
                client.send([native.FILES, number, entries])
        assert client.hung_up()


def test_files_that_nobody_wanted(willing: Bare) -> None:
    with NativeClient(willing.node.port) as client:
        client.send([native.FILES, 7, []])
        assert client.hung_up()


def _send(client: NativeClient, contents: dict[bytes, bytes], gcc: Toolchain) -> list[Any]:
    """Serve what was asked for, the real files where they are not given, to the verdict."""
    paths = {file.digest: file.path for file in gcc.files}
    message = client.expect(native.MISSING, native.PROVEN)
    while message[0] == native.MISSING:
        for digest, offset in zip(message[2], message[3], strict=True):
            data = contents.get(digest) or Path(paths[digest]).read_bytes()
            for place in range(offset, len(data), native.MAX_PIECE):
                piece = native.compress(data[place : place + native.MAX_PIECE])
                client.send([native.BLOB, digest, len(data), place, piece])
        message = client.expect(native.MISSING, native.PROVEN)
    return message


@pytest.mark.parametrize(
    ("name", "start", "why"),
    [
        ("as", b"#!/bin/sh\nid >/tmp/owned\n", "as is no program"),
        ("as", b"\x7fELF\x02\x01\x01" + bytes(11) + b"\xb7\0" + bytes(44), "is for aarch64, not for x86-64"),
        ("as", b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x01\0\x3e\0" + bytes(44), "neither a program nor a library"),
        ("cc1", b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\0\x3e\0" + bytes(44), "could not be tried"),
    ],
    ids=["script", "another processor", "object", "does not run"],
)
def test_contents_that_are_no_compiler(willing: Bare, gcc: Toolchain, name: str, start: bytes, why: str) -> None:
    digest = hashlib.sha256(start).digest()
    files = listed(gcc)
    for file in files:
        if os.path.basename(file[0]) in (name, f"x86_64-linux-gnu-{name}"):
            file[1:] = [digest, len(start)]
    with NativeClient(willing.node.port) as client:
        first = offer(client, gcc, files)
        assert first is not None
        client._inbox.insert(0, first)
        verdict = _send(client, {digest: start}, gcc)
        assert why in verdict[2], verdict
        assert (verdict[1:2], verdict[3]) == (first[1:2] if first[0] == native.PROVEN else verdict[1:2], "")
    assert not list(willing.store.glob("shipped/*.json"))


def test_a_content_that_is_another(willing: Bare, gcc: Toolchain) -> None:
    files = listed(gcc)
    real = b"\x7fELF" + os.urandom(2000)
    digest = hashlib.sha256(real).digest()
    files = with_file("/usr/lib/libanother.so", real)(files)
    with NativeClient(willing.node.port) as client:
        first = offer(client, gcc, files)
        assert first is not None and first[0] == native.MISSING
        client._inbox.insert(0, first)
        verdict = _send(client, {digest: real[:-1] + b"!"}, gcc)
        assert "arrive damaged" in verdict[2], verdict
        client.send([native.PING, 5])
        assert client.expect(native.PONG)[1] == 5  # it may go on with what is sound


def test_another_compiler_than_it_is_said_to_be(willing: Bare, gcc: Toolchain) -> None:
    with NativeClient(willing.node.port) as client:
        facts = {**gcc.facts, "ident": "GCC: (Trusted) 99.9"}
        first = offer(client, gcc, listed(gcc), facts=facts)
        assert first is not None
        client._inbox.insert(0, first)
        assert "it does not answer as gcc" in _send(client, {}, gcc)[2]
        first = offer(client, gcc, listed(gcc), kind="clang")
        assert first is not None and first[0] == native.PROVEN and "does not answer as" in first[2]
    assert not list(willing.store.glob("shipped/*.json"))
