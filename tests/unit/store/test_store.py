"""The content store: what it holds, what it believes, what it gives up."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from manycc.errors import DigestMismatch, StoreError, StoreFull
from manycc.store import layout
from manycc.store.room import default_limit
from manycc.store.store import BlobMissing, Store

SOURCE = os.path.join(os.path.dirname(__file__), "..", "..", "..", "src")


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def blob_path(store: Store, digest: bytes, suffix: str = "") -> str:
    return f"{store.root}/blobs/{digest.hex()[:2]}/{digest.hex()}{suffix}"


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = Store(str(tmp_path / "store"), 1 << 20)
    yield made
    made.close()
    assert os.listdir(tmp_path / "store" / "tmp") == []


def test_what_is_added_is_there(store: Store, tmp_path: Path) -> None:
    digest = store.add_bytes(b"hello")
    assert digest == sha(b"hello")
    assert store.has(digest) and store.read(digest, 5) == b"hello"
    assert os.stat(blob_path(store, digest)).st_mode & 0o777 == 0o444
    assert store.missing([digest, sha(b"x"), digest, sha(b"x")]) == [sha(b"x")]
    store.link_into(digest, str(tmp_path / "link"))
    assert os.stat(tmp_path / "link").st_ino == os.stat(blob_path(store, digest)).st_ino
    status = store.copy_into(digest, str(tmp_path / "copy"), 0o600)
    assert (tmp_path / "copy").read_bytes() == b"hello"
    assert status.st_ino != os.stat(blob_path(store, digest)).st_ino
    with pytest.raises(StoreError):
        store.read(digest, 4)


def test_what_is_not_there(store: Store, tmp_path: Path) -> None:
    for use in (lambda: store.read(sha(b""), 1), lambda: store.link_into(sha(b""), str(tmp_path / "x"))):
        with pytest.raises(BlobMissing):
            use()
    with pytest.raises(BlobMissing):
        store.copy_into(sha(b""), str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()


def test_executables_are_files_of_their_own(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "cc1"
    source.write_bytes(b"\x7fELF")
    digest = sha(b"\x7fELF")
    store.add_file(str(source), digest, executable=True)
    assert not store.has(digest) and store.has(digest, executable=True)
    store.link_into(digest, str(tmp_path / "x"), executable=True)
    assert os.stat(tmp_path / "x").st_mode & 0o777 == 0o555
    with pytest.raises(DigestMismatch):
        store.add_file(str(source), sha(b"other"))


def test_pieces(store: Store) -> None:
    data = os.urandom(3000)
    writer = store.writer(sha(data), len(data))
    for start in range(0, len(data), 1000):
        assert writer.offset == start
        writer.write(data[start : start + 1000])
    assert not store.has(sha(data))
    writer.commit()
    assert store.read(sha(data), 3000) == data
    with pytest.raises(StoreError):
        store.writer(sha(data), 10).write(data)
    short = store.writer(sha(b"ab"), 2)
    short.write(b"a")
    with pytest.raises(DigestMismatch):
        short.commit()
    wrong = store.writer(sha(b"ab"), 2)
    wrong.write(b"ba")
    with pytest.raises(DigestMismatch):
        wrong.commit()
    with pytest.raises(DigestMismatch):
        store.add_bytes(b"x", sha(b"y"))
    with pytest.raises(StoreFull):
        store.writer(sha(data), 2 << 20)
    assert os.listdir(store.scratch.path) == ["lock"]


def test_it_survives_its_process(tmp_path: Path) -> None:
    first = Store(str(tmp_path / "store"))
    digest = first.add_bytes(b"kept")
    first.close()
    second = Store(str(tmp_path / "store"))
    assert second.read(digest, 10) == b"kept"
    second.wait_counted()
    assert second.total == 4
    second.close()


def test_what_a_killed_process_leaves_is_removed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from manycc.store.store import Store\n"
        "s = Store(sys.argv[1]); s.add_bytes(b'whole')\n"
        "w = s.writer(b'x' * 32, 100); w.write(b'half'); w._file.flush()\n"
        "p = s.scratch.folder(); os.mkdir(p + '/d'); os.chmod(p + '/d', 0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = str(tmp_path / "store")
    done = subprocess.run([sys.executable, "-c", code, root], env={**os.environ, "PYTHONPATH": SOURCE}, check=False)
    assert done.returncode == -9
    assert len(os.listdir(f"{root}/tmp")) == 1
    store = Store(root)
    assert store.leftovers == 1
    assert os.listdir(f"{root}/tmp") == [os.path.basename(store.scratch.path)]
    assert store.read(sha(b"whole"), 10) == b"whole"
    other = Store(root)  # whose own folder is left alone
    assert other.leftovers == 0 and os.path.isdir(store.scratch.path)
    other.close()
    store.close()


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("how", ["other", "shorter", "empty", "folder"])
def test_damage_is_noticed(tmp_path: Path, how: str, restart: bool) -> None:
    root = str(tmp_path / "store")
    store = Store(root)
    digest = store.add_bytes(b"content")
    path = blob_path(store, digest)
    if restart:
        store.close()
    os.chmod(path, 0o644)
    if how == "folder":
        os.unlink(path)
        os.mkdir(path)
    else:
        with open(path, "wb") as file:
            file.write({"other": b"cOntent", "shorter": b"conten", "empty": b""}[how])
    if restart:
        store = Store(root)
    with pytest.raises(BlobMissing):
        store.link_into(digest, str(tmp_path / "x"))
    with pytest.raises(BlobMissing):
        store.read(digest, 10)
    assert not store.has(digest) and store.missing([digest]) == [digest]
    assert store.corrupted >= 1
    if how != "folder":
        assert not os.path.exists(path)
        store.add_bytes(b"content")
        assert store.read(digest, 10) == b"content"
    store.close()


def test_a_file_that_vanishes_is_missing(store: Store, tmp_path: Path) -> None:
    digest = store.add_bytes(b"x")
    os.unlink(blob_path(store, digest))
    with pytest.raises(BlobMissing):
        store.link_into(digest, str(tmp_path / "y"))
    assert not store.has(digest)
    digest = store.add_bytes(b"x")
    os.unlink(blob_path(store, digest))
    with pytest.raises(BlobMissing):
        store.open(digest)


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"), 100_000)
    store.wait_counted()
    digests = [store.add_bytes(bytes([number]) * 9000) for number in range(10)]
    assert all(map(store.has, digests)) and store.evicted == 0
    for digest in digests[:3]:
        store._room._used[digest] += 10  # used later than the others
    new = store.add_bytes(b"n" * 30_000)
    assert store.has(new) and all(map(store.has, digests[:3]))
    assert not store.has(digests[3])
    assert store.total <= 100_000 and store.evicted >= 2
    on_disk = sum(
        os.path.getsize(os.path.join(f, name)) for f, _, names in os.walk(f"{store.root}/blobs") for name in names
    )
    assert on_disk == store.total
    with pytest.raises(StoreFull):
        store.add_bytes(b"x" * 100_001)
    store.close()


def test_recency_survives_a_restart(tmp_path: Path) -> None:
    root = str(tmp_path / "store")
    store = Store(root, 100_000)
    old, older = store.add_bytes(b"a" * 40_000), store.add_bytes(b"b" * 40_000)
    store.close()
    for digest, age in ((old, 1000), (older, 2000)):
        status = os.stat(blob_path(store, digest))
        os.utime(blob_path(store, digest), ns=(status.st_mtime_ns - age * 10**9 * 10, status.st_mtime_ns))
    store = Store(root, 100_000)
    store.wait_counted()
    store.add_bytes(b"c" * 40_000)
    assert os.path.exists(blob_path(store, old)) and not os.path.exists(blob_path(store, older))
    store.close()
    again = Store(root, 100_000)
    before = os.stat(blob_path(again, old))
    again.read(old, 1 << 20)
    after = os.stat(blob_path(again, old))
    assert after.st_atime > before.st_atime and after.st_mtime_ns == before.st_mtime_ns
    again.close()


def test_records_live_under_the_same_bound(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"), 10_000)
    store.wait_counted()
    for number in range(20):
        store.write_record(sha(bytes([number])), bytes(1000))
    assert store.total <= 10_000
    assert store.read_record(sha(bytes([19])), 1000) == bytes(1000)
    assert store.read_record(sha(bytes([19])), 999) is None
    assert store.read_record(sha(bytes([0])), 1000) is None
    store.drop_record(sha(bytes([19])))
    assert store.read_record(sha(bytes([19])), 1000) is None
    store.close()


def test_two_processes_worth_of_stores(tmp_path: Path) -> None:
    root = str(tmp_path / "store")
    one, two = Store(root, 100_000), Store(root, 100_000)
    one.wait_counted()
    two.wait_counted()
    digest = one.add_bytes(b"x" * 40_000)
    assert two.has(digest)
    for number in range(4):
        two.add_bytes(bytes([number]) * 30_000)
    total = sum(os.path.getsize(os.path.join(f, n)) for f, _, names in os.walk(f"{root}/blobs") for n in names)
    assert total <= 100_000
    one.close()
    two.close()


def test_a_full_disk_is_told_as_such(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(StoreFull):
        store.add_bytes(b"x")
    with pytest.raises(StoreFull):
        store.write_record(sha(b""), b"x")
    writer = store.writer(sha(b"x"), 1)
    writer.write(b"x")
    with pytest.raises(StoreFull):
        writer.commit()
    assert os.listdir(store.scratch.path) == ["lock"]
    assert not store.has(sha(b"x"))


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: needs root to mount a small file system")
def test_a_disk_that_is_full_below_the_bound(tmp_path: Path) -> None:
    mebibyte = 1024**2
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", str(disk)], check=True)
    try:
        old = Store(str(disk / "store"), 1024 * mebibyte)
        contents = [bytes([number]) * 8 * mebibyte for number in range(15)]
        for data in contents:
            old.add_bytes(data)
        old.close()
        assert os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize < 16 * mebibyte
        for folder, _, names in os.walk(disk / "store" / "blobs"):
            for name in names:
                os.utime(os.path.join(folder, name), (1000, 1000))
        store = Store(str(disk / "store"), 1024 * mebibyte)
        store.wait_counted()
        assert store.has(sha(contents[7]))  # that makes it one in use
        large = bytes([99]) * 16 * mebibyte
        writer = store.writer(sha(large), len(large))
        writer.write(large)
        writer.commit()
        assert store.has(sha(large)) and store.has(sha(contents[7]))
        assert store.evicted and store.total < 8 * 15 * mebibyte
        store.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_more_links_than_a_file_may_have(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = store.add_bytes(b"popular")
    inode = os.stat(blob_path(store, digest)).st_ino
    real = os.link
    refused: list[str] = []

    def link(source: str, target: str) -> None:
        if os.stat(source).st_ino == inode:
            refused.append(target)
            raise OSError(errno.EMLINK, "Too many links")
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    store.link_into(digest, str(tmp_path / "a"))
    store.link_into(digest, str(tmp_path / "b"))
    assert (tmp_path / "a").read_bytes() == b"popular" and len(refused) == 1


def test_adopted_files_are_moved(store: Store) -> None:
    path = store.scratch.file()
    Path(path).write_bytes(b"out")
    inode = os.stat(path).st_ino
    store.adopt(path, sha(b"out"))
    assert os.stat(blob_path(store, sha(b"out"))).st_ino == inode and not os.path.exists(path)
    Path(path).write_bytes(b"out")
    store.adopt(path, sha(b"out"))
    assert not os.path.exists(path) and store.read(sha(b"out"), 3) == b"out"


def test_many_threads(store: Store) -> None:
    contents = [bytes([number]) * 100 for number in range(50)]
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for data in contents:
                store.add_bytes(data)
                assert store.read(sha(data), 100) == data
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    store.wait_counted()
    assert store.total == 5000


def test_strange_files_are_passed_over(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    store.add_bytes(b"x")
    for name in ("blobs/README", "blobs/ab", "actions/x"):
        (tmp_path / "store" / name).mkdir() if name.endswith("ab") else (tmp_path / "store" / name).write_text("?")
    (tmp_path / "store" / "blobs" / "ab" / "nohex").write_text("?")
    assert [key for key, _ in layout.all_files(store.root)] == [sha(b"x")]
    store.close()


def test_keys_lead_to_files_and_back(store: Store) -> None:
    store.add_bytes(b"x")
    Path(store.root, "f").write_bytes(b"x")
    store.add_file(f"{store.root}/f", sha(b"x"), executable=True)
    store.write_record(sha(b"x"), b"record")
    keys = {layout.blob_key(sha(b"x"), False), layout.blob_key(sha(b"x"), True), layout.record_key(sha(b"x"))}
    assert {key for key, _ in layout.all_files(store.root)} == keys
    assert {layout.digest_of(key) for key in keys} == {sha(b"x")}


def test_the_default_bound(tmp_path: Path) -> None:
    assert 0 < default_limit(str(tmp_path)) <= 5 << 30
